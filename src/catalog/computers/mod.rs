//! Agents of this server: who they are, in which groups, what they report.
//!
//! **Invariant:** what agents say costs a bounded amount of memory and of the index. It never decides what is offered to
//! them.

pub(in crate::catalog) mod counting;
pub(in crate::catalog) mod events;
pub(in crate::catalog) mod fleet;
pub(in crate::catalog) mod identity;
pub(in crate::catalog) mod members;
pub(in crate::catalog) mod moving;
pub(in crate::catalog) mod names;
pub(in crate::catalog) mod newcomers;
pub(in crate::catalog) mod news;
pub(in crate::catalog) mod provisional;
pub(in crate::catalog) mod room;
pub(in crate::catalog) mod starting;
pub(in crate::catalog) mod succession;
pub(in crate::catalog) mod texts;
