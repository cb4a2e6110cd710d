//! Lists and details of computers.
//!
//! **Invariant:** lists are by name, then by identity. It never waits for computers that call meanwhile.

use std::sync::Arc;

use super::super::store::Store;
use super::super::{CatalogError, Computer, Status};
use super::{ComputerDetail, ComputerQuery, ComputerRow, Counts, Page, page_limit};
use crate::domain::{ComputerId, GroupId};

fn size<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

fn row(computer: &Computer, status: &Status) -> ComputerRow {
    let counts = Counts {
        installed: size(&status.installed),
        needed: size(&status.needed),
        failed: size(&status.failed),
    };
    ComputerRow { computer: computer.clone(), counts }
}

fn has_words(computer: &Computer, words: &[String]) -> bool {
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
    pub(in super::super) fn computers(
        &self,
        query: &ComputerQuery,
    ) -> Result<Page<ComputerRow>, CatalogError> {
        let decisions = Arc::clone(&self.snapshot().view().decisions);
        let groups = query.group.map(|group| decisions.below(&group));
        let text = query.text.as_deref().unwrap_or_default().to_lowercase();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let mut found = self.computers.all();
        found.retain(|computer| {
            groups.as_ref().is_none_or(|groups| is_in(computer, groups)) && has_words(computer, &words)
        });
        found.sort_unstable_by(|a, b| (&a.dns_name, &a.id).cmp(&(&b.dns_name, &b.id)));
        let page = found.iter().skip(query.offset).take(page_limit(query.limit));
        let rows = page.map(|computer| Ok(row(computer, &self.status(&computer.id)?)));
        let rows = rows.collect::<Result<_, CatalogError>>()?;
        Ok(Page { rows, total: found.len(), offset: query.offset })
    }

    pub(in super::super) fn computer_detail(
        &self,
        id: &ComputerId,
    ) -> Result<Option<ComputerDetail>, CatalogError> {
        let Some(computer) = self.computers.get(id) else { return Ok(None) };
        let status = self.status(id)?;
        let events = self.events(id)?;
        Ok(Some(ComputerDetail { row: row(&computer, &status), status, events }))
    }
}
