//! What roll-ups do to what is known ([MS-WSUSSS] 3.1.4.14 to 3.1.4.17).

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::Catalog;
use crate::config::Config;
use crate::error::CatalogError;
use crate::query::rows::{ComputerQuery, Whose};
use crate::values::computer::State;
use tailwater_domain::{
    ComputerChange, ComputerDetails, ComputerId, RolledComputer, ServerId, ServerReport, StatusReport,
    Summarization, SyncResult, UpdateId, UpdateStatus, UpdateType,
};
use tailwater_runtime::Clock;

const START: i64 = 1_700_000_000;

struct House {
    catalog: Catalog,
    clock: Clock,
    _dir: tempfile::TempDir,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn server(number: u128) -> ServerId {
    ServerId(Uuid::from_u128(number))
}

fn update(number: u128) -> UpdateId {
    crate::tests::update(u32::try_from(number).unwrap())
}

fn computer(number: u128) -> ComputerId {
    ComputerId(Uuid::from_u128(number).to_string())
}

const OURS: u128 = 1;
const REGION: u128 = 2;
const BRANCH: u128 = 3;

fn report(id: u128, parent: Option<u128>) -> ServerReport {
    ServerReport {
        id: server(id),
        name: format!("server{id}.example"),
        last_sync: None,
        parent: parent.map(server),
        version: "1.0".to_owned(),
        is_replica: false,
        last_rollup: Some(at(0)),
        summary: None,
        clients: Vec::new(),
    }
}

fn row(number: u128, parent: u128, seconds: i64, details: bool) -> RolledComputer {
    let name = format!("pc{number}.example");
    RolledComputer {
        id: computer(number),
        last_sync: Some(at(seconds)),
        last_result: SyncResult::Succeeded,
        last_reboot: None,
        last_status: Some(at(seconds)),
        last_inventory: None,
        parent: server(parent),
        details: details.then(|| ComputerDetails { name, ..ComputerDetails::default() }),
    }
}

fn status(number: u128, rollup: i32, full: bool, states: &[(u128, Summarization, i64)]) -> StatusReport {
    let updates = states.iter().map(|(id, state, seconds)| UpdateStatus {
        update: update(*id),
        state: *state,
        changed: at(*seconds),
    });
    StatusReport {
        computer: computer(number),
        effective_detection: None,
        number: rollup,
        full,
        updates: updates.collect(),
    }
}

impl House {
    /// A region below this server, and a branch below that.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(at(1_000));
        let catalog =
            Catalog::open(Config { max_descendants: 3, ..Config::new(dir.path()) }, clock.clone()).unwrap();
        let updates = (1..=4).map(|number| crate::tests::facts(number, 1, UpdateType::Software));
        crate::tests::fill(&catalog, updates.collect());
        let reports = vec![report(REGION, None), report(BRANCH, Some(REGION))];
        catalog.roll_up_servers(&server(OURS), reports).unwrap();
        Self { catalog, clock, _dir: dir }
    }

    fn state(&self, number: u128, of: u128) -> State {
        self.catalog.computer_detail(&computer(number)).unwrap().unwrap().status.state_of(&update(of))
    }
}

#[test]
fn a_parent_must_be_known_and_servers_make_no_ring() {
    let house = House::new();
    let roll_up = |reports| house.catalog.roll_up_servers(&server(OURS), reports);
    for wrong in [report(9, Some(8)), report(REGION, Some(BRANCH)), report(OURS, None)] {
        assert!(matches!(roll_up(vec![wrong.clone()]), Err(CatalogError::UnknownServer(_))), "{wrong:?}");
    }
    assert_eq!(house.catalog.server_chain(&server(BRANCH)), [server(REGION), server(BRANCH)]);
    let unknown = house.catalog.roll_up_computers(vec![row(10, BRANCH, 0, true), row(11, 8, 0, true)]);
    assert!(matches!(unknown, Err(CatalogError::UnknownServer(_))));
    assert!(house.catalog.descendant(&computer(10)).is_none(), "all or nothing");
}

#[test]
fn an_older_word_about_a_server_is_ignored() {
    let house = House::new();
    let older = ServerReport {
        name: "old.example".to_owned(),
        last_rollup: Some(at(0) - SignedDuration::from_secs(1)),
        ..report(REGION, None)
    };
    house.catalog.roll_up_servers(&server(OURS), vec![older]).unwrap();
    assert_eq!(house.catalog.server(&server(REGION)).unwrap().name, "server2.example");
}

#[test]
fn details_are_asked_for_where_they_are_missing_and_a_parent_is_new() {
    let house = House::new();
    let tell = |rows| house.catalog.roll_up_computers(rows).unwrap();
    let asked = vec![(computer(10), ComputerChange::NewParent)];
    assert_eq!(tell(vec![row(10, BRANCH, 0, false)]), asked);
    assert_eq!(tell(vec![row(10, BRANCH, 1, true)]), []);
    assert_eq!(tell(vec![row(10, BRANCH, 2, false)]), []);
    assert_eq!(tell(vec![row(10, REGION, 3, false)]), asked);
    assert_eq!(tell(vec![row(10, BRANCH, 2, true)]), [], "an older word is ignored");
    let known = house.catalog.descendant(&computer(10)).unwrap();
    assert_eq!(
        (known.parent, known.details.as_ref().unwrap().name.as_str()),
        (server(REGION), "pc10.example")
    );
}

#[test]
fn numbers_that_differ_are_out_of_sync_below_their_sender_only() {
    let house = House::new();
    house.catalog.roll_up_computers(vec![row(10, BRANCH, 0, true), row(11, REGION, 0, true)]).unwrap();
    house
        .catalog
        .roll_up_status(&server(REGION), vec![status(10, 4, true, &[]), status(11, 4, true, &[])])
        .unwrap();
    let ask = |parent: u128, number| {
        let numbers: Vec<_> = [10, 11, 12].iter().map(|id| (computer(*id), number)).collect();
        house.catalog.out_of_sync(&server(parent), &numbers)
    };
    assert_eq!(ask(REGION, 4), []);
    assert_eq!(ask(REGION, 5), [computer(10), computer(11)]);
    assert_eq!(ask(BRANCH, 5), [computer(10)]);
    assert_eq!(ask(8, 5), []);
}

#[test]
fn a_full_report_replaces_and_a_delta_follows_the_time_of_each_change() {
    use Summarization::{Failed, Installed, NotApplicable, NotInstalled};
    let house = House::new();
    house.catalog.roll_up_computers(vec![row(10, BRANCH, 0, true)]).unwrap();
    let tell = |report| house.catalog.roll_up_status(&server(REGION), vec![report]).unwrap();
    // of what nobody knows nothing is kept
    tell(status(
        10,
        1,
        true,
        &[(1, NotInstalled, 10), (2, Installed, 10), (3, NotApplicable, 10), (99, Failed, 10)],
    ));
    assert_eq!(house.state(10, 99), State::NotApplicable);
    assert_eq!(
        [house.state(10, 1), house.state(10, 2), house.state(10, 3)],
        [State::Needed, State::Installed, State::NotApplicable]
    );
    tell(status(10, 2, false, &[(1, Installed, 9), (2, Failed, 11)]));
    assert_eq!([house.state(10, 1), house.state(10, 2)], [State::Needed, State::Failed]);
    tell(status(10, 3, false, &[(1, NotApplicable, 12)]));
    tell(status(10, 4, false, &[(1, NotInstalled, 11)]));
    assert_eq!(house.state(10, 1), State::NotApplicable, "an older word than the last");
    tell(status(10, 5, true, &[(4, Installed, 1)]));
    assert_eq!([house.state(10, 2), house.state(10, 4)], [State::NotApplicable, State::Installed]);
    // who does not stand above it says nothing of it
    house.catalog.roll_up_servers(&server(OURS), vec![report(7, None)]).unwrap();
    house.catalog.roll_up_status(&server(7), vec![status(10, 6, true, &[])]).unwrap();
    assert_eq!(house.state(10, 4), State::Installed);
}

#[test]
fn agents_of_ours_are_what_they_say_themselves() {
    let house = House::new();
    house.catalog.enrol(&computer(10), "own.example", None).unwrap();
    house.catalog.roll_up_computers(vec![row(10, BRANCH, 0, true), row(10, BRANCH, 9_999, true)]).unwrap();
    let shown = house.catalog.computer_detail(&computer(10)).unwrap().unwrap();
    assert_eq!((shown.row.computer.dns_name.as_str(), shown.row.via.len()), ("own.example", 0));
    let of =
        |whose| house.catalog.computers(&ComputerQuery { whose, ..ComputerQuery::default() }).unwrap().total;
    assert_eq!((of(Whose::All), of(Whose::Ours), of(Whose::Below)), (1, 1, 0));
}

#[test]
fn there_are_no_more_than_the_limit_and_what_was_removed_is_told_of() {
    let house = House::new();
    let rows = |from: u128, to: u128| (from..to).map(|id| row(id, BRANCH, 0, true)).collect::<Vec<_>>();
    house.catalog.roll_up_computers(rows(10, 13)).unwrap();
    let more = house.catalog.roll_up_computers(rows(13, 14));
    assert!(matches!(more, Err(CatalogError::TooManyComputers { limit: 3 })));
    assert!(house.catalog.forget(&computer(10)).unwrap());
    let told = house.catalog.roll_up_computers(rows(10, 11)).unwrap();
    assert_eq!(told, [(computer(10), ComputerChange::Deleted)]);
    assert!(house.catalog.descendant(&computer(10)).is_none());
    assert_eq!(house.catalog.forget_server(&server(REGION)).unwrap(), (2, 2));
    assert_eq!(house.catalog.totals().computers_below, 0);
}

#[test]
fn a_word_from_a_clock_that_was_ahead_hides_none_that_follow() {
    for ahead in [3_600, 86_400, 3_650 * 86_400] {
        let house = House::new();
        let tell = |rows| house.catalog.roll_up_computers(rows).unwrap();
        tell(vec![row(10, BRANCH, 1_000 + ahead, true)]);
        let known = || house.catalog.descendant(&computer(10)).unwrap();
        assert_eq!(known().last_sync, Some(at(1_000)), "counts as now");
        house.clock.advance(std::time::Duration::from_mins(1));
        tell(vec![row(10, REGION, 1_050, true)]);
        assert_eq!((known().parent, known().last_sync), (server(REGION), Some(at(1_050))), "{ahead}");
        let told = |name: &str, second| {
            let report =
                ServerReport { name: name.to_owned(), last_rollup: Some(at(second)), ..report(REGION, None) };
            house.catalog.roll_up_servers(&server(OURS), vec![report]).unwrap();
            house.catalog.server(&server(REGION)).unwrap().name.clone()
        };
        assert_eq!(told("ahead.example", 1_060 + ahead), "ahead.example");
        house.clock.advance(std::time::Duration::from_mins(1));
        assert_eq!(told("right.example", 1_100), "right.example", "{ahead}");
    }
}
