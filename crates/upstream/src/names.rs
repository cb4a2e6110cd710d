//! What the names in `upstream.products` and `upstream.classifications` stand for.
//!
//! A name is looked up once and remembered by identity from then on, so that a product stays chosen however often its
//! publisher renames it; what bears the name besides is chosen as well. GUIDs stand for themselves.
//!
//! **Invariant:** a name that stands for nothing is told and stops nothing else, and it never widens what is chosen:
//! names that stand for nothing at all choose nothing. What is no longer configured is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::select::{Category, Selection};
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::{CategoryKind, Limit, UpdateId, folded, limits};

/// How many near names a warning offers.
const NEAR: usize = 3;
/// How alike two names must be to be called near, from 0 to 1.
const ALIKE: f64 = 0.75;
/// Pairs of a product and a classification that a report names.
const MOST_PAIRS: usize = 20;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_PAIRS in "pairs": "Pairs of product and classification named in a report" => "they are counted",
];

// not a limit: NEAR, ALIKE: what a warning offers

/// The setting with what names stand for.
const NAMES: &str = "upstream.names";
/// The setting with the last choice.
const CHOICE: &str = "upstream.choice";

/// Which list of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameKey {
    /// `upstream.products`: products, families and companies.
    Products,
    /// `upstream.classifications`.
    Classifications,
}

impl NameKey {
    fn fits(self, kind: CategoryKind) -> bool {
        (self == Self::Classifications) == (kind == CategoryKind::Classification)
    }

    /// As in the configuration.
    pub fn path(self) -> &'static str {
        match self {
            Self::Products => "upstream.products",
            Self::Classifications => "upstream.classifications",
        }
    }
}

/// What names stood for, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered(Vec<Known>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Known {
    key: NameKey,
    /// Folded.
    name: String,
    ids: BTreeSet<UpdateId>,
}

impl Remembered {
    /// What is remembered; what cannot be read is looked up anew.
    pub(super) fn load(catalog: &Catalog) -> Result<Self, CatalogError> {
        // none at first; what cannot be read is looked up anew, which the log tells
        Ok(catalog.kept_json(NAMES)?.unwrap_or_default())
    }

    /// Remembers it durably, over a rebuilt index too.
    pub(super) fn save(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        catalog.keep_json(NAMES, self)
    }

    fn of(&self, key: NameKey, name: &str) -> BTreeSet<UpdateId> {
        let found = self.0.iter().find(|known| known.key == key && known.name == name);
        found.map(|known| known.ids.clone()).unwrap_or_default()
    }
}

/// A name of the configuration and what it stands for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenName {
    /// Where it is configured.
    pub key: NameKey,
    /// As configured.
    pub name: String,
    /// What it stands for and the upstream has; empty when that is nothing.
    pub ids: Vec<UpdateId>,
    /// What that is called by now, where it is called otherwise.
    pub now_called: Vec<String>,
    /// When it stands for nothing: names that may have been meant, nearest first.
    pub near: Vec<String>,
    /// When it stands for nothing: whether it did before.
    pub is_gone: bool,
    /// Updates here that it selects, together with the other list; none when that was not counted.
    pub updates: Option<usize>,
}

/// What the configuration chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Every configured name, products first; none where everything is chosen.
    pub names: Vec<ChosenName>,
    /// Pairs of a product and a classification that are configured and match no update here, at most 20.
    pub empty_pairs: Vec<(String, String)>,
    /// How many such pairs there are.
    pub empty_pairs_total: usize,
    /// Everything that is selected, products that lie in chosen ones too: sorted.
    pub chosen: Vec<UpdateId>,
    /// Configured languages that the upstream does not list.
    pub unknown_languages: Vec<String>,
}

impl Choice {
    /// The last choice, when it was made of these names.
    pub(super) fn load(catalog: &Catalog, products: &[String], classifications: &[String]) -> Option<Self> {
        let kept: Self = serde_json::from_slice(&catalog.setting(CHOICE).ok()??).ok()?;
        kept.is_of(products, classifications).then_some(kept)
    }

    /// Whether it was made of these names.
    pub(super) fn is_of(&self, products: &[String], classifications: &[String]) -> bool {
        let is_of = |key, names: &[String]| {
            self.list(key).map(|one| one.name.as_str()).eq(names.iter().map(|name| name.trim()))
        };
        is_of(NameKey::Products, products) && is_of(NameKey::Classifications, classifications)
    }

    pub(super) fn save(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        catalog.set_json(CHOICE, self)
    }

    /// Looks names up, and remembers what they stand for.
    pub(super) fn of(
        categories: &[Category],
        products: &[String],
        classifications: &[String],
        remembered: &mut Remembered,
    ) -> Self {
        let lists = [(NameKey::Products, products), (NameKey::Classifications, classifications)];
        let (mut names, mut known) = (Vec::new(), Vec::new());
        for (key, name) in lists.into_iter().flat_map(|(key, list)| list.iter().map(move |name| (key, name)))
        {
            let text = folded(name);
            let before = remembered.of(key, &text);
            let found = find(categories, key, name, &before);
            let mut ids = before.clone();
            ids.extend(found.iter().map(|category| category.id));
            let is_id = name.trim().parse::<UpdateId>().is_ok();
            if !ids.is_empty() && !is_id {
                known.push(Known { key, name: text.clone(), ids });
            }
            let bears_it = |category: &&&Category| category.is_called(&text);
            let other = found.iter().filter(|category| !is_id && !bears_it(category));
            names.push(ChosenName {
                key,
                name: name.trim().to_owned(),
                ids: found.iter().map(|category| category.id).collect(),
                now_called: other.filter_map(|category| category.titles.first().cloned()).collect(),
                near: if found.is_empty() { near(categories, key, &text) } else { Vec::new() },
                is_gone: found.is_empty() && !before.is_empty(),
                updates: None,
            });
        }
        known.sort_unstable();
        known.dedup();
        *remembered = Remembered(known);
        Self { names, ..Self::default() }
    }

    fn list(&self, key: NameKey) -> impl Iterator<Item = &ChosenName> {
        self.names.iter().filter(move |name| name.key == key)
    }

    /// What to ask for. A company or product family stands for all products in it. One empty list means all known
    /// ones, because a real server selects nothing when only one list is given; two mean no filter.
    pub(super) fn selection(&mut self, categories: &[Category], languages: Vec<i32>) -> Selection {
        let selection = self.selected(categories, languages);
        self.chosen = selection.products.iter().chain(&selection.classifications).copied().collect();
        self.chosen.sort_unstable();
        selection
    }

    fn selected(&self, categories: &[Category], languages: Vec<i32>) -> Selection {
        let picked = |key| -> Option<BTreeSet<UpdateId>> {
            let mut names = self.list(key).peekable();
            names.peek()?;
            Some(names.flat_map(|name| name.ids.iter().copied()).collect())
        };
        let (products, classifications) = (picked(NameKey::Products), picked(NameKey::Classifications));
        if products.is_none() && classifications.is_none() {
            return Selection { languages, ..Selection::default() };
        }
        let nothing = [&products, &classifications].into_iter().flatten().any(BTreeSet::is_empty);
        if nothing {
            return Selection { languages, nothing, ..Selection::default() };
        }
        let all = |kind| categories.iter().filter(move |c| c.kind == kind).map(|c| c.id);
        let products = match products {
            Some(picked) => with_members(categories, picked),
            None => all(CategoryKind::Product).collect(),
        };
        let classifications = classifications.unwrap_or_else(|| all(CategoryKind::Classification).collect());
        Selection {
            products: products.into_iter().collect(),
            classifications: classifications.into_iter().collect(),
            languages,
            nothing,
        }
    }

    /// Counts what each name selects here. `count` gives for products (with all that lie in them) and classifications
    /// how many updates belong to one of each; no classifications mean any, and so for products.
    pub(super) fn count(
        &mut self,
        categories: &[Category],
        count: impl Fn(&BTreeSet<UpdateId>, &BTreeSet<UpdateId>) -> usize,
    ) {
        let ids = |name: &ChosenName| -> BTreeSet<UpdateId> { name.ids.iter().copied().collect() };
        let rows: Vec<(String, BTreeSet<UpdateId>)> = self
            .list(NameKey::Products)
            .filter(|name| !name.ids.is_empty())
            .map(|name| (name.name.clone(), with_members(categories, ids(name))))
            .collect();
        let columns: Vec<(String, BTreeSet<UpdateId>)> = self
            .list(NameKey::Classifications)
            .filter(|name| !name.ids.is_empty())
            .map(|name| (name.name.clone(), ids(name)))
            .collect();
        let union = |list: &[(String, BTreeSet<UpdateId>)]| -> BTreeSet<UpdateId> {
            list.iter().flat_map(|(_, ids)| ids.iter().copied()).collect()
        };
        let (all_rows, all_columns) = (union(&rows), union(&columns));
        for name in self.names.iter_mut().filter(|name| !name.ids.is_empty()) {
            let own = name.ids.iter().copied().collect();
            name.updates = Some(match name.key {
                NameKey::Products => count(&with_members(categories, own), &all_columns),
                NameKey::Classifications => count(&all_rows, &own),
            });
        }
        self.empty_pairs.clear();
        self.empty_pairs_total = 0;
        for (product, row) in &rows {
            for (classification, column) in &columns {
                if count(row, column) == 0 {
                    self.empty_pairs_total += 1;
                    if self.empty_pairs.len() < MOST_PAIRS {
                        self.empty_pairs.push((product.clone(), classification.clone()));
                    }
                }
            }
        }
    }

    /// What an administrator should look at, one sentence each, with the next step.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for name in &self.names {
            let (path, text) = (name.key.path(), &name.name);
            if name.ids.is_empty() {
                let near = match &name.near[..] {
                    [] => String::new(),
                    near => format!(" (did you mean {}?)", near.join(" or ")),
                };
                let why = if name.is_gone { "is no longer at the upstream" } else { "stands for nothing" };
                warnings.push(format!(
                    "{text:?} of {path} {why}{near}; see `tailwater categories list`. All else goes on without it"
                ));
            } else if name.updates == Some(0) {
                let other = match name.key {
                    NameKey::Products => "any chosen classification",
                    NameKey::Classifications => "any chosen product",
                };
                warnings.push(format!(
                    "{text:?} of {path} selects no update: nothing of it belongs to {other}; choose what it goes with, \
                     or take it out"
                ));
            }
        }
        if !self.names.is_empty() && self.chooses_nothing() {
            warnings.push(
                "nothing is selected: none of the names of a list stands for anything; no update is asked for".to_owned(),
            );
        }
        if !self.unknown_languages.is_empty() {
            warnings.push(format!(
                "the upstream does not list the languages {} of upstream.languages: it is asked for all, and the others are \
                 dropped here",
                self.unknown_languages.join(", ")
            ));
        }
        warnings
    }

    fn chooses_nothing(&self) -> bool {
        [NameKey::Products, NameKey::Classifications].into_iter().any(|key| {
            let mut list = self.list(key).peekable();
            list.peek().is_some() && list.all(|name| name.ids.is_empty())
        })
    }

    /// What is only worth a note: names whose bearer is called otherwise by now, and pairs that match nothing while each
    /// of both selects something.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for name in self.names.iter().filter(|name| !name.now_called.is_empty()) {
            notes.push(format!(
                "{:?} of {} is called {} by now, and stays chosen",
                name.name,
                name.key.path(),
                name.now_called.join(", ")
            ));
        }
        if self.empty_pairs_total > 0 {
            let pairs: Vec<String> = self.empty_pairs.iter().map(|(a, b)| format!("{a} + {b}")).collect();
            let more = self.empty_pairs_total - self.empty_pairs.len();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            notes.push(format!("no update belongs to: {}{more}", pairs.join("; ")));
        }
        notes
    }
}

/// The categories that a name stands for: by its GUID, else those that it stood for and those that bear it.
fn find<'a>(
    categories: &'a [Category],
    key: NameKey,
    name: &str,
    before: &BTreeSet<UpdateId>,
) -> Vec<&'a Category> {
    let (id, text) = (name.trim().parse::<UpdateId>().ok(), folded(name));
    let is_meant = |category: &&Category| match id {
        Some(id) => category.id == id,
        None => before.contains(&category.id) || category.is_called(&text),
    };
    categories.iter().filter(|category| key.fits(category.kind)).filter(is_meant).collect()
}

impl Category {
    fn is_called(&self, text: &str) -> bool {
        self.titles.iter().any(|title| folded(title) == text)
    }
}

fn near(categories: &[Category], key: NameKey, name: &str) -> Vec<String> {
    let mut scored = BTreeMap::new();
    let candidates = categories.iter().filter(|category| key.fits(category.kind));
    for title in candidates.flat_map(|category| &category.titles) {
        let lower = folded(title);
        let contains = name.len() > 2 && (lower.contains(name) || name.contains(&lower));
        let alike = strsim::jaro_winkler(&lower, name);
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

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
