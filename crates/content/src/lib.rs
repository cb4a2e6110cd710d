//! What is held: payloads as sparse files, with a durable map of the pieces that are there.
//!
//! **Invariant:** a file is called verified only when every declared digest matched its bytes, and then it
//! never changes. A piece counts as held only after its bytes and their hash were written. This room never
//! fetches, and never asks which files are wanted: it is told.

mod entry;
mod error;
mod evict;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod index;
mod map;
mod room;
mod scrub;
mod sparse;
mod store;
mod verify;
mod versions;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use tailwater_domain::{ByteCount, Limit, Sha1Digest, Sha256Digest, joined_limits};

pub use error::ContentError;
pub use map::{PIECE, PieceHash, hash as piece_hash};
pub use room::Room;
pub use scrub::{CollectReport, Damage, VerifyReport};
pub use sparse::SparseFile;
pub use store::{Store, Verdict};
pub use verify::{Digests, Hasher};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![entry::LIMITS, map::LIMITS, store::LIMITS, versions::LIMITS,];

/// Where payloads are kept and how much of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of payloads; made when absent.
    pub dir: PathBuf,
    /// Held bytes are kept at or below this by dropping what is least worth keeping; no limit when `None`.
    pub max_size: Option<ByteCount>,
    /// This much stays free on the file system of `dir`.
    pub min_free: ByteCount,
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Some pieces are missing.
    Partial,
    /// Every piece is there, but the digests were not compared yet.
    Complete,
    /// Every declared digest matched.
    Verified,
}

/// One file as lists and the API show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// Its name on the wire.
    pub sha1: Sha1Digest,
    /// The SHA-256 that was declared, or computed when it was verified.
    pub sha256: Option<Sha256Digest>,
    /// Names that metadata gave it.
    pub names: Vec<String>,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are held.
    pub held: u64,
    /// How far it is.
    pub state: FileState,
    /// When it was last asked for or written.
    pub last_use: Timestamp,
}

/// What the store holds in sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Files with at least one piece or a map.
    pub files: u64,
    /// Of these, verified ones.
    pub verified: u64,
    /// Of these, partial ones.
    pub partial: u64,
    /// Bytes held.
    pub held: u64,
    /// Bytes dropped since start to keep `max_size` and `min_free`.
    pub dropped: u64,
    /// Whether writing stopped because there is no room; serving goes on.
    pub full: bool,
}
