//! One question to a tailwater and its answer, over the limited link and with the cookie of the session.
//!
//! **Invariant:** whatever is not the expected answer is [`PeerError::Strange`], and nothing of it is used; only a link
//! that broke and a server that is busy are tried again. It never logs a cookie.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;

use crate::client::{Answer, Stored, delay};
use crate::error::SyncError;
use crate::session::{Session, SessionError};
use tailwater_domain::{Class, Limit, limits};
use tailwater_wire::peer::{BASE, COOKIE_HEADER, MEDIA_TYPE, MessageError};

/// How often a broken link is tried again before the synchronisation gives up.
const MOST_ATTEMPTS: u32 = 5;
/// How often a busy server is asked again: at 25 seconds each this is more than an hour.
const MOST_TURNS: u32 = 200;
/// The longest wait that a busy server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

pub(super) const LIMITS: &[Limit] = limits![
    MOST_ATTEMPTS in "tries": "Tries of one request to a tailwater" => "the synchronisation fails and is scheduled again",
    MOST_TURNS in "requests": "Requests to a tailwater that is busy" => "the synchronisation fails and is scheduled again",
    LONGEST_PAUSE: "The pause that a busy tailwater may ask for" => "it is asked again after this",
];

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum PeerError {
    /// It does not behave like a tailwater: go on as with any other upstream.
    Strange(String),
    /// It cannot be reached, or we failed ourselves: another way would not help.
    Failed(SessionError),
}

impl From<SessionError> for PeerError {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

impl From<SyncError> for PeerError {
    fn from(error: SyncError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<MessageError> for PeerError {
    fn from(error: MessageError) -> Self {
        Self::Strange(error.to_string())
    }
}

/// A question.
pub(super) struct Ask<'a> {
    /// For people: `the list`.
    pub what: &'static str,
    pub method: Method,
    /// Below [`BASE`], with its slash and its query.
    pub path: &'a str,
    pub body: Bytes,
    /// The longest answer.
    pub limit: u64,
}

/// What to do after an attempt.
enum Next {
    Again(Duration),
    Renew,
}

impl Session {
    /// Asks, and takes the whole answer in.
    pub(super) async fn ask_peer(&self, ask: &Ask<'_>) -> Result<Answer, PeerError> {
        let (mut attempts, mut turns, mut renewed) = (0, 0, false);
        loop {
            let cookie = self.cookie().await?;
            let (next, last) = match self.attempt_peer(ask, &cookie.encrypted_data).await {
                Ok(stored) => return Ok(stored.open(false)),
                Err(other) => other,
            };
            match next {
                Some(Next::Renew) if !renewed => {
                    renewed = true;
                    self.forget(&cookie).await;
                }
                Some(Next::Again(pause)) => {
                    let busy = matches!(last, PeerError::Strange(_));
                    let (count, most) =
                        if busy { (&mut turns, MOST_TURNS) } else { (&mut attempts, MOST_ATTEMPTS) };
                    *count += 1;
                    if *count >= most {
                        return Err(last);
                    }
                    self.client().clock.sleep(pause.max(delay(attempts.max(1)).mul_f64(0.3))).await;
                }
                Some(Next::Renew) | None => return Err(last),
            }
        }
    }

    /// One attempt: the answer, or what went wrong and what may help.
    async fn attempt_peer(&self, ask: &Ask<'_>, cookie: &str) -> Result<Stored, (Option<Next>, PeerError)> {
        let fatal = |error: SyncError| (None, PeerError::from(error));
        let broken = |source: tailwater_bandwidth::LinkError| {
            let again = source.retry_may_help().then_some(Next::Again(Duration::ZERO));
            (again, PeerError::from(SyncError::Link { operation: ask.what, source }))
        };
        let mut request = self.peer_request(ask, cookie).map_err(fatal)?;
        if let Some(token) = &self.client().token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let response = self.client().link.send(request, Class::Metadata).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let strange = |next, what: String| Err((next, PeerError::Strange(format!("{}: {what}", ask.what))));
        match head.status {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                return strange(Some(Next::Again(pause(&head.headers))), "it is busy".to_owned());
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                return strange(Some(Next::Renew), format!("it answers {}", head.status));
            }
            status => return strange(None, format!("it answers {status}")),
        }
        if head.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != MEDIA_TYPE) {
            return strange(None, "it answers with something else".to_owned());
        }
        match self.client().receive(body, ask.what, ask.limit).await {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(source)) => Err(broken(source)),
            Err(SyncError::AnswerTooLong { limit, .. }) => {
                strange(None, format!("it answers with more than {limit} bytes"))
            }
            Err(error) => Err(fatal(error)),
        }
    }

    fn peer_request(&self, ask: &Ask<'_>, cookie: &str) -> Result<Request<Full<Bytes>>, SyncError> {
        let url = format!("{}{BASE}{}", self.url(), ask.path);
        let refuse = || SyncError::Url { url: url.clone() };
        let uri: Uri = url.parse().map_err(|_e| refuse())?;
        let mut cookie = HeaderValue::from_str(cookie).map_err(|_e| refuse())?;
        cookie.set_sensitive(true);
        let mut request = Request::new(Full::new(ask.body.clone()));
        (*request.method_mut(), *request.uri_mut()) = (ask.method.clone(), uri);
        request.headers_mut().insert(COOKIE_HEADER, cookie);
        Ok(request)
    }
}

fn pause(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(1)).min(LONGEST_PAUSE)
}
