//! Text that is small nearly always and huge sometimes: in memory up to a limit, then in an unnamed temporary
//! file.
//!
//! **Invariant:** at most [`MEMORY_LIMIT`] bytes (and one token more) of a spool are in memory. It never gives a
//! name to its file, so that nothing is left behind.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tailwater_domain::{Limit, limits};

/// A fragment of the usual size (p99 of real Core fragments is 413 kB) stays in memory.
pub const MEMORY_LIMIT: usize = 1 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    MEMORY_LIMIT in "bytes": "A fragment in memory" => "it goes into a temporary file",
];

/// A growing text. Written first, then turned into a reader with [`Spool::into_reader`].
#[derive(Debug, Default)]
pub struct Spool {
    /// What is in the file already, in order before `memory`.
    disk: Option<(File, u64)>,
    memory: Vec<u8>,
}

impl Spool {
    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.disk.as_ref().map_or(0, |(_, len)| *len) + self.memory.len() as u64
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole text, when it is small enough to be in memory.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.disk.is_none().then_some(self.memory.as_slice())
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn into_reader(self) -> io::Result<SpoolReader> {
        let disk = match self.disk {
            Some((mut file, len)) => {
                file.seek(SeekFrom::Start(0))?;
                Some(file.take(len))
            }
            None => None,
        };
        Ok(SpoolReader { disk, memory: io::Cursor::new(self.memory) })
    }

    /// All of it as bytes; meant for texts known to be small.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        if self.disk.is_none() {
            return Ok(self.memory);
        }
        let mut all = Vec::new();
        self.into_reader()?.read_to_end(&mut all)?;
        Ok(all)
    }

    /// Appends as it is.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.memory.extend_from_slice(bytes);
    }

    /// What was written last and is still in memory: for appending to.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// Moves what is in memory to the file once the limit is passed; asked after each token.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.memory.len() < MEMORY_LIMIT {
            return Ok(());
        }
        if self.disk.is_none() {
            self.disk = Some((tempfile::tempfile()?, 0));
        }
        if let Some((file, len)) = &mut self.disk {
            file.write_all(&self.memory)?;
            *len += self.memory.len() as u64;
            self.memory.clear();
        }
        Ok(())
    }

    /// Appends another spool, streaming what is on disk.
    pub(super) fn append(&mut self, other: Self) -> io::Result<()> {
        if self.is_empty() {
            *self = other;
            return Ok(());
        }
        if other.disk.is_none() {
            self.push(&other.memory);
            return self.settle();
        }
        let mut reader = other.into_reader()?;
        let mut block = vec![0; 64 * 1024];
        loop {
            let read = reader.read(&mut block)?;
            if read == 0 {
                return Ok(());
            }
            self.push(&block[..read]);
            self.settle()?;
        }
    }
}

/// Reads a spool from beginning to end.
#[derive(Debug)]
pub struct SpoolReader {
    disk: Option<io::Take<File>>,
    memory: io::Cursor<Vec<u8>>,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(disk) = &mut self.disk {
            let read = disk.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.disk = None;
        }
        self.memory.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_texts_read_back_the_same() {
        for blocks in [0, 1, 40] {
            let mut spool = Spool::default();
            let mut expected = Vec::new();
            for number in 0..blocks {
                let block = vec![b'a' + number % 26; 100_000];
                spool.push(&block);
                spool.settle().unwrap();
                expected.extend_from_slice(&block);
            }
            assert_eq!(spool.len(), expected.len() as u64);
            let mut joined = Spool::default();
            joined.push(b"<");
            joined.append(spool).unwrap();
            assert!(joined.memory.len() <= MEMORY_LIMIT);
            expected.insert(0, b'<');
            assert_eq!(joined.into_bytes().unwrap(), expected);
        }
    }
}
