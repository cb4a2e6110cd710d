//! The server role of MS-WSUSSS: what downstream servers ask over SOAP.
//!
//! **Invariant:** answers come from the catalog; no cookie is believed before its seal was checked and its server passed
//! the [`Gate`]. It never waits for the upstream, and never asks it for anything that no metadata of ours names.

mod anchor;
mod answering;
mod blob;
mod blobs;
mod body;
mod config;
mod deployments;
mod documents;
mod files;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod handshake;
mod listing;
mod lists;
mod reporting;
mod rollup_queue;
mod service;
mod session;
mod update_data;

pub use config::Config;
pub use files::WantedFiles;
pub use gate::{Denied, Gate, Policy, Proof};
pub use reporting::is_rollup;
pub use service::{Parts, Service};

use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![
    anchor::LIMITS,
    blob::LIMITS,
    documents::LIMITS,
    files::LIMITS,
    gate::LIMITS,
    lists::LIMITS,
    rollup_queue::LIMITS,
];
