//! Roll-ups: bodies in blocks, unpacked as they are read.
//!
//! **Invariant:** memory is charged before a byte of text comes out, and nothing of a text is in memory but the step that
//! is read and what its reader makes of it. It never knows what the text says.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use super::Blocks;
use crate::http::Misdirected;
use crate::memory::Reservation;
use tailwater_domain::{Limit, limits};

/// Blocks in which a text is unpacked.
const STEP: usize = 64 * 1024;
/// How much of a roll-up is looked at for the answer to one that cannot be read.
const GLIMPSE: usize = 16 * 1024;
/// zstd windows larger than 8 MiB are refused: they cost memory before a byte is unpacked.
const MAX_WINDOW_LOG: u32 = 23;
/// What unpacking takes beside its window.
const UNPACKER: usize = 512 * 1024;
/// What the rows of a roll-up take whose text is shorter than they are: their number is bounded.
const ROWS: usize = 2 << 20;

// not a limit: STEP: what is more is unpacked next

pub(super) const LIMITS: &[Limit] = limits![
    GLIMPSE in "bytes": "What is looked at of a roll-up that cannot be read" => "its fault says less",
    MAX_WINDOW_LOG in "bits": "Window of a packed roll-up" => "400",
];

impl Blocks {
    /// Ready when it must give way to others.
    pub async fn gives_way(&self) {
        self.reserved.gives_way().await;
    }

    /// The beginning of the text, unpacked where it is packed, as far as it can be told: for the answer to one that
    /// cannot be read further.
    pub fn beginning(&self, packed: bool) -> Vec<u8> {
        let first = self.blocks.front().map_or(&[][..], Vec::as_slice);
        if !packed {
            return first.get(..GLIMPSE).unwrap_or(first).to_vec();
        }
        let mut text = Vec::new();
        if let Ok(mut decoder) = zstd::stream::read::Decoder::with_buffer(first)
            && decoder.window_log_max(MAX_WINDOW_LOG).is_ok()
        {
            // what is broken further on was seen as far as it goes
            let _ = decoder.take(GLIMPSE as u64).read_to_end(&mut text);
        }
        text
    }

    /// Its text, at most `limit` bytes of it.
    ///
    /// # Errors
    /// When memory is short, or it is not packed as it says.
    pub fn unpacked(self, packed: bool, limit: usize) -> Result<Unpacked, Misdirected> {
        let Self { blocks, mut reserved } = self;
        reserved.arrived();
        let limit = limit.min(reserved.largest());
        reserved.try_grow(ROWS)?;
        let paid = blocks.iter().map(Vec::len).sum();
        let blocks = Draining { blocks, at: 0 };
        if !packed {
            return Ok(Unpacked {
                source: Box::new(blocks),
                reserved,
                window: 0,
                paid,
                read: 0,
                limit,
                refusal: None,
            });
        }
        reserved.try_grow(UNPACKER)?;
        let mut decoder =
            zstd::stream::read::Decoder::with_buffer(blocks).map_err(|_e| Misdirected::Incomplete)?;
        decoder.window_log_max(MAX_WINDOW_LOG).map_err(|_e| Misdirected::Incomplete)?;
        let source = Box::new(io::BufReader::with_capacity(STEP, decoder));
        Ok(Unpacked { source, reserved, window: 1 << MAX_WINDOW_LOG, paid: 0, read: 0, limit, refusal: None })
    }
}

/// Blocks that go as they are read.
struct Draining {
    blocks: VecDeque<Vec<u8>>,
    at: usize,
}

impl Read for Draining {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Draining {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.blocks.front().map_or(&[][..], |block| &block[self.at..]))
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
        if self.blocks.front().is_some_and(|block| self.at >= block.len()) {
            self.blocks.pop_front();
            self.at = 0;
        }
    }
}

/// A roll-up's text as it is unpacked and read. Bytes that were read count as what is made of them, one for one: the
/// rows of a report are smaller than their text.
///
/// Reading waits for a processor only; what goes wrong comes out as an [`io::Error`], and [`Unpacked::refusal`] says
/// what it was.
pub struct Unpacked {
    source: Box<dyn BufRead + Send>,
    reserved: Reservation,
    /// How large the unpacker's window may become.
    window: usize,
    /// Bytes of text that are charged.
    paid: usize,
    read: usize,
    limit: usize,
    refusal: Option<Misdirected>,
}

impl Unpacked {
    /// Why reading failed, when it was not the text's fault.
    pub fn refusal(&self) -> Option<Misdirected> {
        self.refusal
    }

    /// The memory of what was read.
    pub fn into_reserved(self) -> Reservation {
        self.reserved
    }

    fn refuse(&mut self, why: Misdirected) -> io::Error {
        self.refusal = Some(why);
        io::Error::other(why)
    }
}

impl Read for Unpacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Unpacked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let ahead = match self.source.fill_buf() {
            Ok(window) => window.len(),
            Err(_broken) => return Err(self.refuse(Misdirected::Incomplete)),
        };
        let passed = self.read + ahead;
        if passed > self.limit {
            return Err(self.refuse(Misdirected::TooLarge(self.limit)));
        }
        if passed > self.paid {
            // the window of the unpacker fills as its text comes out, up to its own size
            let window = |read: usize| read.min(self.window);
            let more = passed - self.paid + window(passed) - window(self.paid);
            if self.reserved.try_grow(more).is_err() {
                return Err(self.refuse(Misdirected::Busy));
            }
            self.paid = passed;
        }
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.read += amount;
        self.source.consume(amount);
    }
}
