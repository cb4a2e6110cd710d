//! One connection: its handshake, its requests one after the other, and its end.
//!
//! **Invariant:** a connection that must give way answers nothing more; a fault of the program costs the request that led
//! to it and nothing else. It never outlives its slot.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::connections::ConnectionSlot;
use super::paced::Paced;
use super::strict::Strict;
use crate::http::{Answer, Observed, Peer, PeerCertificate, Request, Response, text};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Share, guarded_future};

/// How long a TLS handshake may take; a client that needs longer is not one.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Requests whose headers are longer are refused with 431.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// What a connection buffers of what it reads, and of small parts of what it writes: many that send large bodies hold
/// little beside the memory that is set apart for requests.
const MAX_BUFFER: usize = 128 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    HANDSHAKE: "The time for a TLS handshake" => "the connection is closed",
    MAX_HEADER_BYTES in "bytes": "The header of a request" => "431",
    MAX_BUFFER in "bytes": "What a connection buffers" => "it is not read, or written, further",
];

/// One accepted connection, before its first byte.
pub(super) struct Connection<A> {
    pub(super) answer: Arc<A>,
    pub(super) peer: Peer,
    pub(super) idle: Duration,
    pub(super) slot: ConnectionSlot,
    pub(super) clock: Clock,
    pub(super) stopping: CancellationToken,
}

impl<A: Answer> Connection<A> {
    /// Shakes hands and serves.
    pub(super) async fn secure(mut self, stream: Paced, tls: TlsAcceptor, handshake: Share) {
        let activity = self.slot.activity();
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => accepted,
            () = activity.must_leave() => return,
        };
        drop(handshake);
        if let Ok(Ok(stream)) = accepted {
            // the handshake fails over a certificate that is not valid
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            self.peer.certificate = shown.map(PeerCertificate::of);
            self.serve(stream).await;
        }
    }

    /// Answers requests until the connection ends or must give way.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { answer, peer, idle, slot, clock, stopping } = self;
        let activity = slot.activity();
        let stream = Strict::new(stream, Arc::clone(&activity), clock);
        let answers = Arc::clone(&activity);
        let service = service_fn(move |request| {
            let (answer, answering) = (Arc::clone(&answer), answers.answers());
            async move {
                let answer = answered(&*answer, request, peer).await;
                Ok::<_, Infallible>(answer.map(|body| Observed::new(body, answering)))
            }
        });
        // pipeline_flush stays off: it would flatten whole bodies into memory
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection: Pin<Box<_>> = Box::pin(connection);
        let mut drains = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                // whoever must give way holds no slot any more
                () = activity.must_leave() => return,
                () = stopping.cancelled(), if !drains => {
                    drains = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = %peer.address, "connection ended early");
        }
    }
}

/// The answer; a fault of the program costs the request that led to it.
async fn answered<A: Answer>(answer: &A, request: Request, peer: Peer) -> Response {
    let path = request.uri().path().to_owned();
    // boxed in there, so that a connection without a request, or whose answer is on its way, holds none of it
    match guarded_future(answer.answer(request, peer)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, path, peer = %peer.address, "a request could not be answered");
            let next = "the server hit a fault while it answered; its log says more\n";
            text(StatusCode::INTERNAL_SERVER_ERROR, next)
        }
    }
}
