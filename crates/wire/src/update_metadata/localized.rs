//! The entries of `LocalizedPropertiesCollection`: which are kept is known only once the default language and all
//! entries have been seen.
//!
//! **Invariant:** of an entry either everything is kept (document text, fragment, title, payload) or nothing.
//! Memory is bounded by [`MAX_HELD`].

use super::error::MetadataError;
use super::language::Languages;
use tailwater_domain::{Counted, FileDeclaration, Limit, limits};

/// Text held while entries are undecided; forty languages of a talkative update take 0.3 MB.
const MAX_HELD: usize = 16 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_HELD in "bytes": "Titles and descriptions held until their language is known" => "that document is refused",
];

/// A child of the collection, or the text between two.
#[derive(Debug, Default)]
pub(super) struct LocalizedEntry {
    /// `None` until it is known, and for what belongs to no language.
    pub(super) language: Option<String>,
    /// As the document writes it.
    pub(super) raw: Vec<u8>,
    /// Its fragment.
    pub(super) fragment: Vec<u8>,
    /// Its title, for properties.
    pub(super) title: Option<String>,
    /// Its payload, for licences.
    pub(super) eula: Option<FileDeclaration>,
    pub(super) kind: Kind,
    /// Known not to stay: nothing more of it is held.
    pub(super) dropped: bool,
}

impl LocalizedEntry {
    /// Takes the bytes of a token.
    pub(super) fn copy(&mut self, raw: &[u8]) {
        if !self.dropped {
            self.raw.extend_from_slice(raw);
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space, comments, unknown elements: stays in the document.
    #[default]
    Between,
    Properties,
    Eula,
}

/// What the collection held.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: Vec<LocalizedEntry>,
    held: usize,
}

impl Entries {
    /// The entry that is being read; one is begun when there is none.
    pub(super) fn current(&mut self) -> &mut LocalizedEntry {
        if self.entries.is_empty() {
            self.entries.push(LocalizedEntry::default());
        }
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }

    /// Begins the next entry.
    pub(super) fn begin(&mut self, kind: Kind) {
        if let Some(last) = self.entries.last() {
            self.held += last.raw.len() + last.fragment.len();
        }
        self.entries.push(LocalizedEntry { kind, ..LocalizedEntry::default() });
    }

    /// The language of the entry that is being read has been read. False when the entry does not stay, whatever
    /// the default language turns out to be.
    pub(super) fn name_language(&mut self, language: &str, keep: &Languages, default: Option<&str>) -> bool {
        let may_stay =
            keep.keeps(language) || default.is_none_or(|default| default.eq_ignore_ascii_case(language));
        let entry = self.current();
        entry.language = Some(language.to_owned());
        if !may_stay {
            (entry.raw, entry.fragment, entry.dropped) = (Vec::new(), Vec::new(), true);
        }
        may_stay
    }

    /// Ends the entry that is being read.
    pub(super) fn end(&mut self) {
        if self.current().dropped {
            self.entries.pop();
        }
        self.begin(Kind::Between);
    }

    /// Refuses to hold more than the limit.
    pub(super) fn check_held(&self) -> Result<(), MetadataError> {
        let current = self.entries.last().map_or(0, |entry| entry.raw.len() + entry.fragment.len());
        if self.held + current > MAX_HELD {
            return Err(MetadataError::TooMuch {
                what: "bytes of localized properties",
                limit: MAX_HELD as u64,
            });
        }
        if self.entries.len() as u64 > Counted::Localized.limit() {
            return Err(MetadataError::TooMuch {
                what: Counted::Localized.what(),
                limit: Counted::Localized.limit(),
            });
        }
        Ok(())
    }

    /// The entries that stay, in their order.
    pub(super) fn choose(self, keep: &Languages, default: &str) -> Vec<LocalizedEntry> {
        let kept = |kind: Kind, language: &str, any: bool| {
            kind == Kind::Between || keep.keeps(language) || (!any && language.eq_ignore_ascii_case(default))
        };
        let any = |wanted: Kind| {
            self.entries.iter().any(|entry| {
                entry.kind == wanted && entry.language.as_deref().is_some_and(|language| keep.keeps(language))
            })
        };
        let (any_properties, any_eula) = (any(Kind::Properties), any(Kind::Eula));
        self.entries
            .into_iter()
            .filter(|entry| {
                let any = if entry.kind == Kind::Eula { any_eula } else { any_properties };
                kept(entry.kind, entry.language.as_deref().unwrap_or_default(), any)
            })
            .collect()
    }
}
