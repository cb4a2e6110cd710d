//! Which service answers which path of the agents' listener.
//!
//! **Invariant:** a path is taken as IIS takes it ([`path`]), and its letter case does not matter (observed
//! behaviour of clients). It never looks into a request beyond that, reports excepted: see [`Site::report`].

use http::{HeaderValue, Method, StatusCode, header};

use super::http::{Answer, Foreign, Hosts, Misdirected, Peer, Request, Response, check_request, path, text};
use super::intake::{self, Intake};
use super::{client, downstream, files, monitoring, operations, peer, soap};
use tailwater_domain::Requester;

/// The agents' and downstream servers' listener: the services of [MS-WUSP] 2.1 and [MS-WSUSSS] 2.1, and the payloads.
pub struct Site {
    /// `ClientWebService`, `SimpleAuthWebService`, and agents' part of `ReportingWebService`.
    pub client: client::Service,
    /// `ServerSyncWebService`, `DssAuthWebService`, and servers' part of `ReportingWebService`.
    pub downstream: downstream::Service,
    /// `Content`, `selfupdate`.
    pub files: files::Service,
    /// `tailwater`.
    pub peer: peer::Service,
    /// Takes in requests that do not say whom they are for.
    pub intake: Intake,
    /// Names that requests may be for; any where there are none.
    pub hosts: Hosts,
}

impl Site {
    /// Agents and downstream servers report under one address: the operation tells whose it is. It stands in
    /// `SOAPAction`, or in the media type of SOAP 1.2; only without that the body is looked at, read once and by the
    /// limits of agents.
    async fn report(&self, request: Request, from: Peer) -> Response {
        let action = soap::action(request.headers());
        match action.map(soap::operation_of).filter(|operation| !operation.is_empty()) {
            Some(operation) if downstream::is_rollup(operation) => {
                self.downstream.report(request, from).await
            }
            Some(_) => self.client.answer(request, from).await,
            None => {
                let (parts, body) = request.into_parts();
                let limit = operations::of_agents(None).unwrap_or_default();
                let body = match intake::is_plain(&parts.headers) {
                    Ok(()) => self.intake.take(from.address.ip(), body, limit).await,
                    Err(misdirected) => Err(misdirected),
                };
                let body = match body {
                    Ok(body) => body,
                    Err(misdirected) => return self.client.misdirected(&parts, from, misdirected),
                };
                let asked = tailwater_wire::soap::glimpse(body.bytes());
                match asked.operation {
                    Some((_, operation)) if downstream::is_rollup(&operation) => {
                        self.downstream.report_message(&parts, body, from).await
                    }
                    _ => self.client.answer_taken(&parts, body, from).await,
                }
            }
        }
    }
}

/// The answer to a request that no agent or server sends. What may come of it is not read.
fn refuse(foreign: Foreign) -> Response {
    let status = match foreign {
        Foreign::Host => StatusCode::MISDIRECTED_REQUEST,
        Foreign::Page => StatusCode::FORBIDDEN,
    };
    let mut answer = text(status, foreign.to_string());
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Who answers below a first path segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Payloads,
    Reports,
    Agents,
    Servers,
    Tailwaters,
}

impl Room {
    fn at(path: &str) -> Option<Self> {
        let first = path.split('/').nth(1)?;
        let is = |name: &str| first.eq_ignore_ascii_case(name);
        if is("Content") || is("selfupdate") {
            Some(Self::Payloads)
        } else if is("ReportingWebService") {
            Some(Self::Reports)
        } else if is("ClientWebService") || is("SimpleAuthWebService") {
            Some(Self::Agents)
        } else if is("ServerSyncWebService") || is("DssAuthWebService") {
            Some(Self::Servers)
        } else if is("tailwater") {
            Some(Self::Tailwaters)
        } else {
            None
        }
    }
}

impl Answer for Site {
    async fn answer(&self, request: Request, from: Peer) -> Response {
        let checked = check_request(&self.hosts, request.method(), request.uri(), request.headers());
        if let Err(foreign) = checked {
            return refuse(foreign);
        }
        let room = match path::of(request.uri()) {
            Some(path) => match monitoring::answer(request.method(), &path, request.uri().query()) {
                Some(answer) => return answer,
                None => Room::at(&path),
            },
            None => None,
        };
        let is_message = matches!(room, Some(Room::Reports | Room::Agents | Room::Servers));
        if is_message && request.method() == Method::POST && !soap::is_soap(request.headers()) {
            return Misdirected::ContentType.answer();
        }
        // boxed, so that the many small answers for payloads do not carry the others' size along
        match room {
            Some(Room::Payloads) => self.files.answer(request, Requester::at(from.address.ip())).await,
            Some(Room::Reports) => Box::pin(self.report(request, from)).await,
            Some(Room::Agents) => Box::pin(self.client.answer(request, from)).await,
            Some(Room::Servers) => Box::pin(self.downstream.answer(request, from)).await,
            Some(Room::Tailwaters) => Box::pin(self.peer.answer(request, from)).await,
            None => text(StatusCode::NOT_FOUND, "Nothing is served under this address.\n"),
        }
    }
}
