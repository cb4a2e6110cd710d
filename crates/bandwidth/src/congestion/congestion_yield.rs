//! Lets what can wait yield to other traffic on the link, as LEDBAT does: times small probes to the server that payloads come
//! from, and throttles the classes that yield to what the queueing delay allows.
//!
//! **Invariant:** the cap only lowers what the calendar allows, and never throttles a class that is exempt. Probes are on
//! a connection of their own, are sent only while something that yields is fetched, and take under 1 % of the link.
//! Nothing is remembered over a restart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::control::{CapReason, Control, Observation};
use super::delay::{DelayEstimate, DelayEstimator, ProbeKind};
use crate::client::{Connection, LinkClient, Origin};
use tailwater_domain::{Class, Limit, limits};
use tailwater_runtime::{Clock, Tasks};

/// Between two decisions.
const TICK: Duration = Duration::from_millis(100);

/// Between two decisions while nothing that yields is fetched.
const IDLE_TICK: Duration = Duration::from_millis(500);

/// Between two probes at least, and at most on slow links.
const PROBE: Duration = Duration::from_millis(100);
const SLOWEST_PROBE: Duration = Duration::from_secs(1);

/// Bytes that a probe moves, both ways and with the headers of its packets, and the part of the link it may take.
const PROBE_BYTES: u64 = 600;
const PROBE_SHARE: u64 = 100;

/// A probe without an answer for so long is given up.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

pub(super) const LIMITS: &[Limit] = limits![
    PROBE_LIMIT: "The time for the answer to a probe" => "the probe is given up",
];

/// Between two attempts towards a server that answers no probe.
const PROBE_AGAIN: Duration = Duration::from_secs(2);

/// The congestion control, as it runs. Cheap to clone.
#[derive(Clone)]
pub struct CongestionYield(Arc<SharedYield>);

struct SharedYield {
    link: LinkClient,
    exempt: Vec<Class>,
    clock: Clock,
    state: Mutex<YieldState>,
}

struct YieldState {
    control: Control,
    estimator: DelayEstimator,
    reading: Option<DelayEstimate>,
    /// When the probe left that is waited for.
    open: Option<Instant>,
    probes: u64,
    failed: u64,
}

/// What was measured, and what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct YieldStatus {
    /// Classes that do not yield.
    pub exempt: Vec<Class>,
    /// Bits a second that the classes which yield may take together.
    pub cap_bits_per_second: u64,
    /// Why.
    pub because: CapReason,
    /// The base RTT, in milliseconds; `None` when nothing was measured lately.
    pub base_delay_ms: Option<f64>,
    /// The queueing delay now, in milliseconds.
    pub queue_ms: Option<f64>,
    /// Probes answered.
    pub probes: u64,
    /// Probes that got no answer.
    pub failed_probes: u64,
}

impl CongestionYield {
    /// Begins to throttle every class but these, until shutdown.
    pub fn start(exempt: Vec<Class>, link: &LinkClient, clock: &Clock, tasks: &Tasks) -> Self {
        let control = Control::new();
        link.limiter().throttle(&exempt, control.cap(), control.peak());
        let state = YieldState {
            control,
            estimator: DelayEstimator::default(),
            reading: None,
            open: None,
            probes: 0,
            failed: 0,
        };
        let (link, clock) = (link.clone(), clock.clone());
        let inner = Arc::new(SharedYield { link, exempt, clock, state: Mutex::new(state) });
        let (control, stopping) = (Arc::clone(&inner), tasks.stopping());
        tasks.spawn("congestion-yield", async move {
            tokio::select! {
                () = control.follow() => {}
                () = stopping.cancelled() => {}
            }
        });
        let (prober, stopping) = (Arc::clone(&inner), tasks.stopping());
        tasks.spawn("link-probe", async move {
            tokio::select! {
                () = prober.probe() => {}
                () = stopping.cancelled() => {}
            }
        });
        Self(inner)
    }

    /// What it does now.
    pub fn status(&self) -> YieldStatus {
        let state = self.0.state();
        let millis = |pick: fn(&DelayEstimate) -> Duration| {
            state.reading.as_ref().map(|reading| (pick(reading).as_secs_f64() * 10_000.0).round() / 10.0)
        };
        YieldStatus {
            exempt: self.0.exempt.clone(),
            cap_bits_per_second: state.control.cap().saturating_mul(8),
            because: state.control.reason(),
            base_delay_ms: millis(|reading| reading.base),
            queue_ms: millis(|reading| reading.queue),
            probes: state.probes,
            failed_probes: state.failed,
        }
    }
}

/// What a probe brought.
#[derive(Clone, Copy)]
enum Probed {
    Took(ProbeKind, Duration),
    /// The server is there, but nothing was timed.
    Nothing,
    Lost,
}

impl SharedYield {
    fn state(&self) -> MutexGuard<'_, YieldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes and decides, for as long as it is polled.
    async fn follow(&self) {
        loop {
            let idle = self.decide() == CapReason::Idle;
            self.clock.sleep(if idle { IDLE_TICK } else { TICK }).await;
        }
    }

    fn decide(&self) -> CapReason {
        let (limiter, meter) = (self.link.limiter(), self.link.meter());
        let yields = |class: &Class| !self.exempt.contains(class);
        let yielding = Class::ALL.iter().filter(|class| yields(class)).map(|class| meter.received_in(*class));
        let status = limiter.status();
        let now = self.clock.instant();
        let mut state = self.state();
        state.reading = state.estimator.read(now, state.open.map(|open| now - open));
        let observation = Observation {
            now,
            yielding: yielding.sum(),
            total: meter.received(),
            wanted: status.waiting.iter().any(|(class, lanes)| *lanes > 0 && yields(class)),
            limit: status.rate.bytes_per_second(),
            delay: state.reading,
        };
        let before = (state.control.cap(), state.control.peak());
        state.control.observe(&observation);
        let after = (state.control.cap(), state.control.peak());
        let reason = state.control.reason();
        tracing::trace!(cap = after.0, peak = after.1, ?reason, ?observation, "observed the link");
        if before != after {
            limiter.change_cap(after.0, after.1);
        }
        reason
    }

    /// Times the path to the server that payloads come from, while something that yields is fetched.
    async fn probe(&self) {
        let mut probe: Option<(Origin, Connection)> = None;
        loop {
            let source = self.link.last_source();
            let (idle, interval) = {
                let state = self.state();
                (state.control.reason() == CapReason::Idle, interval(state.control.peak()))
            };
            let Some((origin, path)) = source.filter(|_| !idle) else {
                self.clock.sleep(PROBE).await;
                continue;
            };
            probe = probe.filter(|(other, connection)| *other == origin && !connection.sender.is_closed());
            let began = self.clock.instant();
            self.state().open = Some(began);
            let measured = tokio::time::timeout(PROBE_LIMIT, self.measure(&origin, &path, &mut probe)).await;
            let pause = self.note(&origin, measured.unwrap_or(Probed::Lost), interval);
            if pause == PROBE_AGAIN
                && let Some((_, connection)) = probe.take()
            {
                connection.task.abort();
            }
            self.clock.sleep(pause.saturating_sub(began.elapsed())).await;
        }
    }

    /// Takes what a probe brought; says how long to wait before the next.
    fn note(&self, origin: &Origin, probed: Probed, interval: Duration) -> Duration {
        let now = self.clock.instant();
        let mut state = self.state();
        state.open = None;
        if matches!(probed, Probed::Lost) {
            state.failed += 1;
            return PROBE_AGAIN;
        }
        state.probes += 1;
        if let Probed::Took(kind, took) = probed {
            state.estimator.note(origin, kind, took, now);
        }
        interval
    }

    /// One sample: making the connection where there is none, else an answer on it.
    async fn measure(
        &self,
        origin: &Origin,
        path: &http::uri::PathAndQuery,
        probe: &mut Option<(Origin, Connection)>,
    ) -> Probed {
        if let Some((_, connection)) = probe {
            let took = self.link.time_answer(origin, path, connection).await;
            if took.is_err() || connection.sender.is_closed() {
                connection.task.abort();
                *probe = None;
            }
            // a server that closes after each answer, or answers none like this, is timed by connecting
            return took.ok().flatten().map_or(Probed::Nothing, |took| Probed::Took(ProbeKind::Answer, took));
        }
        let Ok((connection, direct)) = self.link.connect_apart(origin).await else { return Probed::Lost };
        let took = connection.took;
        *probe = Some((origin.clone(), connection));
        if direct { Probed::Took(ProbeKind::Connection, took) } else { Probed::Nothing }
    }
}

/// Between two probes, so that they take under 1 % of what the link carries, in bytes a second.
fn interval(peak: u64) -> Duration {
    let millis = PROBE_BYTES * PROBE_SHARE * 1000 / peak.max(1);
    Duration::from_millis(millis).clamp(PROBE, SLOWEST_PROBE)
}
