//! `/api/v1/content` and `/transfers`: what is held, and what is on its way.
//!
//! **Invariant:** a verification or a collection runs once at a time. Nothing here drops a file that an agent
//! can still ask for.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};
use super::error::{ApiError, causes};
use super::names::resolve;
use super::page::{MAX_ROWS, MAX_WHOLE, Range};
use crate::bandwidth::Class;
use crate::domain::{FileDeclaration, Limit, Sha1Digest, limits};
use crate::needs::{Ahead, Scope};
use crate::transfer::TransferError;

/// Files shown in one answer unless more are asked for.
const FILES: usize = 200;

pub(super) const LIMITS: &[Limit] = limits![
    FILES in "files": "Files in one answer unless more are asked for" => "they are not shown",
];

/// `GET /content`.
/// What is held, the files used last first.
pub(super) async fn status(
    State(services): State<Services>,
    Query(range): Query<Range>,
) -> Result<Json<Value>> {
    blocking(move || {
        let mut files = services.content.list();
        files.sort_by_key(|file| std::cmp::Reverse(file.last_use));
        let range = Range { limit: Some(range.limit(FILES, MAX_ROWS)), ..range };
        let mut answer = range.of("files", &files, MAX_ROWS, |file| json!(file));
        let transfers = services.transfers.list();
        let wanted: u64 = transfers.iter().map(|transfer| transfer.size.saturating_sub(transfer.held)).sum();
        let more = json!({
            "usage": services.content.usage(), "fetch": services.about.fetch, "max_size": services.in_force().max_size,
            "wanted": wanted, "served": services.served_bytes(), "served_since": services.ledger.kept().since,
            "verification": services.verification(),
        });
        if let (Value::Object(fields), Value::Object(more)) = (&mut answer, more) {
            fields.extend(more);
        }
        Ok(Json(answer))
    })
    .await
}

/// `GET /content/learned`: what classes of computers used, and what of approved updates is foreseen.
pub(super) async fn learned(State(services): State<Services>) -> Result<Json<Value>> {
    blocking(move || {
        let needs = &services.needs;
        Ok(Json(json!({ "learned": needs.learned(), "missed": needs.missed(), "quiet": needs.is_quiet(),
                        "fetch": services.about.fetch, "ahead": ahead(&services)? })))
    })
    .await
}

/// What `fetch = "learned"` would fetch ahead, now and in the quiet window.
fn ahead(services: &Services) -> Result<Value> {
    let plan = services.needs.plan(Scope::Learned)?;
    let row = |ahead: &Ahead| {
        let mut row = services.file_row(&ahead.file);
        if let Value::Object(row) = &mut row {
            row.insert("class".to_owned(), json!(ahead.class));
            row.insert("update_id".to_owned(), json!(ahead.update));
        }
        row
    };
    let rows = |list: &[Ahead]| list.iter().take(FILES).map(row).collect::<Vec<_>>();
    let bytes: u64 = plan.files.iter().chain(&plan.waiting).map(|ahead| ahead.file.size).sum();
    Ok(json!({ "now": rows(&plan.files), "waiting": rows(&plan.waiting), "quiet_at": plan.quiet_at,
               "files": plan.files.len() + plan.waiting.len(), "bytes": bytes }))
}

/// `POST /content/verify`: begins to hash everything held again; `GET /content` tells how far it is.
pub(super) async fn verify(State(services): State<Services>) -> Result<Json<Value>> {
    if services.verification()["running"] == json!(true) {
        return Err(ApiError::Conflict {
            reason: "a verification runs already; `content status` shows it".to_owned(),
        });
    }
    services.set_verification(json!({ "running": true, "done": 0, "total": 0 }));
    let stopping = services.tasks.stopping();
    let work = services.clone();
    services.tasks.spawn("content verification", async move {
        let inner = work.clone();
        let run = move || {
            inner.content.verify(|done, total| {
                inner.set_verification(json!({ "running": true, "done": done, "total": total }));
                !stopping.is_cancelled()
            })
        };
        let result = match tokio::task::spawn_blocking(run).await {
            Ok(Ok(report)) => json!({ "running": false, "report": report }),
            Ok(Err(error)) => json!({ "running": false, "error": causes(&error) }),
            Err(error) => json!({ "running": false, "error": causes(&error) }),
        };
        work.set_verification(result);
    });
    Ok(Json(json!({ "started": true })))
}

/// `POST /content/collect`: drops files that nothing offered names any more.
pub(super) async fn collect(State(services): State<Services>) -> Result<Json<Value>> {
    blocking(move || {
        let live: HashSet<Sha1Digest> = services.catalog.kept_digests().into_iter().collect();
        Ok(Json(json!(services.content.collect(|sha1| live.contains(sha1)))))
    })
    .await
}

/// `POST /content/fetch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetch {
    #[serde(default)]
    updates: Vec<String>,
    #[serde(default)]
    approved: bool,
}

/// Queues the files of updates, or of everything approved.
pub(super) async fn fetch(State(services): State<Services>, Json(body): Json<Fetch>) -> Result<Json<Value>> {
    blocking(move || {
        let mut files: Vec<FileDeclaration> = Vec::new();
        if body.approved {
            files.extend(services.catalog.approved_files()?);
        }
        for name in &body.updates {
            for id in resolve(&services.catalog, name, false)? {
                files.extend(services.catalog.files_of(&id)?);
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.sha1));
        let full = services
            .transfers
            .fetch_for_good(&files, Class::Normal)
            .map_err(|error| ApiError::internal(&error))?;
        let error = causes(&TransferError::Crowded);
        let row =
            |file: &&FileDeclaration| json!({ "sha1": file.sha1.hex(), "name": file.name, "error": error });
        let failed: Vec<Value> = full.iter().map(row).collect();
        let rows: Vec<Value> = files.iter().map(|file| services.file_row(file)).collect();
        Ok(Json(json!({ "files": rows, "failed": failed })))
    })
    .await
}

/// `GET /transfers`.
pub(super) async fn transfers(State(services): State<Services>, Query(range): Query<Range>) -> Json<Value> {
    Json(range.of("transfers", &services.transfers.list(), MAX_WHOLE, |transfer| json!(transfer)))
}

fn digest(text: &str) -> Result<Sha1Digest> {
    text.parse().map_err(|error: crate::domain::ParseDigestError| ApiError::Invalid {
        field: "sha1",
        reason: error.to_string(),
    })
}

/// `PUT /transfers/{sha1}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    paused: Option<bool>,
    class: Option<Class>,
}

/// Pauses a transfer, goes on with it, or makes it more urgent.
pub(super) async fn order(
    State(services): State<Services>,
    Path(sha1): Path<String>,
    Json(order): Json<Order>,
) -> Result<Json<Value>> {
    let digest = digest(&sha1)?;
    let transfers = &services.transfers;
    let paused =
        order.paused.map(|paused| if paused { transfers.pause(&digest) } else { transfers.resume(&digest) });
    let raised = order.class.map(|class| transfers.raise(&digest, class));
    match (paused, raised) {
        (None, None) => Err(ApiError::Invalid {
            field: "paused",
            reason: "expected \"paused\" (true or false), \"class\" (such as \"interactive\"), or both"
                .to_owned(),
        }),
        (Some(false), _) | (_, Some(false)) => Err(unknown_transfer(&sha1)),
        _ => Ok(Json(json!({ "sha1": digest.hex(), "paused": order.paused, "class": order.class }))),
    }
}

fn unknown_transfer(sha1: &str) -> ApiError {
    let name = sha1.chars().take(60).collect();
    ApiError::NotFound { kind: "transfer", name, next: "it may have ended; see `content status`" }
}

/// `DELETE /transfers/{sha1}`: gives a transfer up; what came is kept.
pub(super) async fn cancel(
    State(services): State<Services>,
    Path(sha1): Path<String>,
) -> Result<Json<Value>> {
    if services.transfers.cancel(&digest(&sha1)?) {
        return Ok(Json(json!({ "cancelled": sha1 })));
    }
    Err(unknown_transfer(&sha1))
}
