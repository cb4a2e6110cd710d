//! What commands print, and how they end.
//!
//! **Invariant:** answers go to standard output, everything else to standard error; control characters that
//! came from documents or computers never reach a terminal. It never asks the server anything.

use std::borrow::Cow;
use std::io::Write as _;

use serde_json::Value;

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything that was asked for.
    Done,
    /// Some of it; what is missing was printed.
    InPart,
    /// What was asked about cannot be used; why was printed.
    Unusable,
}

/// A text as a terminal may have it.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\r' { ' ' } else { c }).collect()
}

/// A reader that went away (`| head`) is no failure.
pub(super) fn text(text: &str) {
    let clean = clean(text);
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(clean.as_bytes());
    if !clean.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// One document.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    Ok(())
}

/// To people, while a command runs.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", clean(text));
}

/// Columns as wide as their widest cell, at most 60; the last one as it is. Times are shown as local ones.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| readable(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count().min(60));
        }
    }
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut written = String::new();
        for (cell, width) in cells.zip(&widths) {
            written.push_str(cell);
            written.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        out.push_str(written.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(AsRef::as_ref));
    }
    text(&out);
}

/// A text field of an answer, or an empty one.
pub(super) fn field(value: &Value, name: &str) -> String {
    match value.pointer(&format!("/{name}")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    }
}

/// A time of an answer in this machine's time zone, to the second.
pub(super) fn time(value: &Value, name: &str) -> String {
    readable(&field(value, name)).into_owned()
}

/// Times as people read them; anything else as it is.
fn readable(cell: &str) -> Cow<'_, str> {
    match cell.parse::<jiff::Timestamp>() {
        Ok(time) => {
            time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string().into()
        }
        Err(_none) => cell.into(),
    }
}

/// A number of an answer, or 0.
pub(super) fn number(value: &Value, name: &str) -> u64 {
    value.pointer(&format!("/{name}")).and_then(Value::as_u64).unwrap_or_default()
}

/// An amount of bytes of an answer, as people read it.
pub(super) fn bytes(value: &Value, name: &str) -> String {
    crate::domain::ByteCount(number(value, name)).to_string()
}

/// A list of an answer, or none.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.pointer(&format!("/{name}")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
