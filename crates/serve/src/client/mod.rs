//! The server role of MS-WUSP: what agents ask over SOAP.
//!
//! **Invariant:** answers come from the catalog's snapshot; no cookie is believed before its seal was checked, no
//! parameter before it was looked at. It never waits for the upstream.

mod address;
mod answering;
mod categories;
mod config;
mod cookie;
mod details;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod page;
mod pages;
mod report;
mod scan;
mod service;
mod session;

pub use config::{Config, Locations, MAX_EXTENDED};
pub use service::{Callers, Service};

use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] =
    joined_limits![categories::LIMITS, config::LIMITS, details::LIMITS, pages::LIMITS, scan::LIMITS,];
