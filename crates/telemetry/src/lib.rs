//! What the process says of itself: log lines, and how an address may be written into one.
//!
//! **Invariant:** nothing secret reaches a log line: addresses lose their query, fragment and credentials in
//! [`safe_url`] first; a line that cannot be written ends nothing. It never decides what is worth saying; rooms do,
//! through `tracing`.

mod lines;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tailwater_domain::Choice;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// Sets another filter; present once logging was started.
static FILTER: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl Choice for Format {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// What is logged, and how. Lines go to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Lowest level, or directives such as `info,tailwater_upstream=debug`; `tailwater::upstream` names the same part.
    pub filter: String,
    /// How lines are written.
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: Format::Text }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "log.filter {filter:?} cannot be read; write a level (\"info\") or \"info,tailwater_upstream=debug\""
    )]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Checks a filter without starting anything.
pub fn check(filter: &str) -> Result<(), TelemetryError> {
    parse(filter).map(|_filter| ())
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(filter.replace("tailwater::", "tailwater_"))
        .map_err(|source| TelemetryError::Filter { filter: filter.chars().take(200).collect(), source })
}

/// Starts logging for the whole process. A second start changes nothing. A server (`queued`) does not wait for who
/// reads its log, and says in it when a task panics.
pub fn start(config: &Config, queued: bool) -> Result<(), TelemetryError> {
    let filter = parse(&config.filter)?;
    if queued {
        lines::queue();
        std::panic::set_hook(Box::new(log_panic));
    }
    // the library would print that it cannot print, and panic over that
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines::Lines)
        .log_internal_errors(false);
    let started = match config.format {
        Format::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            keep(lines.reload_handle());
            lines.try_init()
        }
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            keep(lines.reload_handle());
            lines.try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
    Ok(())
}

/// A panic as a line of the log, where the process's own message would wait for who reads it.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        tracing::error!(at, %backtrace, "a task panicked: {text}; please report this");
    } else {
        tracing::error!(at, "a task panicked: {text}; please report this");
    }
}

/// Waits a moment until what was logged is written; call it before the process ends.
pub fn flush() {
    lines::flush();
}

fn keep<S: 'static>(handle: Handle<EnvFilter, S>) {
    let set = move |filter| {
        // the subscriber lives as long as the process
        let _ = handle.reload(filter);
    };
    let _ = FILTER.set(Box::new(set));
}

/// Logs by another filter from now on.
///
/// # Errors
/// When it cannot be read; then nothing changes.
pub fn set_filter(filter: &str) -> Result<(), TelemetryError> {
    let filter = parse(filter)?;
    if let Some(set) = FILTER.get() {
        set(filter);
    }
    Ok(())
}

/// An address as it may be logged: without credentials, query and fragment, at most 300 characters.
pub fn safe_url(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let bare: String = bare.chars().filter(|c| !c.is_control()).take(300).collect();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, p)| (a, Some(p)));
            let host = authority.rsplit('@').next().unwrap_or_default();
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_left_of_an_address() {
        let table = [
            ("http://user:word@host:8530/a/b?token=1#x", "http://host:8530/a/b"),
            ("https://host", "https://host"),
            ("/Content/49/AB.exe?P1=2", "/Content/49/AB.exe"),
            ("http://host/a@b", "http://host/a@b"),
        ];
        for (address, safe) in table {
            assert_eq!(safe_url(address), safe);
        }
    }

    #[test]
    fn a_filter_that_is_none_is_named() {
        let error = check("tailwater=loud").unwrap_err().to_string();
        assert!(error.contains("tailwater=loud"), "{error}");
        assert!(check("info,tailwater_upstream=debug").is_ok());
        let parsed = |filter: &str| parse(filter).unwrap().to_string();
        assert_eq!(parsed("warn,tailwater::wire::xml=trace"), parsed("warn,tailwater_wire::xml=trace"));
    }
}
