//! `bandwidth`: the rate, and what crosses the link.
//!
//! **Invariant:** whatever is shown or set says until when it holds. It never edits the configuration file.

use serde_json::{Value, json};

use crate::cli::arguments::BandwidthCommand;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, bytes, field, list, number, time};

/// A number of bits a second, for people.
pub(super) fn rate(bits: u64) -> String {
    let one = |size: u64, unit: &str| format!("{}.{} {unit}", bits / size, bits % size * 10 / size);
    match bits {
        1_000_000_000.. => one(1_000_000_000, "Gbit/s"),
        1_000_000.. => one(1_000_000, "Mbit/s"),
        1_000.. => one(1_000, "kbit/s"),
        _ => format!("{bits} bit/s"),
    }
}

/// Why the rate holds, until when, and what comes then.
fn until_when(reading: &Value) -> String {
    let because = match reading.get("because").and_then(Value::as_str) {
        Some("exception") => "as set by an administrator",
        Some("base") => "as configured",
        _ => "by the calendar",
    };
    let then = || format!("until {}, then {}", time(reading, "until"), field(reading, "then"));
    match reading.get("until").filter(|until| !until.is_null()) {
        Some(_) => format!("{because} {}", then()),
        None if because.ends_with("administrator") => {
            format!("{because} until `tailwater bandwidth set --calendar`")
        }
        None => because.to_owned(),
    }
}

/// Which budget, and how it stands, for a line each.
pub(super) fn budgets(reading: &Value) -> Vec<(&'static str, String)> {
    [("daily", "Today"), ("monthly", "This month")]
        .into_iter()
        .filter_map(|(key, name)| Some((name, reading.get("budget")?.get(key)?)))
        .filter(|(_, line)| !line.is_null())
        .map(|(name, line)| {
            let end = match line.get("ends_at").filter(|end| !end.is_null()) {
                Some(_) => format!("; at this pace it ends {}", time(line, "ends_at")),
                None => String::new(),
            };
            let text = format!(
                "{} of {}, {} left, {} for what is urgent{end}",
                bytes(line, "spent"),
                bytes(line, "limit"),
                bytes(line, "left"),
                bytes(line, "left_for_urgent"),
            );
            (name, text)
        })
        .collect()
}

/// What a spent budget lets through.
fn standing(budget: &Value) -> Option<String> {
    let until = time(budget, "until");
    match budget.get("standing").and_then(Value::as_str) {
        Some("urgent") => {
            Some(format!("spent but for the reserve: only {} until {until}", field(budget, "urgent")))
        }
        Some("spent") => Some(format!("spent: nothing is taken until {until}")),
        _ => None,
    }
}

fn print(reading: &Value) {
    output::text(&format!(
        "Rate        {}, {}\nNow         {}\nReceived    {} since start\nSent        {} since start\n",
        field(reading, "rate"),
        until_when(reading),
        rate(number(reading, "bits_per_second")),
        bytes(reading, "received"),
        bytes(reading, "sent"),
    ));
    for (name, text) in budgets(reading) {
        output::text(&format!("{name:<12}{text}"));
    }
    if let Some(text) = reading.get("budget").and_then(standing) {
        output::text(&format!("{:<12}{text}", "Budget"));
    }
    output::text("\n");
    let rows: Vec<Vec<String>> = list(reading, "by_class")
        .iter()
        .map(|class| vec![field(class, "class"), bytes(class, "received"), bytes(class, "sent")])
        .collect();
    output::table(&["PURPOSE", "RECEIVED", "SENT"], &rows);
    if reading["downstream"].is_object() {
        let legs = &reading["downstream"];
        output::text(&format!(
            "\nTo clients {} in all, {} each, {} a subnet; {} connected, {} wait, {} sent since start\n",
            field(legs, "rate"),
            field(legs, "per_client"),
            field(legs, "per_subnet"),
            number(legs, "clients"),
            number(legs, "waiting"),
            bytes(legs, "sent"),
        ));
    }
    let windows: Vec<Vec<String>> = list(reading, "windows")
        .iter()
        .map(|window| ["days", "from", "to", "rate", "time_zone"].map(|key| field(window, key)).to_vec())
        .collect();
    if !windows.is_empty() {
        output::text("\n");
        output::table(&["DAYS", "FROM", "TO", "RATE", "TIME ZONE"], &windows);
    }
}

/// Shows or sets.
pub(super) async fn run(
    connection: &Connection,
    command: &BandwidthCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        BandwidthCommand::Show => {
            let reading = connection.get("/bandwidth").await?;
            if json {
                output::json(&reading)?;
                return Ok(Outcome::Done);
            }
            print(&reading);
        }
        BandwidthCommand::Set { rate, until, .. } => {
            if !connection.is_server() {
                return Err(super::usage(
                    "no server runs, so there is no rate to change; set bandwidth.rate in the configuration",
                ));
            }
            let answer = match rate {
                Some(rate) => {
                    let mut order = json!({ "rate": rate });
                    if let Some(until) = until {
                        order["until"] = json!(until);
                    }
                    connection.send("PUT", "/bandwidth", Some(order)).await?
                }
                None => connection.send("DELETE", "/bandwidth", None).await?,
            };
            if json {
                output::json(&answer)?;
                return Ok(Outcome::Done);
            }
            output::text(&format!(
                "The link's rate is now {} (was {}), {}.\n",
                field(&answer, "rate"),
                field(&answer, "before"),
                until_when(&answer)
            ));
        }
    }
    Ok(Outcome::Done)
}
