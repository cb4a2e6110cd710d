//! `groups`: list, create, rename, remove.
//!
//! **Invariant:** the two well-known groups stay as they are. Names are passed on as typed.

use serde_json::json;

use crate::cli::arguments::GroupsCommand;
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
            let answer = connection.get("/groups").await?;
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
        GroupsCommand::Remove { group } => {
            let answer = connection.send("DELETE", &format!("/groups/{}", encoded(&group)), None).await?;
            let told = format!("Removed {:?}; its computers are unassigned.", field(&answer, "removed"));
            (answer, Some(told))
        }
    };
    if json {
        output::json(&answer)?;
    } else if let Some(told) = told {
        output::text(&told);
    }
    Ok(Outcome::Done)
}
