//! Promises about sizes: what does not fit a record is refused by itself, and what is stored is there after the store
//! was opened again, whatever lay beside it.

use crate::storage::manifest::{
    BLOCK_BYTES, Block, CutFacts, MAX_MANIFEST, Manifest, StoredKind, encode_block,
};
use crate::storage::record;
use crate::storage::record::key;
use crate::storage::segment::frame::{HEADER, Kind, MAX_RAW};
use crate::tests::names::*;
use crate::tests::{House, facts, fill, revision, update};
use crate::*;
use tailwater_domain::{
    Counted, DriverFacts, Encryption, MAX_LANGUAGE_NAME, PrerequisiteClause, PublicationState, UpdateType,
};

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn noise(chance: &mut Chance) -> UpdateId {
    let (high, low) = (chance.below(usize::MAX) as u64, chance.below(usize::MAX) as u64);
    UpdateId(uuid::Uuid::from_u64_pair(high, low))
}

/// An update whose manifest has this many bytes or, when that is too few, as few as it can have.
fn sized(number: u32, bytes: usize) -> Facts {
    let mut chance = Chance(u64::from(number) + 1);
    let mut one = facts(number, 1, UpdateType::Software);
    // as it is weighed when it comes, its texts included
    let weight = |one: &Facts| checked_len(one);
    let each = {
        let (before, mut with) = (weight(&one), one.clone());
        with.supersedes = (0..200).map(|_| noise(&mut chance)).collect();
        (weight(&with) - before) / 200
    };
    let many = bytes.saturating_sub(weight(&one) + 80) / each;
    one.supersedes = (0..many).map(|_| noise(&mut chance)).collect();
    while weight(&one) + 70 < bytes {
        one.languages.push("l".repeat(60));
    }
    if weight(&one) + 2 <= bytes {
        one.languages.push(String::new());
        let lacking = bytes - weight(&one);
        one.languages.last_mut().unwrap().push_str(&"l".repeat(lacking));
    }
    one
}

fn checked_len(facts: &Facts) -> usize {
    let manifest = Manifest::of(facts, 1_790_000_000);
    let parts = revision(facts.clone()).parts;
    let kinds: Vec<_> = parts.into_iter().map(|part| StoredKind::Part(part.kind)).collect();
    manifest.len_with(&[StoredKind::Facts].iter().chain(&kinds).collect::<Vec<_>>()).unwrap()
}

/// Everything that is active, by number.
fn held(catalog: &Catalog) -> Vec<UpdateIdentity> {
    let mut all = catalog.staging().unwrap().active();
    all.sort_unstable();
    all
}

#[test]
fn an_update_is_refused_alone_from_one_byte_above_the_limit() {
    for (round, bytes) in
        [0, MAX_MANIFEST - 1, MAX_MANIFEST, MAX_MANIFEST + 1, 2 * MAX_MANIFEST].into_iter().enumerate()
    {
        let house = House::new();
        let catalog = house.open();
        let staging = catalog.staging().unwrap();
        let mut all: Vec<Facts> = (1..100).map(|number| facts(number, 1, UpdateType::Software)).collect();
        let odd = sized(500, bytes);
        assert!(bytes == 0 || checked_len(&odd) == bytes, "{} instead of {bytes}", checked_len(&odd));
        all.insert(round * 20, odd.clone());
        let stored = staging.store_each(all.into_iter().map(revision).collect(), false).unwrap();
        let refused = bytes > MAX_MANIFEST;
        match stored.refused.as_slice() {
            [] => assert!(!refused),
            [(identity, error @ CatalogError::TooManyFacts { len, .. })] => {
                assert!(refused && *identity == odd.identity && *len == bytes as u64);
                assert!(error.to_string().contains("bytes of relations"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        let count = if refused { 99 } else { 100 };
        let Activated::Done(summary) = staging.activate(Activation::default()).unwrap() else { panic!() };
        assert_eq!(summary.added, count, "{bytes}");
        let before = held(&catalog);
        drop((staging, catalog));
        assert_eq!(held(&house.open()), before, "{bytes}");
    }
}

#[test]
fn small_and_huge_updates_in_any_order_are_all_there_afterwards() {
    for seed in 1..3 {
        let mut chance = Chance(seed);
        let house = House::new();
        let catalog = house.open();
        let staging = catalog.staging().unwrap();
        let mut wanted = Vec::new();
        let sizes = [0, 0, 0, 0, 3_000, 200_000, 1 << 20, 3 << 20, MAX_MANIFEST / 2 + 1, MAX_MANIFEST];
        let mut number = 0;
        for _ in 0..3 {
            let batch: Vec<Facts> = (0..10 + chance.below(100))
                .map(|_| {
                    number += 1;
                    let huge = chance.below(20) == 0;
                    sized(number, if huge { sizes[chance.below(sizes.len())] } else { 0 })
                })
                .collect();
            wanted.extend(batch.iter().map(|facts| facts.identity));
            let stored = staging.store_each(batch.into_iter().map(revision).collect(), false).unwrap();
            assert!(stored.refused.is_empty(), "{:?}", stored.refused);
        }
        wanted.sort_unstable();
        drop((staging, catalog));
        // staged things are read from their blocks too
        let catalog = house.open();
        assert_eq!(catalog.staging().unwrap().staged().len(), wanted.len(), "seed {seed}");
        catalog.staging().unwrap().activate(Activation::default()).unwrap();
        drop(catalog);
        let catalog = house.open();
        assert_eq!(held(&catalog), wanted, "seed {seed}");
    }
}

#[test]
fn an_update_with_the_most_of_everything_is_stored() {
    let limit = |kind: Counted| usize::try_from(kind.limit()).unwrap();
    let mut chance = Chance(9);
    let mut most = facts(1, 1, UpdateType::Driver);
    let ids = |chance: &mut Chance, kind| (0..limit(kind)).map(|_| noise(chance)).collect::<Vec<_>>();
    let clause = |id| PrerequisiteClause { any_of: vec![id], is_category: false };
    most.prerequisites = ids(&mut chance, Counted::Prerequisites).into_iter().map(clause).collect();
    most.bundled = ids(&mut chance, Counted::BundleMembers)
        .into_iter()
        .map(|update| tailwater_domain::BundleClause {
            any_of: vec![UpdateIdentity { update, revision: u32::MAX }],
        })
        .collect();
    most.supersedes = ids(&mut chance, Counted::Superseded);
    most.files = (0..limit(Counted::Files))
        .map(|number| FileDeclaration {
            sha1: Sha1Digest(std::array::from_fn(|at| if at < 8 { number.to_le_bytes()[at] } else { 255 })),
            sha256: None,
            size: u64::MAX,
            name: "a.cab".to_owned(),
            patching: None,
        })
        .collect();
    most.encryption = Encryption::Files(most.files.iter().map(|file| file.sha1).collect());
    most.kb_articles = vec![u32::MAX.to_string(); limit(Counted::Articles)];
    most.languages = vec!["l".repeat(MAX_LANGUAGE_NAME); limit(Counted::Languages)];
    let device = |hardware_id: String| DriverFacts {
        hardware_id,
        class: String::new(),
        date: String::new(),
        version: u64::MAX,
        provider: String::new(),
        manufacturer: String::new(),
        model: String::new(),
        computer_hardware_ids: Vec::new(),
        distribution_ids: Vec::new(),
        feature_scores: Vec::new(),
    };
    most.drivers = (0..limit(Counted::Devices)).map(|number| device(number.to_string())).collect();
    most.drivers[0].computer_hardware_ids = vec!["x".repeat(40); limit(Counted::ComputerIds)];
    most.drivers[0].feature_scores = vec![("AMD64.10.0".to_owned(), 1); limit(Counted::FeatureScores)];
    let house = House::new();
    let catalog = house.open();
    let mut new = revision(most.clone());
    for number in 0..limit(Counted::Localized) {
        let language = format!("{number:0>MAX_LANGUAGE_NAME$}");
        new.parts.push(tests::text(PartKind::Localized(language), "t"));
    }
    let staging = catalog.staging().unwrap();
    let numbers = staging.store(vec![new]).unwrap();
    staging.activate(Activation::default()).unwrap();
    drop((staging, catalog));
    let catalog = house.open();
    let stored = catalog.facts(numbers[0]).unwrap().unwrap();
    assert_eq!(stored.facts.drivers.len(), limit(Counted::Devices));
    assert_eq!(stored.facts.supersedes, most.supersedes);
}

/// Writes a block as early versions did: without a look at its lengths.
fn write_as_before(catalog: &Catalog, block: &Block, compressed: bool) {
    let raw = encode_block(block).unwrap();
    let payload = if compressed { zstd::bulk::compress(&raw, 3).unwrap() } else { raw.clone() };
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&payload.len().to_le_bytes()[..3]);
    bytes.extend_from_slice(&raw.len().to_le_bytes()[..3]);
    bytes.extend_from_slice(&[Kind::Manifest as u8, if compressed { 0 } else { 255 }]);
    assert_eq!(bytes.len(), HEADER);
    bytes.extend_from_slice(&payload);
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    let log = catalog.0.storage.log();
    let mut appender = log.appender();
    let place = appender.append(&bytes).unwrap();
    let number = log.ids().block();
    let ids: Vec<u32> = block.iter().map(|_| log.ids().revision()).collect();
    assert_eq!(ids.len(), block.len());
    let ticket = appender.push(vec![(key::block(number), Some(record::encode(&place).unwrap()))]);
    drop(appender);
    log.settle(ticket).unwrap();
}

#[test]
fn blocks_that_early_versions_wrote_too_large_are_read() {
    for compressed in [true, false] {
        let house = House::new();
        let catalog = house.open();
        fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
        let block: Block = (2..8)
            .map(|number| {
                let mut facts = facts(number, 1, UpdateType::Software);
                // compressible, so that only the raw length is beyond the header
                facts.supersedes = vec![update(number); 200_000];
                Manifest { id: number, ..Manifest::of(&facts, 5) }
            })
            .collect();
        assert!(encode_block(&block).unwrap().len() > MAX_RAW);
        write_as_before(&catalog, &block, compressed);
        fill(&catalog, vec![facts(50, 1, UpdateType::Software)]);
        drop(catalog);
        let catalog = house.open();
        assert_eq!(held(&catalog).len(), 8, "compressed: {compressed}");
        const { assert!(BLOCK_BYTES < MAX_RAW) };
    }
}

/// What cannot be written is an error before anything is: neither record nor index entry, and what was there stays.
#[test]
fn what_cannot_be_encoded_changes_nothing() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
    let log = || catalog.0.storage.log().appender().place();
    let (before, small, large) = (log(), key::kept("small"), key::kept("large"));
    // the second record of the change is over the limit; the first would fit
    let ops = vec![(small.clone(), Some(vec![1; 5 << 20])), (large.clone(), Some(vec![2; MAX_RAW + 1]))];
    let refused = catalog.0.storage.journal(ops);
    assert!(matches!(refused, Err(CatalogError::RecordTooLarge { .. })), "{refused:?}");
    assert_eq!(log(), before, "nothing was appended");
    let kv = catalog.0.storage.kv();
    assert_eq!((kv.get(&small).unwrap(), kv.get(&large).unwrap()), (None, None));
    // a value that JSON has no form for
    catalog.set_json("rate", &7).unwrap();
    let unwritable: std::collections::BTreeMap<(u8, u8), u8> = std::iter::once(((1, 2), 3)).collect();
    assert!(matches!(catalog.set_json("rate", &unwritable), Err(CatalogError::Json(_))));
    assert!(catalog.keep_json("rate", &unwritable).is_err());
    assert_eq!(catalog.json::<u8>("rate").unwrap(), Some(7));
    // the store goes on, and is the same after a start
    catalog.create_group("Desk", None).unwrap();
    drop(catalog);
    let catalog = house.open();
    assert_eq!(catalog.json::<u8>("rate").unwrap(), Some(7));
    assert!(catalog.find_group("Desk").is_some());
    assert_eq!(catalog.kept("small").unwrap(), None);
}

#[test]
fn of_what_was_stored_before_encryption_was_noted_that_with_payloads_is_to_be_looked_at() {
    let file = |number: u8| FileDeclaration {
        sha1: Sha1Digest([number; 20]),
        sha256: None,
        size: 1,
        name: "a.wim".to_owned(),
        patching: None,
    };
    let with = |number: u8| {
        let mut one = facts(number.into(), 1, UpdateType::Software);
        one.files.push(file(number));
        one
    };
    let mut expired = with(4);
    expired.publication_state = PublicationState::Expired;
    let bare = facts(5, 1, UpdateType::Software);
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, vec![with(1)]);
    let before = |(number, facts): (u32, Facts)| {
        let cut = (number == 6).then(CutFacts::default);
        Manifest { id: number, cut, ..Manifest::of(&facts, 5) }
    };
    let older = [(2, with(2)), (3, with(3)), (4, expired), (5, bare), (6, with(6))];
    write_as_before(&catalog, &older.map(before).into(), true);
    fill(&catalog, vec![with(7)]);
    drop(catalog);
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    let unsaid = |after| staging.unsaid_encryption(RevisionId(after));
    assert_eq!(unsaid(0), [RevisionId(2), RevisionId(3)]);
    assert_eq!(unsaid(2), [RevisionId(3)], "what was looked at is not looked at again");
    assert!(unsaid(3).is_empty() && unsaid(u32::MAX).is_empty());
    // stored again it is said
    let mut again = revision(with(2));
    again.facts.encryption = Encryption::Files(vec![file(2).sha1]);
    staging.store_each(vec![again], true).unwrap();
    assert_eq!(unsaid(0), [RevisionId(3)], "staged");
    staging.activate(Activation::default()).unwrap();
    assert_eq!(unsaid(0), [RevisionId(3)], "active");
}
