//! An upstream that speaks HTTP by hand, so that any answer whatever can be written, at any place among good ones.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tailwater::domain::FileDeclaration;
use tailwater::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request for a part of the file.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Counted from 1.
    pub number: u64,
    /// Path and query.
    pub target: String,
    pub start: u64,
    pub end: u64,
    pub size: u64,
}

/// What is written.
#[derive(Debug, Clone)]
pub struct Said {
    /// Status line and header lines, each with its end; the empty line is added.
    pub head: String,
    pub body: Bytes,
    /// Bytes of the body after which the connection closes.
    pub cut: Option<usize>,
}

type Script = dyn Fn(&Ask, &Bytes) -> Said + Send + Sync;

/// The upstream. Cheap to clone.
#[derive(Clone)]
pub struct RawOrigin(Arc<Inner>);

struct Inner {
    host: String,
    bytes: Bytes,
    script: Box<Script>,
    asked: Mutex<Vec<Ask>>,
}

/// An answer with a `Content-Length`.
pub fn said(status: &str, headers: &[(&str, &str)], body: Bytes) -> Said {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    Said { head, body, cut: None }
}

/// The answer that a good upstream gives.
pub fn good(ask: &Ask, bytes: &Bytes) -> Said {
    part(ask, bytes, ask.start, ask.end)
}

/// A part of the file, whichever was asked for.
pub fn part(ask: &Ask, bytes: &Bytes, start: u64, end: u64) -> Said {
    let range = format!("bytes {start}-{}/{}", end - 1, ask.size);
    said("206 Partial Content", &[("Content-Range", &range)], bytes.slice(start as usize..end as usize))
}

impl RawOrigin {
    pub async fn start(
        tasks: &Tasks,
        bytes: Bytes,
        script: impl Fn(&Ask, &Bytes) -> Said + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Mutex::default();
        let origin = Self(Arc::new(Inner { host, bytes, script: Box::new(script), asked }));
        let (serving, spawner) = (origin.clone(), tasks.clone());
        let stopping = tasks.stopping();
        tasks.spawn("raw origin", async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stopping.cancelled() => return,
                };
                let Ok((socket, _)) = accepted else { return };
                let serving = serving.clone();
                let stopping = stopping.clone();
                spawner.spawn("raw connection", async move {
                    stopping.run_until_cancelled(serving.converse(socket)).await;
                });
            }
        });
        origin
    }

    pub fn url(&self, file: &FileDeclaration) -> String {
        format!("http://{}{}", self.0.host, file.content_path())
    }

    pub fn asked(&self) -> Vec<Ask> {
        self.0.asked.lock().unwrap().clone()
    }

    async fn converse(&self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        while let Some(head) = read_head(&mut socket).await {
            let said = {
                let mut asked = self.0.asked.lock().unwrap();
                let size = self.0.bytes.len() as u64;
                let (start, end) = asked_range(&head).unwrap_or((0, size));
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let ask = Ask { number: asked.len() as u64 + 1, target, start, end: end.min(size), size };
                asked.push(ask.clone());
                (self.0.script)(&ask, &self.0.bytes)
            };
            let body = &said.body[..said.cut.unwrap_or(said.body.len()).min(said.body.len())];
            let written = async {
                socket.write_all(format!("{}\r\n", said.head).as_bytes()).await?;
                socket.write_all(body).await
            };
            if written.await.is_err() || said.cut.is_some() {
                let _ = socket.shutdown().await;
                return;
            }
        }
    }
}

async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn asked_range(head: &str) -> Option<(u64, u64)> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("range:"))?;
    let (first, last) = line.split_once("bytes=")?.1.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse::<u64>().ok()? + 1))
}
