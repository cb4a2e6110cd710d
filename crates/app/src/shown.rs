//! The configuration in the types of the API.
//!
//! **Invariant:** what is shown is what `config` shows: without secrets.

use tailwater_api as api;
use tailwater_config::{Difference, Doubt, Loaded, Origin, Raw, Shown};

/// What is in force, and where each value came from.
pub fn configuration(loaded: &Loaded) -> api::Configuration {
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    api::Configuration { file, keys: loaded.shown().into_iter().map(key).collect() }
}

fn key(shown: Shown) -> api::ConfigurationKey {
    let origin = match shown.origin {
        Origin::Default => api::Origin::Default,
        Origin::File { path, line } => api::Origin::File { path: path.display().to_string(), line },
        Origin::Environment { variable } => api::Origin::Environment { variable },
    };
    api::ConfigurationKey { key: shown.key.to_owned(), value: shown.value.map(value), origin }
}

fn value(raw: Raw) -> api::ConfigurationValue {
    match raw {
        Raw::Text(text) => api::ConfigurationValue::Text(text),
        Raw::List(items) => api::ConfigurationValue::List(items),
        Raw::Number(number) => api::ConfigurationValue::Number(number),
        Raw::Switch(on) => api::ConfigurationValue::Switch(on),
        Raw::Tables(tables) => api::ConfigurationValue::Tables(tables),
    }
}

/// A key that two configurations say different things of.
pub(super) fn difference(one: Difference) -> api::Difference {
    api::Difference { key: one.key.to_owned(), before: one.before.map(value), after: one.after.map(value) }
}

/// What is doubtful about a key.
pub(super) fn doubt(doubt: &Doubt) -> api::Doubt {
    api::Doubt { key: doubt.key.to_owned(), text: doubt.text.clone() }
}
