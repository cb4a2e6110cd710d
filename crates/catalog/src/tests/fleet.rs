//! Promises of the fleet: what anybody can make up costs nothing lasting, and locks nobody out.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::storage::record;
use crate::storage::record::key;
use crate::tests::names::*;
use crate::tests::{House, event, facts, fill, update};
use crate::*;
use tailwater_domain::{ByteCount, ComputerFacts, ServerId, UpdateType};

const HOUR: Duration = Duration::from_hours(1);

fn id(name: &str) -> ComputerId {
    ComputerId(name.to_owned())
}

fn at(last: u8) -> Caller {
    Caller::at(IpAddr::from([192, 0, 2, last]))
}

fn info(model: &str) -> ComputerFacts {
    ComputerFacts { model: model.to_owned(), ..ComputerFacts::default() }
}

/// Everything up to a scan.
fn scans(catalog: &Catalog, caller: &Caller, name: &str) {
    catalog.introduce(caller, &id(name), &format!("{name}.example"), None).unwrap();
    catalog.register(caller, &id(name), info("PC")).unwrap();
    catalog.contacted(caller, &id(name), None).unwrap();
}

fn members(catalog: &Catalog) -> usize {
    catalog.computers(&ComputerQuery::default()).unwrap().total
}

#[test]
fn who_only_registers_is_no_member_and_leaves_nothing_behind() {
    let house = House::new();
    let catalog = house.open();
    for number in 0..500 {
        let name = format!("made-up-{number}");
        catalog.introduce(&at(66), &id(&name), "pc.example", Some("Office")).unwrap();
        catalog.register(&at(66), &id(&name), info("PC")).unwrap();
        assert!(catalog.computer(&id(&name)).unwrap().is_registered(), "it may scan");
        catalog.report(&at(66), &id(&name), vec![event(147, None, &[])]).unwrap();
    }
    assert_eq!((members(&catalog), catalog.state_bytes()), (0, StateBytes::default()));
    let counts = catalog.fleet_counts();
    assert_eq!((counts.provisional, counts.reports_not_kept), (500, 500));
    catalog.contacted(&at(66), &id("made-up-7"), None).unwrap();
    assert_eq!((members(&catalog), catalog.fleet_counts().provisional), (1, 499));
    drop(catalog);
    let catalog = house.open();
    assert_eq!((members(&catalog), catalog.fleet_counts().provisional), (1, 0));
    assert!(catalog.computer(&id("made-up-8")).is_none(), "it registers again");
}

#[test]
fn a_site_behind_one_address_gets_in_and_a_flood_does_not() {
    let house = House::new();
    let catalog = house.open();
    (0..500).for_each(|number| scans(&catalog, &at(1), &format!("site-{number}")));
    assert_eq!(members(&catalog), 500, "a site that is set up at once");
    (0..5_000).for_each(|number| scans(&catalog, &at(66), &format!("made-up-{number}")));
    assert!(members(&catalog) < 500 + 1_100, "{}", members(&catalog));
    // those that are not kept are answered all the same, and others get in
    assert!(catalog.computer(&id("made-up-4999")).unwrap().is_registered());
    (0..100).for_each(|number| scans(&catalog, &at(2), &format!("other-{number}")));
    let page =
        catalog.computers(&ComputerQuery { text: Some("other-".to_owned()), ..ComputerQuery::default() });
    assert_eq!(page.unwrap().total, 100);
}

#[test]
fn when_the_fleet_is_full_what_never_came_back_goes_and_what_did_never() {
    let house = House::new();
    let config = Config { max_computers: 100, ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    let real: Vec<String> = (0..40).map(|number| format!("real-{number}")).collect();
    for name in &real {
        scans(&catalog, &at(1), name);
    }
    (0..60).for_each(|number| scans(&catalog, &at(66), &format!("made-up-{number}")));
    house.clock.advance(HOUR * 20);
    for name in &real {
        catalog.contacted(&at(1), &id(name), None).unwrap();
    }
    assert_eq!(members(&catalog), 100);
    // full of what came lately: a newcomer is answered, not kept
    scans(&catalog, &at(2), "late");
    assert_eq!((members(&catalog), catalog.computer(&id("late")).unwrap().scanned), (100, false));
    // and a day later it takes the place of one that never came back
    house.clock.advance(HOUR * 6);
    for number in 0..60 {
        scans(&catalog, &at(2), &format!("new-{number}"));
    }
    catalog.contacted(&at(2), &id("late"), None).unwrap();
    let is_member = |name: &str| catalog.0.fleet.members().get(&id(name)).is_some();
    assert!(real.iter().all(|name| is_member(name)), "one that came back went");
    assert!((0..60).all(|number| is_member(&format!("new-{number}"))), "a real newcomer is locked out");
    assert!(members(&catalog) <= 100 && !is_member("late"), "the places are taken by newcomers of today");
}

#[test]
fn only_states_of_updates_that_are_known_are_kept() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, (1..=3).map(|number| facts(number, 1, UpdateType::Software)).collect());
    scans(&catalog, &at(1), "pc");
    let made_up: Vec<String> = (0..4_000_u128).map(|number| Uuid::from_u128(number).to_string()).collect();
    let list = |letter: char, known: u32| format!("{letter}={};{}", made_up.join(";"), update(known));
    let (needed, installed) = (list('U', 1), list('V', 2));
    catalog
        .report(&at(1), &id("pc"), vec![event(156, None, &[&needed, &installed]), event(182, Some(99), &[])])
        .unwrap();
    let detail = catalog.computer_detail(&id("pc")).unwrap().unwrap();
    assert_eq!(
        (&detail.status.needed[..], &detail.status.installed[..]),
        (&[update(1)][..], &[update(2)][..])
    );
    assert!(detail.status.failed.is_empty());
    assert_eq!(detail.row.counts, Counts { installed: 1, needed: 1, failed: 0 });
    assert!(catalog.state_bytes().agents < 2_000, "{:?}", catalog.state_bytes());
}

/// A computer as the first version of the record has it.
fn first(name: &str, first_seen: i64, last_contact: i64, reported: bool) -> Vec<u8> {
    let time = |second| Timestamp::from_second(second).unwrap();
    let none: (Option<String>, Vec<GroupId>, Vec<String>) = (None, Vec::new(), Vec::new());
    record::encode(&(
        id(name),
        format!("{name}.example"),
        Some(info("PC")),
        none.0,
        none.1,
        none.2,
        time(first_seen),
        time(last_contact),
        reported.then(|| time(last_contact)),
        0_u64,
    ))
    .unwrap()
}

#[test]
fn a_folder_of_an_earlier_program_opens_without_what_was_made_up() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
    let made_up: Vec<UpdateId> = (0..4_000).map(|number| UpdateId(Uuid::from_u128(number))).collect();
    let status = |needed: Vec<UpdateId>| {
        record::encode(&Status { reported_at: Some(house.clock.now()), needed, ..Status::default() }).unwrap()
    };
    let rows = [
        ("registered", first("registered", 1_000, 1_000, false), None),
        ("liar", first("liar", 1_000, 1_000, true), Some(status(made_up.clone()))),
        ("real", first("real", 1_000, 90_000, true), Some(status([made_up, vec![update(1)]].concat()))),
        ("fresh", first("fresh", 1_000, 1_000, true), Some(status(vec![update(1)]))),
    ];
    for (name, computer, status) in rows {
        catalog.0.storage.put((key::computer(&id(name)), Some(computer))).unwrap();
        if let Some(status) = status {
            catalog.0.storage.put((key::status(&id(name)), Some(status))).unwrap();
        }
    }
    let server = ServerId(Uuid::from_u128(5));
    let time = Timestamp::from_second(1_000).unwrap();
    let old_server = record::encode(&(
        (
            server,
            "branch.example",
            None::<ServerId>,
            "1.0",
            false,
            Standing::Revoked,
            false,
            None::<[u8; 32]>,
        ),
        (
            time,
            Some(time),
            None::<Timestamp>,
            None::<Timestamp>,
            None::<tailwater_domain::ServerSummary>,
            Took::default(),
        ),
    ))
    .unwrap();
    catalog.0.storage.put((key::server(&server), Some(old_server))).unwrap();
    drop(catalog);
    for _ in 0..2 {
        let catalog = house.open();
        let page = catalog.computers(&ComputerQuery::default()).unwrap();
        let names: Vec<&str> = page.rows.iter().map(|row| row.computer.id.0.as_str()).collect();
        assert_eq!(names, ["fresh", "real"]);
        assert!(page.rows.iter().all(|row| row.counts == Counts { needed: 1, ..Counts::default() }));
        assert_eq!(catalog.computer_detail(&id("real")).unwrap().unwrap().status.needed, [update(1)]);
        assert!(catalog.state_bytes().agents < 2_000, "{:?}", catalog.state_bytes());
        // who was shut out by an earlier program is known by its name
        let found = catalog.is_revoked("Branch.example", &Credential::default(), false);
        assert_eq!(found, Some((server, IdentifiedBy::Name)));
    }
}

#[test]
fn what_clients_say_has_a_quota_in_bytes() {
    let house = House::new();
    let config = Config { max_state: ByteCount(60_000), ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
    scans(&catalog, &at(1), "real");
    house.clock.advance(HOUR * 2);
    catalog.contacted(&at(1), &id("real"), None).unwrap();
    for number in 0..200 {
        let name = format!("made-up-{number}");
        scans(&catalog, &at(66), &name);
        let mut long = event(160, Some(1), &[]);
        long.replacements = vec!["x".repeat(500); 8];
        catalog.report(&at(66), &id(&name), vec![long]).unwrap();
        assert!(catalog.state_bytes().agents <= 60_000, "{:?}", catalog.state_bytes());
    }
    // the real one still says what it has, because its own events and those of others can go
    let needed = format!("U={}", update(1));
    catalog.report(&at(1), &id("real"), vec![event(156, None, &[&needed])]).unwrap();
    assert_eq!(catalog.computer_detail(&id("real")).unwrap().unwrap().status.needed, [update(1)]);
    assert!(catalog.0.fleet.members().get(&id("real")).is_some());
    // what is measured at the start is what was counted
    let counted = catalog.state_bytes();
    drop(catalog);
    let config = Config { max_state: ByteCount(60_000), ..house.config() };
    assert_eq!(Catalog::open(config, house.clock.clone()).unwrap().state_bytes(), counted);
}

#[test]
fn two_computers_with_one_identity_are_seen() {
    let house = House::new();
    let config = Config { client_side_targeting: true, ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    catalog.create_group("Office", None).unwrap();
    scans(&catalog, &at(1), "pc");
    // provisional ones raise nothing, and neither does a computer that stays what it is
    scans(&catalog, &at(2), "pc");
    assert!(catalog.identity_counts().is_empty());
    let elsewhere = Caller::at(IpAddr::from([198, 51, 100, 1]));
    for _ in 0..3 {
        catalog.introduce(&elsewhere, &id("pc"), "thief.example", Some("Office")).unwrap();
        catalog.register(&elsewhere, &id("pc"), info("Laptop")).unwrap();
        catalog.introduce(&at(1), &id("pc"), "pc.example", None).unwrap();
        catalog.register(&at(1), &id("pc"), info("PC")).unwrap();
    }
    let counts = catalog.identity_counts();
    for kind in [IdentityKind::Address, IdentityKind::Name, IdentityKind::Hardware, IdentityKind::Groups] {
        assert_eq!(counts.get(&kind), Some(&6), "{kind:?}");
    }
    let changes = catalog.computer_detail(&id("pc")).unwrap().unwrap().changes;
    assert!(changes.len() <= MAX_CHANGES);
    let name =
        changes.iter().find(|one| one.kind == IdentityKind::Name && one.after == "thief.example").unwrap();
    assert_eq!((name.before.as_str(), name.times), ("pc.example", 3), "the same again is counted");
    assert_eq!(name.from.map(|range| range.to_string()).as_deref(), Some("198.51.100.0/24"));
    let groups =
        changes.iter().find(|one| one.kind == IdentityKind::Groups && one.after == "Office").unwrap();
    assert_eq!(groups.before, "");
    assert!(catalog.forget(&id("pc")).unwrap());
    assert_eq!(catalog.state_bytes().agents, 0, "nothing of it stays");
}

#[test]
fn texts_of_clients_are_fit_to_be_shown_wherever_they_come_from() {
    let house = House::new();
    let catalog = house.open();
    let nasty = format!("a\u{1b}[31m\u{202e}b\n{}", "x".repeat(10_000));
    let all = ComputerFacts {
        oem: nasty.clone(),
        model: nasty.clone(),
        manufacturer: nasty.clone(),
        bios_name: nasty.clone(),
        os_description: nasty.clone(),
        ..ComputerFacts::default()
    };
    catalog.introduce(&at(1), &id("pc"), "pc.example", Some(&nasty)).unwrap();
    catalog.register(&at(1), &id("pc"), all).unwrap();
    catalog.contacted(&at(1), &id("pc"), Some(&nasty)).unwrap();
    let computer = catalog.computer(&id("pc")).unwrap();
    let info = computer.info.clone().unwrap();
    let texts = [&info.oem, &info.model, &info.manufacturer, &info.bios_name, &info.os_description];
    for text in texts.into_iter().chain(&computer.requested_groups).chain(&computer.device_attributes) {
        let is_bad = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!text.contains(is_bad) && text.chars().count() <= 4_096, "{text:?}");
    }
    for wrong in ["", "a b", "a\nb", &"x".repeat(300), "UPPER"] {
        let refused = catalog.introduce(&at(1), &id(wrong), "pc.example", None);
        assert!(matches!(refused, Err(CatalogError::ComputerName)), "{wrong:?}");
    }
}

#[test]
fn servers_that_came_back_never_go_because_of_newcomers() {
    let house = House::new();
    let config = Config { max_servers: 20, ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    let credential =
        |last: u8| Credential { address: Some(IpAddr::from([192, 0, 2, last])), ..Credential::default() };
    let come = |number: u128, last: u8| {
        catalog.introduce_server(
            &ServerId(Uuid::from_u128(number)),
            &format!("s{number}.example"),
            &credential(last),
        )
    };
    (1..=5).for_each(|number| drop(come(number, 1).unwrap()));
    house.clock.advance(HOUR * 3);
    (1..=5).for_each(|number| drop(come(number, 1).unwrap()));
    for number in 100..115 {
        come(number, 66).unwrap();
    }
    assert!(matches!(come(200, 66), Err(CatalogError::TooManyServers { limit: 20 })), "too fresh to go");
    house.clock.advance(HOUR);
    for number in 200..260 {
        let _ = come(number, 66);
    }
    assert_eq!(catalog.servers().len(), 20);
    assert!((1..=5).all(|number| catalog.server(&ServerId(Uuid::from_u128(number))).is_some()));
}

/// The pages of a list of fifty thousand have every computer once. What a page takes is printed (`--nocapture`).
#[test]
fn the_pages_of_a_large_fleet_have_every_computer_once() {
    const ALL: usize = 50_000;
    const ROWS: usize = 1_000;
    let house = House::new();
    let catalog = house.open();
    scans(&catalog, &at(1), "pc-00000");
    let one = catalog.computer(&id("pc-00000")).unwrap();
    let ops: Vec<_> = (0..ALL)
        .map(|number| {
            let name = format!("pc-{number:05}");
            let computer = Computer {
                id: id(&name),
                dns_name: format!("{name}.example"),
                scanned: true,
                ..(*one).clone()
            };
            (key::computer(&computer.id), Some(computer.record().unwrap()))
        })
        .collect();
    catalog.0.storage.kv().apply_all(&ops).unwrap();
    drop(catalog);
    let catalog = house.open();
    let (began, mut seen) = (std::time::Instant::now(), std::collections::BTreeSet::new());
    for offset in (0..ALL).step_by(ROWS) {
        let page =
            catalog.computers(&ComputerQuery { offset, limit: ROWS, ..ComputerQuery::default() }).unwrap();
        assert_eq!((page.total, page.rows.len()), (ALL, ROWS));
        seen.extend(page.rows.into_iter().map(|row| row.computer.id));
    }
    println!(
        "a page of {ROWS} of {ALL} computers: {:?}",
        began.elapsed() / u32::try_from(ALL / ROWS).unwrap()
    );
    assert_eq!(seen.len(), ALL);
}
