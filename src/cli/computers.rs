//! `computers`: list, show, move, remove.
//!
//! **Invariant:** what a computer says of itself is printed as text without control characters. Removing a
//! computer forgets it and nothing else.

use serde_json::{Value, json};

use crate::cli::arguments::ComputersCommand;
use crate::cli::confirm;
use crate::cli::connection::{Connection, encoded};
use crate::cli::downstreams::via;
use crate::cli::output::{self, Outcome, field, list, time};

/// Lists, shows or changes.
pub(super) async fn run(
    connection: &Connection,
    command: ComputersCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    let (answer, print): (Value, fn(&Value)) = match command {
        ComputersCommand::List { text, group, through, ours, page } => {
            let mut query = Vec::new();
            query.extend(text.map(|text| format!("text={}", encoded(&text))));
            query.extend(group.map(|group| format!("group={}", encoded(&group))));
            query.extend(through.map(|server| format!("through={}", encoded(&server))));
            query.extend(ours.then(|| "whose=ours".to_owned()));
            let path = format!("/computers?{}", query.join("&"));
            (connection.pages(&path, "computers", page.offset, page.limit).await?, print_list)
        }
        ComputersCommand::Show { computer, state, page } => {
            let state = state.map(|state| format!("&state={}", state.as_str())).unwrap_or_default();
            let path = format!("/computers/{}?{}{state}", encoded(&computer), page.query());
            (connection.get(&path).await?, print_one)
        }
        ComputersCommand::Move { computers, group } => {
            let body = json!({ "computers": computers, "group": group });
            let answer = connection.send("POST", "/computers/move", Some(body)).await?;
            confirm::warn(list(&answer, "warnings"));
            (answer, |answer| {
                for computer in list(answer, "moved") {
                    output::text(&format!(
                        "{} is in {:?} now.",
                        field(computer, "name"),
                        field(answer, "group")
                    ));
                }
            })
        }
        ComputersCommand::Remove { computer } => {
            let answer =
                connection.send("DELETE", &format!("/computers/{}", encoded(&computer)), None).await?;
            (answer, |answer| output::text(&format!("Removed {}.", field(answer, "removed"))))
        }
    };
    if json {
        output::json(&answer)?;
    } else {
        print(&answer);
    }
    Ok(Outcome::Done)
}

fn print_list(answer: &Value) {
    let rows: Vec<Vec<String>> = list(answer, "computers")
        .iter()
        .map(|computer| {
            let mut cells: Vec<String> =
                ["name", "groups", "os", "last_contact", "needed", "installed", "failed"]
                    .iter()
                    .map(|name| field(computer, name))
                    .collect();
            if let Some(others) = computer["same_name"].as_u64().filter(|others| *others > 0) {
                cells[0] = format!("{} (one of {})", cells[0], others + 1);
            }
            cells.extend([via(computer), field(computer, "computer_id")]);
            cells
        })
        .collect();
    output::table(
        &["COMPUTER", "GROUPS", "SYSTEM", "LAST CONTACT", "NEEDED", "INSTALLED", "FAILED", "VIA", "ID"],
        &rows,
    );
    output::of_all(answer, "computers");
}

fn print_one(computer: &Value) {
    let of = |name: &str| field(computer, name);
    output::text(&format!(
        "{}\n  id            {}\n  groups        {}\n  system        {}\n  last contact  {}\n  last report   {}\n  via           {}\n  called from   {}\n  certificate   {}\n",
        of("name"),
        of("computer_id"),
        of("groups"),
        of("os"),
        time(computer, "last_contact"),
        time(computer, "last_report"),
        via(computer),
        of("range"),
        of("certificate"),
    ));
    if let Some(others) = computer["same_name"].as_u64().filter(|others| *others > 0) {
        output::text(&format!(
            "{others} more with this name; `tailwater computers list {}` shows them, and commands take the id.\n",
            of("name")
        ));
    }
    let cells =
        |value: &Value, names: &[&str]| names.iter().map(|name| field(value, name)).collect::<Vec<_>>();
    let updates: Vec<_> = list(computer, "updates")
        .iter()
        .map(|update| cells(update, &["state", "result", "update_id", "title"]))
        .collect();
    output::table(&["STATE", "RESULT", "UPDATE", "TITLE"], &updates);
    output::more(updates.len(), computer, "updates_total");
    let events: Vec<_> = list(computer, "events")
        .iter()
        .map(|event| cells(event, &["at", "event", "result", "title"]))
        .collect();
    let changes: Vec<_> = list(computer, "identity_changes")
        .iter()
        .map(|change| cells(change, &["at", "kind", "before", "after", "from", "times"]))
        .collect();
    if !changes.is_empty() {
        output::text(
            "\nIt was not always what it says it is. Two computers with one identity look like this, and so does one that was rebuilt:",
        );
        output::table(&["WHEN", "WHAT", "BEFORE", "AFTER", "FROM", "TIMES"], &changes);
    }
    if !events.is_empty() {
        output::text("");
        output::table(&["WHEN", "EVENT", "RESULT", "UPDATE"], &events);
    }
}
