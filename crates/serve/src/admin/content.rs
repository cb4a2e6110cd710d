//! `/api/v1/content`: what is cached, and what is done with it.
//!
//! **Invariant:** a verification or a collection runs once at a time. Nothing here drops a file that an agent
//! can still ask for.

use std::collections::HashSet;

use super::error::{ApiError, causes};
use super::names::resolve;
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown;
use tailwater_api::{self as api, MAX_ROWS, Paging, Verification};
use tailwater_domain::{Class, FileDeclaration, Limit, Sha1Digest, limits};
use tailwater_needs::{Ahead, Scope};
use tailwater_transfer::TransferError;

/// Files shown in one answer unless more are asked for.
const FILES: usize = 200;

pub(super) const LIMITS: &[Limit] = limits![
    FILES in "files": "Files in one answer unless more are asked for" => "they are not shown",
];

/// `GET /content`: what is cached, the files used last first.
pub(super) async fn status(services: Services, call: Call<api::ReadContent>) -> Result<api::Content> {
    blocking(move || {
        let mut files = services.content.list();
        files.sort_by_key(|file| std::cmp::Reverse(file.last_use));
        let paging = Paging::new(call.query.offset, Some(call.query.rows(FILES, MAX_ROWS)));
        let (page, files) = paging.of(&files, MAX_ROWS, shown::file);
        let usage = services.content.usage();
        Ok(api::Content {
            page,
            files,
            usage: shown::fields!(usage => api::ContentUsage { files, verified, partial, held, dropped, full }),
            fetch: services.about.fetch.clone(),
            max_size: services.in_force().max_size.clone(),
            wanted: services.wanted_bytes(),
            served: services.served_bytes(),
            served_since: services.ledger.kept().since,
            verification: services.verification(),
        })
    })
    .await
}

/// `GET /content/learned`: what classes of computers used, and what of approved updates is foreseen.
pub(super) async fn learned(services: Services, _: Call<api::ReadLearned>) -> Result<api::LearnedContent> {
    blocking(move || {
        let needs = &services.needs;
        Ok(api::LearnedContent {
            learned: needs.learned().into_iter().map(shown::learned).collect(),
            missed: needs.missed(),
            quiet: needs.is_quiet(),
            fetch: services.about.fetch.clone(),
            ahead: ahead(&services)?,
        })
    })
    .await
}

/// What `fetch = "learned"` would fetch ahead, now and in the quiet window.
fn ahead(services: &Services) -> Result<api::Planned> {
    let plan = services.needs.plan(Scope::Learned)?;
    let row = |ahead: &Ahead| api::PlannedFile {
        file: services.file_row(&ahead.file),
        class: shown::class(ahead.class),
        update_id: ahead.update,
    };
    let rows = |list: &[Ahead]| list.iter().take(FILES).map(row).collect();
    Ok(api::Planned {
        now: rows(&plan.files),
        waiting: rows(&plan.waiting),
        quiet_at: plan.quiet_at,
        files: plan.files.len() + plan.waiting.len(),
        bytes: plan.files.iter().chain(&plan.waiting).map(|ahead| ahead.file.size).sum(),
    })
}

/// `POST /content/verify`: begins to hash everything cached again; `GET /content` tells how far it is.
pub(super) async fn verify(services: Services, _: Call<api::VerifyContent>) -> Result<api::Started> {
    if services.verification().is_some_and(|verification| verification.running) {
        return Err(ApiError::Conflict {
            reason: "a verification runs already; `content status` shows it".to_owned(),
        });
    }
    let running = |done: u64, total: u64| Verification {
        running: true,
        done: Some(done),
        total: Some(total),
        ..Verification::default()
    };
    services.set_verification(running(0, 0));
    let stopping = services.tasks.stopping();
    let work = services.clone();
    services.tasks.spawn("content verification", async move {
        let inner = work.clone();
        let run = move || {
            inner.content.verify(|done, total| {
                inner.set_verification(running(done, total));
                !stopping.is_cancelled()
            })
        };
        let failed = |error: &dyn std::error::Error| Verification {
            error: Some(causes(error)),
            ..Verification::default()
        };
        work.set_verification(match tokio::task::spawn_blocking(run).await {
            Ok(Ok(report)) => {
                Verification { report: Some(shown::verified(report)), ..Verification::default() }
            }
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        });
    });
    Ok(api::Started { started: true })
}

/// `POST /content/collect`: drops files that nothing offered names any more.
pub(super) async fn collect(services: Services, _: Call<api::CollectContent>) -> Result<api::Collected> {
    blocking(move || {
        let live: HashSet<Sha1Digest> = services.catalog.kept_digests().into_iter().collect();
        let done = services.content.collect(|sha1| live.contains(sha1));
        Ok(shown::fields!(done => api::Collected { files, bytes, in_use }))
    })
    .await
}

/// `POST /content/fetch`: queues the files of updates, or of everything approved.
pub(super) async fn fetch(services: Services, call: Call<api::FetchContent>) -> Result<api::Fetched> {
    blocking(move || {
        let mut files: Vec<FileDeclaration> = Vec::new();
        if call.body.approved {
            files.extend(services.catalog.approved_files()?);
        }
        for name in &call.body.updates {
            for id in resolve(&services.catalog, name, false)? {
                files.extend(services.catalog.files_of(&id)?);
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.sha1));
        let full = services
            .transfers
            .pin_downloads(&files, Class::Normal)
            .map_err(|error| ApiError::internal(&error))?;
        let error = causes(&TransferError::Crowded);
        let failed = full.iter().map(|file| api::FetchFailure {
            sha1: file.sha1.hex(),
            name: file.name.clone(),
            error: error.clone(),
        });
        let failed = failed.collect();
        Ok(api::Fetched { files: files.iter().map(|file| services.file_row(file)).collect(), failed })
    })
    .await
}
