//! What texts select, held against a small catalog as real ones are.

use std::collections::BTreeSet;

use crate::Catalog;
use crate::query::rows::{UpdateQuery, UpdateState};
use crate::tests::{House, facts, fill, hidden, needs, update};
use tailwater_domain::{CategoryKind, Facts, Title, UpdateType};

fn titled(mut facts: Facts, title: &str) -> Facts {
    title.clone_into(&mut facts.titles[0].text);
    facts
}

fn category(number: u32, kind: CategoryKind, title: &str, above: &[&[u32]]) -> Facts {
    let mut category = needs(titled(facts(number, 1, UpdateType::Category), title), above);
    category.category = Some(kind);
    category.kb_articles.clear();
    category
}

/// Categories 1 to 7, updates from 11 on.
fn office() -> (House, Catalog) {
    let house = House::new();
    let catalog = house.open();
    let mut all = vec![
        category(1, CategoryKind::Company, "Microsoft", &[]),
        category(2, CategoryKind::ProductFamily, "Windows", &[&[1]]),
        category(3, CategoryKind::Product, "Windows 11", &[&[2]]),
        category(4, CategoryKind::Product, "Windows 10", &[&[2]]),
        category(5, CategoryKind::Product, "Windows 10, version 1903 and later", &[&[2]]),
        category(6, CategoryKind::Classification, "Security Updates", &[]),
        category(7, CategoryKind::Classification, "Upgrades", &[]),
    ];
    let titles = [
        (11, "2026-11 Cumulative Update for Windows 11, version 24H2 (KB5031356)", 3),
        (12, "2026-11 Cumulative Update for Windows 10 Version 22H2 (KB5031357)", 5),
        (13, "2026-10 Cumulative Update for Windows 10 Version 1607 (KB5031011)", 4),
        (14, "Malicious Software Removal Tool x64 - v5.130 (KB890830)", 3),
        (15, "Sample Devices - Net - 11.0.0.1", 4),
        (16, "Windows 11", 3),
    ];
    for (number, title, product) in titles {
        let class = if number == 16 { 7 } else { 6 };
        let mut update =
            titled(needs(facts(number, 200, UpdateType::Software), &[&[product], &[class]]), title);
        let kb = title.rsplit_once("KB").map(|(_, rest)| rest.trim_end_matches(')').to_owned());
        update.kb_articles = kb.into_iter().collect();
        all.push(update);
    }
    all[7]
        .titles
        .push(Title { language: "de".to_owned(), text: "Kumulatives Update für Windows 11".to_owned() });
    // only in the title, and only inside a bundle
    let mut quiet = titled(facts(17, 200, UpdateType::Software), "Hotfix (KB777)");
    quiet.kb_articles.clear();
    all.push(quiet);
    let mut bundle = super::super::tests::bundles(facts(18, 200, UpdateType::Software), &[(19, 200)]);
    bundle.kb_articles = vec!["5040000".to_owned()];
    all.push(titled(bundle, "Bundle of one"));
    let mut part = titled(hidden(facts(19, 200, UpdateType::Software)), "Part of a bundle");
    part.kb_articles = vec!["5040000".to_owned()];
    all.push(part);
    fill(&catalog, all);
    (house, catalog)
}

#[test]
fn a_text_selects_what_it_means_and_nothing_else() {
    let (_house, catalog) = office();
    let id = update(12);
    let table: Vec<(String, &[u32])> = vec![
        // a phrase of the title, and the name of a product
        ("Windows 11".to_owned(), &[11, 14, 16]),
        ("windows\u{a0} 11".to_owned(), &[11, 14, 16]),
        ("for Windows 11".to_owned(), &[11]),
        ("Windows 10".to_owned(), &[12, 13, 15]),
        ("Windows 10, version 1903 and later".to_owned(), &[12]),
        ("11 Windows".to_owned(), &[]),
        ("Windows Cumulative".to_owned(), &[]),
        ("Windows 1".to_owned(), &[]),
        ("2026-11 cumulative update".to_owned(), &[11, 12]),
        ("2026-1".to_owned(), &[]),
        ("FU\u{308}R WINDOWS".to_owned(), &[11]),
        ("1903".to_owned(), &[]),
        ("v5.13".to_owned(), &[]),
        // the name of a classification, but neither a part of it nor of a family's
        ("security updates".to_owned(), &[11, 12, 13, 14, 15]),
        ("Upgrades".to_owned(), &[16]),
        ("Security".to_owned(), &[]),
        ("Microsoft".to_owned(), &[]),
        // KB numbers, whole
        ("KB5031356".to_owned(), &[11]),
        ("kb 5031356".to_owned(), &[11]),
        ("5031356".to_owned(), &[11]),
        ("KB503135".to_owned(), &[]),
        ("503135".to_owned(), &[]),
        ("kb 11".to_owned(), &[]),
        ("KB777".to_owned(), &[17]),
        ("kb 777".to_owned(), &[17]),
        ("777".to_owned(), &[17]),
        ("KB77".to_owned(), &[]),
        ("KB5040000".to_owned(), &[18]),
        // a number that no update has is a phrase
        ("11".to_owned(), &[11, 12, 16]),
        // identities, whole
        (id.to_string(), &[12]),
        (format!("{{{}}}", id.to_string().to_uppercase()), &[12]),
        (format!("{id}.200"), &[12]),
        (format!("{id}/200"), &[12]),
        (format!("{id} revision 200"), &[12]),
        (format!("{id}.201"), &[]),
        (id.to_string()[..8].to_owned(), &[]),
        (id.to_string()[..35].to_owned(), &[]),
        // named by itself, what lists leave out is there
        (update(19).to_string(), &[19]),
        (update(3).to_string(), &[3]),
        (update(99).to_string(), &[]),
        // nothing
        (String::new(), &[]),
        (" \t".to_owned(), &[]),
        ("\u{200b}".to_owned(), &[]),
    ];
    for (text, meant) in table {
        let expected: BTreeSet<_> = meant.iter().map(|number| update(*number)).collect();
        let selected = catalog.select(&text).unwrap();
        assert_eq!(selected.updates.iter().copied().collect::<BTreeSet<_>>(), expected, "{text:?}");
        assert_eq!(selected.updates.len(), expected.len(), "{text:?} selects each once");
        if !text.trim_matches([' ', '\t', '\u{200b}']).is_empty() {
            let listed = UpdateQuery { text: Some(text.clone()), ..UpdateQuery::default() };
            let page = catalog.updates(&listed).unwrap();
            let listed: BTreeSet<_> = page.rows.iter().map(|row| row.identity.update).collect();
            assert_eq!((listed, page.total), (expected, meant.len()), "lists and decisions: {text:?}");
        }
    }
}

#[test]
fn the_whole_title_of_one_update_is_told_apart() {
    let (_house, catalog) = office();
    assert_eq!(catalog.select("WINDOWS 11").unwrap().titled, [update(16)]);
    assert!(catalog.select("Windows 10").unwrap().titled.is_empty());
}

#[test]
fn a_text_and_other_filters_restrict_each_other() {
    let (_house, catalog) = office();
    catalog.decline(&update(12), "test").unwrap();
    let of = |text: &str, query: UpdateQuery| {
        let query = UpdateQuery { text: Some(text.to_owned()), ..query };
        let rows = catalog.updates(&query).unwrap().rows;
        rows.iter().map(|row| row.identity.update).collect::<Vec<_>>()
    };
    let declined = UpdateQuery { state: Some(UpdateState::Declined), ..UpdateQuery::default() };
    assert_eq!(of("2026-11 cumulative", declined.clone()), [update(12)]);
    assert!(of("KB5031356", declined).is_empty());
    let upgrades = UpdateQuery { classification: Some(update(7)), ..UpdateQuery::default() };
    assert_eq!(of("Windows 11", upgrades), [update(16)]);
}
