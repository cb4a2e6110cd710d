//! The body of a payload's answer: held bytes from the page cache, missing ones as they land.
//!
//! **Invariant:** held bytes are read in place when the page cache has them, and on a blocking thread when
//! not; no lock that a writer of pieces takes is taken for them. Bytes of a file that was dropped are not
//! sent: the connection ends. It never sends a byte more or less than it announced.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::buffers::{BUFFER, Borrower, Buffer, Buffers};
use super::urgent::Charge;
use tailwater_content::SparseFile;
use tailwater_domain::{ByteRange, Limit, limits};
use tailwater_transfer::{TransferError, Want};

/// How far ahead the system is told what will be read, when a read had to wait for the disk.
const READ_AHEAD: u64 = 2 * 1024 * 1024;

/// Reads in a row that find nothing before the disk is taken to have lost what it held: what others drop meanwhile is
/// found again sooner.
const MAX_MISSED: u32 = 64;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_MISSED in "reads": "Reads in a row that find nothing" => "the answer is cut off",
];

type Waiting = Pin<Box<dyn Future<Output = Result<u64, TransferError>> + Send>>;

/// A range of a file as a body.
pub(super) struct Stream {
    file: Arc<SparseFile>,
    buffers: Buffers,
    borrower: Borrower,
    /// The next byte to send.
    at: u64,
    /// Up to here bytes are known to be readable.
    readable: u64,
    end: u64,
    /// Brings what is missing; `None` when all was held from the start.
    want: Option<Arc<Want>>,
    /// What its client owes for it, until that has come.
    charge: Option<Charge>,
    /// Reads in a row that found nothing where something is held: it was dropped meanwhile.
    missed: u32,
    doing: Doing,
}

enum Doing {
    Nothing,
    Reading(JoinHandle<io::Result<(Buffer, usize)>>),
    Waiting(Waiting),
}

impl Stream {
    /// A range that is held.
    pub(super) fn held(file: Arc<SparseFile>, range: ByteRange, buffers: Buffers) -> Self {
        let ByteRange { start, end } = range;
        Self {
            file,
            buffers,
            borrower: Borrower::default(),
            at: start,
            readable: end,
            end,
            want: None,
            charge: None,
            missed: 0,
            doing: Doing::Nothing,
        }
    }

    /// A range of which some may have to be fetched; `readable` is what [`Want::ready`] said of its start.
    pub(super) fn wanted(want: Want, readable: u64, buffers: Buffers) -> Self {
        let ByteRange { start, end } = want.range();
        let file = Arc::clone(want.file());
        Self {
            file,
            buffers,
            borrower: Borrower::default(),
            at: start,
            readable,
            end,
            want: Some(Arc::new(want)),
            charge: None,
            missed: 0,
            doing: Doing::Nothing,
        }
    }

    /// The same, paid for by its client.
    pub(super) fn charged(self, charge: Charge) -> Self {
        Self { charge: Some(charge), ..self }
    }

    /// Everything at once, when it is short and the page cache has it.
    pub(super) fn at_once(file: &SparseFile, range: ByteRange, buffers: &Buffers) -> Option<Bytes> {
        let len = usize::try_from(range.len()).ok()?;
        let mut buffer = buffers.take();
        match file.read_now(buffer.space(len), range.start) {
            Ok(Some(read)) if read == len => Some(buffer.filled(read)),
            _ => None,
        }
    }

    fn chunk(&self) -> usize {
        usize::try_from(self.readable - self.at).unwrap_or(BUFFER).min(BUFFER)
    }

    /// Reads in place, or begins to read elsewhere.
    fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.file.is_dropped() {
            return Err(io::Error::other("the file was dropped while it was sent"));
        }
        let (at, len) = (self.at, self.chunk());
        let mut buffer = self.buffers.take_for(&self.borrower);
        if let Some(read) = self.file.read_now(buffer.space(len), at)? {
            return self.finish_read((buffer, read));
        }
        self.file.will_read(ByteRange { start: at, end: self.readable.min(at + READ_AHEAD) });
        let file = Arc::clone(&self.file);
        self.doing = Doing::Reading(tokio::task::spawn_blocking(move || {
            let read = file.read_waiting(buffer.space(len), at)?;
            Ok((buffer, read))
        }));
        Ok(None)
    }

    /// What was read; `None` when it must be asked for again.
    fn finish_read(&mut self, (buffer, read): (Buffer, usize)) -> io::Result<Option<Bytes>> {
        if read == 0 {
            self.missed += 1;
            if self.want.is_none() || self.missed > MAX_MISSED {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.readable = self.at;
            return Ok(None);
        }
        self.missed = 0;
        self.at += read as u64;
        if let Some(charge) = &mut self.charge {
            charge.came(read as u64);
        }
        Ok(Some(buffer.filled(read)))
    }

    fn wait(&self) -> io::Result<Doing> {
        let want = self.want.clone().ok_or(io::ErrorKind::UnexpectedEof)?;
        let at = self.at;
        Ok(Doing::Waiting(Box::pin(async move { want.ready(at).await })))
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match &mut self.doing {
                Doing::Nothing if self.at >= self.end => return Poll::Ready(Ok(None)),
                Doing::Nothing if self.at >= self.readable => self.doing = self.wait()?,
                Doing::Nothing => {
                    ready!(self.buffers.poll_free(&self.borrower, cx));
                    if let Some(bytes) = self.read()? {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
                Doing::Reading(reading) => {
                    let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other)??;
                    self.doing = Doing::Nothing;
                    if let Some(bytes) = self.finish_read(read)? {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
                Doing::Waiting(waiting) => {
                    let readable = ready!(waiting.as_mut().poll(cx)).map_err(io::Error::other)?;
                    self.readable = readable.min(self.end);
                    self.doing = Doing::Nothing;
                }
            }
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.get_mut().poll_bytes(cx).map(|result| result.transpose().map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
