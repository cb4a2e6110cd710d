//! `updates approve --dry-run`: what an approval would move over the link.
//!
//! **Invariant:** nothing is changed. An upper bound is called one.

use crate::confirm;
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes, time};
use tailwater_api::{self as api, Approve, ClassCost, Cost, Knowledge, UpdateCost};

/// Prints what an approval would move.
pub(super) async fn print(connection: &Connection, asked: &Approve, json: bool) -> anyhow::Result<Outcome> {
    let answer = connection.send(api::ApproveUpdates, "", asked).await?;
    confirm::warn(&answer.warnings);
    if json {
        output::json(&answer)?;
    } else {
        if let Some(weighed) = &answer.weighed {
            weigh(weighed);
        }
        output::text(&format!("Would change {} updates. Nothing was changed.", answer.count));
    }
    for failure in &answer.failed {
        output::note(&format!("error: {}", failure.error));
    }
    Ok(if answer.failed.is_empty() { Outcome::Done } else { Outcome::InPart })
}

fn weigh(weighed: &api::Weighed) {
    let cost = &weighed.cost;
    for update in &cost.updates {
        one(update);
    }
    if cost.updates.len() > 1 {
        let together = moved(cost.is_upper_bound, cost.left, cost.whole, cost.held);
        output::text(&format!("Together\n{together}"));
    }
    output::text(&format!("  takes           {}", takes(cost)));
    if let Some(budget) = &weighed.budget {
        let enough = if budget.is_enough { "" } else { ": not enough" };
        let (left, renews) = (bytes(budget.left), time(budget.renews_at));
        output::text(&format!("  budget left     {left} until {renews}{enough}"));
    }
}

fn one(update: &UpdateCost) {
    let text = moved(update.is_upper_bound, update.left, update.whole, update.held);
    output::text(&format!("{}\n{text}", update.title));
    if update.replaced_by.is_some() {
        output::text("    an approved update replaces it here: computers take that one");
        return;
    }
    for class in &update.classes {
        let computers =
            if class.computers == 0 { String::new() } else { format!(", {} here", class.computers) };
        output::text(&format!("    {}{computers}: {}", class.class, foreseen(class)));
    }
}

fn foreseen(class: &ClassCost) -> String {
    match class.knowledge {
        Knowledge::Learned => format!("{} as of earlier releases", bytes(class.needed)),
        Knowledge::TakesNothing => "nothing, as of earlier releases".to_owned(),
        Knowledge::Unknown => "nothing learned yet: any of it".to_owned(),
    }
}

/// What of an update, or of several, crosses the link.
fn moved(is_upper_bound: bool, left: u64, whole: u64, held: u64) -> String {
    let bound = if is_upper_bound { "at most " } else { "" };
    let (left, whole, held) = (bytes(left), bytes(whole), bytes(held));
    format!("  over the link   {bound}{left} of {whole}\n  cached already  {held}")
}

/// How long it takes.
fn takes(cost: &Cost) -> String {
    if cost.left == 0 {
        return "no time: nothing is left to fetch".to_owned();
    }
    if cost.ends.unlimited {
        return "as long as the link takes: no rate is set".to_owned();
    }
    match cost.ends.at {
        None => "more than three months at the calendar's rates".to_owned(),
        Some(at) => {
            let seconds = cost.ends.seconds.unwrap_or_default();
            format!("{} at the calendar's rates, until {}", span(seconds), time(at))
        }
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
