//! How fast computers become members of the fleet, and what was not kept of those that did not.
//!
//! **Invariant:** a rate is by address and by subnet, so that nobody's newcomers keep those of others out. It never refuses
//! an answer, only a lasting record.

use std::time::Duration;

use std::net::IpAddr;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Allowance, Clock, LogThrottle, RateLimiter, RateLimits};
use tokio::time::Instant;

/// Addresses and subnets whose rates are known apart.
const RATED: usize = 10_000;

/// New members while there is room: a site of a thousand behind one address gets in at once, one of ten thousand in 90
/// minutes; whoever waits is answered meanwhile.
const ROOMY_RATE: RateLimits = RateLimits {
    total: None,
    per_subnet: Some(Allowance { burst: 2_000, interval: Duration::from_millis(300) }),
    per_address: Some(Allowance { burst: 1_000, interval: Duration::from_millis(600) }),
    entries: RATED,
};
/// New members once half of the places are taken.
const FULLER_RATE: RateLimits = RateLimits {
    total: Some(Allowance { burst: 5_000, interval: Duration::from_millis(100) }),
    per_subnet: Some(Allowance { burst: 200, interval: Duration::from_secs(3) }),
    per_address: Some(Allowance { burst: 100, interval: Duration::from_secs(6) }),
    entries: RATED,
};

pub(crate) const LIMITS: &[Limit] = limits![
    RATED in "addresses": "Addresses whose rate of new computers is known apart, and as many subnets" => "they share one rate",
];

/// What became of computers that asked to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FleetCounts {
    /// In memory only, until they scan and there is room.
    pub provisional: usize,
    /// How often one that scanned had to stay provisional, since this process began.
    pub not_kept: u64,
    /// How many reports of provisional computers were passed over, since this process began.
    pub reports_not_kept: u64,
}

/// How often new members come.
pub(super) struct Newcomers {
    roomy: RateLimiter,
    fuller: RateLimiter,
    /// Those that had to stay provisional.
    refused: LogThrottle,
    /// Reports of computers that are no members.
    unkept: LogThrottle,
}

impl Newcomers {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            roomy: RateLimiter::new(ROOMY_RATE, clock.clone()),
            fuller: RateLimiter::new(FULLER_RATE, clock.clone()),
            refused: LogThrottle::default(),
            unkept: LogThrottle::default(),
        }
    }

    /// Whether another one may become a member now; `fuller` once half of the places are taken.
    pub(super) fn admits(&self, address: IpAddr, fuller: bool) -> bool {
        let rate = if fuller { &self.fuller } else { &self.roomy };
        rate.try_take(address).is_ok()
    }

    /// One had to stay provisional: how many since the last line of the log, when another is due.
    pub(super) fn note_refused(&self, now: Instant) -> Option<u64> {
        self.refused.note(now)
    }

    /// A report was not kept: how many since the last line of the log, when another is due.
    pub(super) fn note_unkept(&self, now: Instant) -> Option<u64> {
        self.unkept.note(now)
    }

    /// What was not kept since this process began.
    pub(super) fn counts(&self, provisional: usize) -> FleetCounts {
        FleetCounts { provisional, not_kept: self.refused.total(), reports_not_kept: self.unkept.total() }
    }
}
