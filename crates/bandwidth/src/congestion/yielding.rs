//! Lets what can wait yield to other traffic on the link: times small probes to the server that payloads come from,
//! and holds the classes that yield to what the delay allows.
//!
//! **Invariant:** the cap only lowers what the calendar allows, and never holds a class that is exempt. Probes are on
//! a connection of their own, are sent only while something that yields is fetched, and take under 1 % of the link.
//! Nothing is remembered over a restart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::control::{Control, Look, Pace};
use super::delay::{Delays, Reading, Timed};
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

/// Between two tries towards a server that answers no probe.
const PROBE_AGAIN: Duration = Duration::from_secs(2);

/// The control, as it runs. Cheap to clone.
#[derive(Clone)]
pub struct Politeness(Arc<Inner>);

struct Inner {
    link: LinkClient,
    exempt: Vec<Class>,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    control: Control,
    delays: Delays,
    reading: Option<Reading>,
    /// When the probe left that is waited for.
    open: Option<Instant>,
    probes: u64,
    failed: u64,
}

/// What was measured, and what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Yielding {
    /// Classes that do not yield.
    pub exempt: Vec<Class>,
    /// Bits a second that the classes which yield may take together.
    pub cap_bits_per_second: u64,
    /// Why.
    pub because: Pace,
    /// The way to the server and back without a queue, in milliseconds; `None` when nothing was measured lately.
    pub base_delay_ms: Option<f64>,
    /// What queues on it now, in milliseconds.
    pub queue_ms: Option<f64>,
    /// Probes answered, and probes not answered.
    pub probes: u64,
    /// Probes that got no answer.
    pub failed_probes: u64,
}

impl Politeness {
    /// Begins to hold back every class but these, until shutdown.
    pub fn start(exempt: Vec<Class>, link: &LinkClient, clock: &Clock, tasks: &Tasks) -> Self {
        let control = Control::new();
        link.limiter().hold_back(&exempt, control.cap(), control.peak());
        let state =
            State { control, delays: Delays::default(), reading: None, open: None, probes: 0, failed: 0 };
        let (link, clock) = (link.clone(), clock.clone());
        let inner = Arc::new(Inner { link, exempt, clock, state: Mutex::new(state) });
        let (control, stopping) = (Arc::clone(&inner), tasks.stopping());
        tasks.spawn("link-politeness", async move {
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
    pub fn status(&self) -> Yielding {
        let state = self.0.state();
        let millis = |pick: fn(&Reading) -> Duration| {
            state.reading.as_ref().map(|reading| (pick(reading).as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Yielding {
            exempt: self.0.exempt.clone(),
            cap_bits_per_second: state.control.cap().saturating_mul(8),
            because: state.control.pace(),
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
    Took(Timed, Duration),
    /// The server is there, but nothing was timed.
    Nothing,
    Lost,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks and decides, for as long as it is polled.
    async fn follow(&self) {
        loop {
            let idle = self.decide() == Pace::Idle;
            self.clock.sleep(if idle { IDLE_TICK } else { TICK }).await;
        }
    }

    fn decide(&self) -> Pace {
        let (limiter, meter) = (self.link.limiter(), self.link.meter());
        let yields = |class: &Class| !self.exempt.contains(class);
        let yielding = Class::ALL.iter().filter(|class| yields(class)).map(|class| meter.received_in(*class));
        let status = limiter.status();
        let now = self.clock.instant();
        let mut state = self.state();
        state.reading = state.delays.read(now, state.open.map(|open| now - open));
        let look = Look {
            now,
            yielding: yielding.sum(),
            total: meter.received(),
            wanted: status.waiting.iter().any(|(class, lanes)| *lanes > 0 && yields(class)),
            limit: status.rate.bytes_per_second(),
            delay: state.reading,
        };
        let before = (state.control.cap(), state.control.peak());
        state.control.look(&look);
        let after = (state.control.cap(), state.control.peak());
        let pace = state.control.pace();
        tracing::trace!(cap = after.0, peak = after.1, ?pace, ?look, "looked at the link");
        if before != after {
            limiter.change_cap(after.0, after.1);
        }
        pace
    }

    /// Times the way to the server that payloads come from, while something that yields is fetched.
    async fn probe(&self) {
        let mut line: Option<(Origin, Connection)> = None;
        loop {
            let source = self.link.last_source();
            let (idle, interval) = {
                let state = self.state();
                (state.control.pace() == Pace::Idle, interval(state.control.peak()))
            };
            let Some((origin, path)) = source.filter(|_| !idle) else {
                self.clock.sleep(PROBE).await;
                continue;
            };
            line = line.filter(|(other, connection)| *other == origin && !connection.sender.is_closed());
            let began = self.clock.instant();
            self.state().open = Some(began);
            let measured = tokio::time::timeout(PROBE_LIMIT, self.measure(&origin, &path, &mut line)).await;
            let pause = self.note(&origin, measured.unwrap_or(Probed::Lost), interval);
            if pause == PROBE_AGAIN
                && let Some((_, connection)) = line.take()
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
        if let Probed::Took(timed, took) = probed {
            state.delays.note(origin, timed, took, now);
        }
        interval
    }

    /// One sample: making the connection where there is none, else an answer on it.
    async fn measure(
        &self,
        origin: &Origin,
        path: &http::uri::PathAndQuery,
        line: &mut Option<(Origin, Connection)>,
    ) -> Probed {
        if let Some((_, connection)) = line {
            let took = self.link.time_answer(origin, path, connection).await;
            if took.is_err() || connection.sender.is_closed() {
                connection.task.abort();
                *line = None;
            }
            // a server that closes after each answer, or answers none like this, is timed by connecting
            return took.ok().flatten().map_or(Probed::Nothing, |took| Probed::Took(Timed::Answer, took));
        }
        let Ok((connection, direct)) = self.link.connect_apart(origin).await else { return Probed::Lost };
        let took = connection.took;
        *line = Some((origin.clone(), connection));
        if direct { Probed::Took(Timed::Connection, took) } else { Probed::Nothing }
    }
}

/// Between two probes, so that they take under 1 % of what the link carries, in bytes a second.
fn interval(peak: u64) -> Duration {
    let millis = PROBE_BYTES * PROBE_SHARE * 1000 / peak.max(1);
    Duration::from_millis(millis).clamp(PROBE, SLOWEST_PROBE)
}
