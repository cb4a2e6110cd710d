//! `updates`: list, show, approve, decline, hold and back.
//!
//! **Invariant:** what is decided goes through [`Decision`], whichever way. It never guesses between updates that fit
//! equally well.

use serde_json::{Value, json};

use crate::cli::arguments::{ActionArgument, ApproveArguments, ListArguments, UpdatesCommand, Which};
use crate::cli::confirm;
use crate::cli::connection::{Connection, encoded};
use crate::cli::decide::Decision;
use crate::cli::output::{self, Outcome, bytes, field, list, number};

/// Lists, shows or decides.
pub(super) async fn run(
    connection: &Connection,
    command: UpdatesCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        UpdatesCommand::List(arguments) => listing(connection, &arguments, json).await,
        UpdatesCommand::Show { update, page } => {
            let answer = connection.get(&format!("/updates/{}?{}", encoded(&update), page.query())).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_one(&answer);
            }
            Ok(Outcome::Done)
        }
        UpdatesCommand::Approve(arguments) => approve(connection, &arguments, json).await,
        UpdatesCommand::Decline(which) => {
            decision("decline", "Declined", &which).make(connection, json).await
        }
        UpdatesCommand::Undecline(which) => {
            decision("undecline", "No longer declined:", &which).make(connection, json).await
        }
        UpdatesCommand::Hold { which, until, reason } => {
            let mut hold = decision("hold", "Held", &which);
            hold.body["until"] = json!(until);
            hold.body["reason"] = json!(reason);
            hold.make(connection, json).await
        }
        UpdatesCommand::Release(which) => {
            decision("release", "No longer held:", &which).make(connection, json).await
        }
        UpdatesCommand::Unapprove { which, group } => {
            let mut unapprove = decision("unapprove", "No longer approved:", &which);
            unapprove.how = group.as_ref().map(|group| format!(" for {group:?}")).unwrap_or_default();
            unapprove.body["group"] = json!(group);
            unapprove.make(connection, json).await
        }
    }
}

/// What all decisions have in common.
fn decision(verb: &'static str, done: &'static str, which: &Which) -> Decision {
    let body = json!({ "updates": which.updates, "all_matches": which.all_matches, "by": super::user() });
    Decision { verb, done, how: String::new(), body, yes: which.yes }
}

async fn approve(
    connection: &Connection,
    arguments: &ApproveArguments,
    json: bool,
) -> anyhow::Result<Outcome> {
    let not_approved = arguments.action == ActionArgument::NotApproved;
    let mut approve =
        decision("approve", if not_approved { "Not approved:" } else { "Approved" }, &arguments.which);
    approve.how = format!(" for {:?}, action {}", arguments.group, arguments.action.as_str());
    approve.body["group"] = json!(arguments.group);
    approve.body["action"] = json!(arguments.action.as_str());
    approve.body["deadline"] = json!(arguments.deadline);
    approve.body["accept_license"] = json!(arguments.accept_license);
    if arguments.dry_run {
        approve.body["dry_run"] = json!(true);
        return cost(connection, approve.body, json).await;
    }
    approve.make(connection, json).await
}

async fn listing(connection: &Connection, arguments: &ListArguments, json: bool) -> anyhow::Result<Outcome> {
    let mut query = Vec::new();
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
    let path = format!("/updates?{}", query.join("&"));
    let (offset, most) = (u64::from(arguments.offset), Some(arguments.limit));
    let answer = connection.pages(&path, "updates", offset, most).await?;
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
    output::of_all(&answer, "updates");
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
    print_withheld(update);
    if update["license"]["required"] == true {
        output::text(&license(&update["license"]));
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
    if let Some(traffic) = update.get("traffic").filter(|traffic| !traffic.is_null()) {
        let bound = if traffic["is_upper_bound"] == true { "at most " } else { "" };
        output::text(&format!(
            "  over the link   {} since it was approved; foreseen {bound}{} of {}\n",
            bytes(traffic, "crossed"),
            bytes(traffic, "foreseen"),
            bytes(traffic, "whole"),
        ));
    }
    print_files(update);
    let statuses: Vec<_> = list(update, "statuses")
        .iter()
        .map(|status| cells(status, &["name", "state", "result", "computer_id"]))
        .collect();
    if !statuses.is_empty() {
        output::text("");
        output::table(&["COMPUTER", "STATE", "RESULT", "ID"], &statuses);
    }
    output::more(statuses.len(), update, "statuses_total");
}

/// Its payloads, with how much of each is held.
fn print_files(update: &Value) {
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

/// Prints what keeps an update from being offered.
fn print_withheld(update: &Value) {
    for (number, one) in list(update, "withheld").iter().enumerate() {
        let (title, detail) = (field(one, "title"), field(one, "detail"));
        output::text(&format!(
            "  {:<16}{}{}{}",
            if number == 0 { "withheld" } else { "" },
            field(one, "message"),
            if title.is_empty() || field(one, "update_id") == field(update, "update_id") {
                String::new()
            } else {
                format!(" ({title})")
            },
            if detail.is_empty() { String::new() } else { format!("; last time: {detail}") },
        ));
    }
}

/// What there is to know of license terms.
fn license(license: &Value) -> String {
    let accepted = list(license, "terms").iter().find(|terms| !field(terms, "accepted_by").is_empty());
    match (license["accepted"] == true, accepted) {
        (false, _) => {
            "  license         has terms; `updates approve --accept-license` accepts them for all computers\n"
                .to_owned()
        }
        (true, Some(terms)) => format!(
            "  license         accepted by {} at {}\n",
            field(terms, "accepted_by"),
            output::time(terms, "accepted_at")
        ),
        (true, None) => "  license         accepted\n".to_owned(),
    }
}

/// Prints what an approval would move.
async fn cost(connection: &Connection, body: Value, json: bool) -> anyhow::Result<Outcome> {
    let answer = connection.send("POST", "/updates/approve", Some(body)).await?;
    let failed = list(&answer, "failed");
    confirm::warn(list(&answer, "warnings"));
    if json {
        output::json(&answer)?;
    } else {
        for update in list(&answer, "cost/updates") {
            output::text(&format!("{}\n{}", field(update, "title"), moved(update)));
            if !field(update, "replaced_by").is_empty() {
                output::text("    an approved update replaces it here: computers take that one");
                continue;
            }
            for class in list(update, "classes") {
                let computers = match number(class, "computers") {
                    0 => String::new(),
                    count => format!(", {count} here"),
                };
                let takes = match class["knowledge"].as_str() {
                    Some("learned") => format!("{} as of earlier releases", bytes(class, "needed")),
                    Some("takes_nothing") => "nothing, as of earlier releases".to_owned(),
                    _ => "nothing learned yet: any of it".to_owned(),
                };
                output::text(&format!("    {}{computers}: {takes}", field(class, "class")));
            }
        }
        if list(&answer, "cost/updates").len() > 1 {
            output::text(&format!("Together\n{}", moved(&answer["cost"])));
        }
        output::text(&format!("  takes           {}", takes(&answer["cost"])));
        let budget = field(&answer, "budget/left");
        if !budget.is_empty() {
            let enough = if answer["budget"]["is_enough"] == true { "" } else { ": not enough" };
            let renews = output::time(&answer, "budget/renews_at");
            output::text(&format!(
                "  budget left     {} until {renews}{enough}",
                bytes(&answer, "budget/left")
            ));
        }
        output::text(&format!("Would change {} updates. Nothing was changed.", number(&answer, "count")));
    }
    for failure in failed {
        output::note(&format!("error: {}", field(failure, "error")));
    }
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::InPart })
}

/// What of an update, or of several, crosses the link.
fn moved(cost: &Value) -> String {
    let bound = if cost["is_upper_bound"] == true { "at most " } else { "" };
    format!(
        "  over the link   {bound}{} of {}\n  held already    {}",
        bytes(cost, "left"),
        bytes(cost, "whole"),
        bytes(cost, "held"),
    )
}

/// How long it takes.
fn takes(cost: &Value) -> String {
    if number(cost, "left") == 0 {
        return "no time: nothing is left to fetch".to_owned();
    }
    if cost["ends"]["unlimited"] == true {
        return "as long as the link takes: no rate is set".to_owned();
    }
    match field(cost, "ends/at") {
        at if at.is_empty() => "more than three months at the calendar's rates".to_owned(),
        _ => format!(
            "{} at the calendar's rates, until {}",
            span(number(cost, "ends/seconds")),
            output::time(cost, "ends/at")
        ),
    }
}

/// `2 h 05 min`.
fn span(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}
