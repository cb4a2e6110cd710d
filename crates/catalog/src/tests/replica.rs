//! Promises of replicas: what upstream decided is what holds here, in one step, and only what changed is heard
//! of; what this site holds back stays its own.

use std::time::Duration;

use jiff::Timestamp;

use crate::storage::record;
use crate::storage::record::key;
use crate::tests::names::*;
use crate::tests::{House, ask, facts, fill, update};
use crate::*;
use tailwater_domain::{Action, Approval, Deadline, UpdateType};

const LATEST: u64 = u64::MAX;

/// Two servers with the same updates, the second a replica of the first.
struct Pair {
    office: House,
    branch: House,
}

impl Pair {
    fn new() -> Self {
        Self { office: House::new(), branch: House::new() }
    }

    fn open(&self) -> (Catalog, Catalog) {
        (self.office.open(), self.branch())
    }

    fn branch(&self) -> Catalog {
        let config = Config { replica_of: Some("http://office:8530".to_owned()), ..self.branch.config() };
        Catalog::open(config, self.branch.clock.clone()).unwrap()
    }

    fn filled(&self, updates: u32) -> (Catalog, Catalog) {
        let (office, branch) = self.open();
        for catalog in [&office, &branch] {
            fill(catalog, (1..=updates).map(|number| facts(number, 200, UpdateType::Software)).collect());
        }
        (office, branch)
    }
}

/// Tells `to` what changed at `from`; gives the anchor for the next time.
fn tell(from: &Catalog, to: &Catalog, since: u64) -> (Replaced, u64) {
    let set = from.export_decisions(since, LATEST).unwrap().unwrap();
    assert_eq!(set.complete, since == 0);
    let change = set.change;
    (to.replace_decisions(set, Vec::new()).unwrap(), change)
}

/// What everybody may know of the decisions.
fn all(catalog: &Catalog) -> DecisionSet {
    let mut set = catalog.export_decisions(0, LATEST).unwrap().unwrap();
    set.change = 0;
    for one in &mut set.approvals {
        (one.approval.deployment_id, one.approval.change) = (0, 0);
    }
    for one in &mut set.declined {
        (one.at, one.by) = (None, None);
    }
    set
}

fn actions(catalog: &Catalog, groups: &[GroupId]) -> Vec<(u32, DeploymentAction, Deadline)> {
    let answer = ask(catalog, groups, &[], &[]);
    answer.new.iter().map(|it| (it.id.0, it.deployment.action, it.deployment.deadline)).collect()
}

#[test]
fn a_replica_has_the_groups_approvals_and_declines_of_its_upstream_and_passes_them_on_unchanged() {
    let (pair, leaf) = (Pair::new(), House::new());
    let (office, branch) = pair.filled(6);
    let leaf = leaf.open();
    fill(&leaf, (1..=6).map(|number| facts(number, 200, UpdateType::Software)).collect());
    let pilot = office.create_group("Pilot & <Test>", None).unwrap();
    let desk = office.create_group("Desk", Some(&pilot.id)).unwrap();
    let deadline = Some(Timestamp::from_second(1_800_000_000).unwrap());
    office.approve(&update(1), &pilot.id, Action::Install, deadline, "admin").unwrap();
    office.approve(&update(2), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    office.approve(&update(2), &desk.id, Action::Block, None, "admin").unwrap();
    office.decline(&update(3), "admin").unwrap();
    let (replaced, since) = tell(&office, &branch, 0);
    assert_eq!(replaced, Replaced { updates: 3, groups: 2 });
    tell(&branch, &leaf, 0);
    assert_eq!(all(&branch), all(&office));
    assert_eq!(all(&leaf), all(&office));
    for groups in [&[][..], &[pilot.id], &[desk.id]] {
        assert_eq!(actions(&leaf, groups), actions(&office, groups));
    }
    office.unapprove(&update(1), &pilot.id).unwrap();
    office.undecline(&update(3)).unwrap();
    office.approve(&update(4), &desk.id, Action::Install, None, "admin").unwrap();
    office.rename_group(&desk.id, "Counter").unwrap();
    let leaf_since = leaf.export_decisions(0, LATEST).unwrap().unwrap().change;
    assert_eq!(tell(&office, &branch, since).0, Replaced { updates: 3, groups: 1 });
    tell(&branch, &leaf, leaf_since);
    assert_eq!(all(&branch), all(&office));
    assert_eq!(all(&leaf), all(&office));
}

#[test]
fn what_did_not_change_is_not_heard_of_again() {
    let pair = Pair::new();
    let (office, branch) = pair.filled(50);
    for number in 1..=40 {
        office.approve(&update(number), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    }
    let (_, since) = tell(&office, &branch, 0);
    let (change, sequence) = (branch.snapshot().change_number(), branch.snapshot().sequence());
    assert_eq!(tell(&office, &branch, 0).0, Replaced::default(), "all of it again");
    assert_eq!(tell(&office, &branch, since).0, Replaced::default(), "nothing new");
    assert_eq!((branch.snapshot().change_number(), branch.snapshot().sequence()), (change, sequence));
    office.unapprove(&update(7), &GroupId::ALL_COMPUTERS).unwrap();
    let set = office.export_decisions(since, LATEST).unwrap().unwrap();
    assert_eq!((set.approvals.len(), set.retired.len()), (0, 1));
    branch.replace_decisions(set, Vec::new()).unwrap();
    let cached: Vec<u32> = (1..=50).collect();
    let query = ScanQuery {
        groups: &[],
        installed: &[],
        other: &cached,
        categories: &[],
        two_groups: false,
        since: change,
        moved: false,
        limit: 1_000,
        max_bytes: u64::MAX,
    };
    let told: Vec<u32> = branch.snapshot().scan(&query).changed.iter().map(|it| it.id.0).collect();
    assert_eq!(told, [7]);
}

#[test]
fn a_new_revision_is_told_under_the_same_name() {
    let pair = Pair::new();
    let (office, branch) = pair.filled(2);
    office.approve(&update(1), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    let (_, since) = tell(&office, &branch, 0);
    let listed = office.snapshot().change_number();
    fill(&office, vec![facts(1, 201, UpdateType::Software)]);
    let before = office.export_decisions(since, listed).unwrap().unwrap();
    assert!(before.approvals.is_empty(), "the child's list does not have that revision yet");
    let set = office.export_decisions(since, LATEST).unwrap().unwrap();
    assert_eq!(set.approvals[0].approval.revision, Some(201));
    assert_eq!(set.approvals[0].approval.id, all(&branch).approvals[0].approval.id);
}

#[test]
fn a_group_that_is_gone_upstream_leaves_its_computers_unassigned() {
    let pair = Pair::new();
    let (office, branch) = pair.filled(1);
    let desk = office.create_group("Desk", None).unwrap();
    let kept = office.create_group("Kept", None).unwrap();
    let (_, since) = tell(&office, &branch, 0);
    let (one, two) = (ComputerId("pc-1".to_owned()), ComputerId("pc-2".to_owned()));
    for (pc, group) in [(&one, &desk), (&two, &kept)] {
        branch.enrol(pc, "pc", None).unwrap();
        branch.assign(pc, &[group.id]).unwrap();
    }
    office.remove_group(&desk.id).unwrap();
    tell(&office, &branch, since);
    assert!(branch.find_group("Desk").is_none());
    assert!(branch.computer(&one).unwrap().groups.is_empty());
    assert_eq!(branch.computer(&two).unwrap().groups, [kept.id]);
}

#[test]
fn a_replica_decides_nothing_itself_and_says_who_does() {
    let pair = Pair::new();
    let (office, branch) = pair.filled(2);
    office.create_group("Desk", None).unwrap();
    tell(&office, &branch, 0);
    let desk = branch.find_group("desk").unwrap().id;
    let before = all(&branch);
    let refused: [Result<(), CatalogError>; 7] = [
        branch.approve(&update(1), &desk, Action::Install, None, "admin").map(|_| ()),
        branch.unapprove(&update(1), &desk).map(|_| ()),
        branch.decline(&update(1), "admin").map(|_| ()),
        branch.undecline(&update(1)).map(|_| ()),
        branch.create_group("Mine", None).map(|_| ()),
        branch.rename_group(&desk, "Mine").map(|_| ()),
        branch.remove_group(&desk),
    ];
    for outcome in refused {
        let error = outcome.unwrap_err();
        assert!(matches!(error, CatalogError::Replica { .. }), "{error}");
        assert!(error.to_string().contains("http://office:8530"), "{error}");
    }
    assert_eq!(all(&branch), before);
    let pc = ComputerId("pc-1".to_owned());
    branch.enrol(&pc, "pc", None).unwrap();
    assert_eq!(branch.assign(&pc, &[desk]).unwrap().groups, [desk]);
}

#[test]
fn a_held_update_is_like_one_that_is_not_approved_until_its_time_is_over() {
    use DeploymentAction::{Install, PreDeploymentCheck};
    let pair = Pair::new();
    let (office, branch) = pair.filled(1);
    office.approve(&update(1), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    let (_, since) = tell(&office, &branch, 0);
    let approved = all(&branch).approvals.remove(0);
    let until = pair.branch.clock.now() + Duration::from_hours(1);
    let change = branch.snapshot().change_number();
    branch.hold(&update(1), Some(until), "breaks the scanners", "admin").unwrap();
    assert!(branch.snapshot().change_number() > change, "agents hear of it");
    assert_eq!(actions(&branch, &[])[0].1, PreDeploymentCheck);
    let told = branch.export_decisions(change, LATEST).unwrap().unwrap();
    assert_eq!(
        (told.approvals[0].approval.id, told.approvals[0].approval.action),
        (approved.approval.id, Action::Detect)
    );
    let held = UpdateQuery { state: Some(UpdateState::Held), ..UpdateQuery::default() };
    assert_eq!(branch.updates(&held).unwrap().rows[0].hold.as_ref().unwrap().reason, "breaks the scanners");
    // upstream approves anew meanwhile; the hold stays
    office.approve(&update(1), &GroupId::ALL_COMPUTERS, Action::Install, None, "other").unwrap();
    tell(&office, &branch, since);
    drop(branch);
    let branch = pair.branch();
    assert_eq!((branch.next_due(), branch.bring_due().unwrap()), (Some(until), 0));
    assert_eq!(actions(&branch, &[])[0].1, PreDeploymentCheck);
    pair.branch.clock.advance(Duration::from_hours(1));
    let change = branch.snapshot().change_number();
    assert_eq!(branch.bring_due().unwrap(), 1);
    assert!(branch.snapshot().change_number() > change, "agents hear of it");
    assert_eq!((actions(&branch, &[])[0].1, branch.next_due()), (Install, None));
    assert_eq!(all(&branch), all(&office));
    assert!(matches!(branch.hold(&update(1), Some(until), "", "admin"), Err(CatalogError::HoldIsOver)));
    branch.hold(&update(1), None, "", "admin").unwrap();
    assert!(branch.release(&update(1)).unwrap() && !branch.release(&update(1)).unwrap());
    assert_eq!(actions(&branch, &[])[0].1, Install);
}

#[test]
fn a_change_of_thousands_that_a_crash_interrupted_is_finished_and_comes_back_without_an_index() {
    let pair = Pair::new();
    let (office, branch) = pair.filled(3_000);
    office.approve(&update(1), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    let mut set = office.export_decisions(0, LATEST).unwrap().unwrap();
    let first = set.approvals[0].clone();
    set.approvals.extend((2..=3_000).map(|number| {
        let id = tailwater_domain::ApprovalId(uuid::Uuid::from_u128(u128::from(number)));
        let approval = Approval { id, ..first.approval.clone() };
        SharedApproval { update: update(number), approval, ..first }
    }));
    let settings = vec![("anchor".to_owned(), Some(b"1".to_vec()))];
    branch.replace_decisions(set, settings).unwrap();
    let whole = all(&branch);
    assert_eq!(branch.setting("anchor").unwrap().as_deref(), Some(&b"1"[..]));
    let kv = branch.0.storage.kv().clone();
    assert_eq!(kv.get(key::BEGUN).unwrap(), None);
    // as if the process had ended after the first two batches: the note is there, most decisions are not
    let (place, mut offset) = (std::cell::Cell::new(None), 0);
    while let Some((kind, at, _)) = branch.0.storage.log().segments().next(1, offset).unwrap() {
        if kind == segment::frame::Kind::Journal {
            place.set(Some(at));
        }
        offset = u64::from(at.offset) + u64::from(at.stored);
    }
    for number in 200..=3_000 {
        let mut batch = kv::Batch::default();
        batch.remove(key::decision(&update(number)));
        kv.apply(&batch).unwrap();
    }
    let mut batch = kv::Batch::default();
    batch.put(key::BEGUN, record::encode(&vec![place.get().unwrap()]).unwrap());
    kv.apply(&batch).unwrap();
    kv.flush().unwrap();
    drop((branch, kv));
    let branch = pair.branch();
    assert_eq!(all(&branch), whole);
    assert_eq!(branch.0.storage.kv().get(key::BEGUN).unwrap(), None);
    drop(branch);
    let config = Config { replica_of: Some("http://office:8530".to_owned()), ..pair.branch.config() };
    rebuild_index(&config).unwrap();
    assert_eq!(all(&pair.branch()), whole);
}

#[test]
fn change_numbers_do_not_run_backwards_over_a_restart() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
    catalog.create_group("Desk", None).unwrap();
    let change = catalog.snapshot().change_number();
    drop(catalog);
    assert_eq!(house.open().snapshot().change_number(), change);
}

#[test]
fn who_asks_after_too_much_was_forgotten_is_told_to_begin_anew() {
    let pair = Pair::new();
    let (office, branch) = pair.filled(1);
    office.approve(&update(1), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    let (_, since) = tell(&office, &branch, 0);
    for _ in 0..70 {
        office.approve(&update(1), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    }
    assert_eq!(office.export_decisions(since, LATEST).unwrap(), None);
    tell(&office, &branch, 0);
    assert_eq!(all(&branch), all(&office));
}
