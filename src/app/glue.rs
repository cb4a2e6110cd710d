//! Where rooms that do not know each other meet: which files exist, and where they can be had.
//!
//! **Invariant:** a file that no metadata names is never asked for. It holds no state of its own.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::bandwidth::{Class, Requester};
use crate::catalog::{Catalog, Computer};
use crate::config::Demand;
use crate::domain::{ByteRange, FileDeclaration, Sha1Digest};
use crate::ledger::{self, Ledger};
use crate::needs;
use crate::serve::client::Callers;
use crate::serve::downstream::{Gate, WantedFiles};
use crate::serve::files::{Asked, KnownFiles, Sends};
use crate::serve::{Answer, Body, Peer, Request, Response, Site};
use crate::transfer::{self, Came, Source, Sources, SourcesFuture};
use crate::upstream::{Address, Upstream};

/// The catalog's side of a miss.
pub(super) struct Known {
    pub(super) catalog: Catalog,
    pub(super) gate: Gate,
    pub(super) transfers: transfer::Handle,
    pub(super) demand: Demand,
}

impl KnownFiles for Known {
    /// What is approved here, or on its way anyway. A downstream server has approvals of its own, and gets whatever it can know
    /// of: one that says who it is, and whoever comes from an address from which one synchronises.
    fn may_fetch(&self, sha1: &Sha1Digest, by: Requester) -> bool {
        let is_server = match by {
            Requester::Server(_) | Requester::Own => true,
            Requester::Agent(address) => self.gate.is_servers(address),
        };
        self.demand == Demand::Anything
            || is_server
            || self.catalog.is_deployed(sha1)
            || self.transfers.is_queued(sha1)
    }

    fn declaration(&self, sha1: &Sha1Digest) -> Option<FileDeclaration> {
        match self.catalog.file(sha1) {
            Ok(known) => known.map(|known| known.declaration),
            Err(error) => {
                tracing::warn!(%sha1, %error, "the catalog cannot be asked for a file");
                None
            }
        }
    }
}

/// What agents say and ask for, for those who learn from it.
pub(super) struct Learner(pub needs::Handle);

impl Callers for Learner {
    fn called(&self, from: IpAddr, computer: &Computer) {
        self.0.called(from, computer);
    }
}

impl Asked for Learner {
    fn asked(&self, by: Requester, sha1: &Sha1Digest, range: ByteRange) {
        self.0.asked(by, *sha1, range);
    }
}

/// The upstream's side of a transfer; what comes is entered into the ledger.
pub(super) struct FromUpstream(pub Upstream, pub Ledger);

impl Sources for FromUpstream {
    fn came(&self, class: Class, sha1: Sha1Digest, origin: &Arc<str>, came: Came) {
        let fate = match came {
            Came::Stored(range) => ledger::Fate::Stored(range),
            Came::Wasted(bytes) => ledger::Fate::Wasted(bytes),
        };
        self.1.came(class.as_str(), sha1, origin, fate);
    }

    fn sources<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move { self.0.sources(file).await.into_iter().map(source).collect() })
    }

    fn renewed<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move { self.0.renewed_sources(file).await.into_iter().map(source).collect() })
    }
}

fn source(address: Address) -> Source {
    let Address { url, headers, cost, last_resort } = address;
    Source { url, headers, cost, last_resort }
}

/// Payloads that downstream servers ask for.
pub(super) struct ForDownstream {
    pub(super) transfers: transfer::Handle,
    pub(super) upstream: Upstream,
}

impl WantedFiles for ForDownstream {
    fn hosts_psf(&self) -> bool {
        self.upstream.hosts_psf()
    }

    fn fetch(&self, file: &FileDeclaration) -> bool {
        self.transfers.fetch(file, Class::Background).is_ok()
    }
}

/// The agents' site, with the bytes of payloads counted as they leave.
pub(super) struct Counted {
    pub(super) site: Site,
    pub(super) served: Arc<AtomicU64>,
    pub(super) gate: Gate,
    pub(super) ledger: Ledger,
}

impl Answer for Counted {
    async fn answer(&self, request: Request, from: Peer) -> Response {
        // case of paths does not matter anywhere on this listener
        let path = request.uri().path();
        let below =
            |folder: &str| path.get(..folder.len()).is_some_and(|start| start.eq_ignore_ascii_case(folder));
        let named = below("/tailwater/v1/content/");
        let is_payload = named || below("/Content/");
        let mut answer = self.site.answer(request, from).await;
        let sends = answer.extensions_mut().remove::<Sends>();
        if !is_payload || !answer.status().is_success() {
            return answer;
        }
        // who names itself is counted by its name, the others by their address
        let (served, gate) = (Arc::clone(&self.served), (!named).then(|| self.gate.clone()));
        let entry = sends.map(|sends| Entry::new(&self.ledger, &self.gate, sends));
        let to = from.address.ip();
        answer.map(|body| CountedBody { body, served, gate, to, sent: 0, entry }.boxed_unsync())
    }
}

struct CountedBody {
    body: Body,
    served: Arc<AtomicU64>,
    gate: Option<Gate>,
    to: IpAddr,
    sent: u64,
    entry: Option<Entry>,
}

/// What of a payload is on its way out, for the ledger.
struct Entry {
    ledger: Ledger,
    client: ledger::Client,
    sends: Sends,
    /// Bytes entered.
    entered: u64,
}

impl Entry {
    /// Bytes that leave before they are entered while an answer goes on.
    const STRIDE: u64 = 4 * 1024 * 1024;

    fn new(ledger: &Ledger, gate: &Gate, sends: Sends) -> Self {
        let client = match sends.to {
            Requester::Server(id) => ledger::Client::Server(id),
            Requester::Agent(address) => {
                gate.server_at(address).map_or(ledger::Client::Agent(address), ledger::Client::Server)
            }
            Requester::Own => ledger::Client::Agent(IpAddr::from([0; 4])),
        };
        Self { ledger: ledger.clone(), client, sends, entered: 0 }
    }

    /// So many bytes left; those of several ranges follow each other.
    fn enter(&mut self, sent: u64) {
        let (mut passed, mut entered) = (0, self.entered);
        let heads = self.sends.heads.iter().copied().chain(std::iter::repeat(0));
        for (range, head) in self.sends.ranges.iter().zip(heads) {
            passed += head;
            let (start, end) = (self.entered.max(passed), sent.min(passed + range.len()));
            if let Some(part) =
                ByteRange::new(range.start + start - passed, range.start + end.max(start) - passed)
            {
                self.ledger.served(self.client, self.sends.sha1, part);
                entered = end;
            }
            passed += range.len();
        }
        self.entered = entered;
    }
}

impl Drop for CountedBody {
    fn drop(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.enter(self.sent);
        }
        if let Some(gate) = &self.gate {
            gate.count_content(self.to, self.sent);
        }
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let bytes = u64::try_from(data.len()).unwrap_or_default();
            self.served.fetch_add(bytes, Ordering::Relaxed);
            self.sent += bytes;
            let sent = self.sent;
            if let Some(entry) = self.entry.as_mut().filter(|entry| sent - entry.entered >= Entry::STRIDE) {
                entry.enter(sent);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
