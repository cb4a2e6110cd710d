//! Sets of small numbers.
//!
//! **Invariant:** a number beyond the set's size is in no set, and putting it in does nothing. It never grows.

/// A set of numbers below a size.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// True when it was not in before.
    pub(super) fn put(&mut self, number: u32) -> bool {
        let Some(word) = self.0.get_mut(number as usize / 64) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        spread(self.0.iter().copied())
    }

    /// What is in here and not in `other`, ascending.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        spread(self.0.iter().zip(&other.0).map(|(word, not)| word & !not))
    }
}

fn spread(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    (0..).zip(words).flat_map(|(index, mut word): (u32, u64)| {
        std::iter::from_fn(move || {
            (word != 0).then(|| {
                let bit = word.trailing_zeros();
                word &= word - 1;
                index * 64 + bit
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let (mut some, mut less) = (Bits::new(130), Bits::new(130));
        for number in [0, 63, 64, 129, 129, 500] {
            some.put(number);
        }
        less.put(64);
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(some.without(&less).collect::<Vec<_>>(), [0, 63, 129]);
        assert!(some.has(129) && !some.has(128) && !some.has(4_000));
        assert_eq!(some.count(), 4);
    }
}
