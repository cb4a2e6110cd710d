//! Lists and details of computers.
//!
//! **Invariant:** lists are by name, then by identity. It never waits for computers that call meanwhile.

use std::sync::Arc;

use super::lookup::Query;
use super::states::page_of;
use crate::error::CatalogError;
use crate::query::rows::{ComputerDetail, ComputerQuery, ComputerRow, Page, Whose, page_limit};
use crate::values::computer::{Computer, Status};
use crate::values::counts::Origin;
use crate::values::descendant::Descendant;
use crate::values::descendant::status_in_words;
use tailwater_domain::{ComputerId, GroupId, ServerId};

/// A computer: an agent of ours, or one of a server below.
enum Known {
    Ours(Arc<Computer>),
    Below(Arc<Descendant>),
}

impl Known {
    fn id(&self) -> &ComputerId {
        match self {
            Self::Ours(one) => &one.id,
            Self::Below(one) => &one.id,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Ours(one) => &one.dns_name,
            Self::Below(one) => one.name(),
        }
    }

    /// None for an agent of ours.
    fn parent(&self) -> Option<ServerId> {
        match self {
            Self::Ours(_) => None,
            Self::Below(one) => Some(one.parent),
        }
    }

    fn groups(&self) -> &[GroupId] {
        match self {
            Self::Ours(one) => &one.groups,
            Self::Below(one) => one.details.as_ref().map_or(&[], |details| &details.groups),
        }
    }

    /// As lists show it: only what a page shows is made so.
    fn shown(&self) -> Computer {
        match self {
            Self::Ours(one) => (**one).clone(),
            Self::Below(one) => one.shown(),
        }
    }

    /// Whether all words, in lower case, occur in its name, identity, system or model.
    fn has_words(&self, words: &[String]) -> bool {
        if words.is_empty() {
            return true;
        }
        let more = match self {
            Self::Ours(one) => {
                one.info.as_ref().map(|info| [&info.os_description, &info.manufacturer, &info.model])
            }
            Self::Below(one) => {
                one.details.as_ref().map(|details| [&details.os_description, &details.make, &details.model])
            }
        };
        let mut text = format!("{}\n{}", self.name(), self.id());
        for more in more.into_iter().flatten() {
            text.push('\n');
            text.push_str(more);
        }
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    }
}

/// Whether a computer is in one of these groups. In no group means Unassigned Computers.
fn is_in(own: &[GroupId], groups: &[GroupId]) -> bool {
    if own.is_empty() {
        groups.contains(&GroupId::UNASSIGNED_COMPUTERS)
    } else {
        own.iter().any(|group| groups.contains(group))
    }
}

impl Query {
    /// Agents of ours in a group or one below it.
    pub(crate) fn members(&self, group: &GroupId) -> Vec<Arc<Computer>> {
        let groups = self.current().snapshot().view().decisions.below(group);
        self.fleet().members().all().into_iter().filter(|computer| is_in(&computer.groups, &groups)).collect()
    }

    /// Agents of ours, and computers below that are none.
    fn everyone(&self, query: &ComputerQuery) -> Vec<Known> {
        let mut found = Vec::new();
        if query.whose != Whose::Below && query.through.is_none() {
            found.extend(self.fleet().members().all().into_iter().map(Known::Ours));
        }
        if query.whose != Whose::Ours {
            let below = self.descendants().known().all().into_iter();
            let below = below.filter(|one| self.fleet().members().get(&one.id).is_none());
            let through = query.through.map(|through| self.servers().known().below(&through));
            let below = below.filter(|one| through.as_ref().is_none_or(|these| these.contains(&one.parent)));
            found.extend(below.map(Known::Below));
        }
        found
    }

    fn status_of(&self, known: &Known) -> Result<Status, CatalogError> {
        match known {
            Known::Ours(one) => self.fleet().status(&one.id),
            Known::Below(one) => Ok(status_in_words(one.last_status, &self.descendants().states(&one.id)?)),
        }
    }

    /// Other computers, here and below, with the name of this one.
    fn of_name(&self, computer: &Computer) -> Vec<ComputerId> {
        let below = self.descendants().known().names().of(&computer.dns_name).into_iter();
        let below = below.filter(|id| self.fleet().members().get(id).is_none());
        let ours = self.fleet().members().names().of(&computer.dns_name).into_iter();
        ours.chain(below).filter(|id| *id != computer.id && !computer.dns_name.is_empty()).collect()
    }

    fn known_row(&self, known: &Known) -> ComputerRow {
        let via = known.parent().map(|parent| self.servers().known().chain(&parent)).unwrap_or_default();
        let whose = if known.parent().is_none() { Origin::Ours } else { Origin::Below };
        let counts = self.fleet().counts().all().by(whose, known.id());
        let computer = known.shown();
        let same_name = self.of_name(&computer).len();
        ComputerRow { computer, counts, via, same_name }
    }

    /// Everybody with this name, here and below.
    pub(super) fn everyone_named(&self, name: &str) -> Vec<ComputerId> {
        let below = self.descendants().known().names().of(name).into_iter();
        let below = below.filter(|id| self.fleet().members().get(id).is_none());
        self.fleet().members().names().of(name).into_iter().chain(below).collect()
    }

    /// The computer that alone has these words in its name, identity, system or model.
    pub(super) fn only_one_with_words(&self, text: &str) -> Option<ComputerId> {
        let text = text.to_lowercase();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let everyone = self.everyone(&ComputerQuery::default());
        let mut fits = everyone.iter().filter(|known| known.has_words(&words));
        match (fits.next(), fits.next()) {
            (Some(one), None) => Some(one.id().clone()),
            _ => None,
        }
    }

    pub(crate) fn computers(&self, query: &ComputerQuery) -> Page<ComputerRow> {
        let decisions = Arc::clone(&self.current().snapshot().view().decisions);
        let groups = query.group.map(|group| decisions.below(&group));
        let text = query.text.as_deref().unwrap_or_default().to_lowercase();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let mut found = self.everyone(query);
        found.retain(|known| {
            groups.as_ref().is_none_or(|groups| is_in(known.groups(), groups)) && known.has_words(&words)
        });
        let total = found.len();
        let order = |a: &Known, b: &Known| (a.name(), a.id()).cmp(&(b.name(), b.id()));
        let shown = page_of(found, query.offset, page_limit(query.limit), order);
        let rows = shown.iter().map(|known| self.known_row(known)).collect();
        Page { rows, total, offset: query.offset }
    }

    pub(crate) fn computer_detail(&self, id: &ComputerId) -> Result<Option<ComputerDetail>, CatalogError> {
        let own = self.fleet().members().get(id).map(Known::Ours);
        let below = || self.descendants().known().get(id).map(Known::Below);
        let Some(known) = own.or_else(below) else { return Ok(None) };
        let status = self.status_of(&known)?;
        let events = if known.parent().is_none() { self.fleet().events(id)? } else { Vec::new() };
        let mut changes = self.fleet().identity_changes(id)?;
        changes.reverse();
        Ok(Some(ComputerDetail { row: self.known_row(&known), status, events, changes }))
    }
}
