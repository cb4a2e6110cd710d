//! Every shape in which names and what they stand for can part company.

use uuid::Uuid;

use super::*;

fn id(number: u128) -> UpdateId {
    UpdateId(Uuid::from_u128(number))
}

fn category(number: u128, kind: CategoryKind, titles: &[&str], parents: &[u128]) -> Category {
    let parents = parents.iter().map(|&parent| id(parent)).collect();
    Category { id: id(number), kind, titles: titles.iter().map(|&title| title.to_owned()).collect(), parents }
}

use CategoryKind::{Classification, Company, Product, ProductFamily};

fn world() -> Vec<Category> {
    vec![
        category(1, Company, &["Microsoft"], &[]),
        category(2, ProductFamily, &["Windows"], &[1]),
        category(3, Product, &["Windows 11", "Fenster 11"], &[2]),
        category(4, Product, &["Windows 10"], &[2]),
        category(5, Product, &["Office"], &[1]),
        category(8, Classification, &["Security Updates", "Sicherheitsupdates"], &[]),
        category(9, Classification, &["Drivers"], &[]),
    ]
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn ids(numbers: &[u128]) -> Vec<UpdateId> {
    numbers.iter().map(|&n| id(n)).collect()
}

fn choose(
    world: &[Category],
    products: &[&str],
    classes: &[&str],
    kept: &mut Remembered,
) -> (Choice, Selection) {
    let mut choice = Choice::of(world, &names(products), &names(classes), kept);
    let selection = choice.selection(world, Vec::new());
    (choice, selection)
}

fn renamed(mut world: Vec<Category>, number: u128, title: &str) -> Vec<Category> {
    for category in world.iter_mut().filter(|category| category.id == id(number)) {
        category.titles = vec![title.to_owned()];
    }
    world
}

#[test]
fn names_guids_and_families_select_products() {
    type Row = (&'static [&'static str], &'static [&'static str], &'static [u128], &'static [u128]);
    let table: [Row; 9] = [
        (&[], &[], &[], &[]),
        (&["windows 11"], &["Drivers"], &[3], &[9]),
        (&["  WINDOWS\u{a0}  11 "], &["\tdrivers"], &[3], &[9]),
        (&["Ｗindows 11"], &["SICHERHEITSUPDATES"], &[3], &[8]),
        (&["Fenster 11", "Windows 11"], &["Drivers", "drivers "], &[3], &[9]),
        (&["00000000-0000-0000-0000-000000000004"], &[], &[4], &[8, 9]),
        (&["{00000000-0000-0000-0000-000000000004}"], &["00000000-0000-0000-0000-000000000009"], &[4], &[9]),
        (&["Windows"], &["drivers"], &[2, 3, 4], &[9]),
        (&[], &["Security Updates"], &[3, 4, 5], &[8]),
    ];
    for (products, classes, wanted_products, wanted_classes) in table {
        let (choice, selection) = choose(&world(), products, classes, &mut Remembered::default());
        assert_eq!(selection.products, ids(wanted_products), "{products:?}");
        assert_eq!(selection.classifications, ids(wanted_classes), "{classes:?}");
        assert!(!selection.nothing && choice.warnings().is_empty(), "{products:?}: {:?}", choice.warnings());
    }
}

/// What happens to the upstream's categories, one world after another, and what `Windows 11` selects in each.
type Shape = (&'static str, Vec<(Vec<Category>, &'static [u128], usize, usize)>);

#[test]
fn what_a_name_stood_for_stays_chosen() {
    let without = |number| -> Vec<Category> { world().into_iter().filter(|c| c.id != id(number)).collect() };
    let with = |mut world: Vec<Category>, number, title: &str| {
        world.push(category(number, Product, &[title], &[2]));
        world
    };
    let once = renamed(world(), 3, "Windows 11 Client");
    let twice = renamed(world(), 3, "Windows 11, all editions");
    let gone = without(3);
    // worlds, what is selected, how many warnings, how many notes
    let shapes: Vec<Shape> = vec![
        ("renamed", vec![(world(), &[3], 0, 0), (once.clone(), &[3], 0, 1), (once.clone(), &[3], 0, 1)]),
        (
            "renamed twice",
            vec![(world(), &[3], 0, 0), (once.clone(), &[3], 0, 1), (twice.clone(), &[3], 0, 1)],
        ),
        ("renamed and back", vec![(world(), &[3], 0, 0), (once.clone(), &[3], 0, 1), (world(), &[3], 0, 0)]),
        ("renamed before it was known", vec![(once.clone(), &[], 2, 0)]),
        ("removed", vec![(world(), &[3], 0, 0), (gone.clone(), &[], 2, 0)]),
        (
            "removed and back under another name",
            vec![(world(), &[3], 0, 0), (gone.clone(), &[], 2, 0), (once.clone(), &[3], 0, 1)],
        ),
        ("two of one name", vec![(with(world(), 30, "WINDOWS 11"), &[3, 30], 0, 0)]),
        (
            "two of one name, one renamed",
            vec![
                (with(world(), 30, "Windows 11"), &[3, 30], 0, 0),
                (with(once.clone(), 30, "Windows 11"), &[3, 30], 0, 1),
            ],
        ),
        (
            "renamed, and another takes the name",
            vec![(world(), &[3], 0, 0), (with(once.clone(), 30, "Windows 11"), &[3, 30], 0, 1)],
        ),
        ("a name that appears later", vec![(gone.clone(), &[], 2, 0), (world(), &[3], 0, 0)]),
    ];
    for (shape, steps) in shapes {
        let mut kept = Remembered::default();
        for (step, (world, selected, warnings, notes)) in steps.into_iter().enumerate() {
            let (choice, selection) = choose(&world, &["Windows 11"], &["Security Updates"], &mut kept);
            let what = format!("{shape}, step {step}: {choice:?}");
            assert_eq!(selection.products, ids(selected), "{what}");
            assert_eq!(selection.nothing, selected.is_empty(), "{what}");
            assert_eq!((choice.warnings().len(), choice.notes().len()), (warnings, notes), "{what}");
            // written down and read again
            let bytes = serde_json::to_vec(&kept).unwrap();
            kept = serde_json::from_slice(&bytes).unwrap();
        }
    }
}

#[test]
fn classifications_stay_chosen_as_products_do() {
    let mut kept = Remembered::default();
    let select = |world: &[Category], kept: &mut Remembered| {
        choose(world, &["Office"], &["security updates"], kept).1.classifications
    };
    assert_eq!(select(&world(), &mut kept), ids(&[8]));
    assert_eq!(select(&renamed(world(), 8, "Patches"), &mut kept), ids(&[8]));
    // a name is remembered for its own list only
    assert!(choose(&world(), &["Security Updates"], &[], &mut kept).1.nothing);
}

#[test]
fn a_name_that_stands_for_nothing_stops_nothing_else_and_widens_nothing() {
    let mut kept = Remembered::default();
    let (choice, selection) = choose(&world(), &["Windws 11", "Solaris", "Office"], &["Security"], &mut kept);
    assert!(selection.nothing, "no classification stands for anything");
    assert!(choice.names.iter().all(|name| name.ids.is_empty() || name.name == "Office"));
    assert_eq!(choice.names[0].near[0], "Windows 11");
    assert_eq!(choice.names[1].near, Vec::<String>::new());
    assert_eq!(choice.names[3].near, ["Security Updates"]);
    let said = choice.warnings().join("\n");
    for part in [
        "\"Windws 11\" of upstream.products",
        "did you mean Windows 11",
        "\"Solaris\"",
        "nothing is selected",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (choice, selection) = choose(&world(), &["Windws 11", "Office"], &[], &mut kept);
    assert_eq!((selection.products, selection.nothing), (ids(&[5]), false));
    assert_eq!(choice.warnings().len(), 1);
    // what is no longer configured is forgotten, and means what it means when it comes back
    choose(&world(), &["Windows 11"], &[], &mut kept);
    choose(&world(), &["Office"], &[], &mut kept);
    let (_, selection) = choose(&renamed(world(), 3, "Other"), &["Windows 11"], &[], &mut kept);
    assert!(selection.nothing);
}

/// Updates of Windows 11 are security updates; definitions belong to Defender.
type Row = (&'static [&'static str], &'static [&'static str], &'static [&'static str], usize);

#[test]
fn whatever_selects_nothing_is_said() {
    let mut world = world();
    world.push(category(6, Product, &["Microsoft Defender Antivirus"], &[1]));
    world.push(category(10, Classification, &["Definition Updates"], &[]));
    let updates = [(ids(&[3, 8]), 5_usize), (ids(&[6, 10]), 7)];
    let count = |choice: &mut Choice| {
        choice.count(&world, |products, classes| {
            let belongs = |named: &[UpdateId], to: &BTreeSet<UpdateId>| {
                to.is_empty() || named.iter().any(|id| to.contains(id))
            };
            updates
                .iter()
                .filter(|(named, _)| belongs(named, products) && belongs(named, classes))
                .map(|(_, n)| n)
                .sum()
        });
    };
    // products, classifications, names that are warned of, empty pairs
    let table: [Row; 6] = [
        (&["Windows 11"], &["Security Updates", "Definition Updates"], &["Definition Updates"], 1),
        (
            &["Windows 11", "Microsoft Defender Antivirus"],
            &["Security Updates", "Definition Updates"],
            &[],
            2,
        ),
        (&["Windows 10"], &["Definition Updates"], &["Windows 10", "Definition Updates"], 1),
        (&["Windows"], &["Security Updates"], &[], 0),
        (&["Office"], &[], &["Office"], 0),
        (&[], &["Drivers", "Definition Updates"], &["Drivers"], 0),
    ];
    for (products, classes, warned, pairs) in table {
        let (mut choice, _) = choose(&world, products, classes, &mut Remembered::default());
        count(&mut choice);
        let said = choice.warnings();
        assert_eq!(said.len(), warned.len(), "{products:?} {classes:?}: {said:?}");
        for (name, said) in warned.iter().zip(&said) {
            assert!(said.contains(&format!("{name:?}")) && said.contains("selects no update"), "{said}");
        }
        assert_eq!(
            (choice.empty_pairs_total, choice.empty_pairs.len()),
            (pairs, pairs),
            "{products:?} {classes:?}"
        );
        assert_eq!(choice.notes().len(), usize::from(pairs > 0));
    }
}
