//! What computers say of updates, in memory: how many say what of each update, what each computer says in numbers, and of
//! which updates it says anything. So a page of an update's computers is found without reading what all of them reported.
//!
//! **Invariant:** what a computer says is counted once, and no longer once it says something else; an update that nobody
//! speaks of takes no memory. A computer takes 4 bytes for each update it speaks of and never more than a bit for each
//! that anybody speaks of. It never knows what exactly was reported: that is in the index.

use std::collections::HashMap;

use crate::values::computer::Status;
use serde::{Deserialize, Serialize};
use tailwater_domain::{ComputerId, Limit, UpdateId, limits};

/// The most updates that are counted: identities that nobody knows must not fill the memory.
const MAX_COUNTED: usize = 500_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_COUNTED in "updates": "Updates whose states are counted" => "they are not counted",
];

/// How many computers say what of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Have it.
    pub installed: u32,
    /// Need it (those that failed included).
    pub needed: u32,
    /// Failed to install it.
    pub failed: u32,
}

/// Whose computers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Agents of this server.
    Ours,
    /// Those of servers below.
    Below,
}

/// What is reported of one update; the same one may come several times.
pub(crate) type CountedState = (UpdateId, Counts);

/// An update that somebody speaks of.
struct CountedUpdate {
    counts: Counts,
    number: u32,
}

/// A set of numbers of updates.
enum UpdateSet {
    Few(Box<[u32]>),
    Many(Box<[u64]>),
}

impl UpdateSet {
    /// `numbers` sorted, each once.
    fn new(numbers: Vec<u32>) -> Self {
        let words = numbers.last().map_or(0, |last| *last as usize / 64 + 1);
        if numbers.len() * 4 <= words * 8 {
            return Self::Few(numbers.into());
        }
        let mut bits = vec![0; words];
        for number in numbers {
            bits[number as usize / 64] |= 1 << (number % 64);
        }
        Self::Many(bits.into())
    }

    fn has(&self, number: u32) -> bool {
        match self {
            Self::Few(numbers) => numbers.binary_search(&number).is_ok(),
            Self::Many(bits) => {
                bits.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
            }
        }
    }
}

/// What one computer says.
struct Reporter {
    counts: Counts,
    of: UpdateSet,
}

/// What all computers say.
#[derive(Default)]
pub(crate) struct StateCounts {
    updates: HashMap<UpdateId, CountedUpdate>,
    /// Numbers below the highest that no update has.
    free: Vec<u32>,
    ours: HashMap<ComputerId, Reporter>,
    below: HashMap<ComputerId, Reporter>,
}

impl StateCounts {
    /// A computer says this now instead of what it reported before.
    pub(crate) fn change(
        &mut self,
        whose: Origin,
        id: &ComputerId,
        before: &[CountedState],
        after: &[CountedState],
    ) {
        let (mut counts, mut numbers) = (Counts::default(), Vec::with_capacity(after.len()));
        for (update, word) in after {
            if let Some(number) = self.add(update, *word) {
                numbers.push(number);
            }
            counts.installed += word.installed;
            counts.needed += word.needed;
            counts.failed += word.failed;
        }
        for (update, word) in before {
            self.take(update, *word);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let reporters = if whose == Origin::Ours { &mut self.ours } else { &mut self.below };
        if after.is_empty() {
            reporters.remove(id);
        } else {
            reporters.insert(id.clone(), Reporter { counts, of: UpdateSet::new(numbers) });
        }
    }

    fn add(&mut self, update: &UpdateId, word: Counts) -> Option<u32> {
        if word == Counts::default() {
            return None;
        }
        if !self.updates.contains_key(update) {
            if self.updates.len() >= MAX_COUNTED {
                return None;
            }
            let next = u32::try_from(self.updates.len() + self.free.len()).ok()?;
            let number = self.free.pop().unwrap_or(next);
            self.updates.insert(*update, CountedUpdate { counts: Counts::default(), number });
        }
        let counted = self.updates.get_mut(update)?;
        counted.counts.installed += word.installed;
        counted.counts.needed += word.needed;
        counted.counts.failed += word.failed;
        Some(counted.number)
    }

    fn take(&mut self, update: &UpdateId, word: Counts) {
        let Some(counted) = self.updates.get_mut(update) else { return };
        let counts = &mut counted.counts;
        counts.installed = counts.installed.saturating_sub(word.installed);
        counts.needed = counts.needed.saturating_sub(word.needed);
        counts.failed = counts.failed.saturating_sub(word.failed);
        if *counts == Counts::default() {
            self.free.push(counted.number);
            self.updates.remove(update);
        }
    }

    /// What all computers say of an update.
    pub(crate) fn of_update(&self, update: &UpdateId) -> Counts {
        self.updates.get(update).map(|counted| counted.counts).unwrap_or_default()
    }

    /// What one computer says of all updates.
    pub(crate) fn by(&self, whose: Origin, id: &ComputerId) -> Counts {
        self.reporter(whose, id).map(|reporter| reporter.counts).unwrap_or_default()
    }

    /// Whether a computer has an update, needs it or failed to install it.
    pub(crate) fn reports_on<'a>(
        &'a self,
        update: &UpdateId,
    ) -> impl Fn(Origin, &ComputerId) -> bool + use<'a> {
        let number = self.updates.get(update).map(|counted| counted.number);
        move |whose, id| {
            number.is_some_and(|number| {
                self.reporter(whose, id).is_some_and(|reporter| reporter.of.has(number))
            })
        }
    }

    fn reporter(&self, whose: Origin, id: &ComputerId) -> Option<&Reporter> {
        if whose == Origin::Ours { self.ours.get(id) } else { self.below.get(id) }
    }
}

/// What a status says, update by update.
pub(crate) fn states_counted(status: &Status) -> Vec<CountedState> {
    let installed = status.installed.iter().map(|id| (*id, Counts { installed: 1, ..Counts::default() }));
    let needed = status.needed.iter().map(|id| (*id, Counts { needed: 1, ..Counts::default() }));
    let failed = status.failed.iter().map(|one| (one.update, Counts { failed: 1, ..Counts::default() }));
    installed.chain(needed).chain(failed).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn update(number: u32) -> UpdateId {
        UpdateId(Uuid::from_u128(u128::from(number)))
    }

    fn words(numbers: impl Iterator<Item = u32>) -> Vec<CountedState> {
        numbers.map(|number| (update(number), Counts { needed: 1, ..Counts::default() })).collect()
    }

    /// Computers say one thing after another, and what is kept is compared with what was counts last.
    #[test]
    fn what_computers_say_last_is_what_counts() {
        let (mut counts, mut last) = (StateCounts::default(), HashMap::<u32, Vec<u32>>::new());
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state % u64::from(below)).unwrap()
        };
        for round in 0..400 {
            let computer = random(12);
            let (step, first) = (1 + random(40), random(300));
            let count = if round % 5 == 0 { 0 } else { random(200) };
            let after: Vec<u32> = (0..count).map(|n| first + n * step).collect();
            let before = last.insert(computer, after.clone()).unwrap_or_default();
            let id = ComputerId(format!("pc-{computer}"));
            counts.change(Origin::Ours, &id, &words(before.into_iter()), &words(after.into_iter()));
            let looked_at = update(random(400));
            let reports_on = counts.reports_on(&looked_at);
            let mut reporters = 0;
            for (computer, list) in &last {
                let id = ComputerId(format!("pc-{computer}"));
                let has = list.iter().any(|number| update(*number) == looked_at);
                assert_eq!(reports_on(Origin::Ours, &id), has, "round {round}, {id}");
                assert_eq!(counts.by(Origin::Ours, &id).needed as usize, list.len());
                reporters += u32::from(has);
            }
            assert_eq!(counts.of_update(&looked_at).needed, reporters, "round {round}");
        }
        for (computer, list) in last {
            counts.change(Origin::Ours, &ComputerId(format!("pc-{computer}")), &words(list.into_iter()), &[]);
        }
        assert!(counts.updates.is_empty() && counts.ours.is_empty());
    }

    #[test]
    fn what_a_computer_takes_is_bounded_by_what_anybody_speaks_of() {
        let bytes = |marks: &UpdateSet| match marks {
            UpdateSet::Few(numbers) => numbers.len() * 4,
            UpdateSet::Many(bits) => bits.len() * 8,
        };
        for (all, every) in [(15_000_u32, 4_u32), (15_000, 1), (15_000, 3_000), (64, 1), (1, 1)] {
            let numbers: Vec<u32> = (0..all).filter(|number| number % every == 0).collect();
            let marks = UpdateSet::new(numbers.clone());
            assert!(bytes(&marks) <= (all as usize).div_ceil(64) * 8, "{all} / {every}");
            for number in 0..all + 70 {
                assert_eq!(marks.has(number), numbers.contains(&number), "{number}");
            }
        }
    }
}
