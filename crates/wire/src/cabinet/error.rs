//! Why a cabinet is refused, and how much one may hold.
//!
//! **Invariant:** an error says what is wrong with the cabinet, never what was in it.

use std::io;

use tailwater_domain::{Limit, limits};
use tailwater_runtime::Panicked;

/// The most a cabinet may decompress to. Real documents reach 47 MB, which is 94 MB in UTF-16.
pub const LIMIT: u64 = 256 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    LIMIT in "bytes": "A compressed document, decompressed" => "that update is refused; the synchronisation goes on and reports it",
];

/// Why a cabinet's document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CabinetError {
    /// It is no cabinet, or a damaged one.
    #[error("the compressed document is no readable cabinet")]
    Unreadable(#[source] io::Error),
    /// Its parts do not fit together.
    #[error("the compressed document is no sound cabinet: {what}")]
    Broken {
        /// What is wrong.
        what: &'static str,
    },
    /// Reading it hit a fault of the program or of a library.
    #[error("the compressed document cannot be read")]
    Fault(#[from] Panicked),
    /// It holds no file.
    #[error("the cabinet of the compressed document holds no file")]
    Empty,
    /// It announces more than [`LIMIT`].
    #[error("the compressed document is {size} bytes long, more than {LIMIT}")]
    TooLong {
        /// What it announces.
        size: u64,
    },
}
