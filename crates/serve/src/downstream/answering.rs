//! From a request to its operation: limits, the envelope, the gate's account, and the fault where there is one.
//!
//! **Invariant:** what the headers tell is looked at before the body is, and header, namespace and body agree on what is
//! asked. It never does what an operation does.

use http::Method;
use http::request::Parts as Head;

use super::gate::Proof;
use super::service::{Asked, Service};
use crate::fault::Refusal;
use crate::http::{Misdirected, Peer, Request, Response, base_url, path};
use crate::intake::{Taken, is_plain};
use crate::operations;
use crate::soap::{self, Exchange};
use tailwater_wire as wire;
use tailwater_wire::server_sync::served::{self, MONITOR_NAMESPACE};
use tailwater_wire::soap::{SoapError, Style};
use tailwater_wire::xml::{Decoder, Limits};

impl Service {
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
            soap::close(&mut answer);
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
    pub(super) fn exchange(&self, parts: &Head, from: Peer, path: &str) -> Exchange {
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
    pub(crate) async fn answer_taken(&self, parts: &Head, body: Taken, from: Peer) -> Response {
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
