//! A release laid out so that it can be compared with others of its lineage.
//!
//! **Invariant:** the layout of a release depends on its documents only, and two releases that differ in versions only
//! have the same keys in the same places. Pure.
//!
//! What tells a lineage: product, classification and folded title. What tells a file in it: the folded title of the part
//! that declares it, what the part needs (its prerequisites name architecture and channel), the folded file name and the
//! kind of patching. Where several files are alike in all of that (patches from one version after the other), their order
//! by version counts, the newest first: releases keep a rolling number of them, and a computer that follows every release
//! always takes the patch from the one before.

use std::collections::HashMap;

use super::fold::{Fold, fold, numbers};
use tailwater_catalog::{Release, ReleaseFile};
use tailwater_domain::{FileDeclaration, HeapBytes as _, UpdateId};

/// Classifications that are urgent: security, critical and definition updates.
const URGENT: [u128; 3] = [
    0x0fa1_201d_4330_4fa8_8ae9_b877_473b_6441,
    0xe6cf_1350_c01b_414d_a61f_263d_14d1_33b4,
    0xe078_9628_ce08_4437_be74_2495_b842_f43b,
];

/// What identifies a lineage, or a file in one.
pub(super) type Key = u64;

/// A release without its files.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) update: UpdateId,
    pub(super) title: String,
    /// Of releases whose titles differ in versions only.
    pub(super) lineage: Key,
    /// Of releases whose titles differ in any number.
    pub(super) loose: Key,
    pub(super) supersedes: Vec<UpdateId>,
    pub(super) is_urgent: bool,
}

/// A file in its place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) key: Key,
    /// The place when every number counts for nothing; the second attempt.
    pub(super) loose: Key,
    /// What people read: title of the part and name of the file.
    pub(super) name: String,
    pub(super) file: FileDeclaration,
}

/// A release with its files.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) head: Head,
    pub(super) revision: u32,
    pub(super) files: Vec<Placed>,
}

fn key(parts: &[&str]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    Key::from_be_bytes(first)
}

fn joined(ids: &[UpdateId]) -> String {
    let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.sort_unstable();
    ids.join(",")
}

impl Head {
    pub(super) fn of(release: &Release) -> Self {
        let (products, classes) = (joined(&release.products), joined(&release.classifications));
        let named =
            |how| key(&[&fold(&release.title, how), &products, &classes, release.update_type.as_str()]);
        Self {
            update: release.identity.update,
            title: release.title.clone(),
            lineage: named(Fold::Versions),
            loose: named(Fold::Numbers),
            supersedes: release.supersedes.clone(),
            is_urgent: release.classifications.iter().any(|id| URGENT.contains(&id.0.as_u128())),
        }
    }
}

/// Keys with the place among those that are alike, the newest first.
fn placed(files: &[ReleaseFile], alike: impl Fn(&ReleaseFile) -> String) -> Vec<Key> {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        groups.entry(alike(file)).or_default().push(at);
    }
    let mut keys = vec![0; files.len()];
    for (name, mut members) in groups {
        members
            .sort_by_cached_key(|&at| (numbers(&format!("{} {}", files[at].title, files[at].file.name)), at));
        for (place, at) in members.into_iter().rev().enumerate() {
            keys[at] = key(&[&name, &place.to_string()]);
        }
    }
    keys
}

impl Layout {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let Head { update: _, title, lineage: _, loose: _, supersedes, is_urgent: _ } = &self.head;
        let file = |placed: &Placed| placed.name.heap_bytes() + placed.file.heap_bytes();
        let files = self.files.capacity() * size_of::<Placed>() + self.files.iter().map(file).sum::<usize>();
        size_of::<Self>() + title.heap_bytes() + supersedes.heap_bytes() + files
    }

    pub(super) fn of(head: Head, revision: u32, files: Vec<ReleaseFile>) -> Self {
        let alike = |file: &ReleaseFile, how, needs: &str| {
            let (title, name) = (fold(&file.title, how), fold(&file.file.name, how));
            format!("{title}\0{needs}\0{name}\0{}", file.file.patching.as_deref().unwrap_or_default())
        };
        // the title of what is no bundle is the release's own, and told its lineage already
        let keys = placed(&files, |file| alike(file, Fold::Versions, &joined(&file.needs)));
        let loose = placed(&files, |file| alike(file, Fold::Numbers, ""));
        let files = files.into_iter().zip(keys).zip(loose).map(|((file, key), loose)| {
            let name = if file.part == head.update || file.title.is_empty() {
                file.file.name.clone()
            } else {
                format!("{}: {}", file.title, file.file.name)
            };
            let name = name.chars().take(super::MAX_NAME).collect();
            Placed { key, loose, name, file: file.file }
        });
        let files = files.collect();
        Self { head, revision, files }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;
    use tailwater_domain::{Sha1Digest, UpdateIdentity, UpdateType};

    pub(in super::super) fn id(number: u128) -> UpdateId {
        UpdateId(Uuid::from_u128(number))
    }

    fn digest(text: &str) -> Sha1Digest {
        let mut digest = [0; 20];
        digest.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..20]);
        Sha1Digest(digest)
    }

    /// A release of definitions as the captures show them: engine, whole set and patches by architecture.
    pub(in super::super) fn definitions(version: u32, patches: u32, shuffle: bool) -> Layout {
        let release = Release {
            identity: UpdateIdentity { update: id(u128::from(version)), revision: 200 },
            update_type: UpdateType::Software,
            title: format!("Security Intelligence Update - KB2267602 (Version 1.459.{version}.0) - Broad"),
            products: vec![id(1 << 100)],
            classifications: vec![id(URGENT[2])],
            supersedes: Vec::new(),
            arrived: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut files = Vec::new();
        for (number, architecture) in (1_u32..).zip(["amd64fre", "x86fre", "arm64fre"]) {
            let mut part = |title: String, name: &str, size| {
                files.push(ReleaseFile {
                    part: id(u128::from(number) << 64 | u128::from(version) << 32 | u128::from(size)),
                    needs: vec![id(u128::from(number) << 90)],
                    file: FileDeclaration {
                        sha1: digest(&format!("{title}/{name}")),
                        sha256: None,
                        size,
                        name: name.to_owned(),
                        patching: None,
                    },
                    title,
                });
            };
            part(
                format!("AM Engine 1.1.2608{}.3 for Defender {architecture} Broad", version / 4),
                "AM_Engine.exe",
                6_600_000,
            );
            part(
                format!("Full Definitions 1.459.{version}.0 for Defender {architecture}"),
                "AM_Base.exe",
                200_000_000,
            );
            for back in 1..=patches {
                let from = version - back;
                let name = format!("AM_Delta_Patch_1.459.{from}.0.exe");
                part(
                    format!("Deltas 1.459.{version}.0 for Defender {architecture}"),
                    &name,
                    3_900_000 + u64::from(back),
                );
            }
        }
        if shuffle {
            files.reverse();
        }
        Layout::of(Head::of(&release), 200, files)
    }

    #[test]
    fn layouts_are_remembered_by_what_they_weigh() {
        let layouts = crate::layouts();
        for number in 0..400 {
            let mut layout = definitions(number, 20, false);
            let file = layout.files[0].clone();
            layout.files.extend((0..1_000).map(|_| Placed { name: "x".repeat(400), ..file.clone() }));
            assert!(layout.bytes() > 400_000, "{}", layout.bytes());
            layouts.insert(id(u128::from(number)), std::sync::Arc::new(layout));
            assert!(layouts.weight() <= crate::LAYOUTS_BYTES, "{}", layouts.weight());
        }
        assert!(layouts.weight() > crate::LAYOUTS_BYTES / 2);
    }

    #[test]
    fn two_releases_have_the_same_keys_in_the_same_places() {
        let (one, next) = (definitions(547, 12, false), definitions(551, 12, true));
        assert_eq!(one.head.lineage, next.head.lineage);
        let find = |layout: &Layout, name: &str| {
            let mut found = layout.files.iter().filter(|file| file.name.contains(name));
            found.next().map(|file| (file.key, file.loose)).unwrap()
        };
        let (last, before) = (
            "1.459.547.0 for Defender amd64fre: AM_Delta_Patch_1.459.546.",
            "1.459.551.0 for Defender amd64fre: AM_Delta_Patch_1.459.550.",
        );
        assert_eq!(find(&one, last), find(&next, before), "the patch from the release before");
        assert_eq!(find(&one, "Base"), find(&one, "AM_Base"));
        let keys: std::collections::HashSet<_> = one.files.iter().map(|file| file.key).collect();
        assert_eq!(keys.len(), one.files.len());
        let same = next.files.iter().filter(|file| keys.contains(&file.key)).count();
        assert_eq!(same, one.files.len());
    }

    #[test]
    fn a_longer_list_of_patches_keeps_the_place_of_the_newest() {
        let (short, long) = (definitions(547, 3, false), definitions(548, 40, false));
        let keys: std::collections::HashSet<_> = long.files.iter().map(|file| file.key).collect();
        assert!(short.files.iter().all(|file| keys.contains(&file.key)));
    }
}
