//! Connecting to one of a name's addresses: some may swallow packets (IPv6 without a route, a dead half of a pair).
//!
//! Happy Eyeballs (RFC 8305): families alternate (section 4), each further address is tried 250 ms after the one before or
//! when that failed, and the first that answers is taken. Which one that was, and which gave nothing, is remembered, so that
//! only the first connection waits.
//!
//! **Invariant:** an address that gave nothing is tried last, never left out. It never keeps a connection that lost.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tailwater_domain::{Limit, limits};
use tokio::time::Instant;

/// Until the next address is tried beside those that have not answered: RFC 8305 section 5, "A recommended value for a default
/// delay is 250 milliseconds".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// How long it is remembered which addresses answered.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Addresses remembered; far more than a site has upstreams and mirrors.
const MOST_REMEMBERED: usize = 256;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_ADDRESSES in "addresses": "Addresses of one name that are tried" => "they are not tried",
    MOST_REMEMBERED in "addresses": "Addresses of which it is remembered whether they answer" => "the memory begins anew",
];

// not a limit: REMEMBERED: how long an answer is believed

/// What is known of addresses.
#[derive(Debug, Default)]
pub(super) struct Dial(Mutex<HashMap<SocketAddr, (Rank, Instant)>>);

/// In the order in which addresses are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Answered,
    Unknown,
    Silent,
}

type Attempt<T> = (SocketAddr, Instant, Pin<Box<dyn Future<Output = io::Result<T>> + Send>>);

impl Dial {
    fn known(&self) -> MutexGuard<'_, HashMap<SocketAddr, (Rank, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries addresses with `open` until one answers; says how long that one took.
    pub(super) async fn connect<T, F>(
        &self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        open: impl Fn(SocketAddr) -> F,
    ) -> io::Result<(T, Duration)>
    where
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let mut next = VecDeque::from(self.sorted(addresses));
        let mut open_now: Vec<Attempt<T>> = Vec::new();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        loop {
            if let Some(address) = next.pop_front() {
                open_now.push((address, Instant::now(), Box::pin(open(address))));
            } else if open_now.is_empty() {
                return Err(last);
            }
            let delay = if next.is_empty() { Duration::MAX } else { ATTEMPT_DELAY };
            match tokio::time::timeout(delay, first(&mut open_now)).await {
                Ok((address, start, Ok(opened))) => {
                    // those that began earlier had time enough
                    let silent = open_now.iter().filter(|(_, began, _)| *began < start);
                    self.remember(silent.map(|(address, ..)| (*address, Rank::Silent)));
                    self.remember([(address, Rank::Answered)]);
                    return Ok((opened, start.elapsed()));
                }
                Ok((address, _, Err(error))) => {
                    self.remember([(address, Rank::Silent)]);
                    last = error;
                }
                Err(_no_answer_yet) => {}
            }
        }
    }

    fn remember(&self, ranks: impl IntoIterator<Item = (SocketAddr, Rank)>) {
        let (mut known, now) = (self.known(), Instant::now());
        for (address, rank) in ranks {
            if known.len() >= MOST_REMEMBERED && !known.contains_key(&address) {
                known.clear();
            }
            known.insert(address, (rank, now));
        }
    }

    /// Each once, families in turn beginning with the resolver's first, then by what is known of them.
    fn sorted(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let (mut mixed, mut others): (Vec<SocketAddr>, VecDeque<SocketAddr>) = Default::default();
        for address in addresses {
            if mixed.contains(&address) || others.contains(&address) {
                continue;
            }
            let same = mixed.first().is_none_or(|first| first.is_ipv4() == address.is_ipv4());
            if same { mixed.push(address) } else { others.push_back(address) }
        }
        for (place, address) in others.into_iter().enumerate() {
            mixed.insert((2 * place + 1).min(mixed.len()), address);
        }
        mixed.truncate(MOST_ADDRESSES);
        let (known, now) = (self.known(), Instant::now());
        let rank = |address: &SocketAddr| match known.get(address) {
            Some((rank, at)) if now - *at < REMEMBERED => *rank,
            _ => Rank::Unknown,
        };
        mixed.sort_by_key(rank);
        mixed
    }
}

/// The first of the attempts that ends, taken out of them.
async fn first<T>(attempts: &mut Vec<Attempt<T>>) -> (SocketAddr, Instant, io::Result<T>) {
    std::future::poll_fn(|cx| {
        for place in 0..attempts.len() {
            if let Poll::Ready(result) = attempts[place].2.as_mut().poll(cx) {
                let (address, start, _) = attempts.swap_remove(place);
                return Poll::Ready((address, start, result));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSES: u16 = 1;
    const SWALLOWS: u16 = 2;
    const ANSWERS: u16 = 3;
    const LATE: u16 = 4;

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    fn address_v6(last: u16, port: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], port))
    }

    /// What an address does is its port.
    async fn open(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.port() {
            REFUSES => Err(io::ErrorKind::ConnectionRefused.into()),
            SWALLOWS => std::future::pending().await,
            LATE => {
                tokio::time::sleep(Duration::from_millis(600)).await;
                Ok(address)
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(40)).await;
                Ok(address)
            }
        }
    }

    async fn connect(dial: &Dial, addresses: &[SocketAddr]) -> (Option<SocketAddr>, u128) {
        let start = Instant::now();
        let limit = Duration::from_secs(20);
        let result = tokio::time::timeout(limit, dial.connect(addresses.iter().copied(), open)).await;
        (result.ok().and_then(Result::ok).map(|(address, _)| address), start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_gives_nothing_costs_a_quarter_of_a_second_once() {
        let (good, other) = (address(9, ANSWERS), address_v6(9, ANSWERS));
        let (refusing, deaf) = (address_v6(1, REFUSES), address_v6(1, SWALLOWS));
        // the addresses, which is taken, milliseconds of the first and of the next connection
        let table: [(&[SocketAddr], Option<SocketAddr>, u128, u128); 8] = [
            (&[good], Some(good), 40, 40),
            (&[deaf, good], Some(good), 290, 40),
            (&[refusing, good], Some(good), 40, 40),
            (&[deaf, address(1, SWALLOWS), good], Some(good), 540, 40),
            (&[address(2, LATE), good], Some(good), 290, 40),
            // the second family is tried before the second address of the first one
            (&[deaf, address_v6(2, SWALLOWS), address_v6(3, SWALLOWS), good], Some(good), 290, 40),
            (&[deaf, address(1, SWALLOWS)], None, 20_000, 20_000),
            (&[other, good], Some(other), 40, 40),
        ];
        for (at, (addresses, taken, first, next)) in table.into_iter().enumerate() {
            let dial = Dial::default();
            assert_eq!(connect(&dial, addresses).await, (taken, first), "{at}, at first");
            assert_eq!(connect(&dial, addresses).await, (taken, next), "{at}, again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_remembered_is_tried_anew() {
        let dial = Dial::default();
        let (deaf, good) = (address(1, SWALLOWS), address(2, ANSWERS));
        dial.remember([(deaf, Rank::Answered), (good, Rank::Silent)]);
        assert_eq!(connect(&dial, &[deaf, good]).await, (Some(good), 290), "it answered once, and no more");
        assert_eq!(connect(&dial, &[deaf, good]).await, (Some(good), 40));
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(connect(&dial, &[deaf, good]).await, (Some(good), 290), "it may be back");
        for port in 0..2_000 {
            dial.remember([(address(7, port), Rank::Silent)]);
        }
        assert!(dial.known().len() <= MOST_REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_address_or_only_refusals_is_told_at_once() {
        let dial = Dial::default();
        for addresses in [vec![], vec![address(1, REFUSES), address_v6(1, REFUSES)]] {
            let start = Instant::now();
            dial.connect(addresses, open).await.unwrap_err();
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    }
}
