//! Downstream servers and their computers, and what the upstream is told of all computers.
//!
//! **Invariant:** an agent of this server is never changed by what others say of it. It never decides who may come.

pub(in crate::catalog) mod activity;
pub(in crate::catalog) mod descendant_table;
pub(in crate::catalog) mod descendants;
pub(in crate::catalog) mod enrolment;
pub(in crate::catalog) mod part;
pub(in crate::catalog) mod registry;
pub(in crate::catalog) mod rollup;
pub(in crate::catalog) mod tokens;
pub(in crate::catalog) mod upward;
