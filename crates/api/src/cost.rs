//! What an approval would move over the link, and what it moved.
//!
//! **Invariant:** sizes are bytes of payloads, each file counted once. What is foreseen is never corrected afterwards.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BudgetLine;
use tailwater_domain::{Rate, UpdateId};

/// What an approval would move, and what there is for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Weighed {
    /// What is left of the link's budgets; null where there are none.
    pub budget: Option<BudgetLeft>,
    /// The rate that holds now.
    pub rate: RateInForce,
    /// `content.fetch`, as configured.
    pub fetch: String,
    /// What it moves.
    pub cost: Cost,
}

/// What is left of the tighter one of the link's budgets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetLeft {
    /// Bytes that what is not urgent may still take.
    pub left: u64,
    /// Bytes that what is urgent may still take.
    pub left_for_urgent: u64,
    /// When that budget begins anew.
    pub renews_at: Timestamp,
    /// Whether it is enough.
    pub is_enough: bool,
    /// The day's budget.
    pub daily: Option<BudgetLine>,
    /// The month's budget.
    pub monthly: Option<BudgetLine>,
}

/// The rate that holds, and what comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateInForce {
    /// The rate, such as `8 Mbit/s`.
    #[schemars(with = "String")]
    pub rate: Rate,
    /// Why it holds.
    pub because: RateReason,
    /// When another rate begins to hold, if one does within a week.
    pub until: Option<Timestamp>,
    /// Which one that is.
    #[schemars(with = "Option<String>")]
    pub then: Option<Rate>,
}

/// Why a rate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateReason {
    /// `bandwidth.rate`.
    Base,
    /// A window of the calendar, counted from 0 in the order of the configuration.
    Window(usize),
    /// An administrator said so.
    Exception,
}

/// What several updates move together, each file once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Each by itself.
    pub updates: Vec<UpdateCost>,
    /// All files, in bytes.
    pub whole: u64,
    /// Bytes that computers here are foreseen to ask for.
    pub needed: u64,
    /// Of these, what is cached.
    pub held: u64,
    /// Of these, what will cross the link.
    pub left: u64,
    /// Bytes that cross at most: more than `left` when something is unknown.
    pub at_most: u64,
    /// Whether something is unknown, so that `left` is no more than an upper bound.
    pub is_upper_bound: bool,
    /// When `left` will have crossed at the calendar's rates.
    pub ends: Ends,
    /// The same for `at_most`.
    pub ends_at_most: Ends,
}

/// What one update moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateCost {
    /// The update.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its title.
    pub title: String,
    /// All its files, in bytes.
    pub whole: u64,
    /// Bytes that computers here are foreseen to ask for.
    pub needed: u64,
    /// Of these, what is cached.
    pub held: u64,
    /// Of these, what will cross the link.
    pub left: u64,
    /// Bytes that cross at most: more than `left` when something is unknown.
    pub at_most: u64,
    /// Whether something is unknown.
    pub is_upper_bound: bool,
    /// An approved update that replaces it for the same computers: agents take that one instead.
    #[schemars(with = "Option<Uuid>")]
    pub replaced_by: Option<UpdateId>,
    /// The classes of the group's computers, and those known by their requests.
    pub classes: Vec<ClassCost>,
}

/// What one class of computers takes of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassCost {
    /// The class, such as `Windows 10.0.26100 AMD64`.
    pub class: String,
    /// Computers of it in the group; 0 for those known by their requests only.
    pub computers: usize,
    /// How much is known.
    pub knowledge: Knowledge,
    /// Bytes that it is foreseen to take.
    pub needed: u64,
}

/// How much is known of what a class takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Knowledge {
    /// It took something of earlier releases.
    Learned,
    /// It took nothing of earlier releases, though others did.
    TakesNothing,
    /// Nothing was learned: it may take anything.
    Unknown,
}

/// When something will be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// At this time, when nothing else crosses the link; null when that is more than three months away.
    pub at: Option<Timestamp>,
    /// Seconds from now.
    pub seconds: Option<u64>,
    /// No rate is set: as fast as the link carries it.
    pub unlimited: bool,
}

/// What was foreseen of an update's approval beside what crossed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// When it was approved.
    pub approved_at: Timestamp,
    /// All files of the update, in bytes.
    pub whole: u64,
    /// Bytes that were foreseen to cross.
    pub foreseen: u64,
    /// Bytes that were said to cross at most.
    pub at_most: u64,
    /// Whether something was unknown.
    pub is_upper_bound: bool,
    /// Bytes that crossed since.
    pub crossed: u64,
}
