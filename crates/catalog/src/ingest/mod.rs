//! The way in: revisions are read, compressed, stored, and activated together.
//!
//! **Invariant:** what is staged is seen by nobody before it is activated. It never talks to an upstream.

pub(crate) mod activation;
pub(crate) mod checking;
pub(crate) mod languages;
pub(crate) mod load;
pub(crate) mod lost;
pub(crate) mod part;
pub(crate) mod prepare;
pub(crate) mod staging;
pub(crate) mod wanted_keys;
