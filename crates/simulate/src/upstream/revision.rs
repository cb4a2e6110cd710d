//! One generated revision: all that its document says.
//!
//! **Invariant:** payloads are named by their index in the catalog. It never says who is offered it.

use tailwater_domain::{CategoryKind, UpdateId, UpdateIdentity};

/// What a revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Category(CategoryKind),
    Detectoid,
    /// What an administrator approves.
    Update,
    /// A part of a bundle, with the payload.
    Package,
    Driver,
}

/// One prerequisite clause; `marked` is `Some` when it is an `AtLeastOne`, and says `IsCategory`.
pub(super) struct Clause {
    pub(super) any_of: Vec<UpdateId>,
    pub(super) marked: Option<bool>,
}

/// One revision and all that its document says.
pub(super) struct Revision {
    pub(super) identity: UpdateIdentity,
    /// When it appeared; anchors compare it.
    pub(super) sequence: u64,
    pub(super) kind: Kind,
    pub(super) titles: Vec<(&'static str, String)>,
    pub(super) kb: Option<u32>,
    pub(super) severity: Option<&'static str>,
    pub(super) expired: bool,
    /// Index of the licence text's payload.
    pub(super) eula: Option<usize>,
    pub(super) prerequisites: Vec<Clause>,
    pub(super) bundled: Vec<Vec<UpdateIdentity>>,
    pub(super) supersedes: Vec<UpdateId>,
    /// The inside of `ApplicabilityRules`.
    pub(super) rules: String,
    /// Indexes of payloads.
    pub(super) files: Vec<usize>,
    /// For drivers: the device.
    pub(super) hardware_id: Option<String>,
    pub(super) encrypted: bool,
}

impl Revision {
    pub(super) fn new(identity: UpdateIdentity, kind: Kind) -> Self {
        Self {
            identity,
            sequence: 0,
            kind,
            titles: Vec::new(),
            kb: None,
            severity: None,
            expired: false,
            eula: None,
            prerequisites: Vec::new(),
            bundled: Vec::new(),
            supersedes: Vec::new(),
            rules: String::new(),
            files: Vec::new(),
            hardware_id: None,
            encrypted: false,
        }
    }

    pub(super) fn is_configuration(&self) -> bool {
        matches!(self.kind, Kind::Category(_) | Kind::Detectoid)
    }
}
