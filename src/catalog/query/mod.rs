//! What administrators ask of the catalog: lists with filters and pages, details, categories, files.
//!
//! **Invariant:** a list is never longer than its page, and its `total` counts everything that matched.
//! It never changes anything.

mod computers;
mod files;
pub(in crate::catalog) mod lookup;
pub(in crate::catalog) mod releases;
pub(in crate::catalog) mod rows;
mod select;
#[cfg(test)]
mod select_tests;
mod state;
pub(in crate::catalog) mod states;
mod summary;
mod updates;

use crate::domain::{Limit, joined_limits};

pub(in crate::catalog) const LIMITS: &[Limit] =
    joined_limits![rows::LIMITS, releases::LIMITS, updates::LIMITS,];
