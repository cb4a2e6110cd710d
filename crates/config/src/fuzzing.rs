//! What `fuzz/` reaches of this room: a file and an environment as texts. **Invariant:** it is never part of the product.

use std::path::Path;

use super::source;

/// Reads a configuration, and the environment after the first zero byte (`NAME=value` in each line).
pub fn text(text: &str) {
    let (file, environment) = text.split_once('\0').unwrap_or((text, ""));
    let Ok(mut values) = source::defaults() else { return };
    let mut mistakes = Vec::new();
    let _ = source::read_text(Path::new("tailwater.toml"), file, &mut values, &mut mistakes);
    let pairs = environment.lines().filter_map(|line| line.split_once('='));
    source::read_environment(
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())),
        &mut values,
        &mut mistakes,
    );
    let _ = super::checked(&values, Path::new(""), &mut mistakes);
}
