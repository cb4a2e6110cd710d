//! How much of a kind one update document may say, and the count of it while it is read.
//!
//! **Invariant:** what lies within all maxima fits the catalog's records; what does not is refused as a whole, that
//! document alone. It never cuts anything short.

use super::{Limit, limits};

/// The most text of all facts of one document together, in bytes: names, titles, identities of devices.
pub const MAX_FACT_TEXT: u64 = 16 << 20;
/// The longest name of a language, in bytes.
pub const MAX_LANGUAGE_NAME: usize = 64;

/// More of one of these than any real document has, by ten times and more.
const MAX_PREREQUISITES: u64 = 20_000;
const MAX_BUNDLE_MEMBERS: u64 = 20_000;
const MAX_SUPERSEDED: u64 = 50_000;
const MAX_FILES: u64 = 20_000;
const MAX_LOCALIZED: u64 = 1_000;
const MAX_ARTICLES: u64 = 1_000;
const MAX_BULLETINS: u64 = 1_000;
const MAX_LANGUAGES: u64 = 1_000;
const MAX_DEVICES: u64 = 50_000;
const MAX_COMPUTER_IDS: u64 = 100_000;
const MAX_FEATURE_SCORES: u64 = 100_000;

/// What is limited here.
pub(crate) const LIMITS: &[Limit] = limits![
    MAX_PREREQUISITES in "prerequisites": "Prerequisites of an update, clauses and alternatives" => "that update is refused; the synchronisation goes on and reports it",
    MAX_BUNDLE_MEMBERS in "updates": "Updates that one bundles, clauses and alternatives" => "that update is refused; the synchronisation goes on and reports it",
    MAX_SUPERSEDED in "updates": "Updates that one supersedes" => "that update is refused; the synchronisation goes on and reports it",
    MAX_FILES in "files": "Files of an update, licences included" => "that update is refused; the synchronisation goes on and reports it",
    MAX_LOCALIZED in "texts": "Texts of an update by language" => "that update is refused; the synchronisation goes on and reports it",
    MAX_ARTICLES in "articles": "Knowledge base articles of an update" => "that update is refused; the synchronisation goes on and reports it",
    MAX_BULLETINS in "bulletins": "Security bulletins of an update" => "that update is refused; the synchronisation goes on and reports it",
    MAX_LANGUAGES in "languages": "Languages that an update is made for" => "that update is refused; the synchronisation goes on and reports it",
    MAX_DEVICES in "hardware IDs": "Hardware IDs of a driver" => "that update is refused; the synchronisation goes on and reports it",
    MAX_COMPUTER_IDS in "hardware IDs": "Computer hardware IDs of a driver" => "that update is refused; the synchronisation goes on and reports it",
    MAX_FEATURE_SCORES in "scores": "Feature scores of a driver" => "that update is refused; the synchronisation goes on and reports it",
    MAX_FACT_TEXT in "bytes": "Names, titles and identities that an update has together" => "that update is refused; the synchronisation goes on and reports it",
    MAX_LANGUAGE_NAME in "bytes": "Name of a language" => "that update is refused; the synchronisation goes on and reports it",
];

/// What is counted of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Prerequisites: clauses and the alternatives in them.
    Prerequisites,
    /// Members of bundles: clauses and the alternatives in them.
    BundleMembers,
    /// Updates that it supersedes.
    Superseded,
    /// Payloads, licences included.
    Files,
    /// Texts in one language each: properties, licences, and what stands between them.
    Localized,
    /// `KBArticleID`.
    Articles,
    /// `SecurityBulletinID`.
    Bulletins,
    /// Languages that it is made for.
    Languages,
    /// Device matches of drivers.
    Devices,
    /// Computers' hardware identities that drivers are for.
    ComputerIds,
    /// `FeatureScore` rows of drivers.
    FeatureScores,
}

impl Counted {
    /// Everything that is counted.
    pub const ALL: [Self; 11] = [
        Self::Prerequisites,
        Self::BundleMembers,
        Self::Superseded,
        Self::Files,
        Self::Localized,
        Self::Articles,
        Self::Bulletins,
        Self::Languages,
        Self::Devices,
        Self::ComputerIds,
        Self::FeatureScores,
    ];

    /// For messages.
    pub fn what(self) -> &'static str {
        match self {
            Self::Prerequisites => "prerequisites",
            Self::BundleMembers => "bundled updates",
            Self::Superseded => "superseded updates",
            Self::Files => "files",
            Self::Localized => "localized entries",
            Self::Articles => "knowledge base articles",
            Self::Bulletins => "security bulletins",
            Self::Languages => "languages",
            Self::Devices => "hardware IDs",
            Self::ComputerIds => "computer hardware IDs",
            Self::FeatureScores => "feature scores",
        }
    }

    /// How many one document may have.
    pub const fn limit(self) -> u64 {
        match self {
            Self::Prerequisites => MAX_PREREQUISITES,
            Self::BundleMembers => MAX_BUNDLE_MEMBERS,
            Self::Superseded => MAX_SUPERSEDED,
            Self::Files => MAX_FILES,
            Self::Localized => MAX_LOCALIZED,
            Self::Articles => MAX_ARTICLES,
            Self::Bulletins => MAX_BULLETINS,
            Self::Languages => MAX_LANGUAGES,
            Self::Devices => MAX_DEVICES,
            Self::ComputerIds => MAX_COMPUTER_IDS,
            Self::FeatureScores => MAX_FEATURE_SCORES,
        }
    }
}

/// A document says too much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Of what.
    pub what: &'static str,
    /// How much it may.
    pub limit: u64,
}

/// What was counted so far of one document.
#[derive(Debug, Default)]
pub struct Counts {
    counts: [u64; Counted::ALL.len()],
    text: u64,
}

impl Counts {
    /// One more of a kind.
    ///
    /// # Errors
    /// When there are too many.
    pub fn one(&mut self, kind: Counted) -> Result<(), Exceeded> {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count > kind.limit() {
            return Err(Exceeded { what: kind.what(), limit: kind.limit() });
        }
        Ok(())
    }

    /// A text that becomes a fact.
    ///
    /// # Errors
    /// When there is too much text in all.
    pub fn text(&mut self, text: &str) -> Result<(), Exceeded> {
        self.text = self.text.saturating_add(text.len() as u64);
        if self.text > MAX_FACT_TEXT {
            return Err(Exceeded { what: "bytes of names, titles and identities", limit: MAX_FACT_TEXT });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_ends_at_its_own_limit() {
        for kind in Counted::ALL {
            let mut counts = Counts::default();
            for _ in 0..kind.limit() {
                counts.one(kind).unwrap();
            }
            assert_eq!(counts.one(kind), Err(Exceeded { what: kind.what(), limit: kind.limit() }));
            for other in Counted::ALL.into_iter().filter(|other| *other != kind) {
                counts.one(other).unwrap();
            }
        }
        let mut counts = Counts::default();
        let mebibyte = "x".repeat(1 << 20);
        for _ in 0..16 {
            counts.text(&mebibyte).unwrap();
        }
        assert!(counts.text("").is_ok() && counts.text("x").is_err());
    }
}
