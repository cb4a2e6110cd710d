//! How often clients may do something that costs: register a computer, show a wrong token.
//!
//! Token buckets in total, by subnet and by address. An event is paid for at all three or at none.
//!
//! **Invariant:** the table has at most `entries` buckets: one that is full again is the same as none and leaves first,
//! and clients beyond that share one bucket. It never waits; whoever is refused is told for how long.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Clock;
use tailwater_domain::Subnet;

/// Events that may come at once, and how soon one more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// At once, after a rest; at least one.
    pub burst: u32,
    /// After this time one more.
    pub interval: Duration,
}

impl Allowance {
    /// When all of the burst is there again.
    fn whole(&self) -> Duration {
        self.interval.saturating_mul(self.burst.max(1))
    }
}

/// What a limiter allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Everybody together; none is no bound.
    pub total: Option<Allowance>,
    /// One subnet.
    pub per_subnet: Option<Allowance>,
    /// One address.
    pub per_address: Option<Allowance>,
    /// Buckets by address, and as many by subnet: bounds this table's own memory, at about 50 bytes each.
    pub entries: usize,
}

/// The event may not happen now; after this time it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many in a short time; one more after {} s", .0.as_secs().max(1))]
pub struct TooOften(pub Duration);

/// A bucket as the generic cell rate algorithm keeps it: the time up to which events are paid for. A bucket whose time
/// is over is full.
type Paid = Instant;

/// Buckets by client.
#[derive(Debug)]
struct Buckets<K> {
    paid: HashMap<K, Paid>,
    /// Shared by those for whom there was no room.
    others: Option<Paid>,
    entries: usize,
    /// Before this no bucket that is there now is worth another look for room.
    look: Option<Instant>,
}

/// Between two searches for full buckets, so that a full table is not walked for each event.
const LOOK: Duration = Duration::from_secs(1);

impl<K: Eq + Hash + Copy> Buckets<K> {
    fn new(entries: usize) -> Self {
        Self { paid: HashMap::new(), others: None, entries: entries.max(1), look: None }
    }

    /// The client's own bucket, or that of all for whom there is no room.
    fn bucket(&mut self, key: K, now: Instant) -> &mut Paid {
        if !self.paid.contains_key(&key) && self.paid.len() >= self.entries {
            if self.look.is_none_or(|look| look <= now) {
                self.look = Some(now + LOOK);
                self.paid.retain(|_, paid| *paid > now);
            }
            if self.paid.len() >= self.entries {
                return self.others.get_or_insert(now);
            }
        }
        self.paid.entry(key).or_insert(now)
    }
}

/// How long until the bucket has a token.
fn wait(paid: Paid, allowance: Allowance, now: Instant) -> Duration {
    let after = paid.max(now) + allowance.interval;
    after.saturating_duration_since(now).saturating_sub(allowance.whole())
}

fn pay(paid: &mut Paid, allowance: Allowance, now: Instant) {
    *paid = (*paid).max(now) + allowance.interval;
}

#[derive(Debug)]
struct State {
    total: Option<Paid>,
    subnets: Buckets<Subnet>,
    addresses: Buckets<IpAddr>,
}

/// The limiter. Cheap to clone; clones share the same buckets.
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

struct Inner {
    limits: RateLimits,
    clock: Clock,
    state: Mutex<State>,
}

impl RateLimiter {
    /// All buckets are full.
    pub fn new(limits: RateLimits, clock: Clock) -> Self {
        let state = State {
            total: None,
            subnets: Buckets::new(limits.entries),
            addresses: Buckets::new(limits.entries),
        };
        Self(Arc::new(Inner { limits, clock, state: Mutex::new(state) }))
    }

    /// Counts an event of a client, or refuses it.
    ///
    /// # Errors
    /// When a bucket is empty; nothing is counted then.
    pub fn try_take(&self, address: IpAddr) -> Result<(), TooOften> {
        self.ask(address, true)
    }

    /// Whether an event would be refused, without counting one: for those that only count when they fail.
    ///
    /// # Errors
    /// When a bucket is empty.
    pub fn check(&self, address: IpAddr) -> Result<(), TooOften> {
        self.ask(address, false)
    }

    fn ask(&self, address: IpAddr, take: bool) -> Result<(), TooOften> {
        let (now, address) = (self.0.clock.instant(), address.to_canonical());
        let RateLimits { total, per_subnet, per_address, .. } = self.0.limits;
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { total: all, subnets, addresses } = &mut *state;
        let mut buckets = [
            total.map(|allowance| (all.get_or_insert(now), allowance)),
            per_subnet.map(|allowance| (subnets.bucket(Subnet::of(address), now), allowance)),
            per_address.map(|allowance| (addresses.bucket(address, now), allowance)),
        ];
        let waits = buckets.iter().flatten().map(|(paid, allowance)| wait(**paid, *allowance, now));
        let longest = waits.max().unwrap_or_default();
        if !longest.is_zero() {
            return Err(TooOften(longest));
        }
        if take {
            for (paid, allowance) in buckets.iter_mut().flatten() {
                pay(paid, *allowance, now);
            }
        }
        Ok(())
    }

    /// Buckets by address and by subnet that are kept now.
    pub fn entries(&self) -> (usize, usize) {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.addresses.paid.len(), state.subnets.paid.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(entries: usize) -> RateLimiter {
        let allow = |burst, seconds| Some(Allowance { burst, interval: Duration::from_secs(seconds) });
        let limits = RateLimits { total: None, per_subnet: allow(5, 2), per_address: allow(3, 10), entries };
        RateLimiter::new(limits, Clock::system())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn bursts_pass_and_then_the_rate_holds() {
        let limiter = limiter(100);
        let [one, two, far] = ["10.0.0.1", "10.0.0.2", "10.0.9.1"].map(address);
        for _ in 0..3 {
            limiter.try_take(one).unwrap();
        }
        assert_eq!(limiter.try_take(one), Err(TooOften(Duration::from_secs(10))));
        assert_eq!(limiter.check(one), Err(TooOften(Duration::from_secs(10))));
        limiter.try_take(two).unwrap();
        limiter.try_take(two).unwrap();
        assert_eq!(
            limiter.try_take(two),
            Err(TooOften(Duration::from_secs(2))),
            "the subnet's five are used"
        );
        limiter.try_take(far).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        limiter.try_take(two).unwrap();
        assert!(limiter.try_take(two).is_err());
        tokio::time::advance(Duration::from_secs(8)).await;
        limiter.try_take(one).unwrap();
        assert!(limiter.try_take(one).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_time_counts_exactly_what_the_rate_allows() {
        let limiter = limiter(100);
        let mut passed = 0;
        for _ in 0..1_000 {
            passed += u32::from(limiter.try_take(address("10.0.0.1")).is_ok());
            tokio::time::advance(Duration::from_millis(700)).await;
        }
        // 699.3 s at one in ten, and the burst
        assert_eq!(passed, 3 + 69);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_those_beyond_share() {
        let limiter = limiter(8);
        let client = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + (number << 8)));
        for number in 0..8 {
            limiter.try_take(client(number)).unwrap();
        }
        // strangers: three in all, not three each
        let passed = (100..200).filter(|number| limiter.try_take(client(*number)).is_ok()).count();
        assert_eq!((passed, limiter.entries()), (3, (8, 8)));
        assert!(limiter.try_take(client(0)).is_ok(), "who was there before has its own");
        tokio::time::advance(Duration::from_mins(1)).await;
        limiter.try_take(client(300)).unwrap();
        assert_eq!(limiter.entries(), (1, 1), "full buckets made room");
    }
}
