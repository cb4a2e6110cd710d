//! Which class goes next: the most urgent that is ready, and now and then one behind it. Pure.
//!
//! **Invariant:** while classes wait behind another, they get one turn in [`TURNS_FOR_OTHERS`] together, one after the other. It
//! never looks at rates or budgets: it is told who is ready.

use tailwater_domain::Class;

/// One turn in so many goes to a class behind the most urgent one: with turns of 4 KiB not before an agent has its first
/// piece.
const TURNS_FOR_OTHERS: u32 = 32;

// not a limit: TURNS_FOR_OTHERS: how turns are shared

/// The class whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub(super) class: Class,
    /// A more urgent one waits, and is passed over this once.
    out_of_turn: bool,
    /// Less urgent ones wait.
    passes: bool,
}

/// Turns given so far.
#[derive(Debug)]
pub(super) struct Priority {
    /// Turns given in a row to the class before which others waited, and which that is.
    passed: (u32, Class),
    /// Turns given to others so far.
    others: usize,
}

impl Default for Priority {
    fn default() -> Self {
        Self { passed: (0, Class::Background), others: 0 }
    }
}

impl Priority {
    /// The class whose turn it is among those that are ready, by [`Class::index`]; `None` when none is.
    pub(super) fn pick(&self, ready: [bool; Class::ALL.len()]) -> Option<Pick> {
        let waiting = || Class::ALL.into_iter().filter(|class| ready[class.index()]);
        let first = waiting().next()?;
        let behind = waiting().count() - 1;
        let out_of_turn = behind > 0 && first == self.passed.1 && self.passed.0 + 1 >= TURNS_FOR_OTHERS;
        let class =
            if out_of_turn { waiting().nth(1 + self.others % behind).unwrap_or(first) } else { first };
        Some(Pick { class, out_of_turn, passes: behind > 0 })
    }

    /// Counts a turn. A class that was not served lately begins to count anew.
    pub(super) fn count(&mut self, pick: Pick) {
        match pick {
            Pick { out_of_turn: true, .. } => {
                self.passed.0 = 0;
                self.others = self.others.wrapping_add(1);
            }
            Pick { class, passes, .. } if class == self.passed.1 => self.passed.0 += u32::from(passes),
            Pick { class, passes, .. } => self.passed = (u32::from(passes), class),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_in_32_goes_to_those_behind_one_after_the_other() {
        let mut priority = Priority::default();
        let mut ready = [false; Class::ALL.len()];
        for class in [Class::Metadata, Class::Normal, Class::Background] {
            ready[class.index()] = true;
        }
        let mut turns = Vec::new();
        for _ in 0..96 {
            let pick = priority.pick(ready).unwrap();
            priority.count(pick);
            turns.push(pick.class);
        }
        let others: Vec<_> =
            turns.iter().enumerate().filter(|(_, class)| **class != Class::Metadata).collect();
        assert_eq!(others, [(31, &Class::Normal), (63, &Class::Background), (95, &Class::Normal)]);
        assert!(priority.pick([false; Class::ALL.len()]).is_none());
    }
}
