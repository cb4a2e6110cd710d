//! Roll-ups of downstream servers ([MS-WSUSSS] 3.1.4.13 to 3.1.4.17).
//!
//! **Invariant:** a request changes nothing unless its sender passes the [`Gate`](super::Gate) and everything in it can
//! be read; no more than a few large requests are in memory at once. It never believes what servers say of agents of
//! ours.
//! Deviates: the text's cookie is empty and names nobody, so the sender is who the request says it is; who must show a
//! token shows it here too.

use std::collections::BTreeSet;

use http::header::{ACCEPT_ENCODING, HeaderValue};
use http::request::Parts as Head;
use jiff::{SignedDuration, Timestamp};

use super::gate::{Denied, Proof};
use super::service::Service;
use crate::fault::Refusal;
use crate::http::{Misdirected, Peer, Request, Response, path};
use crate::intake::{Blocks, Taken, Unpacked, is_packed};
use crate::memory::Reservation;
use crate::operations;
use crate::soap::Exchange;
use tailwater_catalog::CatalogError;
use tailwater_domain::{RolledComputer, ServerId, ServerReport, StatusReport};
use tailwater_runtime::Asker;
use tailwater_wire::server_reporting::{
    self as reporting, NAMESPACE, OPERATIONS, Report, RollupConfiguration, SERVICE_PATH,
};
use tailwater_wire::soap::{SoapError, open};
use tailwater_wire::xml::{Limits, XmlError};

/// Clocks that differ by less are taken as equal ([MS-WSUSSS] note 50).
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(60);
// not a limit: CLOCK_SLACK: what two clocks may differ by is no bound on anybody

/// Whether an operation of the reporting service belongs to downstream servers; the others are agents'.
pub fn is_rollup(operation: &str) -> bool {
    OPERATIONS.contains(&operation)
}

impl Service {
    /// Answers one roll-up whose body is still on the wire.
    pub async fn report(&self, request: Request, from: Peer) -> Response {
        let (parts, body) = request.into_parts();
        if path::of(&parts.uri).is_none_or(|path| !path.eq_ignore_ascii_case(SERVICE_PATH)) {
            return Misdirected::NotFound.answer();
        }
        if parts.method != http::Method::POST {
            return Misdirected::Method.answer();
        }
        let arrived = self.0.clock.now();
        let exchange = self.exchange(&parts, from, SERVICE_PATH);
        // what can be asked before the body is: who never synchronised from here has little to tell
        let known = from.certificate.is_some() || self.0.gate.has_come(from.address.ip());
        let limit = operations::of_rollups(exchange.named_operation(), known);
        let taken = match is_packed(&parts.headers) {
            Ok(packed) => {
                let body = self.0.intake.take_large(from.address.ip(), body, limit).await;
                body.map(|body| Unread { body, packed, limit })
            }
            Err(misdirected) => Err(misdirected),
        };
        match taken {
            Ok(body) => self.report_at(&parts, body, from, arrived).await,
            Err(misdirected) => exchange.refuse(&Refusal::Misdirected(misdirected)),
        }
    }

    /// Answers one roll-up whose body is in memory.
    pub(crate) async fn report_message(&self, parts: &Head, body: Taken, from: Peer) -> Response {
        let now = self.0.clock.now();
        let limit = body.bytes().len();
        match body.into_utf8().await {
            Ok(body) => {
                let body = Unread { body: body.into(), packed: false, limit };
                self.report_at(parts, body, from, now).await
            }
            Err(misdirected) => {
                self.exchange(parts, from, SERVICE_PATH).refuse(&Refusal::Misdirected(misdirected))
            }
        }
    }

    async fn report_at(&self, parts: &Head, body: Unread, from: Peer, arrived: Timestamp) -> Response {
        let exchange = self.exchange(parts, from, SERVICE_PATH);
        let turn = tokio::select! {
            biased;
            () = body.body.gives_way() => return exchange.refuse(&Refusal::Misdirected(Misdirected::Busy)),
            turn = self.0.reporting.turns.take(Asker::at(from.address.ip())) => turn,
        };
        let Ok(_turn) = turn else { return exchange.refuse(&Refusal::Busy) };
        let proof = Proof::of(parts, from);
        let limits = self.0.reporting.configuration;
        let named = exchange.clone();
        let unpacked = tokio::task::spawn_blocking(move || read(body, named, &limits)).await;
        let (exchange, answered) = match unpacked {
            Err(ended) => (exchange, Err(ended.into())),
            Ok((exchange, Err(refusal))) => (exchange, Err(refusal)),
            // its memory is given back when it was taken
            Ok((exchange, Ok((report, _reserved)))) => (exchange, self.take(report, proof, arrived).await),
        };
        match answered {
            Ok(element) => {
                let mut answer = exchange.answer(&element);
                // who sent this may pack its requests from now on ([RFC9110] 12.5.3)
                answer.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("zstd"));
                answer
            }
            Err(refusal) => exchange.refuse(&refusal),
        }
    }

    /// Does what a report asks for; gives the answer's element.
    async fn take(&self, report: Report, proof: Proof, arrived: Timestamp) -> Result<String, Refusal> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || service.take_now(report, &proof, arrived)).await?
    }

    fn take_now(&self, report: Report, proof: &Proof, arrived: Timestamp) -> Result<String, Refusal> {
        let catalog = &self.0.catalog;
        let parent_of = |parent: Option<ServerId>| parent.ok_or(Refusal::Parameter("parentServerId"));
        Ok(match report {
            Report::Configuration => reporting::configuration_answer(&self.0.reporting.configuration),
            Report::Servers { client_time, servers } => {
                let mut servers = servers.ok_or(Refusal::Parameter("downstreamServers"))?;
                shift(skew(client_time, arrived), servers.iter_mut().flat_map(server_times));
                self.admit_reports(&servers, proof)?;
                let ours = self.0.reporting.configuration.server;
                catalog.roll_up_servers(&ours, servers).map_err(|error| refused(error, "ParentServerId"))?;
                reporting::servers_answer()
            }
            Report::Computers { client_time, computers } => {
                let mut computers = computers.ok_or(Refusal::Parameter("computers"))?;
                shift(skew(client_time, arrived), computers.iter_mut().flat_map(computer_times));
                let parents: BTreeSet<ServerId> = computers.iter().map(|row| row.parent).collect();
                parents.iter().try_for_each(|parent| self.pass(parent, proof))?;
                let changed = catalog.roll_up_computers(computers);
                reporting::computers_answer(&changed.map_err(|error| refused(error, "ParentServerId"))?)
            }
            Report::OutOfSync { parent, numbers } => {
                let parent = parent_of(parent)?;
                let numbers = numbers.ok_or(Refusal::Parameter("lastRollupNumbers"))?;
                if catalog.server(&parent).is_some() {
                    self.pass(&parent, proof)?;
                }
                reporting::out_of_sync_answer(&catalog.out_of_sync(&parent, &numbers))
            }
            Report::Status { client_time, parent, computers } => {
                let parent = parent_of(parent)?;
                let mut computers = computers.ok_or(Refusal::Parameter("computers"))?;
                shift(skew(client_time, arrived), computers.iter_mut().flat_map(status_times));
                if catalog.server(&parent).is_some() {
                    self.pass(&parent, proof)?;
                    catalog.roll_up_status(&parent, computers)?;
                }
                reporting::status_answer(true)
            }
        })
    }

    /// The senders of reports about servers: those that say that this server is their parent. A direct child may be new
    /// where the policy lets it in.
    fn admit_reports(&self, servers: &[ServerReport], proof: &Proof) -> Result<(), Refusal> {
        for server in servers.iter().filter(|server| server.parent.is_none()) {
            self.0.gate.admit(&server.id, &server.name, proof).map_err(Denied::at_operation)?;
        }
        let told: BTreeSet<ServerId> = servers.iter().map(|server| server.id).collect();
        let parents =
            servers.iter().filter_map(|server| server.parent).filter(|parent| !told.contains(parent));
        parents.collect::<BTreeSet<_>>().iter().try_for_each(|parent| self.pass(parent, proof))
    }

    /// Whether the direct child through which `server` is known may come. What is not known is for the catalog to say.
    fn pass(&self, server: &ServerId, proof: &Proof) -> Result<(), Refusal> {
        let chain = self.0.catalog.server_chain(server);
        let Some(child) = chain.first() else { return Ok(()) };
        self.0.gate.check(child, proof).map(|_| ()).map_err(Denied::at_operation)
    }
}

/// An unknown parent is an `InternalServerError` in the text ([MS-WSUSSS] 3.1.4.15); it names the parameter here too.
fn refused(error: CatalogError, parameter: &'static str) -> Refusal {
    match error {
        CatalogError::UnknownServer(_) => Refusal::UnknownParent(parameter),
        other => other.into(),
    }
}

/// A roll-up's body as it came.
struct Unread {
    body: Blocks,
    packed: bool,
    limit: usize,
}

/// Unpacks and reads a roll-up. What the answer must know of it comes out whether or not it can be read.
fn read(
    body: Unread,
    mut exchange: Exchange,
    limits: &RollupConfiguration,
) -> (Exchange, Result<(Report, Reservation), Refusal>) {
    let Unread { body, packed, limit } = body;
    exchange.heard(&body.beginning(packed));
    let mut text = match body.unpacked(packed, limit) {
        Ok(text) => text,
        Err(misdirected) => return (exchange, Err(Refusal::Misdirected(misdirected))),
    };
    let report = report_of(&mut text, &exchange, limits);
    let report = match (text.refusal(), report) {
        (Some(misdirected), _) => Err(Refusal::Misdirected(misdirected)),
        (None, report) => report.map(|report| (report, text.into_reserved())),
    };
    (exchange, report)
}

fn report_of(
    text: &mut Unpacked,
    exchange: &Exchange,
    limits: &RollupConfiguration,
) -> Result<Report, Refusal> {
    let mut message = open(text, Limits::ROLLUP).map_err(|error| match error {
        SoapError::Xml(error) => Refusal::Malformed(error),
        other => Refusal::Unreadable(other),
    })?;
    let operation = message.operation;
    if message.namespace != NAMESPACE || !is_rollup(&operation) {
        return Err(Refusal::UnknownOperation(operation));
    }
    if exchange.named_operation().is_some_and(|named| named != operation) {
        return Err(Refusal::OtherAction(operation));
    }
    let read = Report::decode(&operation, &mut message.decoder, limits).map_err(|error| match error {
        XmlError::TooManyElements { .. } => Refusal::Parameter(list_of(&operation)),
        other => Refusal::Malformed(other),
    })?;
    read.ok_or(Refusal::UnknownOperation(operation))
}

/// The list of an operation, as faults name it.
fn list_of(operation: &str) -> &'static str {
    match operation {
        "RollupDownstreamServers" => "downstreamServers",
        "GetOutOfSyncComputers" => "lastRollupNumbers",
        _ => "computers",
    }
}

/// By how much the sender's clock is behind, when that matters ([MS-WSUSSS] notes 50, 54 and 61).
fn skew(client_time: Option<Timestamp>, arrived: Timestamp) -> SignedDuration {
    let behind = client_time.map_or(SignedDuration::ZERO, |client| arrived.duration_since(client));
    if behind.abs() > CLOCK_SLACK { behind } else { SignedDuration::ZERO }
}

fn shift<'a>(by: SignedDuration, times: impl Iterator<Item = &'a mut Timestamp>) {
    if by.is_zero() {
        return;
    }
    for time in times {
        *time = time.saturating_add(by).unwrap_or(*time);
    }
}

fn server_times(server: &mut ServerReport) -> impl Iterator<Item = &mut Timestamp> {
    [&mut server.last_sync, &mut server.last_rollup].into_iter().flatten()
}

fn computer_times(row: &mut RolledComputer) -> impl Iterator<Item = &mut Timestamp> {
    [&mut row.last_sync, &mut row.last_reboot, &mut row.last_status, &mut row.last_inventory]
        .into_iter()
        .flatten()
}

fn status_times(report: &mut StatusReport) -> impl Iterator<Item = &mut Timestamp> {
    report.effective_detection.iter_mut().chain(report.updates.iter_mut().map(|update| &mut update.changed))
}
