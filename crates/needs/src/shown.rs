//! What was learned, as status, API and console show it.
//!
//! **Invariant:** what is shown is what plans are made of. It never shows an address or a computer.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Handle;
use tailwater_domain::{Limit, limits};

/// Lineages shown of one class, those used last first.
const MAX_SHOWN: usize = 200;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_SHOWN in "lineages": "Lineages shown of one class" => "they are not shown",
];

/// What one class of computers used.
#[derive(Debug, Clone, Serialize)]
pub struct ClassNeeds {
    /// `Windows 10.0.26100 AMD64`, `downstream servers`, or `others`: who did not say who he is.
    pub class: String,
    /// Whether it used something lately; for a class that did not, nothing is fetched ahead.
    pub living: bool,
    /// What it used, those used last first.
    pub lineages: Vec<LearnedLineage>,
}

/// What a class used of one lineage of releases.
#[derive(Debug, Clone, Serialize)]
pub struct LearnedLineage {
    /// Title of the latest release.
    pub title: String,
    /// Releases of which it used something, at most 16.
    pub releases: usize,
    /// Bytes that it is foreseen to take of the next release, if its files are as large as the last.
    pub bytes: u64,
    /// The files.
    pub files: Vec<LearnedFile>,
}

/// A file of a lineage that a class used.
#[derive(Debug, Clone, Serialize)]
pub struct LearnedFile {
    /// Part and file of the latest release that was used.
    pub name: String,
    /// Size of the latest version.
    pub size: u64,
    /// How much of the next version it is foreseen to take, of 1,000; 0 when it passed over too many.
    pub share: u64,
    /// Versions used, of [`LearnedFile::versions`].
    pub used: usize,
    /// Versions remembered, at most 5.
    pub versions: usize,
}

impl Handle {
    /// How many requests were not learned from because too many came at once.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Relaxed)
    }

    /// Raised with everything that is learned.
    pub fn lessons(&self) -> u64 {
        self.0.lessons.load(Ordering::Relaxed)
    }

    /// Whether files may be fetched ahead of demand now.
    pub fn is_quiet(&self) -> bool {
        let now = self.0.clock.now();
        self.0.quiet.next(now).is_some_and(|next| next <= now)
    }

    /// What was learned, by class.
    pub fn learned(&self) -> Vec<ClassNeeds> {
        let living = self.living_classes();
        let memory = self.memory();
        let mut classes: BTreeMap<&str, Vec<(i32, LearnedLineage)>> = BTreeMap::new();
        for ((class, key), uses) in &memory.uses {
            let Some(lineage) = memory.lineages.get(key) else { continue };
            let files: Vec<LearnedFile> = uses
                .files
                .iter()
                .filter_map(|(key, versions)| {
                    let latest = versions.last()?;
                    Some(LearnedFile {
                        name: lineage.files.get(key).map(|known| known.name.clone()).unwrap_or_default(),
                        size: latest.size,
                        share: super::memory::next_share(versions),
                        used: versions.iter().filter(|version| version.is_used()).count(),
                        versions: versions.len(),
                    })
                })
                .collect();
            let bytes = files
                .iter()
                .map(|file| file.size / 1_000 * file.share + file.size % 1_000 * file.share / 1_000);
            let shown = LearnedLineage {
                title: lineage.title.clone(),
                releases: uses.releases.len(),
                bytes: bytes.sum(),
                files,
            };
            classes.entry(class).or_default().push((uses.day, shown));
        }
        let shown = |(class, mut lineages): (&str, Vec<(i32, LearnedLineage)>)| {
            lineages.sort_by(|a, b| (b.0, &a.1.title).cmp(&(a.0, &b.1.title)));
            let lineages = lineages.into_iter().take(MAX_SHOWN).map(|(_, shown)| shown).collect();
            ClassNeeds { class: class.to_owned(), living: living.iter().any(|name| name == class), lineages }
        };
        classes.into_iter().map(shown).collect()
    }
}
