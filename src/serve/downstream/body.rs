//! The body of an answer with documents: parts in memory, and cabinets that are encoded as they are read.
//!
//! **Invariant:** its length is known beforehand, and at most [`STEP`] bytes of a file are in memory. It never goes on
//! after its reader left.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

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
        }
    }

    /// What is in memory.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Ready(bytes) => Some(bytes),
            Self::Base64 { .. } => None,
        }
    }
}

/// A file that is being encoded.
struct Reading {
    file: Arc<File>,
    at: u64,
    length: u64,
    step: JoinHandle<io::Result<Bytes>>,
}

impl Reading {
    fn begin(file: Arc<File>, at: u64, length: u64) -> Self {
        let from = Arc::clone(&file);
        let step = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(STEP.min(length - at)).unwrap_or_default()];
            from.read_exact_at(&mut bytes, at)?;
            Ok(STANDARD.encode(bytes).into())
        });
        Self { file, at, length, step }
    }

    /// What comes behind the step that is under way.
    fn next(self) -> Option<Self> {
        let at = self.at + STEP;
        (at < self.length).then(|| Self::begin(self.file, at, self.length))
    }
}

/// The body.
pub(super) struct Streamed {
    parts: VecDeque<Part>,
    reading: Option<Reading>,
    left: u64,
    /// Given back when the last byte left.
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Streamed {
    pub(super) fn new(parts: Vec<Part>, permits: [Option<OwnedSemaphorePermit>; 2]) -> Self {
        let left = parts.iter().map(Part::len).sum();
        Self { parts: parts.into(), reading: None, left, _permits: permits }
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
                        self.reading = Some(Reading::begin(file, 0, length));
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
