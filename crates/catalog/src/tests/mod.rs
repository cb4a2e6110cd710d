//! Promises of the room as a whole: what is stored stays, what is staged is not seen, what is decided holds.

mod bundle;
mod clock;
mod damage;
mod descendants;
mod facts;
mod fleet;
mod keyring;
mod lineage;
mod lost;
mod member;
mod query;
mod replica;
mod storing;
mod succession;
mod terms;
mod tree;
mod verdict;

/// What tests of this room name beside its own face.
mod names {
    pub(super) use std::sync::Arc;

    pub(super) use bytes::Bytes;

    pub(super) use crate::storage::{record, segment};
    pub(super) use crate::values::part::FRAME_BYTES;
    pub(super) use tailwater_domain::{
        ComputerId, Facts, FileDeclaration, GroupId, RevisionId, Sha1Digest, UpdateId, UpdateIdentity,
    };
    pub(super) use tailwater_kv as kv;
    pub(super) use tailwater_runtime::Clock;
}

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::*;
use names::*;
use tailwater_domain::{
    Action, BundleClause, CategoryKind, PrerequisiteClause, PublicationState, ServerId, Title, UpdateType,
};

/// A GUID that says what it is.
pub(crate) fn update(number: u32) -> UpdateId {
    UpdateId(Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + u128::from(number)))
}

pub(crate) fn facts(number: u32, revision: u32, update_type: UpdateType) -> Facts {
    Facts {
        identity: UpdateIdentity { update: update(number), revision },
        update_type,
        explicitly_deployable: update_type == UpdateType::Software || update_type == UpdateType::Driver,
        publication_state: PublicationState::Published,
        eula_id: None,
        creation_date: Some("2026-11-01T00:00:00Z".to_owned()),
        default_language: "en".to_owned(),
        category: (update_type == UpdateType::Category).then_some(CategoryKind::Product),
        prerequisites: Vec::new(),
        bundled: Vec::new(),
        supersedes: Vec::new(),
        files: Vec::new(),
        titles: vec![Title { language: "en".to_owned(), text: format!("Update number {number}") }],
        kb_articles: vec![format!("{}", 5_000_000 + number)],
        bulletins: Vec::new(),
        severity: None,
        drivers: Vec::new(),
        uninstallable: false,
        languages: Vec::new(),
        encryption: tailwater_domain::Encryption::None,
        kept: None,
    }
}

pub(crate) fn needs(mut facts: Facts, clauses: &[&[u32]]) -> Facts {
    facts.prerequisites = clauses
        .iter()
        .map(|any| PrerequisiteClause {
            any_of: any.iter().map(|n| update(*n)).collect(),
            is_category: false,
        })
        .collect();
    facts
}

pub(crate) fn bundles(mut facts: Facts, children: &[(u32, u32)]) -> Facts {
    facts.bundled = children
        .iter()
        .map(|(number, revision)| BundleClause {
            any_of: vec![UpdateIdentity { update: update(*number), revision: *revision }],
        })
        .collect();
    facts
}

pub(crate) fn hidden(mut facts: Facts) -> Facts {
    facts.explicitly_deployable = false;
    facts
}

pub(crate) fn text(kind: PartKind, text: impl Into<Vec<u8>>) -> NewPart {
    let text = text.into();
    NewPart { kind, len: text.len() as u64, text: Box::new(std::io::Cursor::new(text)) }
}

pub(crate) fn core_of(facts: &Facts) -> String {
    format!(
        "&lt;UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\" /&gt;",
        facts.identity.update, facts.identity.revision
    )
}

pub(crate) fn revision(facts: Facts) -> NewRevision {
    let core = core_of(&facts);
    let localized = PartKind::Localized("en".to_owned());
    NewRevision {
        parts: vec![
            text(PartKind::Document, format!("<upd:Update>{core}</upd:Update>")),
            text(PartKind::Core, core),
            text(PartKind::Extended, "&lt;ExtendedProperties /&gt;"),
            text(localized, format!("&lt;LocalizedProperties&gt;{}", facts.titles[0].text)),
        ],
        facts,
        file_urls: Vec::new(),
    }
}

pub(crate) struct House {
    pub dir: tempfile::TempDir,
    pub clock: Clock,
}

impl House {
    pub(crate) fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_790_000_000).unwrap());
        Self { dir: tempfile::tempdir().unwrap(), clock }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            index_cache: tailwater_domain::ByteCount(4 << 20),
            ..Config::new(self.dir.path().join("catalog"))
        }
    }

    pub(crate) fn open(&self) -> Catalog {
        Catalog::open(self.config(), self.clock.clone()).unwrap()
    }
}

pub(crate) fn fill(catalog: &Catalog, all: Vec<Facts>) -> Summary {
    let staging = catalog.staging().unwrap();
    staging.store(all.into_iter().map(revision).collect()).unwrap();
    match staging.activate(Activation::default()).unwrap() {
        Activated::Done(summary) => summary,
        Activated::Held(held) => panic!("held: {held:?}"),
    }
}

pub(crate) fn ask(
    catalog: &Catalog,
    groups: &[GroupId],
    installed: &[u32],
    other: &[u32],
) -> Arc<ScanAnswer> {
    catalog.snapshot().scan(&ScanQuery {
        groups,
        installed,
        other,
        categories: &[],
        two_groups: false,
        since: 0,
        moved: false,
        limit: 1_000,
        max_bytes: u64::MAX,
    })
}

pub(crate) fn ids(offers: &[Offer]) -> Vec<u32> {
    offers.iter().map(|offer| offer.id.0).collect()
}

/// A product, a detectoid below it, and software that needs both: revisions 1, 2 and 3.
pub(crate) fn small_world() -> Vec<Facts> {
    vec![
        facts(1, 100, UpdateType::Category),
        needs(facts(2, 50, UpdateType::Detectoid), &[&[1]]),
        needs(facts(3, 200, UpdateType::Software), &[&[1], &[2]]),
    ]
}

#[test]
fn what_is_staged_is_seen_by_nobody_until_all_of_it_is() {
    let house = House::new();
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    let numbers = staging.store(small_world().into_iter().map(revision).collect()).unwrap();
    assert_eq!(numbers, [RevisionId(1), RevisionId(2), RevisionId(3)]);
    assert!(staging.holds(&UpdateIdentity { update: update(3), revision: 200 }));
    assert!(ask(&catalog, &[], &[], &[]).new.is_empty());
    let settings = vec![("anchor".to_owned(), Some(b"42".to_vec()))];
    let outcome = staging.activate(Activation { settings, ..Activation::default() }).unwrap();
    let Activated::Done(summary) = outcome else { panic!("{outcome:?}") };
    assert_eq!((summary.generation, summary.added, summary.revisions), (1, 3, 3));
    assert_eq!(ids(&ask(&catalog, &[], &[], &[]).new), [1]);
    assert_eq!(ids(&ask(&catalog, &[], &[1], &[]).new), [2]);
    assert_eq!(ids(&ask(&catalog, &[], &[1, 2], &[]).new), [3]);
    drop((catalog, staging));
    let catalog = house.open();
    assert_eq!(ids(&ask(&catalog, &[], &[1, 2], &[]).new), [3]);
    assert_eq!(catalog.setting("anchor").unwrap().as_deref(), Some(&b"42"[..]));
}

#[test]
fn staging_is_taken_up_again_after_a_restart() {
    let house = House::new();
    let catalog = house.open();
    let first = catalog.staging().unwrap();
    first.store(small_world().drain(..2).map(revision).collect()).unwrap();
    drop((catalog, first));
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    assert_eq!(staging.staged().len(), 2);
    assert!(staging.holds(&UpdateIdentity { update: update(1), revision: 100 }));
    assert!(!staging.holds(&UpdateIdentity { update: update(3), revision: 200 }));
    let known = staging.facts(&UpdateIdentity { update: update(2), revision: 50 }).unwrap().unwrap();
    assert_eq!(known.facts.titles[0].text, "Update number 2");
    let numbers = staging.store(small_world().into_iter().map(revision).collect()).unwrap();
    assert_eq!(numbers, [RevisionId(1), RevisionId(2), RevisionId(3)]);
    staging.activate(Activation::default()).unwrap();
    assert_eq!(catalog.totals().revisions, 3);
}

#[test]
fn a_text_comes_back_as_it_was_whole_and_in_pieces() {
    let house = House::new();
    let catalog = house.open();
    let staging = catalog.staging().unwrap();
    let large: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    let mut new = revision(facts(1, 1, UpdateType::Software));
    new.parts[1] = text(PartKind::Core, large.clone());
    new.parts.push(text(PartKind::Eula("de".to_owned()), Vec::new()));
    let id = staging.store(vec![new, revision(facts(2, 1, UpdateType::Software))]).unwrap()[0];
    staging.activate(Activation::default()).unwrap();
    let snapshot = catalog.snapshot();
    let core = snapshot.part(id, &PartKind::Core).unwrap();
    assert!(core.is_large());
    assert!(catalog.read(&core).unwrap() == large);
    let pieces: Vec<Bytes> = catalog.chunks(&core).map(Result::unwrap).collect();
    assert!(pieces.iter().all(|piece| piece.len() <= FRAME_BYTES as usize));
    assert!(pieces.concat() == large);
    let empty = snapshot.part(id, &PartKind::Eula("de".to_owned())).unwrap();
    assert!(empty.is_empty() && catalog.read(&empty).unwrap().is_empty());
    let small = snapshot.part(RevisionId(2), &PartKind::Core).unwrap();
    assert_eq!(catalog.read(&small).unwrap(), core_of(&facts(2, 1, UpdateType::Software)));
}

#[test]
fn a_text_of_another_length_than_announced_is_refused() {
    let house = House::new();
    let staging = house.open().staging().unwrap();
    for len in [3, 5, 400_000] {
        let mut new = revision(facts(1, 1, UpdateType::Software));
        new.parts[1] = NewPart { kind: PartKind::Core, len, text: Box::new(&b"text"[..]) };
        assert!(matches!(staging.store(vec![new]), Err(CatalogError::PartInput { .. })), "{len}");
    }
    assert!(staging.staged().is_empty());
}

#[test]
fn numbers_stay_with_their_revisions_even_when_they_go_and_come_back() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, small_world());
    let staging = catalog.staging().unwrap();
    let second = UpdateIdentity { update: update(2), revision: 50 };
    let before = catalog.snapshot().updates_number();
    let gone = Activation { withdraw: vec![second], ..Activation::default() };
    assert!(matches!(staging.activate(gone), Ok(Activated::Done(Summary { withdrawn: 1, .. }))));
    let told = |catalog: &Catalog, since| catalog.snapshot().withdrawn_after(since, 10);
    assert_eq!((told(&catalog, before), told(&catalog, before + 1)), (vec![second], Vec::new()));
    assert!(!staging.holds(&second));
    assert_eq!(ask(&catalog, &[], &[1, 2], &[]).out_of_scope, [2]);
    drop((catalog, staging));
    let catalog = house.open();
    assert_eq!(ask(&catalog, &[], &[1, 2], &[]).out_of_scope, [2]);
    assert_eq!((told(&catalog, before), told(&catalog, before + 1)), (vec![second], Vec::new()));
    fill(&catalog, vec![facts(9, 1, UpdateType::Software), small_world().remove(1)]);
    assert_eq!(catalog.snapshot().find(&second), Some(RevisionId(2)));
    assert!(told(&catalog, 0).is_empty(), "it is back");
    assert_eq!(ids(&ask(&catalog, &[], &[1], &[]).new), [2, 4]);
    drop(catalog);
    assert_eq!(house.open().snapshot().find(&second), Some(RevisionId(2)));
}

#[test]
fn a_new_revision_takes_the_place_of_the_older_one_and_keeps_what_was_decided() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, small_world());
    let approval =
        catalog.approve(&update(3), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    fill(&catalog, vec![needs(facts(3, 201, UpdateType::Software), &[&[1], &[2]])]);
    let answer = ask(&catalog, &[], &[1, 2], &[3]);
    assert_eq!((ids(&answer.new), answer.out_of_scope.as_slice()), (vec![4], &[3][..]));
    assert_eq!(answer.new[0].deployment.id, approval.deployment_id);
    assert_eq!(answer.new[0].deployment.action, DeploymentAction::Install);
    let mut expired = facts(3, 202, UpdateType::Software);
    expired.publication_state = PublicationState::Expired;
    fill(&catalog, vec![expired]);
    assert!(ask(&catalog, &[], &[1, 2], &[]).new.is_empty());
    let detail = catalog.update(&update(3), None).unwrap().unwrap();
    assert_eq!(detail.revisions.iter().map(|it| it.revision).collect::<Vec<_>>(), [202, 201, 200]);
}

#[test]
fn what_would_take_away_too_much_waits_for_an_administrator() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, (1..=400).map(|number| facts(number, 1, UpdateType::Software)).collect());
    let staging = catalog.staging().unwrap();
    let withdraw: Vec<UpdateIdentity> =
        (1..=150).map(|number| UpdateIdentity { update: update(number), revision: 1 }).collect();
    let activation = Activation { withdraw, ..Activation::default() };
    let outcome = staging.activate(activation).unwrap();
    let Activated::Held(held) = outcome else { panic!("{outcome:?}") };
    assert_eq!((held.would_remove, held.offered), (150, 400));
    assert_eq!(catalog.totals().offered, 400);
    drop((catalog, staging));
    let catalog = house.open();
    assert_eq!(catalog.held().unwrap(), held);
    assert_eq!(catalog.release_held().unwrap().withdrawn, 150);
    assert_eq!((catalog.totals().offered, catalog.held()), (250, None));
    assert!(matches!(catalog.release_held(), Err(CatalogError::NothingHeld)));
}

#[test]
fn decisions_hold_after_a_restart_and_after_the_index_is_lost() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, (1..=5).map(|number| facts(number, 1, UpdateType::Software)).collect());
    let office = catalog.create_group("Office", None).unwrap();
    let desk = catalog.create_group("Desk", Some(&office.id)).unwrap();
    let deadline = Some(Timestamp::from_second(1_800_000_000).unwrap());
    catalog.approve(&update(1), &office.id, Action::Install, deadline, "admin").unwrap();
    assert!(catalog.decline(&update(2), "admin").unwrap());
    assert!(!catalog.decline(&update(2), "admin").unwrap());
    let pc = ComputerId("pc-1".to_owned());
    catalog.enrol(&pc, "pc-1.example.test", None).unwrap();
    catalog.assign(&pc, &[desk.id]).unwrap();
    catalog.set_setting("anchor", Some(b"1")).unwrap();
    let check = |catalog: &Catalog| {
        use DeploymentAction::{Install, PreDeploymentCheck};
        let computer = catalog.computer(&pc).unwrap();
        assert_eq!(computer.groups, [desk.id]);
        let answer = ask(catalog, &computer.groups, &[], &[]);
        let actions: Vec<_> = answer.new.iter().map(|it| (it.id.0, it.deployment.action)).collect();
        assert_eq!(
            actions,
            [(1, Install), (3, PreDeploymentCheck), (4, PreDeploymentCheck), (5, PreDeploymentCheck)]
        );
        assert_eq!(answer.new[0].deployment.deadline, deadline);
        let elsewhere = ask(catalog, &[], &[], &[]);
        assert_eq!(elsewhere.new[0].deployment.action, PreDeploymentCheck);
        answer.change_number
    };
    let change = check(&catalog);
    drop(catalog);
    let catalog = house.open();
    assert!(check(&catalog) >= change);
    drop(catalog);
    rebuild_index(&house.config()).unwrap();
    let catalog = house.open();
    assert!(check(&catalog) >= change, "numbers in cookies never run backwards");
    assert_eq!(catalog.setting("anchor").unwrap(), None, "the next synchronisation compares everything");
    let staging = catalog.staging().unwrap();
    assert_eq!(staging.store(vec![revision(facts(6, 1, UpdateType::Software))]).unwrap(), [RevisionId(6)]);
    catalog.remove_group(&office.id).unwrap();
    assert_eq!((catalog.groups().len(), catalog.computer(&pc).unwrap().groups.len()), (2, 0));
    assert!(catalog.update(&update(1), None).unwrap().unwrap().row.approvals.is_empty());
}

#[test]
fn only_what_can_be_decided_is() {
    let house = House::new();
    let catalog = house.open();
    let mut all = small_world();
    all.push(hidden(facts(4, 1, UpdateType::Software)));
    let mut expired = facts(5, 1, UpdateType::Software);
    expired.publication_state = PublicationState::Expired;
    all.push(expired);
    fill(&catalog, all);
    let every = GroupId::ALL_COMPUTERS;
    let approve =
        |number, group: &GroupId, action| catalog.approve(&update(number), group, action, None, "admin");
    assert!(matches!(approve(77, &every, Action::Install), Err(CatalogError::UnknownUpdate(_))));
    assert!(matches!(approve(1, &every, Action::Install), Err(CatalogError::NotDeployable { .. })));
    assert!(matches!(approve(4, &every, Action::Install), Err(CatalogError::NotDeployable { .. })));
    assert!(matches!(approve(5, &every, Action::Install), Err(CatalogError::Expired(_))));
    assert!(matches!(approve(3, &every, Action::Uninstall), Err(CatalogError::NotUninstallable(_))));
    assert!(matches!(approve(3, &GroupId(Uuid::nil()), Action::Install), Err(CatalogError::UnknownGroup(_))));
    assert!(matches!(catalog.create_group("all computers", None), Err(CatalogError::GroupName(_))));
    assert!(matches!(catalog.remove_group(&every), Err(CatalogError::FixedGroup(_))));
    catalog.decline(&update(3), "admin").unwrap();
    approve(3, &every, Action::Install).unwrap();
    assert!(catalog.update(&update(3), None).unwrap().unwrap().row.declined.is_none());
    assert!(
        catalog.unapprove(&update(3), &every).unwrap() && !catalog.unapprove(&update(3), &every).unwrap()
    );
}

pub(crate) fn event(id: i32, about: Option<u32>, misc: &[&str]) -> Event {
    Event {
        instance: Uuid::from_u64_pair(u64::try_from(id).unwrap(), u64::from(about.unwrap_or(0))),
        id,
        namespace: 1,
        source: 101,
        at: Timestamp::from_second(1_790_000_000 + i64::from(id)).unwrap(),
        update: about.map(|number| UpdateIdentity { update: update(number), revision: 1 }),
        result: -2_147_023_293,
        app: "test".to_owned(),
        replacements: vec!["title".to_owned()],
        misc: misc.iter().map(|&text| text.to_owned()).collect(),
    }
}

#[test]
fn a_computer_page_says_what_it_reported() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, (1..=4).map(|number| facts(number, 1, UpdateType::Software)).collect());
    let pc = ComputerId("pc-1".to_owned());
    assert!(matches!(
        catalog.report(&Caller::default(), &pc, Vec::new()),
        Err(CatalogError::UnknownComputer(_))
    ));
    catalog.enrol(&pc, "pc-1.example.test", None).unwrap();
    assert_eq!(catalog.computer_detail(&pc).unwrap().unwrap().status.state_of(&update(1)), State::Unknown);
    let needed = format!("U={};{}", update(1).to_string().to_uppercase(), update(2));
    let installed = format!("V={}", update(3));
    let report =
        || vec![event(147, None, &[]), event(156, None, &[&needed, &installed]), event(182, Some(2), &[])];
    for _ in 0..2 {
        catalog.report(&Caller::default(), &pc, report()).unwrap();
        let detail = catalog.computer_detail(&pc).unwrap().unwrap();
        let states: Vec<State> = (1..=4).map(|number| detail.status.state_of(&update(number))).collect();
        assert_eq!(states, [State::Needed, State::Failed, State::Installed, State::NotApplicable]);
        assert_eq!(detail.events.iter().map(|event| event.id).collect::<Vec<_>>(), [182, 147]);
        assert_eq!(detail.row.counts, Counts { installed: 1, needed: 2, failed: 1 });
    }
    let failed = UpdateQuery { state: Some(UpdateState::Failed), ..UpdateQuery::default() };
    let page = catalog.updates(&failed).unwrap();
    assert_eq!((page.total, page.rows[0].identity.update), (1, update(2)));
    let states = catalog.states_of(&update(2), 0, 0).unwrap();
    assert_eq!((states.rows[0].state, states.rows[0].result), (State::Failed, Some(-2_147_023_293)));
    drop(catalog);
    let catalog = house.open();
    assert_eq!(catalog.updates(&failed).unwrap().total, 1);
    let installed = format!("V={};{}", update(3), update(2));
    catalog.report(&Caller::default(), &pc, vec![event(156, None, &[&installed])]).unwrap();
    assert_eq!(catalog.updates(&failed).unwrap().total, 0);
    assert!(catalog.forget(&pc).unwrap());
    assert_eq!(catalog.update(&update(3), None).unwrap().unwrap().row.counts, Counts::default());
}

#[test]
fn events_and_computers_are_bounded() {
    let house = House::new();
    let config = Config { max_computers: 1, max_events_per_computer: 3, ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    let pc = ComputerId("pc-1".to_owned());
    catalog.enrol(&pc, "pc-1.example.test", None).unwrap();
    let other = ComputerId("pc-2".to_owned());
    assert!(!catalog.enrol(&other, "x", None).unwrap().scanned, "it is answered and not kept");
    assert_eq!((catalog.totals().computers, catalog.fleet_counts().not_kept), (1, 1));
    for number in 0..10 {
        catalog.report(&Caller::default(), &pc, vec![event(160 + number, Some(1), &[])]).unwrap();
    }
    let kept: Vec<i32> =
        catalog.computer_detail(&pc).unwrap().unwrap().events.iter().map(|it| it.id).collect();
    assert_eq!(kept, [169, 168, 167]);
}

#[test]
fn lists_filter_and_page() {
    let house = House::new();
    let catalog = house.open();
    let mut all = vec![facts(1, 1, UpdateType::Category), needs(facts(2, 1, UpdateType::Category), &[&[1]])];
    all[0].category = Some(CategoryKind::ProductFamily);
    all.extend((3..=12).map(|number| needs(facts(number, 1, UpdateType::Software), &[&[2]])));
    all.push(bundles(facts(13, 1, UpdateType::Software), &[(14, 1)]));
    all.push(hidden(facts(14, 1, UpdateType::Software)));
    all[2].supersedes = vec![update(4)];
    let file = FileDeclaration {
        sha1: Sha1Digest([7; 20]),
        sha256: None,
        size: 9,
        name: "a.cab".to_owned(),
        patching: None,
    };
    all[13].files = vec![file.clone()];
    fill(&catalog, all);
    catalog.decline(&update(5), "admin").unwrap();
    catalog.approve(&update(13), &GroupId::ALL_COMPUTERS, Action::Install, None, "admin").unwrap();
    let count = |query: UpdateQuery| catalog.updates(&query).unwrap().total;
    let plain = UpdateQuery::default;
    assert_eq!(count(plain()), 11);
    assert_eq!(count(UpdateQuery { hidden: true, ..plain() }), 12);
    assert_eq!(count(UpdateQuery { product: Some(update(1)), ..plain() }), 10);
    assert_eq!(count(UpdateQuery { kb: Some("KB5000007".to_owned()), ..plain() }), 1);
    assert_eq!(count(UpdateQuery { text: Some("NUMBER  7".to_owned()), ..plain() }), 1);
    for (state, total) in [
        (UpdateState::Declined, 1),
        (UpdateState::Approved, 1),
        (UpdateState::Unapproved, 9),
        (UpdateState::Superseded, 1),
        (UpdateState::Expired, 0),
    ] {
        assert_eq!(count(UpdateQuery { state: Some(state), ..plain() }), total, "{state:?}");
    }
    let page = catalog.updates(&UpdateQuery { offset: 8, limit: 5, ..plain() }).unwrap();
    assert_eq!((page.rows.len(), page.total), (3, 11));
    let categories = catalog.categories(None).unwrap();
    assert_eq!(
        categories.iter().map(|row| (row.id, row.updates)).collect::<Vec<_>>(),
        [(update(1), 0), (update(2), 9)]
    );
    assert_eq!(catalog.files_of(&update(13)).unwrap(), std::slice::from_ref(&file));
    assert_eq!(catalog.approved_files().unwrap(), std::slice::from_ref(&file));
    assert_eq!(catalog.live_digests(), [file.sha1]);
    assert_eq!(catalog.file(&file.sha1).unwrap().unwrap().declaration, file);
    assert_eq!(catalog.file(&Sha1Digest([8; 20])).unwrap(), None);
    let detail = catalog.update(&update(13), None).unwrap().unwrap();
    assert_eq!((detail.children.len(), detail.files.len()), (1, 1));
    assert_eq!(catalog.update(&update(14), None).unwrap().unwrap().parents, [update(13)]);
    catalog.decline(&update(13), "admin").unwrap();
    assert!(catalog.live_digests().is_empty());
}

#[test]
fn signed_addresses_are_not_kept() {
    let house = House::new();
    let catalog = house.open();
    let sha1 = Sha1Digest([7; 20]);
    let mut new = revision(facts(1, 1, UpdateType::Software));
    new.facts.files =
        vec![FileDeclaration { sha1, sha256: None, size: 9, name: "a.cab".to_owned(), patching: None }];
    let mu_url = Some("http://download.example/a.cab?token=secret".to_owned());
    new.file_urls = vec![FileUrl { sha1, mu_url, uss_url: Some("http://download.example/a.cab".to_owned()) }];
    let staging = catalog.staging().unwrap();
    staging.store(vec![new]).unwrap();
    staging.activate(Activation::default()).unwrap();
    let known = catalog.file(&sha1).unwrap().unwrap();
    assert_eq!((known.mu_url, known.uss_url.is_some()), (None, true));
}

/// Flips one bit in the middle of what a reference points to.
pub(crate) fn damage(house: &House, part: &PartRef) {
    let path = house.dir.path().join(format!("catalog/documents/{:08}.seg", part.segment));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[part.offset as usize + part.stored as usize / 2] ^= 4;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_damaged_text_is_named_set_aside_and_healed_under_its_number() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, (1..=3).map(|number| facts(number, 1, UpdateType::Software)).collect());
    let core = catalog.snapshot().part(RevisionId(2), &PartKind::Core).unwrap();
    damage(&house, &core);
    let error = catalog.read(&core).unwrap_err();
    assert!(matches!(error, CatalogError::Damaged { segment: 1, .. }), "{error}");
    let identity = UpdateIdentity { update: update(2), revision: 1 };
    assert_eq!(catalog.damaged(), [identity]);
    assert_eq!(ids(&ask(&catalog, &[], &[], &[]).new), [1, 3]);
    drop(catalog);
    let catalog = house.open();
    assert_eq!(catalog.damaged(), [identity]);
    let staging = catalog.staging().unwrap();
    assert!(!staging.holds(&identity));
    fill(&catalog, vec![facts(2, 1, UpdateType::Software)]);
    assert!(catalog.damaged().is_empty() && staging.holds(&identity));
    assert_eq!(ids(&ask(&catalog, &[], &[], &[]).new), [1, 2, 3]);
    let core = catalog.snapshot().part(RevisionId(2), &PartKind::Core).unwrap();
    assert_eq!(catalog.read(&core).unwrap(), core_of(&facts(2, 1, UpdateType::Software)));
    drop((catalog, staging));
    assert!(house.open().damaged().is_empty());
}

#[test]
fn a_lost_index_comes_back_without_what_is_damaged() {
    let house = House::new();
    let catalog = house.open();
    for number in 1..=3 {
        fill(&catalog, vec![facts(number, 1, UpdateType::Software)]);
    }
    let core = catalog.snapshot().part(RevisionId(2), &PartKind::Core).unwrap();
    drop(catalog);
    damage(&house, &core);
    rebuild_index(&house.config()).unwrap();
    let catalog = house.open();
    assert_eq!((catalog.totals().revisions, catalog.snapshot().generation()), (3, 3));
    assert!(catalog.read(&core).is_err());
    assert_eq!(ids(&ask(&catalog, &[], &[], &[]).new), [1, 3]);
}

#[test]
fn a_store_is_carried_over_by_its_documents_and_a_dump() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, small_world());
    catalog.set_setting("anchor", Some(b"1")).unwrap();
    catalog.decline(&update(3), "admin").unwrap();
    let mut dump = Vec::new();
    let entries = catalog.dump_index(&mut dump).unwrap();
    drop(catalog);
    let documents = house.dir.path().join("catalog/documents");
    let other = House::new();
    let beside = other.dir.path().join("catalog/documents");
    std::fs::create_dir_all(&beside).unwrap();
    std::fs::copy(documents.join("00000001.seg"), beside.join("00000001.seg")).unwrap();
    assert_eq!(load_index(&other.config(), &mut dump.as_slice()).unwrap(), entries);
    let catalog = other.open();
    assert_eq!(catalog.setting("anchor").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!((catalog.totals().revisions, catalog.totals().declined), (3, 1));
    let core = catalog.snapshot().part(RevisionId(3), &PartKind::Core).unwrap();
    assert_eq!(catalog.read(&core).unwrap(), core_of(&small_world()[2]));
}

#[test]
fn a_torn_tail_is_cut() {
    let house = House::new();
    let catalog = house.open();
    fill(&catalog, small_world());
    drop(catalog);
    let path = house.dir.path().join("catalog/documents/00000001.seg");
    let whole = std::fs::metadata(&path).unwrap().len();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"half a record that nobody was told of");
    std::fs::write(&path, bytes).unwrap();
    let catalog = house.open();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
    assert_eq!(catalog.totals().revisions, 3);
    fill(&catalog, vec![facts(9, 1, UpdateType::Software)]);
    assert_eq!(catalog.totals().revisions, 4);
}

#[test]
fn many_segments_and_dictionaries_read_back_the_same() {
    let house = House::new();
    let config = Config { segment_size: tailwater_domain::ByteCount(64 << 10), ..house.config() };
    let catalog = Catalog::open(config, house.clock.clone()).unwrap();
    let staging = catalog.staging().unwrap();
    for batch in 0..30 {
        let numbers = batch * 50 + 1..=batch * 50 + 50;
        staging
            .store(numbers.map(|number| revision(facts(number, 1, UpdateType::Software))).collect())
            .unwrap();
    }
    staging.activate(Activation::default()).unwrap();
    drop((catalog, staging));
    let catalog = house.open();
    assert!(catalog.totals().segment_bytes > 64 << 10);
    let snapshot = catalog.snapshot();
    for number in 1..=1_500 {
        let core = snapshot.part(RevisionId(number), &PartKind::Core).unwrap();
        assert_eq!(catalog.read(&core).unwrap(), core_of(&facts(number, 1, UpdateType::Software)));
    }
}

#[test]
fn a_store_in_use_is_refused_by_name() {
    let house = House::new();
    let _catalog = house.open();
    let error = Catalog::open(house.config(), house.clock.clone()).err().unwrap();
    assert!(matches!(error, CatalogError::Locked { .. }));
    assert!(matches!(rebuild_index(&house.config()), Err(CatalogError::Locked { .. })));
}

mod crash {
    //! What was told to be stored is there after kill -9, and nobody sees half a generation.

    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const DIR: &str = "TAILWATER_TEST_CRASH_DIR";
    const BATCH: u32 = 50;

    /// Runs only as a child of the test below: stores and activates for ever, saying so after each step.
    #[test]
    fn child() {
        let Ok(dir) = std::env::var(DIR) else { return };
        let catalog = Catalog::open(Config::new(dir), Clock::system()).unwrap();
        let staging = catalog.staging().unwrap();
        let from = u32::try_from(catalog.snapshot().generation()).unwrap() * BATCH;
        for step in (from / BATCH)..10_000 {
            let numbers = step * BATCH + 1..=step * BATCH + BATCH;
            staging
                .store(numbers.map(|number| revision(facts(number, 1, UpdateType::Software))).collect())
                .unwrap();
            println!("stored {}", step + 1);
            let settings = vec![("anchor".to_owned(), Some((step + 1).to_le_bytes().to_vec()))];
            staging.activate(Activation { settings, ..Activation::default() }).unwrap();
            println!("active {}", step + 1);
        }
    }

    #[test]
    fn kill_nine_loses_nothing_and_shows_no_half() {
        let house = House::new();
        let dir = house.dir.path().join("catalog");
        let mut said = (0, 0);
        for round in 0..6 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::crash::child", "--nocapture"])
                .env(DIR, &dir)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let steps = lines.filter_map(|line| {
                let (what, number) = line.split_once(' ')?;
                Some((
                    what == "active",
                    number.parse::<u32>().ok().filter(|_| what == "active" || what == "stored")?,
                ))
            });
            // at another point in each round: right after storing, right after activating, in between
            for (active, number) in steps.take(5 + round * 3) {
                let place = if active { &mut said.1 } else { &mut said.0 };
                *place = number.max(*place);
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let catalog = Catalog::open(Config::new(&dir), Clock::system()).unwrap();
            let staging = catalog.staging().unwrap();
            let snapshot = catalog.snapshot();
            let generation = u32::try_from(snapshot.generation()).unwrap();
            assert!(generation >= said.1, "an activation was lost: {generation} of {}", said.1);
            assert_eq!(catalog.totals().revisions, (generation * BATCH) as usize, "half a generation");
            let anchor = catalog.setting("anchor").unwrap().unwrap_or_default();
            assert_eq!(anchor, generation.to_le_bytes()[..anchor.len()]);
            for number in 1..=said.0 * BATCH {
                let identity = UpdateIdentity { update: update(number), revision: 1 };
                assert!(staging.holds(&identity), "{identity} was stored and is gone");
            }
            for id in 1..=generation * BATCH {
                for (kind, part) in snapshot.parts(RevisionId(id)) {
                    assert!(catalog.read(&part).is_ok(), "{id} {kind:?}");
                }
            }
        }
        assert!(said.1 > 0, "the child never came to activate");
    }
}

#[test]
fn what_servers_took_is_lost_neither_by_silence_nor_by_a_kill() {
    let house = House::new();
    let catalog = house.open();
    let id = ServerId(Uuid::from_u128(7));
    catalog.introduce_server(&id, "branch.example", &Credential::default()).unwrap();
    let took = Took { metadata: 100, content: 1_000, at: None, change: Some(3) };
    catalog.server_took(&id, took);
    catalog.server_took(&id, took);
    let seen = |catalog: &Catalog| {
        let took = catalog.server(&id).unwrap().took;
        (took.metadata, took.content, took.change)
    };
    assert_eq!(seen(&catalog), (200, 2_000, Some(3)));
    catalog.write_server_counts().unwrap();
    assert_eq!(seen(&catalog), (200, 2_000, Some(3)), "written and counted once");
    catalog.server_took(&id, took);
    drop(catalog);
    // no request came after the last write, and nothing was closed in order
    assert_eq!(seen(&house.open()), (200, 2_000, Some(3)));
}
