//! Writes the cabinet in which a document travels: one file `blob`, MSZIP, UTF-16LE without a byte order mark.
//!
//! **Invariant:** the document passes once, 32 KiB of UTF-16 at a time, whatever its size. It never looks into it.
//!
//! Deviates: WSUS compresses with LZX; every reader of cabinets reads MSZIP too, and it costs a tenth of the time.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, FlushCompress};
use tailwater_domain::{Limit, limits};

/// Bytes of UTF-16 in one block.
const BLOCK: usize = 0x8000;
/// Bytes before the first block: header, folder, file and its name.
const HEAD: usize = 36 + 8 + 16 + NAME.len();
const NAME: &[u8] = b"blob\0";
const MSZIP: u16 = 1;
/// Ends a deflate stream that was flushed.
const TERMINATOR: [u8; 2] = [3, 0];
/// Documents shrink to a tenth; more effort would save a twentieth of that for several times the time.
const EFFORT: u32 = 2;

/// Compressors that rest: each has a third of a megabyte of tables, which take longer to make than a short document
/// takes to pack.
const MAX_RESTING: usize = 8;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_RESTING in "compressors": "Compressors kept for reuse" => "they are made anew",
];

// not a limit: BLOCK, HEAD: the format says so

static RESTING: Mutex<Vec<Compress>> = Mutex::new(Vec::new());

fn compressor() -> Compress {
    let resting = RESTING.lock().unwrap_or_else(PoisonError::into_inner).pop();
    resting.unwrap_or_else(|| Compress::new(Compression::new(EFFORT), false))
}

fn rest(mut zip: Compress) {
    zip.reset();
    let mut resting = RESTING.lock().unwrap_or_else(PoisonError::into_inner);
    if resting.len() < MAX_RESTING {
        resting.push(zip);
    }
}

/// A cabinet in the making; [`Writer::finish`] completes it.
pub struct Writer<W> {
    out: W,
    zip: Compress,
    /// UTF-16 that does not fill a block yet.
    block: Vec<u8>,
    /// The beginning of a character that the last piece broke off.
    torn: Vec<u8>,
    packed: Vec<u8>,
    blocks: u16,
    text_len: u32,
    packed_len: u32,
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the document is too long for a cabinet")
}

fn not_utf8() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the document is no UTF-8")
}

impl<W: Write + Seek> Writer<W> {
    /// Begins at the start of `out`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&[0; HEAD])?;
        Ok(Self {
            out,
            zip: compressor(),
            block: Vec::with_capacity(BLOCK),
            torn: Vec::new(),
            packed: Vec::with_capacity(2 * BLOCK),
            blocks: 0,
            text_len: 0,
            packed_len: 0,
        })
    }

    /// Adds a piece of the document, as UTF-8; characters may be torn between pieces.
    ///
    /// # Errors
    /// When it is no UTF-8, too long for a cabinet, or `out` cannot be written.
    pub fn write(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !self.torn.is_empty() && !text.is_empty() {
            self.torn.push(text[0]);
            text = &text[1..];
            match std::str::from_utf8(&self.torn).map(str::to_owned) {
                Ok(character) => {
                    self.torn.clear();
                    self.characters(&character)?;
                }
                Err(error) if error.error_len().is_some() => return Err(not_utf8()),
                Err(_torn) => {}
            }
        }
        match std::str::from_utf8(text) {
            Ok(text) => self.characters(text),
            Err(error) if error.error_len().is_some() => Err(not_utf8()),
            Err(error) => {
                let (whole, torn) = text.split_at(error.valid_up_to());
                self.torn.extend_from_slice(torn);
                self.characters(std::str::from_utf8(whole).map_err(|_never| not_utf8())?)
            }
        }
    }

    fn characters(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let room = (BLOCK - self.block.len()) / 2;
            let ascii = rest.bytes().take(room).take_while(u8::is_ascii).count();
            if ascii > 0 {
                let start = self.block.len();
                self.block.resize(start + 2 * ascii, 0);
                let (units, _) = self.block[start..].as_chunks_mut::<2>();
                units.iter_mut().zip(rest.as_bytes()).for_each(|(unit, byte)| unit[0] = *byte);
                rest = &rest[ascii..];
            } else {
                for unit in first.encode_utf16(&mut [0; 2]) {
                    if self.block.len() == BLOCK {
                        self.write_block()?;
                    }
                    self.block.extend_from_slice(&unit.to_le_bytes());
                }
                rest = &rest[first.len_utf8()..];
            }
            if self.block.len() == BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.packed.clear();
        self.packed.extend_from_slice(b"CK");
        self.zip
            .compress_vec(&self.block, &mut self.packed, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        self.packed.extend_from_slice(&TERMINATOR);
        let plain = u16::try_from(self.block.len()).map_err(|_never| too_long())?;
        if self.packed.len() > self.block.len() + 7 {
            // stored: one final block as it is
            self.packed.truncate(2);
            self.packed.push(1);
            self.packed.extend_from_slice(&plain.to_le_bytes());
            self.packed.extend_from_slice(&(!plain).to_le_bytes());
            self.packed.extend_from_slice(&self.block);
        }
        let packed = u16::try_from(self.packed.len()).map_err(|_never| too_long())?;
        let mut lengths = [0; 4];
        lengths[..2].copy_from_slice(&packed.to_le_bytes());
        lengths[2..].copy_from_slice(&plain.to_le_bytes());
        let sum = checksum(&lengths, checksum(&self.packed, 0));
        self.out.write_all(&sum.to_le_bytes())?;
        self.out.write_all(&lengths)?;
        self.out.write_all(&self.packed)?;
        self.blocks = self.blocks.checked_add(1).ok_or_else(too_long)?;
        self.text_len = self.text_len.checked_add(u32::from(plain)).ok_or_else(too_long)?;
        self.packed_len = self.packed_len.checked_add(u32::from(packed) + 8).ok_or_else(too_long)?;
        self.block.clear();
        Ok(())
    }

    /// Ends the document and fills in what is known only now. Gives `out` back.
    ///
    /// # Errors
    /// When the document ends inside a character, or `out` cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.torn.is_empty() {
            return Err(not_utf8());
        }
        if !self.block.is_empty() {
            self.write_block()?;
        }
        let head = u32::try_from(HEAD).map_err(|_never| too_long())?;
        let total = self.packed_len.checked_add(head).ok_or_else(too_long)?;
        let mut bytes = Vec::with_capacity(HEAD);
        let (files, name) = (36_u32 + 8, NAME);
        bytes.extend_from_slice(b"MSCF");
        for number in [0, total, 0, files, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        // version 1.3, one folder, one file, no flags, no set
        bytes.extend_from_slice(&[3, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&head.to_le_bytes());
        bytes.extend_from_slice(&self.blocks.to_le_bytes());
        bytes.extend_from_slice(&MSZIP.to_le_bytes());
        bytes.extend_from_slice(&self.text_len.to_le_bytes());
        // at the folder's beginning, in folder 0, without date, time and attributes
        bytes.extend_from_slice(&[0; 4 + 2 + 2 + 2 + 2]);
        bytes.extend_from_slice(name);
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&bytes)?;
        self.out.seek(SeekFrom::End(0))?;
        rest(self.zip);
        Ok(self.out)
    }
}

/// The checksum of a block: its words, exclusive-or'd; the last bytes of an odd length count from the other end.
fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words.iter().fold(seed, |sum, word| sum ^ u32::from_le_bytes(*word));
    rest.iter().fold(0, |last, byte| last << 8 | u32::from(*byte)) ^ sum
}
