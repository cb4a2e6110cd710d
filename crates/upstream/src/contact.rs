//! Contact with the upstream: the session, and whether it is a tailwater.
//!
//! **Invariant:** one session for the life of the process, made with its first use; what is learned of an upstream is
//! stored before it is relied on. It never synchronises.

use std::sync::{Arc, MutexGuard, PoisonError};

use http::HeaderValue;

use super::blocking::blocking;
use super::client::{Packing, SoapClient};
use super::error::SyncError;
use super::handle::UpstreamState;
use super::names::Choice;
use super::peer::{PeerClient, PeerState};
use super::root;
use super::session::{Session, SessionError};
use crate::config::PeerUse;
use tailwater_bandwidth::{LinkClient, LinkConfig};
use tailwater_domain::Class;

/// The token as a header that nothing prints.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl UpstreamState {
    /// The session, made with the first use: Microsoft's service needs its trust root first.
    pub(super) async fn session(&self) -> Result<Arc<Session>, SyncError> {
        let session = self.session.get_or_try_init(|| async {
            let client = SoapClient {
                link: self.client().await?,
                clock: self.clock.clone(),
                dir: self.config.dir.clone(),
                class: Class::Metadata,
                token: self.config.token.as_deref().and_then(bearer),
                packing: Packing::default(),
            };
            let (catalog, config) = (self.catalog.clone(), Arc::clone(&self.config));
            let made = tokio::task::spawn_blocking(move || {
                Session::new(client, catalog, &config.url, config.account_name.as_deref())
            });
            made.await.map_err(|_e| SyncError::Worker)?.map(Arc::new)
        });
        session.await.cloned()
    }

    async fn client(&self) -> Result<LinkClient, SyncError> {
        if self.config.link.ca_file.is_some() || !root::is_needed(&self.config.url) {
            return Ok(self.link.clone());
        }
        let mut config: LinkConfig = self.config.link.clone();
        config.extra_roots.push(root::certificate(&self.link, &self.config.dir).await?);
        let (limiter, meter) = (self.link.limiter(), self.link.meter());
        LinkClient::new(config, limiter, meter, &self.clock, &self.tasks)
            .map_err(|source| SyncError::Link { operation: "preparing the link", source })
    }

    fn peer_state(&self) -> MutexGuard<'_, PeerState> {
        self.peer.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the upstream is a tailwater that may be asked as one.
    pub(super) fn is_peer(&self) -> bool {
        self.config.peer != PeerUse::Off && self.peer_state().known().is_some()
    }

    /// The client of an upstream that is a tailwater; asks whether it is one when that is due.
    pub(super) async fn peer_client(
        &self,
        session: &Arc<Session>,
    ) -> Result<Option<Arc<PeerClient>>, SyncError> {
        // Microsoft's service is known to be none
        if self.config.peer == PeerUse::Off || root::is_needed(&self.config.url) {
            return Ok(None);
        }
        let now = self.clock.now().as_second();
        let mut known = self.peer_state().clone();
        if known.is_due(now) {
            // nothing but an upstream that lets us in is asked anything else
            session.cookie().await.map_err(SessionError::into_sync_error)?;
            known.ask(&session.client().link, now).await;
            if known.known().is_some() {
                tracing::info!(
                    "the upstream is a tailwater: lists and documents are fetched over protocol 1"
                );
            }
            self.keep_peer_state(known.clone()).await?;
        }
        Ok(known.known().map(|hello| {
            let (catalog, languages) = (self.catalog.clone(), self.config.languages.clone());
            let session = Arc::clone(session);
            Arc::new(PeerClient::new(session, hello.clone(), catalog, languages))
        }))
    }

    async fn keep_peer_state(&self, known: PeerState) -> Result<(), SyncError> {
        *self.peer_state() = known.clone();
        let catalog = self.catalog.clone();
        blocking(move || known.save(&catalog)).await?.map_err(SyncError::Catalog)
    }

    /// What a synchronisation taught about the upstream.
    pub(super) async fn learn(&self, peer: &PeerClient, went_well: bool) -> Result<(), SyncError> {
        let mut known = self.peer_state().clone();
        if !peer.is_good() {
            known.was_strange(self.clock.now().as_second());
        } else if !went_well || !known.went_well() {
            return Ok(());
        }
        self.keep_peer_state(known).await
    }

    /// Keeps what is chosen, to be shown at any time.
    pub(super) async fn choose(&self, chosen: &Choice) -> Result<(), SyncError> {
        let before =
            self.chosen.choice.lock().unwrap_or_else(PoisonError::into_inner).replace(chosen.clone());
        if before.as_ref() == Some(chosen) {
            return Ok(());
        }
        let (catalog, chosen) = (self.catalog.clone(), chosen.clone());
        blocking(move || chosen.save(&catalog)).await?.map_err(SyncError::Catalog)
    }
}
