//! Scans against a small model that is too slow and too plain to be wrong, over random worlds; and agents that
//! follow the rules of the protocol to their end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::OfferPolicy;
use crate::decisions::decided::{Damage, Decisions, well_known};
use crate::decisions::decision::Decision;
use crate::decisions::decision::Decline;
use crate::decisions::decision::Hold;
use crate::snapshot::build::Builder;
use crate::snapshot::root::{ANSWERS_BYTES, NEEDS_BYTES, REACHES_BYTES, Snapshot};
use crate::snapshot::view::View;
use crate::storage::manifest::{Manifest, StoredKind, StoredPart};
use crate::tests::{bundles, facts, hidden, ids, needs, update};
use crate::values::computer::Group;
use crate::values::scan::DeploymentAction;
use crate::*;
use tailwater_domain::{Action, Approval, ApprovalId, Facts, PublicationState};
use tailwater_domain::{GroupId, RevisionId, UpdateId, UpdateIdentity, UpdateType};

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).unwrap()
    }
}

fn snapshot(all: &[Facts], decisions: Decisions, policy: OfferPolicy) -> Snapshot {
    let mut builder = Builder::new();
    for (id, facts) in (1..).zip(all) {
        let mut manifest = Manifest::of(facts, 1_790_000_000);
        manifest.id = id;
        let kind = StoredKind::Part(PartKind::Core);
        manifest.parts.push(StoredPart { kind, stored: 50, raw: 100 });
        builder.add(&manifest, 1);
    }
    let view = View::new(Arc::new(builder.build(1, 1)), Arc::new(decisions), policy);
    Snapshot::new(view, 1, 16)
}

fn query<'a>(groups: &'a [GroupId], installed: &'a [u32], other: &'a [u32]) -> ScanQuery<'a> {
    ScanQuery {
        groups,
        installed,
        other,
        categories: &[],
        two_groups: false,
        since: 0,
        moved: false,
        limit: usize::MAX,
        max_bytes: u64::MAX,
    }
}

fn group(number: u128, parent: GroupId, depth: u32) -> Group {
    let id = GroupId(uuid::Uuid::from_u128(number));
    Group { id, name: format!("group {number}"), parent: Some(parent), depth }
}

fn decisions(groups: &[Group]) -> Decisions {
    let groups = well_known().into_iter().chain(groups.iter().cloned()).map(|group| (group.id, group));
    Decisions { groups: groups.collect(), ..Decisions::default() }
}

fn approve(decisions: &mut Decisions, number: u32, group: GroupId, action: Action, deadline: Option<i64>) {
    decisions.change += 1;
    let deployment_id = u32::try_from(decisions.change).unwrap();
    let approval = Approval {
        action,
        deadline: deadline.map(|second| Timestamp::from_second(second).unwrap()),
        made_at: Timestamp::from_second(1_795_000_000).unwrap(),
        made_by: "test".to_owned(),
        deployment_id,
        id: ApprovalId(uuid::Uuid::from_u128(u128::from(deployment_id))),
        revision: None,
        is_assigned: true,
        priority: tailwater_domain::USUAL_PRIORITY,
        change: decisions.change,
    };
    let known = decisions.updates.entry(update(number)).or_default();
    let known = Arc::make_mut(known);
    known.approvals.push((group, approval));
    known.change = decisions.change + 1;
}

fn decline(decisions: &mut Decisions, number: u32) {
    let declined = Some(Decline { at: Timestamp::UNIX_EPOCH, by: "test".to_owned() });
    decisions.updates.insert(update(number), Arc::new(Decision { declined, ..Decision::default() }));
}

/// The plain model: sets of whole facts, everything worked out anew for each question.
struct Model<'a> {
    all: &'a [Facts],
    declined: BTreeSet<UpdateId>,
    /// Held back here.
    held: BTreeSet<UpdateId>,
    /// Revisions that are damaged.
    damaged: BTreeSet<u32>,
    /// What is approved, for all computers.
    approved: BTreeSet<UpdateId>,
    policy: OfferPolicy,
}

impl Model<'_> {
    fn newest(&self) -> BTreeMap<UpdateId, u32> {
        let mut newest: BTreeMap<UpdateId, u32> = BTreeMap::new();
        for (id, facts) in (1..).zip(self.all) {
            let best = newest.entry(facts.identity.update).or_insert(id);
            if self.facts(*best).identity.revision < facts.identity.revision {
                *best = id;
            }
        }
        newest
    }

    fn facts(&self, id: u32) -> &Facts {
        &self.all[id as usize - 1]
    }

    fn alive(&self, id: u32) -> bool {
        self.facts(id).publication_state == PublicationState::Published
    }

    /// What agents get of each update.
    fn delivered(&self) -> BTreeMap<UpdateId, u32> {
        let newest = self.newest();
        let mut delivered = newest.clone();
        let named = newest.values().filter(|id| self.alive(**id)).flat_map(|id| &self.facts(*id).bundled);
        let mut best: BTreeMap<UpdateId, (bool, u32, u32)> = BTreeMap::new();
        for child in named.flat_map(|clause| &clause.any_of) {
            let Some(id) = self.find(child) else { continue };
            let one = (self.alive(id), child.revision, id);
            let known = best.entry(child.update).or_insert(one);
            *known = one.max(*known);
        }
        for (id, (_, _, exact)) in best {
            if newest.get(&id).is_some_and(|newest| !self.facts(*newest).explicitly_deployable) {
                delivered.insert(id, exact);
            }
        }
        delivered
    }

    fn find(&self, identity: &UpdateIdentity) -> Option<u32> {
        // of several with one name the last counts
        (1..).zip(self.all).filter(|(_, it)| it.identity == *identity).map(|(id, _)| id).last()
    }

    /// Updates that can be sent, when these cannot: what lacks something goes, until nothing more does.
    fn whole(&self, barred: &BTreeSet<UpdateId>) -> BTreeSet<UpdateId> {
        let delivered = self.delivered();
        let fit = delivered.iter().filter(|(update, id)| {
            self.alive(**id)
                && !self.damaged.contains(id)
                && !self.declined.contains(update)
                && !barred.contains(update)
        });
        let mut fit: BTreeSet<UpdateId> = fit.map(|(update, _)| *update).collect();
        loop {
            let one = |member: &UpdateIdentity| self.find(member).is_some() && fit.contains(&member.update);
            let lacks = |update: &&UpdateId| {
                !self.facts(delivered[update]).bundled.iter().all(|clause| clause.any_of.iter().any(one))
            };
            let Some(update) = fit.iter().find(lacks).copied() else { return fit };
            fit.remove(&update);
        }
    }

    fn children(&self, id: u32) -> impl Iterator<Item = UpdateId> {
        self.facts(id).bundled.iter().flat_map(|clause| clause.any_of.iter().map(|child| child.update))
    }

    /// What is offered at all, and which of it is part of an offered bundle.
    fn offered(&self) -> (BTreeSet<u32>, BTreeSet<UpdateId>) {
        let delivered = self.delivered();
        let whole = self.whole(&BTreeSet::new());
        let mut offered = BTreeSet::new();
        loop {
            let members: BTreeSet<UpdateId> = offered.iter().flat_map(|id| self.children(*id)).collect();
            let needed: BTreeSet<UpdateId> = offered
                .iter()
                .flat_map(|id| &self.facts(*id).prerequisites)
                .flat_map(|clause| clause.any_of.iter().copied())
                .collect();
            let before = offered.len();
            for (update, id) in &delivered {
                let facts = self.facts(*id);
                let alone = facts.explicitly_deployable
                    || matches!(facts.update_type, UpdateType::Category | UpdateType::Detectoid);
                if whole.contains(update) && (alone || members.contains(update) || needed.contains(update)) {
                    offered.insert(*id);
                }
            }
            if offered.len() == before {
                return (self.only_approved(offered), members);
            }
        }
    }

    fn only_approved(&self, offered: BTreeSet<u32>) -> BTreeSet<u32> {
        if self.policy == OfferPolicy::AllNotDeclined {
            return offered;
        }
        let mut reached: BTreeSet<u32> = BTreeSet::new();
        let mut wanted: BTreeSet<UpdateId> = &self.approved & &self.whole(&self.held);
        loop {
            let more = offered.iter().filter(|id| wanted.contains(&self.facts(**id).identity.update));
            reached.extend(more);
            let before = wanted.len();
            for id in &reached {
                wanted.extend(self.children(*id));
                wanted.extend(self.facts(*id).prerequisites.iter().flat_map(|clause| &clause.any_of));
            }
            if wanted.len() == before {
                return reached;
            }
        }
    }

    fn is_leaf(&self, id: u32) -> bool {
        let (newest, delivered) = (self.newest(), self.delivered());
        let in_force = newest.values().chain(delivered.values()).filter(|id| self.alive(**id));
        let mut named =
            in_force.flat_map(|id| &self.facts(*id).prerequisites).flat_map(|clause| &clause.any_of);
        !named.any(|named| *named == self.facts(id).identity.update)
    }

    fn needed(&self, installed: &[u32]) -> BTreeSet<u32> {
        let have: BTreeSet<UpdateId> = installed
            .iter()
            .filter(|id| **id >= 1 && **id as usize <= self.all.len())
            .map(|id| self.facts(*id).identity.update)
            .collect();
        let satisfied = |id: &u32| {
            let facts = self.facts(*id);
            facts.update_type != UpdateType::Driver
                && facts.prerequisites.iter().all(|clause| clause.any_of.iter().any(|it| have.contains(it)))
        };
        self.offered().0.into_iter().filter(satisfied).collect()
    }
}

fn random_world(numbers: &mut Numbers) -> Vec<Facts> {
    let count = 5 + numbers.below(40);
    let mut all: Vec<Facts> = Vec::new();
    for number in 1..=count {
        let update_type = match numbers.below(10) {
            0..3 => UpdateType::Category,
            3..5 => UpdateType::Detectoid,
            9 => UpdateType::Driver,
            _ => UpdateType::Software,
        };
        let mut clauses: Vec<Vec<u32>> = Vec::new();
        for _ in 0..numbers.below(3) {
            clauses.push(
                (0..=numbers.below(2))
                    .map(|_| 1 + numbers.below(count + 2))
                    .filter(|it| *it != number)
                    .collect(),
            );
        }
        clauses.retain(|clause| !clause.is_empty());
        let clauses: Vec<&[u32]> = clauses.iter().map(Vec::as_slice).collect();
        let revision = numbers.below(3);
        let mut made = needs(facts(number, revision, update_type), &clauses);
        if update_type == UpdateType::Software {
            if numbers.below(3) == 0 {
                made = hidden(made);
            }
            if numbers.below(3) == 0 && number > 3 {
                let children: Vec<(u32, u32)> = (0..=numbers.below(3))
                    .map(|_| (1 + numbers.below(number - 1), numbers.below(3)))
                    .collect();
                let software = |child: &&(u32, u32)| {
                    all.iter().any(|it| {
                        it.identity.update == update(child.0) && it.update_type == UpdateType::Software
                    })
                };
                let children: Vec<(u32, u32)> = children.iter().filter(software).copied().collect();
                made = bundles(made, &children);
                // some name alternatives
                if numbers.below(2) == 0 && made.bundled.len() > 1 {
                    let last = made.bundled.pop().unwrap();
                    made.bundled[0].any_of.extend(last.any_of);
                }
                // and some revisions that the last one only will bring, or nobody: a cycle, or a gap
                if numbers.below(6) == 0 && !made.bundled.is_empty() {
                    let later = UpdateIdentity { update: update(count), revision: numbers.below(3) };
                    made.bundled[0].any_of.push(later);
                }
            }
        }
        if numbers.below(8) == 0 {
            made.publication_state = PublicationState::Expired;
        }
        if numbers.below(4) == 0 {
            let mut older = made.clone();
            older.identity.revision += 5;
            older.publication_state = PublicationState::Published;
            all.push(older);
        }
        all.push(made);
    }
    all
}

fn some(numbers: &mut Numbers, count: u32) -> Vec<u32> {
    (0..numbers.below(count + 1)).map(|_| 1 + numbers.below(count + 3)).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn scans_answer_as_the_plain_model_does() {
    for seed in 1..=400_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let all = random_world(&mut numbers);
        let policy = [OfferPolicy::AllNotDeclined, OfferPolicy::ApprovedOnly][numbers.below(2) as usize];
        let mut model = Model {
            all: &all,
            declined: BTreeSet::new(),
            held: BTreeSet::new(),
            damaged: BTreeSet::new(),
            approved: BTreeSet::new(),
            policy,
        };
        let mut made = decisions(&[]);
        for (id, facts) in (1..).zip(&all) {
            // of several with one name the last counts, and one is damaged now and then
            if numbers.below(15) == 0 && model.find(&facts.identity) == Some(id) {
                made.damaged.insert(id, Damage { identity: facts.identity, change: 0 });
                model.damaged.insert(id);
            }
        }
        for facts in all.iter().filter(|facts| facts.explicitly_deployable) {
            let number = u32::try_from(facts.identity.update.0.as_u128() & 0xFFFF_FFFF).unwrap();
            match numbers.below(6) {
                0 => {
                    decline(&mut made, number);
                    model.declined.insert(facts.identity.update);
                    model.approved.remove(&facts.identity.update);
                }
                1 if !model.declined.contains(&facts.identity.update) => {
                    approve(&mut made, number, GroupId::ALL_COMPUTERS, Action::Install, None);
                    model.approved.insert(facts.identity.update);
                }
                2 if numbers.below(2) == 0 => {
                    let hold = Hold {
                        until: None,
                        reason: String::new(),
                        by: String::new(),
                        at: Timestamp::UNIX_EPOCH,
                    };
                    Arc::make_mut(made.updates.entry(facts.identity.update).or_default()).hold = Some(hold);
                    model.held.insert(facts.identity.update);
                }
                _ => {}
            }
        }
        let acts = &model.approved & &model.whole(&model.held);
        let snapshot = snapshot(&all, made, policy);
        let count = u32::try_from(all.len()).unwrap();
        for _ in 0..10 {
            let (installed, other) = (some(&mut numbers, count), some(&mut numbers, count));
            let answer = snapshot.scan(&query(&[], &installed, &other));
            let needed = model.needed(&installed);
            let cached: BTreeSet<u32> = installed.iter().chain(&other).copied().collect();
            let new: BTreeSet<u32> = ids(&answer.new).into_iter().collect();
            assert_eq!(new, &needed - &cached, "seed {seed}: new");
            let gone: BTreeSet<u32> = answer.out_of_scope.iter().copied().collect();
            assert_eq!(gone, &cached - &needed, "seed {seed}: out of scope");
            assert!(!answer.truncated);
            let (_, members) = model.offered();
            for offer in &answer.new {
                let facts = model.facts(offer.id.0);
                assert_eq!(offer.is_leaf, model.is_leaf(offer.id.0), "seed {seed}: leaf {}", offer.id);
                let id = facts.identity.update;
                let action = match facts.update_type {
                    UpdateType::Category | UpdateType::Detectoid => DeploymentAction::Evaluate,
                    _ if members.contains(&id) => DeploymentAction::Bundle,
                    _ if acts.contains(&id) => DeploymentAction::Install,
                    _ if policy == OfferPolicy::ApprovedOnly || !facts.explicitly_deployable => {
                        DeploymentAction::Evaluate
                    }
                    _ => DeploymentAction::PreDeploymentCheck,
                };
                assert_eq!(offer.deployment.action, action, "seed {seed}: {}", offer.id);
            }
        }
    }
}

#[test]
fn an_answer_that_lets_agents_stop_is_the_last_with_updates() {
    for seed in 1..=200_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0xD134_2543_DE82_EF95));
        let all = random_world(&mut numbers);
        let snapshot = snapshot(&all, decisions(&[]), OfferPolicy::AllNotDeclined);
        let (mut installed, mut other, mut stopped) = (Vec::new(), Vec::new(), false);
        for round in 0.. {
            assert!(round < 200, "seed {seed}: an agent gives up");
            let question = ScanQuery { limit: 3, ..query(&[], &installed, &other) };
            let answer = snapshot.scan(&question);
            assert!(!stopped || answer.new.is_empty(), "seed {seed}: more after the end");
            assert!(answer.out_of_scope.is_empty() && answer.changed.is_empty(), "seed {seed}");
            if answer.new.is_empty() {
                assert!(!answer.truncated, "seed {seed}: empty is never truncated");
                break;
            }
            for offer in &answer.new {
                let list = if !offer.is_leaf && numbers.below(3) > 0 { &mut installed } else { &mut other };
                list.push(offer.id.0);
            }
            stopped |= !answer.truncated && answer.new.iter().all(|offer| offer.is_leaf);
        }
    }
}

/// Approvals (group, action, deadline), groups of the computer, and what is in force.
type Row = (Vec<(GroupId, Action, Option<i64>)>, Vec<GroupId>, DeploymentAction, Option<i64>);

#[test]
fn groups_decide_as_in_wsus() {
    use Action::{Install, Uninstall};
    let office = group(1, GroupId::ALL_COMPUTERS, 1);
    let desk = group(2, office.id, 2);
    let lab = group(3, GroupId::ALL_COMPUTERS, 1);
    let all = vec![facts(1, 1, UpdateType::Software)];
    let (o, d, l, every) = (office.id, desk.id, lab.id, GroupId::ALL_COMPUTERS);
    let table: Vec<Row> = vec![
        (vec![(every, Install, None)], vec![], DeploymentAction::Install, None),
        (vec![(o, Install, None)], vec![], DeploymentAction::PreDeploymentCheck, None),
        (vec![(o, Install, None)], vec![d], DeploymentAction::Install, None),
        (vec![(o, Install, Some(9)), (d, Uninstall, None)], vec![d], DeploymentAction::Uninstall, None),
        (vec![(o, Uninstall, Some(3)), (l, Install, None)], vec![o, l], DeploymentAction::Install, None),
        (vec![(o, Install, None), (l, Install, Some(7))], vec![o, l], DeploymentAction::Install, Some(7)),
        (vec![(o, Install, Some(5)), (l, Install, Some(7))], vec![l, o], DeploymentAction::Install, Some(5)),
        (vec![(GroupId::UNASSIGNED_COMPUTERS, Install, None)], vec![], DeploymentAction::Install, None),
        (
            vec![(GroupId::UNASSIGNED_COMPUTERS, Install, None)],
            vec![o],
            DeploymentAction::PreDeploymentCheck,
            None,
        ),
    ];
    for (number, (approvals, groups, action, deadline)) in table.into_iter().enumerate() {
        let mut made = decisions(&[office.clone(), desk.clone(), lab.clone()]);
        for (group, action, deadline) in approvals {
            approve(&mut made, 1, group, action, deadline);
        }
        let snapshot = snapshot(&all, made, OfferPolicy::AllNotDeclined);
        let answer = snapshot.scan(&query(&groups, &[], &[]));
        let deployment = &answer.new[0].deployment;
        let seconds = deployment.deadline.map(Timestamp::as_second);
        assert_eq!((deployment.action, seconds), (action, deadline), "row {number}");
    }
}

#[test]
fn an_agent_hears_once_of_what_was_decided_since_its_last_scan() {
    let mut made = decisions(&[]);
    approve(&mut made, 1, GroupId::ALL_COMPUTERS, Action::Install, None);
    made.change = 5;
    Arc::make_mut(made.updates.get_mut(&update(1)).unwrap()).change = 5;
    let all = vec![facts(1, 1, UpdateType::Software), facts(2, 1, UpdateType::Software)];
    let snapshot = snapshot(&all, made, OfferPolicy::AllNotDeclined);
    for (since, changed) in [(0, vec![1]), (4, vec![1]), (5, vec![])] {
        let answer = snapshot.scan(&ScanQuery { since, ..query(&[], &[], &[1, 2]) });
        assert_eq!(ids(&answer.changed), changed, "since {since}");
        assert_eq!(answer.change_number, 5);
    }
}

/// Whoever moves must be told of every update of which the groups before and after are told different things.
#[test]
fn who_moves_hears_of_whatever_is_decided_for_groups() {
    let [office, desk] = [1, 2].map(|number| group(number, GroupId::ALL_COMPUTERS, 1));
    let mut made = decisions(&[office.clone(), desk.clone()]);
    approve(&mut made, 1, GroupId::ALL_COMPUTERS, Action::Install, None);
    approve(&mut made, 2, office.id, Action::Install, None);
    approve(&mut made, 3, desk.id, Action::Install, None);
    approve(&mut made, 4, GroupId::ALL_COMPUTERS, Action::Install, None);
    approve(&mut made, 4, desk.id, Action::Uninstall, None);
    approve(&mut made, 5, GroupId::UNASSIGNED_COMPUTERS, Action::Install, None);
    made.change = 5;
    for decision in made.updates.values_mut() {
        Arc::make_mut(decision).change = 5;
    }
    let all: Vec<Facts> = (1..=6).map(|number| facts(number, 1, UpdateType::Software)).collect();
    let snapshot = snapshot(&all, made, OfferPolicy::AllNotDeclined);
    let held = [1, 2, 3, 4, 5, 6];
    let sets: [&[GroupId]; 4] = [&[], &[office.id], &[desk.id], &[office.id, desk.id]];
    for before in sets {
        for after in sets {
            let ask =
                |groups, moved| snapshot.scan(&ScanQuery { since: 5, moved, ..query(groups, &[], &held) });
            assert_eq!(ids(&ask(after, false).changed), Vec::<u32>::new());
            let told = ids(&ask(after, true).changed);
            for id in held {
                let [was, is] = [before, after].map(|groups| snapshot.offer(RevisionId(id), groups));
                let same = was.map(|offer| offer.deployment) == is.map(|offer| offer.deployment);
                assert!(same || told.contains(&id), "{before:?} to {after:?}: {id} is not in {told:?}");
            }
            assert!(!told.contains(&1) && !told.contains(&6), "nothing of these depends on groups");
        }
    }
}

#[test]
fn a_filtered_scan_brings_its_category_and_what_that_needs() {
    // 1 and 2 are products, 3 a detectoid, 4 software others need, 5 a bundle of 6 in product 1, 7 in product 2
    let all = vec![
        facts(1, 1, UpdateType::Category),
        facts(2, 1, UpdateType::Category),
        needs(facts(3, 1, UpdateType::Detectoid), &[&[1]]),
        facts(4, 1, UpdateType::Software),
        bundles(needs(facts(5, 1, UpdateType::Software), &[&[1], &[4]]), &[(6, 1)]),
        hidden(needs(facts(6, 1, UpdateType::Software), &[&[3]])),
        needs(facts(7, 1, UpdateType::Software), &[&[2]]),
    ];
    let snapshot = snapshot(&all, decisions(&[]), OfferPolicy::AllNotDeclined);
    let filter = [update(1)];
    let question = ScanQuery { categories: &filter, two_groups: true, ..query(&[], &[1, 2, 3, 4], &[7]) };
    let answer = snapshot.scan(&question);
    assert_eq!(ids(&answer.new), [5, 6]);
    assert_eq!(answer.deployed_out_of_scope, [2, 7]);
    assert!(answer.out_of_scope.is_empty());
    let first = snapshot.scan(&ScanQuery { other: &[], installed: &[], ..question });
    let actions: Vec<_> = first.new.iter().map(|offer| (offer.id.0, offer.deployment.action)).collect();
    assert_eq!(actions, [(1, DeploymentAction::Evaluate), (4, DeploymentAction::Evaluate)]);
}

#[test]
fn a_page_is_as_large_as_asked_and_never_empty_when_something_is_new() {
    let all: Vec<Facts> = (1..=10).map(|number| facts(number, 1, UpdateType::Software)).collect();
    let snapshot = snapshot(&all, decisions(&[]), OfferPolicy::AllNotDeclined);
    let table = [(3, u64::MAX, 3, true), (10, u64::MAX, 10, false), (100, 250, 2, true), (100, 1, 1, true)];
    for (limit, max_bytes, count, truncated) in table {
        let answer = snapshot.scan(&ScanQuery { limit, max_bytes, ..query(&[], &[], &[]) });
        assert_eq!((answer.new.len(), answer.truncated), (count, truncated), "{limit} {max_bytes}");
    }
}

mod drivers {
    use super::*;
    use crate::storage::manifest::Manifest;
    use crate::values::facts::StoredFacts;
    use crate::values::scan::{Device, DriverQuery, InstalledDriver};
    use tailwater_domain::DriverFacts;

    fn driver(id: &str, date: &str, version: u64) -> DriverFacts {
        DriverFacts {
            hardware_id: id.to_owned(),
            class: "Net".to_owned(),
            date: date.to_owned(),
            version,
            provider: "Contoso".to_owned(),
            manufacturer: "Contoso".to_owned(),
            model: "Model".to_owned(),
            computer_hardware_ids: Vec::new(),
            distribution_ids: Vec::new(),
            feature_scores: Vec::new(),
        }
    }

    fn world(drivers: Vec<DriverFacts>) -> Vec<Facts> {
        let made = |(number, driver)| Facts { drivers: vec![driver], ..facts(number, 1, UpdateType::Driver) };
        (1..).zip(drivers).map(made).collect()
    }

    fn best(all: &[Facts], device: Device, computer: &[&str]) -> Vec<u32> {
        assert!(all.iter().all(|facts| Manifest::of(facts, 0).hardware.len() == 1));
        let snapshot = snapshot(all, decisions(&[]), OfferPolicy::AllNotDeclined);
        let computer: Vec<String> = computer.iter().map(|&id| id.to_owned()).collect();
        let stored = |id: u32| {
            Ok(Some(Arc::new(StoredFacts {
                facts: all[id as usize - 1].clone(),
                file_urls: Vec::new(),
                drivers_known: true,
            })))
        };
        let question = DriverQuery {
            groups: &[],
            installed: &[],
            cached: &[],
            devices: &[device],
            all_printers: false,
            computer_hardware_ids: &computer,
            feature_key: Some("AMD64.10.0"),
            since: 0,
            limit: 100,
        };
        ids(&snapshot.drivers(&question, &stored).unwrap().new)
    }

    fn device(installed: Option<InstalledDriver>) -> Device {
        let ids = |list: &[&str]| list.iter().map(|&id| id.to_owned()).collect();
        Device {
            hardware_ids: ids(&["PCI\\VEN_1&DEV_2&SUBSYS_3", "PCI\\VEN_1&DEV_2"]),
            compatible_ids: ids(&["PCI\\CC_0200"]),
            installed,
        }
    }

    #[test]
    fn the_best_match_wins_by_the_rules_in_their_order() {
        let general = driver("pci\\ven_1&dev_2", "2026-05-01", 9);
        let exact = driver("PCI\\VEN_1&DEV_2&SUBSYS_3", "2020-01-01", 1);
        let class = driver("PCI\\CC_0200", "2026-09-01", 99);
        assert_eq!(best(&world(vec![class.clone(), general.clone(), exact.clone()]), device(None), &[]), [3]);
        let newer = driver("PCI\\VEN_1&DEV_2", "2026-06-01", 1);
        assert_eq!(best(&world(vec![general.clone(), newer]), device(None), &[]), [2], "date before version");
        let higher = driver("PCI\\VEN_1&DEV_2", "2026-05-01", 10);
        assert_eq!(best(&world(vec![general.clone(), higher]), device(None), &[]), [2], "version");
        let scored = DriverFacts { feature_scores: vec![("amd64.10.0".to_owned(), 10)], ..class.clone() };
        assert_eq!(best(&world(vec![exact.clone(), scored]), device(None), &[]), [2], "score before match");
        let aimed = DriverFacts { computer_hardware_ids: vec!["{A}".to_owned()], ..class };
        assert_eq!(best(&world(vec![exact.clone(), aimed.clone()]), device(None), &["{x}", "{a}"]), [2]);
        assert_eq!(best(&world(vec![aimed, exact]), device(None), &["{x}"]), [2], "for other machines");
        assert!(best(&world(vec![driver("USB\\OTHER", "2026-01-01", 1)]), device(None), &[]).is_empty());
    }

    #[test]
    fn a_driver_is_offered_only_if_it_is_better_than_the_installed_one() {
        let offered = driver("PCI\\VEN_1&DEV_2", "2026-05-01", 9);
        let installed = |id: &str, date: &str, version| InstalledDriver {
            matching_id: Some(id.to_owned()),
            date: format!("{date}T00:00:00"),
            version,
            ..InstalledDriver::default()
        };
        let table = [
            (installed("PCI\\VEN_1&DEV_2", "2026-05-01", 8), true),
            (installed("PCI\\VEN_1&DEV_2", "2026-05-01", 9), false),
            (installed("PCI\\VEN_1&DEV_2", "2026-06-01", 1), false),
            (installed("PCI\\VEN_1&DEV_2&SUBSYS_3", "2001-01-01", 1), false),
            (installed("PCI\\CC_0200", "2026-09-01", 99), true),
        ];
        for (installed, wanted) in table {
            let name = format!("{installed:?}");
            assert_eq!(
                !best(&world(vec![offered.clone()]), device(Some(installed)), &[]).is_empty(),
                wanted,
                "{name}"
            );
        }
        let printer = InstalledDriver {
            class: Some("Printer".to_owned()),
            provider: Some("Fabrikam".to_owned()),
            manufacturer: Some("Contoso".to_owned()),
            ..installed("PCI\\CC_0200", "2001-01-01", 1)
        };
        assert!(best(&world(vec![offered]), device(Some(printer)), &[]).is_empty());
    }
}

/// Made-up identities, other orders, subsets: whatever is asked, what is remembered stays in its bounds, and an honest
/// question is remembered all the same.
#[test]
fn questions_cost_bounded_memory_and_nonsense_costs_none() {
    let all: Vec<Facts> = (1..=400).map(|number| facts(number, 1, UpdateType::Software)).collect();
    let snapshot = snapshot(&all, decisions(&[]), OfferPolicy::AllNotDeclined);
    let made_up: Vec<UpdateId> =
        (0..50).map(|number| UpdateId(uuid::Uuid::from_u128(77_000 + number))).collect();
    let empty = snapshot.remembered_bytes();
    for number in 0..300_u32 {
        let ids: Vec<u32> = (0..20_000).map(|id| 1_000_000 + number + id).collect();
        let mixed: Vec<u32> = (1..=50).chain([900_000 + number]).collect();
        let category = &made_up[number as usize % 50..][..1];
        for question in [
            query(&[], &ids, &[]),
            query(&[], &[], &ids),
            query(&[], &[1, 2], &mixed),
            ScanQuery { categories: category, ..query(&[], &[], &[1]) },
        ] {
            let answer = snapshot.scan(&question);
            assert!(!answer.is_known);
            assert!(!Arc::ptr_eq(&answer, &snapshot.scan(&question)), "nobody asks so twice");
        }
    }
    // the sets of what is needed depend on what is known alone: none installed, two installed, a filter of nothing
    assert!(snapshot.remembered_bytes() <= empty + 3 * 400, "{} bytes", snapshot.remembered_bytes());
    let mut numbers = Numbers(7);
    for _ in 0..3_000 {
        let installed: Vec<u32> = (1..=400).filter(|_| numbers.below(2) == 0).collect();
        assert!(snapshot.scan(&query(&[], &installed, &[])).is_known);
        assert!(snapshot.remembered_bytes() <= ANSWERS_BYTES + NEEDS_BYTES);
    }
    let honest = snapshot.scan(&query(&[], &[1, 2, 3], &[4]));
    assert!(Arc::ptr_eq(&honest, &snapshot.scan(&query(&[], &[1, 2, 3], &[4]))));
    // what is weighed is what it takes: 400 offers of some hundred bytes
    let large = snapshot.scan(&query(&[], &[], &[]));
    assert!((400 * 100..400 * 400).contains(&large.bytes()), "{} bytes", large.bytes());
}

/// Whatever sets of groups there are, and however many approvals: what is remembered of them stays in its room.
#[test]
fn approvals_are_remembered_by_what_they_weigh() {
    let all: Vec<Facts> = (1..=2_000).map(|number| facts(number, 1, UpdateType::Software)).collect();
    let mut decided = decisions(&[]);
    for number in 1..=2_000 {
        approve(&mut decided, number, GroupId::ALL_COMPUTERS, Action::Install, None);
    }
    for decision in decided.updates.values_mut() {
        Arc::make_mut(decision).approvals[0].1.made_by = "x".repeat(255);
    }
    let snapshot = snapshot(&all, decided, OfferPolicy::ApprovedOnly);
    for number in 0..120_u128 {
        let groups = [GroupId::ALL_COMPUTERS, GroupId(uuid::Uuid::from_u128(9_000 + number))];
        assert!(snapshot.offer(RevisionId(1), &groups).is_some());
        assert!(snapshot.remembered_reaches() <= REACHES_BYTES, "{}", snapshot.remembered_reaches());
    }
    // each holds 2,000 approvals by somebody with a long name
    assert!(snapshot.remembered_reaches() > REACHES_BYTES / 2, "{}", snapshot.remembered_reaches());
}
