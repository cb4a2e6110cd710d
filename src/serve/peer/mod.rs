//! What this server tells tailwaters that synchronise from it, below `/tailwater/v1/`: lists, packs of documents,
//! notices of changes, payloads with the hashes of their pieces.
//!
//! **Invariant:** nothing but the greeting is answered without a cookie that the server role made and that the
//! gate still lets in; transfers never exceed their slots; what is told is what MS-WSUSSS would tell. It never
//! waits for the upstream but for payloads, as everywhere.

mod changes;
mod content;
mod list;
mod pack;
mod slots;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderValue, Method, StatusCode, header};

use slots::ComeAgain;
pub use slots::Slots;

use super::downstream::{self, Proof};
use super::files;
use super::http::{Misdirected, Peer, Request, Response, body, path};
use super::intake::{Intake, Taken};
use super::operations;
use crate::catalog::{Catalog, CatalogError, Took};
use crate::content::Store;
use crate::domain::{Limit, ServerId, joined_limits, limits};
use crate::runtime::{Asker, Clock, Limits as ShareLimits, NoTurn, Shares, Tasks, TurnLimits, Turns};
use crate::wire::peer::{BASE, COOKIE_HEADER, Hello, MEDIA_TYPE, PeerError};

/// Children that wait for a change at once, where the configuration says nothing else; a further one asks again later.
pub const MAX_LONG_POLLS: u64 = 4_096;
/// How long a request waits until its pack or list is made.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(25);
/// Packs that are made at once: each takes a core and up to 30 MB.
const MOST_MAKING: usize = 2;
/// Lists that are made at once: one of 100,000 revisions takes 13 MB meanwhile.
const MOST_LISTING: usize = 2;
/// What a child is told to wait that meets a limit, in seconds.
const LATER: &str = "30";

const OWN_LIMITS: &[Limit] = limits![
    MAX_LONG_POLLS in "requests" key "downstream.max_long_polls": "Children that wait for a change at once, shared by address" => "503, after which they ask again",
    MOST_MAKING in "packs": "Packs that are made at once" => "a wait, then 503",
    MOST_LISTING in "lists": "Lists that are made at once" => "a wait, then 503",
    PATIENCE: "The wait until a pack or list is made" => "503",
];

pub(super) const LIMITS: &[Limit] =
    joined_limits![OWN_LIMITS, changes::LIMITS, content::LIMITS, list::LIMITS, pack::LIMITS, slots::LIMITS,];

/// What the service is made of.
pub struct Parts {
    /// Who this server is.
    pub server: ServerId,
    /// What is known.
    pub catalog: Catalog,
    /// What is held.
    pub content: Store,
    /// Answers for payloads.
    pub files: files::Service,
    /// The server role, which made the cookies and knows who may come.
    pub downstream: downstream::Service,
    /// Their turns.
    pub slots: Slots,
    /// Children that may wait for a change at once (`downstream.max_long_polls`).
    pub long_polls: u64,
    /// The time.
    pub clock: Clock,
    /// For knowing when to stop.
    pub tasks: Tasks,
    /// Takes in what they send.
    pub intake: Intake,
}

/// Answers tailwaters. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    server: ServerId,
    catalog: Catalog,
    content: Store,
    files: files::Service,
    downstream: downstream::Service,
    slots: Slots,
    waiting: Shares,
    making: Turns,
    listing: Turns,
    packs: pack::Packs,
    clock: Clock,
    tasks: Tasks,
    intake: Intake,
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("There is no such thing.")]
    NotFound,
    #[error("This address is asked in another way.")]
    Method,
    #[error("Authorize first: the cookie is missing, too old, or no longer good.")]
    Cookie,
    #[error("The request cannot be read: {0}.")]
    Message(#[from] PeerError),
    #[error("The answer could not be written to a temporary file.")]
    Body,
    #[error("{0}")]
    Misdirected(Misdirected),
    #[error("There is too much to do; come again.")]
    Busy { retry_after: &'static str },
    #[error("The catalog could not answer.")]
    Catalog(#[from] CatalogError),
    #[error("A worker ended before its answer.")]
    Worker(#[from] tokio::task::JoinError),
}

impl Refused {
    fn answer(&self) -> Response {
        if let Self::Misdirected(misdirected) = self {
            return misdirected.answer();
        }
        let status = match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Cookie => StatusCode::FORBIDDEN,
            Self::Message(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected(misdirected) => misdirected.status(),
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Catalog(_) | Self::Worker(_) | Self::Body => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() && !matches!(self, Self::Busy { .. }) {
            tracing::error!(error = %self, cause = ?std::error::Error::source(self), "a downstream tailwater got no answer");
        }
        let mut answer = body::text(status, format!("{self}\n"));
        if let Self::Busy { retry_after } = self {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(retry_after));
        }
        answer
    }
}

impl From<ComeAgain> for Refused {
    fn from(again: ComeAgain) -> Self {
        Self::Busy { retry_after: if again == ComeAgain::Now { "0" } else { LATER } }
    }
}

impl From<NoTurn> for Refused {
    fn from(_none: NoTurn) -> Self {
        Self::Busy { retry_after: LATER }
    }
}

/// An answer that is a message.
fn message(bytes: impl Into<Bytes>) -> Response {
    let mut answer = Response::new(body::full(bytes));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    answer
}

impl Service {
    /// The service over a catalog and a store.
    pub fn new(parts: Parts) -> Self {
        let Parts { server, catalog, content, files, downstream, slots, long_polls, clock, tasks, intake } =
            parts;
        Self(Arc::new(Inner {
            server,
            catalog,
            content,
            files,
            downstream,
            slots,
            waiting: Shares::new(ShareLimits::of(long_polls)),
            making: Turns::new(TurnLimits::of(MOST_MAKING, PATIENCE), clock.clone()),
            listing: Turns::new(TurnLimits::of(MOST_LISTING, PATIENCE), clock.clone()),
            packs: pack::no_packs(),
            clock,
            tasks,
            intake,
        }))
    }

    /// Answers one request below `/tailwater`.
    pub async fn answer(&self, request: Request, from: Peer) -> Response {
        self.route(request, from).await.unwrap_or_else(|refused| refused.answer())
    }

    async fn route(&self, request: Request, from: Peer) -> Result<Response, Refused> {
        let path = path::of(request.uri()).ok_or(Refused::NotFound)?;
        let below = path.get(..BASE.len()).filter(|start| start.eq_ignore_ascii_case(BASE));
        // the greeting lies at the folder itself
        let below = below.and_then(|_| match &path[BASE.len()..] {
            "" => Some(""),
            below => below.strip_prefix('/'),
        });
        let below = below.ok_or(Refused::NotFound)?;
        let (what, name) = below.split_once('/').unwrap_or((below, ""));
        let (what, name) = (what.to_ascii_lowercase(), name.to_owned());
        let method = match what.as_str() {
            "list" | "pack" => Method::POST,
            "" | "changes" | "content" | "pieces" => Method::GET,
            _ => return Err(Refused::NotFound),
        };
        if *request.method() != method {
            return Err(Refused::Method);
        }
        if what.is_empty() {
            return Ok(message(Hello::new(self.0.server.0).encode()));
        }
        let (head, incoming) = request.into_parts();
        let child = self.child(&head, from)?;
        let address = from.address.ip();
        let asker = Asker { key: child.0.as_u128(), ..Asker::at(address) };
        let change = self.0.catalog.snapshot().change_number();
        let answer = match what.as_str() {
            "list" => self.list(asker, self.read(from, incoming).await?.bytes()).await?,
            "pack" => self.pack(child, address, self.read(from, incoming).await?.bytes()).await?,
            "changes" => self.changes(address, head.uri.query().unwrap_or_default()).await?,
            "pieces" => self.pieces(child, address, &name).await?,
            _ => self.content(child, address, Request::from_parts(head, incoming), &name).await?,
        };
        let bytes = http_body::Body::size_hint(answer.body()).lower();
        let took = match what.as_str() {
            "content" => Took { content: bytes, ..Took::default() },
            "list" => Took { metadata: bytes, change: Some(change), ..Took::default() },
            _ => Took { metadata: bytes, ..Took::default() },
        };
        self.0.catalog.server_took(&child, took);
        Ok(answer)
    }

    /// The body of a request whose sender is known.
    async fn read(&self, from: Peer, incoming: hyper::body::Incoming) -> Result<Taken, Refused> {
        let taken = self.0.intake.take(from.address.ip(), incoming, operations::of_tailwaters()).await;
        taken.map_err(Refused::Misdirected)
    }

    /// Who asks. The one place where the cookie is looked at.
    fn child(&self, head: &Head, from: Peer) -> Result<ServerId, Refused> {
        let cookie = head.headers.get(COOKIE_HEADER).and_then(|cookie| STANDARD.decode(cookie).ok());
        let proof = Proof::of(head, from);
        let admitted = self.0.downstream.admitted(cookie.as_deref(), &proof);
        admitted.map(|claims| claims.server).map_err(|_told| Refused::Cookie)
    }
}
