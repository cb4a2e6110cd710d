//! What is remembered of the upstream between synchronisations, and the history of these.
//!
//! Invariant: anchors change only in the batch that makes what they stand for visible. It never keeps what
//! belongs to another upstream: another address begins anew.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::peer::Mark;
use super::{Missing, Outcome, SyncError, SyncReport};
use crate::catalog::{Catalog, CatalogError, to_json};
use crate::domain::{Limit, UpdateId, UpdateIdentity, limits};
use crate::wire::server_sync::ConfigData;

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
pub(super) const MOST_MISSING: usize = 4_000;

pub(super) const LIMITS: &[Limit] = limits![
    HISTORY_LENGTH in "synchronisations": "Synchronisations that the history keeps" => "the oldest is forgotten",
    HISTORY_MISSING in "revisions": "Missing revisions named of one synchronisation" => "they are counted",
    MOST_MISSING in "revisions": "Missing revisions that are remembered" => "the lists are asked for again",
];

/// Layout of the record.
const VERSION: u32 = 1;

/// What was last selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Selection {
    /// Products, sorted; with `classifications`, empty for no filter at all.
    pub(super) products: Vec<UpdateId>,
    /// Classifications, sorted.
    pub(super) classifications: Vec<UpdateId>,
    /// Locale numbers, sorted; empty for all.
    pub(super) languages: Vec<i32>,
    /// Nothing is selected: names are configured and none of them stands for anything.
    #[serde(default)]
    pub(super) nothing: bool,
}

impl Selection {
    /// Whether everything is selected.
    pub(super) fn is_unfiltered(&self) -> bool {
        self.products.is_empty() && !self.nothing
    }
}

/// The state of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    /// Whose state it is.
    pub(super) url: String,
    /// How the upstream works, its languages included.
    pub(super) config: Option<ConfigData>,
    /// Of the list of categories and detectoids.
    pub(super) category_anchor: Option<String>,
    /// Of the list of updates, under `selection`.
    pub(super) update_anchor: Option<String>,
    /// What `update_anchor` was got with.
    pub(super) selection: Selection,
    /// How far the lists of an upstream that is a tailwater were read; anchors stay what they were.
    #[serde(default)]
    pub(super) peer: Option<Mark>,
    /// When a tailwater was asked for `config`, in seconds since 1970.
    #[serde(default)]
    pub(super) configured_at: i64,
    /// Revisions to ask for again.
    pub(super) missing: Vec<Missing>,
    /// What revisions were cut with that were stored before it was noted; see `languages`.
    #[serde(default)]
    pub(super) unsaid_languages: Option<Vec<String>>,
    /// Revisions that the upstream did not hand out anew for these languages.
    #[serde(default)]
    pub(super) refused_languages: Option<(Option<Vec<String>>, Vec<UpdateIdentity>)>,
    /// Prerequisites that the upstream does not have at all.
    pub(super) absent_prerequisites: Vec<UpdateId>,
    /// When that was looked up, in seconds since 1970.
    pub(super) looked_up_at: i64,
}

impl State {
    /// What is remembered of `url`; nothing of another one.
    pub(super) fn load(catalog: &Catalog, url: &str) -> Result<Self, SyncError> {
        let fresh = Self { version: VERSION, url: url.to_owned(), ..Self::default() };
        // what cannot be read is another version's: everything is compared anew
        let kept: Option<Self> = catalog.json(STATE_KEY)?;
        Ok(kept.filter(|state| state.version == VERSION && state.url == url).unwrap_or(fresh))
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
