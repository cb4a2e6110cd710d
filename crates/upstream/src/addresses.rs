//! What is known of where payloads are available beyond the catalog, and what the upstream was asked about them.
//!
//! **Invariant:** every memory here is bounded, and lives as long as the process: addresses that carry a token are never
//! stored or logged. It never asks anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use super::capabilities::UpstreamCapabilities;
use tailwater_domain::{HeapBytes as _, Limit, Sha1Digest, limits};
use tailwater_runtime::{ByteCache, is_recent};
use tailwater_wire::server_sync::FileUrl;

/// A payload that is asked for again within this time is taken to be missing at a lazy upstream.
const SOON: Duration = Duration::from_hours(1);
/// Payloads whose last question is remembered; with more, the memory begins anew.
const MOST_QUESTIONS: usize = 10_000;

/// Between two questions about one payload; doubles with each that brought nothing new.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The longest such pause.
const LONGEST: Duration = Duration::from_hours(1);
/// An address with a token is taken to be good for this long; Microsoft's are for some hours.
const GOOD: Duration = Duration::from_hours(1);
/// Questions at once.
const AT_ONCE: usize = 2;
/// Payloads whose last question for an address is remembered; with more, the memory begins anew.
const MOST_REMEMBERED: usize = 10_000;
/// Memory for new addresses: a pair of them takes 500 bytes, a long signed one 2 KB.
const REMEMBERED_BYTES: u64 = 8 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_QUESTIONS in "payloads": "Payloads whose last question is remembered" => "the memory begins anew",
    LONGEST: "The pause between two questions for a payload's new address" => "it grows no further",
    GOOD: "How long an address with a token is told without asking anew" => "the upstream is asked where the payload is",
    AT_ONCE in "questions": "Questions for new addresses at once" => "they wait",
    MOST_REMEMBERED in "payloads": "Payloads whose last question for a new address is remembered" => "the memory begins anew",
    REMEMBERED_BYTES in "bytes": "New addresses of payloads that are remembered" => "the upstream is asked again",
];

/// All of it, for one upstream.
#[derive(Default)]
pub(super) struct KnownAddresses {
    capabilities: Mutex<UpstreamCapabilities>,
    questions: Mutex<Questions>,
    renewals: Arc<Mutex<Renewals>>,
}

impl KnownAddresses {
    /// Nothing was asked yet of an upstream that can do this.
    pub(super) fn new(capabilities: UpstreamCapabilities) -> Self {
        Self { capabilities: Mutex::new(capabilities), ..Self::default() }
    }

    /// How the upstream deals with payloads.
    pub(super) fn capabilities(&self) -> UpstreamCapabilities {
        *self.capabilities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A synchronisation learned how the upstream deals with payloads.
    pub(super) fn set_capabilities(&self, capabilities: UpstreamCapabilities) {
        *self.capabilities.lock().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }

    /// Notes that a payload is asked for; true when the upstream should be asked to fetch it.
    pub(super) fn is_repeated(&self, sha1: Sha1Digest, now: Timestamp) -> bool {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).is_repeated(sha1, now)
    }

    /// What the upstream told anew.
    pub(super) fn renewals(&self) -> MutexGuard<'_, Renewals> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for a synchronisation, which learns addresses as it fetches documents.
    pub(super) fn shared_renewals(&self) -> Arc<Mutex<Renewals>> {
        Arc::clone(&self.renewals)
    }
}

/// When payloads were last asked for, and whether the upstream was told. A question that is repeated soon
/// means that the first one led to nothing.
#[derive(Debug, Default)]
pub(super) struct Questions(HashMap<Sha1Digest, (Timestamp, bool)>);

impl Questions {
    /// Notes a question; true when the upstream should be asked to fetch the payload, at most once an hour.
    fn is_repeated(&mut self, sha1: Sha1Digest, now: Timestamp) -> bool {
        if self.0.len() == MOST_QUESTIONS {
            self.0.clear();
        }
        let soon = SignedDuration::try_from(SOON).unwrap_or_default();
        match self.0.get_mut(&sha1) {
            Some((asked_at, told)) if is_recent(*asked_at, soon, now) => !std::mem::replace(told, true),
            _ => {
                self.0.insert(sha1, (now, false));
                false
            }
        }
    }
}

/// An address of a payload. Never logged: its headers let this server in.
#[derive(Debug, Clone, Default)]
pub struct Address {
    /// `http://…` or `https://…`.
    pub url: String,
    /// To be sent to it, and to nobody else.
    pub headers: HeaderMap,
    /// What its bytes cost beside those of others.
    pub cost: u32,
    /// Only to be used while the others cannot be.
    pub last_resort: bool,
}

/// What the upstream said last.
pub(super) struct Renewals {
    /// With when it was told.
    fresh: ByteCache<Sha1Digest, (FileUrl, Timestamp)>,
    /// When a payload was asked about last, and how often in vain.
    asked: HashMap<Sha1Digest, (Timestamp, u32)>,
    turns: Arc<Semaphore>,
}

impl Default for Renewals {
    fn default() -> Self {
        let bytes = |_: &Sha1Digest, (url, _): &(FileUrl, Timestamp)| {
            size_of::<(FileUrl, Timestamp)>() + url.mu_url.heap_bytes() + url.uss_url.heap_bytes()
        };
        Self {
            fresh: ByteCache::new(REMEMBERED_BYTES, MOST_REMEMBERED, bytes),
            asked: HashMap::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Renewals {
    /// Whether to ask about a payload now; it then counts as asked about.
    pub(super) fn may_ask(&mut self, sha1: Sha1Digest, now: Timestamp) -> bool {
        let in_vain = match self.asked.get(&sha1) {
            Some((asked, in_vain)) => {
                let pause = (ASK_AGAIN * 2_u32.saturating_pow((*in_vain).min(16))).min(LONGEST);
                if is_recent(*asked, SignedDuration::try_from(pause).unwrap_or_default(), now) {
                    return false;
                }
                in_vain.saturating_add(1)
            }
            None => 0,
        };
        if self.asked.len() >= MOST_REMEMBERED {
            self.asked.clear();
        }
        self.asked.insert(sha1, (now, in_vain));
        true
    }

    /// Remembers addresses for the life of the process.
    pub(super) fn learn(&mut self, urls: Vec<FileUrl>, now: Timestamp) {
        for url in urls {
            let news = self.fresh.get(&url.sha1).is_none_or(|(known, _)| known != url);
            if let Some((_, in_vain)) = self.asked.get_mut(&url.sha1).filter(|_| news) {
                *in_vain = 0;
            }
            self.fresh.insert(url.sha1, (url, now));
        }
    }

    /// Turns of questions to the upstream.
    pub(super) fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.turns)
    }

    /// What the upstream told anew of a payload.
    pub(super) fn of(&self, sha1: &Sha1Digest) -> Option<FileUrl> {
        self.fresh.get(sha1).map(|(url, _)| url)
    }

    /// Whether the address at Microsoft that was told carries a token that may have ended.
    pub(super) fn may_have_ended(&self, sha1: &Sha1Digest, now: Timestamp) -> bool {
        self.fresh.get(sha1).is_some_and(|(url, told)| {
            let has_token = url.mu_url.as_ref().is_some_and(|url| url.contains('?'));
            has_token && !is_recent(told, SignedDuration::try_from(GOOD).unwrap_or_default(), now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lazy_upstream_is_reminded_once_of_what_is_asked_again() {
        let digest = |byte| Sha1Digest([byte; 20]);
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let mut questions = Questions::default();
        let table = [
            (1, 0, false),
            (2, 1, false),
            (1, 5, true),
            (1, 6, false),
            (1, 59, false),
            (1, 61, false),
            (1, 62, true),
        ];
        for (byte, minute, repeated) in table {
            assert_eq!(questions.is_repeated(digest(byte), at(minute)), repeated, "{byte} at {minute}");
        }
    }

    #[test]
    fn a_payload_is_asked_about_once_in_a_while() {
        let digest = |byte| Sha1Digest([byte; 20]);
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut renewals = Renewals::default();
        let table = [
            (1, 0, true),
            (1, 14, false),
            (2, 14, true),
            (1, 15, true),
            (1, 44, false),
            (1, 45, true),
            (1, 90, false),
        ];
        for (byte, second, asks) in table {
            assert_eq!(renewals.may_ask(digest(byte), at(second)), asks, "{byte} at {second}");
        }
        let url = |text: &str| FileUrl { sha1: digest(1), mu_url: Some(text.to_owned()), uss_url: None };
        renewals.learn(vec![url("http://a/x?old")], at(90));
        assert!(renewals.may_ask(digest(1), at(90)), "what was told is news");
        renewals.learn(vec![url("http://a/x?old")], at(106));
        assert!(!renewals.may_ask(digest(1), at(106)), "what was told is known");
        renewals.learn(vec![url("http://a/x?new")], at(106));
        assert_eq!(renewals.of(&digest(1)).unwrap().mu_url.as_deref(), Some("http://a/x?new"));
        for (second, ended) in [(106, false), (106 + 3_599, false), (106 + 3_600, true), (105, true)] {
            assert_eq!(renewals.may_have_ended(&digest(1), at(second)), ended, "told at 106, at {second}");
        }
        renewals.learn(vec![url("http://a/x")], at(106));
        assert!(!renewals.may_have_ended(&digest(1), at(1_000_000)), "there is no token");
        assert!(!renewals.may_have_ended(&digest(9), at(106)), "none was told");
    }

    #[test]
    fn addresses_are_remembered_by_their_length() {
        let mut renewals = Renewals::default();
        let url = |number: u16, length: usize| {
            let mut sha1 = [0; 20];
            sha1[..2].copy_from_slice(&number.to_be_bytes());
            FileUrl { sha1: Sha1Digest(sha1), mu_url: Some("x".repeat(length)), uss_url: None }
        };
        renewals.learn((0..2_000).map(|number| url(number, 200)).collect(), Timestamp::UNIX_EPOCH);
        assert!((0..2_000).all(|number| renewals.of(&url(number, 0).sha1).is_some()));
        for number in 2_000..2_100 {
            renewals.learn(vec![url(number, 1 << 20)], Timestamp::UNIX_EPOCH);
            assert!(renewals.fresh.weight() <= REMEMBERED_BYTES, "{}", renewals.fresh.weight());
        }
    }
}
