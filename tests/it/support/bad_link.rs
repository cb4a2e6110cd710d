//! A link and an upstream as a branch office has them: outages, resets, stalls, busy servers, addresses that
//! expire and move, and hours without ranges. It speaks HTTP by hand, so that it can stop in the middle of
//! anything, and counts every byte of payload that it sends.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tailwater::domain::FileDeclaration;
use tailwater::runtime::Tasks;
use tailwater::transfer::{Source, Sources, SourcesFuture};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::origin::{content, declare};

/// Bytes sent at a time, and how long they take: 2 Mbit/s and connection.
const CHUNK: usize = 4096;
const CHUNK_TIME: Duration = Duration::from_millis(16);

/// What the clock of a site under test shows, from beginning to end.
pub fn epoch() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

/// A small generator, so that a failing run can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What is wrong with the link or the upstream during some hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing but the usual faults.
    Fair,
    /// No connection lives.
    Outage,
    /// Each request is answered 503 with `Retry-After`, in seconds or as a date.
    Busy,
    /// Whole files only.
    NoRanges,
    /// Connections break every few hundred kilobytes.
    Resets,
}

/// Counts of what happened.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub requests: u64,
    pub connections: u64,
    pub payload: u64,
    pub faults: HashMap<&'static str, u64>,
    /// Bytes that had been sent before, by how they were asked for.
    pub twice: HashMap<&'static str, u64>,
}

struct Inner {
    start: Instant,
    /// From each hour on.
    weather: Vec<(u64, Weather)>,
    files: Mutex<HashMap<String, Bytes>>,
    counts: Mutex<Counts>,
    /// Of each file which chunks of 64 bytes were sent.
    seen: Mutex<HashMap<String, Vec<bool>>>,
    random: Mutex<Random>,
    /// Addresses carry this number; older ones have expired.
    signature: Mutex<u64>,
    /// What the metadata has of it.
    known: Mutex<u64>,
    renewals: Mutex<u64>,
    hosts: Vec<String>,
}

/// What an answer sends.
struct Part<'a> {
    path: &'a str,
    start: u64,
    bytes: &'a [u8],
    ranged: bool,
}

/// The upstream behind the link. Cheap to clone.
#[derive(Clone)]
pub struct BadLink(Arc<Inner>);

impl BadLink {
    /// An upstream at two addresses; the second takes over at some hour.
    pub async fn start(tasks: &Tasks, weather: Vec<(u64, Weather)>, seed: u64) -> Self {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let hosts = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        let link = Self(Arc::new(Inner {
            start: Instant::now(),
            weather,
            files: Mutex::default(),
            counts: Mutex::default(),
            seen: Mutex::default(),
            random: Mutex::new(Random(seed)),
            signature: Mutex::new(1),
            known: Mutex::new(1),
            renewals: Mutex::default(),
            hosts,
        }));
        for (host, listener) in listeners.into_iter().enumerate() {
            let (link, spawner) = (link.clone(), tasks.clone());
            tasks.spawn("bad link", async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let link = link.clone();
                    spawner.spawn("bad connection", async move { link.converse(socket, host).await });
                }
            });
        }
        link
    }

    pub fn hour(&self) -> u64 {
        self.0.start.elapsed().as_secs() / 3600
    }

    pub fn weather(&self) -> Weather {
        let hour = self.hour();
        self.0.weather.iter().rev().find(|(from, _)| *from <= hour).map_or(Weather::Fair, |(_, kind)| *kind)
    }

    pub fn add(&self, name: &str, size: usize, seed: u64) -> FileDeclaration {
        let bytes = content(size, seed);
        let file = declare(name, &bytes);
        self.0.files.lock().unwrap().insert(file.content_path(), bytes);
        file
    }

    pub fn bytes(&self, file: &FileDeclaration) -> Bytes {
        self.0.files.lock().unwrap()[&file.content_path()].clone()
    }

    /// All addresses given out so far have expired.
    pub fn expire(&self) {
        *self.0.signature.lock().unwrap() += 1;
    }

    pub fn counts(&self) -> Counts {
        self.0.counts.lock().unwrap().clone()
    }

    pub fn renewals(&self) -> u64 {
        *self.0.renewals.lock().unwrap()
    }

    /// The second address has taken over.
    fn has_moved(&self) -> bool {
        self.hour() >= 48
    }

    fn dice(&self, limit: u64) -> u64 {
        self.0.random.lock().unwrap().below(limit)
    }

    fn note(&self, fault: &'static str) {
        *self.0.counts.lock().unwrap().faults.entry(fault).or_default() += 1;
    }

    fn source(&self, file: &FileDeclaration, signature: u64, host: usize) -> Source {
        Source::from(format!("http://{}{}?signature={signature}", self.0.hosts[host], file.content_path()))
    }

    async fn converse(&self, mut socket: TcpStream, host: usize) {
        // the kernel's own clock does not leap
        socket.set_nodelay(true).unwrap();
        self.0.counts.lock().unwrap().connections += 1;
        if self.weather() == Weather::Outage || (host == 0 && self.has_moved()) {
            self.note("no connection");
            return;
        }
        while let Some(head) = read_head(&mut socket).await {
            if !self.answer(&mut socket, &head).await {
                return;
            }
        }
    }

    /// Answers one request; false when the connection ends.
    async fn answer(&self, socket: &mut TcpStream, head: &str) -> bool {
        self.0.counts.lock().unwrap().requests += 1;
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let signature = query.strip_prefix("signature=").and_then(|text| text.parse::<u64>().ok());
        if signature != Some(*self.0.signature.lock().unwrap()) {
            self.note("expired");
            let status = ["403 Forbidden", "404 Not Found", "410 Gone"][self.dice(3) as usize];
            return send(socket, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        }
        let (usual, weather) = (self.dice(100), self.weather());
        if weather == Weather::Busy || usual < 3 {
            self.note("busy");
            return send(socket, &self.busy()).await;
        }
        if usual < 5 {
            self.note("error");
            return send(socket, "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops").await;
        }
        let Some(bytes) = self.0.files.lock().unwrap().get(path).cloned() else {
            return send(socket, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        };
        let ranges = weather != Weather::NoRanges && usual >= 7;
        let asked = asked_range(head).filter(|_| ranges);
        let size = bytes.len() as u64;
        let (start, end) = asked.map_or((0, size), |(start, end)| (start, end.min(size)));
        let mut text = String::new();
        if asked.is_some() {
            let _ =
                write!(text, "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{size}\r\n", end - 1);
        } else {
            self.note("no ranges");
            text.push_str("HTTP/1.1 200 OK\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n", end - start);
        let part = Part { path, start, bytes: &bytes[start as usize..end as usize], ranged: asked.is_some() };
        send(socket, &text).await && self.body(socket, &part, usual, weather).await
    }

    fn busy(&self) -> String {
        let seconds = 1 + self.dice(600);
        let after = if self.dice(2) == 0 {
            seconds.to_string()
        } else {
            // the clock of the site under test stands still at this time
            let date = epoch() + jiff::SignedDuration::from_secs(seconds.try_into().unwrap());
            date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        };
        format!("HTTP/1.1 503 Busy\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n")
    }

    /// Sends the body, or some of it.
    async fn body(&self, socket: &mut TcpStream, part: &Part<'_>, usual: u64, weather: Weather) -> bool {
        let bytes = part.bytes;
        let often = weather == Weather::Resets;
        let cut = match usual {
            90..100 if part.ranged => Some(self.dice(bytes.len() as u64)),
            // whoever gets whole files only cannot go on where one was cut
            99 if weather != Weather::NoRanges => Some(self.dice(bytes.len() as u64)),
            _ if often && part.ranged => Some(self.dice(600_000)).filter(|cut| *cut < bytes.len() as u64),
            _ => None,
        };
        let mut sent = 0;
        for chunk in bytes.chunks(CHUNK) {
            // an outage ends whatever is under way
            if self.weather() == Weather::Outage || cut.is_some_and(|cut| sent >= cut) {
                return self.cut(socket, usual).await;
            }
            if socket.write_all(chunk).await.is_err() {
                return false;
            }
            self.count(part, sent, chunk.len() as u64);
            sent += chunk.len() as u64;
            tokio::time::sleep(CHUNK_TIME).await;
        }
        true
    }

    fn count(&self, part: &Part<'_>, at: u64, len: u64) {
        let mut counts = self.0.counts.lock().unwrap();
        counts.payload += len;
        let mut seen = self.0.seen.lock().unwrap();
        let seen = seen.entry(part.path.to_owned()).or_default();
        let (from, to) = ((part.start + at) as usize / 64, (part.start + at + len) as usize / 64);
        seen.resize(seen.len().max(to), false);
        let twice = seen[from..to].iter().filter(|seen| **seen).count() as u64 * 64;
        seen[from..to].fill(true);
        *counts.twice.entry(if part.ranged { "range" } else { "whole" }).or_default() += twice;
    }

    /// A connection dies: with a reset, without a word, or by a close.
    async fn cut(&self, socket: &mut TcpStream, usual: u64) -> bool {
        match usual % 3 {
            0 => {
                self.note("reset");
                let _ = socket.set_zero_linger();
            }
            1 => {
                self.note("stall");
                tokio::time::sleep(Duration::from_mins(10)).await;
            }
            _ => self.note("close"),
        }
        false
    }
}

impl Sources for BadLink {
    fn sources<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move { vec![self.source(file, *self.0.known.lock().unwrap(), self.place())] })
    }

    fn renewed<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move {
            *self.0.renewals.lock().unwrap() += 1;
            // metadata crosses the same link
            if self.weather() != Weather::Outage {
                *self.0.known.lock().unwrap() = *self.0.signature.lock().unwrap();
            }
            self.sources(file).await
        })
    }
}

impl BadLink {
    /// Names are looked up anew with each connection: what is told is where the upstream is now.
    fn place(&self) -> usize {
        usize::from(self.has_moved())
    }
}

async fn send(socket: &mut TcpStream, text: &str) -> bool {
    socket.write_all(text.as_bytes()).await.is_ok()
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
