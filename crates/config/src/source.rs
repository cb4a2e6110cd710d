//! Where values come from: defaults, the file, the environment, each over the one before.
//!
//! **Invariant:** every value remembers its origin. It never judges a value beyond its TOML kind.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys::{self, Field, FieldKind, Key, Kind};
use tailwater_domain::{Limit, limits};

/// A configuration is a page or two; more is a wrong file.
const MAX_FILE: u64 = 1024 * 1024;

/// Tables inside tables; the deepest key has three parts.
const MAX_DEPTH: usize = 8;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_FILE in "bytes": "The configuration file" => "the configuration is refused",
    MAX_DEPTH in "tables": "Tables within tables of the configuration" => "the configuration is refused",
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// The file.
    File {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The environment.
    Environment {
        /// The variable.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
        }
    }
}

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Raw {
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Switch(bool),
    /// Tables, each a text or a list of texts by name.
    Tables(Vec<BTreeMap<String, Vec<String>>>),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Number(number) => number.fmt(f),
            Self::Switch(on) => on.fmt(f),
            Self::Tables(tables) => {
                for (index, table) in tables.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "; " })?;
                    let fields = table.iter().map(|(name, values)| format!("{name} {}", values.join(",")));
                    f.write_str(&fields.collect::<Vec<_>>().join(" "))?;
                }
                Ok(())
            }
        }
    }
}

/// Every key that has a value, with where it came from.
pub(super) type Values = BTreeMap<&'static str, (Raw, Origin)>;

/// The built-in values.
pub(super) fn defaults() -> Result<Values, ConfigError> {
    let mut values = Values::new();
    for key in keys::all() {
        if let Some(default) = key.default {
            let raw = from_toml(key, default, &Origin::Default)?;
            values.insert(key.path, (raw, Origin::Default));
        }
    }
    Ok(values)
}

/// Lays the file's values over `values`; wrong ones are left out and added to `mistakes`.
pub(super) fn read_file(
    path: &Path,
    values: &mut Values,
    mistakes: &mut Vec<ConfigError>,
) -> Result<(), ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    read_text(path, &text, values, mistakes)
}

/// Lays a text's values over `values`; `path` is only for messages.
pub(super) fn read_text(
    path: &Path,
    text: &str,
    values: &mut Values,
    mistakes: &mut Vec<ConfigError>,
) -> Result<(), ConfigError> {
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        reason: error.message().to_owned(),
    })?;
    Reader { path, text, values, mistakes }.table("", document.get_ref(), 0);
    Ok(())
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    values: &'a mut Values,
    mistakes: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn table(&mut self, above: &str, table: &DeTable<'_>, depth: usize) {
        for (name, value) in table {
            let path = if above.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{above}.{}", name.get_ref())
            };
            let line = line_of(self.text, name.span().start);
            let origin = Origin::File { path: self.path.to_owned(), line };
            if let Err(mistake) = self.entry(&path, value, origin, depth) {
                self.mistakes.push(mistake);
            }
        }
    }

    fn entry(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        origin: Origin,
        depth: usize,
    ) -> Result<(), ConfigError> {
        if let Some(key) = keys::find(path) {
            self.known_fields(key, value, &origin)?;
            let raw = of_kind(key, value.get_ref()).ok_or_else(|| {
                let written = self.text.get(value.span()).unwrap_or_default();
                wrong_kind(key, written, origin.clone())
            })?;
            self.values.insert(key.path, (raw, origin));
            return Ok(());
        }
        match value.get_ref() {
            DeValue::Table(table) if keys::is_table(path) && depth < MAX_DEPTH => {
                self.table(path, table, depth + 1);
                Ok(())
            }
            // the table itself is unknown: name its first key, because that is what people search for
            DeValue::Table(table) if !table.is_empty() && depth < MAX_DEPTH => {
                self.table(path, table, depth + 1);
                Ok(())
            }
            _ => Err(unknown(path, origin)),
        }
    }
}

impl Reader<'_> {
    /// Each table of a list may hold only the keys it is said to hold.
    fn known_fields(
        &self,
        key: &Key,
        value: &Spanned<DeValue<'_>>,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let (Kind::Tables(fields), DeValue::Array(items)) = (key.kind, value.get_ref()) else {
            return Ok(());
        };
        for item in items {
            let DeValue::Table(table) = item.get_ref() else { continue };
            for name in table.keys() {
                let found = name.get_ref().to_string();
                if fields.iter().any(|field| field.name == found) {
                    continue;
                }
                let near = |field: &&Field| strsim::jaro_winkler(field.name, &found);
                let nearest = fields.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
                let Origin::File { path, .. } = origin else { continue };
                return Err(ConfigError::UnknownKey {
                    origin: Origin::File { path: path.clone(), line: line_of(self.text, name.span().start) },
                    key: format!("{}.{found}", key.path).chars().take(120).collect(),
                    nearest: nearest.map(|field| format!("{}.{}", key.path, field.name)),
                });
            }
        }
        Ok(())
    }
}

fn unknown(path: &str, origin: Origin) -> ConfigError {
    ConfigError::UnknownKey {
        origin,
        key: path.chars().take(120).collect(),
        nearest: keys::nearest(path).map(str::to_owned),
    }
}

fn of_kind(key: &Key, value: &DeValue<'_>) -> Option<Raw> {
    match (key.kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(Raw::Text(text.to_string())),
        (Kind::Number, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Raw::Number)
        }
        (Kind::Switch, DeValue::Boolean(on)) => Some(Raw::Switch(*on)),
        (Kind::List, DeValue::Array(items)) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(Raw::List)
        }
        (Kind::Tables(fields), DeValue::Array(items)) => {
            let tables = items.iter().map(|item| match item.get_ref() {
                DeValue::Table(table) => fields_of(fields, table),
                _ => None,
            });
            tables.collect::<Option<Vec<_>>>().map(Raw::Tables)
        }
        _ => None,
    }
}

fn fields_of(fields: &[Field], table: &DeTable<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for (name, value) in table {
        let field = fields.iter().find(|field| field.name == name.get_ref().as_ref())?;
        let values = match (field.kind, value.get_ref()) {
            (FieldKind::Text | FieldKind::List, DeValue::String(text)) => vec![text.to_string()],
            (FieldKind::Number, DeValue::Integer(number)) => {
                vec![i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string()]
            }
            (FieldKind::List, DeValue::Array(items)) => {
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<_>>()?
            }
            _ => return None,
        };
        found.insert(field.name.to_owned(), values);
    }
    Some(found)
}

fn wrong_kind(key: &Key, written: &str, origin: Origin) -> ConfigError {
    let reason = match key.kind {
        Kind::Text => "expected a text in quotation marks",
        Kind::List => "expected a list of texts, such as [\"one\", \"two\"]",
        Kind::Number => "expected a whole number",
        Kind::Switch => "expected true or false",
        Kind::Tables(_) => {
            "expected tables such as [[bandwidth.window]] with texts in quotation marks or whole numbers"
        }
    };
    ConfigError::Value {
        origin,
        key: key.path.to_owned(),
        value: written.chars().take(80).collect(),
        reason: reason.to_owned(),
    }
}

fn from_toml(key: &Key, text: &str, origin: &Origin) -> Result<Raw, ConfigError> {
    DeValue::parse(text)
        .ok()
        .and_then(|value| of_kind(key, value.get_ref()))
        .ok_or_else(|| wrong_kind(key, text, origin.clone()))
}

/// The prefix of variables that override keys.
const PREFIX: &str = "TAILWATER_";

/// Lays the environment's values over `values`: `TAILWATER_SERVER__LISTEN` is `server.listen`. A list is
/// written as TOML (`["a", "b"]`) or with commas. Variables without `__` are not about keys. Wrong ones are left out and
/// added to `mistakes`.
pub(super) fn read_environment<I>(variables: I, values: &mut Values, mistakes: &mut Vec<ConfigError>)
where
    I: IntoIterator<Item = (String, String)>,
{
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX).filter(|rest| rest.contains("__")) else { continue };
        let path = rest.to_ascii_lowercase().replace("__", ".");
        match from_variable(&variable, &path, text) {
            Ok((key, raw)) => {
                values.insert(key.path, (raw, Origin::Environment { variable }));
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
}

fn from_variable(variable: &str, path: &str, text: String) -> Result<(&'static Key, Raw), ConfigError> {
    let origin = Origin::Environment { variable: variable.to_owned() };
    let key = keys::find(path).ok_or_else(|| unknown(path, origin.clone()))?;
    let wrong = || wrong_kind(key, &text, origin.clone());
    let raw = match key.kind {
        Kind::Number => Raw::Number(text.trim().parse().map_err(|_e| wrong())?),
        Kind::Switch => Raw::Switch(text.trim().parse().map_err(|_e| wrong())?),
        Kind::Tables(_) => from_toml(key, &text, &origin)?,
        Kind::List if text.trim_start().starts_with('[') => from_toml(key, &text, &origin)?,
        Kind::List => {
            Raw::List(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect())
        }
        Kind::Text => Raw::Text(text),
    };
    Ok((key, raw))
}
