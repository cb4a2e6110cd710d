//! Agents of this server: who they are, in which groups, what they report.
//!
//! **Invariant:** what agents say costs a bounded amount of memory and of the index. It never decides what is offered to
//! them.

pub(crate) mod counting;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod identity;
pub(crate) mod members;
pub(crate) mod moving;
pub(crate) mod names;
pub(crate) mod newcomers;
pub(crate) mod news;
pub(crate) mod provisional;
pub(crate) mod room;
pub(crate) mod starting;
pub(crate) mod succession;
pub(crate) mod texts;
