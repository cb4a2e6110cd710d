//! `updates`: list, show, approve, decline, hold and back.
//!
//! **Invariant:** what is decided goes through [`Decision`], whichever way. It never guesses between updates that fit
//! equally well.

use crate::arguments::{ActionArgument, ApproveArguments, ListArguments, UpdatesCommand, Which};
use crate::connection::Connection;
use crate::cost;
use crate::decide::Decision;
use crate::output::{self, Outcome, bytes, maybe, time};
use tailwater_api::{
    self as api, Approve, Decide, Endpoint, File, Hold, License, Unapprove, Update, UpdateDetail,
    UpdatesQuery,
};

/// Lists, shows or decides.
pub(super) async fn run(
    connection: &Connection,
    command: UpdatesCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        UpdatesCommand::List(arguments) => listing(connection, arguments, json).await,
        UpdatesCommand::Show { update, page } => {
            let answer = connection.read(api::ReadUpdate, &update, &page.paging()).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_one(&answer);
            }
            Ok(Outcome::Done)
        }
        UpdatesCommand::Approve(arguments) => approve(connection, arguments, json).await,
        UpdatesCommand::Decline(which) => {
            simple(api::DeclineUpdates, ("decline", "Declined"), which).make(connection, json).await
        }
        UpdatesCommand::Undecline(which) => {
            let words = ("undecline", "No longer declined:");
            simple(api::UndeclineUpdates, words, which).make(connection, json).await
        }
        UpdatesCommand::Hold { which, until, reason } => {
            let Which { updates, all_matches, yes } = which;
            let by = Some(crate::usage::user());
            let body = Hold { updates, all_matches, by, until, reason, ..Hold::default() };
            decision(api::HoldUpdates, ("hold", "Held"), body, yes).make(connection, json).await
        }
        UpdatesCommand::Release(which) => {
            let words = ("release", "No longer held:");
            simple(api::ReleaseUpdates, words, which).make(connection, json).await
        }
        UpdatesCommand::Unapprove { which, group } => {
            let Which { updates, all_matches, yes } = which;
            let how = group.as_ref().map(|group| format!(" for {group:?}")).unwrap_or_default();
            let by = Some(crate::usage::user());
            let body = Unapprove { updates, all_matches, by, group, ..Unapprove::default() };
            let words = ("unapprove", "No longer approved:");
            let unapprove = Decision { how, ..decision(api::UnapproveUpdates, words, body, yes) };
            unapprove.make(connection, json).await
        }
    }
}

fn decision<E: Endpoint>(
    operation: E,
    (verb, done): (&'static str, &'static str),
    body: E::Body,
    yes: bool,
) -> Decision<E> {
    Decision { operation, verb, done, how: String::new(), body, yes }
}

/// A decision that says nothing more than on what.
fn simple<E: Endpoint<Body = Decide>>(
    operation: E,
    words: (&'static str, &'static str),
    which: Which,
) -> Decision<E> {
    let Which { updates, all_matches, yes } = which;
    let body = Decide { updates, all_matches, by: Some(crate::usage::user()), ..Decide::default() };
    decision(operation, words, body, yes)
}

async fn approve(
    connection: &Connection,
    arguments: ApproveArguments,
    json: bool,
) -> anyhow::Result<Outcome> {
    let ApproveArguments { which, group, action, deadline, dry_run, accept_license } = arguments;
    let done = if action == ActionArgument::NotApproved { "Not approved:" } else { "Approved" };
    let action = api::Action::from(action);
    let how = format!(" for {group:?}, action {}", action.as_str());
    let body = Approve {
        updates: which.updates,
        all_matches: which.all_matches,
        by: Some(crate::usage::user()),
        dry_run,
        group: Some(group),
        action: Some(action),
        deadline,
        accept_license,
        cost: None,
    };
    if dry_run {
        return cost::print(connection, &body, json).await;
    }
    let approve = Decision { how, ..decision(api::ApproveUpdates, ("approve", done), body, which.yes) };
    approve.make(connection, json).await
}

async fn listing(connection: &Connection, arguments: ListArguments, json: bool) -> anyhow::Result<Outcome> {
    let ListArguments { text, product, classification, kb, state, limit, offset } = arguments;
    let state = state.map(Into::into);
    let asked = UpdatesQuery { text, product, classification, kb, state, ..UpdatesQuery::default() };
    let query =
        |paging: api::Paging| UpdatesQuery { offset: paging.offset, limit: paging.limit, ..asked.clone() };
    let offset = usize::try_from(offset)?;
    let answer = connection.pages(api::ListUpdates, query, offset, Some(limit)).await?;
    if json {
        output::json(&answer)?;
        return Ok(Outcome::Done);
    }
    let row = |update: &Update| {
        vec![
            update.update_id.to_string(),
            update.state.as_str().to_owned(),
            update.kb.join(", "),
            update.classification.clone(),
            update.title.clone(),
        ]
    };
    let rows: Vec<_> = answer.updates.iter().map(row).collect();
    output::table(&["UPDATE", "STATE", "KB", "CLASSIFICATION", "TITLE"], &rows);
    output::of_all(rows.len(), &answer.page);
    Ok(Outcome::Done)
}

fn print_one(detail: &UpdateDetail) {
    let update = &detail.row;
    output::text(&format!(
        "{}\n  update          {} revision {}\n  kind            {}, {}\n  products        {}\n  KB              {}\n  \
         state           {}\n  computers       {} need it, {} have it, {} failed\n",
        update.title,
        update.update_id,
        update.revision,
        detail.kind.as_str(),
        update.classification,
        update.products.join(", "),
        update.kb.join(", "),
        update.state.as_str(),
        update.computers.needed,
        update.computers.installed,
        update.computers.failed,
    ));
    if let Some(hold) = &update.hold {
        output::text(&format!(
            "  held            {}, by {}{}{}\n",
            hold.until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}")),
            hold.by,
            if hold.reason.is_empty() { "" } else { ": " },
            hold.reason,
        ));
    }
    print_withheld(update);
    if detail.license.required {
        output::text(&license(&detail.license));
    }
    print_approvals(&update.approvals);
    if let Some(traffic) = &detail.traffic {
        let bound = if traffic.is_upper_bound { "at most " } else { "" };
        output::text(&format!(
            "  over the link   {} since it was approved; foreseen {bound}{} of {}\n",
            bytes(traffic.crossed),
            bytes(traffic.foreseen),
            bytes(traffic.whole),
        ));
    }
    print_files(&detail.files);
    let status = |status: &api::UpdateStatus| {
        let (state, result) = (status.state.as_str().to_owned(), maybe(status.result.as_ref()));
        vec![status.name.clone(), state, result, status.computer_id.to_string()]
    };
    let statuses: Vec<_> = detail.statuses.iter().map(status).collect();
    if !statuses.is_empty() {
        output::text("");
        output::table(&["COMPUTER", "STATE", "RESULT", "ID"], &statuses);
    }
    output::more(statuses.len(), detail.statuses_total, detail.offset);
}

fn print_approvals(approvals: &[api::Approval]) {
    if approvals.is_empty() {
        return;
    }
    let row = |approval: &api::Approval| {
        let (action, deadline) = (approval.action.as_str().to_owned(), maybe(approval.deadline));
        let (by, at) = (approval.made_by.clone(), approval.made_at.to_string());
        vec![approval.group.clone(), action, deadline, by, at]
    };
    let rows: Vec<_> = approvals.iter().map(row).collect();
    output::table(&["APPROVED FOR", "ACTION", "DEADLINE", "BY", "AT"], &rows);
    output::text("");
}

/// Its payloads, with how much of each is cached.
fn print_files(files: &[File]) {
    let row = |file: &File| {
        let state = file.state.as_str().to_owned();
        vec![file.name.clone(), bytes(file.size), state, bytes(file.held), file.sha1.clone()]
    };
    let files: Vec<_> = files.iter().map(row).collect();
    output::table(&["FILE", "SIZE", "STATE", "HELD", "SHA-1"], &files);
}

/// Prints what keeps an update from being offered.
fn print_withheld(update: &Update) {
    for (number, one) in update.withheld.iter().enumerate() {
        let title = one.title.as_ref().filter(|_| one.update_id != update.update_id);
        output::text(&format!(
            "  {:<16}{}{}{}",
            if number == 0 { "withheld" } else { "" },
            one.message,
            title.map(|title| format!(" ({title})")).unwrap_or_default(),
            one.detail.as_ref().map(|detail| format!("; last time: {detail}")).unwrap_or_default(),
        ));
    }
}

/// What there is to know of license terms.
fn license(license: &License) -> String {
    let accepted =
        license.terms.iter().find_map(|terms| Some((terms.accepted_by.as_ref()?, terms.accepted_at)));
    match (license.accepted, accepted) {
        (false, _) => {
            "  license         has terms; `updates approve --accept-license` accepts them for all computers\n"
                .to_owned()
        }
        (true, Some((by, at))) => format!("  license         accepted by {by} at {}\n", time(at)),
        (true, None) => "  license         accepted\n".to_owned(),
    }
}
