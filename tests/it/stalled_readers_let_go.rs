//! A client that does not read its answer is disconnected, so that whatever the answer holds is free again; one that
//! waits for the server, or reads slowly, is not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tailwater::bandwidth::{EgressLimiter, EgressRates};
use tailwater::domain::Rate;
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::{Answer, Listener, ListenerConfig, Peer, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A client may take no byte for so long.
const STALLED: Duration = Duration::from_millis(300);
/// Far more than sockets buffer.
const LENGTH: u64 = 256 << 20;

/// An answer that says when it is let go.
struct Watched {
    left: u64,
    /// Waits before its first byte, as an answer does whose payload is fetched.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    gone: mpsc::Sender<u64>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.gone.try_send(self.left);
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(wait) = &mut self.wait {
            std::task::ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let step = self.left.min(64 * 1024);
        self.left -= step;
        Poll::Ready(Some(Ok(Frame::data(vec![0; usize::try_from(step).unwrap()].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

struct Site(mpsc::Sender<u64>);

impl Answer for Site {
    async fn answer(&self, request: Request, _from: Peer) -> Response {
        let (length, wait) = match request.uri().path() {
            "/late" => (1_000, Some(Box::pin(tokio::time::sleep(3 * STALLED)))),
            "/some" => (2 << 20, None),
            _ => (LENGTH, None),
        };
        Response::new(Watched { left: length, wait, gone: self.0.clone() }.boxed_unsync())
    }
}

async fn start(tasks: &Tasks, egress: Option<EgressLimiter>) -> (SocketAddr, mpsc::Receiver<u64>) {
    let config =
        ListenerConfig { stalled_after: STALLED, ..ListenerConfig::new("127.0.0.1:0".parse().unwrap()) };
    let listener = Listener::bind(config).unwrap().with_egress(egress);
    let (address, (gone, went)) = (listener.address(), mpsc::channel(64));
    tasks.spawn("site", listener.run(Arc::new(Site(gone)), Clock::system(), tasks.clone()));
    (address, went)
}

async fn asked(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn who_takes_no_byte_is_disconnected() {
    for limited in [false, true] {
        let tasks = Tasks::new();
        let rates = EgressRates { rate: "8 Gbit/s".parse().unwrap(), ..EgressRates::default() };
        let egress = limited.then(|| EgressLimiter::new(rates, &Clock::system(), &tasks)).flatten();
        assert_eq!(egress.is_some(), limited);
        let (address, mut went) = start(&tasks, egress).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(asked(address, "/all").await);
        }
        for _ in &held {
            let left = tokio::time::timeout(Duration::from_mins(1), went.recv()).await.unwrap().unwrap();
            assert!(left > LENGTH / 2, "it was not sent: {left}");
        }
        drop(held);
    }
}

#[tokio::test]
async fn who_waits_for_the_server_or_reads_slowly_is_not() {
    let tasks = Tasks::new();
    // 2 MiB at 8 Mbit/s take seven times as long as a client may stall: the limiter is ours, not the client's
    let rates = EgressRates { rate: "8 Mbit/s".parse().unwrap(), ..EgressRates::default() };
    assert_ne!(rates.rate, Rate::Unlimited);
    let egress = EgressLimiter::new(rates, &Clock::system(), &tasks);
    let (address, _went) = start(&tasks, None).await;
    let (limited, _went_too) = start(&tasks, egress).await;
    for (address, path, length) in [(address, "/late", 1_000), (limited, "/some", 2 << 20)] {
        let mut answer = Vec::new();
        asked(address, path).await.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(answer.len() - head, length, "{path}");
    }
    // a step now and then, each within the time, for far longer than that time
    let mut slow = asked(address, "/all").await;
    let mut step = vec![0; 4 << 20];
    for _ in 0..10 {
        tokio::time::sleep(STALLED / 3).await;
        slow.read_exact(&mut step).await.unwrap();
    }
}
