//! Which computers said something since the upstream was last told.
//!
//! **Invariant:** it holds at most [`MAX_NAMED`] names; past that it says "anybody", and whoever tells looks at all. It
//! is a hint for when to tell and never decides what is told.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use tailwater_domain::{ComputerId, Limit, limits};

/// Names that are held: what reports in a minute at a site of 100,000 computers is a tenth of it.
const MAX_NAMED: usize = 10_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_NAMED in "computers": "Computers named in one notice of changes" => "everything is looked at",
];

#[derive(Default)]
struct Named {
    computers: HashSet<ComputerId>,
    anybody: bool,
}

/// Who has news.
#[derive(Default)]
pub(crate) struct News {
    named: Mutex<Named>,
    tick: watch::Sender<u64>,
}

impl News {
    /// This computer said something.
    pub(crate) fn note(&self, id: &ComputerId) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.anybody && !named.computers.contains(id) {
            if named.computers.len() < MAX_NAMED {
                named.computers.insert(id.clone());
            } else {
                *named = Named { computers: HashSet::new(), anybody: true };
            }
        }
        drop(named);
        self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    /// Who said something since this was last asked; `None` for anybody.
    pub(crate) fn take(&self) -> Option<Vec<ComputerId>> {
        let named = std::mem::take(&mut *self.named.lock().unwrap_or_else(PoisonError::into_inner));
        let mut computers: Vec<ComputerId> = named.computers.into_iter().collect();
        computers.sort_unstable();
        (!named.anybody).then_some(computers)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_up_to_a_limit_and_then_anybody_is_meant() {
        let (news, id) = (News::default(), |number: usize| ComputerId(format!("c{number:05}")));
        let ticks = news.subscribe();
        assert_eq!(news.take(), Some(Vec::new()));
        for number in [2, 1, 2] {
            news.note(&id(number));
        }
        assert!(ticks.has_changed().unwrap());
        assert_eq!(news.take(), Some(vec![id(1), id(2)]));
        (0..=MAX_NAMED).for_each(|number| news.note(&id(number)));
        news.note(&id(1));
        assert_eq!(news.take(), None);
        assert_eq!(news.take(), Some(Vec::new()));
    }
}
