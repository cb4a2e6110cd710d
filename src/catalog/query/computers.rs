//! Lists and details of computers.
//!
//! **Invariant:** lists are by name, then by identity. It never waits for computers that call meanwhile.

use std::sync::Arc;

use super::super::descendant::status_in_words;
use super::super::said::Of;
use super::super::store::Store;
use super::super::{CatalogError, Computer, Status};
use super::{ComputerDetail, ComputerQuery, ComputerRow, Page, Whose, page_limit};
use crate::domain::{ComputerId, GroupId, ServerId};

/// A computer, and the server it gets its updates from when that is not this one.
struct Known {
    computer: Arc<Computer>,
    parent: Option<ServerId>,
}

fn has_words(computer: &Computer, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let mut text = format!("{}\n{}", computer.dns_name, computer.id);
    if let Some(info) = &computer.info {
        for more in [&info.os_description, &info.manufacturer, &info.model] {
            text.push('\n');
            text.push_str(more);
        }
    }
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

/// Whether a computer is in one of these groups. In no group means Unassigned Computers.
fn is_in(computer: &Computer, groups: &[GroupId]) -> bool {
    if computer.groups.is_empty() {
        groups.contains(&GroupId::UNASSIGNED_COMPUTERS)
    } else {
        computer.groups.iter().any(|group| groups.contains(group))
    }
}

impl Store {
    /// Agents of ours in a group or one below it.
    pub(in super::super) fn members(&self, group: &GroupId) -> Vec<Arc<Computer>> {
        let groups = self.snapshot().view().decisions.below(group);
        self.computers.all().into_iter().filter(|computer| is_in(computer, &groups)).collect()
    }

    /// Agents of ours, and computers below that are none.
    fn everyone(&self, query: &ComputerQuery) -> Vec<Known> {
        let mut found = Vec::new();
        if query.whose != Whose::Below && query.through.is_none() {
            found.extend(self.computers.all().into_iter().map(|computer| Known { computer, parent: None }));
        }
        if query.whose != Whose::Ours {
            let below = self.descendants.all().into_iter();
            let below = below.filter(|one| self.computers.get(&one.id).is_none());
            let through = query.through.map(|through| self.servers_below(&through));
            let below = below.filter(|one| through.as_ref().is_none_or(|these| these.contains(&one.parent)));
            found
                .extend(below.map(|one| Known { computer: Arc::new(one.shown()), parent: Some(one.parent) }));
        }
        found
    }

    fn status_of(&self, known: &Known) -> Result<Status, CatalogError> {
        if known.parent.is_none() {
            return self.status(&known.computer.id);
        }
        Ok(status_in_words(known.computer.last_report, &self.states(&known.computer.id)?))
    }

    /// Other computers, here and below, with the name of this one.
    fn of_name(&self, computer: &Computer) -> Vec<ComputerId> {
        let below = self.descendants.names.of(&computer.dns_name).into_iter();
        let below = below.filter(|id| self.computers.get(id).is_none());
        let ours = self.computers.names.of(&computer.dns_name).into_iter();
        ours.chain(below).filter(|id| *id != computer.id && !computer.dns_name.is_empty()).collect()
    }

    fn known_row(&self, known: &Known) -> ComputerRow {
        let via = known.parent.map(|parent| self.chain(&parent)).unwrap_or_default();
        let whose = if known.parent.is_none() { Of::Us } else { Of::Below };
        let counts = self.computers.said().by(whose, &known.computer.id);
        let same_name = self.of_name(&known.computer).len();
        ComputerRow { computer: (*known.computer).clone(), counts, via, same_name }
    }

    /// Everybody with this name, here and below.
    pub(super) fn everyone_named(&self, name: &str) -> Vec<ComputerId> {
        let below = self.descendants.names.of(name).into_iter();
        let below = below.filter(|id| self.computers.get(id).is_none());
        self.computers.names.of(name).into_iter().chain(below).collect()
    }

    /// The computer that alone has these words in its name, identity, system or model.
    pub(super) fn only_one_with_words(&self, text: &str) -> Option<ComputerId> {
        let text = text.to_lowercase();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let everyone = self.everyone(&ComputerQuery::default());
        let mut fits = everyone.iter().filter(|known| has_words(&known.computer, &words));
        match (fits.next(), fits.next()) {
            (Some(one), None) => Some(one.computer.id.clone()),
            _ => None,
        }
    }

    pub(in super::super) fn computers(&self, query: &ComputerQuery) -> Page<ComputerRow> {
        let decisions = Arc::clone(&self.snapshot().view().decisions);
        let groups = query.group.map(|group| decisions.below(&group));
        let text = query.text.as_deref().unwrap_or_default().to_lowercase();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let mut found = self.everyone(query);
        found.retain(|known| {
            groups.as_ref().is_none_or(|groups| is_in(&known.computer, groups))
                && has_words(&known.computer, &words)
        });
        found.sort_unstable_by(|a, b| {
            (&a.computer.dns_name, &a.computer.id).cmp(&(&b.computer.dns_name, &b.computer.id))
        });
        let page = found.iter().skip(query.offset).take(page_limit(query.limit));
        let rows = page.map(|known| self.known_row(known)).collect();
        Page { rows, total: found.len(), offset: query.offset }
    }

    pub(in super::super) fn computer_detail(
        &self,
        id: &ComputerId,
    ) -> Result<Option<ComputerDetail>, CatalogError> {
        let own = self.computers.get(id).map(|computer| Known { computer, parent: None });
        let below = || {
            let one = self.descendants.get(id)?;
            Some(Known { computer: Arc::new(one.shown()), parent: Some(one.parent) })
        };
        let Some(known) = own.or_else(below) else { return Ok(None) };
        let status = self.status_of(&known)?;
        let events = if known.parent.is_none() { self.events(id)? } else { Vec::new() };
        Ok(Some(ComputerDetail { row: self.known_row(&known), status, events }))
    }
}
