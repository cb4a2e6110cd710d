//! One synchronisation from its beginning to its activation ([MS-WSUSSS] 3.2.4.2).
//!
//! Invariant: nothing is visible before the activation, and anchors move with it. It never gives up what an
//! earlier attempt stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fetch::Fetcher;
use super::ingest::Related;
use super::names::{Choice, Remembered};
use super::peer::{Line, Trouble};
use super::renewal::Renewals;
use super::select::{self, Category};
use super::session::{Session, SessionError};
use super::state::{MOST_MISSING, STATE_KEY, Selection, State};
use super::{Config, Missing, Phase, SyncError, SyncOptions, SyncProgress};
use crate::catalog::{Activated, Activation, Catalog, CatalogError, Staging, Unnamed};
use crate::domain::{Limit, UpdateId, UpdateIdentity, limits};
use crate::runtime::{Clock, Tasks};
use crate::wire::server_sync::{
    ConfigData, Filter, Language, RevisionIds, get_config_data, get_revision_id_list, read_config_data,
    read_revision_ids,
};
use crate::wire::update_metadata::Languages;

/// What real servers take, for an upstream that does not say.
const USUAL_BATCH: usize = 100;
/// No more, whatever an upstream says: they are in flight together.
const LARGEST_BATCH: usize = 500;
/// How the upstream works is asked again after this, where a tailwater would not tell it in passing.
const CONFIG_AGAIN: Duration = Duration::from_hours(24);
/// How often an upstream may change its identity within one synchronisation.
const MOST_ROUNDS: usize = 3;

pub(super) const LIMITS: &[Limit] = limits![
    USUAL_BATCH in "revisions": "Revisions in flight where the upstream does not say" => "they are asked for in the next batch",
    LARGEST_BATCH in "revisions": "Revisions in flight, whatever the upstream says" => "they are asked for in the next batch",
    MOST_ROUNDS in "times": "Changes of the upstream's identity within one synchronisation" => "the synchronisation fails",
];

/// What a synchronisation needs.
pub(super) struct Run {
    pub(super) config: Arc<Config>,
    pub(super) catalog: Catalog,
    pub(super) session: Arc<Session>,
    /// Where the upstream is a tailwater.
    pub(super) line: Option<Arc<Line>>,
    pub(super) staging: Staging,
    pub(super) progress: Arc<watch::Sender<SyncProgress>>,
    pub(super) cancel: CancellationToken,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) options: SyncOptions,
    /// Ask for all decisions instead of what changed.
    pub(super) decisions_afresh: bool,
    pub(super) state: State,
    /// Held revisions that the upstream says are gone.
    pub(super) withdraw: Vec<UpdateIdentity>,
    /// Keys of encrypted payloads came: servers below hear of it with the activation.
    pub(super) keys_came: bool,
    pub(super) tally: Tally,
    /// What the configuration chooses, once it was looked up.
    pub(super) choice: Option<Choice>,
    /// What is missing here because of damage, and has no name any more.
    pub(super) unnamed: Option<Unnamed>,
    /// All that the upstream lists was compared.
    pub(super) compared: bool,
    pub(super) workers: TaskTracker,
    pub(super) renewals: Arc<Mutex<Renewals>>,
}

/// What there is to report.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) listed: usize,
    pub(super) held: usize,
    pub(super) fetched: usize,
    pub(super) missing: Vec<Missing>,
    pub(super) absent_prerequisites: usize,
    pub(super) decided: Option<usize>,
}

/// Runs what may block on the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(|_e| SyncError::Worker)
}

impl Run {
    pub(super) fn phase(&self, phase: Phase) {
        self.progress.send_modify(|progress| progress.phase = phase);
    }

    /// Everything up to the activation.
    pub(super) async fn prepare(&mut self) -> Result<(), SyncError> {
        if self.options.full {
            self.state.forget_anchors();
        }
        self.note_languages();
        self.look_for_damage().await?;
        for _ in 0..MOST_ROUNDS {
            let done = match self.round().await {
                Ok(()) => self.fetch_languages().await,
                failed => failed,
            };
            match done {
                Ok(()) => return self.fetch_keys().await,
                Err(SessionError::ServerChanged) => {
                    tracing::warn!("the upstream is another one than before; its lists are read again");
                    self.state.forget_anchors();
                    self.decisions_afresh = true;
                    self.tally = Tally { fetched: self.tally.fetched, ..Tally::default() };
                }
                Err(error) => return Err(error.into_sync_error()),
            }
        }
        Err(SessionError::ServerChanged.into_sync_error())
    }

    async fn round(&mut self) -> Result<(), SessionError> {
        self.phase(Phase::Connecting);
        let Some(line) = self.line.clone().filter(|line| line.is_good()) else {
            let batch = self.configuration().await?;
            return self.soap_round(&self.fetcher(batch, None)).await;
        };
        let now = self.clock.now().as_second();
        // asked in the future: by a clock that was ahead
        let again = i64::try_from(CONFIG_AGAIN.as_secs()).unwrap_or(i64::MAX);
        let recent = (0..again).contains(&(now - self.state.configured_at));
        let batch = match &self.state.config {
            Some(config) if recent && !self.misses_languages() => batch(config),
            _ => {
                self.state.configured_at = now;
                self.configuration().await?
            }
        };
        let fetcher = self.fetcher(batch, Some(Arc::clone(&line)));
        match self.peer_round(&line, &fetcher).await {
            Ok(()) => Ok(()),
            Err(Trouble::Failed(error)) => Err(error),
            Err(Trouble::Strange(reason)) => {
                line.distrust(&reason);
                self.tally = Tally { fetched: self.tally.fetched, ..Tally::default() };
                self.withdraw.clear();
                self.soap_round(&fetcher).await
            }
        }
    }

    pub(super) fn fetcher(&self, batch: usize, line: Option<Arc<Line>>) -> Fetcher {
        Fetcher {
            session: Arc::clone(&self.session),
            line,
            staging: self.staging.clone(),
            languages: Arc::new(self.languages()),
            batch,
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            workers: self.workers.clone(),
            renewals: Arc::clone(&self.renewals),
            kept: Arc::new(self.kept_languages()),
            again: false,
        }
    }

    /// Lists and fetches over MS-WSUSSS.
    async fn soap_round(&mut self, fetcher: &Fetcher) -> Result<(), SessionError> {
        self.phase(Phase::Categories);
        let asked =
            Filter { anchor: self.state.category_anchor.clone(), get_config: true, ..Filter::default() };
        let list = self.list(asked).await?;
        let retried = self.to_retry();
        let mut related = self.take(fetcher, &list.revisions).await?;
        let category_anchor = list.anchor;
        let selection = self.selection().await?;
        if selection.nothing {
            // what was listed before stays as it is, and goes on from there once something is selected again
            related.merge(self.retry(fetcher, retried).await?);
            self.related(fetcher, related, false).await?;
            if let Some(anchor) = self.state.update_anchor.clone() {
                self.take_decisions(&anchor).await?;
            }
            if self.tally.missing.len() <= MOST_MISSING {
                self.state.category_anchor = Some(category_anchor);
                self.state.missing.clone_from(&self.tally.missing);
            }
            return Ok(());
        }

        self.phase(Phase::Listing);
        let filter = select::filter(&selection, &self.state.selection, self.state.update_anchor.as_deref());
        let list = self.list(filter).await?;
        self.phase(Phase::Updates);
        related.merge(self.take(fetcher, &list.revisions).await?);
        related.merge(self.retry(fetcher, retried).await?);
        self.phase(Phase::Related);
        let unfiltered = selection.is_unfiltered();
        self.related(fetcher, related, unfiltered).await?;
        self.take_decisions(&list.anchor).await?;

        // what could not be had is asked for by name next time; too much of it, by list
        if self.tally.missing.len() <= MOST_MISSING {
            self.state.category_anchor = Some(category_anchor);
            self.state.update_anchor = Some(list.anchor);
            self.state.selection = selection;
            self.state.missing.clone_from(&self.tally.missing);
            self.has_compared();
        }
        Ok(())
    }

    fn languages(&self) -> Languages {
        match &self.config.languages[..] {
            [] => Languages::all(),
            some => Languages::of(some.iter().cloned()),
        }
    }

    /// How the upstream works; gives the size of a batch.
    pub(super) async fn configuration(&mut self) -> Result<usize, SessionError> {
        let anchor = self.state.config.as_ref().map(|config| config.anchor.clone());
        let anchor = anchor.filter(|anchor| !anchor.is_empty());
        let ask = |anchor: Option<String>| {
            let session = &self.session;
            async move {
                session.call(move |cookie| get_config_data(cookie, anchor.as_deref()), read_config_data).await
            }
        };
        let mut config = match ask(anchor.clone()).await {
            Err(SessionError::Refused { .. }) if anchor.is_some() => ask(None).await?,
            other => other?,
        };
        // only the languages whose setting changed are told again
        let before = self.state.config.take().map(|before| before.languages).unwrap_or_default();
        let is_told = |old: &Language| config.languages.iter().any(|new| new.id == old.id);
        let mut rest: Vec<Language> = before.into_iter().filter(|old| !is_told(old)).collect();
        config.languages.append(&mut rest);
        let batch = batch(&config);
        self.state.config = Some(config);
        Ok(batch)
    }

    /// Asks for a list. An anchor, or a list of languages, that the upstream does not take is left out.
    pub(super) async fn list(&self, mut filter: Filter) -> Result<RevisionIds, SessionError> {
        loop {
            let asked = filter.clone();
            let build = move |cookie: &_| get_revision_id_list(cookie, &asked);
            match self.session.call(build, read_revision_ids).await {
                Err(SessionError::Refused { fault, .. })
                    if fault.code.as_deref() == Some("InvalidParameters")
                        && (filter.anchor.is_some() || !filter.languages.is_empty()) =>
                {
                    tracing::warn!(%fault, "the upstream does not take the filter; asking without its anchor or languages");
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
        let unique: BTreeSet<UpdateIdentity> = listed.iter().copied().collect();
        let wanted: Vec<UpdateIdentity> =
            unique.iter().filter(|identity| !self.staging.holds(identity)).copied().collect();
        self.tally.listed += unique.len();
        self.tally.held += unique.len() - wanted.len();
        self.progress.send_modify(|progress| progress.held += unique.len() - wanted.len());
        self.fetch(fetcher, &wanted, true).await
    }

    /// Fetches what an earlier synchronisation missed, or what turned out damaged on the disk.
    pub(super) async fn retry(
        &mut self,
        fetcher: &Fetcher,
        mut wanted: Vec<UpdateIdentity>,
    ) -> Result<Related, SessionError> {
        let missed: HashSet<UpdateIdentity> = self.tally.missing.iter().map(|m| m.identity).collect();
        wanted.retain(|identity| !self.staging.holds(identity) && !missed.contains(identity));
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
        self.tally.fetched += result.stored;
        self.tally.missing.extend(result.missing);
        Ok(result.related)
    }

    /// What to ask for, out of the names that are configured and the categories that are known by now. What names
    /// stand for is remembered before anything is asked.
    pub(super) async fn selection(&mut self) -> Result<Selection, SessionError> {
        let known = self.state.config.as_ref().map_or(&[][..], |config| &config.languages[..]);
        let (languages, lacking) = select::languages(&self.config.languages, known);
        let (catalog, staging) = (self.catalog.clone(), self.staging.clone());
        let config = Arc::clone(&self.config);
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
        self.choice = Some(choice);
        Ok(selection)
    }

    /// Counts what was chosen, once it is visible.
    pub(super) async fn count_chosen(&mut self) -> Result<(), SyncError> {
        let Some(mut choice) = self.choice.take() else { return Ok(()) };
        let (catalog, staging) = (self.catalog.clone(), self.staging.clone());
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
        self.choice = Some(counted.await?.map_err(SyncError::Catalog)?);
        Ok(())
    }

    /// All categories that are known, those that are not visible yet included.
    pub(super) async fn categories(&self) -> Result<Vec<Category>, SyncError> {
        let (catalog, staging) = (self.catalog.clone(), self.staging.clone());
        blocking(move || categories(&catalog, &staging)).await?.map_err(SyncError::Catalog)
    }

    /// Makes it visible, with the anchors, in one step. `None` when there was nothing new.
    pub(super) async fn activate(&mut self) -> Result<Option<Activated>, SyncError> {
        self.phase(Phase::Activating);
        let (catalog, staging, force) = (self.catalog.clone(), self.staging.clone(), self.options.force);
        let (state, withdraw) = (self.state.encode()?, std::mem::take(&mut self.withdraw));
        let is_news = !withdraw.is_empty() || self.keys_came;
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

/// How many documents the upstream hands out at once.
pub(super) fn batch(config: &ConfigData) -> usize {
    match usize::try_from(config.max_updates_per_request) {
        Ok(0) | Err(_) => USUAL_BATCH,
        Ok(most) => most.min(LARGEST_BATCH),
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
