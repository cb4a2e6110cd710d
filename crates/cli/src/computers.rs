//! `computers`: list, show, move, remove.
//!
//! **Invariant:** what a computer says of itself is printed as text without control characters. Removing a
//! computer forgets it and nothing else.

use crate::arguments::ComputersCommand;
use crate::confirm;
use crate::connection::Connection;
use crate::downstreams::via;
use crate::output::{self, Outcome, maybe, time};
use tailwater_api::{self as api, Computer, ComputerDetail, Computers, ComputersQuery, MoveAll, Whose};

/// Lists, shows or changes.
pub(super) async fn run(
    connection: &Connection,
    command: ComputersCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        ComputersCommand::List { text, group, through, ours, page } => {
            let whose = ours.then_some(Whose::Ours);
            let asked = ComputersQuery { text, group, whose, through, ..ComputersQuery::default() };
            let query = |paging: api::Paging| ComputersQuery {
                offset: paging.offset,
                limit: paging.limit,
                ..asked.clone()
            };
            let answer = connection.pages(api::ListComputers, query, page.offset, page.limit).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_list(&answer);
            }
        }
        ComputersCommand::Show { computer, state, page } => {
            let (state, page) = (state.map(Into::into), page.paging());
            let query = api::ComputerQuery { state, offset: page.offset, limit: page.limit };
            let answer = connection.read(api::ReadComputer, &computer, &query).await?;
            if json {
                output::json(&answer)?;
            } else {
                print_one(&answer);
            }
        }
        ComputersCommand::Move { computers, group } => {
            let answer = connection.send(api::MoveComputers, "", &MoveAll { computers, group }).await?;
            confirm::warn(&answer.warnings);
            if json {
                output::json(&answer)?;
            } else {
                for computer in &answer.moved {
                    output::text(&format!("{} is in {:?} now.", computer.name, answer.group));
                }
            }
        }
        ComputersCommand::Remove { computer } => {
            let answer = connection.send(api::DeleteComputer, &computer, &api::Nothing {}).await?;
            if json {
                output::json(&answer)?;
            } else {
                output::text(&format!("Removed {}.", answer.removed));
            }
        }
    }
    Ok(Outcome::Done)
}

fn print_list(answer: &Computers) {
    let row = |computer: &Computer| {
        let name = match computer.same_name {
            0 => computer.name.clone(),
            others => format!("{} (one of {})", computer.name, others + 1),
        };
        vec![
            name,
            computer.groups.join(", "),
            computer.os.clone(),
            computer.last_contact.to_string(),
            computer.needed.to_string(),
            computer.installed.to_string(),
            computer.failed.to_string(),
            via(&computer.via),
            computer.computer_id.to_string(),
        ]
    };
    let rows: Vec<_> = answer.computers.iter().map(row).collect();
    output::table(
        &["COMPUTER", "GROUPS", "SYSTEM", "LAST CONTACT", "NEEDED", "INSTALLED", "FAILED", "VIA", "ID"],
        &rows,
    );
    output::of_all(rows.len(), &answer.page);
}

fn print_one(detail: &ComputerDetail) {
    let computer = &detail.row;
    output::text(&format!(
        "{}\n  id            {}\n  groups        {}\n  system        {}\n  last contact  {}\n  last report   {}\n  via           {}\n  called from   {}\n  certificate   {}\n",
        computer.name,
        computer.computer_id,
        computer.groups.join(", "),
        computer.os,
        time(computer.last_contact),
        time(computer.last_report),
        via(&computer.via),
        maybe(computer.range.as_ref()),
        maybe(computer.certificate.as_ref()),
    ));
    if computer.same_name > 0 {
        output::text(&format!(
            "{} more with this name; `tailwater computers list {}` shows them, and commands take the id.\n",
            computer.same_name, computer.name
        ));
    }
    let update = |update: &api::ReportedUpdate| {
        let (state, result) = (update.state.as_str().to_owned(), maybe(update.result.as_ref()));
        vec![state, result, update.update_id.to_string(), update.title.clone()]
    };
    let updates: Vec<_> = detail.updates.iter().map(update).collect();
    output::table(&["STATE", "RESULT", "UPDATE", "TITLE"], &updates);
    output::more(updates.len(), detail.updates_total, detail.offset);
    let change = |change: &api::IdentityChange| {
        vec![
            change.at.to_string(),
            change.kind.as_str().to_owned(),
            change.before.clone(),
            change.after.clone(),
            maybe(change.from.as_ref()),
            change.times.to_string(),
        ]
    };
    let changes: Vec<_> = detail.identity_changes.iter().map(change).collect();
    if !changes.is_empty() {
        output::text(
            "\nIt was not always what it says it is. Two computers with one identity look like this, and so does one that was rebuilt:",
        );
        output::table(&["WHEN", "WHAT", "BEFORE", "AFTER", "FROM", "TIMES"], &changes);
    }
    let event = |event: &api::Event| {
        vec![event.at.to_string(), event.event.clone(), event.result.clone(), maybe(event.title.as_ref())]
    };
    let events: Vec<_> = detail.events.iter().map(event).collect();
    if !events.is_empty() {
        output::text("");
        output::table(&["WHEN", "EVENT", "RESULT", "UPDATE"], &events);
    }
}
