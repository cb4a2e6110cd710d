//! Releases of definitions in the shape of real ones: one bundle of many packages for all machines there are, of which
//! one machine takes four or five.
//!
//! **Invariant:** which package a machine takes follows from rules that it evaluates itself: its architecture, and how
//! far it is behind. Names and titles carry versions only, as real ones do. Packages that did not change since the
//! release before are the very same.

use super::catalog::{Catalog, installed_rule};
use super::payload::mixed;
use super::revision::{Clause, Kind, Revision};
use super::world::{DEFENDER, identity};
use tailwater_domain::UpdateIdentity;

/// Architectures as definitions name them, in the order of [`super::world::ARCHITECTURES`].
const FLAVOURS: [&str; 3] = ["amd64fre", "arm64fre", "x86fre"];

/// Engines come with every fourth release.
const ENGINE_EVERY: u32 = 4;

/// The version before the first release.
const BASE: u32 = 500;

/// A package of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The whole set, for machines that have none.
    Whole(usize),
    /// What changed since the whole set of the month; every machine takes it.
    Recent(usize),
    Engine(usize),
    /// Installs the others.
    Stub,
    /// From one earlier release to this one, for machines that are so far behind.
    Patch {
        flavour: usize,
        behind: u32,
    },
}

impl Part {
    /// Size in units; of a recorded release a unit is 100 kB.
    fn weight(self) -> u64 {
        match self {
            Self::Whole(_) => 2_000,
            Self::Recent(_) => 116,
            Self::Engine(_) => 66,
            Self::Stub => 13,
            Self::Patch { .. } => 39,
        }
    }

    fn flavour(self) -> Option<usize> {
        match self {
            Self::Whole(flavour)
            | Self::Recent(flavour)
            | Self::Engine(flavour)
            | Self::Patch { flavour, .. } => Some(flavour),
            Self::Stub => None,
        }
    }
}

/// The packages of a release of so many.
fn parts(count: u32) -> Vec<Part> {
    let fixed = (0..3).map(Part::Whole).chain((0..3).map(Part::Engine)).chain([Part::Stub]);
    let fixed = fixed.chain((0..3).map(Part::Recent));
    let patches = (0_u32..).map(|at| Part::Patch { flavour: at as usize % 3, behind: at / 3 + 1 });
    fixed.chain(patches).take(count.max(1) as usize).collect()
}

impl Catalog {
    /// Adds one more release of definitions.
    pub(super) fn add_definitions(&mut self) {
        let release = self.released;
        self.released += 1;
        let parts = parts(self.config.definition_files);
        let all: u64 = parts.iter().map(|part| part.weight()).sum();
        // without a size of its own a whole set is four times the mean
        let whole = self
            .config
            .definition_size
            .map_or(self.config.mean_size.0.max(8) * 4 * all / 2_000, |size| size.0);
        let (mut groups, mut fresh) = (vec![Vec::new(), Vec::new()], Vec::new());
        for (at, part) in parts.into_iter().enumerate() {
            // releases differ in size by a tenth either way
            let jitter = 900 + mixed(self.config.seed ^ mixed(u64::from(release) << 16 | at as u64)) % 201;
            let size = whole / 1_000 * part.weight() / all * jitter;
            let package = self.package(release, part, size.max(1));
            groups[usize::from(part == Part::Stub)].push(package.0);
            fresh.extend(package.1);
        }
        for package in fresh {
            self.add(package);
        }
        groups.retain(|group| !group.is_empty());
        self.add_definitions_bundle(release, groups);
    }

    /// A package, and its revision when it is new.
    fn package(&mut self, release: u32, part: Part, size: u64) -> (UpdateIdentity, Option<Revision>) {
        let version = |release: u32| format!("1.459.{}.0", BASE + release);
        let engine = format!("1.1.26{:03}.3", 80 + release / ENGINE_EVERY);
        let flavour = part.flavour().map_or("", |flavour| FLAVOURS[flavour]);
        let (key, title, file) = match part {
            Part::Whole(_) => (
                format!("definitions/{release}/whole/{flavour}"),
                format!("Full Definitions {} for Defender {flavour}", version(release)),
                "AM_Base.exe".to_owned(),
            ),
            Part::Recent(_) => (
                format!("definitions/{release}/recent/{flavour}"),
                format!("Full Deltas {} for Defender {flavour}", version(release)),
                "AM_Delta.exe".to_owned(),
            ),
            Part::Engine(_) => (
                format!("definitions/engine/{engine}/{flavour}"),
                format!("AM Engine {engine} for Defender {flavour} Broad"),
                "AM_Engine.exe".to_owned(),
            ),
            Part::Stub => (
                "definitions/stub".to_owned(),
                "Defender MpSigStub 1.1.24010.2001".to_owned(),
                "MpSigStub.exe".to_owned(),
            ),
            Part::Patch { behind, .. } => (
                format!("definitions/{release}/patch/{flavour}/{behind}"),
                format!("Deltas {} for Defender {flavour}", version(release)),
                format!("AM_Delta_Patch_1.459.{}.0.exe", (BASE + release).saturating_sub(behind)),
            ),
        };
        let identity = UpdateIdentity { update: identity(self.config.seed, &key), revision: 200 };
        if self.find(&identity).is_some() {
            return (identity, None);
        }
        let mut package = Revision::new(identity, Kind::Package);
        let machine = part.flavour().map(|at| self.world.architectures[at]);
        let defender = self.world.products[DEFENDER].id;
        package.prerequisites =
            machine.map(|id| Clause { any_of: vec![id], marked: None }).into_iter().collect();
        package.prerequisites.push(Clause { any_of: vec![defender], marked: Some(false) });
        let behind = match part {
            Part::Whole(_) => Some(0),
            Part::Patch { behind, .. } => Some(behind),
            _ => None,
        };
        let need = behind.map_or("<lar:True />".to_owned(), |behind| {
            format!(
                "<bar:RegKeyExists Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\\Tailwater\\Simulated\\Behind{behind}\" />"
            )
        });
        let installed = installed_rule(&key.replace('/', "-"));
        package.rules = format!("{installed}<upd:IsInstallable>{need}</upd:IsInstallable>");
        package.titles = vec![("en", title)];
        package.files = vec![self.payload(file, size, None)];
        (identity, Some(package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Config;
    use tailwater_domain::ByteCount;

    #[test]
    fn a_release_of_155_packages_is_mostly_for_other_machines() {
        let size = ByteCount(1_220_000_000);
        let config = Config {
            updates: 1,
            definitions: 1,
            drivers: 0,
            definition_files: 155,
            definition_size: Some(size),
            ..Config::default()
        };
        let catalog = Catalog::new(config);
        let files: Vec<_> = catalog
            .payloads
            .iter()
            .filter(|file| file.name.starts_with("AM_") || file.name.starts_with("MpSig"))
            .collect();
        assert_eq!(files.len(), 155);
        let total: u64 = files.iter().map(|file| file.size).sum();
        assert!((size.0 * 9 / 10..size.0 * 11 / 10).contains(&total), "{total}");
    }

    #[test]
    fn what_did_not_change_is_the_same_package() {
        let config = Config { updates: 1, definitions: 5, drivers: 0, ..Config::default() };
        let catalog = Catalog::new(config);
        let engines = catalog
            .revisions
            .iter()
            .filter(|revision| revision.titles.iter().any(|(_, title)| title.contains("Engine")));
        assert_eq!(engines.count(), 2 * 3, "releases 0 to 3 share one, 4 has another");
    }
}
