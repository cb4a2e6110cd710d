//! Lists and details of updates.
//!
//! Filters that the snapshot can answer come first; only what passes them is read from the segments, and for
//! lists without words only the rows of one page.
//!
//! **Invariant:** lists are newest first and stable between calls on one snapshot. It never reads texts
//! other than facts.

use std::collections::BTreeSet;

use super::lookup::Query;
use super::select::Selection;
use crate::error::CatalogError;
use crate::query::rows::{
    GroupApproval, MAX_PAGE, Page, Selected, UpdateDetail, UpdateQuery, UpdateRow, UpdateState, page_limit,
};
use crate::snapshot::root::Snapshot;
use crate::snapshot::withheld::is_hidden;
use crate::snapshot::world::{Rev, Upd, flag};
use crate::storage::manifest::kb_number;
use crate::values::counts::Counts;
use tailwater_domain::{CategoryKind, Facts, Limit, Phrase, RevisionId, UpdateId, UpdateType, limits};

/// How deep categories may lie in each other.
const MAX_CATEGORY_DEPTH: usize = 8;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_CATEGORY_DEPTH in "levels": "Categories within categories" => "they are not looked into",
];

/// The title in a language: exactly, then by what is before `-`, then the document's own, then any.
pub(super) fn title(facts: &Facts, language: Option<&str>) -> String {
    let wanted = language.unwrap_or(&facts.default_language).to_lowercase();
    let short = wanted.split('-').next().unwrap_or_default();
    let of = |tag: &str| facts.titles.iter().find(|title| title.language.eq_ignore_ascii_case(tag));
    let found =
        of(&wanted).or_else(|| of(short)).or_else(|| of(&facts.default_language)).or(facts.titles.first());
    found.map_or_else(|| facts.identity.to_string(), |title| title.text.clone())
}

/// The categories that an update names itself, of some kind.
pub(super) fn categories_of(snapshot: &Snapshot, rev: &Rev, kind: CategoryKind) -> Vec<UpdateId> {
    let world = snapshot.world();
    let named = world.named_by(rev).filter_map(|update| {
        let update = &world.updates[update as usize];
        (world.rev(update.newest)?.category == Some(kind)).then_some(update.id)
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A category and every category below it, as numbers of the snapshot.
pub(super) fn with_subcategories(snapshot: &Snapshot, category: &UpdateId) -> BTreeSet<u32> {
    let world = snapshot.world();
    let mut found: BTreeSet<u32> = world.update(category).map(|(index, _)| index).into_iter().collect();
    for _ in 0..MAX_CATEGORY_DEPTH {
        let more: Vec<u32> = (0..)
            .zip(&world.updates)
            .filter(|(index, update)| {
                let rev = world.rev(update.newest).filter(|rev| rev.update_type == UpdateType::Category);
                !found.contains(index)
                    && rev.is_some_and(|rev| world.named_by(rev).any(|it| found.contains(&it)))
            })
            .map(|(index, _)| index)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found
}

/// What of a query the snapshot answers.
struct Filter<'a> {
    query: &'a UpdateQuery,
    selection: Option<&'a Selection>,
    product: Option<BTreeSet<u32>>,
    classification: Option<BTreeSet<u32>>,
    kb: Option<BTreeSet<u32>>,
}

impl<'a> Filter<'a> {
    fn new(snapshot: &Snapshot, query: &'a UpdateQuery, selection: Option<&'a Selection>) -> Self {
        let below =
            |category: &Option<UpdateId>| category.as_ref().map(|id| with_subcategories(snapshot, id));
        let kb = query.kb.as_ref().map(|kb| {
            let revisions = kb_number(kb).into_iter().flat_map(|kb| snapshot.world().with_kb(kb));
            revisions.collect()
        });
        let (product, classification) = (below(&query.product), below(&query.classification));
        Self { query, selection, product, classification, kb }
    }

    fn fits(&self, store: &Query, snapshot: &Snapshot, update: &Upd, rev: &Rev) -> bool {
        let world = snapshot.world();
        // what is named by its identity is there, whatever it is
        let named = self.selection.is_some_and(|selection| selection.names(rev.update));
        let wanted_type = match self.query.update_type {
            Some(wanted) => rev.update_type == wanted,
            None => named || matches!(rev.update_type, UpdateType::Software | UpdateType::Driver),
        };
        let hidden = !named && is_hidden(rev);
        let of = |set: &Option<BTreeSet<u32>>| {
            set.as_ref().is_none_or(|set| world.named_by(rev).any(|named| set.contains(&named)))
        };
        wanted_type
            && (self.query.hidden || !hidden)
            && self.kb.as_ref().is_none_or(|kb| kb.contains(&update.newest))
            && of(&self.product)
            && of(&self.classification)
            && self.has_standing(store, snapshot, update, rev)
    }

    fn has_standing(&self, store: &Query, snapshot: &Snapshot, update: &Upd, rev: &Rev) -> bool {
        let decision = snapshot.view().decision(rev.update);
        let approvals = decision.map_or(&[][..], |decision| &decision.approvals);
        let approved = decision.is_some_and(|decision| decision.is_approved());
        let held = decision.is_some_and(|decision| decision.hold.is_some());
        let declined = decision.is_some_and(|decision| decision.declined.is_some());
        let expired = rev.has(flag::EXPIRED);
        let for_group =
            |group| approvals.iter().any(|(other, approval)| *other == group && approval.action.acts());
        self.query.approved_for.is_none_or(for_group)
            && match self.query.state {
                None => true,
                Some(UpdateState::Unapproved) => !approved && !declined && !expired,
                Some(UpdateState::Approved) => approved,
                Some(UpdateState::Declined) => declined,
                Some(UpdateState::Expired) => expired,
                Some(UpdateState::Superseded) => update.superseded && !declined,
                Some(UpdateState::Held) => held,
                Some(UpdateState::Withheld) => !snapshot.view().withheld(rev.update).is_empty(),
                Some(UpdateState::Needed) => store.counts_in(snapshot, &update.id).needed > 0,
                Some(UpdateState::Failed) => store.counts_in(snapshot, &update.id).failed > 0,
            }
    }
}

impl Query {
    /// What computers say of an update. What no bundle in force needs, nobody needs: agents said so before.
    fn counts_in(&self, snapshot: &Snapshot, update: &UpdateId) -> Counts {
        let counts = self.fleet().counts().of_update(update);
        if counts != Counts::default() && snapshot.view().is_unneeded(update) {
            return Counts { installed: counts.installed, ..Counts::default() };
        }
        counts
    }

    fn row(&self, snapshot: &Snapshot, id: u32, facts: &Facts, language: Option<&str>) -> Option<UpdateRow> {
        let world = snapshot.world();
        let rev = world.rev(id)?;
        let update = world.update_of(rev);
        let decision = snapshot.view().decision(rev.update);
        let approvals = decision.map_or(&[][..], |decision| &decision.approvals);
        Some(UpdateRow {
            identity: facts.identity,
            revision: RevisionId(id),
            update_type: rev.update_type,
            title: title(facts, language),
            kb_articles: facts.kb_articles.clone(),
            severity: facts.severity.clone(),
            creation_date: facts.creation_date.clone(),
            arrived: jiff::Timestamp::from_second(i64::from(rev.arrived)).unwrap_or_default(),
            products: categories_of(snapshot, rev, CategoryKind::Product),
            classifications: categories_of(snapshot, rev, CategoryKind::Classification),
            is_bundle: !world.children(rev).is_empty(),
            expired: rev.has(flag::EXPIRED),
            superseded: update.superseded,
            declined: decision.and_then(|decision| decision.declined.clone()),
            approvals: approvals
                .iter()
                .map(|(group, approval)| GroupApproval { group: *group, approval: approval.clone() })
                .collect(),
            hold: decision.and_then(|decision| decision.hold.clone()),
            withheld: snapshot.view().withheld(rev.update),
            explicitly_deployable: rev.has(flag::DEPLOYABLE),
            counts: self.counts_in(snapshot, &update.id),
        })
    }

    /// The newest revisions of what a query selects, newest first, and those of which its text is the whole title.
    fn selected(
        &self,
        snapshot: &Snapshot,
        query: &UpdateQuery,
    ) -> Result<(Vec<u32>, Vec<u32>), CatalogError> {
        let world = snapshot.world();
        let selection = match query.text.as_deref() {
            Some(text) => Selection::new(self, snapshot, text)?,
            None => None,
        };
        let filter = Filter::new(snapshot, query, selection.as_ref());
        // who names a thousand updates must not pass over the whole catalog a thousand times
        let named = selection.as_ref().and_then(Selection::named);
        let candidates: Box<dyn Iterator<Item = &Upd>> = match named {
            Some(named) => Box::new(named.iter().map(|index| &world.updates[*index as usize])),
            None => Box::new(world.updates.iter()),
        };
        let mut found: Vec<(u32, u32)> = candidates
            .filter_map(|update| Some((update, world.rev(update.newest)?)))
            .filter(|(update, rev)| filter.fits(self, snapshot, update, rev))
            .map(|(update, rev)| (rev.arrived, update.newest))
            .collect();
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(*entry));
        let found = found.into_iter().map(|(_, id)| id);
        let Some(selection) = selection else { return Ok((found.collect(), Vec::new())) };
        let (mut matching, mut titled) = (Vec::new(), Vec::new());
        for id in found {
            let facts = if selection.reads_titles() { self.texts().facts_in(snapshot, id)? } else { None };
            let facts = facts.as_ref().map(|stored| &stored.facts);
            let (means, is_title) = selection.means(snapshot, &world.revs[id as usize], facts);
            matching.extend(means.then_some(id));
            titled.extend(is_title.then_some(id));
        }
        Ok((matching, titled))
    }

    pub(crate) fn updates(&self, query: &UpdateQuery) -> Result<Page<UpdateRow>, CatalogError> {
        let snapshot = self.current().snapshot();
        let (found, _) = self.selected(&snapshot, query)?;
        let mut rows = Vec::new();
        for id in found.iter().skip(query.offset).take(page_limit(query.limit)) {
            let facts = self.texts().facts_in(&snapshot, *id)?;
            let language = query.language.as_deref();
            rows.extend(facts.and_then(|facts| self.row(&snapshot, *id, &facts.facts, language)));
        }
        Ok(Page { rows, total: found.len(), offset: query.offset })
    }

    pub(crate) fn select(&self, text: &str) -> Result<Selected, CatalogError> {
        if Phrase::new(text).is_none() {
            return Ok(Selected::default());
        }
        let snapshot = self.current().snapshot();
        let query = UpdateQuery { text: Some(text.to_owned()), ..UpdateQuery::default() };
        let (updates, titled) = self.selected(&snapshot, &query)?;
        let world = snapshot.world();
        let ids = |found: Vec<u32>| -> Vec<UpdateId> {
            found.iter().filter_map(|id| Some(world.update_of(world.rev(*id)?).id)).collect()
        };
        Ok(Selected { updates: ids(updates), titled: ids(titled) })
    }

    pub(crate) fn rows(&self, ids: &[UpdateId]) -> Result<Vec<UpdateRow>, CatalogError> {
        let snapshot = self.current().snapshot();
        let mut rows = Vec::new();
        for id in ids {
            let Some(newest) = snapshot.latest(id) else { continue };
            let facts = self.texts().facts_in(&snapshot, newest.0)?;
            rows.extend(facts.and_then(|facts| self.row(&snapshot, newest.0, &facts.facts, None)));
        }
        Ok(rows)
    }

    pub(crate) fn title_of(
        &self,
        update: &UpdateId,
        language: Option<&str>,
    ) -> Result<Option<String>, CatalogError> {
        let snapshot = self.current().snapshot();
        let Some((_, update)) = snapshot.world().update(update) else { return Ok(None) };
        let Some(part) = snapshot.facts_part(update.newest) else { return Ok(None) };
        match self.texts().read_facts(&part) {
            Err(CatalogError::Damaged { .. }) => Ok(None),
            facts => Ok(Some(title(&facts?.facts, language))),
        }
    }

    pub(crate) fn update(
        &self,
        id: &UpdateId,
        language: Option<&str>,
    ) -> Result<Option<UpdateDetail>, CatalogError> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let Some((index, update)) = world.update(id) else { return Ok(None) };
        let Some(rev) = world.rev(update.newest) else { return Ok(None) };
        let Some(facts) = self.texts().facts_in(&snapshot, update.newest)? else { return Ok(None) };
        let Some(row) = self.row(&snapshot, update.newest, &facts.facts, language) else { return Ok(None) };
        let mut children = Vec::new();
        for child in world.children(rev).iter().take(MAX_PAGE) {
            let child = world.updates[child.update as usize].delivered;
            let facts = self.texts().facts_in(&snapshot, child)?;
            children.extend(facts.and_then(|facts| self.row(&snapshot, child, &facts.facts, language)));
        }
        let bundles = |other: &Upd| {
            let rev = world.rev(other.newest);
            rev.is_some_and(|rev| world.children(rev).iter().any(|child| child.update == index))
        };
        Ok(Some(UpdateDetail {
            row,
            facts: facts.facts.clone(),
            children,
            parents: world.updates.iter().filter(|other| bundles(other)).map(|other| other.id).collect(),
            files: self.files_of_all(&snapshot, &[index])?,
            revisions: world.revisions(update).map(|(_, rev)| world.identity(rev)).collect(),
        }))
    }
}
