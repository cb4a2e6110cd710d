//! What an administrator should know before a decision is made, and hears again with it.
//!
//! **Invariant:** a warning never stops anything: what must not happen is refused by the catalog. Commands, API and console
//! say the same. It never changes anything.

use std::collections::HashMap;

use jiff::Timestamp;

use super::services::Result;
use tailwater_api::Warning;
use tailwater_catalog::{Catalog, ComputerQuery, Group, MAX_PAGE, UpdateRow, Verdict, Whose};
use tailwater_domain::{Action, GroupId, folded};

/// About the whole of something.
fn of_all(code: &str, message: String) -> Warning {
    Warning { code: code.to_owned(), message, update_id: None, title: None, group: None }
}

/// About a group.
pub(super) fn about_group(code: &str, message: String, group: &str) -> Warning {
    Warning { group: Some(group.to_owned()), ..of_all(code, message) }
}

fn about(row: &UpdateRow, code: &str, message: String) -> Warning {
    Warning { update_id: Some(row.identity.update), title: Some(row.title.clone()), ..of_all(code, message) }
}

/// An update with license terms that nobody accepted.
pub(super) fn licensed(row: &UpdateRow) -> Warning {
    let message =
        "has license terms; approving it accepts them for all computers (accept_license, --accept-license)";
    about(row, "license", message.to_owned())
}

/// What is to be known of a verdict on these updates, before it is given.
pub(super) fn of(
    catalog: &Catalog,
    verdict: &Verdict,
    rows: &[&UpdateRow],
    now: Timestamp,
) -> Result<Vec<Warning>> {
    let tree = Tree::of(catalog);
    let mut found = Vec::new();
    if let Verdict::Approve { group, action, deadline } = verdict {
        if action.acts() {
            found.extend(targeting(catalog, &tree, group)?);
        }
        let past = deadline.filter(|deadline| *deadline <= now && action.acts());
        found.extend(past.map(|deadline| of_all("deadline_past", overdue(deadline))));
    }
    for row in rows {
        match verdict {
            Verdict::Approve { group, action, .. } => approving(&tree, row, group, *action, &mut found),
            Verdict::Unapprove { group: Some(group) } => found.extend(tree.inherited(row, group)),
            Verdict::Decline => declining(&tree, row, &mut found),
            Verdict::Undecline => {
                let message = "was expired by its publisher: it is offered to nobody all the same";
                found.extend(row.expired.then(|| about(row, "expired", message.to_owned())));
            }
            Verdict::Unapprove { group: None } | Verdict::Hold { .. } => {}
            Verdict::Release => {
                let past = row.approvals.iter().filter(|one| one.approval.action.acts());
                let past = past.filter_map(|one| one.approval.deadline).filter(|deadline| *deadline <= now);
                found.extend(past.min().map(|deadline| about(row, "deadline_past", overdue(deadline))));
            }
        }
    }
    Ok(found)
}

fn overdue(deadline: Timestamp) -> String {
    format!(
        "the deadline {deadline} is past: computers install at once, and restart by themselves where they must"
    )
}

fn approving(tree: &Tree, row: &UpdateRow, group: &GroupId, action: Action, found: &mut Vec<Warning>) {
    let mut say = |code, message: String| found.push(about(row, code, message));
    if action == Action::Block {
        if tree.above(row, group).is_none_or(|(_, action)| !action.acts()) {
            say(
                "no_effect",
                "is not approved for any group above: not to approve it here changes nothing yet".to_owned(),
            );
        }
        return;
    }
    if row.expired {
        say("expired", "was expired by its publisher".to_owned());
    }
    if row.superseded && action == Action::Install {
        say(
            "superseded",
            "is superseded by a newer update, which computers need instead where it applies".to_owned(),
        );
    }
    if let Some(declined) = &row.declined {
        say(
            "declined",
            format!("was declined by {} on {}: approving takes that back", declined.by, date(declined.at)),
        );
    }
    if let Some(hold) = &row.hold {
        say("held", format!("is held back here by {}: approvals take effect when it is released", hold.by));
    }
    let others =
        row.approvals.iter().filter(|one| one.approval.action != action && tree.is_below(&one.group, group));
    let others: Vec<String> =
        others.map(|one| format!("{} ({})", tree.name(&one.group), one.approval.action.as_str())).collect();
    if !others.is_empty() {
        say("overridden", format!("keeps what was decided for groups below: {}", others.join(", ")));
    }
}

fn declining(tree: &Tree, row: &UpdateRow, found: &mut Vec<Warning>) {
    let approved: Vec<&str> = row
        .approvals
        .iter()
        .filter(|one| one.approval.action.acts())
        .map(|one| tree.name(&one.group))
        .collect();
    if !approved.is_empty() {
        let message = format!("is approved for {}: those approvals end", approved.join(", "));
        found.push(about(row, "approved", message));
    }
    if row.counts.needed > 0 {
        let message = format!("is needed by {} computers", row.counts.needed);
        found.push(about(row, "needed", message));
    }
}

/// What is to be known of a move by hand.
pub(super) fn moving(catalog: &Catalog) -> Option<Warning> {
    let message = "computers say themselves in which group they are (agents.targeting = \"client\"): the move lasts until \
                   their next contact";
    catalog.is_client_side_targeting().then(|| of_all("targeting", message.to_owned()))
}

/// The day of a time, in the time zone of this machine.
fn date(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d").to_string()
}

/// Groups by identity.
struct Tree(HashMap<GroupId, Group>);

impl Tree {
    fn of(catalog: &Catalog) -> Self {
        Self(catalog.groups().into_iter().map(|group| (group.id, group)).collect())
    }

    fn name(&self, group: &GroupId) -> &str {
        self.0.get(group).map_or("a group that is gone", |group| group.name.as_str())
    }

    /// The groups above one, nearest first.
    fn ancestors(&self, group: &GroupId) -> impl Iterator<Item = GroupId> {
        let parent = |group: &GroupId| self.0.get(group).and_then(|group| group.parent);
        // a chain is never longer than there are groups
        std::iter::successors(parent(group), move |group| parent(group)).take(self.0.len())
    }

    fn is_below(&self, group: &GroupId, above: &GroupId) -> bool {
        self.ancestors(group).any(|ancestor| ancestor == *above)
    }

    /// What is decided for the nearest group above that has a decision of its own.
    fn above(&self, row: &UpdateRow, group: &GroupId) -> Option<(GroupId, Action)> {
        self.ancestors(group).find_map(|ancestor| {
            let own = row.approvals.iter().find(|one| one.group == ancestor)?;
            Some((ancestor, own.approval.action))
        })
    }

    /// What remains when the group has no decision of its own any more.
    fn inherited(&self, row: &UpdateRow, group: &GroupId) -> Option<Warning> {
        let (from, action) = self.above(row, group).filter(|(_, action)| action.acts())?;
        let (own, from) = (self.name(group), self.name(&from));
        let message = format!(
            "stays approved for {own:?} ({}) through {from:?} above; to keep it from {own:?}: tailwater updates approve {} \
             --group {own:?} --action not-approved",
            action.as_str(),
            row.identity.update,
        );
        let warning = about(row, "inherited", message);
        Some(Warning { group: Some(from.to_owned()), ..warning })
    }
}

/// Whether approving for a group reaches anybody.
fn targeting(catalog: &Catalog, tree: &Tree, group: &GroupId) -> Result<Option<Warning>> {
    if [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(group) {
        return Ok(None);
    }
    let name = tree.name(group);
    let members = catalog.members(group).len();
    if catalog.is_client_side_targeting() {
        let message = format!(
            "no computer is in {name:?}: computers say themselves where they are (agents.targeting = \"client\"), and none \
             asks for it"
        );
        return Ok((members == 0).then(|| about_group("targeting", message, name)));
    }
    let asking = asking_for(catalog, name)?;
    if asking > members {
        let message = format!(
            "{asking} computers ask for {name:?}, but what computers ask for is not in force here \
             (agents.targeting = \"server\"), and {members} are in it; `tailwater computers move` puts them there"
        );
        return Ok(Some(about_group("targeting", message, name)));
    }
    // computers of servers below are in groups there
    let reaches = members > 0 || !catalog.servers().is_empty();
    let message = format!("no computer is in {name:?} or below it");
    Ok((!reaches).then(|| about_group("no_computers", message, name)))
}

/// How many agents of ours ask for a group of this name.
pub(super) fn asking_for(catalog: &Catalog, name: &str) -> Result<usize> {
    let wanted = folded(name);
    let mut query = ComputerQuery { whose: Whose::Ours, limit: MAX_PAGE, ..ComputerQuery::default() };
    let mut count = 0;
    loop {
        let page = catalog.computers(&query)?;
        let asks = |names: &[String]| names.iter().any(|asked| folded(asked) == wanted);
        count += page.rows.iter().filter(|row| asks(&row.computer.requested_groups)).count();
        query.offset += page.rows.len();
        if page.rows.is_empty() || query.offset >= page.total {
            return Ok(count);
        }
    }
}
