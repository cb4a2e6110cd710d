//! `groups`: list, create, rename, move, remove.
//!
//! **Invariant:** whatever goes with a group is shown and confirmed before. Names are passed on as typed.

use crate::arguments::GroupsCommand;
use crate::confirm;
use crate::connection::Connection;
use crate::output::{self, Outcome};
use tailwater_api::{self as api, ChangeGroup, NewGroup, RemoveGroup, RemovedGroups};

/// Lists or changes.
pub(super) async fn run(
    connection: &Connection,
    command: GroupsCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        GroupsCommand::List => {
            let answer = connection.pages(api::ListGroups, |paging| paging, 0, None).await?;
            let row = |group: &api::Group| {
                let depth = usize::try_from(group.depth).unwrap_or(0);
                let name = format!("{}{}", "  ".repeat(depth), group.name);
                vec![name, group.computers.to_string(), group.group_id.to_string()]
            };
            if json {
                return output::json(&answer).map(|()| Outcome::Done);
            }
            let rows: Vec<_> = answer.groups.iter().map(row).collect();
            output::table(&["GROUP", "COMPUTERS", "GUID"], &rows);
        }
        GroupsCommand::Create { name, parent } => {
            let made = connection.send(api::CreateGroup, "", &NewGroup { name, parent }).await?;
            let parent = output::maybe(made.parent.as_ref());
            tell(&made, &format!("Created {:?} in {parent:?}.", made.name), json)?;
        }
        GroupsCommand::Rename { group, name } => {
            let change = ChangeGroup { name: Some(name), parent: None };
            let changed = connection.send(api::UpdateGroup, &group, &change).await?;
            confirm::warn(&changed.warnings);
            tell(&changed, &format!("{group:?} is now {:?}.", changed.group.name), json)?;
        }
        GroupsCommand::Move { group, parent } => {
            let change = ChangeGroup { name: None, parent: Some(parent) };
            let changed = connection.send(api::UpdateGroup, &group, &change).await?;
            confirm::warn(&changed.warnings);
            let parent = output::maybe(changed.group.parent.as_ref());
            tell(&changed, &format!("{:?} lies in {parent:?} now.", changed.group.name), json)?;
        }
        GroupsCommand::Remove { group, yes } => {
            if !yes {
                let preview = RemoveGroup { dry_run: true };
                confirm_removal(&connection.read(api::DeleteGroup, &group, &preview).await?)?;
            }
            let answer = connection.read(api::DeleteGroup, &group, &RemoveGroup::default()).await?;
            tell(&answer, &format!("Removed {}.", removal(&answer)), json)?;
        }
    }
    Ok(Outcome::Done)
}

/// Prints the answer, or what it comes to in words.
fn tell(answer: &impl serde::Serialize, text: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(answer);
    }
    output::text(text);
    Ok(())
}

/// What goes, in words.
fn removal(answer: &RemovedGroups) -> String {
    let below: Vec<String> = answer.groups.iter().skip(1).map(|group| format!("{:?}", group.name)).collect();
    let below =
        if below.is_empty() { String::new() } else { format!(", those below it ({})", below.join(", ")) };
    format!(
        "{:?}{below}, {} approvals; {} of its {} computers become unassigned",
        answer.removed, answer.approvals, answer.computers.unassigned, answer.computers.total,
    )
}

/// Asks when more goes than an empty group.
fn confirm_removal(answer: &RemovedGroups) -> anyhow::Result<()> {
    if !answer.takes_more {
        return Ok(());
    }
    let what = format!("this removes {}", removal(answer));
    if !confirm::can_ask() {
        return Err(confirm::unconfirmed(&what, None, Vec::new()));
    }
    output::note(&format!("{what}."));
    if !confirm::ask("Go on?") {
        anyhow::bail!("nothing was changed");
    }
    Ok(())
}
