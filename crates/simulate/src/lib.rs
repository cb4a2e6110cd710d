//! Stand-ins for the two ends: an upstream server with generated updates, any number of agents, and any number of
//! downstream servers.
//!
//! **Invariant:** everything generated follows from a seed: the same configuration gives the same updates
//! and the same bytes. It knows the protocols and nothing of the server between the two ends.

pub mod branches;
pub mod clients;
mod load;
pub mod upstream;
