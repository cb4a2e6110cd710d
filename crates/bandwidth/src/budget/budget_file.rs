//! What was spent, on disk: two slots that are written in turn.
//!
//! **Invariant:** a power cut during a write leaves the other slot whole, and it is the newer one of the two that is
//! read. It never counts: it keeps what it is given.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::allowance::Spent;
use crate::LinkError;
use tailwater_domain::{Limit, limits};
use tailwater_durable::{Trouble, sync_folder};

/// A slot is a page: 64 days take less than half of it.
const SLOT: usize = 4096;

pub(super) const LIMITS: &[Limit] = limits![
    SLOT in "bytes": "A slot of the budget file" => "the budget is not booked, and nothing is fetched on it",
];

/// Length and checksum before what a slot holds.
const HEAD: usize = 8;

/// The file. Two slots are 8 KiB.
pub(super) struct BudgetFile {
    /// None while it could not be opened for writing.
    file: Option<File>,
    path: PathBuf,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    sequence: u64,
    spent: Spent,
}

impl BudgetFile {
    /// Opens or makes the file; with what it says, `None` when both slots are damaged.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Spent>), LinkError> {
        let failed = |source| LinkError::BudgetFile { path: path.to_owned(), source };
        let (file, can_write) = match open(path) {
            Ok(file) => (Some(file), true),
            // on a disk that takes nothing what was spent is read, and nothing is booked
            Err(error) if Trouble::of(&error).is_some() => match File::open(path) {
                Ok(file) => (Some(file), false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (None, false),
                Err(_unreadable) => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        };
        let length = file.as_ref().map(File::metadata).transpose().map_err(failed)?.map(|found| found.len());
        let is_new = length.unwrap_or_default() == 0;
        let mut newest: Option<Entry> = None;
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT];
            // a file that ends early has a slot of zeros there, which no checksum fits
            let mut filled = 0;
            while filled < SLOT {
                let Some(file) = &file else { break };
                match file
                    .read_at(&mut bytes[filled..], slot * SLOT as u64 + filled as u64)
                    .map_err(failed)?
                {
                    0 => break,
                    read => filled += read,
                }
            }
            if let Some(entry) = read(&bytes)
                && newest.as_ref().is_none_or(|newest| newest.sequence < entry.sequence)
            {
                newest = Some(entry);
            }
        }
        let sequence = newest.as_ref().map_or(0, |entry| entry.sequence);
        let spent = if is_new { Some(Spent::default()) } else { newest.map(|entry| entry.spent) };
        if is_new
            && can_write
            && let Some(folder) = path.parent()
        {
            // the name of the file must be durable too
            sync_folder(folder).map_err(failed)?;
        }
        Ok((Self { file: file.filter(|_| can_write), path: path.to_owned(), sequence }, spent))
    }

    /// Durable when it returns.
    pub(super) fn write(&mut self, spent: &Spent) -> Result<(), LinkError> {
        let failed = |source| LinkError::BudgetFile { path: self.path.clone(), source };
        let sequence = self.sequence + 1;
        let bytes = pack(&Entry { sequence, spent: spent.clone() }).map_err(failed)?;
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path).map_err(failed)?,
        };
        let file = self.file.insert(file);
        file.write_all_at(&bytes, sequence % 2 * SLOT as u64).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        self.sequence = sequence;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn pack(entry: &Entry) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(entry).map_err(io::Error::other)?;
    if body.len() > SLOT - HEAD {
        return Err(io::Error::other("more than a slot holds"));
    }
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(SLOT);
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    bytes.resize(SLOT, 0);
    Ok(bytes)
}

fn read(bytes: &[u8]) -> Option<Entry> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let length = usize::try_from(word(0)?).ok()?;
    let body = bytes.get(HEAD..HEAD.checked_add(length)?)?;
    (length > 0 && crc32fast::hash(body) == word(4)?).then(|| postcard::from_bytes(body).ok()).flatten()
}

/// Reads bytes as a page.
#[cfg(fuzzing)]
pub fn read_any(bytes: &[u8]) {
    let _ = read(bytes);
    let body = bytes.get(HEAD..).unwrap_or_default();
    let _: Option<Entry> = postcard::from_bytes(body).ok();
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn spent(bytes: u64) -> Spent {
        let mut spent = Spent::default();
        spent.add("2026-11-22".parse().unwrap(), bytes, Timestamp::UNIX_EPOCH);
        spent
    }

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("budget");
        let (mut file, first) = BudgetFile::open(&path).unwrap();
        assert_eq!(first, Some(Spent::default()));
        for bytes in 1..=5 {
            file.write(&spent(bytes)).unwrap();
        }
        drop(file);
        assert_eq!(BudgetFile::open(&path).unwrap().1, Some(spent(5)));
        // the fifth write was torn: it stands in the second slot
        let raw = OpenOptions::new().write(true).open(&path).unwrap();
        raw.write_all_at(&[0xff; 16], 4096 + 8).unwrap();
        let (mut file, found) = BudgetFile::open(&path).unwrap();
        assert_eq!(found, Some(spent(4)));
        file.write(&spent(6)).unwrap();
        assert_eq!(BudgetFile::open(&path).unwrap().1, Some(spent(6)));
        raw.write_all_at(&[0xff; 16], 8).unwrap();
        raw.write_all_at(&[0xff; 16], 4096 + 8).unwrap();
        assert_eq!(BudgetFile::open(&path).unwrap().1, None, "damage is told, not taken for nothing spent");
    }

    #[test]
    fn a_slot_holds_the_longest_history() {
        let mut spent = Spent::default();
        let mut date: jiff::civil::Date = "2026-11-22".parse().unwrap();
        for _ in 0..200 {
            spent.add(date, u64::MAX / 400, Timestamp::UNIX_EPOCH);
            date = date.tomorrow().unwrap();
        }
        assert!(pack(&Entry { sequence: u64::MAX, spent }).is_ok());
    }
}
