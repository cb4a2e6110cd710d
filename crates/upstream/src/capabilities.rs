//! What an upstream said that it can do with payloads.
//!
//! **Invariant:** an upstream that said nothing can do nothing of it.

use super::state::SyncState;

/// How the upstream deals with payloads.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UpstreamCapabilities {
    /// It hands out only its catalog.
    pub(super) catalog_only: bool,
    /// It fetches payloads when they are approved or asked for.
    pub(super) lazy: bool,
    /// It has express payloads.
    pub(super) hosts_psf: bool,
}

impl UpstreamCapabilities {
    /// As the upstream said last (`ConfigData`, [MS-WSUSSS] 3.1.4.4).
    pub(super) fn of(state: &SyncState) -> Self {
        state.config().map_or_else(Self::default, |config| Self {
            catalog_only: config.catalog_only_sync,
            lazy: config.lazy_sync,
            hosts_psf: config.server_hosts_psf_files,
        })
    }
}
