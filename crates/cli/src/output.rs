//! What commands print, and how they end.
//!
//! **Invariant:** answers go to standard output, everything else to standard error; control characters that
//! came from documents or computers never reach a terminal. A reader that went away (`| head`) is no failure, an answer
//! that could not be written for another reason is one. It never asks the server anything.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use tailwater_api::PageInfo;
use tailwater_domain::ByteCount;

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

/// Whether `--wide` was given.
static WIDE: AtomicBool = AtomicBool::new(false);

/// Whether the one document of `--json` was printed.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// Why standard output did not take an answer.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// From now on tables are as wide as they are.
pub(super) fn set_wide(wide: bool) {
    WIDE.store(wide, Ordering::Relaxed);
}

/// What moves the cursor, changes colours, or turns the direction of writing: it could make a line say something else.
pub(super) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Line breaks stay; every other unprintable character becomes a space.
pub(super) fn clean(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        let is_break = c == '\n' || (c == '\r' && chars.peek() == Some(&'\n'));
        out.push(if is_unprintable(c) && !is_break { ' ' } else { c });
    }
    out
}

/// Text to people.
pub(super) fn text(text: &str) {
    let mut clean = clean(text);
    if !clean.ends_with('\n') {
        clean.push('\n');
    }
    answer(clean.as_bytes());
}

/// Bytes to standard output, as they are.
pub(super) fn answer(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    note_unwritten(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Remembers why an answer could not be written.
pub(super) fn note_unwritten(written: std::io::Result<()>) {
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = UNWRITTEN.set(error.to_string());
    }
}

/// Why some of the answer is not where it should be; none where it was written or its reader did not want more.
pub(super) fn unwritten() -> Option<&'static str> {
    UNWRITTEN.get().map(String::as_str)
}

/// The one document of a command; a second one would be no JSON any more, so it is not printed.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = escaped(&serde_json::to_string_pretty(value)?);
    if PRINTED.swap(true, Ordering::Relaxed) {
        debug_assert!(false, "a second document: {text}");
        return Ok(());
    }
    answer(format!("{text}\n").as_bytes());
    Ok(())
}

/// Whether [`json`] printed already.
pub(super) fn has_printed() -> bool {
    PRINTED.load(Ordering::Relaxed)
}

/// The same document without a character that a terminal would obey: JSON itself escapes only a part of them.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unprintable(c) {
            // all of them lie in the first plane
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// To people, while a command runs.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", clean(text));
}

/// Says of a list of which `shown` rows stand in an answer how many there are: "N of M" and where the rest begins.
pub(super) fn of_all(shown: usize, page: &PageInfo) {
    let total = page.total;
    match page.next {
        Some(next) => note(&format!("{shown} of {total}; more with --offset {next}")),
        None if shown < total => note(&format!("{shown} of {total}")),
        None => {}
    }
}

/// Says how to see the rest of a list of which `shown` rows stand in an answer.
pub(super) fn more(shown: usize, total: usize, offset: usize) {
    let end = offset.saturating_add(shown);
    if end < total {
        note(&format!("{shown} of {total}; more with --offset {end}"));
    }
}

/// Columns that fit the terminal; see [`super::table`].
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    text(&super::table::lines(head, rows, width()));
}

/// How wide the terminal is; `None` where nothing has to fit.
fn width() -> Option<usize> {
    if WIDE.load(Ordering::Relaxed) || !std::io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// What may be absent, as text; nothing where it is.
pub(super) fn maybe(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A time in this machine's time zone, to the second; nothing where there is none.
pub(super) fn time(at: impl Into<Option<Timestamp>>) -> String {
    readable(&maybe(at.into())).into_owned()
}

/// Times as people read them; anything else as it is.
pub(super) fn readable(cell: &str) -> Cow<'_, str> {
    match cell.parse::<Timestamp>() {
        Ok(time) => {
            time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string().into()
        }
        Err(_none) => cell.into(),
    }
}

/// An amount of bytes, as people read it.
pub(super) fn bytes(bytes: u64) -> String {
    ByteCount(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let hostile: String = (0..0x2_070_u32).filter_map(char::from_u32).collect();
        let shown = clean(&hostile);
        assert!(shown.chars().all(|c| c == '\n' || !is_unprintable(c)));
        assert!(clean("a\r\nb\rc").starts_with("a\r\nb c"));
        let value = serde_json::json!({ "title": hostile });
        let written = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(written.chars().all(|c| c == '\n' || !is_unprintable(c)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value, "the same document");
    }
}
