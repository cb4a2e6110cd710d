//! Downstream servers and their computers, and what the upstream is told of all computers.
//!
//! **Invariant:** an agent of this server is never changed by what others say of it. It never decides who may come.

pub(crate) mod activity;
pub(crate) mod descendant_table;
pub(crate) mod descendants;
pub(crate) mod enrolment;
pub(crate) mod part;
pub(crate) mod registry;
pub(crate) mod rollup;
pub(crate) mod tokens;
pub(crate) mod upward;
