//! How a command reaches the store: through the running server, or by opening the store itself.
//!
//! **Invariant:** both ways run the same handlers, so a command means the same with and without a server. It
//! never opens a store that a server holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use tailwater_api::{
    Candidate, Endpoint, ErrorAnswer, ErrorDetail, Failure, Input as _, Listed, MAX_ROWS, Nothing, Paging,
};
use tailwater_app::{self as app, App, AppError, DataDir};
use tailwater_config::Loaded;
use tailwater_runtime::{Clock, Tasks};
use tailwater_serve::admin::{Site, Token};

/// The longest answer that a command takes: a list of a million updates.
const MAX_ANSWER: usize = 1024 * 1024 * 1024;

/// How long a server may take to answer; lists of everything are the slowest.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long work that was begun without a server may take to end.
const DRAIN: Duration = Duration::from_secs(20);

/// What an answer was not.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refused {
    /// As the server says it.
    pub(super) message: String,
    /// The HTTP status.
    pub(super) status: u16,
    /// What fits an ambiguous name, or what a command would change.
    pub(super) candidates: Vec<Candidate>,
    /// Of several that were named, each that stood in the way, with its reason.
    pub(super) failed: Vec<Failure>,
    /// How many updates it was about, where that is known.
    pub(super) count: Option<usize>,
}

/// Whether a process is there; what was written down by one that is not is of an earlier start.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// A way to the store.
pub(super) struct Connection {
    way: Way,
    tasks: Tasks,
}

enum Way {
    Server { address: SocketAddr, token: Box<Token> },
    Own { site: Box<Site>, app: Option<Box<App>> },
}

impl Connection {
    /// Finds the server of a configuration, or opens the store; `create` it where there is none.
    pub(super) async fn open(loaded: &Loaded, create: bool) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let dir = &loaded.settings.server.data_dir;
        if !create && !dir.exists() {
            anyhow::bail!(
                "the data directory {} does not exist; start `tailwater serve`, or name the right configuration with \
                 --config",
                dir.display()
            );
        }
        let way = match DataDir::lock(dir) {
            Ok(dir) => {
                dir.keep_temporary_files()?;
                let app = App::open(loaded, dir, &[], Clock::system(), tasks.clone()).await?;
                Way::Own { site: Box::new(app.local_site()), app: Some(Box::new(app)) }
            }
            Err(AppError::Locked { holder, path }) => {
                // a server on a full disk could not write down where it answers
                let configured = loaded.settings.admin.listen;
                let configured = (!is_alive(holder.pid) && configured.port() != 0).then_some(configured);
                let Some(admin) = configured.or(holder.admin) else {
                    return Err(AppError::Locked { holder, path }.into());
                };
                let token = Token::read(&path)?;
                Way::Server { address: reachable(admin), token: Box::new(token) }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { way, tasks })
    }

    /// The way to a server that runs in this process and is stopped elsewhere.
    pub(super) fn within(site: Site, tasks: Tasks) -> Self {
        Self { way: Way::Own { site: Box::new(site), app: None }, tasks }
    }

    /// Whether a server answers, and not this process itself.
    pub(super) fn is_server(&self) -> bool {
        matches!(self.way, Way::Server { .. })
    }

    /// Asks an operation that takes nothing.
    pub(super) async fn ask<E>(&self, operation: E) -> anyhow::Result<E::Answer>
    where
        E: Endpoint<Query = Nothing, Body = Nothing>,
    {
        self.call(operation, "", &Nothing {}, &Nothing {}).await
    }

    /// Asks an operation with a query about `name`; the name is empty where the operation has none.
    pub(super) async fn read<E>(
        &self,
        operation: E,
        name: &str,
        query: &E::Query,
    ) -> anyhow::Result<E::Answer>
    where
        E: Endpoint<Body = Nothing>,
    {
        self.call(operation, name, query, &Nothing {}).await
    }

    /// Asks an operation with a body about `name`; the name is empty where the operation has none.
    pub(super) async fn send<E>(&self, operation: E, name: &str, body: &E::Body) -> anyhow::Result<E::Answer>
    where
        E: Endpoint<Query = Nothing>,
    {
        self.call(operation, name, &Nothing {}, body).await
    }

    /// A whole list, or its first `most` rows from `offset` on: page by page, as the API gives them. The answer is that of
    /// the first page with the rows of all; `next` says where the rest begins, when there is one.
    pub(super) async fn pages<E>(
        &self,
        operation: E,
        query: impl Fn(Paging) -> E::Query,
        offset: usize,
        most: Option<u32>,
    ) -> anyhow::Result<E::Answer>
    where
        E: Endpoint<Body = Nothing, Answer: Listed> + Copy,
    {
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let limit = |known: usize| Some((most - known).min(MAX_ROWS));
        let mut whole = self.read(operation, "", &query(Paging::new(offset, limit(0)))).await?;
        while let Some(next) = whole.page().next.filter(|_| whole.rows().len() < most) {
            let known = whole.rows().len();
            let mut more = self.read(operation, "", &query(Paging::new(next, limit(known)))).await?;
            whole.rows().append(more.rows());
            whole.page().next = more.page().next.filter(|after| *after > next);
        }
        whole.page().limit = whole.rows().len();
        Ok(whole)
    }

    /// Asks the API.
    async fn call<E: Endpoint>(
        &self,
        _: E,
        name: &str,
        query: &E::Query,
        body: &E::Body,
    ) -> anyhow::Result<E::Answer> {
        let mut path = format!("/api/v1{}", E::PATH);
        if let (Some(begin), Some(end)) = (path.find('{'), path.find('}')) {
            path.replace_range(begin..=end, &encoded(name));
        }
        let query = serde_urlencoded::to_string(query)?;
        if !query.is_empty() {
            path = format!("{path}?{query}");
        }
        let mut request = http::Request::builder().method(E::METHOD.as_str()).uri(path);
        request = request.header(header::HOST, "localhost");
        let body = if E::Body::IS_EMPTY {
            Bytes::new()
        } else {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from(serde_json::to_vec(body)?)
        };
        let (status, answer) = match &self.way {
            Way::Server { address, token } => {
                let request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret()));
                self.over_http(*address, request.body(Full::new(body))?).await?
            }
            Way::Own { site, .. } => {
                let answer = site.call(request.body(axum::body::Body::from(body))?).await;
                let status = answer.status();
                (
                    status,
                    Limited::new(answer.into_body(), MAX_ANSWER)
                        .collect()
                        .await
                        .map_err(unreadable)?
                        .to_bytes(),
                )
            }
        };
        if status.is_success() {
            return serde_json::from_slice(&answer)
                .context("the answer is not what this version expects; is the server another one?");
        }
        let error =
            serde_json::from_slice::<ErrorAnswer>(&answer).map(|answer| answer.error).unwrap_or_default();
        let ErrorDetail { message, candidates, failed, .. } = error;
        let message = if message.is_empty() { format!("the server answered {status}") } else { message };
        Err(Refused { message, status: status.as_u16(), candidates, failed, count: None }.into())
    }

    async fn over_http(
        &self,
        address: SocketAddr,
        request: http::Request<Full<Bytes>>,
    ) -> anyhow::Result<(http::StatusCode, Bytes)> {
        let told =
            || format!("the server's admin listener at {address} does not answer; is the server stopping?");
        let work = async {
            let stream = TcpStream::connect(address).await.with_context(told)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(told)?;
            // ends with the answer; an error shows in the sender
            self.tasks.spawn("admin connection", async move {
                let _ = connection.await;
            });
            let answer = sender.send_request(request).await.with_context(told)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(unreadable)?;
            anyhow::Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, work).await.with_context(told)?
    }

    /// Lets go of the store, when it was opened here.
    pub(super) async fn close(self) {
        if let Way::Own { app: Some(app), .. } = self.way {
            app::close(*app, DRAIN).await;
        }
    }
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> anyhow::Error {
    anyhow::Error::msg(error.into().to_string()).context("the answer could not be read")
}

/// A server that listens everywhere is reached over the loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// A text inside a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_can_stand_in_a_path() {
        assert_eq!(encoded("KB5031356"), "KB5031356");
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_over_the_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }
}
