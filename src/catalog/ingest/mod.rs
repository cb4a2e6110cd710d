//! The way in: revisions are read, compressed, stored, and activated together.
//!
//! **Invariant:** what is staged is seen by nobody before it is activated. It never talks to an upstream.

pub(in crate::catalog) mod activation;
pub(in crate::catalog) mod checking;
pub(in crate::catalog) mod languages;
pub(in crate::catalog) mod load;
pub(in crate::catalog) mod lost;
pub(in crate::catalog) mod part;
pub(in crate::catalog) mod prepare;
pub(in crate::catalog) mod staging;
pub(in crate::catalog) mod wanted_keys;
