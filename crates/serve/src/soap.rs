//! SOAP over HTTP: a request's body in, an answer in the coding that was asked for out.
//!
//! **Invariant:** every answer has a known length (chunked answers are refused by agents). It never reads a request's
//! body, and never knows what an operation means.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};

use super::fault::Refusal;
use super::http::body::{self, Body};
use tailwater_wire::soap::{self, Style, Version};
use tailwater_wire::xpress;

/// Shorter answers gain nothing from compression.
pub const MIN_COMPRESSED: usize = 256;
// not a limit: MIN_COMPRESSED: shorter answers are sent unpacked
/// What a client is told to wait when the server is busy, in seconds.
const RETRY_AFTER: &str = "30";

/// The action of a request, as it came: `SOAPAction`, or without it the parameter of SOAP 1.2's media type.
pub fn action(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let named = |value: &&str| !value.trim_matches('"').is_empty();
    text(header::HeaderName::from_static("soapaction")).filter(named).or_else(|| {
        let parameters = text(header::CONTENT_TYPE)?.split(';').skip(1);
        let mut actions = parameters.filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("action").then(|| value.trim())
        });
        actions.next().filter(named)
    })
}

/// Whether a request says that it is SOAP, once and as agents and servers say it. A page of another site cannot say so
/// without asking first.
pub(super) fn is_soap(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok()).filter(|_| kinds.next().is_none());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/xml") || kind.eq_ignore_ascii_case("application/soap+xml")
}

/// The operation that an action names: its last segment.
pub fn operation_of(action: &str) -> &str {
    action.trim().trim_matches('"').rsplit('/').next().unwrap_or_default()
}

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
    /// Who asked, for what is shared by address.
    pub from: IpAddr,
}

impl Exchange {
    /// What can be told from the headers. [`Exchange::heard`] makes it exact.
    pub fn new(headers: &HeaderMap, style: Style, url: String) -> Self {
        let action = match action(headers) {
            Some(action) if action.starts_with('"') => action.to_owned(),
            Some(action) => format!("\"{action}\""),
            None => String::new(),
        };
        let media =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        let version =
            if media.eq_ignore_ascii_case("application/soap+xml") { Version::V12 } else { Version::V11 };
        let xpress = headers
            .get_all(header::ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(xpress::accepted);
        Self { version, style, action, xpress, url, from: IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
    }

    /// The same, asked by this address.
    #[must_use]
    pub fn asked_by(self, from: IpAddr) -> Self {
        Self { from, ..self }
    }

    /// Takes from a body, which may be broken, what the answer must know: the version its sender speaks, and the
    /// operation where no header named it.
    pub fn heard(&mut self, body: &[u8]) {
        let seen = soap::glimpse(body);
        self.version = seen.version.unwrap_or(self.version);
        if let Some((namespace, operation)) = seen.operation.filter(|_| self.action.is_empty()) {
            self.action = format!("\"{namespace}/{operation}\"");
        }
    }

    /// The operation that the headers name, or else the body.
    pub fn named_operation(&self) -> Option<&str> {
        Some(operation_of(&self.action)).filter(|operation| !operation.is_empty())
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
        // Deviates: ASP.NET answers mistakes of SOAP 1.2 senders with 400; one status for both is what servers below
        // were tried with
        let status = match refusal {
            Refusal::Misdirected(misdirected) => misdirected.fault_status(),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut answer = self.coded(status, text);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if matches!(refusal, Refusal::Misdirected(_)) {
            close(&mut answer);
        }
        answer
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

/// What was not read of a request makes its connection useless.
pub fn close(answer: &mut Response<Body>) {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
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
    fn version_and_action_are_those_of_the_sender() {
        type Row = (&'static [(&'static str, &'static str)], &'static str, Version, &'static str);
        const SOAP12: &str = "application/soap+xml; charset=utf-8; action=\"http://x/y/GetConfig\"";
        let quoted = "\"http://x/y/GetConfig\"";
        let body12 =
            "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body><Ping xmlns=\"urn:x\">";
        let table: [Row; 9] = [
            (&[("soapaction", "\"http://x/y/GetConfig\"")], "", Version::V11, quoted),
            (
                &[("content-type", "text/xml"), ("soapaction", "http://x/y/GetConfig")],
                "",
                Version::V11,
                quoted,
            ),
            (&[("content-type", SOAP12)], "", Version::V12, quoted),
            (
                &[("content-type", "Application/SOAP+XML;action=http://x/y/GetConfig")],
                "",
                Version::V12,
                quoted,
            ),
            (&[("content-type", SOAP12), ("soapaction", "\"\"")], "", Version::V12, quoted),
            (&[("content-type", SOAP12)], body12, Version::V12, quoted),
            (&[("content-type", "text/xml; charset=utf-8")], body12, Version::V12, "\"urn:x/Ping\""),
            (&[("content-type", "application/soap+xml")], "", Version::V12, ""),
            (&[], "<html/>", Version::V11, ""),
        ];
        for (headers, body, version, action) in table {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let mut exchange = Exchange::new(&map.collect(), Style::Server, String::new());
            exchange.heard(body.as_bytes());
            assert_eq!((exchange.version, exchange.action.as_str()), (version, action), "{headers:?} {body}");
        }
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
