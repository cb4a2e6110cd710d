//! Several ranges in one answer (`multipart/byteranges`, RFC 9110 14.6).
//!
//! **Invariant:** the length is known before the first byte. Parts come in the order in which they were
//! asked for.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::stream::Stream;
use crate::domain::ByteRange;

enum Part {
    Text(Bytes),
    File(Box<Stream>),
}

/// The body of such an answer.
pub(super) struct Multipart {
    parts: VecDeque<Part>,
    left: u64,
}

impl Multipart {
    /// Ranges of a file of `size` bytes between boundaries.
    pub(super) fn new(
        ranges: Vec<(ByteRange, Stream)>,
        size: u64,
        content_type: &str,
        boundary: &str,
    ) -> Self {
        let (mut parts, mut left) = (VecDeque::new(), 0);
        for (ByteRange { start, end }, stream) in ranges {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {start}-{}/{size}\r\n\r\n",
                end - 1
            );
            left += head.len() as u64 + (end - start);
            parts.push_back(Part::Text(head.into()));
            parts.push_back(Part::File(Box::new(stream)));
        }
        let tail = format!("\r\n--{boundary}--\r\n");
        left += tail.len() as u64;
        parts.push_back(Part::Text(tail.into()));
        Self { parts, left }
    }

    /// How many bytes the whole body has.
    pub(super) fn len(&self) -> u64 {
        self.left
    }
}

impl Body for Multipart {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let frame = match self.parts.front_mut() {
                None => return Poll::Ready(None),
                Some(Part::Text(text)) => {
                    let text = std::mem::take(text);
                    self.parts.pop_front();
                    Frame::data(text)
                }
                Some(Part::File(stream)) => {
                    if let Some(frame) = ready!(Pin::new(&mut **stream).poll_frame(cx)) {
                        frame?
                    } else {
                        self.parts.pop_front();
                        continue;
                    }
                }
            };
            let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.left = self.left.saturating_sub(sent);
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
