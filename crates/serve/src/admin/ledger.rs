//! `/api/v1/bandwidth/ledger`: every byte, by time or by name, as JSON or CSV.
//!
//! **Invariant:** avoided + fetched = served in every row and in the total. Names from documents are shown, never
//! interpreted: a CSV cell that a spreadsheet would run is quoted.

use std::fmt::Write as _;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header;
use jiff::{Span, Timestamp};

use super::error::ApiError;
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown::{self, counts};
use tailwater_api::{self as api, LedgerFormat, LedgerQuery};
use tailwater_domain::Sha1Digest;
use tailwater_ledger::{By, Counts, LedgerError, Report, ReportRow};

fn invalid(field: &'static str, reason: impl Into<String>) -> ApiError {
    ApiError::Invalid { field, reason: reason.into() }
}

/// From when until when; without a word the two last days by hour, 13 months by month, else 31 days.
fn span(query: &LedgerQuery, services: &Services, by: By) -> Result<(Timestamp, Timestamp)> {
    let wanted =
        "expected a month, a day, an hour or a moment: 2026-11, 2026-11-22, 2026-11-22T14 or RFC 3339";
    let moment = |field, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => services.ledger.span_of(text).map(Some).ok_or_else(|| invalid(field, wanted)),
    };
    let to = moment("to", &query.to)?.map_or_else(|| services.clock.now(), |(_, end)| end);
    let hours = match by {
        By::Hour => 48,
        By::Month => 400 * 24,
        _ => 31 * 24,
    };
    let before = || to.checked_sub(Span::new().hours(hours)).unwrap_or(Timestamp::UNIX_EPOCH);
    let from = moment("from", &query.from)?.map_or_else(before, |(begin, _)| begin);
    if from >= to {
        return Err(invalid("from", "lies behind the end"));
    }
    Ok((from, to))
}

/// `GET /bandwidth/ledger`.
pub(super) async fn report(services: Services, call: Call<api::ReadLedger>) -> Result<Response> {
    let by = shown::by_of(call.query.by.unwrap_or_default());
    let (from, to) = span(&call.query, &services, by)?;
    let format = call.query.format.unwrap_or_default();
    blocking(move || {
        let report = services.ledger.report(from, to, by)?;
        if format == LedgerFormat::Csv {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"tailwater-ledger.csv\""),
            ];
            return Ok((headers, csv(&services, &report, by)).into_response());
        }
        let row = |row: &ReportRow| api::LedgerRow {
            name: row.name.clone(),
            title: title(&services, row, by),
            counts: counts(&row.counts),
        };
        Ok(Json(api::Ledger {
            by: shown::by(by),
            from,
            to,
            rows: report.rows.iter().map(row).collect(),
            total: counts(&report.total),
            ahead: report.ahead,
            time_zone: report.time_zone,
        })
        .into_response())
    })
    .await
}

/// What a file is called.
fn title(services: &Services, row: &ReportRow, by: By) -> Option<String> {
    let sha1: Sha1Digest = if by == By::File { row.name.parse().ok()? } else { return None };
    services.catalog.file(&sha1).ok().flatten().map(|known| known.declaration.name)
}

/// The totals of the time that is kept, for `status` and `content`: all of it, and of that this month and this day.
pub(super) fn kept(services: &Services) -> api::LedgerTotals {
    let kept = services.ledger.kept();
    api::LedgerTotals {
        counts: counts(&kept.total),
        since: kept.since,
        month: counts(&kept.month),
        today: counts(&kept.today),
        ahead: kept.ahead,
    }
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
