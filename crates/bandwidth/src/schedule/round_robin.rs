//! Whose turn it is within a class: round robin over requesters, over the files of each, and over the lanes of each file.
//!
//! Fair queueing as in RFC 970 ("Fairness in packet switching systems"): one queue for each source, served in turn, so that
//! nobody gains by sending more. All turns are one quantum, so no deficit has to be carried over as in deficit round robin
//! (Shreedhar and Varghese 1995, section 3).
//!
//! **Invariant:** a turn moves everybody it is taken from to the back: the requester behind all other requesters, the
//! file behind the requester's other files. So one who opens fifty requests has as many turns as one who opens one.
//! Pure; holds only who waits.

use std::collections::{HashMap, VecDeque};

use tailwater_domain::{Requester, Sha1Digest};

/// The name of a lane.
pub(super) type LaneId = u64;

/// The queue of a lane: whose it is, and for which file.
pub(super) type QueueKey = (Requester, Option<Sha1Digest>);

/// The lanes of one class that wait.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    requesters: VecDeque<Requester>,
    waiting: HashMap<Requester, Files>,
}

/// The lanes of one requester.
#[derive(Debug, Default)]
struct Files {
    order: VecDeque<Option<Sha1Digest>>,
    lanes: HashMap<Option<Sha1Digest>, VecDeque<LaneId>>,
}

impl RoundRobin {
    /// Puts a lane behind its like.
    pub(super) fn push(&mut self, (requester, file): QueueKey, lane: LaneId) {
        let files = self.waiting.entry(requester).or_insert_with(|| {
            self.requesters.push_back(requester);
            Files::default()
        });
        let lanes = files.lanes.entry(file).or_insert_with(|| {
            files.order.push_back(file);
            VecDeque::new()
        });
        lanes.push_back(lane);
    }

    /// Takes out the lane whose turn it is.
    pub(super) fn pop(&mut self) -> Option<LaneId> {
        let requester = self.requesters.pop_front()?;
        let files = self.waiting.get_mut(&requester)?;
        let file = files.order.pop_front()?;
        let lanes = files.lanes.get_mut(&file)?;
        let lane = lanes.pop_front();
        if lanes.is_empty() {
            files.lanes.remove(&file);
        } else {
            files.order.push_back(file);
        }
        if files.order.is_empty() {
            self.waiting.remove(&requester);
        } else {
            self.requesters.push_back(requester);
        }
        lane
    }

    /// Takes out a lane wherever it waits.
    pub(super) fn remove(&mut self, (requester, file): QueueKey, lane: LaneId) {
        let Some(files) = self.waiting.get_mut(&requester) else { return };
        let Some(lanes) = files.lanes.get_mut(&file) else { return };
        lanes.retain(|other| *other != lane);
        if lanes.is_empty() {
            files.lanes.remove(&file);
            files.order.retain(|other| *other != file);
        }
        if files.order.is_empty() {
            self.waiting.remove(&requester);
            self.requesters.retain(|other| *other != requester);
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requesters.is_empty()
    }

    /// Whether this lane is the only one.
    pub(super) fn is_only(&self, lane: LaneId) -> bool {
        let mut lanes = self.waiting.values().flat_map(|files| files.lanes.values().flatten());
        lanes.next() == Some(&lane) && lanes.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(last: u8) -> Requester {
        Requester::Agent(std::net::IpAddr::from([10, 0, 0, last]))
    }

    fn file(number: u8) -> Sha1Digest {
        Sha1Digest([number; 20])
    }

    #[test]
    fn turns_go_round_requesters_then_files_then_lanes() {
        let mut queues = RoundRobin::default();
        for lane in 0..50 {
            queues.push((agent(1), Some(file(1))), lane);
        }
        queues.push((agent(1), Some(file(2))), 60);
        queues.push((agent(2), Some(file(1))), 70);
        queues.push((agent(3), Some(file(3))), 80);
        queues.push((agent(3), Some(file(3))), 81);
        let turns: Vec<_> = std::iter::from_fn(|| queues.pop()).take(8).collect();
        assert_eq!(turns, [0, 70, 80, 60, 81, 1, 2, 3]);
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let mut queues = RoundRobin::default();
        queues.push((agent(1), Some(file(1))), 1);
        assert!(queues.is_only(1));
        queues.push((agent(2), None), 2);
        assert!(!queues.is_only(1));
        queues.remove((agent(1), Some(file(1))), 1);
        queues.remove((agent(1), Some(file(1))), 1);
        assert_eq!((queues.pop(), queues.pop()), (Some(2), None));
        assert!(queues.is_empty() && queues.waiting.is_empty());
    }
}
