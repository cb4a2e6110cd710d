//! `/api/v1/transfers`: what is on its way, and what administrators change of it.
//!
//! **Invariant:** what has arrived of a file is kept, whatever is done with its transfer.

use super::error::ApiError;
use super::route::Call;
use super::services::{Result, Services};
use super::shown;
use tailwater_api::{self as api, MAX_WHOLE};
use tailwater_domain::{ParseDigestError, Sha1Digest};

/// `GET /transfers`.
pub(super) async fn list(services: Services, call: Call<api::ListTransfers>) -> Result<api::Transfers> {
    let (page, transfers) = call.query.of(&services.transfers.list(), MAX_WHOLE, shown::transfer);
    Ok(api::Transfers { page, transfers })
}

fn digest(text: &str) -> Result<Sha1Digest> {
    text.parse()
        .map_err(|error: ParseDigestError| ApiError::Invalid { field: "sha1", reason: error.to_string() })
}

/// `PUT /transfers/{sha1}`: pauses a transfer, goes on with it, or makes it more urgent.
pub(super) async fn change(
    services: Services,
    call: Call<api::UpdateTransfer>,
) -> Result<api::ChangedTransfer> {
    let (digest, asked) = (digest(&call.name)?, call.body);
    let transfers = &services.transfers;
    let paused =
        asked.paused.map(|paused| if paused { transfers.pause(&digest) } else { transfers.resume(&digest) });
    let raised = asked.class.map(|class| transfers.raise(&digest, shown::class_of(class)));
    match (paused, raised) {
        (None, None) => Err(ApiError::Invalid {
            field: "paused",
            reason: "expected \"paused\" (true or false), \"class\" (such as \"interactive\"), or both"
                .to_owned(),
        }),
        (Some(false), _) | (_, Some(false)) => Err(unknown(&call.name)),
        _ => Ok(api::ChangedTransfer { sha1: digest.hex(), paused: asked.paused, class: asked.class }),
    }
}

fn unknown(sha1: &str) -> ApiError {
    let name = sha1.chars().take(60).collect();
    ApiError::NotFound { kind: "transfer", name, next: "it may have ended; see `content status`" }
}

/// `DELETE /transfers/{sha1}`: cancels a transfer; what has arrived is kept.
pub(super) async fn cancel(
    services: Services,
    call: Call<api::CancelTransfer>,
) -> Result<api::CancelledTransfer> {
    if services.transfers.cancel(&digest(&call.name)?) {
        return Ok(api::CancelledTransfer { cancelled: call.name });
    }
    Err(unknown(&call.name))
}
