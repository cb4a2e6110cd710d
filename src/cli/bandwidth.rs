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
            let end = match line.get("forecast").and_then(Value::as_str) {
                Some("ends") => format!("; at this pace it ends {}", time(line, "ends_at")),
                Some("lasts") => "; at this pace it lasts".to_owned(),
                Some("spent") => format!("; spent until {}", time(line, "renews_at")),
                Some("reserve_only") => {
                    format!("; spent but for its reserve until {}", time(line, "renews_at"))
                }
                _ => String::new(),
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

/// What transfers that yield to other traffic are held to, and why.
pub(super) fn yielding(adaptive: &Value) -> String {
    let why = match adaptive.get("because").and_then(Value::as_str) {
        Some("idle") => "nothing that yields is fetched",
        Some("blind") => "the upstream answers no probe yet",
        Some("starting") => "trying how much the link carries",
        Some("rising") => "the link is free",
        Some("yielding") => "others use the link",
        Some("calendar") => "the calendar allows no more",
        _ => "the link is full, or not used up",
    };
    let millis = |key: &str| adaptive.get(key).and_then(Value::as_f64);
    let delay = match (millis("queue_ms"), millis("base_delay_ms")) {
        (Some(queue), Some(base)) => format!("; {queue:.0} ms queue on a way of {base:.0} ms"),
        _ => String::new(),
    };
    format!("{} for what can wait: {why}{delay}", rate(number(adaptive, "cap_bits_per_second")))
}

fn print(reading: &Value) {
    let since = crate::cli::status::since(reading, "since");
    output::text(&format!(
        "Rate        {}, {}\nNow         {}\nReceived    {} today, {} this month, {}{since}\nSent        {}{since}\n",
        field(reading, "rate"),
        until_when(reading),
        rate(number(reading, "bits_per_second")),
        bytes(reading, "received_today"),
        bytes(reading, "received_month"),
        bytes(reading, "received"),
        bytes(reading, "sent"),
    ));
    for (name, text) in budgets(reading) {
        output::text(&format!("{name:<12}{text}"));
    }
    if let Some(text) = reading.get("budget").and_then(standing) {
        output::text(&format!("{:<12}{text}", "Budget"));
    }
    if let Some(adaptive) = reading.get("adaptive").filter(|adaptive| !adaptive.is_null()) {
        output::text(&format!("Adaptive  {}", yielding(adaptive)));
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

/// The numbers of a row of the ledger, in the order of the table.
const NUMBERS: [&str; 7] = ["received", "sent", "payload", "wasted", "served", "fetched", "avoided"];

fn question(from: Option<&str>, to: Option<&str>, by: &str) -> String {
    // a plus sign would be read as a space
    let part = |name: &str, value: Option<&str>| {
        value.map(|value| format!("&{name}={}", value.replace('+', "%2B"))).unwrap_or_default()
    };
    format!("/bandwidth/ledger?by={by}{}{}", part("from", from), part("to", to))
}

fn ledger(answer: &Value, by: &str) {
    let row = |name: String, row: &Value| {
        std::iter::once(name).chain(NUMBERS.iter().map(|number| bytes(row, number))).collect::<Vec<_>>()
    };
    let name = |row: &Value| match field(row, "title") {
        title if title.is_empty() => field(row, "name"),
        title => format!("{} {title}", field(row, "name").chars().take(8).collect::<String>()),
    };
    let mut rows: Vec<_> = list(answer, "rows").iter().map(|line| row(name(line), line)).collect();
    rows.push(row("total".to_owned(), &answer["total"]));
    let head = by.to_uppercase();
    let titles = ["RECEIVED", "SENT", "PAYLOAD", "WASTED", "SERVED", "FETCHED", "AVOIDED"];
    output::table(&std::iter::once(head.as_str()).chain(titles).collect::<Vec<_>>(), &rows);
    output::text(&format!(
        "\n{} are held that nobody was served yet. Served is fetched + avoided; payload is part of received.",
        bytes(answer, "ahead")
    ));
}

/// As RFC 4180.
fn lines(answer: &Value, by: &str) -> String {
    let quote = |text: String| {
        let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    };
    let row = |name: String, title: String, row: &Value| {
        let numbers = NUMBERS.map(|name| number(row, name).to_string()).join(",");
        format!("{},{},{numbers}\r\n", quote(name), quote(title))
    };
    let mut out = format!("{by},title,{}\r\n", NUMBERS.join(","));
    out.extend(list(answer, "rows").iter().map(|line| row(field(line, "name"), field(line, "title"), line)));
    out.push_str(&row("total".to_owned(), String::new(), &answer["total"]));
    out
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
        BandwidthCommand::Ledger { from, to, by, csv } => {
            let answer = connection.get(&question(from.as_deref(), to.as_deref(), by)).await?;
            if json {
                output::json(&answer)?;
            } else if *csv {
                output::text(&lines(&answer, by));
            } else {
                ledger(&answer, by);
            }
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
