//! What simulated agents and branches measure together.
//!
//! **Invariant:** every exchange is recorded once, failed or not. It never keeps more than [`MAX_SAMPLES`] times of one
//! operation.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::error::AgentError;

/// Latencies kept of one operation; further ones are only counted.
const MAX_SAMPLES: usize = 2_000_000;

/// Different failures kept.
const MAX_FAILURES: usize = 10;

/// What the agents did and how the server did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Seconds from the first request to the last.
    pub seconds: f64,
    /// Agents that did everything they meant to.
    pub agents_done: u64,
    /// Agents that gave up.
    pub agents_failed: u64,
    /// Scans that ended.
    pub scans: u64,
    /// Updates that the server told them of, over all agents.
    pub updates: u64,
    /// Files downloaded whole with the declared digests.
    pub files: u64,
    /// Files whose digests were wrong.
    pub files_wrong: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Bytes of SOAP answers, as they came.
    pub soap_bytes: u64,
    /// By operation.
    pub operations: Vec<OperationReport>,
    /// What went wrong, at most 10 different messages.
    pub failures: Vec<String>,
}

/// One operation over all agents.
#[derive(Debug, Clone, Serialize)]
pub struct OperationReport {
    /// `SyncUpdates`, …, or `range` for a range of a file.
    pub operation: String,
    /// How often it succeeded.
    pub count: u64,
    /// How often it failed.
    pub failed: u64,
    /// Successes a second over the whole time.
    pub per_second: f64,
    /// Half were answered within so many milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

#[derive(Default)]
struct Operation {
    micros: Vec<u32>,
    count: u64,
    failed: u64,
}

#[derive(Default)]
struct Sums {
    operations: BTreeMap<&'static str, Operation>,
    report: Report,
}

/// Counts of all agents.
#[derive(Default)]
pub(crate) struct Figures(Mutex<Sums>);

impl Figures {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation ended.
    pub(crate) fn record(&self, operation: &'static str, took: Duration, succeeded: bool) {
        let mut sums = self.sums();
        let entry = sums.operations.entry(operation).or_default();
        if succeeded {
            entry.count += 1;
            if entry.micros.len() < MAX_SAMPLES {
                entry.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
        } else {
            entry.failed += 1;
        }
    }

    /// Changes the sums.
    pub(crate) fn add(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.sums().report);
    }

    /// An agent gave up.
    pub(crate) fn failed(&self, error: &AgentError) {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        let mut sums = self.sums();
        sums.report.agents_failed += 1;
        let failures = &mut sums.report.failures;
        if failures.len() < MAX_FAILURES && !failures.contains(&text) {
            failures.push(text);
        }
    }

    /// Everything, over the time it took.
    pub(crate) fn report(&self, took: Duration) -> Report {
        let mut sums = self.sums();
        let seconds = took.as_secs_f64();
        let operations =
            sums.operations.iter_mut().map(|(name, operation)| summary(name, operation, seconds));
        let operations = operations.collect();
        Report { seconds, operations, ..sums.report.clone() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn summary(name: &str, operation: &mut Operation, seconds: f64) -> OperationReport {
    operation.micros.sort_unstable();
    let at = |percent: usize| {
        let place = (operation.micros.len() * percent).div_ceil(100).saturating_sub(1);
        operation.micros.get(place).map_or(0.0, |&micros| f64::from(micros) / 1e3)
    };
    OperationReport {
        operation: name.to_owned(),
        count: operation.count,
        failed: operation.failed,
        per_second: if seconds > 0.0 { operation.count as f64 / seconds } else { 0.0 },
        p50_ms: at(50),
        p99_ms: at(99),
        max_ms: at(100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_successes() {
        let figures = Figures::default();
        (1..=100).for_each(|millis| figures.record("x", Duration::from_millis(millis), true));
        figures.record("x", Duration::from_secs(9), false);
        let report = figures.report(Duration::from_secs(10));
        let x = &report.operations[0];
        assert_eq!((x.count, x.failed, x.per_second), (100, 1, 10.0));
        assert_eq!((x.p50_ms, x.p99_ms, x.max_ms), (50.0, 99.0, 100.0));
    }
}
