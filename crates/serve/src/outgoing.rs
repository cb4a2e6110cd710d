//! Memory for answers: what is in memory of them until their clients took it.
//!
//! **Invariant:** an answer that is not shared with others is charged from before it is made until its last byte left; an
//! answer for which there is no memory is streamed where that is possible, and else its client is told to retry later.
//! It never knows what an answer says.

use std::net::IpAddr;

use bytes::Bytes;

use super::fault::Refusal;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Limits, Share, Shares};

/// Memory for all answers of agents that wait to be taken, finished pages that are remembered included.
pub(super) const MAX_ANSWER_BYTES: u64 = 96 << 20;
/// What an address is sure of when nearly all is in use: the answers of an ordinary day.
const LEAST: u64 = 64 * 1024;
/// Addresses with an answer in memory at once.
const MAX_ADDRESSES: usize = 16_384;
/// What a streamed answer has in memory: the step that is sent and the one that is read.
const STREAM: u64 = 512 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ANSWER_BYTES in "bytes": "Memory for answers that wait to be taken" => "streamed without compression, or 503, ServerBusy",
    LEAST in "bytes": "What an address is sure of when nearly all of that is in use" => "503, ServerBusy",
    MAX_ADDRESSES in "addresses": "Addresses with an answer in memory" => "503, ServerBusy",
    STREAM in "bytes": "Memory of a streamed answer" => "503, ServerBusy",
];

/// The budget. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct AnswerMemory(Shares);

/// Bytes that give their share back when the last of them left.
struct Charged {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AnswerMemory {
    /// So many bytes for all.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Shares::new(Limits { least: LEAST, entries: MAX_ADDRESSES, ..Limits::of(bytes) }))
    }

    /// Memory for an answer that is about to be made.
    pub(super) fn take(&self, to: IpAddr, bytes: u64) -> Result<Share, Refusal> {
        self.0.try_take(to, bytes).map_err(|_refused| Refusal::Busy)
    }

    /// Memory for an answer that is read as it is sent, but for so many bytes of it.
    pub(super) fn take_stream(&self, to: IpAddr, ready: u64) -> Result<Share, Refusal> {
        self.take(to, STREAM + ready)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.0.in_use().used
    }
}

/// An answer with its memory, from now on as much as it is long.
pub(super) fn charged(bytes: Bytes, mut share: Share) -> Bytes {
    share.shrink(share.units().saturating_sub(bytes.len() as u64));
    Bytes::from_owner(Charged { bytes, _share: share })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_of_an_answer_left() {
        let (memory, to) = (AnswerMemory::new(MAX_ANSWER_BYTES), IpAddr::from([192, 0, 2, 7]));
        let share = memory.take(to, 3_000).unwrap();
        let answer = charged(Bytes::from(vec![1; 1_000]), share);
        let (remembered, part) = (answer.clone(), answer.slice(10..20));
        assert_eq!(memory.used(), 1_000);
        drop((answer, remembered));
        assert_eq!((memory.used(), &part[..]), (1_000, &[1; 10][..]));
        drop(part);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn one_client_leaves_memory_for_others() {
        let memory = AnswerMemory::new(MAX_ANSWER_BYTES);
        let greedy: Vec<Share> =
            std::iter::from_fn(|| memory.take_stream(IpAddr::from([192, 0, 2, 7]), 0).ok()).collect();
        assert!(greedy.len() as u64 * STREAM <= MAX_ANSWER_BYTES / 2);
        assert!(memory.take(IpAddr::from([198, 51, 100, 7]), 1 << 20).is_ok());
    }
}
