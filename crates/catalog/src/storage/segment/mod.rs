//! Append-only files of checksummed records, beside the index.
//!
//! **Invariant:** bytes below the committed end are never changed; what lies beyond it after a crash is cut
//! off when the store is opened, because nothing in the index points there. A record never crosses files,
//! and the texts of one revision lie in a row in one file.

pub(crate) mod codec;
pub(crate) mod frame;
mod walk;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::CatalogError;
use crate::storage::record::{Committed, Location};
use frame::{HEADER, Header, Kind};
use tailwater_domain::{Limit, joined_limits, limits};
use tailwater_durable::sync_folder;
pub(crate) use walk::Step;

/// First bytes of a segment file.
const MAGIC: &[u8; 8] = b"TWSEG001";
const FIRST: u64 = MAGIC.len() as u64;
/// Offsets are kept in 32 bits; a segment ends far below that.
const MAX_SEGMENT: u64 = 1 << 32;

const OWN_LIMITS: &[Limit] = limits![
    MAX_SEGMENT in "bytes": "A segment file" => "the next one is begun",
];

pub(crate) const LIMITS: &[Limit] = joined_limits![OWN_LIMITS, codec::LIMITS, frame::LIMITS, walk::LIMITS,];

// not a limit: FIRST: where records begin

/// The segment files of a store, for reading.
pub(crate) struct Segments {
    dir: PathBuf,
    files: RwLock<Vec<Option<Arc<File>>>>,
}

/// The end of the last segment, for appending. One at a time.
pub(crate) struct Writer {
    file: Arc<File>,
    number: u32,
    len: u64,
    limit: u64,
    /// Earlier segments that were not synced since they were written.
    unsynced: Vec<(u32, Arc<File>)>,
}

fn file_error(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> CatalogError {
    move |source| CatalogError::File { path: path.to_path_buf(), action, source }
}

impl Segments {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, files: RwLock::default() }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}.seg"))
    }

    /// Numbers of the files present, in order.
    pub(crate) fn numbers(&self) -> Result<Vec<u32>, CatalogError> {
        let entries = std::fs::read_dir(&self.dir).map_err(file_error(&self.dir, "read"))?;
        let mut numbers: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".seg")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Bytes of all segment files.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = self.numbers().unwrap_or_default();
        numbers.iter().filter_map(|number| Some(self.path(*number).metadata().ok()?.len())).sum()
    }

    fn file(&self, number: u32) -> Result<Arc<File>, CatalogError> {
        let index = number as usize;
        let open = self.files.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(file)) = open.get(index) {
            return Ok(Arc::clone(file));
        }
        drop(open);
        let path = self.path(number);
        let file = match File::open(&path) {
            // one of several that is gone is damage like any other
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CatalogError::Damaged { segment: number, offset: 0 });
            }
            opened => Arc::new(opened.map_err(file_error(&path, "opened"))?),
        };
        self.remember(number, &file);
        Ok(file)
    }

    fn remember(&self, number: u32, file: &Arc<File>) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let index = number as usize;
        if files.len() <= index {
            files.resize(index + 1, None);
        }
        files[index] = Some(Arc::clone(file));
    }

    /// Reads bytes and nothing else; the caller checks them.
    pub(crate) fn read(&self, segment: u32, offset: u64, len: usize) -> Result<Vec<u8>, CatalogError> {
        let file = self.file(segment)?;
        let mut bytes = vec![0; len];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            // cut off, or a place that the disk cannot read any more
            Err(error)
                if error.kind() == std::io::ErrorKind::UnexpectedEof
                    || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
            {
                Err(CatalogError::Damaged { segment, offset })
            }
            Err(source) => Err(CatalogError::File { path: self.path(segment), action: "read", source }),
        }
    }

    /// Reads one record whose kind and length are known, checks and decompresses it.
    pub(crate) fn record(
        &self,
        kind: Kind,
        at: Location,
        codec: &codec::Codec,
    ) -> Result<Vec<u8>, CatalogError> {
        let offset = u64::from(at.offset);
        let record = self.read(at.segment, offset, at.stored as usize)?;
        let (header, payload) = frame::check_whole(&record, at.segment, offset)?;
        let damaged = CatalogError::Damaged { segment: at.segment, offset };
        if header.kind != kind as u8 {
            return Err(damaged);
        }
        codec.decode(&header, payload).map_err(|_e| damaged)
    }

    /// Length of a file.
    pub(crate) fn len(&self, segment: u32) -> Result<u64, CatalogError> {
        let path = self.path(segment);
        Ok(path.metadata().map_err(file_error(&path, "read"))?.len())
    }

    /// Reads the record at an offset whose length is not known. Gives its kind, where it lies and the number of its
    /// dictionary; `None` at the end of the file.
    pub(crate) fn next(
        &self,
        segment: u32,
        offset: u64,
    ) -> Result<Option<(Kind, Location, u8)>, CatalogError> {
        let offset = offset.max(FIRST);
        if offset >= self.len(segment)? {
            return Ok(None);
        }
        let damaged = || CatalogError::Damaged { segment, offset };
        let head = self.read(segment, offset, HEADER)?;
        let header = Header::read(&head).ok_or_else(damaged)?;
        let record = self.read(segment, offset, HEADER + header.stored)?;
        frame::check(&record, segment, offset)?;
        let kind = Kind::of(header.kind).ok_or_else(damaged)?;
        let offset = u32::try_from(offset).map_err(|_e| damaged())?;
        let stored = u32::try_from(record.len()).map_err(|_e| damaged())?;
        Ok(Some((kind, Location { segment, offset, stored }, header.dictionary)))
    }

    /// Opens the end for appending: cuts what a crash left behind the committed end.
    pub(crate) fn writer(&self, end: Committed, limit: u64) -> Result<Writer, CatalogError> {
        for number in self.numbers()?.into_iter().filter(|number| *number > end.segment) {
            let path = self.path(number);
            std::fs::remove_file(&path).map_err(file_error(&path, "removed"))?;
        }
        if end.segment == 0 {
            return self.begin(1, limit);
        }
        let path = self.path(end.segment);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            // gone while others are there: new records go into a file of their own
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.numbers()?.is_empty() => {
                tracing::error!(segment = end.segment, "a segment is gone; what lay there is missing");
                return self.begin(end.segment + 1, limit);
            }
            opened => opened.map_err(file_error(&path, "opened"))?,
        };
        let len = file.metadata().map_err(file_error(&path, "read"))?.len();
        if len < end.len {
            // no place is given twice: the index may still name what lay there
            tracing::error!(segment = end.segment, bytes = end.len - len, "the end of a segment is missing");
            return self.begin(end.segment + 1, limit);
        }
        if len > end.len {
            tracing::info!(segment = end.segment, bytes = len - end.len, "cut an unfinished tail");
            file.set_len(end.len).map_err(file_error(&path, "cut"))?;
        }
        let file = Arc::new(file);
        self.remember(end.segment, &file);
        let len = end.len.max(FIRST);
        Ok(Writer { file, number: end.segment, len, limit, unsynced: Vec::new() })
    }

    /// Makes an empty file and gives its length.
    pub(crate) fn create(&self, number: u32) -> Result<u64, CatalogError> {
        self.begin(number, MAX_SEGMENT).map(|writer| writer.len)
    }

    fn begin(&self, number: u32, limit: u64) -> Result<Writer, CatalogError> {
        let path = self.path(number);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = Arc::new(options.map_err(file_error(&path, "made"))?);
        file.write_all_at(MAGIC, 0).map_err(file_error(&path, "written"))?;
        sync_folder(&self.dir).map_err(file_error(&self.dir, "synced"))?;
        self.remember(number, &file);
        Ok(Writer { file, number, len: FIRST, limit, unsynced: Vec::new() })
    }
}

impl Writer {
    /// Begins a new segment unless `bytes` more fit this one.
    pub(crate) fn make_room(&mut self, segments: &Segments, bytes: u64) -> Result<(), CatalogError> {
        if self.len > FIRST && self.len + bytes > self.limit.min(MAX_SEGMENT) {
            let mut next = segments.begin(self.number + 1, self.limit)?;
            next.unsynced.append(&mut self.unsynced);
            next.unsynced.push((self.number, Arc::clone(&self.file)));
            *self = next;
        }
        Ok(())
    }

    /// Appends whole records to the present segment.
    pub(crate) fn append(&mut self, segments: &Segments, bytes: &[u8]) -> Result<Location, CatalogError> {
        let end = self.len + bytes.len() as u64;
        let place = (u32::try_from(self.len), u32::try_from(bytes.len()));
        let (Ok(offset), Ok(stored), true) = (place.0, place.1, end < MAX_SEGMENT) else {
            let source = std::io::ErrorKind::FileTooLarge.into();
            return Err(CatalogError::File { path: segments.path(self.number), action: "written", source });
        };
        // at an explicit place: what a failed write left behind is overwritten by the next
        self.file.write_all_at(bytes, self.len).map_err(|source| CatalogError::File {
            path: segments.path(self.number),
            action: "written",
            source,
        })?;
        self.len = end;
        Ok(Location { segment: self.number, offset, stored })
    }

    /// Gives up what was appended behind a place of the present segment: the next record overwrites it.
    pub(crate) fn take_back(&mut self, end: (u32, u64)) {
        if self.number == end.0 && self.len > end.1 {
            self.len = end.1.max(FIRST);
        }
    }

    /// Number and length of the present segment.
    pub(crate) fn end(&self) -> (u32, u64) {
        (self.number, self.len)
    }

    /// The files to sync before [`Writer::end`] may be called committed.
    pub(crate) fn unsynced(&self) -> Vec<Arc<File>> {
        let earlier = self.unsynced.iter().map(|(_number, file)| Arc::clone(file));
        earlier.chain([Arc::clone(&self.file)]).collect()
    }

    /// Everything up to this end was synced.
    pub(crate) fn synced(&mut self, segment: u32) {
        self.unsynced.retain(|(number, _file)| *number >= segment);
    }
}
