//! Agents of this server: who they are, in which groups, what they report.
//!
//! **Invariant:** what agents say costs a bounded amount of memory and of the index. It never decides what is offered to them.

pub(in crate::catalog) mod events;
pub(in crate::catalog) mod identity;
pub(in crate::catalog) mod members;
pub(in crate::catalog) mod news;
pub(in crate::catalog) mod provisional;
pub(in crate::catalog) mod succession;
