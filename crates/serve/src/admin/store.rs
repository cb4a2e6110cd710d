//! `/api/v1/store`: the data directory, and the keys that cookies are sealed with.
//!
//! **Invariant:** of a key only its identity and its age are shown. It never changes what is stored but for keys.

use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown;
use tailwater_api as api;

/// `GET /store`.
pub(super) async fn show(services: Services, _: Call<api::ReadStore>) -> Result<api::DataDirectory> {
    Ok(api::DataDirectory { disk: disk(&services), keys: shown::keys(services.catalog.keys()) })
}

/// Whether what changes can be written, and why not.
pub(super) fn disk(services: &Services) -> api::Disk {
    let report = services.disk.report();
    api::Disk {
        writable: report.is_none(),
        reason: report.as_ref().map(|report| report.reason.clone()),
        next_step: report.as_ref().map(|report| report.cure.to_owned()),
        affected: report.iter().flat_map(|report| &report.affected).map(|&one| one.to_owned()).collect(),
    }
}

/// `POST /store/rotate-keys`: every ring gets a new key; what the old ones sealed stays good until it ends.
pub(super) async fn rotate_keys(services: Services, _: Call<api::RotateKeys>) -> Result<api::RotatedKeys> {
    blocking(move || {
        let rotated = services.catalog.rotate_keys(None)?;
        Ok(api::RotatedKeys { rotated, keys: shown::keys(services.catalog.keys()) })
    })
    .await
}
