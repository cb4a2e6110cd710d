//! What the agents measured together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{AgentError, OperationReport, Report};

/// Latencies kept of one operation; further ones are only counted.
const MAX_SAMPLES: usize = 2_000_000;

/// Different failures kept.
const MAX_FAILURES: usize = 10;

#[derive(Default)]
struct Operation {
    micros: Vec<u32>,
    count: u64,
    failed: u64,
}

#[derive(Default)]
struct State {
    operations: BTreeMap<&'static str, Operation>,
    report: Report,
}

/// Counts of all agents.
#[derive(Default)]
pub(in crate::simulate) struct Figures(Mutex<State>);

impl Figures {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation ended.
    pub(in crate::simulate) fn record(&self, operation: &'static str, took: Duration, succeeded: bool) {
        let mut state = self.state();
        let entry = state.operations.entry(operation).or_default();
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
    pub(in crate::simulate) fn add(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.state().report);
    }

    /// An agent gave up.
    pub(in crate::simulate) fn failed(&self, error: &AgentError) {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        let mut state = self.state();
        state.report.agents_failed += 1;
        let failures = &mut state.report.failures;
        if failures.len() < MAX_FAILURES && !failures.contains(&text) {
            failures.push(text);
        }
    }

    /// Everything, over the time it took.
    pub(in crate::simulate) fn report(&self, took: Duration) -> Report {
        let mut state = self.state();
        let seconds = took.as_secs_f64();
        let operations =
            state.operations.iter_mut().map(|(name, operation)| summary(name, operation, seconds));
        let operations = operations.collect();
        Report { seconds, operations, ..state.report.clone() }
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
