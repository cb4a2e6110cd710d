//! What was learnt of the servers behind the sources: whether they can be reached, whether they answer ranges,
//! and what came from each.
//!
//! **Invariant:** a server that cannot be reached is asked by one request at a time, after pauses that grow to
//! [`LONGEST_PAUSE`]; its first answer, whatever it says, lets everybody in again at once. A status is not
//! unreachability: that is for the file it was about. It never asks anybody itself.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::shared::locked;
use super::{SourceState, SourceStatus};
use tailwater_domain::{Limit, limits};

/// Servers that are remembered, those of the configuration aside.
const MAX_ORIGINS: usize = 64;

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause: after days of outage everything goes on within so long of the link's return.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// How long one request may find out whether a server is back; then another may.
const PROBE: Duration = Duration::from_secs(30);

/// Failures in a row, over at least [`KNOWN_AFTER`], after which a server counts as down.
const KNOWN_FAILURES: u32 = 3;

/// Shorter interruptions are waited out.
const KNOWN_AFTER: Duration = Duration::from_secs(5);

/// Characters kept of what went wrong last.
const MAX_TROUBLE: usize = 200;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ORIGINS in "servers": "Servers whose health is remembered" => "those without a cost and without trouble are forgotten, then whose pause ends first",
    LONGEST_PAUSE: "The pause before a server that is down is tried again" => "it grows no further",
    KNOWN_FAILURES in "failures": "Failures in a row of a server" => "it counts as down, and others are used",
    KNOWN_AFTER: "An interruption that is waited out" => "the server counts as down, and clients get 503",
    MAX_TROUBLE in "characters": "The text kept of what went wrong last" => "it is cut",
];

/// Why a server is not asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// It may be asked from then on.
    pub(super) until: Instant,
    /// It has been down for long enough that nobody should wait for it.
    pub(super) known: bool,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    failures: u32,
    until: Instant,
}

#[derive(Debug, Default)]
struct Origin {
    /// What the configuration says it costs; `None` for addresses that metadata named.
    cost: Option<u32>,
    ranges: Option<bool>,
    down: Option<Down>,
    requests: u64,
    received: u64,
    trouble: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Origins {
    known: Mutex<HashMap<String, Origin>>,
    /// Fires when one answers again.
    pub(super) back: Notify,
}

/// `http://host:port` of an address.
pub(super) fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    &url[..url[authority..].find('/').map_or(url.len(), |at| authority + at)]
}

/// When all that are left are down: forgets the one that would be tried next. Those of the configuration stay.
fn forget_one(known: &mut HashMap<String, Origin>) {
    if known.len() < MAX_ORIGINS {
        return;
    }
    let named = known.iter().filter(|(_, origin)| origin.cost.is_none());
    let next = named.min_by_key(|(_, origin)| origin.down.as_ref().map(|down| down.until));
    if let Some(name) = next.map(|(name, _)| name.clone()) {
        known.remove(&name);
    }
}

impl Origins {
    /// Knows those of the configuration from the start.
    pub(super) fn new(configured: &[(String, u32)]) -> Self {
        let known = configured
            .iter()
            .map(|(url, cost)| (origin(url).to_owned(), Origin { cost: Some(*cost), ..Origin::default() }));
        Self { known: Mutex::new(known.collect()), back: Notify::new() }
    }

    fn with<T>(&self, url: &str, act: impl FnOnce(&mut Origin) -> T) -> T {
        let mut known = locked(&self.known);
        let name = origin(url);
        if known.len() >= MAX_ORIGINS && !known.contains_key(name) {
            known.retain(|_, origin| origin.cost.is_some() || origin.down.is_some());
            forget_one(&mut known);
        }
        act(known.entry(name.to_owned()).or_default())
    }

    /// Why the server of an address is not to be asked now; `None` when it is.
    pub(super) fn closed(&self, url: &str, now: Instant) -> Option<Closed> {
        let known = locked(&self.known);
        let down = known.get(origin(url))?.down.as_ref()?;
        let is_known = down.failures >= KNOWN_FAILURES && now.duration_since(down.since) >= KNOWN_AFTER;
        (down.until > now || is_known).then_some(Closed { until: down.until, known: is_known })
    }

    /// Takes a place for a request. False when the server is down and another request finds out just now.
    pub(super) fn begin(&self, url: &str, now: Instant) -> bool {
        self.with(url, |origin| {
            if let Some(down) = &mut origin.down {
                if down.until > now {
                    return false;
                }
                down.until = now + PROBE;
            }
            origin.requests += 1;
            true
        })
    }

    /// A server answered. True when it had been down.
    pub(super) fn answered(&self, url: &str) -> bool {
        let back = self.with(url, |origin| {
            origin.trouble = None;
            origin.down.take().is_some()
        });
        if back {
            self.back.notify_waiters();
        }
        back
    }

    /// A server could not be reached by a request that began at `begun`. `jitter` in 0..=1 spreads the sites that wait
    /// for the same one.
    pub(super) fn unreachable(&self, url: &str, begun: Instant, now: Instant, jitter: f64, trouble: &str) {
        self.with(url, |origin| {
            origin.trouble = Some(trouble.chars().take(MAX_TROUBLE).collect());
            let down = origin.down.get_or_insert(Down { since: begun, failures: 0, until: now });
            let doubled = FIRST_PAUSE * 2_u32.saturating_pow(down.failures.min(16));
            let pause = doubled.min(LONGEST_PAUSE).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
            down.failures = down.failures.saturating_add(1);
            down.until = now + pause;
        });
    }

    /// Bytes of payloads came from it.
    pub(super) fn received(&self, url: &str, bytes: u64) {
        self.with(url, |origin| origin.received += bytes);
    }

    /// Whether a server answers ranges; `None` until it was seen.
    pub(super) fn takes_ranges(&self, url: &str) -> Option<bool> {
        locked(&self.known).get(origin(url))?.ranges
    }

    /// Notes what was seen. True when it is news.
    pub(super) fn note_ranges(&self, url: &str, takes: bool) -> bool {
        self.with(url, |origin| origin.ranges.replace(takes) != Some(takes))
    }

    /// What lists show, the cheapest first.
    pub(super) fn status(&self, now: Instant) -> Vec<SourceStatus> {
        let mut list: Vec<_> = locked(&self.known)
            .iter()
            .map(|(name, origin)| SourceStatus {
                source: name.clone(),
                cost: origin.cost,
                state: match &origin.down {
                    Some(_) => SourceState::Down,
                    None if origin.requests == 0 => SourceState::Unused,
                    None => SourceState::Up,
                },
                retry_seconds: origin
                    .down
                    .as_ref()
                    .map(|down| down.until.saturating_duration_since(now).as_secs()),
                down_seconds: origin.down.as_ref().map(|down| now.duration_since(down.since).as_secs()),
                ranges: origin.ranges,
                requests: origin.requests,
                received: origin.received,
                trouble: origin.trouble.clone(),
            })
            .collect();
        list.sort_by(|a, b| {
            (a.cost.unwrap_or(u32::MAX), &a.source).cmp(&(b.cost.unwrap_or(u32::MAX), &b.source))
        });
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://a:8530/Content/x";

    #[test]
    fn an_origin_ends_before_the_path() {
        let table = [
            ("http://a:8530/Content/x?y", "http://a:8530"),
            ("https://b/", "https://b"),
            ("http://c", "http://c"),
        ];
        for (url, expected) in table {
            assert_eq!(origin(url), expected);
        }
    }

    #[test]
    fn a_server_that_is_down_is_asked_by_one_at_a_time_and_ever_more_seldom() {
        let (origins, start) = (Origins::default(), Instant::now());
        let (mut now, mut asked) = (start, 0_u32);
        while now < start + Duration::from_hours(72) {
            if origins.begin(URL, now) {
                asked += 1;
                assert!(asked == 1 || !origins.begin(URL, now), "only one finds out");
                origins.unreachable(URL, now, now, 1.0, "no route");
            }
            now += Duration::from_secs(1);
        }
        assert!(asked < 72 * 30 + 20, "{asked} requests in three days");
        let closed = origins.closed(URL, now).unwrap();
        assert!(closed.known && closed.until <= now + LONGEST_PAUSE);
        assert!(origins.answered(URL));
        assert_eq!(origins.closed(URL, now), None);
        assert!(origins.begin(URL, now) && origins.begin("http://a:8530/other", now));
    }

    #[test]
    fn a_short_interruption_is_not_yet_an_outage() {
        let (origins, now) = (Origins::default(), Instant::now());
        for at in 0..10 {
            let at = now + Duration::from_millis(at);
            origins.unreachable(URL, at, at, 0.0, "reset");
        }
        let soon = now + Duration::from_secs(1);
        assert!(origins.closed(URL, soon).is_some_and(|closed| !closed.known));
        assert!(origins.closed(URL, now + KNOWN_AFTER).unwrap().known);
        assert_eq!(origins.closed("http://b/", soon), None);
    }

    #[test]
    fn those_of_the_configuration_are_shown_unused_and_never_forgotten() {
        let origins =
            Origins::new(&[("http://dear:8530".to_owned(), 50), ("http://near:8530/x".to_owned(), 5)]);
        for n in 0..1_000 {
            origins.received(&format!("http://host{n}/x"), 1);
        }
        let now = Instant::now();
        for n in 0..1_000 {
            origins.unreachable(&format!("http://dead{n}/x"), now, now, 0.0, "refused");
        }
        let shown = origins.status(Instant::now());
        assert!(shown.len() <= MAX_ORIGINS, "{}", shown.len());
        assert_eq!((&*shown[0].source, shown[0].state), ("http://near:8530", SourceState::Unused));
        assert_eq!((&*shown[1].source, shown[1].cost), ("http://dear:8530", Some(50)));
    }
}
