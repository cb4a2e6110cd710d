//! Work that may wait for the disk, kept off the threads that wait for the network.
//!
//! **Invariant:** work that panicked is [`SyncError::Worker`], never a hang.

use super::error::SyncError;

/// Runs what may block on the disk.
///
/// # Errors
/// When the work panicked, or the process stops.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|_e| SyncError::Worker)
}
