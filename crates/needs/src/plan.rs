//! What is fetched ahead of demand, and in which order.
//!
//! **Invariant:** a file that no class of computers ever used is not in the plan of `learned`, and nothing that agents
//! take in parts is in any plan. What has a deadline comes first, the one that must begin earliest in front; then what
//! is urgent by its classification, then the rest, newest first. It never asks for a file itself.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::layout::Layout;
use super::memory::Memory;
use super::{Handle, NeedsError};
use tailwater_catalog::{ApprovedInstall, Release};
use tailwater_content::FileState;
use tailwater_domain::{Class, FileDeclaration, GroupId, UpdateId};

/// How much of a file, of 1,000, must be foreseen for it to be fetched whole.
const WHOLE: u64 = 750;

/// The same for what agents take in parts: express payloads hold every difference that anybody could need.
const WHOLE_IN_PARTS: u64 = 950;

/// A file to fetch ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The file.
    pub file: FileDeclaration,
    /// How urgent it is.
    pub class: Class,
    /// For which approved update.
    pub update: UpdateId,
}

/// What to fetch ahead now, and when to ask again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to fetch, in this order.
    pub files: Vec<Ahead>,
    /// What waits for the quiet window.
    pub waiting: Vec<Ahead>,
    /// When the quiet window begins, if it is not now.
    pub quiet_at: Option<Timestamp>,
}

/// How far ahead of demand is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What the classes of computers at this site are foreseen to use.
    Learned,
    /// All files of approved updates.
    Approved,
}

/// An update's part of the plan.
struct Entry {
    update: UpdateId,
    class: Class,
    /// When it must begin at the latest to be there in time.
    latest_start: Option<Timestamp>,
    arrived: Timestamp,
    files: Vec<FileDeclaration>,
}

/// What is replaced by which approved update, and for whom.
#[derive(Default)]
pub(super) struct Replaced(HashMap<UpdateId, Vec<(UpdateId, Vec<GroupId>)>>);

impl Replaced {
    fn by<'a>(releases: impl Iterator<Item = (&'a ApprovedInstall, &'a Release)>) -> Self {
        let mut all = Self::default();
        for (install, release) in releases {
            for old in &release.supersedes {
                all.0.entry(*old).or_default().push((install.update, install.groups.clone()));
            }
        }
        all
    }

    /// What agents of these groups take instead of an update, when all of them do.
    pub(super) fn whom(&self, update: &UpdateId, groups: &[GroupId]) -> Option<UpdateId> {
        let newer = self.0.get(update)?.iter();
        let covers = |newer: &[GroupId]| {
            newer.contains(&GroupId::ALL_COMPUTERS) || groups.iter().all(|group| newer.contains(group))
        };
        newer.filter(|(_, newer)| covers(newer)).map(|(by, _)| *by).next()
    }
}

/// The files of a release that some living class is foreseen to take whole.
pub(super) fn foreseen_whole(memory: &Memory, layout: &Layout, living: &[String]) -> Vec<FileDeclaration> {
    let Some(matched) = memory.matched(layout) else { return Vec::new() };
    let whole = |place: usize, file: &FileDeclaration| {
        let enough = if file.is_taken_in_parts() { WHOLE_IN_PARTS } else { WHOLE };
        matched.key(place).is_some_and(|key| {
            living
                .iter()
                .any(|class| memory.foreseen(class, matched.lineage, key, &file.sha1).share >= enough)
        })
    };
    let places = layout.files.iter().enumerate();
    places
        .filter(|(place, placed)| whole(*place, &placed.file))
        .map(|(_, placed)| placed.file.clone())
        .collect()
}

impl Handle {
    /// What to fetch ahead. Reads the catalog: it may wait for a disk.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn plan(&self, scope: Scope) -> Result<Plan, NeedsError> {
        let approved = self.0.catalog.approved_installs();
        let mut releases = Vec::new();
        for install in &approved {
            if let Some(release) = self.0.catalog.release_of(&install.update)? {
                releases.push((install, release));
            }
        }
        let replaced = Replaced::by(releases.iter().map(|(install, release)| (*install, release)));
        let mut entries = Vec::new();
        for (install, release) in releases {
            // agents that are told of both take the newer one
            if scope == Scope::Learned && replaced.whom(&install.update, &install.groups).is_some() {
                continue;
            }
            let (arrived, files) = (release.arrived, self.files_ahead(scope, install)?);
            let files: Vec<FileDeclaration> = files.into_iter().filter(|file| self.lacks(file)).collect();
            if !files.is_empty() {
                entries.push(self.entry(install, &release, arrived, files));
            }
        }
        entries.sort_by_key(|entry| (entry.class, entry.latest_start, std::cmp::Reverse(entry.arrived)));
        Ok(self.split(scope, entries))
    }

    /// What approved updates replace.
    pub(super) fn replaced(&self) -> Result<Replaced, NeedsError> {
        let approved = self.0.catalog.approved_installs();
        let mut releases = Vec::new();
        for install in &approved {
            releases.extend(self.0.catalog.release_of(&install.update)?.map(|release| (install, release)));
        }
        Ok(Replaced::by(releases.iter().map(|(install, release)| (*install, release))))
    }

    fn files_ahead(
        &self,
        scope: Scope,
        install: &ApprovedInstall,
    ) -> Result<Vec<FileDeclaration>, NeedsError> {
        match scope {
            Scope::Approved => {
                let mut files = self.0.catalog.files_of(&install.update)?;
                files.retain(|file| !file.is_taken_in_parts());
                Ok(files)
            }
            Scope::Learned => {
                let Some(head) = self.head(&install.update)? else { return Ok(Vec::new()) };
                if self.memory().lineage_of(&head).is_none() {
                    return Ok(Vec::new());
                }
                let Some(layout) = self.layout(&install.update)? else { return Ok(Vec::new()) };
                let living = self.living_classes();
                Ok(foreseen_whole(&self.memory(), &layout, &living))
            }
        }
    }

    fn lacks(&self, file: &FileDeclaration) -> bool {
        let status = self.0.store.status(&file.sha1);
        status.is_none_or(|status| status.state != FileState::Verified)
    }

    fn entry(
        &self,
        install: &ApprovedInstall,
        release: &Release,
        arrived: Timestamp,
        files: Vec<FileDeclaration>,
    ) -> Entry {
        let urgent = super::layout::Head::of(release).is_urgent;
        let class = match install.deadline {
            Some(_) => Class::Deadline,
            None if urgent => Class::Security,
            None => Class::Normal,
        };
        let held = |file: &FileDeclaration| self.0.store.status(&file.sha1).map_or(0, |status| status.held);
        let left: u64 = files.iter().map(|file| file.size.saturating_sub(held(file))).sum();
        let speed = self.0.timetable.in_force().rate.bytes_per_second();
        let seconds = speed.map_or(0, |speed| left / speed.max(1));
        let needed = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let latest = |deadline: Timestamp| deadline.checked_sub(needed).unwrap_or(Timestamp::MIN);
        Entry { update: install.update, class, latest_start: install.deadline.map(latest), arrived, files }
    }

    /// What may be fetched now, and what waits until it is quiet. A deadline that would pass meanwhile does not wait.
    fn split(&self, scope: Scope, entries: Vec<Entry>) -> Plan {
        let now = self.0.clock.now();
        let quiet_at = if scope == Scope::Learned { self.0.quiet.next(now) } else { Some(now) };
        let is_quiet = quiet_at == Some(now);
        let mut plan = Plan { quiet_at: quiet_at.filter(|_| !is_quiet), ..Plan::default() };
        let mut seen = HashSet::new();
        for entry in entries {
            let in_time = entry.latest_start.is_none_or(|start| quiet_at.is_some_and(|quiet| quiet < start));
            let list = if is_quiet || !in_time { &mut plan.files } else { &mut plan.waiting };
            let fresh = entry.files.into_iter().filter(|file| seen.insert(file.sha1));
            list.extend(fresh.map(|file| Ahead { file, class: entry.class, update: entry.update }));
        }
        plan
    }
}
