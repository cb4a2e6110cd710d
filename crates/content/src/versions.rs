//! Which version of a file's bytes is given out under its digest.
//!
//! A digest names one content, so its entity tag could be the same for ever. But bytes leave before all of them were
//! hashed, and what a source sent may turn out to be wrong. Then the file begins anew under another version, so that a
//! client that resumes on a condition (RFC 9110 13.1.5) begins anew as well, and never joins wrong bytes to right ones.
//! Of a file that passes through, what was given out is known while this process runs; the next one begins a new version.
//!
//! **Invariant:** bytes that may differ are never given out under one version. It never says whether bytes are right.

use std::collections::HashMap;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::index::Index;
use super::store::locked;
use tailwater_domain::{Limit, Sha1Digest, limits};

/// Files whose version is counted by itself.
const MAX_VERSIONS: usize = 65_536;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_VERSIONS in "files": "Payloads whose entity tags are counted by themselves" => "all payloads get new entity tags, once",
];

/// What is remembered of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Version {
    /// How often its bytes turned out to be unreliable.
    pub(super) count: u32,
    /// It passes through since this process began, or did in the one before.
    pub(super) passes: bool,
}

/// The versions of all files.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The version of a file that is not listed.
    base: u32,
    files: HashMap<Sha1Digest, Version>,
}

impl Versions {
    /// Those that the index knows. Files that passed through an earlier process begin anew. `lost_at` is the time in
    /// seconds since 1970 when the index was lost: what it said is not known, so everything begins anew.
    pub(super) fn load(index: &Index, lost_at: Option<i64>) -> Self {
        let (mut base, mut files) = index.versions();
        let mut changes: Vec<(Option<Sha1Digest>, Version)> = Vec::new();
        if let Some(seconds) = lost_at {
            base = base.max(u32::try_from(seconds).unwrap_or(u32::MAX / 2));
            changes.push((None, Version { count: base, passes: false }));
        }
        for (sha1, version) in files.iter_mut().filter(|(_, version)| version.passes) {
            *version = Version { count: version.count.saturating_add(1), passes: false };
            changes.push((Some(*sha1), *version));
        }
        let versions = Self(Mutex::new(Counts { base, files }));
        save(index, &changes);
        versions
    }

    /// The version of a file.
    pub(super) fn of(&self, sha1: &Sha1Digest) -> u32 {
        let counts = locked(&self.0);
        counts.base.saturating_add(counts.files.get(sha1).map_or(0, |version| version.count))
    }

    /// What was given out of a file may be wrong: its new version. Blocking.
    pub(super) fn renew(&self, index: &Index, sha1: &Sha1Digest) -> u32 {
        let mut counts = locked(&self.0);
        let known = counts.files.get(sha1).copied().unwrap_or_default();
        let next = Version { count: known.count.saturating_add(1), passes: false };
        let changes = counts.set(*sha1, next);
        save(index, &changes);
        drop(counts);
        self.of(sha1)
    }

    /// Notes that bytes of a file are given out and not kept. False when that was noted since this process began. Blocking.
    pub(super) fn begin_passing(&self, index: &Index, sha1: &Sha1Digest) -> bool {
        let mut counts = locked(&self.0);
        let known = counts.files.get(sha1).copied().unwrap_or_default();
        if known.passes {
            return false;
        }
        let changes = counts.set(*sha1, Version { passes: true, ..known });
        save(index, &changes);
        true
    }
}

impl Counts {
    /// Sets a version and says what is to be written.
    fn set(&mut self, sha1: Sha1Digest, version: Version) -> Vec<(Option<Sha1Digest>, Version)> {
        if self.files.len() < MAX_VERSIONS || self.files.contains_key(&sha1) {
            self.files.insert(sha1, version);
            return vec![(Some(sha1), version)];
        }
        // above all that were ever given out
        let most = self.files.values().map(|version| version.count).max().unwrap_or_default();
        self.base = self.base.saturating_add(most).saturating_add(1);
        let mut changes = vec![(None, Version { count: self.base, passes: false })];
        let passing = |(sha1, known): (Sha1Digest, Version)| (Some(sha1), Version { count: 0, ..known });
        changes.extend(self.files.drain().map(passing));
        let kept = changes.iter().filter_map(|(sha1, version)| Some((sha1.as_ref()?, version)));
        self.files =
            kept.filter(|(_, version)| version.passes).map(|(sha1, version)| (*sha1, *version)).collect();
        self.files.insert(sha1, Version { count: 0, ..version });
        changes.push((Some(sha1), Version { count: 0, ..version }));
        changes
    }
}

/// A version that cannot be written is one that the next start does not know; it is said.
fn save(index: &Index, changes: &[(Option<Sha1Digest>, Version)]) {
    if let Err(error) = index.write_versions(changes) {
        tracing::warn!(%error, "the versions of payloads cannot be written: a client that resumes after the next start may need to begin anew");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_durable::Disk;

    #[test]
    fn a_version_is_never_given_twice_to_bytes_that_may_differ() {
        let dir = tempfile::tempdir().unwrap();
        let (lied, passed, other) = (Sha1Digest([1; 20]), Sha1Digest([2; 20]), Sha1Digest([3; 20]));
        {
            // a folder of a program that knew no versions
            let (index, _) = Index::open(dir.path(), &Disk::unwatched()).unwrap();
            let versions = Versions::load(&index, None);
            assert_eq!((versions.of(&lied), versions.of(&passed)), (0, 0));
            assert_eq!((versions.renew(&index, &lied), versions.renew(&index, &lied)), (1, 2));
            assert!(versions.begin_passing(&index, &passed) && !versions.begin_passing(&index, &passed));
            assert_eq!(versions.of(&passed), 0);
        }
        for start in 1..3 {
            let (index, _) = Index::open(dir.path(), &Disk::unwatched()).unwrap();
            let versions = Versions::load(&index, None);
            assert_eq!((versions.of(&lied), versions.of(&passed), versions.of(&other)), (2, start, 0));
            assert!(versions.begin_passing(&index, &passed));
        }
        // the index is lost
        let empty = tempfile::tempdir().unwrap();
        let (index, _) = Index::open(empty.path(), &Disk::unwatched()).unwrap();
        assert!(Versions::load(&index, Some(1_790_000_000)).of(&lied) > 2);
        drop(index);
        let (index, _) = Index::open(empty.path(), &Disk::unwatched()).unwrap();
        assert_eq!(Versions::load(&index, None).of(&lied), 1_790_000_000);
    }

    #[test]
    fn when_there_are_too_many_all_begin_anew() {
        let mut counts = Counts::default();
        let digest = |n: u32| Sha1Digest([&n.to_le_bytes()[..], &[0; 16]].concat().try_into().unwrap());
        let version = |n: u32| Version { count: n % 7, passes: n.is_multiple_of(2) };
        for n in 0..u32::try_from(MAX_VERSIONS).unwrap() {
            counts.set(digest(n), version(n));
        }
        let changes = counts.set(digest(1 << 20), Version { count: 1, passes: true });
        assert_eq!((counts.base, changes.len()), (7, MAX_VERSIONS + 2));
        assert!(counts.files.values().all(|version| version.passes && version.count == 0));
        assert!(counts.files.contains_key(&digest(1 << 20)) && !counts.files.contains_key(&digest(1)));
    }
}
