//! How many answers of the API are made at once, and how much of them may wait to be taken.
//!
//! An answer is made within a turn ([`Turns`]), which is over when the answer is made: who reads slowly keeps nobody from
//! being answered. What was made is charged to one budget until its client took it or left. Room is found before a list is
//! made, so that refusing costs nothing; short answers, of which each connection holds one, need none.
//!
//! **Invariant:** an operation that changes something is refused before it does or not at all. It never knows what an
//! answer says.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;

use super::ApiError;
use crate::outgoing::{AnswerMemory, charged};
use crate::{Peer, operations};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Asker, Clock, NoTurn, Share, TurnLimits, Turns};

/// Answers of reading operations made at once; the rest of the machine is for agents.
const MOST_MAKING: usize = 4;
/// Of one address.
const MOST_MAKING_BY_ADDRESS: usize = 2;
/// Requests that wait for that at once, shared by address.
const MOST_WAITING: u64 = 1_024;
/// How long one waits; a list of 1,000 rows takes less than a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Memory for answers that wait to be taken: some sixty lists of 1,000 updates.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// What a list is charged before its length is known: 1,000 updates have about as much.
const ROOM: u64 = 1 << 20;
/// Answers up to this length are not charged: the connections of administrators bound them.
const SHORT: usize = 64 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_MAKING in "answers": "Answers of reading operations of the API that are made at once" => "a wait, then 503 with Retry-After",
    MOST_MAKING_BY_ADDRESS in "answers": "The same for one address" => "a wait, then 503 with Retry-After",
    MOST_WAITING in "requests": "Requests of the API that wait for that, shared by address" => "503 with Retry-After",
    PATIENCE: "The wait until an answer of the API is made" => "503 with Retry-After",
    MAX_ANSWER_BYTES in "bytes": "Memory for answers of the API that wait to be taken" => "503 with Retry-After",
    ROOM in "bytes": "What of it is charged for a list before it is made" => "503 with Retry-After",
    SHORT in "bytes": "Answers of the API that need none of it" => "they are charged",
];

/// What the answers of these operations say has a length of its own, whatever is known and however much.
const SHORT_OPERATIONS: &[&str] = &["/status", "/configuration", "/store", "/sync", "/bandwidth", "/metrics"];

/// The turns and the budget of one site. Cheap to clone; clones share both.
#[derive(Clone)]
pub(super) struct Answering {
    making: Turns,
    memory: AnswerMemory,
}

/// How an operation is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A reading operation whose answer is short.
    Short,
    /// A reading operation whose answer grows with what is known.
    List,
    /// One that changes something and answers for each of what it was given.
    LongChange,
    /// One that changes something and answers briefly.
    Change,
}

impl Kind {
    fn of(method: &Method, path: &str) -> Self {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        match *method {
            Method::GET | Method::HEAD if SHORT_OPERATIONS.contains(&path) => Self::Short,
            Method::GET | Method::HEAD => Self::List,
            _ if operations::has_list(path) => Self::LongChange,
            _ => Self::Change,
        }
    }
}

impl Answering {
    pub(super) fn new(clock: &Clock) -> Self {
        let limits = TurnLimits {
            by_address: MOST_MAKING_BY_ADDRESS,
            waiting: MOST_WAITING,
            ..TurnLimits::of(MOST_MAKING, PATIENCE)
        };
        Self { making: Turns::new(limits, clock.clone()), memory: AnswerMemory::new(MAX_ANSWER_BYTES) }
    }

    /// Makes an answer within a turn and charges it until it is taken.
    async fn answer(&self, kind: Kind, to: IpAddr, make: impl Future<Output = Response>) -> Response {
        match self.try_answer(kind, to, make).await {
            Ok(answer) => answer,
            Err(busy) => busy.into_response(),
        }
    }

    async fn try_answer(
        &self,
        kind: Kind,
        to: IpAddr,
        make: impl Future<Output = Response>,
    ) -> Result<Response, ApiError> {
        let take = |bytes| self.memory.take(to, bytes).map_err(|_refused| ApiError::Busy);
        let room = match kind {
            Kind::List | Kind::LongChange => ROOM,
            Kind::Short | Kind::Change => 0,
        };
        // before the wait, so that nobody waits for what will be refused
        let share = take(room)?;
        let _turn = match kind {
            // each kind stands in line by itself, so that one look at the status does not wait for all lists
            Kind::Short | Kind::List => {
                let asker = Asker { key: u128::from(kind == Kind::List), ..Asker::at(to) };
                Some(self.making.take(asker).await.map_err(|_no_turn: NoTurn| ApiError::Busy)?)
            }
            Kind::LongChange | Kind::Change => None,
        };
        let (parts, body) = make.await.into_parts();
        // what is made here is in memory already
        let bytes = body.collect().await.map_err(|error| ApiError::internal(&error))?.to_bytes();
        Ok(Response::from_parts(parts, Body::from(keep(kind, bytes, share)?)))
    }
}

/// An answer with the memory that it has, from now on as much as it is long.
fn keep(kind: Kind, bytes: Bytes, mut share: Share) -> Result<Bytes, ApiError> {
    if bytes.len() <= SHORT {
        return Ok(bytes);
    }
    let more = (bytes.len() as u64).saturating_sub(share.units());
    let is_done = matches!(kind, Kind::LongChange | Kind::Change);
    // of what is done the client must hear
    if share.grow(more).is_err() && !is_done {
        return Err(ApiError::Busy);
    }
    Ok(charged(bytes, share))
}

/// Answers of requests that came over the network pass through here; the process itself reads what it asks for.
pub(super) async fn layer(State(answering): State<Answering>, request: Request, next: Next) -> Response {
    let Some(from) = request.extensions().get::<Peer>().map(|peer| peer.address.ip()) else {
        return next.run(request).await;
    };
    let kind = Kind::of(request.method(), request.uri().path());
    answering.answer(kind, from, next.run(request)).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{StatusCode, header};
    use tailwater_runtime::Tasks;
    use tokio::sync::Semaphore;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    fn made(bytes: usize) -> Response {
        vec![b'x'; bytes].into_response()
    }

    async fn list(answering: &Answering, to: IpAddr, bytes: usize) -> Response {
        answering.answer(Kind::List, to, async move { made(bytes) }).await
    }

    #[tokio::test]
    async fn what_is_not_taken_is_bounded_and_served_again_when_it_goes() {
        let answering = Answering::new(&Clock::system());
        let mut untaken = Vec::new();
        let refused = loop {
            let answer = list(&answering, ONE, 3 << 20).await;
            if answer.status() != StatusCode::OK {
                break answer;
            }
            untaken.push(answer);
            assert!(untaken.len() < 64, "never ends");
        };
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        let text = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&text).contains("Server busy; retry later."));
        let held = answering.memory.used();
        assert!((24 << 20..=MAX_ANSWER_BYTES).contains(&held), "{held}");
        // nothing was made for who is refused
        let asked = AtomicUsize::new(0);
        let count = async {
            asked.fetch_add(1, Ordering::Relaxed);
            made(1)
        };
        while let answer = list(&answering, ONE, 70_000).await
            && answer.status() == StatusCode::OK
        {
            untaken.push(answer);
        }
        let refused = answering.answer(Kind::List, ONE, count).await;
        assert_eq!((refused.status(), asked.into_inner()), (StatusCode::SERVICE_UNAVAILABLE, 0));
        // others are answered, and short answers are for everybody
        assert_eq!(list(&answering, OTHER, 3 << 20).await.status(), StatusCode::OK);
        let short = answering.answer(Kind::Short, ONE, async { made(2_000) }).await;
        assert_eq!(short.status(), StatusCode::OK);
        // taken, or the connection ended
        let taken = untaken.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
        drop((taken, untaken));
        assert_eq!(answering.memory.used(), 0);
        assert_eq!(list(&answering, ONE, 3 << 20).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn what_was_changed_is_told_whatever_is_in_use() {
        let answering = Answering::new(&Clock::system());
        let full = answering.memory.take(ONE, MAX_ANSWER_BYTES / 2).unwrap();
        let change = |kind| answering.answer(kind, ONE, async { made(1 << 20) });
        assert_eq!(change(Kind::Change).await.status(), StatusCode::OK);
        assert_eq!(
            change(Kind::LongChange).await.status(),
            StatusCode::SERVICE_UNAVAILABLE,
            "before it is done"
        );
        drop(full);
        assert_eq!(change(Kind::LongChange).await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn two_are_made_at_once_and_who_does_not_read_stops_nobody() {
        let answering = Answering::new(&Clock::system());
        let (go, tasks) = (Arc::new(Semaphore::new(0)), Tasks::new());
        let asks = |kind: Kind, to: IpAddr| {
            let (answering, go) = (answering.clone(), Arc::clone(&go));
            let make = async move {
                go.acquire().await.unwrap().forget();
                made(70_000)
            };
            tasks.spawn("asks", async move { answering.answer(kind, to, make).await })
        };
        let mut lists: Vec<_> = (0..5).map(|_| asks(Kind::List, ONE)).collect();
        tokio::task::yield_now().await;
        assert_eq!((answering.making.status().running, answering.making.status().waiting), (2, 3));
        let other = asks(Kind::List, OTHER);
        tokio::task::yield_now().await;
        assert_eq!(answering.making.status().running, 3, "another address does not wait for the first");
        go.add_permits(3);
        let untaken = [lists.remove(0).await.unwrap(), lists.remove(0).await.unwrap(), other.await.unwrap()];
        assert!(untaken.iter().all(|answer| answer.status() == StatusCode::OK));
        tokio::task::yield_now().await;
        assert_eq!(answering.making.status().running, 2, "what is made holds no turn");
        let began = tokio::time::Instant::now();
        let late = lists.pop().unwrap().await.unwrap();
        assert_eq!((late.status(), began.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, PATIENCE));
    }

    #[test]
    fn operations_are_lists_unless_they_are_known_to_be_short() {
        let get = |path| Kind::of(&Method::GET, path);
        assert_eq!((get("/status"), get("/api/v1/status")), (Kind::Short, Kind::Short));
        assert_eq!((get("/updates"), get("/computers/x"), get("/new")), (Kind::List, Kind::List, Kind::List));
        assert_eq!(Kind::of(&Method::POST, "/updates/approve"), Kind::LongChange);
        assert_eq!(Kind::of(&Method::PUT, "/bandwidth"), Kind::Change);
        for path in SHORT_OPERATIONS.iter().filter(|path| **path != "/metrics") {
            let known = tailwater_api::OPERATIONS.iter().any(|operation| operation.path == *path);
            assert!(known, "{path}");
        }
    }
}
