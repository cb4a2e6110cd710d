//! What keeps an update from being offered, as values and in words.
//!
//! **Invariant:** [`Reason`] is the one list of reasons. It never decides which of them holds.

use serde::{Deserialize, Serialize};

use tailwater_domain::{UpdateId, UpdateIdentity};

/// Why an update is not sent to agents, or not as approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its document never came, or was refused.
    Missing,
    /// The upstream took it away, or it is no longer selected.
    Withdrawn,
    /// Its stored texts are damaged.
    Damaged,
    /// A payload of it is encrypted, and its key is not held.
    NoKey,
    /// Its publisher expired it.
    Expired,
    /// It was declined.
    Declined,
    /// It is held back on this server.
    Held,
    /// It can only be part of bundles, and no bundle in force needs it.
    NotNeeded,
}

impl Reason {
    /// What follows "it" or a member's name in a sentence, with the next step.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Missing => "is missing; every synchronisation asks for it again",
            Self::Withdrawn => "was withdrawn by the upstream, or is no longer selected",
            Self::Damaged => "is damaged on the disk; the next synchronisation fetches it again",
            Self::NoKey => {
                "has an encrypted payload whose key is missing; every synchronisation asks the upstream for it"
            }
            Self::Expired => "was expired by its publisher",
            Self::Declined => "is declined; `tailwater updates undecline` takes that back",
            Self::Held => "is held back on this server; `tailwater updates release` ends that",
            Self::NotNeeded => "is only part of bundles, and no bundle in force contains it",
        }
    }
}

/// One thing that keeps an update from being offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// What has the reason: the update itself, or a member of it, however deep.
    pub member: UpdateIdentity,
    /// Why.
    pub reason: Reason,
    /// The bundles between the update and the member, from outside.
    pub through: Vec<UpdateId>,
}
