//! Several ranges in one answer (`multipart/byteranges`, RFC 9110 14.6).
//!
//! **Invariant:** the length is known before the first byte. Parts come in the order in which they were asked for, and
//! at most [`OPEN`] of them are open at a time, however many there are. It never decides what a part may be.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::stream::Stream;
use tailwater_domain::{ByteRange, Limit, limits};

/// Parts that are open or being opened: enough that those to come are fetched while one is sent.
const OPEN: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    OPEN in "parts": "Parts that are open at once" => "they are opened when others end",
];

/// A part that is being opened.
pub(super) type Opening = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// Opens a part.
pub(super) type Open = Box<dyn Fn(ByteRange) -> Opening + Send>;

enum Part {
    Opening(Opening),
    Ready(io::Result<Box<Stream>>),
}

impl Part {
    fn look(&mut self, cx: &mut Context<'_>) {
        if let Self::Opening(opening) = self
            && let Poll::Ready(opened) = opening.as_mut().poll(cx)
        {
            *self = Self::Ready(opened.map(Box::new));
        }
    }
}

/// What stands around the parts.
struct Frames {
    size: u64,
    content_type: &'static str,
    boundary: String,
}

impl Frames {
    fn head(&self, ByteRange { start, end }: ByteRange) -> String {
        let Self { size, content_type, boundary } = self;
        format!(
            "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {start}-{}/{size}\r\n\r\n",
            end - 1
        )
    }

    fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

/// The body of such an answer.
pub(super) struct Multipart {
    frames: Frames,
    open: Open,
    /// Not open yet.
    ranges: VecDeque<ByteRange>,
    /// The next ones.
    parts: VecDeque<(ByteRange, Part)>,
    /// What is being sent.
    sending: Option<Box<Stream>>,
    left: u64,
    has_ended: bool,
}

impl Multipart {
    /// Ranges of a file of `size` bytes between boundaries; `first` is the stream of the first one.
    pub(super) fn new(
        ranges: &[ByteRange],
        first: Stream,
        open: Open,
        (size, content_type, boundary): (u64, &'static str, String),
    ) -> Self {
        let frames = Frames { size, content_type, boundary };
        let left = ranges.iter().map(|range| frames.head(*range).len() as u64 + range.len()).sum::<u64>();
        let left = left + frames.tail().len() as u64;
        let mut ranges: VecDeque<_> = ranges.iter().copied().collect();
        let first = ranges.pop_front().map(|range| (range, Part::Ready(Ok(Box::new(first)))));
        Self {
            frames,
            open,
            ranges,
            parts: first.into_iter().collect(),
            sending: None,
            left,
            has_ended: false,
        }
    }

    /// How many bytes the whole body has.
    pub(super) fn len(&self) -> u64 {
        self.left
    }

    /// How many of them stand before each range.
    pub(super) fn heads(&self) -> Vec<u64> {
        let ranges = self.parts.iter().map(|(range, _)| range).chain(&self.ranges);
        ranges.map(|range| self.frames.head(*range).len() as u64).collect()
    }

    /// Opens the next parts, so that what they miss is on its way.
    fn look(&mut self, cx: &mut Context<'_>) {
        while self.parts.len() < OPEN
            && let Some(range) = self.ranges.pop_front()
        {
            self.parts.push_back((range, Part::Opening((self.open)(range))));
        }
        for (_, part) in &mut self.parts {
            part.look(cx);
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.look(cx);
        if let Some(stream) = &mut self.sending {
            if let Some(frame) = ready!(Pin::new(&mut **stream).poll_frame(cx)) {
                return Poll::Ready(Some(frame));
            }
            self.sending = None;
        }
        Poll::Ready(Some(match self.parts.pop_front() {
            None if self.has_ended => return Poll::Ready(None),
            None => {
                self.has_ended = true;
                Ok(Frame::data(self.frames.tail().into()))
            }
            Some((range, Part::Ready(opened))) => {
                self.sending = Some(opened?);
                Ok(Frame::data(self.frames.head(range).into()))
            }
            Some(waits) => {
                self.parts.push_front(waits);
                return Poll::Pending;
            }
        }))
    }
}

impl Body for Multipart {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let frame = ready!(this.poll_bytes(cx));
        if let Some(Ok(frame)) = &frame {
            this.left = this.left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
