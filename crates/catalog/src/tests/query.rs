//! Promises of pages: a page costs what it shows, whatever there is besides, and work ends when nobody waits for it.

use uuid::Uuid;

use crate::storage::record::key;
use crate::tests::names::*;
use crate::tests::{House, event, facts, fill, update};
use crate::*;
use tailwater_domain::UpdateType;
use tailwater_runtime::while_wanted;

const COMPUTERS: u32 = 250;

fn pc(number: u32) -> ComputerId {
    ComputerId(format!("pc-{number:03}"))
}

/// Every computer has all even updates but a tenth of the computers, which needs them.
fn office(house: &House, updates: u32) -> Catalog {
    let catalog = house.open();
    fill(&catalog, (1..=updates).map(|number| facts(number, 1, UpdateType::Software)).collect());
    let even: Vec<String> = (1..=updates).filter(|n| n % 2 == 0).map(|n| update(n).to_string()).collect();
    for number in 0..COMPUTERS {
        catalog.enrol(&pc(number), &format!("desk-{:03}.example", COMPUTERS - number), None).unwrap();
        let letter = if number % 10 == 0 { 'U' } else { 'V' };
        let list = format!("{letter}={}", even.join(";"));
        let mut report = event(156, None, &[&list]);
        report.instance = Uuid::from_u128(u128::from(number) + 1);
        catalog.report(&Caller::default(), &pc(number), vec![report]).unwrap();
    }
    catalog
}

/// Makes what these computers reported unreadable: who reads it fails.
fn forbid(catalog: &Catalog, numbers: impl Iterator<Item = u32>) {
    for number in numbers {
        let mut batch = kv::Batch::default();
        batch.put(key::status(&pc(number)), vec![1, 0xff]);
        catalog.0.storage.kv().apply(&batch).unwrap();
    }
}

#[test]
fn a_page_of_an_updates_computers_reads_what_those_reported_and_nothing_else() {
    let house = House::new();
    let catalog = office(&house, 20);
    // by name the last computer is the first
    let page = |offset, limit| catalog.states_of(&update(2), offset, limit).unwrap();
    let names: Vec<String> = page(0, 1_000).rows.into_iter().map(|row| row.dns_name).collect();
    assert!(names.is_sorted() && names.len() == COMPUTERS as usize);
    forbid(&catalog, 0..200);
    for (offset, limit, first, shown) in
        [(0, 10, 249, 10), (7, 3, 242, 3), (40, 10, 209, 10), (49, 1, 200, 1)]
    {
        let page = page(offset, limit);
        assert_eq!((page.total, page.offset, page.rows.len()), (COMPUTERS as usize, offset, shown));
        assert_eq!(page.rows[0].computer, pc(first));
        let state = if first % 10 == 0 { State::Needed } else { State::Installed };
        assert_eq!(page.rows[0].state, state);
    }
    assert!(catalog.states_of(&update(2), 50, 1).is_err(), "this one is read");
    assert_eq!(page(COMPUTERS as usize, 10).rows.len(), 0);
    // what nobody speaks of
    let nothing = catalog.states_of(&update(1), 0, 0).unwrap();
    assert_eq!((nothing.total, nothing.rows.len()), (0, 0));
    // lists of computers read no reports at all
    let listed = catalog.computers(&ComputerQuery::default()).unwrap();
    assert_eq!(listed.rows[0].counts, Counts { installed: 10, ..Counts::default() });
    assert_eq!(catalog.members_by_group()[&GroupId::UNASSIGNED_COMPUTERS], COMPUTERS as usize);
    let typed = ["PC-004", "DESK-010.example", "desk-2", "nobody", "desk-250"].map(str::to_owned);
    let found = catalog.computers_named(&typed);
    let nobody = || Err(Vec::new());
    assert_eq!(found, [Ok(pc(4)), Ok(pc(240)), nobody(), nobody(), Ok(pc(0))]);
    catalog.enrol(&pc(900), "desk-250.example", None).unwrap();
    let found = catalog.computers_named(&["DESK-250.example".to_owned()]).remove(0);
    assert_eq!(found.unwrap_err().len(), 2, "two have this name");
}

#[test]
fn what_computers_say_is_known_again_after_a_restart_and_forgotten_with_them() {
    let house = House::new();
    let before = office(&house, 12).states_of(&update(4), 0, 1_000).unwrap();
    let catalog = house.open();
    assert_eq!(catalog.states_of(&update(4), 0, 1_000).unwrap(), before);
    assert!(catalog.forget(&pc(7)).unwrap());
    let now = catalog.states_of(&update(4), 0, 1_000).unwrap();
    assert_eq!(now.total, before.total - 1);
    assert!(now.rows.iter().all(|row| row.computer != pc(7)));
}

#[test]
fn the_updates_of_a_computer_come_page_by_page_each_once() {
    let ids = |range: std::ops::Range<u32>| range.map(update).collect::<Vec<_>>();
    let at = jiff::Timestamp::UNIX_EPOCH;
    let status = Status {
        reported_at: Some(at),
        installed: ids(0..1_700),
        needed: ids(2_000..2_300),
        failed: ids(2_100..2_150).into_iter().map(|update| Failure { update, result: 5, at }).collect(),
    };
    for (only, total) in [
        (None, 2_000),
        (Some(State::Failed), 50),
        (Some(State::Needed), 250),
        (Some(State::Installed), 1_700),
        (Some(State::Unknown), 0),
    ] {
        let mut seen = Vec::new();
        loop {
            let page = status.words(only, seen.len(), 333);
            assert_eq!(page.total, total, "{only:?}");
            if page.rows.is_empty() {
                break;
            }
            seen.extend(page.rows);
        }
        assert_eq!(seen.len(), total, "{only:?}");
        let distinct: std::collections::HashSet<UpdateId> = seen.iter().map(|word| word.update).collect();
        assert_eq!(distinct.len(), total, "{only:?}");
        assert!(seen.iter().all(|word| status.state_of(&word.update) == word.state));
    }
}

/// Every kind of work that reads much, begun and left: it ends by itself, with the error that says so.
#[tokio::test]
async fn work_that_nobody_waits_for_ends_at_what_it_reads_next() {
    type Work = fn(&Catalog) -> Result<(), CatalogError>;
    let kinds: [(&str, Work); 6] = [
        ("states", |catalog| catalog.states_of(&update(2), 0, 1).map(|_| ())),
        ("details", |catalog| catalog.computer_detail(&pc(3)).map(|_| ())),
        ("list", |catalog| catalog.updates(&UpdateQuery::default()).map(|_| ())),
        ("search", |catalog| {
            let query = UpdateQuery { text: Some("nothing like it".to_owned()), ..UpdateQuery::default() };
            catalog.updates(&query).map(|_| ())
        }),
        ("one", |catalog| catalog.update(&update(3), None).map(|_| ())),
        ("text", |catalog| {
            let snapshot = catalog.snapshot();
            let id = snapshot.latest(&update(3)).unwrap();
            let part = snapshot.part(id, &PartKind::Document).unwrap();
            catalog.chunks(&part).try_for_each(|chunk| chunk.map(|_| ()))
        }),
    ];
    let house = House::new();
    let catalog = office(&house, 20);
    for (kind, work) in kinds {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let inside = catalog.clone();
        #[expect(clippy::disallowed_methods, reason = "the task has to be given up, as a client does")]
        let asked = tokio::spawn(while_wanted(move || {
            let mut begun = Some(begun);
            let error = loop {
                match work(&inside) {
                    Ok(()) => begun.take().into_iter().for_each(|begun| begun.send(()).unwrap()),
                    Err(error) => break error,
                }
            };
            ended.send(error).unwrap();
        }));
        has_begun.await.unwrap();
        asked.abort();
        let error = has_ended.await.unwrap();
        assert!(matches!(error, CatalogError::Unwanted), "{kind}: {error}");
        assert!(catalog.damaged().is_empty(), "{kind}: nothing is taken for damage");
    }
}
