//! What administrators decide, of updates and of groups of computers.
//!
//! **Invariant:** a decision is journaled and durable before a snapshot shows it. It never looks at what computers reported.

pub(crate) mod acceptance;
pub(crate) mod change;
pub(crate) mod decided;
pub(crate) mod decider;
pub(crate) mod decision;
pub(crate) mod due;
pub(crate) mod export;
pub(crate) mod groups;
pub(crate) mod payload_keys;
pub(crate) mod replace;
pub(crate) mod terms;
pub(crate) mod verdict;
