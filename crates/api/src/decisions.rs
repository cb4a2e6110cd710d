//! Decisions on updates: approve, remove approvals, decline, hold back, release.
//!
//! **Invariant:** what one request decides is one change. The answer of a dry run has the shape of the answer that the same
//! request gives when it is meant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::{Input, inputs};
use super::{Failure, MAX_DECIDED, Weighed};
use tailwater_domain::UpdateId;

/// What an approval asks of the computers of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Install it.
    #[default]
    Install,
    /// Remove it.
    Uninstall,
    /// Only report whether it is needed; overrides an approval of a group above.
    Detect,
    /// Do not offer it; overrides an approval of a group above.
    #[serde(alias = "block", alias = "not-approved", alias = "notapproved")]
    NotApproved,
}

impl Action {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Detect => "detect",
            Self::NotApproved => "not_approved",
        }
    }
}

/// What every decision names.
pub trait Select: Input + Clone + Sync {
    /// The names of updates, as given.
    fn updates(&mut self) -> &mut Vec<String>;
    /// Whether a name may mean several updates.
    fn all_matches(&self) -> bool;
    /// Makes it say only what would be changed, without weighing what that moves.
    fn set_dry_run(&mut self);
    /// Whether license terms are accepted with it.
    fn accepts_license(&self) -> bool {
        false
    }
    /// Accepts license terms with it.
    fn accept_license(&mut self) {}
}

macro_rules! decision {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* } $($more:tt)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// GUIDs (with or without .REVISION), KB numbers, phrases of titles, names of products or classifications;
            /// decided as one change, all or none.
            #[schemars(length(min = 1, max = MAX_DECIDED))]
            pub updates: Vec<String>,
            /// Take all updates that a name fits; else a name that fits several is refused.
            #[serde(default)]
            pub all_matches: bool,
            /// Change nothing; say what would be changed.
            #[serde(default)]
            pub dry_run: bool,
            /// Who decides, at most 255 characters; `console` when it is not said.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub by: Option<String>,
            $($(#[$doc])* #[serde(skip_serializing_if = "crate::decisions::is_default")] pub $field: $type,)*
        }

        impl Select for $name {
            fn updates(&mut self) -> &mut Vec<String> {
                &mut self.updates
            }

            fn all_matches(&self) -> bool {
                self.all_matches
            }

            $($more)*
        }
    };
}

/// What is not sent because it means the same as nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

decision! {
    /// A decline, the end of a decline, or the end of a hold.
    Decide {}

    fn set_dry_run(&mut self) {
        self.dry_run = true;
    }
}

decision! {
    /// An approval for a group.
    Approve {
        /// The group, by name or GUID. Needed.
        #[schemars(required)]
        group: Option<String>,
        /// What computers are to do; to install it when nothing is said.
        action: Option<Action>,
        /// By when: RFC 3339, or local time without an offset.
        deadline: Option<String>,
        /// Whether the license terms of what is approved are accepted, for all computers.
        #[serde(default)]
        accept_license: bool,
        /// With `dry_run`: whether to weigh what the approval moves over the link; it does when nothing is said.
        cost: Option<bool>,
    }

    fn set_dry_run(&mut self) {
        self.dry_run = true;
        self.cost = Some(false);
    }

    fn accepts_license(&self) -> bool {
        self.accept_license
    }

    fn accept_license(&mut self) {
        self.accept_license = true;
    }
}

decision! {
    /// The end of approvals.
    Unapprove {
        /// Only those for this group, by name or GUID; for all groups when nothing is said.
        group: Option<String>,
    }

    fn set_dry_run(&mut self) {
        self.dry_run = true;
    }
}

decision! {
    /// A hold on this server, whatever was approved.
    Hold {
        /// Until when: RFC 3339, or local time without an offset; until it is released when nothing is said.
        until: Option<String>,
        /// Why.
        reason: Option<String>,
    }

    fn set_dry_run(&mut self) {
        self.dry_run = true;
    }
}

inputs!(Decide, Approve, Unapprove, Hold);

/// What a decision did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// Whether nothing was changed because only the effect was asked for.
    pub dry_run: bool,
    /// Updates that changed, or would.
    pub count: usize,
    /// Of a dry run: each update that can be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Vec<DecidedUpdate>>,
    /// Otherwise: each update that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Vec<DecidedUpdate>>,
    /// What cannot be decided, and why.
    pub failed: Vec<Failure>,
    /// What an administrator should know of it.
    pub warnings: Vec<Warning>,
    /// Updates with license terms that nobody accepted.
    pub licenses: Vec<OpenTerms>,
    /// Of an approval's dry run: what it would move over the link.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub weighed: Option<Weighed>,
}

/// An update that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecidedUpdate {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its title.
    pub title: String,
    /// Whether it is decided otherwise than before.
    pub changed: bool,
}

/// Something to know of a decision, or of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What kind, for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// About which update; absent when it is about the whole decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Uuid>")]
    pub update_id: Option<UpdateId>,
    /// The update's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// About which group, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// License terms that approving an update would accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenTerms {
    /// The update.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its title.
    pub title: String,
    /// Identities of the terms.
    pub terms: Vec<Uuid>,
}
