//! Blocks back to bytes. Invariant: every length is checked before it is used. It never allocates more
//! than one block beyond what its caller allowed.

use std::io::{self, BufRead, Read};

use tailwater_domain::{Limit, limits};

/// Why a coded text cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XpressError {
    /// It ends inside a block or its header.
    #[error("the compressed text ends inside a block")]
    Truncated,
    /// A block claims lengths that none may have.
    #[error("a compressed block claims {uncompressed} bytes out of {compressed}")]
    BlockLength {
        /// What it says to decode to.
        uncompressed: u32,
        /// What it says to take.
        compressed: u32,
    },
    /// A block does not decode to the length it claims.
    #[error("a compressed block is damaged")]
    Damaged,
    /// More than the caller allows.
    #[error("the compressed text decodes to more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u64,
    },
}

/// The most a block may decode to, in bytes ([MS-WUSP] 2.1.1).
pub const MAX_BLOCK: usize = 65_535;
/// The most bytes a compressed block can take: one flag a byte and nothing saved.
const MAX_COMPRESSED: usize = MAX_BLOCK + MAX_BLOCK / 8 + 16;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_BLOCK in "bytes": "A block, decompressed" => "the message is refused",
    MAX_COMPRESSED in "bytes": "A compressed block" => "the message is refused",
];

fn lengths(header: [u8; 8]) -> Result<(usize, usize), XpressError> {
    let both = u64::from_le_bytes(header);
    // the lower half comes first
    let uncompressed = u32::try_from(both & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let compressed = u32::try_from(both >> 32).unwrap_or(u32::MAX);
    let refuse = XpressError::BlockLength { uncompressed, compressed };
    match (usize::try_from(uncompressed), usize::try_from(compressed)) {
        (Ok(long), Ok(short)) if long <= MAX_BLOCK && short <= MAX_COMPRESSED => Ok((long, short)),
        _ => Err(refuse),
    }
}

/// Decodes a whole text of at most `limit` bytes.
pub fn decode(mut coded: &[u8], limit: usize) -> Result<Vec<u8>, XpressError> {
    let mut out = Vec::new();
    while !coded.is_empty() {
        let (header, rest) = coded.split_first_chunk::<8>().ok_or(XpressError::Truncated)?;
        let (uncompressed, compressed) = lengths(*header)?;
        if out.len() + uncompressed > limit {
            return Err(XpressError::TooLong { limit: limit as u64 });
        }
        let (block, rest) = rest.split_at_checked(compressed).ok_or(XpressError::Truncated)?;
        decode_block(block, uncompressed, &mut out)?;
        coded = rest;
    }
    Ok(out)
}

/// Appends the `uncompressed` bytes that `block` stands for.
fn decode_block(block: &[u8], uncompressed: usize, out: &mut Vec<u8>) -> Result<(), XpressError> {
    if block.len() == uncompressed {
        out.extend_from_slice(block);
        return Ok(());
    }
    let start = out.len();
    let end = start + uncompressed;
    out.reserve(uncompressed);
    let mut input = Input { bytes: block, at: 0, nibble_at: None };
    let (mut flags, mut left) = (0_u32, 0_u32);
    while out.len() < end {
        if left == 0 {
            flags = u32::from_le_bytes(input.take()?);
            left = 32;
        }
        left -= 1;
        if flags >> left & 1 == 0 {
            out.push(input.byte()?);
            continue;
        }
        let pair = u16::from_le_bytes(input.take()?);
        let distance = usize::from(pair >> 3) + 1;
        let length = input.match_length(pair)?;
        if distance > out.len() - start || length > end - out.len() {
            return Err(XpressError::Damaged);
        }
        copy_match(out, distance, length);
    }
    Ok(())
}

fn copy_match(out: &mut Vec<u8>, distance: usize, length: usize) {
    let from = out.len() - distance;
    if distance >= length {
        out.extend_from_within(from..from + length);
        return;
    }
    // the match overlaps what it writes: double what stands there until it is long enough
    let mut written = 0;
    while written < length {
        let step = (distance + written).min(length - written);
        out.extend_from_within(from..from + step);
        written += step;
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A byte of which the upper half is still free for the next long match.
    nibble_at: Option<usize>,
}

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, XpressError> {
        let byte = self.bytes.get(self.at).copied().ok_or(XpressError::Damaged)?;
        self.at += 1;
        Ok(byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], XpressError> {
        let chunk = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        self.at += N;
        chunk.copied().ok_or(XpressError::Damaged)
    }

    /// The length of a match whose first two bytes are `pair`.
    fn match_length(&mut self, pair: u16) -> Result<usize, XpressError> {
        let short = usize::from(pair & 7);
        if short < 7 {
            return Ok(short + 3);
        }
        let nibble = if let Some(at) = self.nibble_at.take() {
            self.bytes[at] >> 4
        } else {
            self.nibble_at = Some(self.at);
            self.byte()? & 15
        };
        if nibble < 15 {
            return Ok(usize::from(nibble) + 7 + 3);
        }
        let byte = self.byte()?;
        if byte < 255 {
            return Ok(usize::from(byte) + 15 + 7 + 3);
        }
        let mut long = u32::from(u16::from_le_bytes(self.take()?));
        if long == 0 {
            long = u32::from_le_bytes(self.take()?);
        }
        // the long form counts from 3 and may not say what the short ones can
        match usize::try_from(long) {
            Ok(long) if (15 + 7..=MAX_BLOCK).contains(&long) => Ok(long + 3),
            _ => Err(XpressError::Damaged),
        }
    }
}

/// Decodes while it reads, one block at a time.
pub struct Reader<R> {
    input: R,
    limit: u64,
    left: u64,
    coded: Vec<u8>,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Reader<R> {
    /// Decodes `input`, refusing to give more than `limit` bytes.
    pub fn new(input: R, limit: u64) -> Self {
        Self { input, limit, left: limit, coded: Vec::new(), block: Vec::new(), at: 0 }
    }

    /// Reads and decodes the next block; leaves it empty at the end.
    fn next_block(&mut self) -> io::Result<()> {
        self.block.clear();
        self.at = 0;
        while self.block.is_empty() {
            let mut header = [0; 8];
            let mut filled = 0;
            while filled < header.len() {
                match self.input.read(&mut header[filled..]) {
                    Ok(0) if filled == 0 => return Ok(()),
                    Ok(0) => return Err(invalid(XpressError::Truncated)),
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let (uncompressed, compressed) = lengths(header).map_err(invalid)?;
            self.left = self
                .left
                .checked_sub(uncompressed as u64)
                .ok_or_else(|| invalid(XpressError::TooLong { limit: self.limit }))?;
            self.coded.resize(compressed, 0);
            self.input.read_exact(&mut self.coded)?;
            decode_block(&self.coded, uncompressed, &mut self.block).map_err(invalid)?;
        }
        Ok(())
    }
}

fn invalid(error: XpressError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: Read> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.block.len() {
            self.next_block()?;
        }
        Ok(&self.block[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.block.len());
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}
