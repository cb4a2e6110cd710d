//! `updates`: list, show, approve, decline, hold and back.
//!
//! **Invariant:** when some of several updates could not be decided on, the others are, each failure is
//! printed, and the status is 3. It never guesses between updates that fit equally well.

use serde_json::{Value, json};

use crate::cli::arguments::{ListArguments, UpdatesCommand};
use crate::cli::connection::{Connection, encoded};
use crate::cli::output::{self, Outcome, bytes, field, list, number};

/// Lists, shows or decides.
pub(super) async fn run(
    connection: &Connection,
    command: UpdatesCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        UpdatesCommand::List(arguments) => listing(connection, &arguments, json).await,
        UpdatesCommand::Show { update } => {
            let answer = connection.get(&format!("/updates/{}", encoded(&update))).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_one(&answer);
            }
            Ok(Outcome::Done)
        }
        UpdatesCommand::Approve(arguments) => {
            let body = json!({
                "updates": arguments.updates, "group": arguments.group, "action": arguments.action.as_str(),
                "deadline": arguments.deadline, "all_matches": arguments.all_matches, "by": super::user(),
            });
            decide(connection, "approve", "Approved", body, json).await
        }
        UpdatesCommand::Decline { updates, all_matches } => {
            let body = json!({ "updates": updates, "all_matches": all_matches, "by": super::user() });
            decide(connection, "decline", "Declined", body, json).await
        }
        UpdatesCommand::Undecline { updates, all_matches } => {
            let body = json!({ "updates": updates, "all_matches": all_matches });
            decide(connection, "undecline", "No longer declined:", body, json).await
        }
        UpdatesCommand::Hold { updates, until, reason, all_matches } => {
            let body = json!({
                "updates": updates, "until": until, "reason": reason, "all_matches": all_matches, "by": super::user(),
            });
            decide(connection, "hold", "Held", body, json).await
        }
        UpdatesCommand::Release { updates, all_matches } => {
            let body = json!({ "updates": updates, "all_matches": all_matches });
            decide(connection, "release", "No longer held:", body, json).await
        }
        UpdatesCommand::Unapprove { updates, group, all_matches } => {
            let body = json!({ "updates": updates, "group": group, "all_matches": all_matches });
            decide(connection, "unapprove", "No longer approved:", body, json).await
        }
    }
}

async fn listing(connection: &Connection, arguments: &ListArguments, json: bool) -> anyhow::Result<Outcome> {
    let mut query = vec![format!("limit={}", arguments.limit), format!("offset={}", arguments.offset)];
    let texts = [
        ("text", &arguments.text),
        ("product", &arguments.product),
        ("classification", &arguments.classification),
        ("kb", &arguments.kb),
    ];
    query.extend(
        texts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?)))),
    );
    query.extend(arguments.state.map(|state| format!("state={}", state.as_str())));
    let answer = connection.get(&format!("/updates?{}", query.join("&"))).await?;
    if json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    let updates = list(&answer, "updates");
    let rows: Vec<Vec<String>> = updates
        .iter()
        .map(|update| {
            ["update_id", "state", "kb", "classification", "title"]
                .iter()
                .map(|name| field(update, name))
                .collect()
        })
        .collect();
    output::table(&["UPDATE", "STATE", "KB", "CLASSIFICATION", "TITLE"], &rows);
    let (shown, total) = (u64::try_from(updates.len()).unwrap_or(u64::MAX), number(&answer, "total"));
    if shown + u64::from(arguments.offset) < total {
        output::note(&format!(
            "{shown} of {total}; more with --offset {}",
            u64::from(arguments.offset) + shown
        ));
    }
    Ok(Outcome::Done)
}

fn print_one(update: &Value) {
    let of = |name: &str| field(update, name);
    output::text(&format!(
        "{}\n  update          {} revision {}\n  kind            {}, {}\n  products        {}\n  KB              {}\n  \
         state           {}\n  computers       {} need it, {} have it, {} failed\n",
        of("title"),
        of("update_id"),
        of("revision"),
        of("update_type"),
        of("classification"),
        of("products"),
        of("kb"),
        of("state"),
        of("computers/needed"),
        of("computers/installed"),
        of("computers/failed"),
    ));
    if let Some(hold) = update.get("hold").filter(|hold| !hold.is_null()) {
        let until = field(hold, "until");
        output::text(&format!(
            "  held            {}, by {}{}{}\n",
            if until.is_empty() { "for good".to_owned() } else { format!("until {until}") },
            field(hold, "by"),
            if field(hold, "reason").is_empty() { "" } else { ": " },
            field(hold, "reason"),
        ));
    }
    let cells =
        |value: &Value, names: &[&str]| names.iter().map(|name| field(value, name)).collect::<Vec<_>>();
    let approvals: Vec<_> = list(update, "approvals")
        .iter()
        .map(|approval| cells(approval, &["group", "action", "deadline", "made_by", "made_at"]))
        .collect();
    if !approvals.is_empty() {
        output::table(&["APPROVED FOR", "ACTION", "DEADLINE", "BY", "AT"], &approvals);
        output::text("");
    }
    let files: Vec<_> = list(update, "files")
        .iter()
        .map(|file| {
            vec![
                field(file, "name"),
                bytes(file, "size"),
                field(file, "state"),
                bytes(file, "held"),
                field(file, "sha1"),
            ]
        })
        .collect();
    output::table(&["FILE", "SIZE", "STATE", "HELD", "SHA-1"], &files);
}

async fn decide(
    connection: &Connection,
    path: &str,
    word: &str,
    body: Value,
    json: bool,
) -> anyhow::Result<Outcome> {
    let answer = connection.send("POST", &format!("/updates/{path}"), Some(body)).await?;
    let (done, failed) = (list(&answer, "done"), list(&answer, "failed"));
    if json {
        output::json(&answer)?;
    } else {
        for update in done {
            output::text(&format!("{word} {}  {}", field(update, "update_id"), field(update, "title")));
        }
    }
    for failure in failed {
        output::note(&format!("error: {}", field(failure, "error")));
        for candidate in list(failure, "candidates") {
            output::note(&format!("  {}  {}", field(candidate, "update_id"), field(candidate, "title")));
        }
    }
    match (done.is_empty(), failed.is_empty()) {
        (_, true) => Ok(Outcome::Done),
        (false, false) => Ok(Outcome::InPart),
        (true, false) => {
            anyhow::bail!("nothing was changed; `tailwater updates list --text …` finds updates")
        }
    }
}
