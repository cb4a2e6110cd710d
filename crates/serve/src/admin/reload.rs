//! `/api/v1/reload`: the configuration is read again.
//!
//! **Invariant:** a configuration that cannot be used changes nothing, and the answer names every mistake in it. What is
//! read is the file that the server was started with, never one that the request names.

use super::error::ApiError;
use super::route::Call;
use super::services::{Result, Services, blocking};
use tailwater_api as api;

/// Reads the configuration again and brings into force what can be; on failure each mistake.
pub type Reload = Box<dyn Fn() -> std::result::Result<api::Reloaded, Vec<String>> + Send + Sync>;

/// `POST /reload`.
pub(super) async fn reload(services: Services, _: Call<api::Reload>) -> Result<api::Reloaded> {
    blocking(move || {
        let reload = services.reload.get().ok_or_else(|| ApiError::Conflict {
            reason: "no server runs, so there is nothing to reload; the next start reads the configuration"
                .to_owned(),
        })?;
        reload().map_err(|mistakes| ApiError::Invalid {
            field: "configuration",
            reason: format!("nothing was changed: {}", mistakes.join("; ")),
        })
    })
    .await
}
