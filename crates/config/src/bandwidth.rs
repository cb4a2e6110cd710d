//! `[bandwidth]`: what the link may carry, and when.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use jiff::tz::TimeZone;
use tailwater_bandwidth::{BudgetConfig, Counted, Days, EgressRates, Window};
use tailwater_domain::{ByteCount, Class, Limit, Rate, limits};

use crate::ConfigError;
use crate::keys::{Field, FieldKind, Key, field, list, switch, tables, text, unset};
use crate::reading::{Checked, Table, time_of_day};

/// How many windows a calendar may have: every one is looked at each second.
const MAX_WINDOWS: usize = 100;

/// The smallest budget: less holds no synchronisation.
const LEAST_BUDGET: ByteCount = ByteCount(1_000_000);

/// What a window of the calendar says.
const WINDOW: &[Field] = &[
    field("days", FieldKind::List),
    field("from", FieldKind::Text),
    field("to", FieldKind::Text),
    field("rate", FieldKind::Text),
    field("time_zone", FieldKind::Text),
];

pub(super) const LIMITS: &[Limit] = limits![
    MAX_WINDOWS in "windows": "Windows of the calendar" => "the configuration is refused",
    LEAST_BUDGET in "bytes": "A budget, at least" => "less is refused",
];

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("bandwidth.rate", "\"unlimited\"").live(),
    text("bandwidth.count", "\"payload\""),
    unset("bandwidth.time_zone"),
    switch("bandwidth.adaptive", "false"),
    list("bandwidth.adaptive_exempt", "[\"interactive\"]"),
    tables("bandwidth.window", WINDOW).live(),
    text("bandwidth.downstream.rate", "\"unlimited\""),
    text("bandwidth.downstream.per_client", "\"unlimited\""),
    text("bandwidth.downstream.per_subnet", "\"unlimited\""),
    unset("bandwidth.budget.daily"),
    unset("bandwidth.budget.monthly"),
    text("bandwidth.budget.reserve", "\"10 %\""),
    list("bandwidth.budget.urgent", "[\"interactive\", \"metadata\", \"deadline\"]"),
    text("bandwidth.budget.when_spent", "\"closed\""),
];

/// `[bandwidth]`: what the link may carry.
#[derive(Debug, Clone)]
pub struct BandwidthSettings {
    /// Everything that is taken from upstream.
    pub rate: Rate,
    /// What of a packet counts.
    pub count: Counted,
    /// Whose clocks windows, budgets and the ledger follow.
    pub time_zone: TimeZone,
    /// The classes that do not yield to other traffic; `None` when nothing yields.
    pub adaptive: Option<Vec<Class>>,
    /// `[[bandwidth.window]]`
    pub windows: Vec<Window>,
    /// `[bandwidth.downstream]`: rates towards clients.
    pub downstream: EgressRates,
    /// `[bandwidth.budget]`, where there is one.
    pub budget: Option<BudgetConfig>,
}

impl BandwidthSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            rate: of.parsed("bandwidth.rate")?,
            count: of.choice("bandwidth.count")?,
            time_zone: time_zone(of)?,
            adaptive: adaptive(of)?,
            windows: windows(of)?,
            downstream: EgressRates {
                rate: rate(of, "bandwidth.downstream.rate")?,
                per_client: rate(of, "bandwidth.downstream.per_client")?,
                per_subnet: rate(of, "bandwidth.downstream.per_subnet")?,
            },
            budget: budget(of)?,
        })
    }
}

/// A rate towards clients.
fn rate(of: &Checked<'_>, key: &str) -> Result<Rate, ConfigError> {
    let rate = of.parsed::<Rate>(key)?;
    if rate == Rate::Closed {
        return Err(of.refuse(key, "expected a rate or \"unlimited\"; to serve nobody, stop the server"));
    }
    Ok(rate)
}

fn windows(of: &Checked<'_>) -> Result<Vec<Window>, ConfigError> {
    let key = "bandwidth.window";
    let of_all = time_zone(of)?;
    let window = |table: &Table| {
        let text = |name: &str| table.get(name).and_then(|values| values.first()).map(|text| text.trim());
        let needed = |name: &str| text(name).ok_or_else(|| of.refuse(key, format!("a window needs {name}")));
        let time = |name: &str| {
            let wanted = format!("{name}: expected a time of day such as \"08:00\"");
            time_of_day(needed(name)?).ok_or_else(|| of.refuse(key, wanted))
        };
        let rate = needed("rate")?.parse::<Rate>().map_err(|error| of.refuse(key, error.to_string()))?;
        let days = table.get("days").map_or(Ok(Days::ALL), |names| Days::parse(names));
        Ok(Window {
            days: days.map_err(|error| of.refuse(key, error.to_string()))?,
            from: time("from")?,
            to: time("to")?,
            rate,
            zone: text("time_zone").map_or(Ok(of_all.clone()), |name| of.zone(key, name))?,
        })
    };
    of.tables(key, MAX_WINDOWS)?.iter().map(window).collect()
}

fn budget(of: &Checked<'_>) -> Result<Option<BudgetConfig>, ConfigError> {
    let amount = |key: &str| -> Result<Option<ByteCount>, ConfigError> {
        let amount = of.text(key).map(|_| of.parsed::<ByteCount>(key)).transpose()?;
        match amount {
            Some(amount) if amount < LEAST_BUDGET => {
                Err(of.refuse(key, format!("expected at least {LEAST_BUDGET}")))
            }
            amount => Ok(amount),
        }
    };
    let (daily, monthly) = (amount("bandwidth.budget.daily")?, amount("bandwidth.budget.monthly")?);
    if let (Some(day), Some(month)) = (daily, monthly)
        && day > month
    {
        let reason = "a day's budget cannot exceed bandwidth.budget.monthly";
        return Err(of.refuse("bandwidth.budget.daily", reason));
    }
    let urgent = of.choices("bandwidth.budget.urgent")?;
    let when_spent = of.choice("bandwidth.budget.when_spent")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is 0 to 1")]
    let reserve = (of.share("bandwidth.budget.reserve")? * 1000.0).round() as u16;
    if daily.is_none() && monthly.is_none() {
        return Ok(None);
    }
    Ok(Some(BudgetConfig { daily, monthly, reserve, urgent, when_spent, zone: time_zone(of)? }))
}

/// Whose clocks windows and budgets follow.
fn time_zone(of: &Checked<'_>) -> Result<TimeZone, ConfigError> {
    let key = "bandwidth.time_zone";
    of.text(key).map_or_else(|| Ok(TimeZone::system()), |name| of.zone(key, name))
}

/// The classes that do not yield to other traffic; `None` when nothing yields.
fn adaptive(of: &Checked<'_>) -> Result<Option<Vec<Class>>, ConfigError> {
    let key = "bandwidth.adaptive_exempt";
    let exempt: Vec<Class> = of.choices(key)?;
    let on = of.is_on("bandwidth.adaptive");
    if on && exempt.len() == Class::ALL.len() {
        return Err(of.refuse(key, "no class is left that yields; set bandwidth.adaptive = false instead"));
    }
    Ok(on.then_some(exempt))
}
