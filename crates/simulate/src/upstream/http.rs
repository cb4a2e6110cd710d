//! The stand-in's HTTP side: SOAP, `/Content/` with ranges, `/_counters` and `/_publish`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION, RANGE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::answer::Upstream;
use super::payload::Payload;
use tailwater_bandwidth::Lane;
use tailwater_domain::{ByteRange, Class, Sha1Digest};
use tailwater_runtime::Tasks;
use tailwater_wire::{server_sync, xpress};

/// Bytes of a request's body.
const MAX_REQUEST: usize = 4 << 20;

/// Updates published at once.
const MOST_PUBLISHED: u32 = 1_000;

/// Bytes of a payload made at a time.
const CHUNK: usize = 64 * 1024;

/// Answers shorter than this are not worth compressing.
const LEAST_TO_COMPRESS: usize = 256;

/// How long to wait after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until shutdown, and makes the digests of all payloads beside it.
pub(super) async fn serve(listener: TcpListener, upstream: Arc<Upstream>, tasks: Tasks) {
    let stopping = tasks.stopping();
    let (known, stop) = (Arc::clone(&upstream), tasks.stopping());
    tasks.spawn("simulated-upstream-digests", async move {
        let mut index = 0;
        while !stop.is_cancelled() {
            let upstream = Arc::clone(&known);
            let count = tokio::task::spawn_blocking(move || upstream.make_known(index)).await;
            index += 1;
            if count.is_ok_and(|count| index >= count) {
                break;
            }
        }
    });
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    tasks.spawn("simulated-upstream-connection", talk(socket, Arc::clone(&upstream), tasks.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the simulated upstream cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn talk(socket: TcpStream, upstream: Arc<Upstream>, tasks: Tasks) {
    let _slower = socket.set_nodelay(true);
    let stopping = tasks.stopping();
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { Ok::<_, Infallible>(route(request, upstream).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new());
    let connection = server.serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::trace!(%error, "a connection of the simulated upstream ended");
        },
        () = stopping.cancelled() => {}
    }
}

async fn route(request: Request<Incoming>, upstream: Arc<Upstream>) -> Response<Answer> {
    let path = request.uri().path().to_ascii_lowercase();
    let soap = [server_sync::SERVICE_PATH, server_sync::AUTH_PATH].map(str::to_ascii_lowercase);
    match *request.method() {
        Method::POST if soap.contains(&path) => answer_soap(request, upstream).await,
        Method::GET | Method::HEAD if path.starts_with("/content/") => {
            answer_content(&request, &path, &upstream)
        }
        Method::GET if path == "/_counters" => {
            let text = serde_json::to_string_pretty(&upstream.counters()).unwrap_or_default();
            response(StatusCode::OK, "application/json", Answer::whole(text))
        }
        Method::POST if path == "/_counters/reset" => {
            *upstream.count() = super::Counters::default();
            response(StatusCode::NO_CONTENT, "text/plain", Answer::whole(""))
        }
        Method::POST if path == "/_publish" => publish(&request, &upstream),
        _ => not_found(&upstream),
    }
}

/// `/_publish?definitions=N&updates=N`: more of both, as if released now.
fn publish(request: &Request<Incoming>, upstream: &Upstream) -> Response<Answer> {
    let query = request.uri().query().unwrap_or_default();
    let number = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.map_or(Some(0), |value| value.parse().ok()).filter(|count| *count <= MOST_PUBLISHED)
    };
    let (Some(updates), Some(definitions)) = (number("updates"), number("definitions")) else {
        return response(StatusCode::BAD_REQUEST, "text/plain", Answer::whole("a number is wrong\n"));
    };
    upstream.publish(updates, definitions);
    response(StatusCode::NO_CONTENT, "text/plain", Answer::whole(""))
}

fn response(status: StatusCode, kind: &str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

fn not_found(upstream: &Upstream) -> Response<Answer> {
    upstream.count().not_found += 1;
    response(StatusCode::NOT_FOUND, "text/plain", Answer::whole("not here\n"))
}

async fn answer_soap(request: Request<Incoming>, upstream: Arc<Upstream>) -> Response<Answer> {
    let text = |headers: &HeaderMap, name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let action = text(request.headers(), "soapaction");
    let compress = xpress::accepted(&text(request.headers(), ACCEPT_ENCODING.as_str()));
    let Ok(body) = Limited::new(request.into_body(), MAX_REQUEST).collect().await else {
        return response(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", Answer::whole("too long\n"));
    };
    let (body, asked) = (body.to_bytes(), Arc::clone(&upstream));
    let made = tokio::task::spawn_blocking(move || {
        let answer = asked.answer(&body, &action);
        let compressed = (compress && answer.text.len() >= LEAST_TO_COMPRESS)
            .then(|| xpress::encode(answer.text.as_bytes()));
        (answer, compressed)
    });
    let Ok((answer, compressed)) = made.await else {
        return response(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Answer::whole(""));
    };
    let status = if answer.is_fault { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let is_compressed = compressed.is_some();
    let bytes = compressed.map_or_else(|| Bytes::from(answer.text), Bytes::from);
    upstream.count().soap_bytes += bytes.len() as u64;
    let mut response = response(status, answer.version.content_type(), Answer::whole(bytes));
    if is_compressed {
        response.headers_mut().insert(CONTENT_ENCODING, http::HeaderValue::from_static("xpress"));
    }
    response
}

/// `/Content/<last byte>/<SHA-1>.<extension>`; the path is in lower case by now.
fn answer_content(request: &Request<Incoming>, path: &str, upstream: &Arc<Upstream>) -> Response<Answer> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let (digest, extension) = name.split_at(name.find('.').unwrap_or(name.len()));
    let found = digest.parse::<Sha1Digest>().ok().and_then(|sha1| upstream.payload(&sha1));
    let Some(payload) = found.filter(|payload| payload.extension().eq_ignore_ascii_case(extension)) else {
        return not_found(upstream);
    };
    if let Some(location) = upstream.config.payload_redirect.as_ref().map(|base| format!("{base}{path}"))
        && let Ok(location) = location.parse()
    {
        let mut elsewhere = response(StatusCode::FOUND, "text/plain", Answer::whole(""));
        elsewhere.headers_mut().insert(LOCATION, location);
        return elsewhere;
    }
    let whole = ByteRange { start: 0, end: payload.size };
    let asked = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let (status, range) = match asked.map(|text| range_of(text, payload.size)) {
        None | Some(Asked::Everything) => (StatusCode::OK, whole),
        Some(Asked::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Asked::Beyond) => {
            let mut refusal = response(StatusCode::RANGE_NOT_SATISFIABLE, "text/plain", Answer::whole(""));
            if let Ok(value) = format!("bytes */{}", payload.size).parse() {
                refusal.headers_mut().insert(CONTENT_RANGE, value);
            }
            return refusal;
        }
    };
    let mut count = upstream.count();
    count.content_requests += 1;
    count.content_ranges += u64::from(status == StatusCode::PARTIAL_CONTENT);
    drop(count);
    let (size, tag) = (payload.size, format!("\"{digest}\""));
    let body = if request.method() == Method::HEAD {
        Answer::Head(range.len())
    } else {
        Answer::part(upstream, payload, range)
    };
    let mut answer = response(status, "application/octet-stream", body);
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, http::HeaderValue::from_static("bytes"));
    if let Ok(tag) = tag.parse() {
        headers.insert(ETAG, tag);
    }
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {}-{}/{size}", range.start, range.end - 1).parse()
    {
        headers.insert(CONTENT_RANGE, value);
    }
    answer
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Part(ByteRange),
    /// Something else than one range of bytes: answered whole.
    Everything,
    Beyond,
}

fn range_of(header: &str, size: u64) -> Asked {
    let Some(range) = header.trim().strip_prefix("bytes=").filter(|list| !list.contains(',')) else {
        return Asked::Everything;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::Everything };
    let (first, last) = (first.trim().parse::<u64>(), last.trim().parse::<u64>());
    let (start, end) = match (first, last) {
        (Ok(first), Ok(last)) if last < first => return Asked::Everything,
        (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if range.trim_end().ends_with('-') => (first, size),
        (Err(_), Ok(suffix)) if range.starts_with('-') => (size - suffix.min(size), size),
        _ => return Asked::Everything,
    };
    ByteRange::new(start, end).map_or(Asked::Beyond, Asked::Part)
}

/// The body of an answer.
enum Answer {
    Whole(Full<Bytes>),
    /// No body, but the length that it would have.
    Head(u64),
    Part(Box<Part>),
}

struct Part {
    upstream: Arc<Upstream>,
    payload: Arc<Payload>,
    range: ByteRange,
    lane: Lane,
}

impl Answer {
    fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }

    fn part(upstream: &Arc<Upstream>, payload: Arc<Payload>, range: ByteRange) -> Self {
        let lane = upstream.limiter.lane(Class::Normal);
        Self::Part(Box::new(Part { upstream: Arc::clone(upstream), payload, range, lane }))
    }
}

impl Part {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.range.is_empty() {
            return Poll::Ready(None);
        }
        let want = self.range.len().min(CHUNK as u64);
        let Ok(granted) = ready!(self.lane.poll_take(cx, want)) else { return Poll::Ready(None) };
        let mut chunk = vec![0; usize::try_from(granted).unwrap_or(CHUNK)];
        self.payload.fill(self.range.start, &mut chunk);
        self.range.start += granted;
        self.upstream.count().content_bytes += granted;
        Poll::Ready(Some(Bytes::from(chunk)))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Head(_) => Poll::Ready(None),
            Self::Part(part) => part.poll_chunk(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Head(length) => SizeHint::with_exact(*length),
            Self::Part(part) => SizeHint::with_exact(part.range.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_a_part_and_everything_else_the_whole() {
        let part = |start, end| Asked::Part(ByteRange { start, end });
        let table = [
            ("bytes=0-0", part(0, 1)),
            ("bytes=5-", part(5, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=90-1000", part(90, 100)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=0-1,5-6", Asked::Everything),
            ("bytes=9-3", Asked::Everything),
            ("pages=1-2", Asked::Everything),
        ];
        for (header, expected) in table {
            assert_eq!(range_of(header, 100), expected, "{header}");
        }
    }
}
