//! Asks an upstream whether what is configured can work: it answers, and it knows the languages and categories.
//!
//! **Invariant:** nothing becomes visible and no anchor moves: what is read is staged only. It never fetches an update.

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use super::error::SyncError;
use super::handle::{Upstream, UpstreamState};
use super::names::{Choice, Remembered};
use super::report::SyncOptions;
use super::session::SessionError;
use tailwater_wire::server_sync::Filter;

/// What an upstream said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// The version of MS-WSUSSS that it speaks.
    pub protocol: String,
    /// Whether it is a tailwater, so that lists and documents come the short way.
    pub tailwater: bool,
    /// Configured languages that it does not have; with one of these all languages are taken.
    pub unknown_languages: Vec<String>,
    /// Categories that it has: products, classifications and what is above them.
    pub categories: usize,
    /// Configured products and classifications that it does not have: the key, and the name.
    pub unknown_categories: Vec<(&'static str, String)>,
}

impl Upstream {
    /// Shakes hands, asks how the upstream works, and reads its categories. Microsoft Update takes about a minute.
    ///
    /// # Errors
    /// As a synchronisation's.
    pub async fn examine(&self) -> Result<Examined, SyncError> {
        self.0.examine().await
    }
}

impl UpstreamState {
    async fn examine(&self) -> Result<Examined, SyncError> {
        let session = self.session().await?;
        let tailwater = self.peer_client(&session).await?.is_some();
        // over MS-WSUSSS, which every upstream speaks
        let mut run =
            self.begin_run(session, None, SyncOptions::default(), &CancellationToken::new()).await?;
        let read = async {
            let batch = run.configuration().await?;
            let fetcher = run.fetcher(batch, None, run.kept_languages());
            let asked = Filter { get_config: true, ..Filter::default() };
            let list = run.list(asked).await?;
            run.take(&fetcher, &list.revisions).await?;
            Ok::<_, SessionError>(())
        };
        read.await.map_err(SessionError::into_sync_error)?;
        run.finish_workers().await;
        let categories = run.categories().await?;
        let catalog = run.catalog();
        let mut remembered = blocking(move || Remembered::load(&catalog)).await??;
        let choice =
            Choice::of(&categories, &run.config().products, &run.config().classifications, &mut remembered);
        let unknown = choice.names.into_iter().filter(|name| name.ids.is_empty());
        let config = run.state().config();
        let languages = config.map(|config| &config.languages[..]).unwrap_or_default();
        Ok(Examined {
            protocol: config.map(|config| config.protocol_version.clone()).unwrap_or_default(),
            tailwater,
            unknown_languages: super::select::languages(&run.config().languages, languages).1,
            categories: categories.len(),
            unknown_categories: unknown.map(|name| (name.key.path(), name.name)).collect(),
        })
    }
}
