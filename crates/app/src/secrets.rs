//! Secrets that lie outside of the data directory: keys of certificates, and a configuration with a token in it.
//!
//! **Invariant:** such a file belongs to an administrator: it is named when others can read it, and never changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tailwater_config::Loaded;

/// Names the secret files that others can read.
pub(super) fn warn(loaded: &Loaded) {
    for (what, path) in open_secrets(loaded) {
        tracing::warn!(path = %path.display(),
            "{what} can be read by every user of this machine; run `chmod o-r` on it, and replace the secret in it");
    }
}

fn open_secrets(loaded: &Loaded) -> Vec<(&'static str, PathBuf)> {
    let settings = &loaded.settings;
    let mut secrets: Vec<(&'static str, PathBuf)> = Vec::new();
    if let Some(tls) = &settings.server.tls {
        secrets.push(("the key of server.tls", tls.files.key.clone()));
    }
    if let Some(key) = &settings.upstream.client_key {
        secrets.push(("upstream.client_key", key.clone()));
    }
    if let Some(file) = loaded.file.as_ref().filter(|_| settings.upstream.token.is_some()) {
        secrets.push(("the configuration, which holds upstream.token,", file.clone()));
    }
    secrets.retain(|(_, path)| is_open(path));
    secrets
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_configuration_with_a_token_is_named_when_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tailwater.toml");
        for (text, mode, named) in [
            ("[upstream]\ntoken = \"0123456789abcdef\"\n", 0o644, true),
            ("[upstream]\ntoken = \"0123456789abcdef\"\n", 0o640, false),
            ("[upstream]\n", 0o644, false),
        ] {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let loaded = tailwater_config::load(Some(&file), std::iter::empty()).unwrap();
            assert_eq!(open_secrets(&loaded).len(), usize::from(named), "{text} {mode:o}");
        }
    }
}
