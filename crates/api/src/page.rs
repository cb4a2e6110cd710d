//! Pages of lists: which rows are asked for, which an answer has, and where the next page begins.
//!
//! **Invariant:** every list says how many rows there are (`total`), which it shows (`offset`, `limit`), and where the rest
//! begins (`next`, null at the end). It never leaves rows out in silence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::inputs;
use tailwater_domain::{Limit, limits};

/// Rows in one answer of lists that have an index.
pub const MAX_ROWS: usize = 1_000;
/// Rows in one answer of lists that pages of people take whole: groups, categories, transfers.
pub const MAX_WHOLE: usize = 10_000;
/// Revisions in one answer, for audits: 20 MB.
pub const MAX_REVISIONS: usize = 100_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ROWS in "rows": "Updates, computers, servers, files and synchronisations in one answer of the API" => "`next` says where the next page begins",
    MAX_WHOLE in "rows": "Groups, categories and transfers in one answer of the API" => "`next` says where the next page begins",
    MAX_REVISIONS in "rows": "Revisions in one answer of the API" => "`next` says where the next page begins",
];

/// Which rows of a list are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paging {
    /// Rows to pass over: `next` of the page before.
    #[serde(default)]
    pub offset: usize,
    /// Rows in one answer; a larger number than the list allows is taken as the most that it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

inputs!(Paging);

impl Paging {
    /// These rows.
    pub fn new(offset: usize, limit: Option<usize>) -> Self {
        Self { offset, limit }
    }

    /// How many rows: `usual` when nothing is said, never more than `most`, at least one.
    pub fn rows(self, usual: usize, most: usize) -> usize {
        self.limit.unwrap_or(usual).clamp(1, most)
    }

    /// The rows of a list that is in memory whole, at most `most`.
    pub fn of<T, R>(self, all: &[T], most: usize, shown: impl FnMut(&T) -> R) -> (PageInfo, Vec<R>) {
        let (total, limit) = (all.len(), self.rows(most, most));
        let rows: Vec<R> = all.iter().skip(self.offset).take(limit).map(shown).collect();
        (PageInfo::new(rows.len(), total, self.offset, limit), rows)
    }
}

/// Which rows of a list an answer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageInfo {
    /// Rows over all pages.
    pub total: usize,
    /// Rows before this page.
    pub offset: usize,
    /// Rows that this page could have.
    pub limit: usize,
    /// The `offset` of the next page; null in the last one.
    pub next: Option<usize>,
}

impl PageInfo {
    /// Of a page with `shown` rows.
    pub fn new(shown: usize, total: usize, offset: usize, limit: usize) -> Self {
        let end = offset.saturating_add(shown);
        Self { total, offset, limit, next: (end < total && shown > 0).then_some(end) }
    }
}

/// An answer that is one page of a list.
pub trait Listed {
    /// A row.
    type Row;
    /// Which rows these are.
    fn page(&mut self) -> &mut PageInfo;
    /// The rows.
    fn rows(&mut self) -> &mut Vec<Self::Row>;
}

/// Implements [`Listed`] by the fields of an answer.
macro_rules! listed {
    ($answer:ty, $rows:ident: $row:ty) => {
        impl $crate::Listed for $answer {
            type Row = $row;

            fn page(&mut self) -> &mut $crate::PageInfo {
                &mut self.page
            }

            fn rows(&mut self) -> &mut Vec<$row> {
                &mut self.$rows
            }
        }
    };
}
pub(super) use listed;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the size of a list and of its pages, following `next` shows every row once.
    #[test]
    fn following_next_shows_every_row_once() {
        for total in [0_usize, 1, 9, 10, 11, 25] {
            for limit in [None, Some(0), Some(1), Some(7), Some(10), Some(usize::MAX)] {
                let (mut seen, mut paging) = (Vec::new(), Paging::new(0, limit));
                for _ in 0..=total {
                    let (page, rows) = paging.of(&(0..total).collect::<Vec<_>>(), 10, |row| *row);
                    assert_eq!((page.total, page.offset), (total, paging.offset));
                    assert!(rows.len() <= 10);
                    seen.extend(rows);
                    match page.next {
                        Some(next) => paging.offset = next,
                        None => break,
                    }
                }
                assert_eq!(seen, (0..total).collect::<Vec<_>>(), "{total} {limit:?}");
            }
        }
        let (page, rows) = Paging::new(99, None).of(&[1, 2], 10, |row| *row);
        assert_eq!((page.next, rows), (None, Vec::new()));
    }
}
