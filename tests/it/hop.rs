//! What stands between two servers in a test: passes requests on, counts every byte of both directions, and alters,
//! cuts or refuses answers. It never makes an answer of its own up.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::domain::{Class, Rate};
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::{Answer, Listener, ListenerConfig, Peer, Request, full, text};

/// One exchange that passed.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub(crate) path: String,
    /// Bytes of the request and of the answer, heads included.
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) cookie: Option<String>,
}

/// An answer on its way.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

type Meddle = Box<dyn FnMut(&str, &mut Reply) + Send>;

/// The hop. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hop(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    target: String,
    link: LinkClient,
    meddle: Mutex<Option<Meddle>>,
    passed: Mutex<Vec<Passed>>,
}

fn head_bytes(first_line: usize, headers: &HeaderMap) -> u64 {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (first_line + fields + 2) as u64
}

impl Hop {
    pub(crate) async fn start(target: SocketAddr, tasks: &Tasks) -> Self {
        let clock = Clock::system();
        let limiter = Limiter::new(Rate::Unlimited, &clock, tasks);
        let config = LinkConfig {
            proxy: ProxySetting::Direct,
            answer_timeout: Duration::from_mins(2),
            ..LinkConfig::default()
        };
        let link = LinkClient::new(config, &limiter, &Meter::new(&clock), &clock, tasks).unwrap();
        let listener = Listener::bind(ListenerConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let hop = Self(Arc::new(Inner {
            address: listener.address(),
            target: format!("http://{target}"),
            link,
            meddle: Mutex::default(),
            passed: Mutex::default(),
        }));
        tasks.spawn("hop", listener.run(Arc::new(hop.clone()), clock, tasks.clone()));
        hop
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// From now on answers pass through this.
    pub(crate) fn meddle(&self, meddle: impl FnMut(&str, &mut Reply) + Send + 'static) {
        *self.0.meddle.lock().unwrap() = Some(Box::new(meddle));
    }

    /// What passed since the last time.
    pub(crate) fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut *self.0.passed.lock().unwrap())
    }

    /// Bytes that passed since the last time.
    pub(crate) fn take_bytes(&self) -> u64 {
        self.take().iter().map(|passed| passed.up + passed.down).sum()
    }

    async fn pass(&self, request: Request) -> Option<tailwater::serve::Response> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let body = body.collect().await.ok()?.to_bytes();
        let line = head.method.as_str().len() + head.uri.to_string().len() + " HTTP/1.1\r\n".len() + 1;
        let up = head_bytes(line, &head.headers) + body.len() as u64;
        let cookie = head.headers.get("tailwater-cookie").map(|value| value.to_str().unwrap().to_owned());
        head.uri = format!("{}{}", self.0.target, head.uri).parse().unwrap();
        head.headers.remove("host");
        let request = http::Request::from_parts(head, Full::new(body));
        let (head, body) = self.0.link.send(request, Class::Interactive).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes().to_vec();
        let mut reply = Reply { status: head.status, headers: head.headers, body, cut: None };
        if let Some(meddle) = self.0.meddle.lock().unwrap().as_mut() {
            meddle(&path, &mut reply);
        }
        let sent = reply.cut.unwrap_or(reply.body.len()) as u64;
        let down = head_bytes("HTTP/1.1 200 OK\r\n".len(), &reply.headers) + sent;
        self.0.passed.lock().unwrap().push(Passed { path, up, down, cookie });
        let mut answer = Response::new(match reply.cut {
            None => full(reply.body),
            Some(cut) => Broken { left: Bytes::from(reply.body), cut }.boxed_unsync(),
        });
        *answer.status_mut() = reply.status;
        reply.headers.remove("content-length");
        reply.headers.remove("transfer-encoding");
        *answer.headers_mut() = reply.headers;
        Some(answer)
    }
}

impl Answer for Hop {
    async fn answer(&self, request: Request, _from: Peer) -> tailwater::serve::Response {
        self.pass(request).await.unwrap_or_else(|| text(StatusCode::BAD_GATEWAY, "nobody answers"))
    }
}

/// A body that breaks off.
struct Broken {
    left: Bytes,
    cut: usize,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.cut == 0 {
            return Poll::Ready(Some(Err(io::Error::other("cut"))));
        }
        let now = std::mem::take(&mut self.cut).min(self.left.len());
        let part = self.left.split_to(now);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
