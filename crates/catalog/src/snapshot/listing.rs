//! What downstream servers are told there is ([MS-WSUSSS] 3.1.4.5): lists of revisions by category, classification,
//! language, and what changed.
//!
//! **Invariant:** of each update only the newest revision is listed, and those that a listed bundle names; what a bundle
//! names comes with it whatever the filter says, unless it is made for other languages. Declined and expired updates
//! are listed: whether they are offered is every server's own decision. It never reads a disk.

use std::collections::HashMap;

use super::bits::Bits;
use super::world::{NONE, Rev, World, flag};
use crate::snapshot::root::Snapshot;
use crate::snapshot::view::View;
use tailwater_domain::{UpdateId, UpdateIdentity, UpdateType};

/// Something a filter names, and whether all of it is wanted whatever changed (`Delta` false).
pub type Listed<T> = (T, bool);

/// Which updates to list. Products and classifications select what has one of each; one without the other selects
/// nothing; none at all selects everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListQuery<'a> {
    /// Only what became visible after this change number.
    pub since: u64,
    /// Products, product families, companies.
    pub products: &'a [Listed<UpdateId>],
    /// Classifications.
    pub classifications: &'a [Listed<UpdateId>],
    /// Languages as tags; `None` for all. What is made for no language in particular fits any.
    pub languages: Option<&'a [Listed<String>]>,
}

/// Whether something is selected, and whether in spite of being old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Choice {
    fits: bool,
    whole: bool,
}

impl Choice {
    fn or(self, other: Self) -> Self {
        Self { fits: self.fits || other.fits, whole: self.whole || other.whole }
    }

    fn and(self, other: Self) -> Self {
        Self { fits: self.fits && other.fits, whole: self.whole || other.whole }
    }
}

/// For every list of clauses and every set of languages, whether the filter selects it.
struct Filter {
    requirements: Option<Vec<Choice>>,
    languages: Vec<Choice>,
}

impl Filter {
    fn new(world: &World, query: &ListQuery<'_>) -> Self {
        let filtered = !query.products.is_empty() || !query.classifications.is_empty();
        let requirements = filtered.then(|| {
            let products = chosen(world, query.products);
            let classifications = chosen(world, query.classifications);
            let of = |clauses: &[u32], chosen: &HashMap<u32, Choice>| {
                let named = clauses.iter().flat_map(|clause| world.clauses.get(*clause));
                named.filter_map(|update| chosen.get(update)).fold(Choice::default(), |all, one| all.or(*one))
            };
            world
                .requirements
                .iter()
                .map(|list| of(list, &products).and(of(list, &classifications)))
                .collect()
        });
        let language = |made_for: &Vec<String>| match query.languages {
            None => Choice { fits: true, whole: false },
            Some(wanted) => {
                let fits = |tag: &str| made_for.is_empty() || made_for.iter().any(|made| serves(made, tag));
                let fitting = wanted.iter().filter(|(tag, _)| fits(tag));
                let none = Choice { fits: made_for.is_empty(), whole: false };
                fitting.fold(none, |all, (_, whole)| all.or(Choice { fits: true, whole: *whole }))
            }
        };
        Self { requirements, languages: world.made_for.iter().map(language).collect() }
    }

    fn language(&self, rev: &Rev) -> Choice {
        let all = Choice { fits: true, whole: false };
        self.languages.get(usize::from(rev.made_for)).copied().unwrap_or(all)
    }

    fn choice(&self, rev: &Rev) -> Choice {
        let category = match &self.requirements {
            None => Choice { fits: true, whole: false },
            Some(all) => all.get(rev.requirement as usize).copied().unwrap_or_default(),
        };
        category.and(self.language(rev))
    }
}

/// Whether what is made for `made` serves one who asks for `tag`: `pt` serves `pt-br` too.
fn serves(made: &str, tag: &str) -> bool {
    let start = tag.get(..made.len()).is_some_and(|start| start.eq_ignore_ascii_case(made));
    start && matches!(tag.as_bytes().get(made.len()), None | Some(b'-'))
}

/// The categories that lie in one of those named, these included: a product lies in its family, and that in a company.
fn chosen(world: &World, named: &[Listed<UpdateId>]) -> HashMap<u32, Choice> {
    let mut chosen: HashMap<u32, Choice> = HashMap::new();
    for (id, whole) in named {
        if let Some((update, _)) = world.update(id) {
            let choice = chosen.entry(update).or_default();
            *choice = choice.or(Choice { fits: true, whole: *whole });
        }
    }
    let categories: Vec<(u32, &Rev)> = (0..)
        .zip(&world.updates)
        .filter_map(|(index, update)| Some((index, world.rev(update.newest)?)))
        .filter(|(_, rev)| rev.update_type == UpdateType::Category)
        .collect();
    // a real catalog has four levels; each pass settles one more, and a circle settles as well
    loop {
        let mut settled = true;
        for (index, rev) in &categories {
            let before = chosen.get(index).copied().unwrap_or_default();
            let around = world.named_by(rev).filter_map(|parent| chosen.get(&parent));
            let after = around.fold(before, |all, one| all.or(*one));
            if after != before {
                chosen.insert(*index, after);
                settled = false;
            }
        }
        if settled {
            return chosen;
        }
    }
}

impl View {
    /// Whether the document of a revision can be had.
    fn is_whole(&self, id: u32) -> bool {
        !self.decisions.damaged.contains_key(&id)
    }

    fn newest(&self) -> impl Iterator<Item = (u32, &Rev)> {
        let newest = self.world.updates.iter().map(|update| update.newest);
        newest.filter(|id| *id != NONE && self.is_whole(*id)).filter_map(|id| Some((id, self.world.rev(id)?)))
    }
}

/// A list in the making.
struct List<'a> {
    world: &'a World,
    since: u64,
    order: Vec<u32>,
    /// Revisions that are in the list.
    listed: Bits,
    /// Bundles that are not, but were looked through for what is new in them.
    passed: Bits,
}

impl<'a> List<'a> {
    fn new(world: &'a World, since: u64) -> Self {
        let none = || Bits::new(world.revs.len());
        Self { world, since, order: Vec::new(), listed: none(), passed: none() }
    }

    /// Lists a revision if it is new or wanted whole, then what it bundles: all of that if the bundle is listed, else
    /// what is new of it.
    fn add(&mut self, id: u32, whole: bool, may: impl Fn(u32, &Rev) -> bool) {
        let mut open = vec![(id, whole)];
        while let Some((id, told)) = open.pop() {
            let Some(rev) = self.world.rev(id) else { continue };
            let told = told || u64::from(rev.appeared) > self.since;
            let first = if told { self.listed.put(id) } else { self.passed.put(id) };
            if !first {
                continue;
            }
            if told {
                self.order.push(id);
            }
            let children = self.world.children(rev).iter().rev().filter_map(|child| {
                let update = &self.world.updates[child.update as usize];
                self.world.revisions(update).find(|(id, rev)| rev.number == child.number && may(*id, rev))
            });
            open.extend(children.map(|(id, _)| (id, told)));
        }
    }
}

impl Snapshot {
    /// Categories and detectoids that became visible after a change number, oldest first.
    pub fn list_categories(&self, since: u64) -> Vec<UpdateIdentity> {
        let mut found: Vec<u32> = self
            .view()
            .newest()
            .filter(|(_, rev)| matches!(rev.update_type, UpdateType::Category | UpdateType::Detectoid))
            .filter(|(_, rev)| u64::from(rev.appeared) > since)
            .map(|(id, _)| id)
            .collect();
        found.sort_unstable();
        self.identities(found.into_iter())
    }

    /// Software and drivers that a filter selects. What a bundle names follows the bundle; otherwise oldest first.
    pub fn list_updates(&self, query: &ListQuery<'_>) -> Vec<UpdateIdentity> {
        if query.products.is_empty() != query.classifications.is_empty() {
            return Vec::new();
        }
        let world = &self.view().world;
        let filter = Filter::new(world, query);
        let mut bundled = Bits::new(world.updates.len());
        for child in self.view().newest().flat_map(|(_, rev)| world.children(rev)) {
            bundled.put(child.update);
        }
        let selected = self.view().newest().filter_map(|(id, rev)| {
            let installable = matches!(rev.update_type, UpdateType::Software | UpdateType::Driver);
            let choice = filter.choice(rev);
            (installable && choice.fits).then_some((bundled.has(rev.update), id, choice.whole))
        });
        let mut selected: Vec<(bool, u32, bool)> = selected.collect();
        // what bundles name comes last, and by then most of it was listed with its bundle
        selected.sort_unstable();
        let mut list = List::new(world, query.since);
        for (_, id, whole) in selected {
            list.add(id, whole, |id, rev| self.view().is_whole(id) && filter.language(rev).fits);
        }
        self.identities(list.order.into_iter())
    }

    fn identities(&self, ids: impl Iterator<Item = u32>) -> Vec<UpdateIdentity> {
        let world = &self.view().world;
        let present = ids.filter_map(|id| world.rev(id).filter(|rev| rev.has(flag::PRESENT)));
        present.map(|rev| world.identity(rev)).collect()
    }
}
