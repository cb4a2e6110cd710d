//! Work that goes on by itself: holding ahead what the policy names, and bringing into force what is due.
//!
//! **Invariant:** each worker ends when shutdown begins, and a failure of one round is told and tried again
//! with the next. None of them decides what is approved.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::config::Fetch;
use crate::domain::FileDeclaration;
use crate::runtime::{Clock, Tasks};
use crate::transfer;

/// The longest wait between two looks at what is due: the time of day may be set forward.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Ends holds and begins approvals when their time has come.
pub(super) fn bring_due(tasks: &Tasks, catalog: Catalog, clock: Clock, decisions: Arc<Notify>) {
    let stopping = tasks.stopping();
    let mut snapshots = catalog.subscribe();
    tasks.spawn("bring due decisions into force", async move {
        loop {
            let (work, now) = (catalog.clone(), clock.now());
            let brought = move || work.bring_due().map(|count| (count, work.next_due()));
            let due = match tokio::task::spawn_blocking(brought).await {
                Ok(Ok((count, due))) => {
                    if count > 0 {
                        tracing::info!(updates = count, "what was held or meant for later came into force");
                        decisions.notify_one();
                    }
                    due
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot bring into force what is due");
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot bring into force what is due");
                    None
                }
            };
            let wait = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
            let wait = wait.map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT));
            tokio::select! {
                () = stopping.cancelled() => return,
                next = snapshots.changed() => {
                    if next.is_err() {
                        return;
                    }
                }
                () = clock.sleep(wait) => {}
            }
        }
    });
}

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
