//! Takes in the bodies of requests: bounded by operation, charged to the one budget, at a minimum progress.
//!
//! **Invariant:** a body is copied out of the connection's buffers as it arrives, so that what is charged is what it
//! occupies, whatever the pieces are that it came in; nothing is read of a body that is refused. It never knows what
//! a body means.

mod unpack;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::Body;
use http_body_util::BodyExt as _;

pub(super) use unpack::Unpacked;

use super::http::Misdirected;
use super::memory::{RequestMemory, Reservation, Short};
use tailwater_domain::{ByteCount, Limit, joined_limits, limits};
use tailwater_runtime::{Clock, InUse};

/// How long the body of an agent's or an administrator's request may take to arrive.
const BODY_TIME: Duration = Duration::from_mins(1);
/// How long the body of a roll-up may take: 10 MB over 128 kbit/s.
const SLOW_BODY_TIME: Duration = Duration::from_mins(10);
/// How long a body may pause, and how long it has until the least rate counts.
const PAUSE: Duration = Duration::from_secs(15);
/// The least rate of a body, in bytes a second: a modem is six times as fast.
const LEAST_RATE: u64 = 1_024;
/// How long a request waits for memory, all its waits together.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a roll-up waits for memory: its server asks again only after the next synchronisation.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// What memory is set apart for what is made of a request, in lengths of its body: lists of nearly empty rows and texts
/// are the worst, and those are bounded in number.
const MADE_OF: usize = 6;
/// The same for large requests, beside [`MOST_ROWS`].
const MADE_OF_LARGE: usize = 2;
/// What the longest lists take, however little is in their rows.
const MOST_ROWS: usize = 12 << 20;
/// What a large body leaves to its rows and its last block.
const ASIDE: usize = 4 << 20;
/// The first memory of a body.
const FIRST: usize = 2 * 1024;
/// Blocks of a large body, and what a body of known length is given in advance of what arrived.
const BLOCK: usize = 64 * 1024;

const OWN: &[Limit] = limits![
    BODY_TIME: "Arrival of a request's body" => "408",
    SLOW_BODY_TIME: "Arrival of a roll-up's body" => "408",
    PAUSE: "Pause of a body that arrives" => "408",
    MADE_OF in "lengths of its body": "Memory for what is made of a request" => "503, ServerBusy",
    MADE_OF_LARGE in "lengths of its body": "The same for a large request, beside its rows" => "503, ServerBusy",
    MOST_ROWS in "bytes": "Memory for the rows of a large request" => "503, ServerBusy",
    LEAST_RATE in "bytes a second": "Least rate of a body after its first 15 s" => "408",
    PATIENCE: "Wait of a request for memory" => "503, ServerBusy",
    LONG_PATIENCE: "Wait of a roll-up for memory" => "503, ServerBusy",
    BLOCK in "bytes": "Memory of a body before its bytes arrived" => "taken in steps",
];

pub(super) const LIMITS: &[Limit] = joined_limits![OWN, unpack::LIMITS];

/// How patient a body is treated.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// For the whole body.
    time: Duration,
    /// For memory.
    patience: Duration,
    /// Whether it is kept in blocks, which are given back one by one as they are read.
    in_blocks: bool,
}

impl Pace {
    /// For requests of agents, administrators and servers.
    const USUAL: Self = Self { time: BODY_TIME, patience: PATIENCE, in_blocks: false };
    /// For roll-ups, which cross slow links.
    const SLOW: Self = Self { time: SLOW_BODY_TIME, patience: LONG_PATIENCE, in_blocks: true };
}

/// A body that is in memory, and its memory.
pub struct Taken {
    bytes: Vec<u8>,
    reserved: Reservation,
}

/// A large body that is in memory in blocks, and its memory.
pub struct Blocks {
    blocks: VecDeque<Vec<u8>>,
    reserved: Reservation,
}

/// Takes bodies in. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    memory: RequestMemory,
    clock: Clock,
}

impl From<Short> for Misdirected {
    fn from(_short: Short) -> Self {
        Self::Busy
    }
}

impl Intake {
    /// Over a budget of so many bytes.
    pub fn new(memory: ByteCount, clock: &Clock) -> Self {
        Self { memory: RequestMemory::new(memory, clock), clock: clock.clone() }
    }

    /// What of the budget is in use.
    pub fn in_use(&self) -> InUse {
        self.memory.in_use()
    }

    /// A body that is in memory already.
    ///
    /// # Errors
    /// When memory is short.
    pub async fn whole(&self, from: IpAddr, body: Bytes) -> Result<Taken, Misdirected> {
        self.take(from, http_body_util::Full::new(body), usize::MAX).await
    }

    /// Reads a body of at most `limit` bytes that comes from this address, and sets memory apart for what is made of it.
    ///
    /// # Errors
    /// Before anything is read when its declared length is above the limit; [`Misdirected::Busy`] when memory is
    /// short, [`Misdirected::Timeout`] when it comes too slowly.
    pub async fn take<B>(&self, from: IpAddr, body: B, limit: usize) -> Result<Taken, Misdirected>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut taken = Taken::from(self.read(from, body, limit, Pace::USUAL).await?);
        // until there is memory for what is made of it, it gives way to others
        taken.reserved.grow(made_of(taken.bytes.len()), PATIENCE).await?;
        taken.reserved.arrived();
        Ok(taken)
    }

    /// The same for the bodies of roll-ups, which are large and come slowly. They still give way to others until
    /// [`Blocks::unpacked`].
    ///
    /// # Errors
    /// As [`Intake::take`].
    pub async fn take_large<B>(&self, from: IpAddr, body: B, limit: usize) -> Result<Blocks, Misdirected>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.read(from, body, limit, Pace::SLOW).await
    }

    async fn read<B>(
        &self,
        from: IpAddr,
        mut body: B,
        limit: usize,
        mut pace: Pace,
    ) -> Result<Blocks, Misdirected>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut reserved = self.memory.begin(from)?;
        let most = self.memory.largest();
        let limit = limit.min(if pace.in_blocks { most.saturating_sub(ASIDE) } else { longest(most) });
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > limit {
            return Err(Misdirected::TooLarge(limit));
        }
        let begun = self.clock.instant();
        let (mut blocks, mut length) = (VecDeque::new(), 0_usize);
        loop {
            let now = self.clock.instant();
            let earned = Duration::from_secs(length as u64 / LEAST_RATE);
            let due = begun + pace.time.min(PAUSE + earned);
            let left = due.saturating_duration_since(now).min(PAUSE);
            let frame = tokio::select! {
                biased;
                () = reserved.gives_way() => return Err(Misdirected::Busy),
                frame = body.frame() => frame,
                () = self.clock.sleep(left) => return Err(Misdirected::Timeout),
            };
            let Some(frame) = frame else { return Ok(Blocks { blocks, reserved }) };
            let frame = frame.map_err(|_broken| Misdirected::Incomplete)?;
            let Ok(data) = frame.into_data() else { continue };
            if length + data.len() > limit {
                return Err(Misdirected::TooLarge(limit));
            }
            let room = Room { expected: declared.saturating_sub(length), most: limit, pace };
            let before = self.clock.instant();
            keep(&mut blocks, &data, room, &mut reserved).await?;
            // all waits for memory together are as long as one may be
            pace.patience = pace.patience.saturating_sub(self.clock.instant().duration_since(before));
            length += data.len();
        }
    }
}

/// Memory for what is made of a request.
fn made_of(length: usize) -> usize {
    length.saturating_mul(MADE_OF).min(length.saturating_mul(MADE_OF_LARGE).saturating_add(MOST_ROWS))
}

/// The longest body that fits so much memory, with what is made of it.
fn longest(memory: usize) -> usize {
    (memory / (1 + MADE_OF)).max(memory.saturating_sub(MOST_ROWS) / (1 + MADE_OF_LARGE))
}

/// What is known of how much room a body needs.
#[derive(Clone, Copy)]
struct Room {
    /// Bytes that are said to come still; 0 when nothing is said.
    expected: usize,
    /// Bytes that it may have in all.
    most: usize,
    pace: Pace,
}

/// Copies what came behind what is there.
async fn keep(
    blocks: &mut VecDeque<Vec<u8>>,
    mut data: &[u8],
    room: Room,
    reserved: &mut Reservation,
) -> Result<(), Misdirected> {
    let Room { expected, pace, .. } = room;
    while !data.is_empty() {
        let free = blocks.back().map_or(0, |last| last.capacity() - last.len());
        if free == 0 && (pace.in_blocks || blocks.is_empty()) {
            let size =
                if pace.in_blocks && !blocks.is_empty() { BLOCK } else { FIRST.max(expected.min(BLOCK)) };
            reserved.grow(size, pace.patience).await?;
            let mut block = Vec::new();
            block.reserve_exact(size);
            blocks.push_back(block);
        } else if free < data.len() && !pace.in_blocks {
            if let Some(only) = blocks.back_mut() {
                enlarge(only, data.len(), room, reserved).await?;
            }
        } else if let Some(last) = blocks.back_mut() {
            let (now, rest) = data.split_at(free.min(data.len()));
            last.extend_from_slice(now);
            data = rest;
        }
    }
    Ok(())
}

/// Room for `more` bytes: twice as much as before, and for a body of known length not more than that.
async fn enlarge(
    kept: &mut Vec<u8>,
    more: usize,
    Room { expected, most, pace }: Room,
    reserved: &mut Reservation,
) -> Result<(), Misdirected> {
    let before = kept.capacity();
    let most = if expected == 0 { most } else { kept.len() + expected.max(more) };
    let wanted = (kept.len() + more).max(2 * before).min(most);
    // old and new are there while one is copied into the other
    reserved.grow(wanted, pace.patience).await?;
    let mut larger = Vec::new();
    larger.reserve_exact(wanted);
    larger.extend_from_slice(kept);
    *kept = larger;
    reserved.shrink(before);
    Ok(())
}

impl Taken {
    /// What it is.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes and their memory apart.
    pub fn into_parts(self) -> (Vec<u8>, Reservation) {
        (self.bytes, self.reserved)
    }

    /// The same as UTF-8: UTF-16 with a byte order mark is converted, everything else is left for its reader to judge.
    ///
    /// # Errors
    /// When it is no UTF-16, or memory is short.
    pub async fn into_utf8(mut self) -> Result<Self, Misdirected> {
        if is_utf16(&self.bytes).is_none() {
            return Ok(self);
        }
        // two bytes become at most three, in a text that grows by doubling
        let room = 3 * self.bytes.len();
        self.reserved.grow(room, PATIENCE).await?;
        let text = as_utf8(&self.bytes)?;
        let before = self.bytes.capacity();
        self.bytes = text;
        self.bytes.shrink_to_fit();
        self.reserved.shrink((before + room).saturating_sub(self.bytes.capacity()));
        Ok(self)
    }
}

type Unit = fn([u8; 2]) -> u16;

fn is_utf16(bytes: &[u8]) -> Option<Unit> {
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => Some(u16::from_le_bytes),
        Some([0xfe, 0xff]) => Some(u16::from_be_bytes),
        _ => None,
    }
}

fn as_utf8(bytes: &[u8]) -> Result<Vec<u8>, Misdirected> {
    let Some(unit) = is_utf16(bytes) else { return Ok(bytes.to_vec()) };
    let units = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let mut text = String::with_capacity(bytes.len() * 3 / 2);
    for character in char::decode_utf16(units) {
        text.push(character.map_err(|_unpaired| Misdirected::MediaType)?);
    }
    Ok(text.into_bytes())
}

/// Whether a body is packed, as `Content-Encoding` says.
///
/// # Errors
/// When it is in a coding that is not understood.
pub(super) fn is_packed(headers: &HeaderMap) -> Result<bool, Misdirected> {
    let coding = headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
    let packed = coding.eq_ignore_ascii_case(b"zstd");
    if packed || coding.eq_ignore_ascii_case(b"identity") { Ok(packed) } else { Err(Misdirected::MediaType) }
}

/// Whether a body is as it is: no content coding at all.
///
/// # Errors
/// When it has one.
pub(super) fn is_plain(headers: &HeaderMap) -> Result<(), Misdirected> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        Ok(())
    } else {
        Err(Misdirected::MediaType)
    }
}

impl From<Taken> for Blocks {
    fn from(taken: Taken) -> Self {
        Self { blocks: VecDeque::from([taken.bytes]), reserved: taken.reserved }
    }
}

impl From<Blocks> for Taken {
    fn from(blocks: Blocks) -> Self {
        let Blocks { mut blocks, reserved } = blocks;
        Self { bytes: blocks.pop_front().unwrap_or_default(), reserved }
    }
}

#[cfg(test)]
mod tests;
