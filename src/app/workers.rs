//! Work that goes on by itself: holding ahead what the policy names.
//!
//! **Invariant:** each worker ends when shutdown begins, and a failure of one round is told and tried again
//! with the next. None of them decides what is approved.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::config::Fetch;
use crate::domain::FileDeclaration;
use crate::runtime::Tasks;
use crate::transfer;

/// Tells the transfers what to hold ahead: at the start, after decisions, and after each synchronisation that
/// was not for metadata only.
pub(super) fn hold_ahead(
    tasks: &Tasks,
    catalog: Catalog,
    transfers: transfer::Handle,
    fetch: Fetch,
    decisions: Arc<Notify>,
) {
    if matches!(fetch, Fetch::Demand | Fetch::None) {
        return;
    }
    let stopping = tasks.stopping();
    tasks.spawn("hold ahead", async move {
        loop {
            let catalog = catalog.clone();
            match tokio::task::spawn_blocking(move || wanted(&catalog, fetch)).await {
                Ok(Ok(files)) => {
                    let files_wanted = files.len();
                    let left_out = transfers.hold(files);
                    tracing::debug!(files_wanted, left_out, "files to hold ahead");
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot tell which files to hold ahead"),
                Err(error) => tracing::warn!(%error, "cannot tell which files to hold ahead"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = decisions.notified() => {}
            }
        }
    });
}

fn wanted(catalog: &Catalog, fetch: Fetch) -> Result<Vec<FileDeclaration>, crate::catalog::CatalogError> {
    if matches!(fetch, Fetch::Approved) {
        return catalog.approved_files();
    }
    let digests = catalog.live_digests();
    let known = digests.iter().filter_map(|sha1| catalog.file(sha1).transpose());
    known.map(|known| known.map(|known| known.declaration)).collect()
}
