//! `protocolVersion`: two numbers with a dot, and what clients of a version understand.
//!
//! **Invariant:** versions compare as pairs of numbers: 1.20 is newer than 1.8.

use std::fmt;
use std::str::FromStr;

/// The protocol version that a client reports ([MS-WUSP] 2.2.2.2.2, note 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion {
    /// Before the dot.
    pub major: u16,
    /// After it.
    pub minor: u16,
}

/// A text that is no version of two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a protocol version is two numbers with a dot between them")]
pub struct ParseVersionError;

impl ProtocolVersion {
    /// `Deployment/HardwareIds` ([MS-WUSP] 3.1.5.7).
    pub fn knows_hardware_ids(self) -> bool {
        self >= Self { major: 1, minor: 6 }
    }

    /// `DriverSyncNotNeeded`, `DeployedOutOfScopeRevisionIds`.
    pub fn knows_driver_sync_not_needed(self) -> bool {
        self >= Self { major: 1, minor: 7 }
    }

    /// `AutoSelect`, `AutoDownload`, `SupersedenceBehavior`.
    pub fn knows_auto_select(self) -> bool {
        self >= Self { major: 1, minor: 8 }
    }
}

impl FromStr for ProtocolVersion {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten().ok_or(ParseVersionError)
        };
        let (major, minor) = text.trim().split_once('.').ok_or(ParseVersionError)?;
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_two_parts_and_compare_as_numbers() {
        for text in ["", "8", "1.", ".1", "x.y", "1.2.3", "1.-2", "1.+2", "99999.1"] {
            assert!(text.parse::<ProtocolVersion>().is_err(), "{text}");
        }
        let version = |text: &str| text.parse::<ProtocolVersion>().unwrap();
        assert!(version("1.20") > version("1.8") && version("2.90") > version("1.20"));
        assert!(!version("1.6").knows_auto_select() && version("1.8").knows_auto_select());
    }
}
