//! Why an update cannot be decided on by itself, as values and in words.
//!
//! **Invariant:** each answer names what can be decided on instead, where there is something. It never looks anything up.

use std::fmt;

use tailwater_domain::UpdateId;

/// What was to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionKind {
    /// To approve.
    Approve,
    /// To decline.
    Decline,
    /// To hold back on this server.
    Hold,
}

impl DecisionKind {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Decline => "decline",
            Self::Hold => "hold",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Decline => "declined",
            Self::Hold => "held",
        }
    }
}

/// Why a bundle is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Former {
    /// Its publisher expired it.
    Expired,
    /// It was declined.
    Declined,
    /// Its newer revision no longer contains the update.
    Replaced,
    /// The upstream withdrew it, or it is no longer selected.
    Withdrawn,
}

/// Why an update cannot be decided on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Belonging {
    /// It is a category or a detectoid.
    Evaluated,
    /// This bundle, in force, contains it, perhaps inside another one.
    Part(UpdateId),
    /// Only bundles that are not in force contain it: one of them.
    Formerly(UpdateId, Former),
    /// No bundle here ever contained it.
    Nowhere,
}

impl Belonging {
    /// The refusal of such a decision, with the next step.
    pub(crate) fn refuses(self, kind: DecisionKind, update: &UpdateId) -> String {
        let done = kind.done();
        match (self, kind) {
            (Self::Evaluated, _) => format!(
                "update {update} is a category or a detectoid: computers only evaluate it, so it cannot be {done}"
            ),
            (Self::Part(bundle), _) => format!(
                "update {update} cannot be {done} by itself: it is part of the bundle {bundle}; use `tailwater updates \
                 {} {bundle}`",
                kind.verb()
            ),
            (Self::Formerly(bundle, Former::Declined), DecisionKind::Approve) => format!(
                "update {update} cannot be approved by itself: it is part of the bundle {bundle}, which was declined; \
                 `tailwater updates approve {bundle}` takes that back"
            ),
            (Self::Formerly(bundle, former), DecisionKind::Approve) => format!(
                "update {update} cannot be approved: it is only part of the bundle {bundle}, which {former}; no bundle in \
                 force brings it"
            ),
            (Self::Formerly(bundle, former), _) => format!(
                "update {update} need not be {done}: it is only part of the bundle {bundle}, which {former}, so it is \
                 offered to nobody"
            ),
            (Self::Nowhere, DecisionKind::Approve) => format!(
                "update {update} cannot be approved: it is made to be part of bundles, and no bundle here contains it"
            ),
            (Self::Nowhere, _) => format!(
                "update {update} need not be {done}: it is made to be part of bundles, no bundle here contains it, and it \
                 is offered to nobody"
            ),
        }
    }
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "was expired by its publisher",
            Self::Declined => "was declined",
            Self::Replaced => "no longer contains it since its newer revision",
            Self::Withdrawn => "was withdrawn by the upstream, or is no longer selected",
        })
    }
}
