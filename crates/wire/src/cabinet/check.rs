//! Looks through a cabinet before a library reads it ([MS-CAB] 2): every size and offset leads to where it may.
//!
//! **Invariant:** what passes has each of its folders and files within its own bytes, and no block or file larger than
//! it may be; its folders hold what its files claim. It never decompresses.

use std::io::{self, Read, Seek, SeekFrom};

use super::error::{CabinetError, LIMIT};
use tailwater_domain::{Limit, limits};

/// Folders of a cabinet; those of documents have one.
const MAX_FOLDERS: u16 = 16;
/// Files of a cabinet; those of documents have one.
const MAX_FILES: u16 = 64;
/// The longest name of a file, its end included.
const MAX_NAME: usize = 256;
/// The most that one block decompresses to.
const MAX_BLOCK: u16 = 1 << 15;
/// The most that one block takes: what cannot be compressed is a little longer.
const MAX_STORED: u16 = MAX_BLOCK + 6_144;

/// What is limited here.
pub(super) const LIMITS: &[Limit] = limits![
    MAX_FOLDERS in "folders": "Folders of a document's cabinet" => "that update is refused; the synchronisation goes on and reports it",
    MAX_FILES in "files": "Files of a document's cabinet" => "that update is refused; the synchronisation goes on and reports it",
    MAX_NAME in "bytes": "Name of a file in a document's cabinet" => "that update is refused; the synchronisation goes on and reports it",
    MAX_BLOCK in "bytes": "What one block of a cabinet decompresses to" => "that update is refused; the synchronisation goes on and reports it",
    MAX_STORED in "bytes": "One block of a cabinet" => "that update is refused; the synchronisation goes on and reports it",
];

const HEADER: usize = 36;
const FOLDER: usize = 8;
const FILE: usize = 16;
const BLOCK: usize = 8;
const PREVIOUS: u16 = 1;
const NEXT: u16 = 2;
const RESERVE: u16 = 4;

/// One folder: where its blocks begin, how many, and how they are compressed.
struct Folder {
    start: u32,
    blocks: u16,
    method: Method,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    MsZip,
    Lzx,
}

fn broken(what: &'static str) -> CabinetError {
    CabinetError::Broken { what }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |two| u16::from_le_bytes(*two))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
}

/// A cabinet and how long it is.
struct Checked<'c, R> {
    cabinet: &'c mut R,
    len: u64,
}

/// Checks a whole cabinet and puts it back to its beginning.
///
/// # Errors
/// With what is wrong.
pub(super) fn check<R: Read + Seek>(cabinet: &mut R) -> Result<(), CabinetError> {
    let len = cabinet.seek(SeekFrom::End(0)).map_err(CabinetError::Unreadable)?;
    Checked { cabinet, len }.all()?;
    cabinet.rewind().map_err(CabinetError::Unreadable)
}

impl<R: Read + Seek> Checked<'_, R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CabinetError> {
        let mut bytes = [0; N];
        match self.cabinet.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(broken("it ends too early")),
            Err(error) => Err(CabinetError::Unreadable(error)),
        }
    }

    fn go_to(&mut self, at: u64) -> Result<(), CabinetError> {
        if at > self.len {
            return Err(broken("an offset leads behind its end"));
        }
        self.cabinet.seek(SeekFrom::Start(at)).map_err(CabinetError::Unreadable)?;
        Ok(())
    }

    fn all(&mut self) -> Result<(), CabinetError> {
        self.go_to(0)?;
        let header: [u8; HEADER] = self.take()?;
        let version = (header[25], header[24]);
        let (folders, files, flags) = (u16_at(&header, 26), u16_at(&header, 28), u16_at(&header, 30));
        if !header.starts_with(b"MSCF") || version.0 > 1 || (version.0 == 1 && version.1 > 3) {
            return Err(broken("it does not begin as one"));
        }
        if u64::from(u32_at(&header, 8)) > self.len {
            return Err(broken("it is shorter than it says"));
        }
        if flags & (PREVIOUS | NEXT) != 0 {
            return Err(broken("it is one of several"));
        }
        if folders > MAX_FOLDERS || files > MAX_FILES {
            return Err(broken("it has more folders or files than a document's"));
        }
        let (mut at, mut folder_reserve, mut block_reserve) = (HEADER as u64, 0, 0);
        if flags & RESERVE != 0 {
            let reserve: [u8; 4] = self.take()?;
            at += 4 + u64::from(u16_at(&reserve, 0));
            (folder_reserve, block_reserve) = (u64::from(reserve[2]), u64::from(reserve[3]));
        }
        let mut known = Vec::new();
        for _ in 0..folders {
            self.go_to(at)?;
            known.push(folder(self.take()?)?);
            at += FOLDER as u64 + folder_reserve;
        }
        self.go_to(at)?;
        let mut sizes = Vec::new();
        for folder in &known {
            sizes.push(self.blocks(folder, block_reserve)?);
        }
        self.go_to(u64::from(u32_at(&header, 16)))?;
        for _ in 0..files {
            self.file(&sizes)?;
        }
        Ok(())
    }

    /// Goes through the blocks of a folder; gives what they decompress to.
    fn blocks(&mut self, folder: &Folder, reserve: u64) -> Result<u64, CabinetError> {
        let (mut at, mut size) = (u64::from(folder.start), 0);
        for _ in 0..folder.blocks {
            self.go_to(at)?;
            let block: [u8; BLOCK] = self.take()?;
            let (stored, raw) = (u16_at(&block, 4), u16_at(&block, 6));
            let fits = match folder.method {
                Method::Stored => stored == raw,
                Method::MsZip | Method::Lzx => stored >= 2,
            };
            if !fits || raw == 0 || raw > MAX_BLOCK || stored > MAX_STORED {
                return Err(broken("a block has an impossible size"));
            }
            at += BLOCK as u64 + reserve + u64::from(stored);
            if at > self.len {
                return Err(broken("a block leads behind its end"));
            }
            size += u64::from(raw);
            if size > LIMIT {
                return Err(CabinetError::TooLong { size });
            }
        }
        Ok(size)
    }

    /// One file: it lies within its folder.
    fn file(&mut self, sizes: &[u64]) -> Result<(), CabinetError> {
        let file: [u8; FILE] = self.take()?;
        let (size, start) = (u64::from(u32_at(&file, 0)), u64::from(u32_at(&file, 4)));
        let Some(held) = sizes.get(usize::from(u16_at(&file, 8))) else {
            return Err(broken("a file is in a folder that is not there"));
        };
        if size > LIMIT {
            return Err(CabinetError::TooLong { size });
        }
        if start + size > *held {
            return Err(broken("a file is longer than its folder"));
        }
        for _ in 0..MAX_NAME {
            if self.take::<1>()? == [0] {
                return Ok(());
            }
        }
        Err(broken("a name does not end"))
    }
}

fn folder(bytes: [u8; FOLDER]) -> Result<Folder, CabinetError> {
    let kind = u16_at(&bytes, 6);
    let method = match (kind & 15, kind >> 8 & 31) {
        (0, _) => Method::Stored,
        (1, _) => Method::MsZip,
        (3, 15..=21) => Method::Lzx,
        _ => return Err(broken("its compression is none that documents have")),
    };
    Ok(Folder { start: u32_at(&bytes, 0), blocks: u16_at(&bytes, 4), method })
}
