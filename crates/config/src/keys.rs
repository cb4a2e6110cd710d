//! The one table of every key: its name, the kind of value it takes, and its default.
//!
//! **Invariant:** a key that is not in the table does not exist, and a key in the table does something.
//! It never reads a file or the environment.

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

const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind }
}

/// What a window of the calendar says.
const WINDOW: &[Field] = &[
    field("days", FieldKind::List),
    field("from", FieldKind::Text),
    field("to", FieldKind::Text),
    field("rate", FieldKind::Text),
    field("time_zone", FieldKind::Text),
];

/// What another source of payloads says.
const SOURCE: &[Field] = &[field("url", FieldKind::Text), field("cost", FieldKind::Number)];

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// With dots between the tables.
    pub path: &'static str,
    pub kind: Kind,
    /// As TOML; `None` when the key is unset by default.
    pub default: Option<&'static str>,
}

const fn text(path: &'static str, default: &'static str) -> Key {
    Key { path, kind: Kind::Text, default: Some(default) }
}

const fn list(path: &'static str, default: &'static str) -> Key {
    Key { path, kind: Kind::List, default: Some(default) }
}

const fn number(path: &'static str, default: &'static str) -> Key {
    Key { path, kind: Kind::Number, default: Some(default) }
}

const fn unset(path: &'static str) -> Key {
    Key { path, kind: Kind::Text, default: None }
}

/// Every key, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("server.listen", "\"0.0.0.0:8530\""),
    text("server.data_dir", "\"./tailwater-data\""),
    unset("server.public_url"),
    number("server.max_connections", "10000"),
    number("server.max_connections_per_address", "0"),
    number("server.max_connections_per_subnet", "0"),
    list("server.hosts", "[]"),
    text("server.request_memory", "\"64 MB\""),
    text("server.stalled_after", "\"60s\""),
    unset("server.selfupdate_dir"),
    unset("server.tls.listen"),
    unset("server.tls.certificate"),
    unset("server.tls.key"),
    unset("server.tls.client_ca"),
    text("server.tls.client_certificates", "\"request\""),
    unset("server.tls.client_roots"),
    text("upstream.url", "\"https://sws.update.microsoft.com\""),
    text("upstream.mode", "\"autonomous\""),
    list("upstream.products", "[]"),
    list("upstream.classifications", "[\"Critical Updates\", \"Security Updates\", \"Definition Updates\"]"),
    list("upstream.languages", "[\"en\"]"),
    list("upstream.schedule", "[\"03:00\"]"),
    unset("upstream.every"),
    text("upstream.jitter", "\"30m\""),
    unset("upstream.account_name"),
    unset("upstream.token"),
    unset("upstream.ca_file"),
    unset("upstream.client_certificate"),
    unset("upstream.client_key"),
    text("upstream.proxy", "\"system\""),
    text("upstream.content_from", "\"upstream\""),
    number("upstream.cost", "10"),
    Key { path: "upstream.source", kind: Kind::Tables(SOURCE), default: None },
    text("upstream.tailwater", "\"follow\""),
    text("upstream.hold_removals_above", "\"25 %\""),
    text("agents.offer", "\"all\""),
    text("agents.targeting", "\"server\""),
    text("agents.replace_silent_after", "\"25h\""),
    text("agents.key_rotation", "\"720h\""),
    number("agents.max_computers", "100000"),
    text("agents.max_state", "\"8 GB\""),
    text("downstream.policy", "\"open\""),
    number("downstream.transfers", "16"),
    number("downstream.max_long_polls", "4096"),
    number("downstream.max_servers", "10000"),
    number("downstream.max_descendants", "500000"),
    text("downstream.max_state", "\"8 GB\""),
    text("content.fetch", "\"demand\""),
    unset("content.quiet.from"),
    unset("content.quiet.to"),
    text("content.max_size", "\"200 GB\""),
    text("content.min_free", "\"5 GB\""),
    text("content.demand", "\"approved\""),
    list("content.allowed_private", "[]"),
    list("content.redirect_hosts", "[]"),
    text("bandwidth.rate", "\"unlimited\""),
    text("bandwidth.count", "\"payload\""),
    unset("bandwidth.time_zone"),
    Key { path: "bandwidth.adaptive", kind: Kind::Switch, default: Some("false") },
    list("bandwidth.adaptive_exempt", "[\"interactive\"]"),
    Key { path: "bandwidth.window", kind: Kind::Tables(WINDOW), default: None },
    text("bandwidth.downstream.rate", "\"unlimited\""),
    text("bandwidth.downstream.per_client", "\"unlimited\""),
    text("bandwidth.downstream.per_subnet", "\"unlimited\""),
    unset("bandwidth.budget.daily"),
    unset("bandwidth.budget.monthly"),
    text("bandwidth.budget.reserve", "\"10 %\""),
    list("bandwidth.budget.urgent", "[\"interactive\", \"metadata\", \"deadline\"]"),
    text("bandwidth.budget.when_spent", "\"closed\""),
    text("admin.listen", "\"127.0.0.1:8532\""),
    list("admin.names", "[]"),
    text("log.filter", "\"info\""),
    text("log.format", "\"text\""),
];

/// Keys that users may read about and that this version cannot honour yet, with the reason.
pub(super) const NOT_YET: &[(&str, &str)] = &[];

/// Keys that a reload brings into force without a restart.
const LIVE: [&str; 10] = [
    "upstream.products",
    "upstream.classifications",
    "upstream.schedule",
    "upstream.every",
    "upstream.jitter",
    "content.max_size",
    "content.min_free",
    "bandwidth.rate",
    "bandwidth.window",
    "log.filter",
];

/// Whether a running server takes a new value over.
pub(super) fn is_live(path: &str) -> bool {
    LIVE.contains(&path)
}

/// Whether a key's value is nowhere shown.
pub(super) fn is_secret(path: &str) -> bool {
    path == "upstream.token"
}

pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The default of a key as TOML: `Some(None)` for one that is unset by default, `None` where there is no such key.
pub fn default_of(path: &str) -> Option<Option<&'static str>> {
    find(path).map(|key| key.default)
}

/// Why a key (or a table above it) cannot be used yet.
pub(super) fn not_yet(path: &str) -> Option<(&'static str, &'static str)> {
    NOT_YET
        .iter()
        .find(|(key, _)| path == *key || path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
        .copied()
}

/// Whether `path` is a table that holds keys.
pub(super) fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key that was most likely meant: near as a whole, or with the same last word in another table.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let wrong_last = path.rsplit('.').next().unwrap_or(path);
    KEYS.iter()
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
