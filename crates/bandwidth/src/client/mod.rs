//! The HTTP client for upstreams: which server an address leads to and whether it may be reached, connections and their receive
//! windows, and the socket at which bytes are paid and counted.
//!
//! **Invariant:** no socket towards an upstream exists that is not made here, and none reads without a grant of `schedule`. It
//! never decides what is worth fetching.

mod account;
mod address_kind;
mod arrival_monitor;
mod body;
mod config;
mod connect;
mod dial;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod host_list;
mod link_client;
mod no_proxy;
mod origin;
mod pool;
mod proxy;
mod reachable;
mod receive_window;
mod redirect;
mod resolver;
mod socket;
mod socket_options;
mod tls;
mod trust;

use tailwater_domain::{Limit, joined_limits};

pub use address_kind::AddressKind;
pub use body::LinkBody;
pub use config::{ClientCertificate, Counted, LinkConfig, ProxySetting};
pub(crate) use connect::Connection;
pub use host_list::{HostList, HostListError};
pub use link_client::LinkClient;
pub(crate) use origin::Origin;
pub use reachable::Reachable;

/// The limits of this subject.
pub(crate) const LIMITS: &[Limit] = joined_limits![
    connect::LIMITS,
    dial::LIMITS,
    no_proxy::LIMITS,
    link_client::LIMITS,
    pool::LIMITS,
    receive_window::LIMITS,
    arrival_monitor::LIMITS,
];
