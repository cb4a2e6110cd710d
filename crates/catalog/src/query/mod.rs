//! What administrators ask of the catalog: lists with filters and pages, details, categories, files.
//!
//! **Invariant:** a list is never longer than its page, and its `total` counts everything that matched.
//! It never changes anything.

mod computers;
mod files;
pub(crate) mod lookup;
pub(crate) mod releases;
pub(crate) mod rows;
mod select;
#[cfg(test)]
mod select_tests;
mod state;
pub(crate) mod states;
mod summary;
mod updates;

use tailwater_domain::{Limit, joined_limits};

pub(crate) const LIMITS: &[Limit] = joined_limits![rows::LIMITS, releases::LIMITS, updates::LIMITS,];
