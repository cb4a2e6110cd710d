//! From what an administrator wrote to what the upstream is asked: names or GUIDs of products and
//! classifications, and languages. Pure.
//!
//! Invariant: a name that fits nothing is an error that says what is near; nothing is ever left out
//! silently. It never asks anybody.

use std::collections::{BTreeMap, BTreeSet};

use super::state::Selection;
use super::{SyncError, UnknownCategory};
use crate::domain::{CategoryKind, UpdateId};
use crate::wire::server_sync::{Filter, IdAndDelta, Language, LanguageAndDelta};

/// How many near names an error offers.
const NEAR: usize = 3;
/// How alike two names must be to be called near, from 0 to 1.
const ALIKE: f64 = 0.75;

/// A category as far as selecting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Category {
    pub(super) id: UpdateId,
    pub(super) kind: CategoryKind,
    /// In any language that is kept.
    pub(super) titles: Vec<String>,
    /// The categories it lies in.
    pub(super) parents: Vec<UpdateId>,
}

/// What to select. A company or product family stands for all products in it. One empty list means all
/// known ones, because a real server selects nothing when only one list is given; two mean no filter.
pub(super) fn resolve(
    categories: &[Category],
    products: &[String],
    classifications: &[String],
) -> Result<(Vec<UpdateId>, Vec<UpdateId>), SyncError> {
    if products.is_empty() && classifications.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut unknown = Vec::new();
    let is_product = |kind| !matches!(kind, CategoryKind::Classification);
    let is_classification = |kind| matches!(kind, CategoryKind::Classification);
    let picked_products = pick(categories, "products", products, is_product, &mut unknown);
    let picked_classifications =
        pick(categories, "classifications", classifications, is_classification, &mut unknown);
    if !unknown.is_empty() {
        return Err(SyncError::UnknownCategories { names: unknown });
    }
    let all = |kind: CategoryKind| categories.iter().filter(move |c| c.kind == kind).map(|c| c.id);
    let products = match picked_products {
        Some(picked) => with_members(categories, picked),
        None => all(CategoryKind::Product).collect(),
    };
    let classifications =
        picked_classifications.unwrap_or_else(|| all(CategoryKind::Classification).collect());
    Ok((products.into_iter().collect(), classifications.into_iter().collect()))
}

/// The categories named by `wanted`; `None` when it names none.
fn pick(
    categories: &[Category],
    key: &'static str,
    wanted: &[String],
    fits: impl Fn(CategoryKind) -> bool,
    unknown: &mut Vec<UnknownCategory>,
) -> Option<BTreeSet<UpdateId>> {
    if wanted.is_empty() {
        return None;
    }
    let candidates: Vec<&Category> = categories.iter().filter(|category| fits(category.kind)).collect();
    let mut picked = BTreeSet::new();
    for name in wanted {
        let name = name.trim();
        let id: Option<UpdateId> = name.parse().ok();
        let mut found = false;
        for category in &candidates {
            let named =
                category.titles.iter().any(|title| title.trim().to_lowercase() == name.to_lowercase());
            if id == Some(category.id) || named {
                picked.insert(category.id);
                found = true;
            }
        }
        if !found {
            unknown.push(UnknownCategory { key, name: name.to_owned(), near: near(&candidates, name) });
        }
    }
    Some(picked)
}

fn near(candidates: &[&Category], name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let mut scored = BTreeMap::new();
    for title in candidates.iter().flat_map(|category| &category.titles) {
        let lower = title.to_lowercase();
        let contains = name.len() > 2 && (lower.contains(&name) || name.contains(&lower));
        let alike = strsim::jaro_winkler(&lower, &name);
        if contains || alike >= ALIKE {
            scored.insert(title, alike);
        }
    }
    let mut scored: Vec<(&String, f64)> = scored.into_iter().collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    scored.into_iter().take(NEAR).map(|(title, _)| title.clone()).collect()
}

/// Adds the products that lie in what was picked.
fn with_members(categories: &[Category], mut picked: BTreeSet<UpdateId>) -> BTreeSet<UpdateId> {
    loop {
        let before = picked.len();
        for category in categories {
            if category.parents.iter().any(|parent| picked.contains(parent)) {
                picked.insert(category.id);
            }
        }
        if picked.len() == before {
            return picked;
        }
    }
}

/// The locale numbers of the wanted languages; empty, which is all, when the upstream does not list its
/// languages or lacks one of the wanted.
pub(super) fn languages(wanted: &[String], known: &[Language]) -> Vec<i32> {
    let mut ids = BTreeSet::new();
    for tag in wanted {
        let mut found = known.iter().filter(|language| {
            let name = &language.short_name;
            let regional = name.len() > tag.len()
                && name.is_char_boundary(tag.len())
                && name[..tag.len()].eq_ignore_ascii_case(tag)
                && name.as_bytes().get(tag.len()) == Some(&b'-');
            name.eq_ignore_ascii_case(tag) || regional
        });
        match found.next() {
            Some(first) => ids.extend(std::iter::once(first).chain(found).map(|language| language.id)),
            None => return Vec::new(),
        }
    }
    ids.into_iter().collect()
}

/// The filter for the list of updates. `Delta` is true exactly for what the anchor was got with.
pub(super) fn filter(selection: &Selection, last: &Selection, anchor: Option<&str>) -> Filter {
    let unfiltered = |selection: &Selection| selection.products.is_empty();
    // without a filter there is no way to ask for the older updates of what was not selected before
    let languages_grew = !last.languages.is_empty() && selection.languages.is_empty();
    let widened = (unfiltered(selection) && !unfiltered(last)) || languages_grew;
    let anchor = anchor.filter(|_| !widened);
    let delta = |known: bool| anchor.is_some() && known;
    let entries = |ids: &[UpdateId], before: &[UpdateId]| {
        let known = |id| unfiltered(last) || before.contains(id);
        ids.iter().map(|id| IdAndDelta { id: *id, delta: delta(known(id)) }).collect()
    };
    Filter {
        anchor: anchor.map(str::to_owned),
        get_config: false,
        products: entries(&selection.products, &last.products),
        classifications: entries(&selection.classifications, &last.classifications),
        languages: selection
            .languages
            .iter()
            .map(|id| LanguageAndDelta {
                id: *id,
                delta: delta(last.languages.is_empty() || last.languages.contains(id)),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> UpdateId {
        UpdateId(Uuid::from_u128(number))
    }

    fn category(number: u128, kind: CategoryKind, title: &str, parents: &[u128]) -> Category {
        let parents = parents.iter().map(|&parent| id(parent)).collect();
        Category { id: id(number), kind, titles: vec![title.to_owned()], parents }
    }

    fn world() -> Vec<Category> {
        use CategoryKind::{Classification, Company, Product, ProductFamily};
        vec![
            category(1, Company, "Microsoft", &[]),
            category(2, ProductFamily, "Windows", &[1]),
            category(3, Product, "Windows 11", &[2]),
            category(4, Product, "Windows 10", &[2]),
            category(5, Product, "Office", &[1]),
            category(8, Classification, "Security Updates", &[]),
            category(9, Classification, "Drivers", &[]),
        ]
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_guids_and_families_select_products() {
        type Row = (&'static [&'static str], &'static [&'static str], &'static [u128], &'static [u128]);
        let table: [Row; 5] = [
            (&[], &[], &[], &[]),
            (&["windows 11"], &["Drivers"], &[3], &[9]),
            (&["00000000-0000-0000-0000-000000000004"], &[], &[4], &[8, 9]),
            (&["Windows"], &["drivers"], &[2, 3, 4], &[9]),
            (&[], &["Security Updates"], &[3, 4, 5], &[8]),
        ];
        for (products, classifications, wanted_products, wanted_classifications) in table {
            let (products, classifications) =
                resolve(&world(), &names(products), &names(classifications)).unwrap();
            assert_eq!(products, wanted_products.iter().map(|&n| id(n)).collect::<Vec<_>>());
            assert_eq!(classifications, wanted_classifications.iter().map(|&n| id(n)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn unknown_names_come_with_near_ones() {
        let error = resolve(&world(), &names(&["Windws 11", "Solaris"]), &names(&["Security"])).unwrap_err();
        let SyncError::UnknownCategories { names } = error else { panic!("{error}") };
        assert_eq!(names[0].near[0], "Windows 11");
        assert_eq!(names[1].near, Vec::<String>::new());
        assert_eq!(
            (names[2].key, &names[2].near[..]),
            ("classifications", &["Security Updates".to_owned()][..])
        );
    }

    #[test]
    fn languages_are_found_by_tag() {
        let language = |id, name: &str| Language { id, short_name: name.to_owned(), enabled: true };
        let known =
            [language(0, "all"), language(1033, "en"), language(1046, "pt-br"), language(2070, "pt-pt")];
        let table: [(&[&str], &[i32]); 5] = [
            (&["en"], &[1033]),
            (&["PT-BR", "en"], &[1033, 1046]),
            (&["pt"], &[1046, 2070]),
            (&["xx", "en"], &[]),
            (&[], &[]),
        ];
        for (wanted, ids) in table {
            assert_eq!(languages(&names(wanted), &known), ids, "{wanted:?}");
        }
    }

    fn selection(products: &[u128], languages: &[i32]) -> Selection {
        Selection {
            products: products.iter().map(|&n| id(n)).collect(),
            classifications: products.iter().map(|&n| id(n + 100)).collect(),
            languages: languages.to_vec(),
        }
    }

    fn deltas(filter: &Filter) -> Vec<bool> {
        filter.products.iter().map(|entry| entry.delta).collect()
    }

    #[test]
    fn delta_is_true_exactly_for_what_the_anchor_knows() {
        let before = selection(&[1, 2], &[1033]);
        let first = filter(&before, &Selection::default(), None);
        assert_eq!((first.anchor.as_deref(), deltas(&first)), (None, vec![false, false]));
        let same = filter(&before, &before, Some("a"));
        assert_eq!((same.anchor.as_deref(), deltas(&same)), (Some("a"), vec![true, true]));
        assert!(same.languages[0].delta);
        let more = filter(&selection(&[1, 2, 3], &[1031, 1033]), &before, Some("a"));
        assert_eq!(deltas(&more), vec![true, true, false]);
        assert_eq!(more.languages.iter().map(|l| l.delta).collect::<Vec<_>>(), [false, true]);
        let narrowed = filter(&before, &selection(&[], &[]), Some("a"));
        assert_eq!((narrowed.anchor.is_some(), deltas(&narrowed)), (true, vec![true, true]));
    }

    #[test]
    fn what_was_filtered_before_is_listed_anew_without_a_filter() {
        let everything = selection(&[], &[]);
        assert_eq!(filter(&everything, &selection(&[1], &[]), Some("a")).anchor, None);
        assert_eq!(filter(&everything, &everything, Some("a")).anchor.as_deref(), Some("a"));
        assert_eq!(filter(&selection(&[1], &[]), &selection(&[1], &[1033]), Some("a")).anchor, None);
    }
}
