//! Promises about license terms: nobody installs what nobody accepted, and nobody is asked twice.

use crate::tests::names::*;
use crate::tests::{House, bundles, facts, fill, hidden, update};
use crate::*;
use tailwater_domain::{Action, BundleClause, UpdateType};
use uuid::Uuid;

const FIRST: Uuid = Uuid::from_u128(0x11);
const SECOND: Uuid = Uuid::from_u128(0x22);

fn licensed(mut facts: Facts, id: impl Into<String>) -> Facts {
    facts.eula_id = Some(id.into());
    facts
}

/// 1 and 2 have the first terms, 3 bundles 4 with the second through 5, 6 has none, 7 a name that is no GUID, 8 the nil one.
fn office(house: &House) -> Catalog {
    let catalog = house.open();
    let software = |number| facts(number, 1, UpdateType::Software);
    let mut inner = bundles(hidden(software(5)), &[(4, 1)]);
    inner.bundled.push(BundleClause { any_of: vec![UpdateIdentity { update: update(9), revision: 1 }] });
    fill(
        &catalog,
        vec![
            licensed(software(1), FIRST.to_string()),
            licensed(software(2), format!("{{{}}}", FIRST.to_string().to_uppercase())),
            bundles(software(3), &[(5, 1)]),
            licensed(hidden(software(4)), SECOND.to_string()),
            inner,
            software(6),
            licensed(software(7), "terms of use"),
            licensed(software(8), Uuid::nil().to_string()),
            hidden(software(9)),
        ],
    );
    catalog
}

fn approve(catalog: &Catalog, number: u32, action: Action) -> Result<(), CatalogError> {
    catalog.approve(&update(number), &GroupId::ALL_COMPUTERS, action, None, "admin").map(|_| ())
}

fn refused(outcome: &Result<(), CatalogError>) -> bool {
    matches!(outcome, Err(CatalogError::TermsNotAccepted(_)))
}

#[test]
fn what_has_terms_is_approved_for_installation_only_when_somebody_accepted_them() {
    let house = House::new();
    let catalog = office(&house);
    let asked: Vec<u32> = (1..=8)
        .filter(|number| ![4, 5].contains(number))
        .filter(|number| refused(&approve(&catalog, *number, Action::Install)))
        .collect();
    assert_eq!(asked, [1, 2, 3, 7], "bundles are asked about for their members, however deep");
    approve(&catalog, 1, Action::Block).unwrap();
    assert!(refused(&approve(&catalog, 1, Action::Install)), "not to approve accepts nothing");
    let terms = catalog.terms_of(&update(3)).unwrap();
    assert_eq!(
        (terms[0].id, terms[0].updates.as_slice(), terms[0].is_accepted),
        (SECOND, &[update(4)][..], false)
    );
    assert!(catalog.terms_of(&update(6)).unwrap().is_empty());
}

#[test]
fn terms_are_accepted_once_for_all_updates_that_have_them_and_for_good() {
    let house = House::new();
    let catalog = office(&house);
    assert_eq!(catalog.accept_terms(&[update(1), update(3)], "alice").unwrap(), [FIRST, SECOND]);
    assert!(catalog.accept_terms(&[update(2)], "bob").unwrap().is_empty(), "nobody is asked twice");
    for number in [1, 2, 3] {
        approve(&catalog, number, Action::Install).unwrap();
    }
    let check = |catalog: &Catalog| {
        let terms = catalog.terms_of(&update(2)).unwrap().remove(0);
        let acceptance = terms.acceptance.unwrap();
        assert_eq!(
            (terms.is_accepted, acceptance.by.as_str(), acceptance.at),
            (true, "alice", house.clock.now())
        );
        catalog.unapprove(&update(3), &GroupId::ALL_COMPUTERS).unwrap();
        approve(catalog, 3, Action::Install).unwrap();
        let told = catalog.export_decisions(0, u64::MAX).unwrap().unwrap();
        assert_eq!(told.accepted_eulas, [FIRST, SECOND], "replicas are told");
    };
    check(&catalog);
    drop(catalog);
    let catalog = house.open();
    check(&catalog);
    drop(catalog);
    rebuild_index(&house.config()).unwrap();
    check(&house.open());
}

#[test]
fn several_updates_are_held_up_by_one_and_named() {
    let house = House::new();
    let catalog = office(&house);
    let group = GroupId::ALL_COMPUTERS;
    let verdict = Verdict::Approve { group, action: Action::Install, deadline: None };
    let some = [update(6), update(1), update(3)];
    let would = catalog.would_decide(&some, &verdict).unwrap();
    assert!(matches!(
        would.as_slice(),
        [Ok(true), Err(CatalogError::TermsNotAccepted(_)), Err(CatalogError::TermsNotAccepted(_))]
    ));
    assert!(catalog.decide(&some, &verdict, "admin").is_err());
    assert!(catalog.update(&update(6), None).unwrap().unwrap().row.approvals.is_empty());
    catalog.accept_terms(&some, "admin").unwrap();
    assert_eq!(catalog.decide(&some, &verdict, "admin").unwrap(), [true; 3]);
}

#[test]
fn a_replica_takes_what_was_accepted_from_upstream() {
    let (house, below) = (House::new(), House::new());
    let (office_of, catalog) = (office(&house), ());
    let () = catalog;
    office_of.accept_terms(&[update(1)], "alice").unwrap();
    let set = office_of.export_decisions(0, u64::MAX).unwrap().unwrap();
    drop(office(&below));
    let config = Config { replica_of: Some("http://office".to_owned()), ..below.config() };
    let replica = Catalog::open(config, below.clock.clone()).unwrap();
    assert!(matches!(replica.accept_terms(&[update(3)], "bob"), Err(CatalogError::Replica { .. })));
    replica.replace_decisions(set, Vec::new()).unwrap();
    let terms = replica.terms_of(&update(2)).unwrap().remove(0);
    assert!(terms.is_accepted && terms.acceptance.is_none());
    assert!(!replica.terms_of(&update(3)).unwrap()[0].is_accepted);
    drop(replica);
    // on its own again it asks for nothing that was accepted upstream
    let own = below.open();
    approve(&own, 2, Action::Install).unwrap();
    assert!(refused(&approve(&own, 3, Action::Install)));
}

#[test]
fn an_approval_of_an_earlier_version_counts_for_its_terms() {
    let house = House::new();
    let catalog = office(&house);
    let template =
        catalog.approve(&update(6), &GroupId::ALL_COMPUTERS, Action::Install, None, "old").unwrap();
    let approvals = vec![SharedApproval {
        update: update(3),
        group: GroupId::ALL_COMPUTERS,
        approval: tailwater_domain::Approval {
            id: tailwater_domain::ApprovalId(Uuid::from_u128(9)),
            ..template
        },
    }];
    // as a store of before is: approved, and nothing of what was accepted
    let set = DecisionSet { complete: false, groups: catalog.groups(), approvals, ..DecisionSet::default() };
    catalog.replace_decisions(set, Vec::new()).unwrap();
    let office = catalog.create_group("Office", None).unwrap();
    catalog.approve(&update(3), &office.id, Action::Install, None, "admin").unwrap();
    assert!(catalog.terms_of(&update(3)).unwrap()[0].is_accepted);
    assert_eq!(catalog.export_decisions(0, u64::MAX).unwrap().unwrap().accepted_eulas, [SECOND]);
}
