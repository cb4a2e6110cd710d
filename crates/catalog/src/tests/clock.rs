//! The clock may be set, by years and in both directions, between two starts and while the server runs: what was decided
//! holds for as long as it was meant to, and nobody is pinned to a time that never comes.

use jiff::SignedDuration;

use crate::tests::names::*;
use crate::tests::{House, facts, fill, update};
use crate::*;
use tailwater_domain::{Action, ServerId, UpdateType};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const JUMPS: [i64; 6] = [-3_650 * DAY, -DAY, -HOUR, HOUR, DAY, 3_650 * DAY];

/// Sets the clock, with a restart around it or while everything runs.
fn jump(house: &House, catalog: Catalog, seconds: i64, at_start: bool) -> Catalog {
    let to = house.clock.now() + SignedDuration::from_secs(seconds);
    if at_start {
        drop(catalog);
        house.clock.set(to);
        house.open()
    } else {
        house.clock.set(to);
        catalog
    }
}

fn each(test: impl Fn(i64, bool)) {
    for seconds in JUMPS {
        for at_start in [true, false] {
            test(seconds, at_start);
        }
    }
}

#[test]
fn a_hold_ends_when_it_was_meant_to_and_approvals_stay_in_force() {
    each(|seconds, at_start| {
        let house = House::new();
        let catalog = house.open();
        fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
        let id = update(1);
        catalog.approve(&id, &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
        let until = Some(house.clock.now() + SignedDuration::from_hours(24));
        catalog.decide(&[id], &Verdict::Hold { until, reason: "wait".to_owned() }, "admin").unwrap();
        let catalog = jump(&house, catalog, seconds, at_start);
        let decision = || catalog.snapshot().view().decisions.updates[&id].clone();
        let mut hours = 0;
        loop {
            catalog.bring_due().unwrap();
            if decision().hold.is_none() {
                break;
            }
            assert!(
                catalog
                    .next_due()
                    .is_some_and(|due| due <= house.clock.now() + SignedDuration::from_hours(25))
            );
            house.clock.advance(std::time::Duration::from_hours(1));
            hours += 1;
            assert!(hours <= 25, "{seconds} s, at start {at_start}: held for more than it was meant to");
        }
        // ahead of time only where the clock says so
        assert!(seconds > 0 || hours >= 23, "{seconds} s, at start {at_start}: {hours} h");
        assert!(decision().is_approved(), "{seconds} s, at start {at_start}");
    });
}

#[test]
fn who_calls_is_seen_now() {
    each(|seconds, at_start| {
        let house = House::new();
        let catalog = house.open();
        let (computer, server) = (ComputerId("c".to_owned()), ServerId(uuid::Uuid::from_u128(7)));
        catalog.enrol(&computer, "pc.example", None).unwrap();
        catalog.introduce_server(&server, "branch.example", &Credential::default()).unwrap();
        catalog.server_took(&server, Took { content: 5, ..Took::default() });
        catalog.write_server_counts().unwrap();
        let catalog = jump(&house, catalog, seconds, at_start);
        let now = house.clock.now();
        catalog.contacted(&Caller::default(), &computer, None).unwrap();
        catalog.introduce_server(&server, "branch.example", &Credential::default()).unwrap();
        assert_eq!(
            catalog.computer(&computer).unwrap().last_contact,
            now,
            "{seconds} s, at start {at_start}"
        );
        assert_eq!(catalog.server(&server).unwrap().last_seen, Some(now), "{seconds} s, at start {at_start}");
        house.clock.advance(std::time::Duration::from_mins(5));
        let now = house.clock.now();
        catalog.server_took(&server, Took { content: 6, ..Took::default() });
        catalog.write_server_counts().unwrap();
        let known = catalog.server(&server).unwrap();
        assert_eq!((known.took.content, known.took.at, known.last_seen), (11, Some(now), Some(now)));
    });
}
