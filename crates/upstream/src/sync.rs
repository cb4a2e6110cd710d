//! One synchronisation from its beginning to its activation ([MS-WSUSSS] 3.2.4.2).
//!
//! Invariant: nothing is visible before the activation, and anchors move with it. It never gives up what an
//! earlier attempt stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::blocking::blocking;
use super::error::SyncError;
use super::fetch::Fetcher;
use super::ingest::Related;
use super::names::{Choice, Remembered};
use super::peer::PeerError;
use super::report::Phase;
use super::run::{Run, batch};
use super::select::{self, Category, Selection};
use super::session::SessionError;
use super::state::STATE_KEY;
use tailwater_catalog::{Activated, Activation, Catalog, CatalogError, Staging};
use tailwater_domain::{Limit, UpdateId, UpdateIdentity, limits};
use tailwater_wire::server_sync::{
    Filter, RevisionIds, get_config_data, get_revision_id_list, read_config_data, read_revision_ids,
};

/// How the upstream works is asked again after this, where a tailwater would not tell it in passing.
const CONFIG_AGAIN: Duration = Duration::from_hours(24);
/// How often an upstream may change its identity within one synchronisation.
const MOST_ROUNDS: usize = 3;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_ROUNDS in "times": "Changes of the upstream's identity within one synchronisation" => "the synchronisation fails",
];

impl Run {
    /// Everything up to the activation.
    pub(super) async fn prepare(&mut self) -> Result<(), SyncError> {
        if self.options().full {
            self.state_mut().forget_anchors();
        }
        self.note_languages();
        self.look_for_damage().await?;
        for _ in 0..MOST_ROUNDS {
            let done = match self.round().await {
                Ok(()) => self.fetch_languages().await,
                failed => failed,
            };
            match done {
                Ok(()) => {
                    self.look_for_encrypted().await?;
                    return self.fetch_keys().await;
                }
                Err(SessionError::ServerChanged) => {
                    tracing::warn!("the upstream has another identity than before; reading its lists again");
                    self.state_mut().forget_anchors();
                    self.read_all_decisions();
                    self.count_anew();
                }
                Err(error) => return Err(error.into_sync_error()),
            }
        }
        Err(SessionError::ServerChanged.into_sync_error())
    }

    async fn round(&mut self) -> Result<(), SessionError> {
        self.phase(Phase::Connecting);
        let Some(peer) = self.peer().cloned().filter(|peer| peer.is_good()) else {
            let batch = self.configuration().await?;
            return self.soap_round(&self.fetcher(batch, None, self.kept_languages())).await;
        };
        let now = self.now().as_second();
        // asked in the future: by a clock that was ahead
        let again = i64::try_from(CONFIG_AGAIN.as_secs()).unwrap_or(i64::MAX);
        let recent = (0..again).contains(&(now - self.state().configured_at()));
        let batch = match self.state().config() {
            Some(config) if recent && !self.misses_languages() => batch(config),
            _ => {
                self.state_mut().is_configured_at(now);
                self.configuration().await?
            }
        };
        let fetcher = self.fetcher(batch, Some(Arc::clone(&peer)), self.kept_languages());
        match self.peer_round(&peer, &fetcher).await {
            Ok(()) => Ok(()),
            Err(PeerError::Failed(error)) => Err(error),
            Err(PeerError::Strange(reason)) => {
                peer.distrust(&reason);
                self.count_anew();
                self.withdraw_nothing();
                self.soap_round(&fetcher).await
            }
        }
    }

    /// Lists and fetches over MS-WSUSSS.
    async fn soap_round(&mut self, fetcher: &Fetcher) -> Result<(), SessionError> {
        self.phase(Phase::Categories);
        let asked = Filter {
            anchor: self.state().category_anchor().map(str::to_owned),
            get_config: true,
            ..Filter::default()
        };
        let list = self.list(asked).await?;
        let retried = self.to_retry();
        let mut related = self.take(fetcher, &list.revisions).await?;
        let category_anchor = list.anchor;
        let selection = self.selection().await?;
        if selection.nothing {
            // what was listed before stays as it is, and goes on from there once something is selected again
            related.merge(self.retry(fetcher, retried).await?);
            self.related(fetcher, related, false).await?;
            if let Some(anchor) = self.state().update_anchor().map(str::to_owned) {
                self.take_decisions(&anchor).await?;
            }
            if self.keep_missing() {
                self.state_mut().read_categories(category_anchor);
            }
            return Ok(());
        }

        self.phase(Phase::Listing);
        let filter = select::filter(&selection, self.state().selection(), self.state().update_anchor());
        let list = self.list(filter).await?;
        self.phase(Phase::Updates);
        related.merge(self.take(fetcher, &list.revisions).await?);
        related.merge(self.retry(fetcher, retried).await?);
        self.phase(Phase::Related);
        let unfiltered = selection.is_unfiltered();
        self.related(fetcher, related, unfiltered).await?;
        self.take_decisions(&list.anchor).await?;

        // what is missing is asked for by name next time; too much of it, by list
        if self.keep_missing() {
            self.state_mut().read_categories(category_anchor);
            self.state_mut().read_updates(list.anchor, selection);
            self.has_compared();
        }
        Ok(())
    }

    /// How the upstream works; gives the size of a batch.
    pub(super) async fn configuration(&mut self) -> Result<usize, SessionError> {
        let anchor = self.state().config().map(|config| config.anchor.clone());
        let anchor = anchor.filter(|anchor| !anchor.is_empty());
        let ask = |anchor: Option<String>| {
            let session = self.session();
            async move {
                session.call(move |cookie| get_config_data(cookie, anchor.as_deref()), read_config_data).await
            }
        };
        let config = match ask(anchor.clone()).await {
            Err(SessionError::Refused { .. }) if anchor.is_some() => ask(None).await?,
            other => other?,
        };
        let batch = batch(&config);
        self.state_mut().set_config(config);
        Ok(batch)
    }

    /// Asks for a list. An anchor, or a list of languages, that the upstream does not take is left out.
    pub(super) async fn list(&self, mut filter: Filter) -> Result<RevisionIds, SessionError> {
        loop {
            let asked = filter.clone();
            let build = move |cookie: &_| get_revision_id_list(cookie, &asked);
            match self.session().call(build, read_revision_ids).await {
                Err(SessionError::Refused { fault, .. })
                    if fault.code.as_deref() == Some("InvalidParameters")
                        && (filter.anchor.is_some() || !filter.languages.is_empty()) =>
                {
                    tracing::warn!(%fault, "the upstream refused the filter; retrying without its anchor or languages");
                    if filter.anchor.take().is_none() {
                        filter.languages.clear();
                    }
                    for entry in filter.products.iter_mut().chain(&mut filter.classifications) {
                        entry.delta = false;
                    }
                    for entry in &mut filter.languages {
                        entry.delta = false;
                    }
                }
                other => return other,
            }
        }
    }

    /// Fetches what is not held of a list.
    pub(super) async fn take(
        &mut self,
        fetcher: &Fetcher,
        listed: &[UpdateIdentity],
    ) -> Result<Related, SessionError> {
        let staging = self.staging();
        let unique: BTreeSet<UpdateIdentity> = listed.iter().copied().collect();
        let wanted: Vec<UpdateIdentity> =
            unique.iter().filter(|identity| !staging.holds(identity)).copied().collect();
        self.note_listed(unique.len(), unique.len() - wanted.len());
        self.fetch(fetcher, &wanted, true).await
    }

    /// Fetches what an earlier synchronisation missed, or what turned out damaged on the disk.
    pub(super) async fn retry(
        &mut self,
        fetcher: &Fetcher,
        mut wanted: Vec<UpdateIdentity>,
    ) -> Result<Related, SessionError> {
        let missed: HashSet<UpdateIdentity> =
            self.tally().missing.iter().map(|missing| missing.identity).collect();
        let staging = self.staging();
        wanted.retain(|identity| !staging.holds(identity) && !missed.contains(identity));
        wanted.sort_unstable();
        wanted.dedup();
        self.fetch(fetcher, &wanted, false).await
    }

    pub(super) async fn fetch(
        &mut self,
        fetcher: &Fetcher,
        wanted: &[UpdateIdentity],
        listed: bool,
    ) -> Result<Related, SessionError> {
        let result = fetcher.fetch(wanted, listed).await?;
        self.note_fetched(result.stored);
        self.note_missing(result.missing);
        Ok(result.related)
    }

    /// What to ask for, out of the names that are configured and the categories that are known by now. What names
    /// stand for is remembered before anything is asked.
    pub(super) async fn selection(&mut self) -> Result<Selection, SessionError> {
        let (languages, lacking) = select::languages(&self.config().languages, self.state().languages());
        let (catalog, staging) = (self.catalog(), self.staging());
        let config = Arc::clone(self.config());
        let looked_up = blocking(move || {
            let categories = categories(&catalog, &staging)?;
            let before = Remembered::load(&catalog)?;
            let mut after = before.clone();
            let mut choice = Choice::of(&categories, &config.products, &config.classifications, &mut after);
            if after != before {
                after.save(&catalog)?;
            }
            choice.unknown_languages = lacking;
            let selection = choice.selection(&categories, languages);
            Ok((choice, selection))
        });
        let (choice, selection) = looked_up.await?.map_err(SyncError::Catalog)?;
        self.set_choice(choice);
        Ok(selection)
    }

    /// Counts what was chosen, once it is visible.
    pub(super) async fn count_chosen(&mut self) -> Result<(), SyncError> {
        let Some(mut choice) = self.choice().cloned() else { return Ok(()) };
        let (catalog, staging) = (self.catalog(), self.staging());
        let counted = blocking(move || {
            let categories = categories(&catalog, &staging)?;
            let together = catalog.categories_together();
            choice.count(&categories, |products, classifications| {
                let belongs = |named: &[UpdateId], to: &BTreeSet<UpdateId>| {
                    to.is_empty() || named.iter().any(|id| to.contains(id))
                };
                let fits = together
                    .iter()
                    .filter(|(named, _)| belongs(named, products) && belongs(named, classifications));
                fits.map(|(_, count)| count).sum()
            });
            Ok(choice)
        });
        self.set_choice(counted.await?.map_err(SyncError::Catalog)?);
        Ok(())
    }

    /// All categories that are known, those that are not visible yet included.
    pub(super) async fn categories(&self) -> Result<Vec<Category>, SyncError> {
        let (catalog, staging) = (self.catalog(), self.staging());
        blocking(move || categories(&catalog, &staging)).await?.map_err(SyncError::Catalog)
    }

    /// Makes it visible, with the anchors, in one step. `None` when there was nothing new.
    pub(super) async fn activate(&mut self) -> Result<Option<Activated>, SyncError> {
        self.phase(Phase::Activating);
        let (catalog, staging, force) = (self.catalog(), self.staging(), self.options().force);
        let state = self.state().encode()?;
        let (withdraw, is_news) = self.take_withdrawn();
        let activated = blocking(move || {
            if staging.staged().is_empty() && !is_news {
                catalog.set_setting(STATE_KEY, Some(&state))?;
                return Ok(None);
            }
            let settings = vec![(STATE_KEY.to_owned(), Some(state))];
            staging.activate(Activation { settings, withdraw, force }).map(Some)
        });
        let activated = activated.await?.map_err(SyncError::Catalog)?;
        if !matches!(activated, Some(Activated::Held(_))) {
            self.is_whole_again().await?;
            self.languages_are_complete().await?;
        }
        Ok(activated)
    }
}

/// All categories that are known, those that are not visible yet included, with their titles in every language kept;
/// first the one that lists show.
fn categories(catalog: &Catalog, staging: &Staging) -> Result<Vec<Category>, CatalogError> {
    let snapshot = catalog.snapshot();
    let mut found = BTreeMap::new();
    for row in catalog.categories(None)? {
        let Some(newest) = snapshot.latest(&row.id) else { continue };
        let revision = snapshot.revision(newest).map_or(0, |known| known.identity.revision);
        let mut category =
            Category { id: row.id, kind: row.kind, titles: vec![row.title], parents: row.parents };
        let stored = match catalog.facts(newest) {
            // set aside by now, and fetched again
            Err(CatalogError::Damaged { .. }) => None,
            stored => stored?,
        };
        let titles = stored.iter().flat_map(|stored| &stored.facts.titles);
        category.titles.extend(titles.map(|title| title.text.clone()));
        found.insert(row.id, (revision, category));
    }
    for identity in staging.staged() {
        let Some(stored) = staging.facts(&identity)? else { continue };
        let facts = &stored.facts;
        let Some(kind) = facts.category else { continue };
        let titles = facts.titles.iter().map(|title| title.text.clone());
        let parents = facts.prerequisites.iter().flat_map(|clause| clause.any_of.iter().copied());
        let category =
            Category { id: identity.update, kind, titles: titles.collect(), parents: parents.collect() };
        // a newer revision may have another name and lie elsewhere
        if found.get(&identity.update).is_none_or(|(known, _)| *known <= identity.revision) {
            found.insert(identity.update, (identity.revision, category));
        }
    }
    Ok(found.into_values().map(|(_, category)| category).collect())
}
