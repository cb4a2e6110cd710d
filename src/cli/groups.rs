//! `groups`: list, create, rename, move, remove.
//!
//! **Invariant:** whatever goes with a group is shown and confirmed before. Names are passed on as typed.

use serde_json::{Value, json};

use crate::cli::arguments::GroupsCommand;
use crate::cli::confirm;
use crate::cli::connection::{Connection, encoded};
use crate::cli::output::{self, Outcome, field, list, number};

/// Lists or changes.
pub(super) async fn run(
    connection: &Connection,
    command: GroupsCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    let (answer, told) = match command {
        GroupsCommand::List => {
            let answer = connection.pages("/groups", "groups", 0, None).await?;
            if !json {
                let rows: Vec<Vec<String>> = list(&answer, "groups")
                    .iter()
                    .map(|group| {
                        let depth = usize::try_from(number(group, "depth")).unwrap_or(0);
                        let name = format!("{}{}", "  ".repeat(depth), field(group, "name"));
                        vec![name, field(group, "computers"), field(group, "group_id")]
                    })
                    .collect();
                output::table(&["GROUP", "COMPUTERS", "GUID"], &rows);
            }
            (answer, None)
        }
        GroupsCommand::Create { name, parent } => {
            let answer =
                connection.send("POST", "/groups", Some(json!({ "name": name, "parent": parent }))).await?;
            let told = format!("Created {:?} in {:?}.", field(&answer, "name"), field(&answer, "parent"));
            (answer, Some(told))
        }
        GroupsCommand::Rename { group, name } => {
            let path = format!("/groups/{}", encoded(&group));
            let answer = connection.send("PATCH", &path, Some(json!({ "name": name }))).await?;
            let told = format!("{group:?} is now {:?}.", field(&answer, "name"));
            (answer, Some(told))
        }
        GroupsCommand::Move { group, parent } => {
            let path = format!("/groups/{}", encoded(&group));
            let answer = connection.send("PATCH", &path, Some(json!({ "parent": parent }))).await?;
            let told = format!("{:?} lies in {:?} now.", field(&answer, "name"), field(&answer, "parent"));
            (answer, Some(told))
        }
        GroupsCommand::Remove { group, yes } => {
            let path = format!("/groups/{}", encoded(&group));
            if !yes {
                confirm_removal(&connection.send("DELETE", &format!("{path}?dry_run=true"), None).await?)?;
            }
            let answer = connection.send("DELETE", &path, None).await?;
            let told = format!("Removed {}.", removal(&answer));
            (answer, Some(told))
        }
    };
    confirm::warn(list(&answer, "warnings"));
    if json {
        output::json(&answer)?;
    } else if let Some(told) = told {
        output::text(&told);
    }
    Ok(Outcome::Done)
}

/// What goes, in words.
fn removal(answer: &Value) -> String {
    let below: Vec<String> =
        list(answer, "groups").iter().skip(1).map(|group| format!("{:?}", field(group, "name"))).collect();
    let below =
        if below.is_empty() { String::new() } else { format!(", those below it ({})", below.join(", ")) };
    format!(
        "{:?}{below}, {} approvals; {} of its {} computers become unassigned",
        field(answer, "removed"),
        number(answer, "approvals"),
        number(answer, "computers/unassigned"),
        number(answer, "computers/total"),
    )
}

/// Asks when more goes than an empty group.
fn confirm_removal(answer: &Value) -> anyhow::Result<()> {
    if answer["takes_more"] != true {
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
