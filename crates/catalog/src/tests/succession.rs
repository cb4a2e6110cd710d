//! Promises of succession: a computer that was set up anew keeps its record and groups, two that live keep one each.

use std::time::Duration;

use crate::tests::House;
use crate::tests::names::*;
use crate::*;
use tailwater_domain::{ComputerDetails, RolledComputer, ServerId, ServerReport, SyncResult};

fn id(text: &str) -> ComputerId {
    ComputerId(text.to_owned())
}

const HOUR: Duration = Duration::from_hours(1);

/// The identities that are known, with the groups of each.
fn known(catalog: &Catalog) -> Vec<(String, usize, usize)> {
    let page = catalog.computers(&ComputerQuery::default()).unwrap();
    let mut rows: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.computer.id.0.clone(), row.computer.groups.len(), row.same_name))
        .collect();
    rows.sort();
    rows
}

fn rows(rows: &[(&str, usize, usize)]) -> Vec<(String, usize, usize)> {
    rows.iter().map(|(id, groups, same)| ((*id).to_owned(), *groups, *same)).collect()
}

/// A house with one computer in a group.
fn house() -> (House, Catalog, Group) {
    let house = House::new();
    let catalog = house.open();
    let group = catalog.create_group("Desk", None).unwrap();
    catalog.enrol(&id("old"), "PC-1.branch.example", None).unwrap();
    catalog.assign(&id("old"), &[group.id]).unwrap();
    (house, catalog, group)
}

#[test]
fn a_computer_that_was_set_up_anew_takes_over_record_and_groups() {
    // silent for long before it comes back: at once
    let (house, catalog, group) = house();
    catalog.report(&Caller::default(), &id("old"), Vec::new()).unwrap();
    house.clock.advance(HOUR * 30);
    let heir = catalog.enrol(&id("new"), "pc-1.BRANCH.example", None).unwrap();
    assert_eq!(heir.groups, [group.id]);
    assert_eq!(known(&catalog), rows(&[("new", 1, 0)]));
    assert!(catalog.computer(&id("old")).is_none());
    // it outlives the process and a rebuilt index
    let config = house.config();
    drop(catalog);
    let catalog = house.open();
    assert_eq!(known(&catalog), rows(&[("new", 1, 0)]));
    drop(catalog);
    rebuild_index(&config).unwrap();
    assert_eq!(known(&house.open()), rows(&[("new", 1, 0)]));
}

#[test]
fn one_that_called_a_moment_ago_is_waited_for() {
    let (house, catalog, _) = house();
    house.clock.advance(HOUR);
    catalog.enrol(&id("new"), "pc-1.branch.example", None).unwrap();
    assert_eq!(known(&catalog), rows(&[("new", 0, 1), ("old", 1, 1)]), "both are shown as what they are");
    house.clock.advance(HOUR * 22);
    catalog.contacted(&Caller::default(), &id("new"), None).unwrap();
    assert_eq!(known(&catalog).len(), 2);
    house.clock.advance(HOUR * 3);
    catalog.contacted(&Caller::default(), &id("new"), None).unwrap();
    assert_eq!(known(&catalog), rows(&[("new", 1, 0)]));
}

#[test]
fn two_living_computers_of_one_name_stay_two_however_long_one_is_silent() {
    let (house, catalog, group) = house();
    house.clock.advance(HOUR);
    catalog.enrol(&id("new"), "pc-1.branch.example", None).unwrap();
    for round in 0..20 {
        house.clock.advance(HOUR * 20);
        let who = if round % 2 == 0 { "old" } else { "new" };
        catalog.enrol(&id(who), "pc-1.branch.example", None).unwrap();
        assert_eq!(known(&catalog), rows(&[("new", 0, 1), ("old", 1, 1)]), "round {round}");
    }
    // a month of holidays for either of them changes nothing
    for who in ["old", "new", "old", "new"] {
        for _ in 0..40 {
            house.clock.advance(HOUR * 20);
            catalog.enrol(&id(who), "pc-1.branch.example", None).unwrap();
        }
        assert_eq!(known(&catalog), rows(&[("new", 0, 1), ("old", 1, 1)]), "{who}");
    }
    assert_eq!(catalog.computer(&id("old")).unwrap().groups, [group.id]);
}

#[test]
fn one_that_was_replaced_and_comes_back_is_another_from_then_on() {
    let (house, catalog, group) = house();
    house.clock.advance(HOUR * 30);
    catalog.enrol(&id("new"), "pc-1.branch.example", None).unwrap();
    house.clock.advance(HOUR * 30);
    let catalog = {
        drop(catalog);
        house.open()
    };
    let back = catalog.enrol(&id("old"), "pc-1.branch.example", None).unwrap();
    assert_eq!(back.groups, [group.id]);
    for who in ["new", "old", "new", "new", "old"] {
        house.clock.advance(HOUR * 60);
        catalog.enrol(&id(who), "pc-1.branch.example", None).unwrap();
        assert_eq!(known(&catalog), rows(&[("new", 1, 1), ("old", 1, 1)]), "{who}");
    }
}

#[test]
fn names_that_differ_and_computers_without_one_have_nothing_to_do_with_each_other() {
    let (house, catalog, _) = house();
    house.clock.advance(HOUR * 100);
    for (who, name) in [("a", "pc-1.other.example"), ("b", "pc-1"), ("c", "")] {
        catalog.enrol(&id(who), name, None).unwrap();
    }
    catalog.enrol(&id("d"), "", None).unwrap();
    assert_eq!(known(&catalog).len(), 5);
    // an administrator's word for the newer one stays
    let (house, catalog, _) = self::house();
    let other = catalog.create_group("Other", None).unwrap();
    house.clock.advance(HOUR);
    catalog.enrol(&id("new"), "pc-1.branch.example", None).unwrap();
    catalog.assign(&id("new"), &[other.id]).unwrap();
    house.clock.advance(HOUR * 30);
    catalog.contacted(&Caller::default(), &id("new"), None).unwrap();
    assert_eq!(catalog.computer(&id("new")).unwrap().groups, [other.id]);
    assert_eq!(known(&catalog), rows(&[("new", 1, 0)]));
    assert!(catalog.forget(&id("new")).unwrap() && known(&catalog).is_empty());
}

#[test]
fn a_head_office_forgets_the_former_identity_of_a_computer_below() {
    let house = House::new();
    let catalog = house.open();
    let (ours, branch) = (ServerId(uuid::Uuid::from_u128(1)), ServerId(uuid::Uuid::from_u128(2)));
    catalog.introduce_server(&branch, "branch.example", &Credential::default()).unwrap();
    let report = ServerReport {
        id: branch,
        name: "branch.example".to_owned(),
        last_sync: None,
        parent: None,
        version: String::new(),
        is_replica: true,
        last_rollup: None,
        summary: None,
        clients: Vec::new(),
    };
    catalog.roll_up_servers(&ours, vec![report]).unwrap();
    let tell = |who: &str, name: &str| {
        let details = ComputerDetails { name: name.to_owned(), ..ComputerDetails::default() };
        let row = RolledComputer {
            id: id(who),
            last_sync: Some(house.clock.now()),
            last_result: SyncResult::Succeeded,
            last_reboot: None,
            last_status: None,
            last_inventory: None,
            parent: branch,
            details: Some(details),
        };
        catalog.roll_up_computers(vec![row]).unwrap();
    };
    tell("old", "pc-1.branch.example");
    tell("other", "pc-2.branch.example");
    house.clock.advance(HOUR * 2);
    tell("new", "PC-1.branch.example");
    assert_eq!(known(&catalog), rows(&[("new", 0, 1), ("old", 0, 1), ("other", 0, 0)]));
    house.clock.advance(HOUR * 60);
    tell("new", "pc-1.branch.example");
    assert_eq!(known(&catalog), rows(&[("new", 0, 0), ("other", 0, 0)]));
}
