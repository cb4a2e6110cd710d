//! The server role of MS-WSUSSS: what downstream servers ask.
//!
//! **Invariant:** nobody is answered whom the [`Gate`] does not let in. It never waits for the upstream.

mod gate;

pub use gate::{Denied, Gate, Policy, Proof};
