//! From what is chosen to what the upstream is asked: the filter of its lists, and its numbers of languages. Pure.
//!
//! Invariant: what the last list was not got with is asked for in full; nothing is ever left out silently. It never
//! asks anybody, and never looks names up: that is [`super::names`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use tailwater_domain::{CategoryKind, UpdateId, language_serves};
use tailwater_wire::server_sync::{Filter, IdAndDelta, Language, LanguageAndDelta};

/// What is selected of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Selection {
    /// Products, sorted; with `classifications`, empty for no filter at all.
    pub(super) products: Vec<UpdateId>,
    /// Classifications, sorted.
    pub(super) classifications: Vec<UpdateId>,
    /// Locale numbers, sorted; empty for all.
    pub(super) languages: Vec<i32>,
    /// Nothing is selected: names are configured and none of them stands for anything.
    #[serde(default)]
    pub(super) nothing: bool,
}

impl Selection {
    /// Whether everything is selected.
    pub(super) fn is_unfiltered(&self) -> bool {
        self.products.is_empty() && !self.nothing
    }
}

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

/// The locale numbers of the wanted languages, and those that the upstream lacks. The numbers are none, which is all,
/// when there are such or when the upstream does not list its languages.
pub(super) fn languages(wanted: &[String], known: &[Language]) -> (Vec<i32>, Vec<String>) {
    if known.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let (mut ids, mut lacking) = (BTreeSet::new(), Vec::new());
    for tag in wanted {
        let mut found = known.iter().filter(|language| language_serves(tag, &language.short_name));
        match found.next() {
            Some(first) => ids.extend(std::iter::once(first).chain(found).map(|language| language.id)),
            None => lacking.push(tag.clone()),
        }
    }
    if !lacking.is_empty() {
        ids.clear();
    }
    (ids.into_iter().collect(), lacking)
}

/// The filter for the list of updates. `Delta` is true exactly for what the anchor was got with.
pub(super) fn filter(selection: &Selection, last: &Selection, anchor: Option<&str>) -> Filter {
    let unfiltered = Selection::is_unfiltered;
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

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
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
            assert_eq!(languages(&names(wanted), &known).0, ids, "{wanted:?}");
        }
        let wanted = names(&["xx", "en", "pt-xx"]);
        assert_eq!(languages(&wanted, &known), (Vec::new(), names(&["xx", "pt-xx"])));
        assert_eq!(languages(&wanted, &[]), (Vec::new(), Vec::new()), "nothing can be told");
    }

    fn selection(products: &[u128], languages: &[i32]) -> Selection {
        Selection {
            products: products.iter().map(|&n| id(n)).collect(),
            classifications: products.iter().map(|&n| id(n + 100)).collect(),
            languages: languages.to_vec(),
            nothing: false,
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
        let nothing = Selection { nothing: true, ..Selection::default() };
        let after = filter(&before, &nothing, Some("a"));
        assert_eq!((after.anchor.is_some(), deltas(&after)), (true, vec![false, false]), "asked for in full");
    }

    #[test]
    fn what_was_filtered_before_is_listed_anew_without_a_filter() {
        let everything = selection(&[], &[]);
        assert_eq!(filter(&everything, &selection(&[1], &[]), Some("a")).anchor, None);
        assert_eq!(filter(&everything, &everything, Some("a")).anchor.as_deref(), Some("a"));
        assert_eq!(filter(&selection(&[1], &[]), &selection(&[1], &[1033]), Some("a")).anchor, None);
    }
}
