//! From a tailwater's request to its answer: method, cookie, body, and what the child took.
//!
//! **Invariant:** nothing but the greeting is answered without a cookie that the gate still lets in; the body of a request
//! is read after that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::request::Parts as Head;

use super::refusal::{Refused, message};
use super::service::Service;
use crate::downstream::Proof;
use crate::http::{Peer, Request, Response, path};
use crate::intake::Taken;
use crate::operations;
use tailwater_catalog::Took;
use tailwater_domain::ServerId;
use tailwater_runtime::Asker;
use tailwater_wire::peer::{BASE, COOKIE_HEADER, Hello};

impl Service {
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
