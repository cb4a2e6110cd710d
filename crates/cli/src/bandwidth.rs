//! `bandwidth`: the rate, and what crosses the link.
//!
//! **Invariant:** whatever is shown or set says until when it holds. It never edits the configuration file.

use jiff::Timestamp;

use crate::arguments::BandwidthCommand;
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes, time};
use crate::status::since;
use tailwater_api::{
    self as api, Adaptive, AdaptiveReason, Budget, BudgetForecast, BudgetLine, BudgetStanding, Ledger,
    LedgerQuery, LedgerRow, Link, LinkReading, RateReason, SetRate,
};
use tailwater_domain::Rate;

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
fn until_when(because: RateReason, until: Option<Timestamp>, then: Option<Rate>) -> String {
    let why = match because {
        RateReason::Exception => "as set by an administrator",
        RateReason::Base => "as configured",
        RateReason::Window(_) => "by the calendar",
    };
    match until {
        Some(until) => format!("{why} until {}, then {}", time(until), output::maybe(then)),
        None if because == RateReason::Exception => {
            format!("{why} until `tailwater bandwidth set --calendar`")
        }
        None => why.to_owned(),
    }
}

/// Which budget, and how it stands, for a line each.
pub(super) fn budgets(reading: &LinkReading) -> Vec<(&'static str, String)> {
    let Some(budget) = &reading.budget else { return Vec::new() };
    [(budget.daily, "Today"), (budget.monthly, "This month")]
        .into_iter()
        .filter_map(|(line, name)| Some((name, budget_line(&line?))))
        .collect()
}

fn budget_line(line: &BudgetLine) -> String {
    let end = match line.forecast {
        BudgetForecast::Ends => format!("; at this pace it ends {}", time(line.ends_at)),
        BudgetForecast::Lasts => "; at this pace it lasts".to_owned(),
        BudgetForecast::Spent => format!("; spent until {}", time(line.renews_at)),
        BudgetForecast::ReserveOnly => format!("; spent but for its reserve until {}", time(line.renews_at)),
        BudgetForecast::Unknown => String::new(),
    };
    format!(
        "{} of {}, {} left, {} for what is urgent{end}",
        bytes(line.spent),
        bytes(line.limit),
        bytes(line.left),
        bytes(line.left_for_urgent),
    )
}

/// What a spent budget lets through.
fn standing(budget: &Budget) -> Option<String> {
    let until = time(budget.until);
    match budget.standing {
        BudgetStanding::Urgent => {
            let urgent: Vec<&str> = budget.urgent.iter().map(|class| class.as_str()).collect();
            Some(format!("spent but for the reserve: only {} until {until}", urgent.join(", ")))
        }
        BudgetStanding::Spent => Some(format!("spent: nothing is taken until {until}")),
        BudgetStanding::Open => None,
    }
}

/// What transfers that yield to other traffic are held to, and why.
pub(super) fn yielding(adaptive: &Adaptive) -> String {
    let why = match adaptive.because {
        AdaptiveReason::Idle => "nothing that yields is fetched",
        AdaptiveReason::Blind => "the upstream answers no probe yet",
        AdaptiveReason::Starting => "trying how much the link carries",
        AdaptiveReason::Rising => "the link is free",
        AdaptiveReason::Yielding => "others use the link",
        AdaptiveReason::Calendar => "the calendar allows no more",
        AdaptiveReason::Steady => "the link is full, or not used up",
    };
    let delay = match (adaptive.queue_ms, adaptive.base_delay_ms) {
        (Some(queue), Some(base)) => format!("; {queue:.0} ms queueing delay over {base:.0} ms base RTT"),
        _ => String::new(),
    };
    format!("{} for what can wait: {why}{delay}", rate(adaptive.cap_bits_per_second))
}

fn print(link: &Link) {
    let reading = &link.reading;
    let since = since(reading.since);
    output::text(&format!(
        "Rate        {}, {}\nNow         {}\nReceived    {} today, {} this month, {}{since}\nSent        {}{since}\n",
        reading.rate,
        until_when(reading.because, reading.until, reading.then),
        rate(reading.bits_per_second),
        bytes(reading.received_today),
        bytes(reading.received_month),
        bytes(reading.received),
        bytes(reading.sent),
    ));
    for (name, text) in budgets(reading) {
        output::text(&format!("{name:<12}{text}"));
    }
    if let Some(text) = reading.budget.as_ref().and_then(standing) {
        output::text(&format!("{:<12}{text}", "Budget"));
    }
    if let Some(adaptive) = &reading.adaptive {
        output::text(&format!("Adaptive  {}", yielding(adaptive)));
    }
    output::text("\n");
    let classes = reading.by_class.iter();
    let classes =
        classes.map(|one| vec![one.class.as_str().to_owned(), bytes(one.received), bytes(one.sent)]);
    output::table(&["PURPOSE", "RECEIVED", "SENT"], &classes.collect::<Vec<_>>());
    if let Some(clients) = &link.downstream {
        output::text(&format!(
            "\nTo clients {} in all, {} each, {} a subnet; {} connected, {} wait, {} sent since start\n",
            clients.rate,
            clients.per_client,
            clients.per_subnet,
            clients.clients,
            clients.waiting,
            bytes(clients.sent),
        ));
    }
    let window = |window: &api::Window| {
        let rate = window.rate.to_string();
        vec![window.days.clone(), window.from.clone(), window.to.clone(), rate, window.time_zone.clone()]
    };
    let windows: Vec<_> = link.windows.iter().map(window).collect();
    if !windows.is_empty() {
        output::text("\n");
        output::table(&["DAYS", "FROM", "TO", "RATE", "TIME ZONE"], &windows);
    }
}

fn ledger(answer: &Ledger, by: &str) {
    let numbers = |counts: &api::ByteCounts| counts.named().map(|(_, number)| bytes(number));
    let row = |name: String, counts: &api::ByteCounts| {
        std::iter::once(name).chain(numbers(counts)).collect::<Vec<_>>()
    };
    let name = |row: &LedgerRow| match row.title.as_deref().unwrap_or_default() {
        "" => row.name.clone(),
        title => format!("{} {title}", row.name.chars().take(8).collect::<String>()),
    };
    let mut rows: Vec<_> = answer.rows.iter().map(|line| row(name(line), &line.counts)).collect();
    rows.push(row("total".to_owned(), &answer.total));
    let head = by.to_uppercase();
    let titles = ["RECEIVED", "SENT", "PAYLOAD", "WASTED", "SERVED", "FETCHED", "AVOIDED"];
    output::table(&std::iter::once(head.as_str()).chain(titles).collect::<Vec<_>>(), &rows);
    output::text(&format!(
        "\n{} are cached that nobody was served yet. Served is fetched + avoided; payload is part of received.",
        bytes(answer.ahead)
    ));
}

/// As RFC 4180.
fn lines(answer: &Ledger, by: &str) -> String {
    let quote = |text: &str| {
        let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    };
    let row = |name: &str, title: &str, counts: &api::ByteCounts| {
        let numbers = counts.named().map(|(_, number)| number.to_string()).join(",");
        format!("{},{},{numbers}\r\n", quote(name), quote(title))
    };
    let names = answer.total.named().map(|(name, _)| name).join(",");
    let mut out = format!("{by},title,{names}\r\n");
    let each = answer.rows.iter();
    out.extend(each.map(|line| row(&line.name, line.title.as_deref().unwrap_or_default(), &line.counts)));
    out.push_str(&row("total", "", &answer.total));
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
            let link = connection.ask(api::ReadLink).await?;
            if json {
                output::json(&link)?;
            } else {
                print(&link);
            }
        }
        BandwidthCommand::Ledger { from, to, by, csv } => {
            let query = LedgerQuery { from: from.clone(), to: to.clone(), by: Some(*by), format: None };
            let answer = connection.read(api::ReadLedger, "", &query).await?;
            if json {
                output::json(&answer)?;
            } else if *csv {
                output::text(&lines(&answer, by.as_str()));
            } else {
                ledger(&answer, by.as_str());
            }
        }
        BandwidthCommand::Set { rate, until, .. } => set(connection, *rate, until.clone(), json).await?,
    }
    Ok(Outcome::Done)
}

async fn set(
    connection: &Connection,
    rate: Option<Rate>,
    until: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    if !connection.is_server() {
        return Err(crate::usage::wrong(
            "no server runs, so there is no rate to change; set bandwidth.rate in the configuration",
        ));
    }
    let answer = match rate {
        Some(rate) => {
            let order = SetRate { rate: rate.to_string(), until };
            connection.send(api::SetLinkRate, "", &order).await?
        }
        None => connection.send(api::ResetLinkRate, "", &api::Nothing {}).await?,
    };
    if json {
        return output::json(&answer);
    }
    output::text(&format!(
        "The link's rate is now {} (was {}), {}.\n",
        answer.rate,
        answer.before,
        until_when(answer.because, answer.until, answer.then)
    ));
    Ok(())
}
