//! Promises of the control, on a link that is simulated.

use super::*;

const LINK: f64 = 1_250_000.0;
const STEP_TIME: Duration = Duration::from_millis(10);

/// A link of 10 Mbit/s and 40 ms, seen through probes as they come back.
struct World {
    now: Instant,
    control: Control,
    queue: f64,
    received: f64,
    delays: VecDeque<Duration>,
    steps: u32,
}

impl World {
    fn new() -> Self {
        let delays = VecDeque::new();
        Self { now: Instant::now(), control: Control::new(), queue: 0.0, received: 0.0, delays, steps: 0 }
    }

    /// Runs on, with others who fill the queue up to so much time; says which part of the link was used, and the
    /// longest queue of the second half.
    fn run(&mut self, seconds: u64, others: Option<Duration>) -> (f64, Duration) {
        let (before, steps) = (self.received, seconds * 100);
        let mut longest = 0.0_f64;
        for step in 0..steps {
            self.now += STEP_TIME;
            self.steps += 1;
            let step_time = STEP_TIME.as_secs_f64();
            let asks = self.control.cap;
            if let Some(queue) = others {
                // what arrives is our part of all that is sent
                self.queue = queue.as_secs_f64();
                self.received += LINK * asks / (LINK + asks) * step_time;
            } else {
                self.queue = (self.queue + (asks / LINK - 1.0) * step_time).max(0.0);
                self.received += if self.queue > 0.0 { LINK.min(asks) } else { asks } * step_time;
            }
            if self.steps.is_multiple_of(10) {
                self.delays.push_back(Duration::from_secs_f64(self.queue));
            }
            if step > steps / 2 {
                longest = longest.max(self.queue);
            }
            if self.steps.is_multiple_of(10) {
                self.observe();
            }
        }
        ((self.received - before) / (LINK * as_rate(seconds)), Duration::from_secs_f64(longest))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "megabytes")]
    fn observe(&mut self) {
        let queue = self.delays.iter().rev().take(5).min().copied();
        let reading =
            queue.map(|queue| DelayEstimate { base: Duration::from_millis(40), queue, typical: queue });
        let (now, received) = (self.now, self.received as u64);
        let observation = Observation {
            now,
            yielding: received,
            total: received,
            wanted: true,
            limit: None,
            delay: reading,
        };
        self.control.observe(&observation);
    }
}

#[test]
fn alone_it_fills_the_link_and_others_get_it_within_seconds() {
    let mut world = World::new();
    world.run(8, None);
    let (used, queue) = world.run(60, None);
    assert!(used >= 0.93 && queue < Duration::from_millis(30), "alone: {used} with {queue:?}");
    world.run(5, Some(Duration::from_millis(80)));
    let (used, _) = world.run(10, Some(Duration::from_millis(80)));
    assert!(used <= 0.1, "against others: {used}");
    world.run(10, None);
    let (used, queue) = world.run(10, None);
    assert!(used >= 0.9 && queue < Duration::from_millis(30), "alone again: {used} with {queue:?}");
}

#[test]
fn a_small_queue_of_others_makes_it_yield_too() {
    let mut world = World::new();
    world.run(20, None);
    world.run(10, Some(Duration::from_millis(20)));
    let (used, _) = world.run(10, Some(Duration::from_millis(20)));
    assert!(used <= 0.3, "{used}");
}

#[test]
fn it_never_exceeds_the_calendar_nor_rises_on_what_is_not_used_or_measured() {
    let start = Instant::now();
    let mut control = Control::new();
    let free = DelayEstimate { base: Duration::ZERO, queue: Duration::ZERO, typical: Duration::ZERO };
    let observation = |seconds: u64, yielding, limit, delay| Observation {
        now: start + Duration::from_secs(seconds),
        yielding,
        total: yielding,
        wanted: true,
        limit,
        delay,
    };
    control.observe(&observation(0, 0, None, None));
    control.observe(&observation(1, 200_000, None, None));
    assert_eq!((control.cap(), control.reason()), (125_000, CapReason::Blind));
    control.observe(&observation(2, 210_000, None, Some(free)));
    assert_eq!((control.cap(), control.reason()), (125_000, CapReason::Steady));
    control.observe(&observation(3, 400_000, Some(130_000), Some(free)));
    assert_eq!((control.cap(), control.reason()), (130_000, CapReason::Calendar));
    control.observe(&observation(4, 500_000, Some(50_000), Some(free)));
    assert_eq!(control.cap(), 50_000);
}
