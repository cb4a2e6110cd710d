//! What this server answers over HTTP: the agents' protocol, that of downstream servers, payloads, and the
//! administrator's side.
//!
//! **Invariant:** an answer never waits for the upstream unless a payload that is not held was asked for,
//! and then only through [`tailwater_transfer`]. It never reads the catalog's or the store's files itself.

mod accounting;
pub mod admin;
pub mod client;
mod cookie;
pub mod downstream;
pub mod fault;
pub mod files;
pub mod http;
mod intake;
mod listener;
mod memory;
mod monitoring;
mod operations;
mod outgoing;
pub mod peer;
mod since;
mod site;
pub mod soap;

use tailwater_domain::{Limit, joined_limits};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    admin::LIMITS,
    client::LIMITS,
    cookie::LIMITS,
    downstream::LIMITS,
    files::LIMITS,
    http::LIMITS,
    intake::LIMITS,
    listener::LIMITS,
    memory::LIMITS,
    operations::LIMITS,
    operations::AGENT_LIMITS,
    operations::SERVER_LIMITS,
    operations::ROLLUP_LIMITS,
    outgoing::LIMITS,
    peer::LIMITS,
];

pub use self::http::{Answer, Body, Hosts, Peer, PeerCertificate, Request, Response, empty, full, text};
pub use accounting::Accounted;
pub use intake::Intake;
pub use listener::{
    ConnectionLimits, ConnectionStatus, Connections, Listener, ListenerConfig, ListenerError, TlsFiles,
};
pub use site::Site;
