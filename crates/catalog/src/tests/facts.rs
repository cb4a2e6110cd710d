//! Drivers that were stored before all of their facts were kept: read as they are, completed from their documents.

use std::sync::Arc;

use crate::tests::names::*;
use crate::tests::{House, facts, fill, update};
use crate::*;
use tailwater_domain::{DriverFacts, UpdateType};

const DEVICE: &str = "PCI\\VEN_1&DEV_2";

fn driver(sent_to: &[&str]) -> DriverFacts {
    DriverFacts {
        hardware_id: DEVICE.to_owned(),
        class: "Net".to_owned(),
        date: "2026-05-01".to_owned(),
        version: 1,
        provider: String::new(),
        manufacturer: String::new(),
        model: String::new(),
        computer_hardware_ids: Vec::new(),
        distribution_ids: sent_to.iter().map(|&id| id.to_owned()).collect(),
        feature_scores: vec![("amd64.10.0".to_owned(), 7)],
    }
}

fn stored(number: u32, sent_to: &[&str]) -> StoredFacts {
    let facts = Facts { drivers: vec![driver(sent_to)], ..facts(number, 1, UpdateType::Driver) };
    StoredFacts { facts, file_urls: Vec::new(), drivers_known: true }
}

/// Stands in for the reader of documents: those of update 2 cannot be read.
fn read(document: &[u8]) -> Option<Vec<DriverFacts>> {
    let of = |number: u32| document.windows(36).any(|part| part == update(number).to_string().as_bytes());
    (!of(2)).then(|| vec![driver(&["model-a"])])
}

fn offered(catalog: &Catalog, computer: &str) -> Vec<u32> {
    let devices = [Device { hardware_ids: vec![DEVICE.to_owned()], ..Device::default() }];
    let answer = catalog.drivers(&DriverQuery {
        groups: &[],
        installed: &[],
        cached: &[],
        devices: &devices,
        all_printers: false,
        computer_hardware_ids: &[computer.to_owned()],
        feature_key: None,
        since: 0,
        limit: 10,
    });
    answer.unwrap().new.iter().map(|offer| offer.id.0).collect()
}

#[test]
fn records_of_both_versions_are_read() {
    let new = stored(1, &["model-a", "model-b"]);
    assert_eq!(StoredFacts::decode(&new.encode().unwrap()).unwrap(), new);
    // the first version is what serialising the value alone gives
    let old = StoredFacts::decode(&record::encode(&new).unwrap()).unwrap();
    assert!(!old.drivers_known && old.facts.drivers[0].distribution_ids.is_empty());
    assert_eq!(old.facts.drivers[0].feature_scores, new.facts.drivers[0].feature_scores);
    let software = StoredFacts { facts: facts(1, 1, UpdateType::Software), ..new.clone() };
    assert!(
        StoredFacts::decode(&record::encode(&software).unwrap()).unwrap().drivers_known,
        "nothing is missing there"
    );
    let later = [&[3_u8][..], &new.encode().unwrap()[1..]].concat();
    assert!(matches!(StoredFacts::decode(&later), Err(CatalogError::Newer { found: 3, known: 2 })));
}

#[test]
fn what_an_earlier_version_stored_is_completed_from_its_document() {
    let house = House::new();
    let config = Config { read_drivers: Some(read), ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    for number in [1, 2] {
        fill(&catalog, vec![stored(number, &[]).facts]);
        // as if it had been read from a record of the first version
        let part = catalog.snapshot().facts_part(number).unwrap();
        let old = StoredFacts::decode(&record::encode(&stored(number, &[])).unwrap()).unwrap();
        catalog.0.texts.remember_facts(&part, Arc::new(old));
    }
    assert!(offered(&catalog, "model-b").is_empty(), "1 is for another model, 2 cannot be read");
    assert_eq!(offered(&catalog, "model-a"), [1]);
    let known = catalog.facts(RevisionId(1)).unwrap().unwrap();
    assert_eq!(
        (known.drivers_known, &known.facts.drivers[0].distribution_ids[..]),
        (true, &["model-a".to_owned()][..])
    );
    // what is stored today needs no second look
    fill(&catalog, vec![stored(3, &["model-c"]).facts]);
    drop(catalog);
    let catalog = house.open();
    assert_eq!(offered(&catalog, "model-c"), [3]);
}

#[test]
fn facts_are_remembered_by_what_they_weigh() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, vec![stored(1, &[]).facts]);
    let texts = &catalog.0.texts;
    let part = catalog.snapshot().facts_part(1).unwrap();
    let large = |number: u32| {
        let facts = Facts {
            supersedes: (0..50_000).map(update).collect(),
            bulletins: vec!["MS26-001".to_owned(); 1_000],
            ..stored(number, &[]).facts
        };
        Arc::new(StoredFacts { facts, file_urls: Vec::new(), drivers_known: true })
    };
    assert!(large(1).bytes() > 800_000, "{}", large(1).bytes());
    for number in 0..200 {
        texts.remember_facts(&PartRef { offset: 1_000 + number, ..part }, large(number));
        let (remembered, limit) = texts.remembered_facts();
        assert!(remembered <= limit, "{remembered}");
    }
    let (remembered, limit) = texts.remembered_facts();
    assert!(remembered > limit / 2, "{remembered}");
    // what was pushed out is read again
    assert_eq!(texts.read_facts(&part).unwrap().facts.identity, stored(1, &[]).facts.identity);
}
