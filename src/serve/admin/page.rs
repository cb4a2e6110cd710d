//! Pages of lists: which rows are shown, and where the next page begins.
//!
//! **Invariant:** every list of the API says how many rows there are (`total`), which it shows (`offset`, `limit`), and
//! where the rest begins (`next`, null at the end). It never leaves rows out in silence.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::catalog::MAX_PAGE;
use crate::domain::{Limit, limits};

/// Rows in one answer of lists that have an index, as the catalog gives them.
pub(super) const MAX_ROWS: usize = MAX_PAGE;
/// Rows in one answer of lists that pages of people take whole: groups, categories, transfers.
pub(super) const MAX_WHOLE: usize = 10_000;
/// Revisions in one answer, for audits: 20 MB.
pub(super) const MAX_REVISIONS: usize = 100_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ROWS in "rows": "Updates, computers, servers, files and synchronisations in one answer of the API" => "`next` says where the next page begins",
    MAX_WHOLE in "rows": "Groups, categories and transfers in one answer of the API" => "`next` says where the next page begins",
    MAX_REVISIONS in "rows": "Revisions in one answer of the API" => "`next` says where the next page begins",
];

/// Which rows are asked for. A larger limit than a list allows is the most that it allows.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
}

impl Range {
    /// How many rows: so many when nothing is said, never more than the most, at least one.
    pub(super) fn limit(self, usual: usize, most: usize) -> usize {
        self.limit.unwrap_or(usual).clamp(1, most)
    }

    /// The rows of a list that is in memory whole.
    pub(super) fn of<T>(
        self,
        name: &'static str,
        all: &[T],
        most: usize,
        shown: impl Fn(&T) -> Value,
    ) -> Value {
        let (total, limit) = (all.len(), self.limit(most, most));
        let rows = all.iter().skip(self.offset).take(limit).map(shown).collect();
        page(name, rows, total, self.offset, limit)
    }
}

/// One page of a list.
pub(super) fn page(name: &'static str, rows: Vec<Value>, total: usize, offset: usize, limit: usize) -> Value {
    let end = offset.saturating_add(rows.len());
    let next = (end < total && !rows.is_empty()).then_some(end);
    let mut answer = Map::new();
    answer.insert("total".to_owned(), json!(total));
    answer.insert("offset".to_owned(), json!(offset));
    answer.insert("limit".to_owned(), json!(limit));
    answer.insert("next".to_owned(), json!(next));
    answer.insert(name.to_owned(), Value::Array(rows));
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the size of a list and of its pages, following `next` shows every row once.
    #[test]
    fn following_next_shows_every_row_once() {
        for total in [0_usize, 1, 9, 10, 11, 25] {
            for limit in [None, Some(0), Some(1), Some(7), Some(10), Some(usize::MAX)] {
                let (mut seen, mut range) = (Vec::new(), Range { offset: 0, limit });
                for _ in 0..=total {
                    let answer = range.of("rows", &(0..total).collect::<Vec<_>>(), 10, |row| json!(row));
                    assert_eq!((&answer["total"], &answer["offset"]), (&json!(total), &json!(range.offset)));
                    let rows = answer["rows"].as_array().unwrap().clone();
                    assert!(rows.len() <= 10);
                    seen.extend(rows);
                    match answer["next"].as_u64() {
                        Some(next) => range.offset = usize::try_from(next).unwrap(),
                        None => break,
                    }
                }
                assert_eq!(seen, (0..total).map(|row| json!(row)).collect::<Vec<_>>(), "{total} {limit:?}");
            }
        }
        let beyond = Range { offset: 99, limit: None }.of("rows", &[1, 2], 10, |row| json!(row));
        assert_eq!((&beyond["next"], &beyond["rows"]), (&Value::Null, &json!([])));
    }
}
