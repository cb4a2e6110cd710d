//! Promises of asking: who reads what is held waits for nothing that those who write hold.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::{Source, SourcesFuture};
use tailwater_bandwidth::{Limiter, LinkConfig, Meter};
use tailwater_content::{self as content, PIECE};
use tailwater_domain::{ByteCount, Rate};

struct Nowhere;

impl Sources for Nowhere {
    fn sources<'a>(&'a self, _file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async { Vec::new() })
    }
}

/// What is there at once, in a thread of its own: who hangs shows as a failure, not as a test that never ends.
fn at_once<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (said, heard) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut work = pin!(work);
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            let _ = said.send(done);
        }
    });
    heard.recv_timeout(Duration::from_secs(5)).ok()
}

#[tokio::test]
async fn who_reads_what_is_held_waits_for_no_lock_that_writers_take() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let config = content::Config { dir: dir.path().to_owned(), max_size: None, min_free: ByteCount(0) };
    let store = Store::open(config, clock.clone()).unwrap();
    // nothing that asked the limiter would come back
    let limiter = Limiter::new(Rate::Closed, &clock, &tasks);
    let link = LinkClient::new(LinkConfig::default(), &limiter, &Meter::new(&clock), &clock, &tasks).unwrap();
    let last = 2 * FAR / PIECE;
    let (sha1, name) = (Sha1Digest([7; 20]), "x.cab".to_owned());
    let declaration = FileDeclaration { sha1, sha256: None, size: (last + 1) * PIECE, name, patching: None };
    let file = store.prepare(&declaration).unwrap();
    let piece = vec![0; usize::try_from(PIECE).unwrap()];
    for index in 0..last {
        store.write_piece(&file, index, &piece).unwrap();
    }
    let handle = Handle::new(Config::default(), store.clone(), link, Arc::new(Nowhere), clock, tasks.clone());
    let range = |start, end| ByteRange::new(start * PIECE, end * PIECE).unwrap();
    let want =
        handle.want(&declaration, range(0, last + 1), Class::Interactive, Requester::Own).await.unwrap();
    let flow = Arc::clone(&want.flow.as_ref().unwrap().0);
    let want = Arc::new(want);
    // what those who write hold while they write
    let (registry, state) = (locked(&handle.0.shared.flows), locked(&flow.state));
    // far from what is missing, and just before it
    for (at, until) in [(0, STRIDE / PIECE), (last - 1, last)] {
        let want = Arc::clone(&want);
        let read = at_once(async move { want.ready(at * PIECE).await });
        assert!(matches!(read, Some(Ok(end)) if end == until * PIECE), "from piece {at}: {read:?}");
    }
    let asked = handle.clone();
    let read = at_once(async move {
        let want = asked.want(&declaration, range(1, last), Class::Interactive, Requester::Own).await?;
        want.ready(PIECE).await
    });
    assert!(matches!(read, Some(Ok(end)) if end == PIECE + STRIDE), "a range that is held: {read:?}");
    drop((registry, state));
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
}

/// Two addresses, the first of which needs a header.
struct Standing;

impl Sources for Standing {
    fn sources<'a>(&'a self, _file: &'a FileDeclaration) -> SourcesFuture<'a> {
        let address = |url: &str| Source::from(url.to_owned());
        let mut first = address("http://near.example/x.cab");
        first.headers.insert("tailwater-cookie", http::HeaderValue::from_static("secret"));
        Box::pin(async move { vec![first, address("http://far.example/x.cab")] })
    }
}

#[tokio::test]
async fn clients_are_sent_to_no_address_that_needs_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let config = content::Config { dir: dir.path().to_owned(), max_size: None, min_free: ByteCount(0) };
    let store = Store::open(config, clock.clone()).unwrap();
    let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
    let link = LinkClient::new(LinkConfig::default(), &limiter, &Meter::new(&clock), &clock, &tasks).unwrap();
    let (sha1, name) = (Sha1Digest([7; 20]), "x.cab".to_owned());
    let declaration = FileDeclaration { sha1, sha256: None, size: PIECE, name, patching: None };
    for (sources, expected) in [
        (Arc::new(Standing) as Arc<dyn Sources>, Some("http://far.example/x.cab")),
        (Arc::new(Nowhere), None),
    ] {
        let config = Config { policy: Policy::None, ..Config::default() };
        let handle = Handle::new(config, store.clone(), link.clone(), sources, clock.clone(), tasks.clone());
        let range = ByteRange::new(0, PIECE).unwrap();
        let refused = handle.want(&declaration, range, Class::Interactive, Requester::Own).await.err();
        let Some(TransferError::Elsewhere { url, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(url.as_deref(), expected);
    }
}
