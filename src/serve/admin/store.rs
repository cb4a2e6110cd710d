//! `/api/v1/store`: the data directory, and the keys that cookies are sealed with.
//!
//! **Invariant:** of a key only its identity and its age are shown. It never changes what is stored but for keys.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};

/// `GET /store`.
pub(super) async fn show(State(services): State<Services>) -> Json<Value> {
    Json(json!({ "disk": disk(&services), "keys": services.catalog.keys() }))
}

/// Whether what changes can be written, and why not.
pub(super) fn disk(services: &Services) -> Value {
    match services.disk.report() {
        None => json!({ "writable": true, "reason": null, "next_step": null, "affected": [] }),
        Some(report) => json!({ "writable": false, "reason": report.reason, "next_step": report.cure,
                                "affected": report.affected }),
    }
}

/// `POST /store/rotate-keys`: every ring gets a new key; what the old ones sealed stays good until it ends.
pub(super) async fn rotate_keys(State(services): State<Services>) -> Result<Json<Value>> {
    blocking(move || {
        let rotated = services.catalog.rotate_keys(None)?;
        Ok(Json(json!({ "rotated": rotated, "keys": services.catalog.keys() })))
    })
    .await
}
