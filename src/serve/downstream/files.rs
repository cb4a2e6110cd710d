//! Payloads for downstream servers.
//!
//! **Invariant:** only what metadata of ours names is ever fetched. It never waits for a transfer.

use crate::domain::FileDeclaration;

/// Fetches payloads in the background; `app` joins it to the transfers.
pub trait WantedFiles: Send + Sync + 'static {
    /// Whether express payloads can be had here (`ServerHostsPsfFiles`).
    fn hosts_psf(&self) -> bool;

    /// Begins to fetch a file, unless it is held or on its way. False when too many wait already.
    fn fetch(&self, file: &FileDeclaration) -> bool;
}
