//! Promises of the room as a whole: what is stored stays, what is staged is not seen, what is decided holds.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::{BundleClause, CategoryKind, PrerequisiteClause, PublicationState, Title, UpdateType};

/// A GUID that says what it is.
pub(super) fn update(number: u32) -> UpdateId {
    UpdateId(Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + u128::from(number)))
}

pub(super) fn facts(number: u32, revision: u32, update_type: UpdateType) -> Facts {
    Facts {
        identity: UpdateIdentity { update: update(number), revision },
        update_type,
        explicitly_deployable: update_type == UpdateType::Software || update_type == UpdateType::Driver,
        publication_state: PublicationState::Published,
        eula_id: None,
        creation_date: Some("2026-11-01T00:00:00Z".to_owned()),
        default_language: "en".to_owned(),
        category: (update_type == UpdateType::Category).then_some(CategoryKind::Product),
        prerequisites: Vec::new(),
        bundled: Vec::new(),
        supersedes: Vec::new(),
        files: Vec::new(),
        titles: vec![Title { language: "en".to_owned(), text: format!("Update number {number}") }],
        kb_articles: vec![format!("{}", 5_000_000 + number)],
        bulletins: Vec::new(),
        severity: None,
        drivers: Vec::new(),
        uninstallable: false,
    }
}

pub(super) fn needs(mut facts: Facts, clauses: &[&[u32]]) -> Facts {
    facts.prerequisites = clauses
        .iter()
        .map(|any| PrerequisiteClause {
            any_of: any.iter().map(|n| update(*n)).collect(),
            is_category: false,
        })
        .collect();
    facts
}

pub(super) fn bundles(mut facts: Facts, children: &[(u32, u32)]) -> Facts {
    facts.bundled = children
        .iter()
        .map(|(number, revision)| BundleClause {
            any_of: vec![UpdateIdentity { update: update(*number), revision: *revision }],
        })
        .collect();
    facts
}

pub(super) fn hidden(mut facts: Facts) -> Facts {
    facts.explicitly_deployable = false;
    facts
}

pub(super) fn text(kind: PartKind, text: impl Into<Vec<u8>>) -> NewPart {
    let text = text.into();
    NewPart { kind, len: text.len() as u64, text: Box::new(std::io::Cursor::new(text)) }
}

pub(super) fn core_of(facts: &Facts) -> String {
    format!(
        "&lt;UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\" /&gt;",
        facts.identity.update, facts.identity.revision
    )
}

pub(super) fn revision(facts: Facts) -> NewRevision {
    let core = core_of(&facts);
    let localized = PartKind::Localized("en".to_owned());
    NewRevision {
        parts: vec![
            text(PartKind::Document, format!("<upd:Update>{core}</upd:Update>")),
            text(PartKind::Core, core),
            text(PartKind::Extended, "&lt;ExtendedProperties /&gt;"),
            text(localized, format!("&lt;LocalizedProperties&gt;{}", facts.titles[0].text)),
        ],
        facts,
        file_urls: Vec::new(),
    }
}

pub(super) struct House {
    pub dir: tempfile::TempDir,
    pub clock: Clock,
}

impl House {
    pub(super) fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_790_000_000).unwrap());
        Self { dir: tempfile::tempdir().unwrap(), clock }
    }

    pub(super) fn config(&self) -> Config {
        Config {
            index_cache: crate::domain::ByteCount(4 << 20),
            ..Config::new(self.dir.path().join("catalog"))
        }
    }

    pub(super) fn open(&self) -> Catalog {
        Catalog::open(self.config(), self.clock.clone()).unwrap()
    }
}

pub(super) fn fill(catalog: &Catalog, all: Vec<Facts>) -> Summary {
    let staging = catalog.staging().unwrap();
    staging.store(all.into_iter().map(revision).collect()).unwrap();
    match staging.activate(Activation::default()).unwrap() {
        Activated::Done(summary) => summary,
        Activated::Held(held) => panic!("held: {held:?}"),
    }
}

pub(super) fn ask(
    catalog: &Catalog,
    groups: &[GroupId],
    installed: &[u32],
    other: &[u32],
) -> Arc<ScanAnswer> {
    catalog.snapshot().scan(&ScanQuery {
        groups,
        installed,
        other,
        categories: &[],
        two_groups: false,
        since: 0,
        limit: 1_000,
        max_bytes: u64::MAX,
    })
}

pub(super) fn ids(offers: &[Offer]) -> Vec<u32> {
    offers.iter().map(|offer| offer.id.0).collect()
}

/// A product, a detectoid below it, and software that needs both: revisions 1, 2 and 3.
pub(super) fn small_world() -> Vec<Facts> {
    vec![
        facts(1, 100, UpdateType::Category),
        needs(facts(2, 50, UpdateType::Detectoid), &[&[1]]),
        needs(facts(3, 200, UpdateType::Software), &[&[1], &[2]]),
    ]
}

#[test]
fn what_is_staged_is_seen_by_nobody_until_all_of_it_is() {
    let house = House::new();
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    let numbers = staging.store(small_world().into_iter().map(revision).collect()).unwrap();
    assert_eq!(numbers, [RevisionId(1), RevisionId(2), RevisionId(3)]);
    assert!(staging.holds(&UpdateIdentity { update: update(3), revision: 200 }));
    assert!(ask(&catalog, &[], &[], &[]).new.is_empty());
    let settings = vec![("anchor".to_owned(), Some(b"42".to_vec()))];
    let outcome = staging.activate(Activation { settings, ..Activation::default() }).unwrap();
    let Activated::Done(summary) = outcome else { panic!("{outcome:?}") };
    assert_eq!((summary.generation, summary.added, summary.revisions), (1, 3, 3));
    assert_eq!(ids(&ask(&catalog, &[], &[], &[]).new), [1]);
    assert_eq!(ids(&ask(&catalog, &[], &[1], &[]).new), [2]);
    assert_eq!(ids(&ask(&catalog, &[], &[1, 2], &[]).new), [3]);
    drop((catalog, staging));
    let catalog = house.open();
    assert_eq!(ids(&ask(&catalog, &[], &[1, 2], &[]).new), [3]);
    assert_eq!(catalog.setting("anchor").unwrap().as_deref(), Some(&b"42"[..]));
}

#[test]
fn staging_is_taken_up_again_after_a_restart() {
    let house = House::new();
    let catalog = house.open();
    let first = catalog.staging().unwrap();
    first.store(small_world().drain(..2).map(revision).collect()).unwrap();
    drop((catalog, first));
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    assert_eq!(staging.staged().len(), 2);
    assert!(staging.holds(&UpdateIdentity { update: update(1), revision: 100 }));
    assert!(!staging.holds(&UpdateIdentity { update: update(3), revision: 200 }));
    let known = staging.facts(&UpdateIdentity { update: update(2), revision: 50 }).unwrap().unwrap();
    assert_eq!(known.facts.titles[0].text, "Update number 2");
    let numbers = staging.store(small_world().into_iter().map(revision).collect()).unwrap();
    assert_eq!(numbers, [RevisionId(1), RevisionId(2), RevisionId(3)]);
    staging.activate(Activation::default()).unwrap();
    assert_eq!(catalog.totals().revisions, 3);
}

#[test]
fn a_text_comes_back_as_it_was_whole_and_in_pieces() {
    let house = House::new();
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    let large: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    let mut new = revision(facts(1, 1, UpdateType::Software));
    new.parts[1] = text(PartKind::Core, large.clone());
    new.parts.push(text(PartKind::Eula("de".to_owned()), Vec::new()));
    let id = staging.store(vec![new, revision(facts(2, 1, UpdateType::Software))]).unwrap()[0];
    staging.activate(Activation::default()).unwrap();
    let snapshot = catalog.snapshot();
    let core = snapshot.part(id, &PartKind::Core).unwrap();
    assert!(core.is_large());
    assert!(catalog.read(&core).unwrap() == large);
    let pieces: Vec<Bytes> = catalog.chunks(&core).map(Result::unwrap).collect();
    assert!(pieces.iter().all(|piece| piece.len() <= FRAME_BYTES as usize));
    assert!(pieces.concat() == large);
    let empty = snapshot.part(id, &PartKind::Eula("de".to_owned())).unwrap();
    assert!(empty.is_empty() && catalog.read(&empty).unwrap().is_empty());
    let small = snapshot.part(RevisionId(2), &PartKind::Core).unwrap();
    assert_eq!(catalog.read(&small).unwrap(), core_of(&facts(2, 1, UpdateType::Software)));
}

#[test]
fn a_text_of_another_length_than_announced_is_refused() {
    let house = House::new();
    let staging = house.open().staging().unwrap();
    for len in [3, 5, 400_000] {
        let mut new = revision(facts(1, 1, UpdateType::Software));
        new.parts[1] = NewPart { kind: PartKind::Core, len, text: Box::new(&b"text"[..]) };
        assert!(matches!(staging.store(vec![new]), Err(CatalogError::PartInput { .. })), "{len}");
    }
    assert!(staging.staged().is_empty());
}
