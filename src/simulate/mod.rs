//! Stand-ins for the two ends: an upstream server with generated updates, and any number of agents.
//!
//! **Invariant:** everything generated follows from a seed: the same configuration gives the same updates
//! and the same bytes. It knows the protocols and nothing of the server between the two ends.

pub mod clients;
pub mod upstream;
