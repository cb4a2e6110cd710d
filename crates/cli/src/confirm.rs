//! Asking before something is changed, and saying what there is to know before.
//!
//! **Invariant:** nobody is asked where nobody can answer: without a terminal a command that must be confirmed is refused
//! and names `--yes`. Questions and warnings go to standard error, so that answers stay what they are.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::connection::Refused;
use super::output;
use tailwater_api::{Candidate, Warning};

/// Lines of one kind that are shown; the rest is counted.
const SHOWN: usize = 20;
/// Warnings of one kind that are shown; the rest is counted.
const WARNED: usize = 5;
/// The longest answer that is read.
const MAX_ANSWER: u64 = 100;

/// Whether somebody can be asked.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks; anything but yes is no.
pub(super) fn ask(question: &str) -> bool {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{} [y/N] ", output::clean(question));
    let _ = out.flush();
    let mut answer = String::new();
    let read = std::io::Read::take(std::io::stdin().lock(), MAX_ANSWER).read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// That nothing was changed, because nobody confirmed it.
pub(super) fn unconfirmed(what: &str, count: Option<usize>, concerned: Vec<Candidate>) -> anyhow::Error {
    let message = format!("{what}; nothing was changed: confirm it with --yes");
    Refused { message, status: 409, candidates: concerned, failed: Vec::new(), count }.into()
}

/// Names and titles, as many as fit a screen.
pub(super) fn show(rows: &[Candidate]) {
    for row in rows.iter().take(SHOWN) {
        output::note(&format!("  {}  {}", row.update_id, row.title));
    }
    if rows.len() > SHOWN {
        output::note(&format!("  … and {} more", rows.len() - SHOWN));
    }
}

/// Warnings, the first of each kind.
pub(super) fn warn(warnings: &[Warning]) {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for warning in warnings {
        let count = told.entry(&warning.code).or_default();
        *count += 1;
        if *count <= WARNED {
            let title = warning.title.as_deref().filter(|title| !title.is_empty());
            let about = title.map(|title| format!("{title:?} ")).unwrap_or_default();
            output::note(&format!("warning: {about}{}", warning.message));
        }
    }
    for (code, count) in told.iter().filter(|(_, count)| **count > WARNED) {
        output::note(&format!("warning: … and {} more of this kind ({code})", count - WARNED));
    }
}
