//! The body of an answer that is a file as it lies in a folder.
//!
//! **Invariant:** a step of the file is in memory and no more, in the buffers that payloads are sent with; it never sends
//! a byte more or less than it announced, and ends the connection when the file became shorter.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::buffers::{BUFFER, Borrower, Buffer, Buffers};
use tailwater_domain::ByteRange;

/// A range of a file.
pub(super) struct Plain {
    file: Arc<File>,
    at: u64,
    end: u64,
    buffers: Buffers,
    borrower: Borrower,
    reading: Option<JoinHandle<io::Result<(Buffer, usize)>>>,
}

impl Plain {
    pub(super) fn new(file: File, range: ByteRange, buffers: Buffers) -> Self {
        let ByteRange { start, end } = range;
        let borrower = Borrower::default();
        Self { file: Arc::new(file), at: start, end, buffers, borrower, reading: None }
    }

    /// Reads the next step on a thread that may wait for the disk.
    fn read_on(&self) -> JoinHandle<io::Result<(Buffer, usize)>> {
        let (file, at) = (Arc::clone(&self.file), self.at);
        let wanted = usize::try_from(self.end - at).unwrap_or(BUFFER).min(BUFFER);
        let mut buffer = self.buffers.take_for(&self.borrower);
        tokio::task::spawn_blocking(move || {
            let read = file.read_at(buffer.space(wanted), at)?;
            Ok((buffer, read))
        })
    }
}

impl Body for Plain {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            ready!(self.buffers.poll_free(&self.borrower, cx));
            self.reading = Some(self.read_on());
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((buffer, read)) => {
                self.at += read as u64;
                Ok(Frame::data(buffer.filled(read)))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
