//! How much one client may have fetched for it before everything else.
//!
//! What an agent waits for goes before metadata, deadlines and all that can wait, so a client that asks for everything would
//! keep the link from all of these. Each has an account: an hour of the link, which fills again with a quarter of what the link
//! may carry. A request on an account that is empty is answered all the same, and fetched among what can wait.
//!
//! **Invariant:** nobody is refused for this, and what is held costs nothing. Who asks for more than is left overdraws once. It
//! never limits how fast anything is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use tailwater_domain::{Class, Limit, Rate, Requester, limits};

/// How long a client may have all of the link urgently, in seconds.
const URGENT_SECONDS: u64 = 3600;

/// The part of the link's rate with which an account fills again.
const REFILL_PART: u64 = 4;

/// The least that an account holds, however slow the link: a large update.
const LEAST_URGENT: u64 = 1 << 30;

/// The most, and what it is without a rate; it fills again within four hours.
const MOST_URGENT: u64 = 16 << 30;

/// Accounts kept; with more, those that are full are forgotten, and then others share one.
const MAX_ACCOUNTS: usize = 16_384;

pub(super) const LIMITS: &[Limit] = limits![
    LEAST_URGENT in "bytes": "What is fetched for one client before all else, on a slow link" => "its requests go on among what can wait",
    MOST_URGENT in "bytes": "What is fetched for one client before all else, on a fast link or without a rate" => "its requests go on among what can wait",
    MAX_ACCOUNTS in "clients": "Clients whose urgent bytes are counted apart" => "further ones share one account",
];

/// What a client that is beyond its account gets.
const BEYOND: Class = Class::Normal;

/// The accounts.
#[derive(Debug, Clone, Default)]
pub(super) struct Urgent(Arc<Mutex<Accounts>>);

/// What a client owes for bytes that have not come; given back when they do not.
#[derive(Debug)]
pub(super) struct Charge {
    urgent: Urgent,
    by: Requester,
    left: u64,
}

impl Charge {
    /// Bytes were sent.
    pub(super) fn came(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.left > 0 {
            let mut accounts = self.urgent.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Accounts { by_client, others } = &mut *accounts;
            if let Some(account) = by_client.get_mut(&self.by).or(others.as_mut()) {
                account.owed = account.owed.saturating_sub(self.left);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Accounts {
    by_client: HashMap<Requester, Account>,
    others: Option<Account>,
}

/// What was taken and is not filled again.
#[derive(Debug, Clone, Copy)]
struct Account {
    owed: u64,
    at: Instant,
}

/// What an account holds, and what it gains in a second.
fn measure(rate: Rate) -> (u64, u64) {
    let by_rate = rate.bytes_per_second().map(|rate| rate.saturating_mul(URGENT_SECONDS));
    let size = by_rate.unwrap_or(MOST_URGENT).clamp(LEAST_URGENT, MOST_URGENT);
    (size, (size / URGENT_SECONDS / REFILL_PART).max(1))
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { owed: 0, at: now }
    }

    fn settle(&mut self, gain: u64, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs();
        if seconds > 0 {
            self.owed = self.owed.saturating_sub(seconds.saturating_mul(gain));
            self.at = now;
        }
    }
}

impl Urgent {
    /// How urgent `missing` bytes are that a client asks for, and what it owes for them.
    pub(super) fn charge(&self, by: Requester, missing: u64, rate: Rate, now: Instant) -> (Class, Charge) {
        let (size, gain) = measure(rate);
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.of(by, gain, now);
        account.settle(gain, now);
        if account.owed >= size {
            return (BEYOND, Charge { urgent: self.clone(), by, left: 0 });
        }
        account.owed = account.owed.saturating_add(missing);
        (Class::Interactive, Charge { urgent: self.clone(), by, left: missing })
    }
}

impl Accounts {
    fn of(&mut self, by: Requester, gain: u64, now: Instant) -> &mut Account {
        if self.by_client.len() >= MAX_ACCOUNTS && !self.by_client.contains_key(&by) {
            self.by_client.retain(|_, account| {
                account.settle(gain, now);
                account.owed > 0
            });
            if self.by_client.len() >= MAX_ACCOUNTS {
                return self.others.get_or_insert_with(|| Account::new(now));
            }
        }
        self.by_client.entry(by).or_insert_with(|| Account::new(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(number: u32) -> Requester {
        Requester::at(std::net::Ipv4Addr::from(0x0a00_0000 + number).into())
    }

    #[test]
    fn who_asks_for_everything_goes_on_behind_the_others() {
        let start = Instant::now();
        let urgent = Urgent::default();
        let rate: Rate = "8 Mbit/s".parse().unwrap();
        let gib = 1 << 30;
        // an hour at 1 MB/s, and one request that overdraws
        let ask = |by: u32, bytes: u64, second: u64| {
            let (class, mut charge) =
                urgent.charge(client(by), bytes, rate, start + Duration::from_secs(second));
            charge.came(bytes);
            class
        };
        for _ in 0..4 {
            assert_eq!(ask(1, gib, 0), Class::Interactive);
        }
        for _ in 0..100 {
            assert_eq!(ask(1, gib, 0), Class::Normal);
        }
        assert_eq!(ask(2, gib, 0), Class::Interactive, "others have accounts of their own");
        // what is beyond is not counted: 695 MB are too much by then, and come back at 250 kB/s
        assert_eq!(ask(1, 1, 2_000), Class::Normal);
        assert_eq!(ask(1, 1, 2_900), Class::Interactive);
        assert_eq!(ask(1, 0, 100_000), Class::Interactive);
        let account = urgent.0.lock().unwrap().by_client[&client(1)];
        assert_eq!(account.owed, 0, "all of it comes back");
        // what did not come costs nothing
        for _ in 0..10 {
            let (class, mut charge) = urgent.charge(client(3), 3 * gib, rate, start);
            assert_eq!(class, Class::Interactive);
            charge.came(gib / 100);
        }
    }

    #[test]
    fn slow_links_leave_a_large_update_and_the_table_is_bounded() {
        assert_eq!(measure("64 kbit/s".parse().unwrap()).0, LEAST_URGENT);
        assert_eq!(measure(Rate::Unlimited).0, MOST_URGENT);
        assert_eq!(measure(Rate::Closed).0, LEAST_URGENT);
        let (urgent, start) = (Urgent::default(), Instant::now());
        for number in 0..2 * u32::try_from(MAX_ACCOUNTS).unwrap() {
            urgent.charge(client(number), LEAST_URGENT, Rate::Unlimited, start).1.came(LEAST_URGENT);
        }
        let accounts = urgent.0.lock().unwrap();
        assert_eq!(accounts.by_client.len(), MAX_ACCOUNTS);
        assert!(accounts.others.is_some());
        drop(accounts);
        // those that are full again make room
        let later = start + Duration::from_secs(100_000);
        urgent.charge(client(u32::MAX >> 8), 1, Rate::Unlimited, later).1.came(1);
        assert_eq!(urgent.0.lock().unwrap().by_client.len(), 1);
    }
}
