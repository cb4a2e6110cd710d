//! `/api/v1/bandwidth/ledger`: every byte, by time or by name, as JSON or CSV.
//!
//! **Invariant:** avoided + fetched = served in every row and in the total. Names from documents are shown, never
//! interpreted: a CSV cell that a spreadsheet would run is quoted.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use jiff::{Span, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::api::{Result, Services, blocking};
use crate::domain::Sha1Digest;
use crate::ledger::{By, Counts, LedgerError, Report, ReportRow};

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    format: Option<String>,
}

fn invalid(field: &'static str, reason: impl Into<String>) -> ApiError {
    ApiError::Invalid { field, reason: reason.into() }
}

impl Question {
    fn by(&self) -> Result<By> {
        let text = self.by.as_deref().unwrap_or("day");
        let known = By::ALL.into_iter().find(|by| by.as_str() == text);
        known.ok_or_else(|| invalid("by", "expected hour, day, month, class, file, source or client"))
    }

    /// From when until when; without a word the two last days by hour, 13 months by month, else 31 days.
    fn span(&self, services: &Services, by: By) -> Result<(Timestamp, Timestamp)> {
        let wanted =
            "expected a month, a day, an hour or a moment: 2026-11, 2026-11-22, 2026-11-22T14 or RFC 3339";
        let moment = |field, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => services.ledger.span_of(text).map(Some).ok_or_else(|| invalid(field, wanted)),
        };
        let to = moment("to", &self.to)?.map_or_else(|| services.clock.now(), |(_, end)| end);
        let hours = match by {
            By::Hour => 48,
            By::Month => 400 * 24,
            _ => 31 * 24,
        };
        let before = || to.checked_sub(Span::new().hours(hours)).unwrap_or(Timestamp::UNIX_EPOCH);
        let from = moment("from", &self.from)?.map_or_else(before, |(begin, _)| begin);
        if from >= to {
            return Err(invalid("from", "lies behind the end"));
        }
        Ok((from, to))
    }
}

/// `GET /bandwidth/ledger`.
pub(super) async fn report(
    State(services): State<Services>,
    Query(question): Query<Question>,
) -> Result<Response> {
    let by = question.by()?;
    let (from, to) = question.span(&services, by)?;
    let as_csv = match question.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(invalid("format", "expected json or csv")),
    };
    blocking(move || {
        let report = services.ledger.report(from, to, by)?;
        if as_csv {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"tailwater-ledger.csv\""),
            ];
            return Ok((headers, csv(&services, &report, by)).into_response());
        }
        let rows: Vec<Value> = report
            .rows
            .iter()
            .map(|row| {
                let mut value = counts(&row.counts);
                value["name"] = row.name.clone().into();
                value["title"] = title(&services, row, by).into();
                value
            })
            .collect();
        Ok(Json(json!({
            "by": by, "from": from, "to": to, "time_zone": report.time_zone, "rows": rows,
            "total": counts(&report.total), "ahead": report.ahead,
        }))
        .into_response())
    })
    .await
}

/// What a file is called.
fn title(services: &Services, row: &ReportRow, by: By) -> Option<String> {
    let sha1: Sha1Digest = if by == By::File { row.name.parse().ok()? } else { return None };
    services.catalog.file(&sha1).ok().flatten().map(|known| known.declaration.name)
}

fn counts(counts: &Counts) -> Value {
    let mut value = json!(counts);
    value["avoided"] = counts.avoided().into();
    value
}

/// The totals of the time that is kept, for `status` and `content`: all of it, and of that this month and this day.
pub(super) fn kept(services: &Services) -> Value {
    let kept = services.ledger.kept();
    let mut value = counts(&kept.total);
    value["since"] = json!(kept.since);
    value["month"] = counts(&kept.month);
    value["today"] = counts(&kept.today);
    value["ahead"] = kept.ahead.into();
    value
}

/// One row a line, the total last.
fn csv(services: &Services, report: &Report, by: By) -> String {
    let mut out = format!("{},title,received,sent,payload,wasted,served,fetched,avoided\r\n", by.as_str());
    let mut line = |name: &str, title: &str, c: &Counts| {
        let numbers = [c.received, c.sent, c.payload, c.wasted, c.served, c.fetched, c.avoided()];
        let numbers = numbers.map(|number| number.to_string()).join(",");
        // writing to a string cannot fail
        let _ = write!(out, "{},{},{numbers}\r\n", cell(name), cell(title));
    };
    for row in &report.rows {
        line(&row.name, &title(services, row, by).unwrap_or_default(), &row.counts);
    }
    line("total", "", &report.total);
    out
}

/// RFC 4180; what a spreadsheet would take for a formula begins with an apostrophe.
fn cell(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if guard.is_empty() && !text.contains([',', '"']) {
        return text;
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        Self::internal(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names_in_a_spreadsheet() {
        let table = [
            ("plain.cab", "plain.cab"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=cmd()", "\"'=cmd()\""),
            ("two\nlines", "twolines"),
        ];
        for (name, written) in table {
            assert_eq!(cell(name), written);
        }
    }
}
