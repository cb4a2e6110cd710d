//! Work that goes on by itself: holding ahead what the policy names, and bringing into force what is due.
//!
//! **Invariant:** each worker ends when shutdown begins, and a failure of one round is told and tried again
//! with the next. None of them decides what is approved.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use tailwater_catalog::Catalog;
use tailwater_domain::{Class, Limit, Sha1Digest, limits};
use tailwater_needs as needs;
use tailwater_runtime::{self as runtime, Clock, Tasks};
use tailwater_transfer as transfer;

/// The longest wait between two looks at what is due: the time of day may be set forward.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_WAIT: "The sleep between two looks at what is due" => "it is looked at",
];

/// How often it is looked whether something was learned, or the quiet window began or ended.
const LOOK: Duration = Duration::from_secs(10);

/// How often it is looked whether keys are to be replaced.
const KEYS_LOOK: Duration = Duration::from_mins(10);

/// Between two writes of what downstream servers took.
const COUNTS: Duration = Duration::from_secs(2);

/// Between two times that free memory is given back: RSS is as before within ten seconds of a burst.
const GIVE_BACK: Duration = Duration::from_secs(4);

/// Gives free memory back to the system, again and again.
pub(super) fn give_memory_back(tasks: &Tasks, clock: Clock) {
    let stopping = tasks.stopping();
    tasks.spawn("give free memory back", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = clock.sleep(GIVE_BACK) => {}
            }
            // nothing to be told of: the next round tries again
            let _ = tokio::task::spawn_blocking(runtime::give_memory_back).await;
        }
    });
}

/// Says once why what is due did not come into force; when it is due again is not known then.
fn not_brought(error: &dyn std::error::Error, told: &mut Option<String>) -> Option<jiff::Timestamp> {
    let reason = error.to_string();
    if told.as_ref() != Some(&reason) {
        tracing::warn!(error = %reason, "cannot apply what is due; retrying every minute");
        *told = Some(reason);
    }
    None
}

/// Ends holds and begins approvals when their time has come.
pub(super) fn bring_due(tasks: &Tasks, catalog: Catalog, clock: Clock, decisions: Arc<Notify>) {
    let stopping = tasks.stopping();
    let mut snapshots = catalog.subscribe();
    tasks.spawn("bring due decisions into force", async move {
        // said once, and again when the reason changes
        let mut told = None;
        loop {
            let (work, now) = (catalog.clone(), clock.now());
            let brought = move || work.bring_due().map(|count| (count, work.next_due()));
            let due = match tokio::task::spawn_blocking(brought).await {
                Ok(Ok((count, due))) => {
                    told = None;
                    if count > 0 {
                        tracing::info!(updates = count, "what was withheld or scheduled came into force");
                        decisions.notify_one();
                    }
                    due
                }
                Ok(Err(error)) => not_brought(&error, &mut told),
                Err(error) => not_brought(&error, &mut told),
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

/// Replaces the keys of cookies when they sealed for so long.
pub(super) fn replace_keys(tasks: &Tasks, catalog: Catalog, clock: Clock, period: Duration) {
    let stopping = tasks.stopping();
    tasks.spawn("keys of cookies", async move {
        let mut failed = false;
        loop {
            let catalog = catalog.clone();
            let replaced = tokio::task::spawn_blocking(move || catalog.rotate_keys(Some(period))).await;
            let error = match replaced {
                Ok(Ok(_rings)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = error.as_ref().filter(|_| !failed) {
                tracing::warn!(%error, "the keys of cookies cannot be replaced; the present ones stay in use, retrying later");
            }
            failed = error.is_some();
            tokio::select! {
                () = stopping.cancelled() => return,
                () = clock.sleep(KEYS_LOOK) => {}
            }
        }
    });
}

/// Writes down what downstream servers took, so that a kill loses [`COUNTS`] of it.
pub(super) fn write_server_counts(tasks: &Tasks, catalog: Catalog, clock: Clock) {
    let stopping = tasks.stopping();
    tasks.spawn("counts of downstream servers", async move {
        let mut failed = false;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = clock.sleep(COUNTS) => {}
            }
            let catalog = catalog.clone();
            let written = tokio::task::spawn_blocking(move || catalog.write_server_counts()).await;
            let error = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = error.as_ref().filter(|_| !failed) {
                tracing::warn!(%error, "the counts of downstream servers cannot be written; they stay in memory");
            }
            failed = error.is_some();
        }
    });
}

/// What holding ahead stands on.
pub(super) struct Prefetch {
    pub(super) catalog: Catalog,
    pub(super) transfers: transfer::Handle,
    pub(super) needs: needs::Handle,
    pub(super) fetch: transfer::Policy,
    pub(super) decisions: Arc<Notify>,
    pub(super) clock: Clock,
}

/// Tells the transfers what to hold ahead: at the start, after decisions, and after each synchronisation that
/// was not for metadata only; with `learned` also when something was learned and when the quiet window begins or ends.
pub(super) fn prefetch(tasks: &Tasks, parts: Prefetch) {
    if matches!(parts.fetch, transfer::Policy::Demand | transfer::Policy::None) {
        return;
    }
    let stopping = tasks.stopping();
    tasks.spawn("hold ahead", async move {
        loop {
            let (lessons, quiet) = (parts.needs.lessons(), parts.needs.is_quiet());
            let (catalog, needs, fetch) = (parts.catalog.clone(), parts.needs.clone(), parts.fetch);
            match tokio::task::spawn_blocking(move || wanted(&catalog, &needs, fetch)).await {
                Ok(Ok(files)) => {
                    let files_wanted = files.len();
                    let left_out = parts.transfers.prefetch(files);
                    tracing::debug!(files_wanted, left_out, "files to prefetch");
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot determine which files to prefetch"),
                Err(error) => tracing::warn!(%error, "cannot determine which files to prefetch"),
            }
            let changed = async {
                loop {
                    parts.clock.sleep(LOOK).await;
                    let needs = &parts.needs;
                    if parts.fetch == transfer::Policy::Learned
                        && (needs.lessons(), needs.is_quiet()) != (lessons, quiet)
                    {
                        return;
                    }
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = parts.decisions.notified() => {}
                () = changed => {}
            }
        }
    });
}

fn wanted(
    catalog: &Catalog,
    needs: &needs::Handle,
    fetch: transfer::Policy,
) -> Result<Vec<transfer::Prefetch>, needs::NeedsError> {
    let scope =
        if fetch == transfer::Policy::Learned { needs::Scope::Learned } else { needs::Scope::Approved };
    let plan = needs.plan(scope)?.files.into_iter();
    let mut files: Vec<_> =
        plan.map(|ahead| transfer::Prefetch { file: ahead.file, class: ahead.class }).collect();
    if fetch == transfer::Policy::All {
        let mut named: HashSet<Sha1Digest> = files.iter().map(|ahead| ahead.file.sha1).collect();
        for sha1 in catalog.live_digests().into_iter().filter(|sha1| named.insert(*sha1)) {
            let file = catalog.file(&sha1)?.map(|known| known.declaration);
            let file = file.filter(|file| !file.is_taken_in_parts());
            files.extend(file.map(|file| transfer::Prefetch { file, class: Class::Background }));
        }
    }
    Ok(files)
}
