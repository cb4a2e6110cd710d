//! The rate to which classes that yield to other traffic are throttled. Pure arithmetic; the time is given.
//!
//! A token bucket as in RFC 2697 section 3: tokens are added at the rate (CIR) up to the burst size (CBS); a packet of B bytes
//! conforms when there are B tokens, and takes them. Here the burst size is one quantum and [`SLACK`].
//!
//! **Invariant:** over any time it allows its rate times that time, one quantum and [`SLACK`]. It is not the link's
//! rate: what it allows passes [`super::quota`] like everything.

use std::time::Duration;

use tokio::time::Instant;

use super::shape::Shape;
use tailwater_domain::Class;

/// What may accumulate beside a quantum, so that a timer that fires late loses nothing.
const SLACK: Duration = Duration::from_millis(10);

/// Which classes yield, and to how much all of them together are throttled.
#[derive(Debug)]
pub(super) struct Cap {
    yields: [bool; Class::ALL.len()],
    bytes_per_second: u64,
    quantum: u64,
    /// Bytes allowed by now; negative after what was taken in advance.
    tokens: f64,
    at: Instant,
}

impl Cap {
    pub(super) fn new(exempt: &[Class], bytes_per_second: u64, now: Instant) -> Self {
        let yields = Class::ALL.map(|class| !exempt.contains(&class));
        let mut cap = Self { yields, bytes_per_second: 1, quantum: 1, tokens: 0.0, at: now };
        cap.set(bytes_per_second, now);
        cap
    }

    /// Another rate from now on. Tokens are kept: they are few.
    pub(super) fn set(&mut self, bytes_per_second: u64, now: Instant) {
        self.refill(now);
        self.bytes_per_second = bytes_per_second.max(1);
        self.quantum = Shape::of_bytes(self.bytes_per_second).quantum;
    }

    pub(super) fn applies_to(&self, class: Class) -> bool {
        self.yields[class.index()]
    }

    /// Bytes of one turn of a class that yields.
    pub(super) fn quantum(&self) -> u64 {
        self.quantum
    }

    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52 bytes a second")]
    fn refill(&mut self, now: Instant) {
        let rate = self.bytes_per_second as f64;
        let most = rate * SLACK.as_secs_f64() + self.quantum as f64;
        self.tokens = (self.tokens + rate * now.saturating_duration_since(self.at).as_secs_f64()).min(most);
        self.at = now;
    }

    /// Whether `bytes` are allowed by now; otherwise when they will be.
    #[expect(clippy::cast_precision_loss, reason = "a turn is at most a mebibyte")]
    pub(super) fn allows(&mut self, bytes: u64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let missing = bytes as f64 - self.tokens;
        if missing <= 0.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64(missing / self.bytes_per_second as f64))
    }

    /// Takes what was allowed.
    #[expect(clippy::cast_precision_loss, reason = "a turn is at most a mebibyte")]
    pub(super) fn spend(&mut self, bytes: u64) {
        self.tokens -= bytes as f64;
    }

    /// Gives back what was not used.
    #[expect(clippy::cast_precision_loss, reason = "a turn is at most a mebibyte")]
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.tokens += bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_allows_its_rate_and_saves_little() {
        let start = Instant::now();
        let mut cap = Cap::new(&[Class::Interactive], 100_000, start);
        assert!(!cap.applies_to(Class::Interactive) && cap.applies_to(Class::Background));
        let mut now = start + Duration::from_mins(1);
        let (mut taken, begin) = (0, now);
        while now < begin + Duration::from_secs(10) {
            match cap.allows(cap.quantum(), now) {
                Ok(()) => {
                    cap.spend(cap.quantum());
                    taken += cap.quantum();
                }
                Err(wait) => now += wait.max(Duration::from_micros(1)),
            }
        }
        assert!((990_000..1_006_000).contains(&taken), "{taken}");
        cap.set(1_000, now);
        assert!(cap.allows(4_096, now + Duration::from_secs(1)).is_err());
    }
}
