//! The seam under indexes: ordered bytes to bytes, small atomic batches, and a flush that is durable.
//!
//! **Invariant:** a batch is applied whole or not at all, and what was applied before [`Kv::flush`]
//! returned survives the machine losing power. On a disk that takes nothing an index can still be read, and only what is
//! noted ([`Kv::note`]) is taken, into memory. It never holds documents: those lie in segments.

mod batch;
mod dump;
mod engine;
mod error;
mod guarded;
#[cfg(test)]
mod guarded_tests;
mod memory;
mod opening;
mod sled;
mod store;
#[cfg(test)]
mod suite;

use tailwater_domain::{Limit, joined_limits};

pub use batch::{Batch, MAX_BATCH, MAX_ENTRY, Op, batches};
pub use engine::{Opened, Setup};
pub use error::KvError;
pub use store::Kv;

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![batch::LIMITS, guarded::LIMITS];
