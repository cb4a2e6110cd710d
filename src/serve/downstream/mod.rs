//! The server role of MS-WSUSSS: what downstream servers ask over SOAP.
//!
//! **Invariant:** answers come from the catalog; no cookie is believed before its seal was checked and its server passed
//! the [`Gate`]. It never waits for the upstream, and never asks it for anything that no metadata of ours names.

mod anchor;
mod blob;
mod body;
mod config;
mod deployments;
mod documents;
mod files;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod listing;
mod reporting;
mod session;

use std::sync::Arc;

use http::Method;
use http::request::Parts as Head;

pub use config::Config;
pub use files::WantedFiles;
pub use gate::{Denied, Gate, Policy, Proof};
pub use reporting::is_rollup;

use self::documents::Documents;
use self::listing::Lists;
use self::session::Session;
use super::fault::Refusal;
use super::http::{Misdirected, Peer, Request, Response, base_url, path};
use super::intake::{Intake, Taken, is_plain};
use super::soap::Exchange;
use super::operations;
use crate::catalog::{Catalog, CatalogError};
use crate::domain::{Limit, ServerId, joined_limits};
use crate::runtime::{Asker, Clock};
use crate::wire;
use crate::wire::server_sync::served::{self, MONITOR_NAMESPACE};
use crate::wire::soap::{SoapError, Style};
use crate::wire::xml::{Decoder, Limits};

/// Answers downstream servers. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    config: Config,
    catalog: Catalog,
    clock: Clock,
    session: Session,
    gate: Gate,
    files: Arc<dyn WantedFiles>,
    reporting: reporting::Desk,
    lists: Lists,
    documents: Documents,
    intake: Intake,
}

/// What a service is made of.
pub struct Parts {
    /// How it presents itself.
    pub config: Config,
    /// Who this server is to other servers.
    pub server: ServerId,
    /// What is known.
    pub catalog: Catalog,
    /// The time.
    pub clock: Clock,
    /// Who may come.
    pub gate: Gate,
    /// Fetches payloads that downstream servers ask for.
    pub files: Arc<dyn WantedFiles>,
    /// Takes in what they send.
    pub intake: Intake,
}

/// A request on its way to its operation; the decoder stands inside the operation's element.
struct Asked<'a> {
    decoder: &'a mut Decoder<&'a [u8]>,
    proof: Proof,
    from: Peer,
}

impl Asked<'_> {
    /// Who waits for a turn.
    fn asker(&self, server: &ServerId) -> Asker {
        Asker { key: server.0.as_u128(), ..Asker::at(self.from.address.ip()) }
    }
}

pub(super) const LIMITS: &[Limit] = joined_limits![
    anchor::LIMITS,
    blob::LIMITS,
    documents::LIMITS,
    files::LIMITS,
    gate::LIMITS,
    listing::LIMITS,
    reporting::LIMITS,
];

impl Service {
    /// A service over a catalog. The key that seals cookies and anchors is kept in the catalog's settings, so that
    /// downstream servers do not notice a restart.
    ///
    /// # Errors
    /// When the settings cannot be read or written.
    pub fn new(parts: Parts) -> Result<Self, CatalogError> {
        let Parts { config, server, catalog, clock, gate, files, intake } = parts;
        let session = Session::open(&config, server, &catalog, &clock)?;
        let reporting = reporting::Desk::open(server, &catalog, &clock)?;
        let (lists, documents) = (Lists::new(&clock), Documents::new(&clock));
        let inner =
            Inner { config, catalog, clock, session, gate, files, reporting, lists, documents, intake };
        Ok(Self(Arc::new(inner)))
    }

    /// Answers one request below `/ServerSyncWebService` or `/DssAuthWebService`.
    pub async fn answer(&self, request: Request, from: Peer) -> Response {
        let (parts, body) = request.into_parts();
        let service = match service_of(&parts) {
            Ok(service) => service,
            Err(misdirected) => return misdirected.answer(),
        };
        // what the headers tell is looked at before the body is
        let exchange = self.exchange(&parts, from, service.path());
        let Some(limit) = operations::of_servers(exchange.named_operation()) else {
            let unknown = exchange.named_operation().unwrap_or_default().to_owned();
            let mut answer = exchange.refuse(&Refusal::UnknownOperation(unknown));
            super::soap::close(&mut answer);
            return answer;
        };
        let taken = match is_plain(&parts.headers) {
            Ok(()) => self.0.intake.take(from.address.ip(), body, limit).await,
            Err(misdirected) => Err(misdirected),
        };
        match taken {
            Ok(body) => self.answer_taken(&parts, body, from).await,
            Err(misdirected) => exchange.refuse(&Refusal::Misdirected(misdirected)),
        }
    }

    /// What the answer of a service under this path must know of its request.
    fn exchange(&self, parts: &Head, from: Peer, path: &str) -> Exchange {
        let base = base_url(self.0.config.public_url.as_deref(), parts, from);
        Exchange::new(&parts.headers, Style::Server, format!("{base}{path}")).asked_by(from.address.ip())
    }

    /// Answers a request whose body is in memory: everything but reading it.
    pub async fn answer_message(&self, parts: &Head, body: bytes::Bytes, from: Peer) -> Response {
        match self.0.intake.whole(from.address.ip(), body).await {
            Ok(body) => self.answer_taken(parts, body, from).await,
            Err(misdirected) => misdirected.answer(),
        }
    }

    /// The same for a body that was taken in.
    pub(super) async fn answer_taken(&self, parts: &Head, body: Taken, from: Peer) -> Response {
        let service = match service_of(parts) {
            Ok(service) => service,
            Err(misdirected) => return misdirected.answer(),
        };
        let mut exchange = self.exchange(parts, from, service.path());
        let body = match body.into_utf8().await {
            Ok(body) => body,
            Err(misdirected) => return exchange.refuse(&Refusal::Misdirected(misdirected)),
        };
        exchange.heard(body.bytes());
        let proof = Proof::of(parts, from);
        let change = self.0.catalog.snapshot().change_number();
        let mut listed = false;
        let answered = match open(service, &exchange, body.bytes()) {
            Ok((operation, mut decoder)) => {
                listed = operation == "GetRevisionIdList";
                // the decoder borrows the body, so both live until the answer is there
                let asked = Asked { decoder: &mut decoder, proof: proof.clone(), from };
                self.dispatch(service, &exchange, &operation, asked).await
            }
            Err(refusal) => Err(refusal),
        };
        let told = answered.is_ok() && listed;
        let answer = answered.unwrap_or_else(|refusal| exchange.refuse(&refusal));
        let bytes = http_body::Body::size_hint(answer.body()).lower();
        self.0.gate.count_metadata(&proof, bytes, told.then_some(change));
        answer
    }

    async fn dispatch(
        &self,
        service: served::Service,
        exchange: &Exchange,
        operation: &str,
        mut asked: Asked<'_>,
    ) -> Result<Response, Refusal> {
        use served::Service::{Authorization, Sync};
        let asked = &mut asked;
        let element = match (service, operation) {
            (Sync, "GetAuthConfig") => self.get_auth_config(),
            (Authorization, "GetAuthorizationCookie") => self.get_authorization(asked).await?,
            (Sync, "GetCookie") => self.get_cookie(asked)?,
            (Sync, "GetConfigData") => self.get_config_data(asked)?,
            (Sync, "GetDeployments") => return self.get_deployments(exchange, asked).await,
            (Sync, "GetRevisionIdList") => return self.get_revision_ids(exchange, asked).await,
            (Sync, "GetUpdateData") => return self.get_update_data(exchange, asked).await,
            (Sync, "GetUpdateDecryptionData") => self.get_decryption_data(asked)?,
            (Sync, "GetRelatedRevisionsForUpdates") => self.get_related_revisions(asked)?,
            (Sync, "GetDriverIdList") => self.get_driver_ids(asked)?,
            (Sync, "GetDriverSetData") => self.get_driver_sets(asked)?,
            (Sync, "DownloadFiles") => self.download_files(asked).await?,
            (_, "Ping") => served::ping_answer(self.0.clock.now(), asked.from.tls),
            _ => return Err(Refusal::UnknownOperation(operation.to_owned())),
        };
        Ok(exchange.answer(&element))
    }
}

fn service_of(parts: &Head) -> Result<served::Service, Misdirected> {
    let service =
        path::of(&parts.uri).and_then(|path| served::Service::at(&path)).ok_or(Misdirected::NotFound)?;
    if parts.method == Method::POST { Ok(service) } else { Err(Misdirected::Method) }
}

/// Opens the envelope and checks that header, namespace and body agree on what is asked.
fn open<'a>(
    service: served::Service,
    exchange: &Exchange,
    body: &'a [u8],
) -> Result<(String, Decoder<&'a [u8]>), Refusal> {
    let message = wire::soap::open(body, Limits::REQUEST).map_err(|error| match error {
        SoapError::Xml(error) => Refusal::Malformed(error),
        other => Refusal::Unreadable(other),
    })?;
    let operation = message.operation;
    let monitored = operation == "Ping" && message.namespace == MONITOR_NAMESPACE;
    if message.namespace != service.namespace() && !monitored {
        return Err(Refusal::UnknownOperation(operation));
    }
    if exchange.named_operation().is_some_and(|action| action != operation) {
        return Err(Refusal::OtherAction(operation));
    }
    Ok((operation, message.decoder))
}
