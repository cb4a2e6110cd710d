//! What this server answers over HTTP: the agents' protocol, that of downstream servers, payloads, and the
//! administrator's side.
//!
//! **Invariant:** an answer never waits for the upstream unless a payload that is not held was asked for,
//! and then only through [`crate::transfer`]. It never reads the catalog's or the store's files itself.

pub mod admin;
mod body;
mod certificate;
pub mod client;
mod connections;
mod cookie;
pub mod downstream;
pub mod fault;
pub mod files;
mod hosts;
mod intake;
pub mod listener;
mod memory;
mod monitoring;
mod operations;
mod outgoing;
mod paced;
mod path;
pub mod peer;
mod since;
mod site;
pub mod soap;
mod strict;

use crate::domain::{Limit, joined_limits};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    admin::LIMITS,
    certificate::LIMITS,
    client::LIMITS,
    connections::LIMITS,
    cookie::LIMITS,
    downstream::LIMITS,
    files::LIMITS,
    intake::LIMITS,
    listener::LIMITS,
    memory::LIMITS,
    operations::LIMITS,
    operations::AGENT_LIMITS,
    operations::SERVER_LIMITS,
    operations::ROLLUP_LIMITS,
    outgoing::LIMITS,
    paced::LIMITS,
    peer::LIMITS,
    site::LIMITS,
    strict::LIMITS,
];

pub use body::{Body, empty, full, text};
pub use certificate::PeerCertificate;
pub use connections::{ConnectionLimits, ConnectionStatus, Connections};
pub use hosts::Hosts;
pub use intake::Intake;
pub use listener::{Listener, ListenerConfig, ListenerError};
pub use site::{Answer, Peer, Request, Response, Site};
