//! `/api/v1/sync`: start, watch, cancel and look back.
//!
//! **Invariant:** whoever asks for a synchronisation learns how the one ended that they asked for or joined. It never waits
//! for one.

use super::error::ApiError;
use super::route::Call;
use super::services::{Result, Services};
use tailwater_api as api;
use tailwater_upstream::SyncOptions;

/// `GET /sync`.
pub(super) async fn show(services: Services, _: Call<api::ReadSync>) -> Result<api::Sync> {
    Ok(services.sync.overview())
}

/// `POST /sync`: starts one, or joins the one that runs.
pub(super) async fn start(services: Services, call: Call<api::Synchronise>) -> Result<api::StartedSync> {
    let asked = call.body;
    let options = SyncOptions { full: asked.full, force: asked.accept_removals };
    let (run, joined) = services.sync.ask(options, !asked.metadata_only);
    Ok(api::StartedSync { run, joined })
}

/// `DELETE /sync`.
pub(super) async fn cancel(services: Services, _: Call<api::CancelSync>) -> Result<api::CancelledSync> {
    if services.sync.cancel() {
        return Ok(api::CancelledSync { cancelling: true });
    }
    Err(ApiError::Conflict { reason: "no synchronisation runs".to_owned() })
}

/// `GET /sync/history`.
pub(super) async fn history(services: Services, call: Call<api::ListSyncs>) -> Result<api::SyncHistory> {
    Ok(services.sync.history(call.query))
}
