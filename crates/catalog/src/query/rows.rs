//! What lists of the catalog are asked with and what they answer.
//!
//! **Invariant:** plain values; a page says how many rows there are over all pages. It never looks anything up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::computers::identity::IdentityChange;
use crate::decisions::decision::{Decline, Hold};
use crate::values::computer::{Computer, Event, State, Status};
use crate::values::counts::Counts;
use crate::values::withheld::Withheld;
use tailwater_domain::{
    Approval, CategoryKind, ComputerId, Facts, FileDeclaration, GroupId, Limit, RevisionId, ServerId,
    UpdateId, UpdateIdentity, UpdateType, limits,
};

/// The most rows in one page.
pub const MAX_PAGE: usize = 1_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_PAGE in "rows": "Rows of one page of a list" => "they come with the next page",
];

/// Rows in a page when nothing was said.
const PAGE: usize = 100;

pub(super) fn page_limit(limit: usize) -> usize {
    if limit == 0 { PAGE } else { limit.min(MAX_PAGE) }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows from `offset` on.
    pub rows: Vec<T>,
    /// How many there are over all pages.
    pub total: usize,
    /// Where this page begins.
    pub offset: usize,
}

/// Which updates, by their standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Neither approved, declined nor expired.
    Unapproved,
    /// Approved for some group.
    Approved,
    /// Declined.
    Declined,
    /// Expired by its publisher.
    Expired,
    /// Replaced by another update, and not declined.
    Superseded,
    /// Some computer needs it.
    Needed,
    /// Some computer failed to install it.
    Failed,
    /// Held back on this server.
    Held,
    /// Not declined or expired, but it cannot be offered, or not as approved: see [`UpdateRow::withheld`].
    Withheld,
}

/// Which updates to list. Empty fields do not restrict.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateQuery {
    /// What a text means: an identity, a KB number, a phrase of the title, or the name of a product or classification.
    pub text: Option<String>,
    /// A product or product family.
    pub product: Option<UpdateId>,
    /// A classification.
    pub classification: Option<UpdateId>,
    /// A KB number, with or without `KB`.
    pub kb: Option<String>,
    /// Its standing.
    pub state: Option<UpdateState>,
    /// Approved for this group.
    pub approved_for: Option<GroupId>,
    /// Only this type; by default software and drivers.
    pub update_type: Option<UpdateType>,
    /// Also those that only exist as part of a bundle.
    pub hidden: bool,
    /// Language of titles; the document's own when there is none.
    pub language: Option<String>,
    /// Rows to pass over.
    pub offset: usize,
    /// Rows to give, at most [`MAX_PAGE`]; 0 means 100.
    pub limit: usize,
}

/// The updates that a text means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// All of them, newest first.
    pub updates: Vec<UpdateId>,
    /// Those of which it is the whole title.
    pub titled: Vec<UpdateId>,
}

/// An approval and its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupApproval {
    /// The group.
    pub group: GroupId,
    /// The decision.
    pub approval: Approval,
}

/// A row of the list of updates.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name of the field")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRow {
    /// Its newest revision.
    pub identity: UpdateIdentity,
    /// The number by which agents know that revision.
    pub revision: RevisionId,
    /// What it is.
    pub update_type: UpdateType,
    /// Its title.
    pub title: String,
    /// `KBArticleID`s.
    pub kb_articles: Vec<String>,
    /// `MsrcSeverity`.
    pub severity: Option<String>,
    /// `CreationDate`, as in the document.
    pub creation_date: Option<String>,
    /// When it came to this server.
    pub arrived: Timestamp,
    /// Its products.
    pub products: Vec<UpdateId>,
    /// Its classifications, one as a rule.
    pub classifications: Vec<UpdateId>,
    /// Whether it bundles others.
    pub is_bundle: bool,
    /// Whether its publisher withdrew it.
    pub expired: bool,
    /// Whether another update replaces it.
    pub superseded: bool,
    /// Whether it was declined.
    pub declined: Option<Decline>,
    /// For which groups it is approved.
    pub approvals: Vec<GroupApproval>,
    /// Whether it is held back on this server.
    pub hold: Option<Hold>,
    /// What keeps it from being offered, or from being offered as approved; empty when nothing does.
    pub withheld: Vec<Withheld>,
    /// Whether it can be approved by itself, and not only as part of a bundle.
    pub explicitly_deployable: bool,
    /// What computers say.
    pub counts: Counts,
}

/// Everything about one update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateDetail {
    /// As in the list.
    pub row: UpdateRow,
    /// What its document says.
    pub facts: Facts,
    /// What it bundles, as rows without further detail.
    pub children: Vec<UpdateRow>,
    /// What bundles it.
    pub parents: Vec<UpdateId>,
    /// All payloads, those of bundled updates included, each once.
    pub files: Vec<FileDeclaration>,
    /// Its revisions held, newest first.
    pub revisions: Vec<UpdateIdentity>,
}

/// What one computer says of one update. What does not concern a computer is left out of pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputerState {
    /// Which computer.
    pub computer: ComputerId,
    /// Its name.
    pub dns_name: String,
    /// What it says.
    pub state: State,
    /// The error, if it failed.
    pub result: Option<i32>,
}

/// A category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryRow {
    /// Its identity.
    pub id: UpdateId,
    /// What kind.
    pub kind: CategoryKind,
    /// Its title.
    pub title: String,
    /// The categories it lies in.
    pub parents: Vec<UpdateId>,
    /// How many updates are in it directly: not declined, not expired, not hidden.
    pub updates: usize,
}

/// Which computers to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComputerQuery {
    /// Words that must all occur in name, identity, operating system or model.
    pub text: Option<String>,
    /// In this group or one below it.
    pub group: Option<GroupId>,
    /// Ours, those of servers below, or both.
    pub whose: Whose,
    /// Only those that came through this server.
    pub through: Option<ServerId>,
    /// Rows to pass over.
    pub offset: usize,
    /// Rows to give, at most [`MAX_PAGE`]; 0 means 100.
    pub limit: usize,
}

/// Whose computers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// All that are known.
    #[default]
    All,
    /// Agents of this server.
    Ours,
    /// Those that servers below told of.
    Below,
}

/// A row of the list of computers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputerRow {
    /// The computer.
    pub computer: Computer,
    /// How many updates it has, needs, and failed to install.
    pub counts: Counts,
    /// The servers it came through, from the direct child of this one to its own; empty for an agent of ours.
    pub via: Vec<ServerId>,
    /// How many other computers, here and below, have the same name.
    pub same_name: usize,
}

/// Everything about one computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputerDetail {
    /// As in the list.
    pub row: ComputerRow,
    /// What it reported.
    pub status: Status,
    /// Its latest events, newest first.
    pub events: Vec<Event>,
    /// What changed about its identity, newest first.
    pub changes: Vec<IdentityChange>,
}

/// A payload that the catalog knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// As its document declares it.
    pub declaration: FileDeclaration,
    /// A revision that declares it.
    pub update: UpdateIdentity,
    /// `MUUrl`, never with a query.
    pub mu_url: Option<String>,
    /// `UssUrl`.
    pub uss_url: Option<String>,
}

/// The catalog in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Revisions that agents may see or that are kept beside them.
    pub revisions: usize,
    /// Updates over all types.
    pub updates: usize,
    /// Updates that are offered to agents now.
    pub offered: usize,
    /// Approved for some group.
    pub approved: usize,
    /// Declined.
    pub declined: usize,
    /// Expired by their publisher.
    pub expired: usize,
    /// Stored, but not yet activated.
    pub staged: usize,
    /// Damaged, waiting to be fetched again.
    pub damaged: usize,
    /// Agents of this server.
    pub computers: usize,
    /// Computers of servers below.
    pub computers_below: usize,
    /// Servers below, direct or not.
    pub servers_below: usize,
    /// Bytes of segment files.
    pub segment_bytes: u64,
    /// Bytes of the compressed texts of the revisions above, without anything around them.
    pub text_bytes: u64,
}
