//! What administrators decide, of updates and of groups of computers.
//!
//! **Invariant:** a decision is journaled and durable before a snapshot shows it. It never looks at what computers reported.

pub(in crate::catalog) mod acceptance;
pub(in crate::catalog) mod change;
pub(in crate::catalog) mod decided;
pub(in crate::catalog) mod decider;
pub(in crate::catalog) mod decision;
pub(in crate::catalog) mod due;
pub(in crate::catalog) mod export;
pub(in crate::catalog) mod groups;
pub(in crate::catalog) mod payload_keys;
pub(in crate::catalog) mod replace;
pub(in crate::catalog) mod terms;
pub(in crate::catalog) mod verdict;
