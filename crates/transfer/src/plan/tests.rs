//! Promises of planning what to ask for.

use std::collections::BTreeSet;

use super::*;

#[derive(Default)]
struct Pieces(BTreeSet<u64>);

impl Held for Pieces {
    fn holds(&self, piece: u64) -> bool {
        self.0.contains(&piece)
    }
}

fn bytes(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

fn reader() -> Demand {
    agent(1)
}

fn agent(last: u8) -> Demand {
    let requester = Requester::Agent(std::net::IpAddr::from([10, 0, 0, last]));
    Demand { class: Class::Interactive, requester, reader: true }
}

fn take(plan: &mut Plan, held: &Pieces) -> Option<(u64, u64)> {
    plan.next(held, WINDOW).map(|(_, run)| (run.start, run.end))
}

#[test]
fn an_unaligned_range_is_one_run_of_its_pieces() {
    let mut plan = Plan::default();
    plan.add(bytes(100, 100 + (1 << 20)), reader());
    assert_eq!(take(&mut plan, &Pieces::default()), Some((0, 17)));
    assert_eq!(take(&mut plan, &Pieces::default()), None);
}

#[test]
fn a_whole_file_comes_in_windows_up_to_the_bound_ahead_of_its_reader() {
    let mut plan = Plan::default();
    let held = Pieces::default();
    let id = plan.add(bytes(0, 1000 * PIECE), reader());
    assert_eq!(take(&mut plan, &held), Some((0, 16)));
    assert_eq!(take(&mut plan, &held), Some((16, 32)));
    assert_eq!(take(&mut plan, &held), Some((32, 48)));
    assert_eq!(take(&mut plan, &held), Some((48, 64)));
    assert_eq!(take(&mut plan, &held), None);
    plan.moved(id, 7 * PIECE);
    assert_eq!(take(&mut plan, &held), None, "a sliver waits for what follows it");
    plan.moved(id, 20 * PIECE);
    assert_eq!(take(&mut plan, &held), Some((64, 84)));
}

#[test]
fn a_slow_link_is_asked_for_less_at_a_time() {
    let table = [(None, 16), (Some(125_000_000), 16), (Some(125_000), 3), (Some(8_000), 2)];
    for (rate, pieces) in table {
        assert_eq!(window(rate), pieces, "{rate:?}");
    }
}

#[test]
fn nothing_held_or_under_way_is_asked_for_again() {
    let mut plan = Plan::default();
    let held = Pieces((4..8).collect());
    plan.add(bytes(0, 20 * PIECE), reader());
    plan.add(bytes(2 * PIECE, 10 * PIECE), reader());
    assert_eq!(take(&mut plan, &held), Some((0, 4)));
    assert_eq!(take(&mut plan, &held), Some((8, 20)));
    assert_eq!(take(&mut plan, &held), None);
}

#[test]
fn what_comes_unasked_is_taken_while_it_is_wanted_and_nowhere_else_on_its_way() {
    let mut plan = Plan::default();
    let mut held = Pieces((0..4).collect());
    plan.add(bytes(0, 40 * PIECE), Demand::own(Class::Normal));
    let (first, _) = plan.next(&held, 4).unwrap();
    let (second, run) = plan.next(&held, 4).unwrap();
    assert_eq!((run.start, run.end), (8, 12));
    assert_eq!(plan.stretch(first, &held, (0, 60)), Some((4, 8)), "the next is on its way");
    plan.ended(first);
    held.0.insert(30);
    assert_eq!(plan.stretch(second, &held, (5, 60)), Some((5, 30)));
    assert_eq!(plan.stretch(first, &held, (0, 60)), None);
    plan.ended(second);
    held.0.extend(0..40);
    held.0.remove(&39);
    let (last, _) = plan.next(&held, 4).unwrap();
    assert_eq!(plan.stretch(last, &held, (30, 60)), Some((39, 40)), "nobody wants more");
}

#[test]
fn whoever_asks_for_more_gets_no_more_turns() {
    let mut plan = Plan::default();
    let held = Pieces::default();
    for n in 0..50 {
        plan.add(bytes(n * 10 * PIECE, (n * 10 + 10) * PIECE), agent(1));
    }
    plan.add(bytes(1_000 * PIECE, 1_100 * PIECE), agent(2));
    plan.add(bytes(2_000 * PIECE, 2_100 * PIECE), agent(3));
    let mut turns = [0; 4];
    let mut under_way = Vec::new();
    for _ in 0..9 {
        let (id, run) = plan.next(&held, WINDOW).unwrap();
        turns[usize::try_from(run.start / 1_000).unwrap()] += 1;
        under_way.push(id);
        if under_way.len() == 2 {
            plan.ended(under_way.remove(0));
        }
    }
    // a run that ended without its pieces is handed out again: only the turns count
    assert_eq!(turns[..3], [3, 3, 3]);
}

#[test]
fn a_failed_run_is_missing_again() {
    let mut plan = Plan::default();
    let mut held = Pieces::default();
    plan.add(bytes(0, 8 * PIECE), reader());
    let (id, _) = plan.next(&held, WINDOW).unwrap();
    held.0.extend(0..3);
    plan.ended(id);
    assert_eq!(take(&mut plan, &held), Some((3, 8)));
}

#[test]
fn a_file_that_begins_anew_is_wanted_from_its_first_piece() {
    let mut plan = Plan::default();
    plan.add(bytes(0, 8 * PIECE), Demand::own(Class::Background));
    let held = Pieces((0..8).collect());
    assert_eq!(take(&mut plan, &held), None);
    plan.restart();
    assert_eq!(take(&mut plan, &Pieces::default()), Some((0, 8)));
}

#[test]
fn the_more_urgent_goes_first_and_a_withdrawn_wish_not_at_all() {
    let mut plan = Plan::default();
    let held = Pieces::default();
    plan.add(bytes(0, 100 * PIECE), Demand::own(Class::Background));
    let gone = plan.add(bytes(200 * PIECE, 210 * PIECE), reader());
    plan.add(bytes(300 * PIECE, 310 * PIECE), reader());
    plan.remove(gone);
    assert_eq!(take(&mut plan, &held), Some((300, 310)));
    assert_eq!(take(&mut plan, &held), Some((0, 16)));
    assert_eq!(plan.class(), Some(Class::Interactive));
}

#[test]
fn wishes_of_one_requester_take_turns_as_well() {
    let mut plan = Plan::default();
    let held = Pieces::default();
    for demand in 0..3 {
        plan.add(bytes(demand * 100 * PIECE, (demand + 1) * 100 * PIECE), reader());
    }
    let starts: Vec<_> = (0..6).filter_map(|_| take(&mut plan, &held)).map(|(start, _)| start).collect();
    assert_eq!(starts, [0, 100, 200, 16, 116, 216]);
    assert_eq!((plan.readers(), plan.spots()), (3, 3));
    plan.add(bytes(2 * PIECE, 90 * PIECE), reader());
    assert_eq!((plan.readers(), plan.spots()), (4, 3));
}

#[test]
fn a_run_that_nobody_wants_any_more_ends_soon() {
    let mut plan = Plan::default();
    let id = plan.add(bytes(0, 100 * PIECE), reader());
    assert!(plan.goes_on(3, 16));
    plan.moved(id, 20 * PIECE);
    assert!(!plan.goes_on(3, 16) && plan.goes_on(14, 16) && plan.goes_on(18, 32));
    plan.remove(id);
    assert!(!plan.goes_on(18, 32));
}

#[test]
fn a_file_that_would_come_whole_for_little_is_waste() {
    let mut plan = Plan::default();
    let table = [(0..0, false), (0..6, false), (0..7, true), (40..100, false), (30..99, true)];
    for (held, waste) in table {
        assert_eq!(plan.is_waste(0, &Pieces(held.clone().collect()), 100), waste, "{held:?}");
    }
    plan.add(bytes(0, 100 * PIECE), reader());
    let ids: Vec<u64> =
        (0..2).filter_map(|_| plan.next(&Pieces::default(), WINDOW)).map(|(id, _)| id).collect();
    assert!(plan.is_waste(ids[0], &Pieces::default(), 100), "the other run brings its part");
    plan.ended(ids[1]);
    assert!(!plan.is_waste(ids[0], &Pieces::default(), 100));
}

#[test]
fn a_run_ends_before_a_piece_that_has_begun() {
    struct Begun;
    impl Held for Begun {
        fn holds(&self, piece: u64) -> bool {
            piece < 2
        }

        fn has_begun(&self, piece: u64) -> bool {
            piece == 2 || piece == 6
        }
    }
    let mut plan = Plan::default();
    plan.add(bytes(0, 9 * PIECE), reader());
    let runs: Vec<_> = (0..2).filter_map(|_| plan.next(&Begun, WINDOW)).collect();
    assert_eq!(runs.iter().map(|(_, run)| (run.start, run.end)).collect::<Vec<_>>(), [(2, 6), (6, 9)]);
}

#[test]
fn a_source_without_ranges_gives_one_run_all_that_is_missing() {
    let mut plan = Plan::default();
    let held = Pieces([1].into());
    plan.add(bytes(0, 4 * PIECE), reader());
    let (id, run) = plan.next(&held, WINDOW).unwrap();
    assert_eq!((run.start, run.end), (0, 1));
    assert_eq!(plan.widen(id, &held, 100).iter().filter(|mine| **mine).count(), 99);
    assert!(plan.is_whole_under_way());
    assert_eq!(take(&mut plan, &held), None);
}
