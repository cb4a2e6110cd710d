//! Bytes on the wire and the typed messages they mean, both ways.
//!
//! **Invariant:** everything here is a pure transformation of bytes with named limits: it does no network
//! or file input and output of its own (readers are given to it), never waits, and never trusts a length,
//! a nesting or a name that came from outside.

pub mod cabinet;
pub mod client_update;
pub mod peer;
pub mod server_reporting;
pub mod server_sync;
pub mod soap;
pub mod update_metadata;
pub mod xml;
pub mod xpress;

use tailwater_domain::{Limit, joined_limits};

/// What is limited here.
/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    cabinet::LIMITS,
    client_update::LIMITS,
    peer::LIMITS,
    server_reporting::LIMITS,
    server_sync::LIMITS,
    update_metadata::LIMITS,
    xml::LIMITS,
    xpress::LIMITS,
];
