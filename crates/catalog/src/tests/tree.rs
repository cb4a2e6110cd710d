//! Promises about the tree of groups: what goes with one, where one can be moved, and who hears of it.

use crate::tests::names::*;
use crate::tests::{House, ask, facts, fill, update};
use crate::*;
use tailwater_domain::{Action, UpdateType};

const ALL: GroupId = GroupId::ALL_COMPUTERS;

/// Office > (Desk > Corner, Lab), Shop; a computer in Corner, one in Corner and Shop, one nowhere.
fn house_with_groups(house: &House) -> (Catalog, [Group; 5]) {
    let catalog = house.open();
    fill(&catalog, (1..=3).map(|number| facts(number, 1, UpdateType::Software)).collect());
    let make = |name: &str, parent: Option<&Group>| {
        catalog.create_group(name, parent.map(|parent| &parent.id)).unwrap()
    };
    let office = make("Office", None);
    let desk = make("Desk", Some(&office));
    let corner = make("Corner", Some(&desk));
    let lab = make("Lab", Some(&office));
    let shop = make("Shop", None);
    for (name, groups) in [("pc-1", vec![corner.id]), ("pc-2", vec![corner.id, shop.id]), ("pc-3", vec![])] {
        let id = ComputerId(name.to_owned());
        catalog.enrol(&id, name, None).unwrap();
        catalog.assign(&id, &groups).unwrap();
    }
    (catalog, [office, desk, corner, lab, shop])
}

fn names(groups: &[Group]) -> Vec<(&str, u32)> {
    groups.iter().map(|group| (group.name.as_str(), group.depth)).collect()
}

#[test]
fn groups_come_as_the_tree_that_they_are() {
    let house = House::new();
    let (catalog, _) = house_with_groups(&house);
    let tree = [
        ("All Computers", 0),
        ("Office", 1),
        ("Desk", 2),
        ("Corner", 3),
        ("Lab", 2),
        ("Shop", 1),
        ("Unassigned Computers", 1),
    ];
    assert_eq!(names(&catalog.groups()), tree);
}

#[test]
fn whatever_goes_with_a_group_is_named_and_goes() {
    let house = House::new();
    let (catalog, [office, desk, _, _, shop]) = house_with_groups(&house);
    for (number, group) in [(1, &office), (1, &desk), (2, &desk), (3, &shop)] {
        catalog.approve(&update(number), &group.id, Action::Install, None, "admin").unwrap();
    }
    let removal = catalog.removal(&office.id).unwrap();
    assert_eq!(names(&removal.groups), [("Office", 1), ("Desk", 2), ("Corner", 3), ("Lab", 2)]);
    let id = |name: &str| ComputerId(name.to_owned());
    assert_eq!((removal.computers, removal.unassigned), (vec![id("pc-1"), id("pc-2")], vec![id("pc-1")]));
    assert_eq!(removal.approvals, 3);
    catalog.remove_group(&office.id).unwrap();
    assert_eq!(names(&catalog.groups()), [("All Computers", 0), ("Shop", 1), ("Unassigned Computers", 1)]);
    assert!(catalog.computer(&id("pc-1")).unwrap().groups.is_empty());
    assert_eq!(catalog.computer(&id("pc-2")).unwrap().groups, [shop.id]);
    let lab = catalog.create_group("Lab", None).unwrap();
    assert!(!catalog.removal(&lab.id).unwrap().takes_more());
    assert!(matches!(catalog.removal(&ALL), Err(CatalogError::FixedGroup(_))));
    assert!(matches!(catalog.removal(&office.id), Err(CatalogError::UnknownGroup(_))));
}

#[test]
fn a_group_moves_with_all_below_it_and_never_into_itself() {
    let house = House::new();
    let (catalog, [office, desk, corner, lab, shop]) = house_with_groups(&house);
    let moved = |group: &Group, parent: &GroupId| catalog.change_group(&group.id, None, Some(parent));
    for parent in [&office, &desk, &corner, &lab] {
        assert!(
            matches!(moved(&office, &parent.id), Err(CatalogError::GroupCycle { .. })),
            "{}",
            parent.name
        );
    }
    let unassigned = GroupId::UNASSIGNED_COMPUTERS;
    assert!(matches!(moved(&desk, &unassigned), Err(CatalogError::FixedGroup(_))));
    assert!(matches!(
        catalog.change_group(&unassigned, None, Some(&shop.id)),
        Err(CatalogError::FixedGroup(_))
    ));
    assert!(matches!(catalog.change_group(&ALL, None, Some(&shop.id)), Err(CatalogError::FixedGroup(_))));
    assert!(matches!(moved(&desk, &GroupId(uuid::Uuid::nil())), Err(CatalogError::UnknownGroup(_))));
    let before = catalog.snapshot().change_number();
    assert_eq!(moved(&desk, &office.id).unwrap(), desk, "where it lies already");
    assert_eq!(catalog.snapshot().change_number(), before);
    let desk = moved(&desk, &shop.id).unwrap();
    assert_eq!((desk.parent, desk.depth), (Some(shop.id), 2));
    let tree = |catalog: &Catalog| {
        let groups = catalog.groups();
        names(&groups[1..]).into_iter().map(|(name, depth)| (name.to_owned(), depth)).collect::<Vec<_>>()
    };
    let expected =
        [("Office", 1), ("Lab", 2), ("Shop", 1), ("Desk", 2), ("Corner", 3), ("Unassigned Computers", 1)]
            .map(|(name, depth)| (name.to_owned(), depth));
    assert_eq!(tree(&catalog), expected);
    assert_eq!(catalog.snapshot().change_number(), before + 1, "one change for all of it");
    drop(catalog);
    assert_eq!(tree(&house.open()), expected);
    rebuild_index(&house.config()).unwrap();
    assert_eq!(tree(&house.open()), expected);
}

#[test]
fn names_and_places_change_together_or_not_at_all() {
    let house = House::new();
    let (catalog, [office, desk, .., shop]) = house_with_groups(&house);
    let taken = catalog.change_group(&desk.id, Some("SHOP"), Some(&shop.id));
    assert!(matches!(taken, Err(CatalogError::GroupName(_))));
    assert_eq!(catalog.find_group("Desk").unwrap().parent, Some(office.id), "nothing of it was done");
    let cycle = catalog.change_group(&office.id, Some("Bureau"), Some(&desk.id));
    assert!(matches!(cycle, Err(CatalogError::GroupCycle { .. })));
    assert!(catalog.find_group("Bureau").is_none());
    let both = catalog.change_group(&desk.id, Some(" Counter "), Some(&shop.id)).unwrap();
    assert_eq!((both.name.as_str(), both.parent), ("Counter", Some(shop.id)));
    assert_eq!(catalog.change_group(&desk.id, Some("COUNTER"), None).unwrap().name, "COUNTER");
}

#[test]
fn depth_is_bounded_where_a_tree_is_hung_up() {
    let house = House::new();
    let catalog = house.open();
    let mut deepest = None;
    for depth in 1..=31_u32 {
        let parent = deepest.as_ref().map(|group: &Group| group.id);
        deepest = Some(catalog.create_group(&format!("Level {depth}"), parent.as_ref()).unwrap());
    }
    let deepest = deepest.unwrap();
    let top = catalog.create_group("Top", None).unwrap();
    let below = catalog.create_group("Below", Some(&top.id)).unwrap();
    let refused = catalog.change_group(&top.id, None, Some(&deepest.id));
    assert!(matches!(refused, Err(CatalogError::TooManyGroups { .. })), "{refused:?}");
    assert_eq!(catalog.change_group(&below.id, None, Some(&deepest.id)).unwrap().depth, 32);
}

#[test]
fn agents_get_what_is_approved_where_their_group_lies_now() {
    let house = House::new();
    let (catalog, [office, desk, corner, _, shop]) = house_with_groups(&house);
    catalog.approve(&update(1), &office.id, Action::Install, None, "admin").unwrap();
    catalog.approve(&update(2), &shop.id, Action::Install, None, "admin").unwrap();
    let installs = |groups: &[GroupId]| {
        let answer = ask(&catalog, groups, &[], &[]);
        let installs = answer.new.iter().filter(|it| it.deployment.action == DeploymentAction::Install);
        installs.map(|it| it.id.0).collect::<Vec<_>>()
    };
    assert_eq!(installs(&[corner.id]), [1]);
    let before = catalog.snapshot();
    catalog.change_group(&desk.id, None, Some(&shop.id)).unwrap();
    assert_eq!(installs(&[corner.id]), [2]);
    let after = catalog.snapshot();
    let told_again = |group: &Group| before.reach_of(&[group.id]) != after.reach_of(&[group.id]);
    assert!(told_again(&desk) && told_again(&corner) && !told_again(&office) && !told_again(&shop));
}

#[test]
fn not_approved_for_a_group_below_is_a_decision_of_its_own() {
    let house = House::new();
    let (catalog, [office, desk, corner, lab, _]) = house_with_groups(&house);
    let installs = |catalog: &Catalog, group: &Group| {
        let answer = ask(catalog, &[group.id], &[], &[]);
        answer.new.iter().any(|it| it.id.0 == 1 && it.deployment.action == DeploymentAction::Install)
    };
    let decide =
        |group: &Group, action| catalog.approve(&update(1), &group.id, action, None, "admin").unwrap();
    decide(&office, Action::Install);
    let block = decide(&desk, Action::Block);
    let seen = |catalog: &Catalog| [&office, &desk, &corner, &lab].map(|group| installs(catalog, group));
    assert_eq!(seen(&catalog), [true, false, false, true]);
    decide(&corner, Action::Install);
    assert_eq!(seen(&catalog), [true, false, true, true], "the deepest group decides");
    // a replica takes it over under its own name
    let told = catalog.export_decisions(0, u64::MAX).unwrap().unwrap();
    let sent = told.approvals.iter().find(|one| one.group == desk.id).unwrap();
    assert_eq!((sent.approval.id, sent.approval.action), (block.id, Action::Block));
    drop(catalog);
    let catalog = house.open();
    assert_eq!(seen(&catalog), [true, false, true, true]);
    // it takes no decline back, and goes like an approval
    catalog.unapprove(&update(1), &desk.id).unwrap();
    assert_eq!(seen(&catalog), [true, true, true, true]);
    catalog.decline(&update(2), "admin").unwrap();
    catalog.approve(&update(2), &desk.id, Action::Block, None, "admin").unwrap();
    assert!(catalog.update(&update(2), None).unwrap().unwrap().row.declined.is_some());
}
