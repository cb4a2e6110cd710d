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
use serde_json::Value;
use tokio::net::TcpStream;

use crate::app::{self, App, AppError, DataDir};
use crate::config::Loaded;
use crate::runtime::{Clock, Tasks};
use crate::serve::admin::{Site, Token};

/// The longest answer that a command takes: a list of a million updates.
const MAX_ANSWER: usize = 1024 * 1024 * 1024;

/// Rows that are asked for at once.
const PAGE: u64 = 1_000;

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
    /// What fits an ambiguous name.
    pub(super) candidates: Vec<Value>,
    /// Of several that were named, each that stood in the way, with its reason.
    pub(super) failed: Vec<Value>,
    /// How many updates it was about, where that is known.
    pub(super) count: Option<u64>,
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
                let configured = loaded.settings.admin_listen;
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

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, None).await
    }

    /// A whole list, or its first `most` rows from `offset` on: page by page, as the API gives them. The answer is that of
    /// the first page with the rows of all; `next` says where the rest begins, when there is one.
    pub(super) async fn pages(
        &self,
        path: &str,
        rows: &'static str,
        offset: u64,
        most: Option<u32>,
    ) -> anyhow::Result<Value> {
        let most = most.map_or(u64::MAX, u64::from);
        let (mut whole, mut all, mut at) = (None, Vec::new(), offset);
        loop {
            let limit = (most - all.len() as u64).min(PAGE);
            let joined = if path.contains('?') { '&' } else { '?' };
            let mut answer = self.get(&format!("{path}{joined}offset={at}&limit={limit}")).await?;
            if let Some(Value::Array(page)) = answer.get_mut(rows).map(Value::take) {
                all.extend(page);
            }
            let next = answer["next"].as_u64().filter(|next| *next > at);
            whole.get_or_insert(answer);
            if let Some(next) = next.filter(|_| (all.len() as u64) < most) {
                at = next;
                continue;
            }
            let mut whole = whole.unwrap_or_default();
            whole["next"] = serde_json::json!(next);
            whole["limit"] = serde_json::json!(all.len());
            whole[rows] = Value::Array(all);
            return Ok(whole);
        }
    }

    /// Asks the API; `path` is below `/api/v1`.
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = http::Request::builder().method(method).uri(format!("/api/v1{path}"));
        request = request.header(header::HOST, "localhost");
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(&body)?)
            }
            None => Bytes::new(),
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
        let value: Value = if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? };
        if status.is_success() {
            return Ok(value);
        }
        let message = match value.pointer("/error/message").and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => format!("the server answered {status}"),
        };
        let candidates = super::output::list(&value, "error/candidates").to_vec();
        let failed = super::output::list(&value, "error/failed").to_vec();
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
