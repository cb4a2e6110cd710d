//! Counts the bytes of payloads as they leave: for the status, for the server that they go to, and for the ledger.
//!
//! **Invariant:** what is counted left this process, and a body that breaks off is counted as far as it came. It never
//! changes an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use http_body_util::BodyExt as _;

use super::Site;
use super::downstream::Gate;
use super::files::Sends;
use super::http::body::{Observed, Observer, Polled};
use super::http::{Answer, Peer, Request, Response};
use tailwater_domain::{ByteRange, Requester};
use tailwater_ledger::{self as ledger, Ledger};

/// Bytes that leave before they are entered into the ledger while an answer goes on.
const STRIDE: u64 = 4 * 1024 * 1024;

// not a limit: STRIDE: how often what left is entered

/// A site whose payloads are counted.
pub struct Accounted {
    site: Site,
    served: Arc<AtomicU64>,
    gate: Gate,
    ledger: Ledger,
}

impl Accounted {
    /// Counts what `site` sends of payloads: all bytes together in `served`, those for a downstream server at the
    /// gate, and each range in the ledger.
    pub fn new(site: Site, served: Arc<AtomicU64>, gate: Gate, ledger: Ledger) -> Self {
        Self { site, served, gate, ledger }
    }
}

impl Answer for Accounted {
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
        let account = Account {
            served: Arc::clone(&self.served),
            // who names itself is counted by its name, the others by their address
            gate: (!named).then(|| self.gate.clone()),
            to: from.address.ip(),
            sent: 0,
            entries: sends.map(|sends| LedgerEntries::new(&self.ledger, &self.gate, sends)),
        };
        answer.map(|body| Observed::new(body, account).boxed_unsync())
    }
}

/// The account of one body on its way out.
struct Account {
    served: Arc<AtomicU64>,
    gate: Option<Gate>,
    to: IpAddr,
    /// Bytes that left.
    sent: u64,
    entries: Option<LedgerEntries>,
}

impl Observer for Account {
    fn after(&mut self, polled: &Polled, _ended: bool) {
        let Poll::Ready(Some(Ok(frame))) = polled else { return };
        let Some(data) = frame.data_ref() else { return };
        let bytes = u64::try_from(data.len()).unwrap_or_default();
        self.served.fetch_add(bytes, Ordering::Relaxed);
        self.sent += bytes;
        let sent = self.sent;
        if let Some(entries) = self.entries.as_mut().filter(|entries| sent - entries.entered >= STRIDE) {
            entries.enter(sent);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(entries) = &mut self.entries {
            entries.enter(self.sent);
        }
        if let Some(gate) = &self.gate {
            gate.count_content(self.to, self.sent);
        }
    }
}

/// What of a payload is on its way out, for the ledger.
struct LedgerEntries {
    ledger: Ledger,
    client: ledger::Client,
    sends: Sends,
    /// Bytes entered.
    entered: u64,
}

impl LedgerEntries {
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
