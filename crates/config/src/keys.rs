//! Every key: its name, the kind of value it takes, and its default. Each section lists its own.
//!
//! **Invariant:** a key that is not in the table does not exist, and a key in the table does something.
//! It never reads a file or the environment.

use crate::{admin, agents, bandwidth, content, downstream, log, server, upstream};

/// What a key's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A list of texts.
    List,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// A list of tables, each with these keys.
    Tables(&'static [Field]),
}

/// One key of a table in a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: FieldKind,
}

/// What such a key's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// One text.
    Text,
    /// A list of texts, or one text.
    List,
    /// A whole number.
    Number,
}

pub(super) const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// With dots between the tables.
    pub path: &'static str,
    pub kind: Kind,
    /// As TOML; `None` when the key is unset by default.
    pub default: Option<&'static str>,
    /// Whether a running server takes a new value over.
    pub is_live: bool,
    /// Whether its value is shown nowhere.
    pub is_secret: bool,
}

impl Key {
    /// A reload brings it into force without a restart.
    pub(super) const fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    /// Its value is shown nowhere.
    pub(super) const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }
}

pub(super) const fn text(path: &'static str, default: &'static str) -> Key {
    made(path, Kind::Text, Some(default))
}

pub(super) const fn list(path: &'static str, default: &'static str) -> Key {
    made(path, Kind::List, Some(default))
}

pub(super) const fn number(path: &'static str, default: &'static str) -> Key {
    made(path, Kind::Number, Some(default))
}

pub(super) const fn switch(path: &'static str, default: &'static str) -> Key {
    made(path, Kind::Switch, Some(default))
}

/// Unset by default.
pub(super) const fn unset(path: &'static str) -> Key {
    made(path, Kind::Text, None)
}

pub(super) const fn tables(path: &'static str, fields: &'static [Field]) -> Key {
    made(path, Kind::Tables(fields), None)
}

const fn made(path: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key { path, kind, default, is_live: false, is_secret: false }
}

/// The keys of each section, in the order in which they are shown.
const SECTIONS: [&[Key]; 8] = [
    server::KEYS,
    upstream::KEYS,
    agents::KEYS,
    downstream::KEYS,
    content::KEYS,
    bandwidth::KEYS,
    admin::KEYS,
    log::KEYS,
];

/// Every key, in the order in which they are shown.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.into_iter().flatten()
}

pub(super) fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

/// The default of a key as TOML: `Some(None)` for one that is unset by default, `None` where there is no such key.
pub fn default_of(path: &str) -> Option<Option<&'static str>> {
    find(path).map(|key| key.default)
}

/// Whether `path` is a table that holds keys.
pub(super) fn is_table(path: &str) -> bool {
    all().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key that was most likely meant: near as a whole, or with the same last word in another table.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let wrong_last = path.rsplit('.').next().unwrap_or(path);
    all()
        .map(|key| {
            let whole = strsim::jaro_winkler(key.path, path);
            let word = strsim::jaro_winkler(last(key.path), wrong_last);
            (whole.max(word * 0.97), key.path)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.75)
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let table = [
            ("server.listn", Some("server.listen")),
            ("bandwith.rate", Some("bandwidth.rate")),
            ("upstream.product", Some("upstream.products")),
            ("datadir", Some("server.data_dir")),
            ("max_size", Some("content.max_size")),
            ("zzzzqqq", None),
        ];
        for (wrong, right) in table {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
    }
}
