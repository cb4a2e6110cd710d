//! Updates: lists, one in detail, and the revisions held.
//!
//! **Invariant:** whether an update can be approved, and its state, are decided by the catalog; these types carry it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::inputs;
use super::page::listed;
use super::{Action, File, PageInfo, Paging, ReportedState, Traffic};
use tailwater_domain::{ApprovalId, ComputerId, GroupId, UpdateId};

/// Which updates to list. What is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdatesQuery {
    /// A GUID, a KB number, a phrase of the title, or the name of a product or classification.
    pub text: Option<String>,
    /// A product or product family, by name or GUID.
    pub product: Option<String>,
    /// A classification, by name or GUID.
    pub classification: Option<String>,
    /// A KB number, with or without `KB`.
    pub kb: Option<String>,
    /// Only updates of which this is true.
    pub state: Option<UpdateStateFilter>,
    /// Rows to pass over: `next` of the page before.
    #[serde(default)]
    pub offset: usize,
    /// Rows in one answer, 100 when it is not said, at most 1,000.
    pub limit: Option<usize>,
}

inputs!(UpdatesQuery);

impl UpdatesQuery {
    /// Which rows are asked for.
    pub fn paging(&self) -> Paging {
        Paging::new(self.offset, self.limit)
    }
}

/// What may be true of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStateFilter {
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
    /// It cannot be offered, or not as approved.
    Withheld,
}

/// How an update stands; the first that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// An administrator declined it.
    Declined,
    /// Its publisher expired it.
    Expired,
    /// It is held back on this server.
    Held,
    /// It cannot be offered, or not as approved; see `withheld`.
    Withheld,
    /// It is approved for some group.
    Approved,
    /// None of these.
    Unapproved,
}

impl UpdateState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Held => "held",
            Self::Withheld => "withheld",
            Self::Approved => "approved",
            Self::Unapproved => "unapproved",
        }
    }
}

/// What an update is (`Properties/@UpdateType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateType {
    /// Something to install, or a bundle of such.
    Software,
    /// A device driver.
    Driver,
    /// A company, product family, product or classification.
    Category,
    /// A rule that tells what kind of machine an agent runs on.
    Detectoid,
}

impl UpdateType {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Software => "Software",
            Self::Driver => "Driver",
            Self::Category => "Category",
            Self::Detectoid => "Detectoid",
        }
    }
}

/// One page of updates, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Updates {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub updates: Vec<Update>,
}

listed!(Updates, updates: Update);

/// One update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// Its identity over all revisions.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// The number by which agents of this server know its newest revision.
    pub revision: u32,
    /// Its title.
    pub title: String,
    /// KB numbers, digits only.
    pub kb: Vec<String>,
    /// `MsrcSeverity` of its document, such as `Critical`.
    pub severity: Option<String>,
    /// When its publisher made it, as in its document.
    pub created: Option<String>,
    /// When it came to this server.
    pub arrived: Timestamp,
    /// Titles of its classifications, joined by commas.
    pub classification: String,
    /// Titles of its products.
    pub products: Vec<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub update_type: UpdateType,
    /// Whether it bundles others.
    pub bundle: bool,
    /// Whether another update replaces it.
    pub superseded: bool,
    /// How it stands.
    pub state: UpdateState,
    /// Whether it can be approved by itself: it is no mere part of bundles, and not expired.
    pub approvable: bool,
    /// For which groups it is approved.
    pub approvals: Vec<Approval>,
    /// Who declined it; null when nobody did.
    pub declined: Option<Decline>,
    /// Who holds it back on this server; null when nobody does.
    pub hold: Option<HoldNote>,
    /// What keeps it from being offered, or from being offered as approved.
    pub withheld: Vec<Withheld>,
    /// How many computers report what of it.
    pub computers: StateCounts,
}

/// Numbers of computers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateCounts {
    /// Need it, those that failed included.
    pub needed: u32,
    /// Have it.
    pub installed: u32,
    /// Failed to install it.
    pub failed: u32,
}

/// An approval of an update for a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Its identity on every server of a chain.
    #[schemars(with = "Uuid")]
    pub approval_id: ApprovalId,
    /// The group's identity.
    #[schemars(with = "Uuid")]
    pub group_id: GroupId,
    /// The group's name.
    pub group: String,
    /// What computers are to do.
    pub action: Action,
    /// By when; null without a deadline.
    pub deadline: Option<Timestamp>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Who made it.
    pub made_by: String,
}

/// Who declined an update, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decline {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
}

/// Why an update is held back on this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldNote {
    /// Until when; null until it is released.
    pub until: Option<Timestamp>,
    /// Why; may be empty.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// One thing that keeps an update from being offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withheld {
    /// What has the reason: the update itself, or a member of it, however deep.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its revision number.
    pub revision: u32,
    /// Why.
    pub reason: WithheldReason,
    /// The bundles between the update and the member, from outside.
    #[schemars(with = "Vec<Uuid>")]
    pub through: Vec<UpdateId>,
    /// In a sentence, with the next step.
    pub message: String,
    /// The title of what has the reason; only in details, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why the upstream did not give it; only in details, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why an update is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithheldReason {
    /// Its document never came, or was refused.
    Missing,
    /// The upstream withdrew it, or it is no longer selected.
    Withdrawn,
    /// Its stored texts are damaged.
    Damaged,
    /// A payload of it is encrypted, and the key is missing.
    NoKey,
    /// Its publisher expired it.
    Expired,
    /// It was declined.
    Declined,
    /// It is held back on this server.
    Held,
    /// It can only be part of bundles, and no bundle in force contains it.
    NotNeeded,
}

/// Everything about one update, with a page of what computers report of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: Update,
    /// What it is, the same as `type`.
    #[serde(rename = "update_type")]
    pub kind: UpdateType,
    /// Revision numbers held, newest first.
    pub revisions: Vec<u32>,
    /// What it replaces.
    #[schemars(with = "Vec<Uuid>")]
    pub supersedes: Vec<UpdateId>,
    /// Security bulletins.
    pub bulletins: Vec<String>,
    /// Whether it can be uninstalled.
    pub uninstallable: bool,
    /// Its license terms.
    pub license: License,
    /// What it bundles.
    pub children: Vec<Bundled>,
    /// What bundles it.
    #[schemars(with = "Vec<Uuid>")]
    pub parents: Vec<UpdateId>,
    /// All payloads, those of bundled updates included, each once.
    pub files: Vec<File>,
    /// A page of what computers report.
    pub statuses: Vec<UpdateStatus>,
    /// Reports over all pages.
    pub statuses_total: usize,
    /// Reports before this page.
    pub offset: usize,
    /// What its approval was foreseen to move over the link, and what it moved; null when it was not approved lately.
    pub traffic: Option<Traffic>,
}

/// License terms of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct License {
    /// Whether it has terms.
    pub required: bool,
    /// Whether nobody needs to be asked any more.
    pub accepted: bool,
    /// The terms.
    pub terms: Vec<Terms>,
}

/// One text of license terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terms {
    /// Their identity.
    pub terms: Uuid,
    /// The updates that have them: the one asked about, or what it bundles.
    #[schemars(with = "Vec<Uuid>")]
    pub updates: Vec<UpdateId>,
    /// Whether they are accepted.
    pub accepted: bool,
    /// When they were accepted here; null when that was upstream, or not yet.
    pub accepted_at: Option<Timestamp>,
    /// Who accepted them here.
    pub accepted_by: Option<String>,
}

/// A member of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bundled {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its title.
    pub title: String,
}

/// What one computer reports of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateStatus {
    /// The computer.
    #[schemars(with = "String")]
    pub computer_id: ComputerId,
    /// Its name.
    pub name: String,
    /// What it reports.
    pub state: ReportedState,
    /// The error as `0x` and eight digits, when it failed.
    pub result: Option<String>,
}
