//! Values made of texts: each checked once, with an error that says what is expected instead.
//!
//! **Invariant:** a value that was read is fit to run with. It never opens a socket or creates a file.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use tailwater_domain::{ByteCount, Choice, Limit, limits};

use crate::ConfigError;
use crate::source::{Origin, Raw, Values};

/// How many entries a list may have.
const MAX_LIST: usize = 1_000;

/// Longest wait between two synchronisations, and longest jitter.
const LONGEST: Duration = Duration::from_hours(24 * 31);

/// The least that clients may make this server keep: a few hundred computers.
pub(super) const LEAST_STATE: ByteCount = ByteCount(10_000_000);
// not a limit: LEAST_STATE: what the limit may be set to

pub(super) const LIMITS: &[Limit] = limits![
    MAX_LIST in "entries": "Entries of a list in the configuration" => "the configuration is refused",
    LONGEST: "The interval and the jitter of synchronisations" => "the configuration is refused",
];

/// Reads checked values out of the texts.
pub(super) struct Checked<'a> {
    values: &'a Values,
    /// What relative paths of the file are relative to.
    base: &'a Path,
}

impl<'a> Checked<'a> {
    pub(super) fn new(values: &'a Values, base: &'a Path) -> Self {
        Self { values, base }
    }

    pub(super) fn refuse(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        let (value, origin) = self
            .values
            .get(key)
            .map_or((String::new(), Origin::Default), |(raw, origin)| (raw.to_string(), origin.clone()));
        ConfigError::Value {
            origin,
            key: key.to_owned(),
            value: value.chars().take(80).collect(),
            reason: reason.into(),
        }
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    pub(super) fn is_default(&self, key: &str) -> bool {
        self.origin(key) == Origin::Default
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match self.values.get(key) {
            Some((Raw::Text(text), _)) if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Result<&'a [String], ConfigError> {
        match self.values.get(key) {
            Some((Raw::List(items), _)) if items.len() > MAX_LIST => {
                Err(self.refuse(key, format!("at most {MAX_LIST} entries")))
            }
            Some((Raw::List(items), _)) => Ok(items),
            _ => Ok(&[]),
        }
    }

    pub(super) fn number(&self, key: &str, least: i64, most: i64) -> Result<usize, ConfigError> {
        match self.values.get(key) {
            Some((Raw::Number(number), _)) if (least..=most).contains(number) => {
                usize::try_from(*number).map_err(|_e| self.refuse(key, "too large"))
            }
            _ => Err(self.refuse(key, format!("expected a whole number from {least} to {most}"))),
        }
    }

    pub(super) fn parsed<T>(&self, key: &str) -> Result<T, ConfigError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(key)
            .ok_or_else(|| self.refuse(key, "expected a value"))?
            .parse()
            .map_err(|error| self.refuse(key, format!("{error}")))
    }

    pub(super) fn address(&self, key: &str) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wanted = "expected an address and a port, such as \"0.0.0.0:8530\" or \"localhost:8530\"";
        text.to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .map(Some)
            .ok_or_else(|| self.refuse(key, wanted))
    }

    pub(super) fn needed_address(&self, key: &str) -> Result<SocketAddr, ConfigError> {
        self.address(key)?.ok_or_else(|| self.refuse(key, "expected an address and a port"))
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(match self.origin(key) {
            Origin::File { .. } => self.base.join(text),
            Origin::Default | Origin::Environment { .. } => PathBuf::from(text),
        })
    }

    pub(super) fn existing_file(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(path) = self.path(key) else { return Ok(None) };
        match std::fs::File::open(&path) {
            Ok(_file) => Ok(Some(path)),
            Err(error) => Err(self.refuse(key, format!("{} cannot be opened: {error}", path.display()))),
        }
    }

    pub(super) fn url(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wanted = "expected an address such as \"http://server:8530\"";
        Self::plain_url(text).map(Some).ok_or_else(|| self.refuse(key, wanted))
    }

    /// An address without query and credentials, without a slash at its end.
    pub(super) fn plain_url(text: &str) -> Option<String> {
        let uri: http::Uri = text.parse().ok()?;
        let scheme_fits = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.query().is_none() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        (scheme_fits && plain).then(|| text.trim_end_matches('/').to_owned())
    }

    pub(super) fn duration(&self, key: &str, least: Duration) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wanted = "expected a time such as \"30m\" or \"4h\"";
        let span: jiff::SignedDuration = text.parse().map_err(|_e| self.refuse(key, wanted))?;
        let span = Duration::try_from(span).map_err(|_e| self.refuse(key, wanted))?;
        if span < least || span > LONGEST {
            return Err(self.refuse(key, format!("expected at least {least:?} and at most 31 days")));
        }
        Ok(Some(span))
    }

    pub(super) fn share(&self, key: &str) -> Result<f64, ConfigError> {
        let text = self.text(key).unwrap_or_default();
        let percent: Option<f64> = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| percent / 100.0)
            .ok_or_else(|| self.refuse(key, "expected a share from \"0 %\" to \"100 %\""))
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some((Raw::Switch(true), _)))
    }

    /// The tables of a list, at most so many.
    pub(super) fn tables(&self, key: &str, most: usize) -> Result<&'a [Table], ConfigError> {
        match self.values.get(key) {
            Some((Raw::Tables(tables), _)) if tables.len() > most => {
                Err(self.refuse(key, format!("at most {most} tables")))
            }
            Some((Raw::Tables(tables), _)) => Ok(tables),
            _ => Ok(&[]),
        }
    }

    /// One of a few values, by its word.
    pub(super) fn choice<T: Choice>(&self, key: &str) -> Result<T, ConfigError> {
        self.one_of(key, T::WORDS)
    }

    /// As [`Checked::choice`], for values that no type has of its own.
    pub(super) fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(key).unwrap_or_default();
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.refuse(key, format!("expected one of {}", known.join(", ")))
        })
    }

    /// Several of a few values, by their words.
    pub(super) fn choices<T: Choice>(&self, key: &str) -> Result<Vec<T>, ConfigError> {
        let one = |word: &String| {
            let known =
                || T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            T::of(word.trim()).ok_or_else(|| self.refuse(key, format!("{word:?} is none of {}", known())))
        };
        self.list(key)?.iter().map(one).collect()
    }

    /// A size that is not below a bound.
    pub(super) fn size(&self, key: &str, least: ByteCount, why: &str) -> Result<ByteCount, ConfigError> {
        let size = self.parsed::<ByteCount>(key)?;
        if size < least {
            return Err(self.refuse(key, format!("expected at least {least}{why}")));
        }
        Ok(size)
    }

    /// The error of keys that exclude or need each other.
    pub(super) fn conflict(&self, at: &str, key: &str, reason: &'static str) -> ConfigError {
        ConfigError::Conflict { origin: self.origin(at), key: key.to_owned(), reason }
    }

    pub(super) fn zone(&self, key: &str, name: &str) -> Result<TimeZone, ConfigError> {
        TimeZone::get(name).map_err(|_e| {
            let wanted = if crate::doubts::lacks_zones() {
                "this machine has no time zone database; install it (package tzdata) or set TZDIR to one"
            } else {
                "expected a time zone such as \"Europe/Berlin\" or \"UTC\""
            };
            self.refuse(key, wanted)
        })
    }
}

/// A table of a list: texts by name.
pub(super) type Table = std::collections::BTreeMap<String, Vec<String>>;

/// A time of day; its end is written 24:00 by many.
pub(super) fn time_of_day(text: &str) -> Option<Time> {
    Time::strptime("%H:%M", if text == "24:00" { "00:00" } else { text }).ok()
}
