//! From an agent's request to its operation: limits, the envelope, and the fault where there is one.
//!
//! **Invariant:** what the headers tell is looked at before the body is, and header, namespace and body agree on what is
//! asked. It never does what an operation does.

use http::Method;
use http::request::Parts;

use super::address::Address;
use super::service::Service;
use crate::fault::Refusal;
use crate::http::{Misdirected, Peer, Request, Response, path};
use crate::intake::{Taken, is_plain};
use crate::memory::Reservation;
use crate::operations;
use crate::soap::{self, Exchange};
use tailwater_catalog::Caller;
use tailwater_wire as wire;
use tailwater_wire::client_update as wusp;
use tailwater_wire::server_sync::served::{MONITOR_NAMESPACE, ping_answer};
use tailwater_wire::xml::Limits;

impl Service {
    /// Answers one request below `/ClientWebService`, `/SimpleAuthWebService` or `/ReportingWebService`.
    pub async fn answer(&self, request: Request, from: Peer) -> Response {
        let (parts, body) = request.into_parts();
        let service = match service_of(&parts) {
            Ok(service) => service,
            Err(misdirected) => return misdirected.answer(),
        };
        // what the headers tell is looked at before the body is
        let (exchange, _) = self.exchange(service, &parts, from);
        let Some(limit) = operations::of_agents(exchange.named_operation()) else {
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

    /// The fault to a request whose body could not be taken in.
    pub fn misdirected(&self, parts: &Parts, from: Peer, why: Misdirected) -> Response {
        match service_of(parts) {
            Ok(service) => self.exchange(service, parts, from).0.refuse(&Refusal::Misdirected(why)),
            Err(misdirected) => misdirected.answer(),
        }
    }

    fn exchange(&self, service: wusp::Service, parts: &Parts, from: Peer) -> (Exchange, Address) {
        let address = Address::of(&self.0.config, parts, from);
        let url = format!("{}{}", address.base, service.path());
        (Exchange::new(&parts.headers, service.style(), url).asked_by(from.address.ip()), address)
    }

    /// Answers a request whose body is in memory: everything but reading it.
    pub async fn answer_message(&self, parts: &Parts, body: bytes::Bytes, from: Peer) -> Response {
        match self.0.intake.whole(from.address.ip(), body).await {
            Ok(body) => self.answer_taken(parts, body, from).await,
            Err(misdirected) => misdirected.answer(),
        }
    }

    /// The same for a body that was taken in.
    pub(crate) async fn answer_taken(&self, parts: &Parts, body: Taken, from: Peer) -> Response {
        let service = match service_of(parts) {
            Ok(service) => service,
            Err(misdirected) => return misdirected.answer(),
        };
        let (mut exchange, address) = self.exchange(service, parts, from);
        let (asked, _reserved) = match made_of(service, &mut exchange, body).await {
            Ok(made) => made,
            Err(misdirected) => return exchange.refuse(&Refusal::Misdirected(misdirected)),
        };
        let answered = match asked {
            Ok(Asked::Ping) => Ok(exchange.answer(&ping_answer(self.0.clock.now(), from.tls))),
            Ok(Asked::Of(request)) => self.dispatch(&exchange, &address, *request, &caller(from)).await,
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(|refusal| exchange.refuse(&refusal))
    }

    async fn dispatch(
        &self,
        exchange: &Exchange,
        address: &Address,
        request: wusp::Request,
        from: &Caller,
    ) -> Result<Response, Refusal> {
        use wusp::Request as Ask;
        let element = match request {
            Ask::SyncUpdates(request) => return self.sync_updates(exchange, request, from).await,
            Ask::SyncPrinterCatalog(request) => return self.sync_printers(exchange, request).await,
            Ask::GetExtendedUpdateInfo(request) => {
                return self.get_extended(exchange, address, request).await;
            }
            Ask::GetExtendedUpdateInfo2(request) => {
                return self.get_extended2(exchange, address, request).await;
            }
            Ask::GetConfig(version) => self.get_config(address, version.as_deref())?,
            Ask::GetAuthorizationCookie(request) => self.get_authorization(request, from).await?,
            Ask::GetCookie(request) => self.get_cookie(&request)?,
            Ask::RegisterComputer(request) => self.register_computer(request, from).await?,
            Ask::StartCategoryScan(request) => self.start_category_scan(request)?,
            Ask::RefreshCache(request) => self.refresh_cache(&request)?,
            Ask::GetFileLocations(cookie, digests) => {
                self.get_file_locations(address, cookie.as_ref(), digests).await?
            }
            Ask::ReportEventBatch(request) => self.report(request, from).await?,
            Ask::ReportEventBatch2(request) => self.report2(request, from).await?,
        };
        Ok(exchange.answer(&element))
    }
}

/// Who calls, as the catalog keeps it.
fn caller(from: Peer) -> Caller {
    let certificate = from.certificate.map(|certificate| certificate.name().to_owned());
    Caller { address: Some(from.address.ip()), certificate }
}

fn service_of(parts: &Parts) -> Result<wusp::Service, Misdirected> {
    let service =
        path::of(&parts.uri).and_then(|path| wusp::Service::at(&path)).ok_or(Misdirected::NotFound)?;
    if parts.method == Method::POST { Ok(service) } else { Err(Misdirected::Method) }
}

/// What is asked.
enum Asked {
    /// Whether the service is there; every service has it ([MS-WSUSSS] 3.1.4.12).
    Ping,
    Of(Box<wusp::Request>),
}

/// Reads the request; its body goes, and its memory stays with what was made of it.
async fn made_of(
    service: wusp::Service,
    exchange: &mut Exchange,
    body: Taken,
) -> Result<(Result<Asked, Refusal>, Reservation), Misdirected> {
    let body = body.into_utf8().await?;
    exchange.heard(body.bytes());
    let asked = read(service, exchange, body.bytes());
    let (bytes, mut reserved) = body.into_parts();
    reserved.shrink(bytes.capacity());
    Ok((asked, reserved))
}

/// Reads the request and checks that header, namespace and body agree on what it is.
fn read(service: wusp::Service, exchange: &Exchange, body: &[u8]) -> Result<Asked, Refusal> {
    let mut message = wire::soap::open(body, Limits::REQUEST)?;
    let operation = message.operation;
    let is_ping = operation == "Ping";
    if message.namespace != service.namespace() && !(is_ping && message.namespace == MONITOR_NAMESPACE) {
        return Err(Refusal::UnknownOperation(operation));
    }
    // the specification's text gives SyncPrinterCatalog the action of SyncUpdates ([MS-WUSP] 2.2.2.2.10)
    let agrees =
        |action: &str| action == operation || (operation == "SyncPrinterCatalog" && action == "SyncUpdates");
    if exchange.named_operation().is_some_and(|action| !agrees(action)) {
        return Err(Refusal::OtherAction(operation));
    }
    if is_ping {
        return Ok(Asked::Ping);
    }
    match wusp::Request::decode(service, &operation, &mut message.decoder)? {
        Some(request) => Ok(Asked::Of(Box::new(request))),
        None => Err(Refusal::UnknownOperation(operation)),
    }
}
