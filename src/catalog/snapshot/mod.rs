//! The catalog as agents see it: immutable, in memory, swapped whole.
//!
//! **Invariant:** a snapshot never changes; whoever holds one sees one generation and one set of decisions.
//! It never reads a disk.

mod belonging;
mod bits;
pub(in crate::catalog) mod build;
mod bundles;
pub(in crate::catalog) mod current;
mod deployed;
#[cfg(test)]
mod driver_tests;
mod drivers;
mod kin;
pub(in crate::catalog) mod listing;
mod payload_keys;
pub(in crate::catalog) mod root;
mod scan;
#[cfg(test)]
mod tests;
pub(in crate::catalog) mod view;
pub(in crate::catalog) mod withheld;
pub(in crate::catalog) mod world;

use crate::domain::{Limit, joined_limits};

pub(in crate::catalog) const LIMITS: &[Limit] =
    joined_limits![root::LIMITS, build::LIMITS, drivers::LIMITS, withheld::LIMITS,];
