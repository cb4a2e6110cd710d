//! SOAP over HTTP: a request's body in, an answer in the coding that was asked for out.
//!
//! **Invariant:** no more than the named limit of a request is read, and every answer has a known length (chunked
//! answers are refused by agents). It never knows what an operation means.

use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::fault::{Misdirected, Refusal};
use crate::wire::soap::{self, Style, Version};
use crate::wire::xpress;

/// The largest request; a driver pass with 75 devices takes 50 kB, a scan with 25,000 ids 0.5 MB.
pub const MAX_REQUEST: usize = 4 << 20;
/// How long a request's body may take to arrive.
const BODY_TIME: Duration = Duration::from_mins(1);
/// How long the body of a roll-up may take: 10 MB over 128 kbit/s.
const SLOW_BODY_TIME: Duration = Duration::from_mins(10);
/// zstd windows larger than 8 MiB are refused: they cost memory before a byte is unpacked.
const MAX_WINDOW_LOG: u32 = 23;
/// Shorter answers gain nothing from compression.
pub const MIN_COMPRESSED: usize = 256;

/// What an answer must know of its request.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Which SOAP was spoken.
    pub version: Version,
    /// How the service wraps its answers.
    pub style: Style,
    /// `SOAPAction` as it came, with its quotation marks.
    pub action: String,
    /// Whether the answer may be compressed with xpress.
    pub xpress: bool,
    /// The service's own address, for `faultactor`.
    pub url: String,
}

impl Exchange {
    /// What can be told from the headers; the SOAP version is known once the body was opened.
    pub fn new(headers: &HeaderMap, style: Style, url: String) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let action = text(header::HeaderName::from_static("soapaction")).map(str::trim);
        let action = match action {
            Some(action) if action.starts_with('"') => action.to_owned(),
            Some(action) => format!("\"{action}\""),
            None => String::new(),
        };
        let xpress = headers
            .get_all(header::ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(xpress::accepted);
        Self { version: Version::V11, style, action, xpress, url }
    }

    /// The operation that `SOAPAction` names: its last segment.
    pub fn named_operation(&self) -> Option<&str> {
        let action = self.action.trim_matches('"');
        if action.is_empty() { None } else { action.rsplit('/').next() }
    }

    /// Everything of an answer before the body's element.
    pub fn opening(&self) -> String {
        soap::opening(self.version, self.style)
    }

    /// Everything after it.
    pub fn closing(&self) -> &'static str {
        soap::closing(self.style)
    }

    /// An answer whose body element is in memory.
    pub fn answer(&self, element: &str) -> Response<Body> {
        let text = soap::envelope(self.version, self.style, element);
        self.coded(StatusCode::OK, text)
    }

    /// A fault.
    pub fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        let mut fault = refusal.fault(&self.action);
        if self.style == Style::Server {
            fault.actor = Some(self.url.clone());
        }
        let text = fault.encode(self.version, self.style);
        self.coded(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    fn coded(&self, status: StatusCode, text: String) -> Response<Body> {
        if self.xpress && text.len() >= MIN_COMPRESSED {
            let coded = xpress::encode(text.as_bytes());
            return self.with_body(status, body::full(coded), true);
        }
        self.with_body(status, body::full(text), false)
    }

    /// An answer whose body is an envelope already, `coded` when it is xpress.
    pub fn with_body(&self, status: StatusCode, body: Body, coded: bool) -> Response<Body> {
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        let cache = match self.style {
            Style::Client => "private",
            Style::Server => "private, max-age=0",
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.version.content_type()));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if coded {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("xpress"));
        }
        answer
    }
}

/// Reads a request's body, at most [`MAX_REQUEST`] bytes of it, as UTF-8.
pub async fn read_body(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Misdirected> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(Misdirected::MediaType);
    }
    as_utf8(collect(body, MAX_REQUEST, BODY_TIME).await?)
}

/// A request's body as it came, perhaps packed.
pub struct Packed {
    bytes: Bytes,
    packed: bool,
}

impl From<Bytes> for Packed {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, packed: false }
    }
}

impl Packed {
    /// Reads at most `limit` bytes, plain or packed with zstd. Slow links may take a while for it.
    pub async fn read(headers: &HeaderMap, body: Incoming, limit: usize) -> Result<Self, Misdirected> {
        let coding = headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
        let packed = coding.eq_ignore_ascii_case(b"zstd");
        if !packed && !coding.eq_ignore_ascii_case(b"identity") {
            return Err(Misdirected::MediaType);
        }
        Ok(Self { bytes: collect(body, limit, SLOW_BODY_TIME).await?, packed })
    }

    /// Unpacks at most `limit` bytes of UTF-8. Takes a while.
    pub fn unpacked(self, limit: usize) -> Result<Bytes, Misdirected> {
        as_utf8(if self.packed { unpack(&self.bytes, limit)? } else { self.bytes })
    }
}

/// Unpacks at most `limit` bytes.
fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, Misdirected> {
    let mut reader = zstd::stream::read::Decoder::new(packed).map_err(|_e| Misdirected::Incomplete)?;
    reader.window_log_max(MAX_WINDOW_LOG).map_err(|_e| Misdirected::Incomplete)?;
    let mut unpacked = Vec::new();
    let read = reader.take(limit as u64 + 1).read_to_end(&mut unpacked);
    match read {
        Ok(_) if unpacked.len() > limit => Err(Misdirected::TooLarge(limit)),
        Ok(_) => Ok(unpacked.into()),
        Err(_broken) => Err(Misdirected::Incomplete),
    }
}

async fn collect(body: Incoming, limit: usize, time: Duration) -> Result<Bytes, Misdirected> {
    let too_large = Misdirected::TooLarge(limit);
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large);
    }
    match tokio::time::timeout(time, Limited::new(body, limit).collect()).await {
        Err(_elapsed) => Err(Misdirected::Timeout),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
        Ok(Err(_broken)) => Err(Misdirected::Incomplete),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// UTF-16 with a byte order mark becomes UTF-8; everything else is left for the XML reader to judge.
fn as_utf8(bytes: Bytes) -> Result<Bytes, Misdirected> {
    let unit: fn([u8; 2]) -> u16 = match bytes.get(..2) {
        Some([0xff, 0xfe]) => u16::from_le_bytes,
        Some([0xfe, 0xff]) => u16::from_be_bytes,
        _ => return Ok(bytes),
    };
    let units = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.map(Bytes::from).map_err(|_unpaired| Misdirected::MediaType)
}

/// A body of a few parts that are in memory.
pub struct Joined {
    parts: std::collections::VecDeque<Bytes>,
}

impl Joined {
    /// The parts in their order.
    pub fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        Self { parts: parts.into_iter().filter(|part| !part.is_empty()).collect() }
    }
}

impl http_body::Body for Joined {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.parts.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.parts.iter().map(|part| part.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf16_requests_are_read() {
        let text = "<\u{e9}\u{1f600}/>";
        let mut little = vec![0xff, 0xfe];
        let mut big = vec![0xfe, 0xff];
        for unit in text.encode_utf16() {
            little.extend(unit.to_le_bytes());
            big.extend(unit.to_be_bytes());
        }
        for bytes in [little, big, text.as_bytes().to_vec()] {
            assert_eq!(as_utf8(Bytes::from(bytes)), Ok(Bytes::from(text)));
        }
        assert!(as_utf8(Bytes::from_static(&[0xff, 0xfe, 0x00, 0xd8])).is_err());
    }

    #[test]
    fn the_action_is_kept_with_its_quotation_marks() {
        let exchange = |action: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(action) = action {
                headers.insert("SOAPAction", HeaderValue::from_static(action));
            }
            Exchange::new(&headers, Style::Client, String::new())
        };
        for action in ["\"http://x/y/GetConfig\"", "http://x/y/GetConfig"] {
            let exchange = exchange(Some(action));
            assert_eq!(exchange.action, "\"http://x/y/GetConfig\"");
            assert_eq!(exchange.named_operation(), Some("GetConfig"));
        }
        assert_eq!(exchange(None).named_operation(), None);
        assert_eq!(exchange(Some("\"\"")).named_operation(), None);
    }
}
