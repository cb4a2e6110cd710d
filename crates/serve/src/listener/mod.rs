//! Connections in, requests to an [`Answer`](super::Answer), graceful end: binding, the accept loop, and the layers of a connection.
//!
//! **Invariant:** every connection has a slot among [`Connections`]; one that sends nothing for
//! [`ListenerConfig::idle`] is closed, and what it sends passes [`strict::Strict`]. It never knows what is answered.

mod accept;
mod activity;
mod config;
mod connection;
mod connections;
mod paced;
mod strict;
mod tls;

use tailwater_domain::{Limit, joined_limits};

pub use accept::Listener;
pub use config::{ListenerConfig, ListenerError, TlsFiles};
pub use connections::{ConnectionLimits, ConnectionStatus, Connections};

pub(super) const LIMITS: &[Limit] = joined_limits![
    accept::LIMITS,
    config::LIMITS,
    connection::LIMITS,
    connections::LIMITS,
    paced::LIMITS,
    strict::LIMITS,
];
