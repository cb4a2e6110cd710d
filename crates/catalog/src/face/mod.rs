//! The methods of [`crate::Catalog`], by who calls them.
//!
//! **Invariant:** each hands its call to the one part that owns the state. It never keeps anything itself.

mod agents;
mod computers;
mod decisions;
mod ingest;
mod reading;
pub(crate) mod servers;
mod settings;
