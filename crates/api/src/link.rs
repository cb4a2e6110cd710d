//! The link towards the upstream: its rate, calendar, budget, and what crosses it.
//!
//! **Invariant:** amounts are bytes counted at the sockets, headers and TLS included. A rate is a text such as
//! `8 Mbit/s`, `unlimited` or `closed`.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RateReason;
use super::endpoint::inputs;
use tailwater_domain::Rate;

/// What a transfer is for, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// An agent waits for it now.
    Interactive,
    /// What the upstream says of updates: synchronisation.
    Metadata,
    /// Approved with a deadline.
    Deadline,
    /// Security and definition updates, ahead of demand.
    Security,
    /// Other approved files, ahead of demand.
    Normal,
    /// Whatever may wait: completing partial files.
    Background,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 6] =
        [Self::Interactive, Self::Metadata, Self::Deadline, Self::Security, Self::Normal, Self::Background];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Metadata => "metadata",
            Self::Deadline => "deadline",
            Self::Security => "security",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

/// The link with its calendar and the rates towards clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// What it does now.
    #[serde(flatten)]
    pub reading: LinkReading,
    /// The calendar, in the order of the configuration.
    pub windows: Vec<Window>,
    /// Rates towards agents and downstream servers; null where none are configured.
    pub downstream: Option<ClientRates>,
}

/// What the link does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkReading {
    /// The rate in force.
    #[schemars(with = "String")]
    pub rate: Rate,
    /// Why it holds.
    pub because: RateReason,
    /// When another rate begins to hold, if one does within a week.
    pub until: Option<Timestamp>,
    /// Which one that is.
    #[schemars(with = "Option<String>")]
    pub then: Option<Rate>,
    /// Bits a second received, averaged over the last 5 full seconds.
    pub bits_per_second: u64,
    /// The first day that the sums below count.
    pub since: Option<Date>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received today.
    pub received_today: u64,
    /// Bytes received in this calendar month.
    pub received_month: u64,
    /// The same by purpose, most urgent first.
    pub by_class: Vec<ClassBytes>,
    /// Streams that wait for their turn, most urgent first.
    pub waiting: Vec<ClassWaiting>,
    /// Transfers that may be open at once.
    pub max_transfers: usize,
    /// The budget; null without one.
    pub budget: Option<Budget>,
    /// How what can wait yields to other traffic; null where it does not.
    pub adaptive: Option<Adaptive>,
}

/// Bytes for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassBytes {
    /// The purpose.
    pub class: Class,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// Streams of one purpose that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassWaiting {
    /// The purpose.
    pub class: Class,
    /// How many.
    pub streams: usize,
}

/// A window of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// On which days, such as `mon-fri`.
    pub days: String,
    /// `HH:MM`.
    pub from: String,
    /// `HH:MM`; not after `from` means on the next day.
    pub to: String,
    /// The rate in it.
    #[schemars(with = "String")]
    pub rate: Rate,
    /// On whose clocks.
    pub time_zone: String,
}

/// Rates towards agents and downstream servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientRates {
    /// To all of them together.
    #[schemars(with = "String")]
    pub rate: Rate,
    /// To one address.
    #[schemars(with = "String")]
    pub per_client: Rate,
    /// To one subnet: 24 bits of an IPv4 address, 64 of an IPv6 address.
    #[schemars(with = "String")]
    pub per_subnet: Rate,
    /// Addresses that are connected.
    pub clients: usize,
    /// Of these, with something to send that waits for its turn.
    pub waiting: usize,
    /// Bytes sent since the start.
    pub sent: u64,
}

/// A budget as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// Who may still spend.
    pub standing: BudgetStanding,
    /// The day's.
    pub daily: Option<BudgetLine>,
    /// The month's.
    pub monthly: Option<BudgetLine>,
    /// The urgent classes.
    pub urgent: Vec<Class>,
    /// What happens when the reserve is spent too.
    pub when_spent: WhenSpent,
    /// Whose midnight ends a day.
    pub time_zone: String,
    /// The day that counts.
    pub date: Date,
    /// When the classes that wait may go on.
    pub until: Option<Timestamp>,
    /// Most bytes that a kill or a power cut counts too much.
    pub block: u64,
    /// Why nothing can be booked, and so nothing is taken.
    pub trouble: Option<String>,
}

/// Who may still spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BudgetStanding {
    /// Every class.
    Open,
    /// The urgent ones.
    Urgent,
    /// Nobody.
    Spent,
}

/// What happens when a budget is spent with its reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenSpent {
    /// Nothing more is taken from upstream.
    Closed,
    /// The urgent classes go on.
    Urgent,
}

/// What is left of one budget, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetLine {
    /// The whole.
    pub limit: u64,
    /// The part of it that only urgent classes may spend.
    pub reserve: u64,
    /// Received since the day or month began.
    pub spent: u64,
    /// What the classes that are not urgent may still take.
    pub left: u64,
    /// What the urgent ones may still take.
    pub left_for_urgent: u64,
    /// When it begins anew.
    pub renews_at: Timestamp,
    /// When it ends at the pace of the last days, where that is before it begins anew.
    pub ends_at: Option<Timestamp>,
    /// The same in a word.
    pub forecast: BudgetForecast,
    /// What it will come to at that pace when it begins anew.
    pub expected: Option<u64>,
}

/// What is to be expected of a budget until it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetForecast {
    /// Too little was seen to tell.
    Unknown,
    /// At the pace of the last days it lasts.
    Lasts,
    /// At that pace it ends before it renews, at `ends_at`.
    Ends,
    /// Only its reserve is left.
    ReserveOnly,
    /// Nothing is left.
    Spent,
}

/// How what can wait yields to other traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Adaptive {
    /// Classes that do not yield.
    pub exempt: Vec<Class>,
    /// Bits a second that the classes which yield may take together.
    pub cap_bits_per_second: u64,
    /// Why.
    pub because: AdaptiveReason,
    /// Round trip to the server without a queue, in milliseconds; null when nothing was measured lately.
    pub base_delay_ms: Option<f64>,
    /// Queueing delay now, in milliseconds.
    pub queue_ms: Option<f64>,
    /// Probes that were answered.
    pub probes: u64,
    /// Probes that got no answer.
    pub failed_probes: u64,
}

/// Why the yielding classes are held to their rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdaptiveReason {
    /// Nothing that yields is fetched.
    Idle,
    /// Nothing was measured yet, or the upstream answers no probe.
    Blind,
    /// The link is free, and how much it carries is not known yet.
    Starting,
    /// The link is free; the rate rises.
    Rising,
    /// Something queues, or the rate is not used up.
    Steady,
    /// Others use the link: the rate falls or stays low.
    Yielding,
    /// As fast as the calendar allows.
    Calendar,
}

/// A rate that holds over the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRate {
    /// `8 Mbit/s`, `500 kbit/s`, `2 MB/s`, `unlimited` or `closed`.
    #[schemars(example = &"8 Mbit/s", example = &"unlimited")]
    pub rate: String,
    /// Until when: `06:00`, `2026-12-24T18:00` or RFC 3339; until it is taken back when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

inputs!(SetRate);

/// The rate after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateChanged {
    /// The rate that holds now.
    #[schemars(with = "String")]
    pub rate: Rate,
    /// The rate that held before.
    #[schemars(with = "String")]
    pub before: Rate,
    /// Why it holds.
    pub because: RateReason,
    /// When another rate begins to hold, if one does within a week.
    pub until: Option<Timestamp>,
    /// Which one that is.
    #[schemars(with = "Option<String>")]
    pub then: Option<Rate>,
}
