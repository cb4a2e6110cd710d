//! Which updates a text means, for lists, details and decisions alike.
//!
//! A GUID, with or without a revision number, is an identity; `KB` and a number is a KB number, and so is a number
//! alone when some update has it. Any other text is a phrase of the title; where it is the whole name of a product or a
//! classification, what belongs to that is meant as well.
//!
//! **Invariant:** a text means the same everywhere, and never a part of an identity, of a KB number or of a name. It
//! never looks at standing, kind or type: that is the filter's.

use std::collections::BTreeSet;

use super::lookup::Query;
use super::updates::with_subcategories;
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::snapshot::world::Rev;
use tailwater_domain::{CategoryKind, Facts, Phrase, UpdateId, UpdateType, folded};

/// What people put around a KB number that they copied.
const AROUND: [char; 6] = ['(', ')', '[', ']', '"', '\''];

/// What a text means by its form.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Identity(UpdateId, Option<u32>),
    Kb(u32),
    Number(u32),
    Words,
}

impl Meaning {
    fn of(text: &str) -> Self {
        if let Some((id, revision)) = identity(text) {
            return Self::Identity(id, revision);
        }
        let plain = folded(text.trim().trim_matches(AROUND));
        let digits = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        let behind_kb =
            plain.strip_prefix("kb").map(|rest| rest.trim_start_matches([' ', '-', '#', ':', '.']));
        match (behind_kb.and_then(digits), digits(&plain)) {
            (Some(number), _) => Self::Kb(number),
            (None, Some(number)) => Self::Number(number),
            (None, None) => Self::Words,
        }
    }
}

/// A GUID in any of its forms, and the revision number behind it (`GUID.200`, `GUID/200`, `GUID revision 200`).
fn identity(text: &str) -> Option<(UpdateId, Option<u32>)> {
    let text = text.trim();
    if let Ok(id) = text.parse() {
        return Some((id, None));
    }
    // in braces, with hyphens, and without
    let (id, rest) = [38, 36, 32].into_iter().find_map(|len| {
        let (id, rest) = text.split_at_checked(len)?;
        Some((id.parse::<UpdateId>().ok()?, rest))
    })?;
    let rest = rest.trim_start().to_lowercase();
    let rest = rest.trim_start_matches(['.', '/', ':', ',', '#', '@', '_']).trim_start();
    let number =
        ["revision", "rev.", "rev", "r"].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest);
    let number = number.trim_start();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Some((id, Some(number.parse().ok()?)))).flatten()
}

/// The updates that a text means.
pub(super) enum Selection {
    /// These, by their numbers in the snapshot. Named ones also when they only exist inside bundles.
    These { updates: BTreeSet<u32>, by_identity: bool },
    /// Those with a phrase in a title, or in one of these categories.
    Words { phrase: Phrase, categories: BTreeSet<u32> },
}

impl Selection {
    /// None for a text with nothing in it.
    pub(super) fn new(query: &Query, snapshot: &Snapshot, text: &str) -> Result<Option<Self>, CatalogError> {
        let Some(phrase) = Phrase::new(text) else { return Ok(None) };
        let world = snapshot.world();
        let with_kb = |kb: u32| -> BTreeSet<u32> {
            let newest = world.with_kb(kb).filter_map(|id| Some((id, world.rev(id)?)));
            newest.filter(|(id, rev)| world.update_of(rev).newest == *id).map(|(_, rev)| rev.update).collect()
        };
        let these = |updates, by_identity| Ok(Some(Self::These { updates, by_identity }));
        match Meaning::of(text) {
            Meaning::Identity(id, revision) => {
                let named = world.update(&id).filter(|(_, update)| {
                    let mut held = world.revisions(update);
                    held.any(|(_, rev)| revision.is_none_or(|number| rev.number == number))
                });
                these(named.into_iter().map(|(index, _)| index).collect(), true)
            }
            Meaning::Kb(kb) => match with_kb(kb) {
                // some documents say it in the title only
                none if none.is_empty() => Ok(Phrase::new(&format!("KB{kb}"))
                    .map(|phrase| Self::Words { phrase, categories: BTreeSet::new() })),
                some => these(some, false),
            },
            Meaning::Number(number) => match with_kb(number) {
                none if none.is_empty() => Ok(Some(Self::Words { phrase, categories: BTreeSet::new() })),
                some => these(some, false),
            },
            Meaning::Words => {
                let categories = categories_called(query, snapshot, &phrase)?;
                Ok(Some(Self::Words { phrase, categories }))
            }
        }
    }

    /// Whether it names an update that lists leave out as a rule.
    pub(super) fn names(&self, update: u32) -> bool {
        matches!(self, Self::These { updates, by_identity: true } if updates.contains(&update))
    }

    /// The only updates that it can mean, where it names them.
    pub(super) fn named(&self) -> Option<&BTreeSet<u32>> {
        match self {
            Self::These { updates, .. } => Some(updates),
            Self::Words { .. } => None,
        }
    }

    /// Whether it can only be answered with what documents say.
    pub(super) fn reads_titles(&self) -> bool {
        matches!(self, Self::Words { .. })
    }

    /// Whether it means an update, by what its document says (none: it is damaged), and is the whole of its title.
    pub(super) fn means(&self, snapshot: &Snapshot, rev: &Rev, facts: Option<&Facts>) -> (bool, bool) {
        match self {
            Self::These { updates, .. } => (updates.contains(&rev.update), false),
            Self::Words { phrase, categories } => {
                let titles = || facts.iter().flat_map(|facts| &facts.titles);
                let belongs = !categories.is_empty()
                    && snapshot.world().named_by(rev).any(|named| categories.contains(&named));
                let means = belongs || titles().any(|title| phrase.is_in(&title.text));
                (means, means && titles().any(|title| phrase.is(&title.text)))
            }
        }
    }
}

/// Products and classifications with this name in any language kept, and the products below them.
fn categories_called(
    query: &Query,
    snapshot: &Snapshot,
    phrase: &Phrase,
) -> Result<BTreeSet<u32>, CatalogError> {
    let world = snapshot.world();
    let mut found = BTreeSet::new();
    for update in &world.updates {
        let rev = world.rev(update.newest).filter(|rev| rev.update_type == UpdateType::Category);
        let chosen_by = [CategoryKind::Product, CategoryKind::Classification].map(Some);
        if !rev.is_some_and(|rev| chosen_by.contains(&rev.category)) {
            continue;
        }
        let facts = query.texts().facts_in(snapshot, update.newest)?;
        if facts.is_some_and(|facts| facts.facts.titles.iter().any(|title| phrase.is(&title.text))) {
            found.extend(with_subcategories(snapshot, &update.id));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_by_its_form_what_it_is() {
        let id: UpdateId = "56309036-4c77-4dd9-951a-99ee9c246a94".parse().unwrap();
        let identities = [
            ("56309036-4c77-4dd9-951a-99ee9c246a94", None),
            ("  {56309036-4C77-4DD9-951A-99EE9C246A94} ", None),
            ("563090364C774DD9951A99EE9C246A94", None),
            ("urn:uuid:56309036-4c77-4dd9-951a-99ee9c246a94", None),
            ("56309036-4c77-4dd9-951a-99ee9c246a94.200", Some(200)),
            ("56309036-4c77-4dd9-951a-99ee9c246a94/200", Some(200)),
            ("56309036-4c77-4dd9-951a-99ee9c246a94 200", Some(200)),
            ("56309036-4c77-4dd9-951a-99ee9c246a94 revision 200", Some(200)),
            ("56309036-4c77-4dd9-951a-99ee9c246a94, Rev. 7", Some(7)),
            ("{56309036-4C77-4DD9-951A-99EE9C246A94}.0", Some(0)),
            ("563090364c774dd9951a99ee9c246a94:1", Some(1)),
        ];
        for (text, revision) in identities {
            assert_eq!(Meaning::of(text), Meaning::Identity(id, revision), "{text:?}");
        }
        let kbs = [
            "KB5031356",
            "kb5031356",
            "Kb 5031356",
            "kb-5031356",
            " KB\u{a0}5031356 ",
            "(KB5031356)",
            "ＫＢ５０３１３５６",
        ];
        for text in kbs {
            assert_eq!(Meaning::of(text), Meaning::Kb(5_031_356), "{text:?}");
        }
        assert_eq!(Meaning::of(" 5031356"), Meaning::Number(5_031_356));
        let words = [
            "Windows 11",
            "KB",
            "KB5031356x",
            "KB+5031356",
            "KB99999999999",
            "99999999999",
            "-5",
            "56309036-4c77-4dd9",
            "56309036-4c77-4dd9-951a-99ee9c246a94 and more",
            "56309036-4c77-4dd9-951a-99ee9c246a94.99999999999",
            "56309036-4c77-4dd9-951a-99ee9c246a9",
        ];
        for text in words {
            assert_eq!(Meaning::of(text), Meaning::Words, "{text:?}");
        }
    }
}
