//! Bytes to blocks. Invariant: what is written decodes to what was given, whatever it was. It never spends
//! more than a few probes on a position: answers are compressed while an agent waits.

/// How many bytes a block holds: what real servers use, a quarter of what the coding allows.
pub const BLOCK: usize = 16_352;

/// A match reaches back this far at most (13 bits).
const WINDOW: usize = 8_192;
/// Shorter matches cost as much as they save.
const MIN_MATCH: usize = 3;
/// Candidates looked at for each position.
const PROBES: usize = 8;
/// A match this long is taken without looking for a better one.
const GOOD_ENOUGH: usize = 64;
const HASH_BITS: u32 = 12;

// not a limit: WINDOW, MIN_MATCH, GOOD_ENOUGH, HASH_BITS: how hard is compressed

/// Positions are counted from 1 in the tables, so that 0 means none.
const NONE: u16 = 0;

/// Compresses `raw`. Empty stays empty.
pub fn encode(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / 4 + 64);
    encode_into(&mut out, raw);
    out
}

/// Appends `raw`, compressed, to `out`. What is appended in several calls decodes to all of it, in order.
pub fn encode_into(out: &mut Vec<u8>, raw: &[u8]) {
    let mut tables = Tables { heads: vec![NONE; 1 << HASH_BITS], links: vec![NONE; BLOCK] };
    for block in raw.chunks(BLOCK) {
        // a block is far below 4 GiB
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&length);
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        encode_block(out, block, &mut tables);
        if out.len() - at - 4 >= block.len() {
            out.truncate(at + 4);
            out.extend_from_slice(block);
        }
        // at most as long as the block
        let compressed = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX).to_le_bytes();
        out[at..at + 4].copy_from_slice(&compressed);
    }
}

struct Tables {
    /// The latest position of each hash.
    heads: Vec<u16>,
    /// The position before it with the same hash.
    links: Vec<u16>,
}

fn hash(block: &[u8], at: usize) -> usize {
    let word = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], 0]);
    (word.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
}

impl Tables {
    fn insert(&mut self, block: &[u8], at: usize) {
        if at + MIN_MATCH <= block.len() {
            let slot = &mut self.heads[hash(block, at)];
            self.links[at] = *slot;
            // blocks are shorter than 65,535
            *slot = u16::try_from(at + 1).unwrap_or(NONE);
        }
    }

    /// The longest match for `at` among the latest candidates: how far back, how long.
    fn find(&self, block: &[u8], at: usize) -> Option<(usize, usize)> {
        if at + MIN_MATCH > block.len() {
            return None;
        }
        let here = &block[at..];
        let (mut best, mut best_distance) = (MIN_MATCH - 1, 0);
        let mut candidate = self.heads[hash(block, at)];
        for _ in 0..PROBES {
            if candidate == NONE {
                break;
            }
            let from = usize::from(candidate) - 1;
            if at - from > WINDOW {
                break;
            }
            if best < here.len() && block[from + best] == here[best] {
                let length = common(&block[from..], here);
                if length > best {
                    (best, best_distance) = (length, at - from);
                    if length >= GOOD_ENOUGH {
                        break;
                    }
                }
            }
            candidate = self.links[from];
        }
        (best >= MIN_MATCH).then_some((best_distance, best))
    }
}

/// How many bytes two texts begin with in common; `b` is the shorter.
fn common(a: &[u8], b: &[u8]) -> usize {
    let mut length = 0;
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let (Some(x), Some(y)) = (x.first_chunk::<8>(), y.first_chunk::<8>()) else { break };
        let different = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if different != 0 {
            return length + (different.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + a[length..].iter().zip(&b[length..]).take_while(|(x, y)| x == y).count()
}

struct Output<'a> {
    out: &'a mut Vec<u8>,
    flags: u32,
    count: u32,
    flags_at: usize,
    nibble_at: Option<usize>,
}

impl Output<'_> {
    fn flag(&mut self, bit: u32) {
        self.flags = self.flags << 1 | bit;
        self.count += 1;
        if self.count == 32 {
            self.out[self.flags_at..self.flags_at + 4].copy_from_slice(&self.flags.to_le_bytes());
            self.flags_at = self.out.len();
            self.out.extend_from_slice(&[0; 4]);
            (self.flags, self.count) = (0, 0);
        }
    }

    /// The unused flags are ones.
    fn finish(self) {
        let spare = 32 - self.count;
        // the flags so far and ones behind them: 32 bits
        let flags = u32::try_from(((u64::from(self.flags) + 1) << spare) - 1).unwrap_or(u32::MAX);
        self.out[self.flags_at..self.flags_at + 4].copy_from_slice(&flags.to_le_bytes());
    }

    fn put_match(&mut self, distance: usize, length: usize) {
        // a distance is at most 8,192, a length at most a block's
        let length = u16::try_from(length - MIN_MATCH).unwrap_or(0);
        let pair = u16::try_from(distance - 1).unwrap_or(0) << 3 | length.min(7);
        self.out.extend_from_slice(&pair.to_le_bytes());
        let Some(beyond) = length.checked_sub(7) else { return };
        let nibble = u8::try_from(beyond.min(15)).unwrap_or(15);
        if let Some(at) = self.nibble_at.take() {
            self.out[at] |= nibble << 4;
        } else {
            self.nibble_at = Some(self.out.len());
            self.out.push(nibble);
        }
        let Some(beyond) = beyond.checked_sub(15) else { return };
        match u8::try_from(beyond) {
            Ok(beyond) if beyond < 255 => self.out.push(beyond),
            _ => {
                self.out.push(255);
                self.out.extend_from_slice(&length.to_le_bytes());
            }
        }
    }
}

fn encode_block(out: &mut Vec<u8>, block: &[u8], tables: &mut Tables) {
    tables.heads.fill(NONE);
    let flags_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut output = Output { out, flags: 0, count: 0, flags_at, nibble_at: None };
    let mut at = 0;
    while at < block.len() {
        if let Some((distance, length)) = tables.find(block, at) {
            output.put_match(distance, length);
            for position in at..at + length {
                tables.insert(block, position);
            }
            at += length;
            output.flag(1);
        } else {
            output.out.push(block[at]);
            tables.insert(block, at);
            at += 1;
            output.flag(0);
        }
    }
    output.finish();
}
