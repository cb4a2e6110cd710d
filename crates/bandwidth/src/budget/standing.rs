//! A budget as it is shown.
//!
//! **Invariant:** these are values of one moment; they decide nothing.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::allowance::{BudgetLine, WhenSpent};
use tailwater_domain::Class;

/// Who may still spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Every class.
    Open,
    /// The urgent ones.
    Urgent,
    /// Nobody.
    Spent,
}

/// A budget as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct BudgetStatus {
    /// Who may still spend.
    pub standing: Standing,
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
    /// Most that a kill or a power cut counts too much.
    pub block: u64,
    /// Why nothing can be booked, and so nothing is taken.
    pub trouble: Option<String>,
}
