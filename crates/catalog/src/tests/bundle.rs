//! Bundles are offered whole or not at all, whatever they lack, however deep, in whatever order it comes; and agents
//! that only hear of changes end up where those end that ask for everything.

use std::collections::BTreeMap;

use crate::tests::names::*;
use crate::tests::{House, bundles, damage, facts, fill, hidden, ids, revision, update};
use crate::*;
use tailwater_domain::{Action, BundleClause, DecryptionKey, Encryption, PublicationState, UpdateType};

const EVERY: GroupId = GroupId::ALL_COMPUTERS;

fn software(number: u32) -> Facts {
    facts(number, 1, UpdateType::Software)
}

fn expired(facts: Facts, revision: u32) -> Facts {
    let mut newer = facts;
    newer.identity.revision = revision;
    newer.publication_state = PublicationState::Expired;
    newer
}

/// A bundle whose clauses name these updates, each in revision 1.
fn bundle(number: u32, clauses: &[&[u32]]) -> Facts {
    let one = |member: &u32| UpdateIdentity { update: update(*member), revision: 1 };
    let clause = |any: &&[u32]| BundleClause { any_of: any.iter().map(one).collect() };
    Facts { bundled: clauses.iter().map(clause).collect(), ..software(number) }
}

fn scan(catalog: &Catalog, other: &[u32], since: u64) -> Arc<ScanAnswer> {
    catalog.snapshot().scan(&ScanQuery {
        groups: &[],
        installed: &[],
        other,
        categories: &[],
        two_groups: false,
        since,
        moved: false,
        limit: usize::MAX,
        max_bytes: u64::MAX,
    })
}

/// An agent that keeps what it was told and hears of changes only.
#[derive(Default)]
struct Agent {
    since: u64,
    known: BTreeMap<u32, (DeploymentAction, u32, bool)>,
}

impl Agent {
    fn visit(&mut self, catalog: &Catalog) {
        let cached: Vec<u32> = self.known.keys().copied().collect();
        let answer = scan(catalog, &cached, self.since);
        self.known.retain(|id, _| !answer.out_of_scope.contains(id));
        for offer in answer.new.iter().chain(&answer.changed) {
            self.known.insert(offer.id.0, (offer.deployment.action, offer.deployment.id, offer.is_leaf));
        }
        self.since = answer.change_number;
    }

    fn action_of(&self, catalog: &Catalog, number: u32) -> Option<DeploymentAction> {
        let newest = catalog.snapshot().latest(&update(number))?;
        self.known.get(&newest.0).map(|told| told.0)
    }
}

fn withheld(catalog: &Catalog, number: u32) -> Vec<Withheld> {
    catalog.update(&update(number), None).unwrap().unwrap().row.withheld
}

fn withdraw(catalog: &Catalog, number: u32) {
    let identity = UpdateIdentity { update: update(number), revision: 1 };
    let activation = Activation { withdraw: vec![identity], ..Activation::default() };
    catalog.staging().unwrap().activate(activation).unwrap();
}

fn spoil(house: &House, catalog: &Catalog, number: u32) {
    let identity = UpdateIdentity { update: update(number), revision: 1 };
    let id = catalog.snapshot().find(&identity).unwrap();
    let core = catalog.snapshot().part(id, &PartKind::Core).unwrap();
    damage(house, &core);
    catalog.read(&core).unwrap_err();
}

/// What goes wrong with member 9 of the world of a shape, and how that ends.
const FAULTS: [Reason; 7] = [
    Reason::Missing,
    Reason::Withdrawn,
    Reason::Damaged,
    Reason::NoKey,
    Reason::Expired,
    Reason::Declined,
    Reason::Held,
];

/// A payload that is encrypted.
const SEALED: Sha1Digest = Sha1Digest([7; 20]);

/// Shapes around member 9; bundle 1 is what is approved, and whether it stands or falls with 9.
fn shapes() -> Vec<(&'static str, Vec<Facts>, bool, Vec<u32>)> {
    let inner = |number, clauses: &[&[u32]]| hidden(bundle(number, clauses));
    let part = |number| hidden(software(number));
    vec![
        ("the only member", vec![bundle(1, &[&[9]])], true, vec![]),
        ("one of several", vec![bundle(1, &[&[8], &[9], &[7]]), part(8), part(7)], true, vec![]),
        ("in a bundle inside", vec![bundle(1, &[&[8], &[2]]), inner(2, &[&[9]]), part(8)], true, vec![2]),
        (
            "four deep",
            vec![bundle(1, &[&[2]]), inner(2, &[&[3]]), inner(3, &[&[4]]), inner(4, &[&[9], &[8]]), part(8)],
            true,
            vec![2, 3, 4],
        ),
        ("beside an alternative", vec![bundle(1, &[&[9, 8], &[7]]), part(8), part(7)], false, vec![]),
        ("the second alternative", vec![bundle(1, &[&[8, 9]]), part(8)], false, vec![]),
        ("an alternative and a clause of its own", vec![bundle(1, &[&[9, 8], &[9]]), part(8)], true, vec![]),
        ("inside an alternative", vec![bundle(1, &[&[2, 8]]), inner(2, &[&[9]]), part(8)], false, vec![]),
        ("twice", vec![bundle(1, &[&[2], &[3]]), inner(2, &[&[9]]), inner(3, &[&[9]])], true, vec![2]),
        ("in a ring", vec![bundle(1, &[&[2]]), inner(2, &[&[1], &[9]])], true, vec![2]),
        ("bundled by what can be approved too", vec![bundle(1, &[&[2]]), bundle(2, &[&[9]])], true, vec![2]),
    ]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_bundle_is_offered_whole_or_not_at_all_and_says_why() {
    for (shape, mut world, falls, through) in shapes() {
        for fault in FAULTS {
            let name = format!("{shape}, {fault:?}");
            let house = House::new();
            let catalog = house.open();
            // only what can be deployed by itself can be declined or held
            let member = software(9);
            world.retain(|facts| facts.identity.update != update(9));
            fill(&catalog, world.clone());
            let ring = shape == "in a ring";
            catalog.approve(&update(1), &EVERY, Action::Install, None, "admin").unwrap();
            let mut early = Agent::default();
            let whole = if ring { DeploymentAction::Bundle } else { DeploymentAction::Install };
            if fault != Reason::Missing {
                fill(&catalog, vec![member.clone()]);
            }
            early.visit(&catalog);
            let mut late = Agent::default();
            late.visit(&catalog);
            match fault {
                Reason::Missing | Reason::NotNeeded => {}
                Reason::Withdrawn => withdraw(&catalog, 9),
                Reason::Damaged => spoil(&house, &catalog, 9),
                Reason::NoKey => {
                    let encryption = Encryption::Files(vec![SEALED]);
                    fill(&catalog, vec![Facts { encryption, ..facts(9, 2, UpdateType::Software) }]);
                }
                Reason::Expired => {
                    fill(&catalog, vec![expired(member.clone(), 2)]);
                }
                Reason::Declined => {
                    catalog.decline(&update(9), "admin").unwrap();
                }
                Reason::Held => {
                    catalog.hold(&update(9), None, "", "admin").unwrap();
                }
            }
            let catalog = if fault == Reason::Damaged {
                drop(catalog);
                house.open()
            } else {
                catalog
            };
            early.visit(&catalog);
            let held = (fault == Reason::Held).then_some(DeploymentAction::PreDeploymentCheck);
            let expected = match (falls, ring) {
                (false, _) => Some(whole),
                (true, true) => held.map(|_| whole),
                (true, false) => held,
            };
            assert_eq!(early.action_of(&catalog, 1), expected, "{name}: offered");
            let why = withheld(&catalog, 1);
            if falls {
                let revision = if matches!(fault, Reason::Expired | Reason::NoKey) { 2 } else { 1 };
                let member = UpdateIdentity { update: update(9), revision };
                let through: Vec<UpdateId> = through.iter().map(|number| update(*number)).collect();
                assert_eq!(why, [Withheld { member, reason: fault, through }], "{name}: why");
                let listed = UpdateQuery { state: Some(UpdateState::Withheld), ..UpdateQuery::default() };
                let listed = catalog.updates(&listed).unwrap();
                assert!(listed.rows.iter().any(|row| row.identity.update == update(1)), "{name}: listed");
                assert!(catalog.approved_installs().is_empty(), "{name}: nothing to fetch ahead");
            } else {
                assert!(why.is_empty(), "{name}: {why:?}");
            }
            // the end of it
            match fault {
                Reason::Missing | Reason::Withdrawn | Reason::Damaged | Reason::NotNeeded => {
                    fill(&catalog, vec![member]);
                }
                Reason::NoKey => {
                    catalog.keep_keys(vec![(SEALED, DecryptionKey::new(vec![1; 32]))]).unwrap();
                }
                Reason::Expired => {
                    fill(&catalog, vec![facts(9, 3, UpdateType::Software)]);
                }
                Reason::Declined => {
                    catalog.undecline(&update(9)).unwrap();
                }
                Reason::Held => {
                    catalog.release(&update(9)).unwrap();
                }
            }
            for (who, agent) in [("who saw it fall", &mut early), ("who was away", &mut late)] {
                agent.visit(&catalog);
                assert_eq!(agent.action_of(&catalog, 1), Some(whole), "{name}: {who}");
                let mut fresh = Agent::default();
                fresh.visit(&catalog);
                assert_eq!(agent.known, fresh.known, "{name}: {who}");
            }
            assert!(withheld(&catalog, 1).is_empty(), "{name}: afterwards");
        }
    }
}

#[test]
fn whatever_comes_last_makes_the_bundle_whole() {
    let world =
        [bundle(1, &[&[2], &[4, 5]]), hidden(bundle(2, &[&[3]])), hidden(software(3)), hidden(software(5))];
    for order in 0..24_usize {
        let mut rest: Vec<Facts> = world.to_vec();
        let (mut number, house) = (order, House::new());
        let catalog = house.open();
        let mut agent = Agent::default();
        for left in (1..=4).rev() {
            let next = rest.remove(number % left);
            number /= left;
            assert!(
                !agent.known.values().any(|told| told.0 == DeploymentAction::Install),
                "order {order}: offered with {left} missing"
            );
            let is_bundle = next.identity.update == update(1);
            fill(&catalog, vec![next]);
            if is_bundle {
                catalog.approve(&update(1), &EVERY, Action::Install, None, "admin").unwrap();
                assert_eq!(withheld(&catalog, 1).is_empty(), left == 1, "order {order}");
            }
            agent.visit(&catalog);
        }
        assert_eq!(agent.action_of(&catalog, 1), Some(DeploymentAction::Install), "order {order}");
        assert_eq!(agent.known.len(), 4, "order {order}");
    }
}

#[test]
fn every_clause_without_a_member_is_named() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, vec![bundle(1, &[&[2, 3], &[4], &[5]]), hidden(software(5)), software(4)]);
    catalog.decline(&update(4), "admin").unwrap();
    let why: Vec<_> = withheld(&catalog, 1).into_iter().map(|one| (one.member.update, one.reason)).collect();
    let expected =
        [(update(2), Reason::Missing), (update(3), Reason::Missing), (update(4), Reason::Declined)];
    assert_eq!(why, expected);
    // what is missing in a bundle of hundreds is not a page of hundreds
    let many: Vec<Vec<u32>> = (100..400).map(|number| vec![number]).collect();
    let many: Vec<&[u32]> = many.iter().map(Vec::as_slice).collect();
    fill(&catalog, vec![bundle(6, &many)]);
    assert_eq!(withheld(&catalog, 6).len(), 20);
}

#[test]
fn another_revision_of_a_member_is_not_the_member() {
    let house = House::new();
    let catalog = house.open();
    let named = |revision| bundles(software(1), &[(2, revision)]);
    fill(&catalog, vec![named(2), hidden(facts(2, 1, UpdateType::Software))]);
    assert_eq!(withheld(&catalog, 1)[0].reason, Reason::Missing);
    fill(&catalog, vec![hidden(facts(2, 3, UpdateType::Software))]);
    let member = UpdateIdentity { update: update(2), revision: 2 };
    assert_eq!(withheld(&catalog, 1)[0].member, member);
    fill(&catalog, vec![hidden(facts(2, 2, UpdateType::Software))]);
    assert!(withheld(&catalog, 1).is_empty());
    let told = scan(&catalog, &[], 0);
    assert_eq!(ids(&told.new), [1, 4], "the bundle with the revision it names");
}

#[test]
fn payloads_of_what_is_withheld_for_a_time_are_kept() {
    let house = House::new();
    let catalog = house.open();
    let sha1: Sha1Digest = "a379d5526fb3a7a0423da1cd7fc3182a8d448449".parse().unwrap();
    let mut part = hidden(software(2));
    part.files =
        vec![FileDeclaration { sha1, sha256: None, size: 1, name: "x.cab".to_owned(), patching: None }];
    fill(&catalog, vec![bundle(1, &[&[2], &[3]]), part, hidden(software(3))]);
    assert_eq!((catalog.live_digests(), catalog.kept_digests()), (vec![sha1], vec![sha1]));
    withdraw(&catalog, 3);
    assert_eq!((catalog.live_digests(), catalog.kept_digests()), (vec![], vec![sha1]));
    catalog.decline(&update(1), "admin").unwrap();
    assert!(catalog.kept_digests().is_empty());
}

#[test]
fn a_record_of_damage_of_the_first_version_is_read() {
    let identity = UpdateIdentity { update: update(1), revision: 7 };
    let old = decisions::decided::Damage::decode(&record::encode(&identity).unwrap()).unwrap();
    assert_eq!((old.identity, old.change), (identity, 0));
    let new = decisions::decided::Damage { identity, change: 9 };
    assert_eq!(decisions::decided::Damage::decode(&new.encode().unwrap()).unwrap(), new);
    let later = [&[3_u8][..], &new.encode().unwrap()[1..]].concat();
    assert!(matches!(
        decisions::decided::Damage::decode(&later),
        Err(CatalogError::Newer { found: 3, known: 2 })
    ));
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).unwrap()
    }
}

const UPDATES: u32 = 9;

/// A revision of some update; the greater its number, the more it bundles.
fn some_revision(numbers: &mut Numbers) -> Facts {
    let number = 1 + numbers.below(UPDATES);
    let mut made = facts(number, 1 + numbers.below(3), UpdateType::Software);
    if numbers.below(2) == 0 {
        made = hidden(made);
    }
    if number > 3 {
        for _ in 0..=numbers.below(2) {
            let limit = if numbers.below(12) == 0 { UPDATES } else { number - 1 };
            let one = |numbers: &mut Numbers| UpdateIdentity {
                update: update(1 + numbers.below(limit)),
                revision: 1 + numbers.below(2),
            };
            let any_of = (0..=numbers.below(2)).map(|_| one(numbers)).collect();
            made.bundled.push(BundleClause { any_of });
        }
    }
    if numbers.below(6) == 0 {
        made.publication_state = PublicationState::Expired;
    }
    made
}

/// Something happens; what is refused has not happened.
fn happens(house: &House, catalog: &Catalog, numbers: &mut Numbers) -> String {
    let number = 1 + numbers.below(UPDATES);
    let id = update(number);
    let staging = catalog.staging().unwrap();
    let active = staging.active();
    match numbers.below(12) {
        0..4 => {
            let made: Vec<Facts> = (0..=numbers.below(2)).map(|_| some_revision(numbers)).collect();
            let name = format!("{:?} come", made.iter().map(|it| it.identity).collect::<Vec<_>>());
            staging.store(made.into_iter().map(revision).collect()).unwrap();
            staging.activate(Activation::default()).unwrap();
            name
        }
        4 if !active.is_empty() => {
            let gone = active[numbers.below(u32::try_from(active.len()).unwrap()) as usize];
            let activation = Activation { withdraw: vec![gone], ..Activation::default() };
            staging.activate(activation).unwrap();
            format!("{gone} goes")
        }
        5 if !active.is_empty() => {
            let hit = active[numbers.below(u32::try_from(active.len()).unwrap()) as usize];
            if staging.holds(&hit) {
                let core = catalog.snapshot().find(&hit).unwrap();
                let core = catalog.snapshot().part(core, &PartKind::Core).unwrap();
                damage(house, &core);
                catalog.read(&core).unwrap_err();
            }
            format!("{hit} is damaged")
        }
        6 => format!("{number} declined: {:?}", catalog.decline(&id, "admin").is_ok()),
        7 => format!("{number} undeclined: {:?}", catalog.undecline(&id).is_ok()),
        8 => format!("{number} held: {:?}", catalog.hold(&id, None, "", "admin").is_ok()),
        9 => format!("{number} released: {:?}", catalog.release(&id).is_ok()),
        10 => format!("{number} unapproved: {:?}", catalog.unapprove(&id, &EVERY).is_ok()),
        _ => {
            let done = catalog.approve(&id, &EVERY, Action::Install, None, "admin").is_ok();
            format!("{number} approved: {done:?}")
        }
    }
}

#[test]
fn agents_that_hear_of_changes_know_what_those_know_that_ask_anew() {
    for seed in 1..=24_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let house = House::new();
        let mut catalog = house.open();
        let mut agents: Vec<Agent> = (0..4).map(|_| Agent::default()).collect();
        let mut story = Vec::new();
        for step in 0..40 {
            story.push(happens(&house, &catalog, &mut numbers));
            if numbers.below(12) == 0 {
                drop(catalog);
                catalog = house.open();
                story.push("restart".to_owned());
            }
            let mut fresh = Agent::default();
            fresh.visit(&catalog);
            for agent in &mut agents {
                if numbers.below(3) == 0 {
                    agent.visit(&catalog);
                    assert_eq!(agent.known, fresh.known, "seed {seed}, step {step}: {story:#?}");
                }
            }
        }
    }
}
