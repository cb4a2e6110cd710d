//! `/api/v1/reload`: the configuration is read again.
//!
//! **Invariant:** a configuration that cannot be used changes nothing, and the answer names every mistake in it. What is
//! read is the file that the server was started with, never one that the request names.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};
use super::error::ApiError;

/// What a reload did.
#[derive(Debug, Clone, Default)]
pub struct Reloaded {
    /// Keys whose new values are in force: key, value before, value now.
    pub changed: Vec<Value>,
    /// Keys whose new values a restart brings into force.
    pub restart: Vec<Value>,
    /// What can be used and is probably not meant.
    pub doubts: Vec<Value>,
}

/// Reads the configuration again and brings into force what can be; on failure each mistake.
pub type Reload = Box<dyn Fn() -> std::result::Result<Reloaded, Vec<String>> + Send + Sync>;

/// `POST /reload`.
pub(super) async fn reload(State(services): State<Services>) -> Result<Json<Value>> {
    blocking(move || {
        let reload = services.reload.get().ok_or_else(|| ApiError::Conflict {
            reason: "no server runs, so there is nothing to reload; the next start reads the configuration"
                .to_owned(),
        })?;
        let done = reload().map_err(|mistakes| ApiError::Invalid {
            field: "configuration",
            reason: format!("nothing was changed: {}", mistakes.join("; ")),
        })?;
        Ok(Json(json!({ "changed": done.changed, "restart": done.restart, "doubts": done.doubts })))
    })
    .await
}
