//! The body of an answer with documents: parts in memory, parts of files, and cabinets that are encoded as
//! they are read.
//!
//! **Invariant:** its length is known beforehand, and at most [`STEP`] bytes of a file are in memory. It never goes on
//! after its reader left.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use tailwater_runtime::Share;

/// Bytes of a file that are encoded at once; divisible by three, so that pieces need no padding between them.
const STEP: u64 = 192 * 1024;

/// A part of a body.
pub(super) enum Part {
    /// In memory.
    Ready(Bytes),
    /// The first `length` bytes of a file, as Base64.
    Base64 {
        /// Which file.
        file: Arc<File>,
        /// How much of it.
        length: u64,
    },
    /// A stretch of a file, as it is.
    Plain {
        /// Which file.
        file: Arc<File>,
        /// Where it begins.
        from: u64,
        /// How long it is.
        length: u64,
    },
}

/// The same parts with what was in memory in one temporary file. Waits for the disk.
pub(super) fn spooled(parts: Vec<Part>) -> io::Result<Vec<Part>> {
    let mut file = tempfile::tempfile()?;
    let (mut stretches, mut written) = (Vec::with_capacity(parts.len()), 0);
    for part in &parts {
        if let Part::Ready(bytes) = part {
            file.write_all(bytes)?;
            stretches.push((written, bytes.len() as u64));
            written += bytes.len() as u64;
        }
    }
    let (file, mut stretches) = (Arc::new(file), stretches.into_iter());
    let spool = |part| match part {
        Part::Ready(_) => {
            stretches.next().map(|(from, length)| Part::Plain { file: Arc::clone(&file), from, length })
        }
        other => Some(other),
    };
    Ok(parts.into_iter().filter_map(spool).collect())
}

impl<T: Into<Bytes>> From<T> for Part {
    fn from(bytes: T) -> Self {
        Self::Ready(bytes.into())
    }
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Ready(bytes) => bytes.len() as u64,
            Self::Base64 { length, .. } => length.div_ceil(3) * 4,
            Self::Plain { length, .. } => *length,
        }
    }

    /// What is in memory.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Ready(bytes) => Some(bytes),
            Self::Base64 { .. } | Self::Plain { .. } => None,
        }
    }
}

/// A file that is being read.
struct Reading {
    file: Arc<File>,
    at: u64,
    end: u64,
    encode: bool,
    step: JoinHandle<io::Result<Bytes>>,
}

impl Reading {
    fn begin(file: Arc<File>, at: u64, end: u64, encode: bool) -> Self {
        let from = Arc::clone(&file);
        let step = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(STEP.min(end - at)).unwrap_or_default()];
            from.read_exact_at(&mut bytes, at)?;
            Ok(if encode { STANDARD.encode(bytes).into() } else { bytes.into() })
        });
        Self { file, at, end, encode, step }
    }

    /// What comes behind the step that is under way.
    fn next(self) -> Option<Self> {
        let at = self.at + STEP;
        (at < self.end).then(|| Self::begin(self.file, at, self.end, self.encode))
    }
}

/// The body.
pub(super) struct Streamed {
    parts: VecDeque<Part>,
    reading: Option<Reading>,
    left: u64,
    /// Of the memory or disk that the parts take; given back when the last byte left.
    _share: Share,
}

impl Streamed {
    pub(super) fn new(parts: Vec<Part>, share: Share) -> Self {
        let left = parts.iter().map(Part::len).sum();
        Self { parts: parts.into(), reading: None, left, _share: share }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let bytes = if let Some(reading) = &mut self.reading {
                let bytes = ready!(Pin::new(&mut reading.step).poll(context)).map_err(io::Error::other)?;
                self.reading = self.reading.take().and_then(Reading::next);
                match bytes {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        tracing::error!(%error, "a packed document could not be read; the answer breaks off");
                        self.parts.clear();
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            } else {
                match self.parts.pop_front() {
                    None => return Poll::Ready(None),
                    Some(Part::Ready(bytes)) => bytes,
                    Some(Part::Base64 { file, length }) => {
                        self.reading = (length > 0).then(|| Reading::begin(file, 0, length, true));
                        continue;
                    }
                    Some(Part::Plain { file, from, length }) => {
                        self.reading = (length > 0).then(|| Reading::begin(file, from, from + length, false));
                        continue;
                    }
                }
            };
            if bytes.is_empty() {
                continue;
            }
            self.left = self.left.saturating_sub(bytes.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
