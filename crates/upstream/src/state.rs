//! What is remembered of the upstream between synchronisations, and the history of these.
//!
//! Invariant: anchors change only in the batch that makes what they stand for visible. It never keeps what
//! belongs to another upstream: another address begins anew.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::SyncError;
use super::mark::Mark;
use super::report::{Missing, Outcome, SyncReport};
use super::select::Selection;
use tailwater_catalog::{Catalog, CatalogError, to_json};
use tailwater_domain::{Limit, RevisionId, UpdateId, UpdateIdentity, limits};
use tailwater_wire::server_sync::{ConfigData, Language};

/// The setting that holds the state.
pub(super) const STATE_KEY: &str = "upstream.state";
const HISTORY_KEY: &str = "upstream.history";
/// When one last succeeded: the history may be full of failures.
const SUCCESS_KEY: &str = "upstream.last_success";
/// Synchronisations that the history keeps.
const HISTORY_LENGTH: usize = 50;
/// Missing revisions that the history names of each.
const HISTORY_MISSING: usize = 20;
/// Missing revisions that are remembered to be asked for again. With more, the lists are asked for again.
const MOST_MISSING: usize = 4_000;
/// Prerequisites remembered that the upstream does not have.
const MOST_ABSENT: usize = 10_000;

pub(super) const LIMITS: &[Limit] = limits![
    HISTORY_LENGTH in "synchronisations": "Synchronisations that the history keeps" => "the oldest is forgotten",
    HISTORY_MISSING in "revisions": "Missing revisions named of one synchronisation" => "they are counted",
    MOST_MISSING in "revisions": "Missing revisions that are remembered" => "the lists are asked for again",
    MOST_ABSENT in "revisions": "Prerequisites remembered that the upstream does not have" => "they are asked for again",
];

/// Layout of the record.
const VERSION: u32 = 1;

/// The state of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncState {
    version: u32,
    /// Whose state it is.
    url: String,
    /// How the upstream works, its languages included.
    config: Option<ConfigData>,
    /// Of the list of categories and detectoids.
    category_anchor: Option<String>,
    /// Of the list of updates, under `selection`.
    update_anchor: Option<String>,
    /// What `update_anchor` was got with.
    selection: Selection,
    /// How far the lists of an upstream that is a tailwater were read; anchors stay what they were.
    #[serde(default)]
    peer: Option<Mark>,
    /// When a tailwater was asked for `config`, in seconds since 1970.
    #[serde(default)]
    configured_at: i64,
    /// Revisions to ask for again.
    missing: Vec<Missing>,
    /// What revisions were cut with that were stored before it was noted; see `languages`.
    #[serde(default)]
    unsaid_languages: Option<Vec<String>>,
    /// Revisions that the upstream did not hand out anew for these languages.
    #[serde(default)]
    refused_languages: Option<(Option<Vec<String>>, Vec<UpdateIdentity>)>,
    /// Up to this number what was stored before it was noted was looked at for encrypted payloads; see `older`.
    #[serde(default)]
    looked_at: u32,
    /// Prerequisites that the upstream does not have at all.
    absent_prerequisites: Vec<UpdateId>,
    /// When that was looked up, in seconds since 1970.
    looked_up_at: i64,
}

impl SyncState {
    /// What is remembered of `url`; nothing of another one.
    pub(super) fn load(catalog: &Catalog, url: &str) -> Result<Self, SyncError> {
        let fresh = Self { version: VERSION, url: url.to_owned(), ..Self::default() };
        // what cannot be read is another version's: everything is compared anew
        let kept: Option<Self> = catalog.json(STATE_KEY)?;
        Ok(kept.filter(|state| state.version == VERSION && state.url == url).unwrap_or(fresh))
    }

    /// How the upstream works, as it said last.
    pub(super) fn config(&self) -> Option<&ConfigData> {
        self.config.as_ref()
    }

    /// The languages that the upstream has, as it said last.
    pub(super) fn languages(&self) -> &[Language] {
        self.config.as_ref().map_or(&[], |config| &config.languages)
    }

    /// Keeps how the upstream works. Only languages whose setting changed are told again; the others stay.
    pub(super) fn set_config(&mut self, mut config: ConfigData) {
        let before = self.config.take().map(|before| before.languages).unwrap_or_default();
        let is_told = |old: &Language| config.languages.iter().any(|new| new.id == old.id);
        let mut rest: Vec<Language> = before.into_iter().filter(|old| !is_told(old)).collect();
        config.languages.append(&mut rest);
        self.config = Some(config);
    }

    /// When a tailwater was asked for its configuration, in seconds since 1970; 0 for never.
    pub(super) fn configured_at(&self) -> i64 {
        self.configured_at
    }

    /// A tailwater is asked for its configuration now.
    pub(super) fn is_configured_at(&mut self, now: i64) {
        self.configured_at = now;
    }

    /// How far the list of categories was read.
    pub(super) fn category_anchor(&self) -> Option<&str> {
        self.category_anchor.as_deref()
    }

    /// How far the list of updates was read, under [`Self::selection`].
    pub(super) fn update_anchor(&self) -> Option<&str> {
        self.update_anchor.as_deref()
    }

    /// What the list of updates was last asked for with.
    pub(super) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// How far the lists of a tailwater were read.
    pub(super) fn mark(&self) -> Option<&Mark> {
        self.peer.as_ref()
    }

    /// Revisions to ask for again.
    pub(super) fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// What is missing by now, to be asked for by name next time. False with so much of it that the lists must be read
    /// again: then nothing is kept, and anchors must not move.
    pub(super) fn keep_missing(&mut self, missing: &[Missing]) -> bool {
        let few = missing.len() <= MOST_MISSING;
        if few {
            missing.clone_into(&mut self.missing);
        }
        few
    }

    /// The list of categories was read up to here.
    pub(super) fn read_categories(&mut self, anchor: String) {
        self.category_anchor = Some(anchor);
    }

    /// The list of updates was read up to here.
    pub(super) fn read_updates(&mut self, anchor: String, selection: Selection) {
        (self.update_anchor, self.selection) = (Some(anchor), selection);
    }

    /// The lists of a tailwater were read up to here.
    pub(super) fn read_peer(&mut self, mark: Mark) {
        self.peer = Some(mark);
    }

    /// Forgets up to where decisions of a tailwater were taken over; whether there was something to forget.
    pub(super) fn forget_decisions(&mut self) -> bool {
        self.peer.as_mut().and_then(|mark| mark.decisions.take()).is_some()
    }

    /// What revisions were cut with that were stored before it was noted; none before that was noted.
    pub(super) fn unsaid_languages(&self) -> Option<&[String]> {
        self.unsaid_languages.as_deref()
    }

    /// Notes that, once for the life of the store.
    pub(super) fn note_unsaid_languages(&mut self, tags: Vec<String>) {
        self.unsaid_languages.get_or_insert(tags);
    }

    /// Takes the revisions that the upstream did not hand out anew for these languages; those of others are forgotten.
    pub(super) fn take_refused_languages(&mut self, kept: Option<&Vec<String>>) -> BTreeSet<UpdateIdentity> {
        let refused = self.refused_languages.take().filter(|(of, _)| of.as_ref() == kept);
        refused.map(|(_, refused)| refused.into_iter().collect()).unwrap_or_default()
    }

    /// Keeps them.
    pub(super) fn keep_refused_languages(&mut self, kept: Option<Vec<String>>, refused: Vec<UpdateIdentity>) {
        self.refused_languages = (!refused.is_empty()).then_some((kept, refused));
    }

    /// Up to which number older revisions were looked at for encrypted payloads.
    pub(super) fn looked_at(&self) -> RevisionId {
        RevisionId(self.looked_at)
    }

    /// They were looked at up to here.
    pub(super) fn has_looked_at(&mut self, last: RevisionId) {
        self.looked_at = last.0;
    }

    /// When prerequisites that the upstream does not have were last looked up, in seconds since 1970.
    pub(super) fn looked_up_at(&self) -> i64 {
        self.looked_up_at
    }

    /// Whether the upstream was found not to have this prerequisite.
    pub(super) fn is_absent(&self, id: &UpdateId) -> bool {
        self.absent_prerequisites.contains(id)
    }

    /// Notes prerequisites that the upstream does not have, at most [`MOST_ABSENT`] of them. With a time they are all
    /// that were looked up, and those before are forgotten.
    pub(super) fn note_absent(&mut self, absent: impl IntoIterator<Item = UpdateId>, all_at: Option<i64>) {
        if let Some(now) = all_at {
            self.absent_prerequisites.clear();
            self.looked_up_at = now;
        }
        self.absent_prerequisites.extend(absent);
        self.absent_prerequisites.truncate(MOST_ABSENT);
    }

    /// Forgets how far the lists were read: they are asked for again, in full.
    pub(super) fn forget_anchors(&mut self) {
        self.category_anchor = None;
        self.update_anchor = None;
        self.peer = None;
        self.config = None;
        self.absent_prerequisites.clear();
        self.looked_up_at = 0;
    }

    /// As the setting's value.
    pub(super) fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        to_json(self)
    }
}

/// Past synchronisations, newest first.
pub(super) fn history(catalog: &Catalog) -> Vec<SyncReport> {
    catalog.json(HISTORY_KEY).ok().flatten().unwrap_or_default()
}

/// When a synchronisation last succeeded, as far as it was stored.
pub(super) fn last_success(catalog: &Catalog) -> Option<Timestamp> {
    let bytes = catalog.setting(SUCCESS_KEY).ok().flatten()?;
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}

/// Adds a report to the history.
pub(super) fn remember(catalog: &Catalog, report: &SyncReport) -> Result<(), SyncError> {
    // a history that cannot be read by this version is begun anew, which the log tells
    let mut reports: Vec<SyncReport> = catalog.json(HISTORY_KEY)?.unwrap_or_default();
    if matches!(report.outcome, Outcome::Complete | Outcome::Partial) {
        catalog.set_setting(SUCCESS_KEY, Some(report.ended_at.to_string().as_bytes()))?;
    }
    let mut report = report.clone();
    report.missing.truncate(HISTORY_MISSING);
    reports.insert(0, report);
    reports.truncate(HISTORY_LENGTH);
    Ok(catalog.set_json(HISTORY_KEY, &reports)?)
}
