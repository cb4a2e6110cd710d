//! Identities. Update and group identities are GUIDs, compared without regard to letter case because real
//! documents mix both ([MS-WUSP] 3.1.1.1 and observed traffic); they print in lower case.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Limit, limits};

/// A text that is no GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GUID")]
pub struct ParseIdError(pub String);

macro_rules! guid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::try_parse(text.trim()).map(Self).map_err(|_e| ParseIdError(text.chars().take(80).collect()))
            }
        }
    };
}

guid_type! {
    /// The identity of an update over all its revisions (`UpdateID`, [MS-WUSP] 2.2.2.2).
    UpdateId
}

guid_type! {
    /// The identity of a target group.
    GroupId
}

guid_type! {
    /// An update server: the `accountGuid` it authorizes with and the `ServerId` of roll-ups ([MS-WSUSSS] 3.1.1).
    ServerId
}

guid_type! {
    /// The identity of an approval on every server of a chain (`DeploymentGuid`, [MS-WSUSSS] 3.1.4.10.3.5).
    ApprovalId
}

impl GroupId {
    /// The well-known group that every computer belongs to ([MS-WSUSSS] 3.1.1).
    pub const ALL_COMPUTERS: Self = Self(Uuid::from_u128(0xa0a0_8746_4dbe_4a37_9adf_9e76_52c0_b421));
    /// The well-known group of computers that no one put into a group ([MS-WSUSSS] 3.1.1).
    pub const UNASSIGNED_COMPUTERS: Self = Self(Uuid::from_u128(0xb73c_a6ed_5727_47f3_84de_015e_03f6_a88a));
}

/// One revision of an update, as upstream servers and documents name it (`UpdateIdentity`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UpdateIdentity {
    /// The update.
    pub update: UpdateId,
    /// Its revision number, from 0 (`RevisionNumber`).
    pub revision: u32,
}

impl fmt::Display for UpdateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.update, self.revision)
    }
}

impl fmt::Debug for UpdateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number by which agents of this server know a revision (`RevisionID`, a positive `xs:int`).
///
/// Local to one store, stable for its life, never compared across servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub u32);

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an agent calls itself (`clientId`, `TargetID/Sid`): a GUID in practice, kept as lower-case text.
/// At most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComputerId(pub String);

/// The longest identity of a computer, in bytes.
const MAX_COMPUTER_ID: usize = 255;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_COMPUTER_ID in "bytes": "The identity of a computer" => "the request is refused",
];

/// A text that is no identity of a computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a computer's identity has 1 to {MAX_COMPUTER_ID} bytes, without white space, control or invisible characters"
)]
pub struct ComputerIdError;

impl ComputerId {
    /// Reads an identity, as agents, roll-ups and administrators write it: white space around it is not part of it, and
    /// letter case does not matter.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, ComputerIdError> {
        let text = text.trim();
        // a GUID in practice; what is shown in logs and lists must be seen as it is
        let plain = |character: char| {
            !character.is_whitespace()
                && super::ClientText::of(&character.to_string(), 1).as_str().starts_with(character)
        };
        let id = text.to_lowercase();
        let fits = !id.is_empty() && id.len() <= MAX_COMPUTER_ID && text.chars().all(plain);
        if fits { Ok(Self(id)) } else { Err(ComputerIdError) }
    }
}

impl fmt::Display for ComputerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_case_does_not_make_another_update() {
        let upper: UpdateId = "56309036-4C77-4DD9-951A-99EE9C246A94".parse().unwrap();
        let lower: UpdateId = "56309036-4c77-4dd9-951a-99ee9c246a94".parse().unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.to_string(), "56309036-4c77-4dd9-951a-99ee9c246a94");
    }

    #[test]
    fn identities_of_computers_are_read_alike_everywhere() {
        let long = "x".repeat(256);
        let table = [
            (" E1DA06A3-5601-43C9-BAC3-52D5DB701494 ", Some("e1da06a3-5601-43c9-bac3-52d5db701494")),
            ("pc-1", Some("pc-1")),
            ("", None),
            (" ", None),
            ("a b", None),
            ("a\nb", None),
            ("a\u{202e}b", None),
            ("a\u{200b}b", None),
            ("a\u{1b}b", None),
            (long.as_str(), None),
        ];
        for (text, expected) in table {
            let read = ComputerId::parse(text).ok().map(|id| id.0);
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_guid_is_refused_by_name() {
        let error = "hello".parse::<UpdateId>().unwrap_err();
        assert_eq!(error.to_string(), "\"hello\" is not a GUID");
    }
}
