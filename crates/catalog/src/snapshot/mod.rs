//! The catalog as agents see it: immutable, in memory, swapped whole.
//!
//! **Invariant:** a snapshot never changes; whoever holds one sees one generation and one set of decisions.
//! It never reads a disk.

mod belonging;
mod bits;
pub(crate) mod build;
mod bundles;
pub(crate) mod current;
mod deployed;
#[cfg(test)]
mod driver_tests;
mod drivers;
mod kin;
pub(crate) mod listing;
mod payload_keys;
pub(crate) mod root;
mod scan;
#[cfg(test)]
mod tests;
pub(crate) mod view;
pub(crate) mod withheld;
pub(crate) mod world;

use tailwater_domain::{Limit, joined_limits};

pub(crate) const LIMITS: &[Limit] =
    joined_limits![root::LIMITS, build::LIMITS, drivers::LIMITS, withheld::LIMITS,];
