//! What the stand-in offers: revisions that follow from a seed, and what a filter selects of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::config::Config;
use super::payload::{Payload, mixed};
use super::revision::{Clause, Kind, Revision};
use super::world::{ARCHITECTURES, DEFENDER, LANGUAGES, World, identity};
use tailwater_domain::{UpdateId, UpdateIdentity};

/// Predecessors that an update names as superseded.
const SUPERSEDED: usize = 4;

/// Classifications that ordinary updates are spread over: security, critical, rollups, updates.
const ORDINARY: [usize; 5] = [0, 0, 2, 1, 3];

/// Definitions and drivers in the list of classifications.
const DEFINITIONS: usize = 4;
const DRIVERS: usize = 7;

/// What `GetRevisionIdList` selects by: identities, and whether only news of each are wanted.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) configuration: bool,
    pub(super) since: u64,
    pub(super) products: Option<HashMap<UpdateId, bool>>,
    pub(super) classifications: Option<HashMap<UpdateId, bool>>,
}

/// Everything that is offered.
pub(super) struct Catalog {
    pub(super) config: Config,
    pub(super) world: World,
    pub(super) revisions: Vec<Revision>,
    places: HashMap<UpdateIdentity, usize>,
    pub(super) payloads: Vec<Arc<Payload>>,
    /// The latest updates by product, classification and architecture: what the next one supersedes.
    chains: HashMap<(usize, usize, usize), Vec<UpdateId>>,
    eula: usize,
    made: u32,
    /// Releases of definitions.
    pub(super) released: u32,
    pub(super) sequence: u64,
}

impl Catalog {
    pub(super) fn new(config: Config) -> Self {
        let (world, configuration) = World::new(config.seed);
        let mut catalog = Self {
            world,
            revisions: Vec::new(),
            places: HashMap::new(),
            payloads: Vec::new(),
            chains: HashMap::new(),
            eula: 0,
            made: 0,
            released: 0,
            sequence: 0,
            config,
        };
        for revision in configuration {
            catalog.add(revision);
        }
        catalog.eula = catalog.payload("license-terms.txt".to_owned(), 6_000, None);
        let (updates, definitions) = (catalog.config.updates, catalog.config.definitions);
        (0..definitions).for_each(|_| catalog.add_definitions());
        (0..catalog.config.drivers).for_each(|number| catalog.add_driver(number));
        catalog.publish(updates);
        (0..catalog.config.encrypted).for_each(|number| catalog.add_encrypted(number));
        catalog
    }

    pub(super) fn add(&mut self, mut revision: Revision) {
        self.sequence += 1;
        revision.sequence = self.sequence;
        self.places.insert(revision.identity, self.revisions.len());
        self.revisions.push(revision);
    }

    pub(super) fn payload(&mut self, name: String, size: u64, patching: Option<&'static str>) -> usize {
        let key = mixed(self.config.seed) ^ mixed(self.payloads.len() as u64 + 1);
        self.payloads.push(Arc::new(Payload::new(name, size, key, patching)));
        self.payloads.len() - 1
    }

    /// A size around the mean: most are smaller, some are several times it.
    fn size(&self, number: u64) -> u64 {
        let mean = self.config.mean_size.0.max(8);
        match mixed(self.config.seed ^ mixed(number)) % 16 {
            0 => mean * 4,
            1..=3 => mean * 3 / 2,
            4..=9 => mean * 4 / 5,
            _ => mean / 4,
        }
    }

    /// The document of a revision.
    pub(super) fn find(&self, identity: &UpdateIdentity) -> Option<&Revision> {
        self.places.get(identity).map(|&place| &self.revisions[place])
    }

    /// Adds ordinary updates: bundles by architecture, flat bundles, and updates with a payload of their own.
    pub(super) fn publish(&mut self, count: u32) {
        for number in self.made..self.made.saturating_add(count) {
            self.add_update(number);
        }
        self.made = self.made.saturating_add(count);
    }

    fn add_update(&mut self, number: u32) {
        let place = number as usize;
        let (product, class) = (place % self.world.products.len(), ORDINARY[place / 6 % ORDINARY.len()]);
        let architecture = place / 3 % 2;
        let kb = 5_030_000 + number;
        let id = identity(self.config.seed, &format!("update/{number}"));
        let mut update =
            Revision::new(UpdateIdentity { update: id, revision: 200 + number % 5 }, Kind::Update);
        let packages: &[usize] = match number % 4 {
            0 => &[0, 1, 2],
            1 => &[],
            _ => &[architecture],
        };
        update.titles = self.titles(number, product, (packages.len() == 1).then_some(architecture));
        update.kb = Some(kb);
        update.severity = (class == 0).then_some(["Critical", "Important", "Moderate"][place % 3]);
        update.expired = number % 60 == 59;
        update.eula = (number % 40 == 7).then_some(self.eula);
        update.prerequisites = self.belongs(product, class, number.is_multiple_of(2));
        let installed = installed_rule(&format!("KB{kb}"));
        if packages.is_empty() {
            let size = self.size(u64::from(number));
            update.files = vec![self.payload(format!("windows-kb{kb}.msu"), size, None)];
            update.rules = format!("{installed}<upd:IsInstallable><lar:True /></upd:IsInstallable>");
        } else {
            let parts: Vec<_> = packages.iter().map(|&arch| self.add_package(number, kb, arch)).collect();
            update.bundled = vec![parts];
        }
        let chain = self.chains.entry((product, class, architecture)).or_default();
        update.supersedes = chain.iter().rev().take(SUPERSEDED).copied().collect();
        chain.push(id);
        self.add(update);
    }

    /// The clauses by which an update belongs to a product and a classification.
    fn belongs(&self, product: usize, class: usize, with_system: bool) -> Vec<Clause> {
        let product = &self.world.products[product];
        let system = product.system.filter(|_| with_system);
        let marked = |id| Clause { any_of: vec![id], marked: Some(true) };
        let mut clauses: Vec<_> =
            system.map(|id| Clause { any_of: vec![id], marked: None }).into_iter().collect();
        clauses.extend([marked(product.id), marked(self.world.classifications[class])]);
        clauses
    }

    fn titles(
        &self,
        number: u32,
        product: usize,
        architecture: Option<usize>,
    ) -> Vec<(&'static str, String)> {
        let (year, month) = (2024 + number / 480 % 3, number / 40 % 12 + 1);
        let suffix = architecture.map_or(String::new(), |at| format!(" ({})", ARCHITECTURES[at].0));
        let title = self.world.products[product].title;
        let languages = 1 + number as usize % LANGUAGES.len();
        LANGUAGES[..languages]
            .iter()
            .map(|(code, _, phrase)| {
                let kb = 5_030_000 + number;
                (
                    *code,
                    format!("{year}-{month:02} {phrase} {title}{suffix} (KB{kb}) <rev. {number} & later>"),
                )
            })
            .collect()
    }

    /// A part of a bundle for one architecture, every third with an express pair beside the whole package.
    fn add_package(&mut self, number: u32, kb: u32, architecture: usize) -> UpdateIdentity {
        let (title, _, short) = ARCHITECTURES[architecture];
        let update = identity(self.config.seed, &format!("package/{number}/{short}"));
        let mut package = Revision::new(UpdateIdentity { update, revision: 200 }, Kind::Package);
        let size = self.size(u64::from(number) << 8 | architecture as u64);
        let base = format!("windows-kb{kb}-{short}");
        package.files = if number.is_multiple_of(3) {
            vec![
                self.payload(format!("{base}.cab"), size, Some("SelfContained")),
                self.payload(format!("{base}.psf"), size * 3 / 2, Some("Express")),
                self.payload(format!("{base}-express.cab"), size / 10, None),
            ]
        } else {
            vec![self.payload(format!("{base}.cab"), size, None)]
        };
        package.titles = vec![("en", format!("KB{kb} package for {title}"))];
        package.prerequisites =
            vec![Clause { any_of: vec![self.world.architectures[architecture]], marked: None }];
        let installed = installed_rule(&format!("KB{kb}"));
        package.rules = format!("{installed}<upd:IsInstallable><lar:True /></upd:IsInstallable>");
        let identity = package.identity;
        self.add(package);
        identity
    }

    /// The bundle that is approved.
    pub(super) fn add_definitions_bundle(&mut self, release: u32, groups: Vec<Vec<UpdateIdentity>>) {
        let seed = self.config.seed;
        let id = identity(seed, &format!("definitions/{release}"));
        let mut update = Revision::new(UpdateIdentity { update: id, revision: 200 }, Kind::Update);
        let version = 500 + release;
        let title = format!(
            "Security Intelligence Update for Defender - KB2267602 (Version 1.459.{version}.0) - Broad"
        );
        update.titles = vec![("en", title)];
        update.kb = Some(2_267_602);
        update.prerequisites = self.belongs(DEFENDER, DEFINITIONS, false);
        update.bundled = groups;
        let chain = self.chains.entry((DEFENDER, DEFINITIONS, 0)).or_default();
        update.supersedes = chain.iter().rev().take(SUPERSEDED).copied().collect();
        chain.push(id);
        self.add(update);
    }

    fn add_driver(&mut self, number: u32) {
        let update = identity(self.config.seed, &format!("driver/{number}"));
        let mut driver = Revision::new(UpdateIdentity { update, revision: 1 }, Kind::Driver);
        driver.titles = vec![("en", format!("Sample Devices - Net - 10.{number}.0.1"))];
        driver.hardware_id = Some(format!("PCI\\VEN_1AF4&DEV_{number:04X}"));
        driver.prerequisites = self.belongs(number as usize % 2, DRIVERS, false);
        let size = self.size(u64::from(number) << 32);
        driver.files = vec![self.payload(format!("driver-{number:04}.cab"), size, None)];
        self.add(driver);
    }

    /// The revisions that a filter selects, with the parts of their bundles, in the order of appearance.
    pub(super) fn select(&self, selection: &Selection) -> Vec<UpdateIdentity> {
        if selection.configuration {
            let news =
                |revision: &&Revision| revision.is_configuration() && revision.sequence > selection.since;
            return self.revisions.iter().filter(news).map(|revision| revision.identity).collect();
        }
        let mut chosen = HashSet::new();
        let mut open = Vec::new();
        for revision in &self.revisions {
            if matches!(revision.kind, Kind::Update | Kind::Driver) && matches(revision, selection) {
                open.push(revision.identity);
            }
        }
        while let Some(identity) = open.pop() {
            if chosen.insert(identity)
                && let Some(revision) = self.find(&identity)
            {
                open.extend(revision.bundled.iter().flatten().copied());
            }
        }
        let listed = self.revisions.iter().map(|revision| revision.identity);
        listed.filter(|identity| chosen.contains(identity)).collect()
    }
}

/// Both lists must name one of its categories; an absent pair of lists selects everything.
fn matches(revision: &Revision, selection: &Selection) -> bool {
    let new = revision.sequence > selection.since;
    let (products, classes) = match (&selection.products, &selection.classifications) {
        (None, None) => return new,
        (Some(products), Some(classes)) => (products, classes),
        _ => return false,
    };
    let named = || revision.prerequisites.iter().flat_map(|clause| &clause.any_of);
    let product: Vec<bool> = named().filter_map(|id| products.get(id).copied()).collect();
    let class: Vec<bool> = named().filter_map(|id| classes.get(id).copied()).collect();
    // a category asked for whole gives everything, one asked for by difference gives what is new
    let whole = |deltas: &[bool]| deltas.iter().any(|delta| !delta);
    !product.is_empty() && !class.is_empty() && (new || whole(&product) || whole(&class))
}

/// What a simulated machine answers by its list of what it has installed.
pub(super) fn installed_rule(name: &str) -> String {
    format!(
        "<upd:IsInstalled><bar:RegKeyExists Key=\"HKEY_LOCAL_MACHINE\" \
         Subkey=\"SOFTWARE\\Tailwater\\Simulated\\{name}\" /></upd:IsInstalled>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::new(Config { updates: 60, definitions: 2, drivers: 4, ..Config::default() })
    }

    #[test]
    fn the_same_seed_gives_the_same_updates() {
        let identities = |catalog: &Catalog| catalog.revisions.iter().map(|r| r.identity).collect::<Vec<_>>();
        assert_eq!(identities(&catalog()), identities(&catalog()));
        let other = Catalog::new(Config { seed: 2, updates: 60, ..Config::default() });
        assert_ne!(identities(&catalog()), identities(&other));
    }

    #[test]
    fn a_filter_selects_by_both_lists_and_brings_the_parts_of_bundles() {
        let catalog = catalog();
        let ids = |ids: &[UpdateId]| Some(ids.iter().map(|&id| (id, true)).collect());
        let defender = catalog.world.products[DEFENDER].id;
        let definitions = catalog.world.classifications[DEFINITIONS];
        let mut selection = Selection {
            products: ids(&[defender]),
            classifications: ids(&[definitions]),
            ..Selection::default()
        };
        let parts = Config::default().definition_files as usize;
        // engines and the stub are the same in both
        assert_eq!(catalog.select(&selection).len(), 2 * (parts + 1) - 4);
        selection.since = catalog.sequence;
        assert!(catalog.select(&selection).is_empty());
        selection.classifications = None;
        assert!(catalog.select(&selection).is_empty());
        let all = catalog.select(&Selection::default());
        let software = catalog.revisions.iter().filter(|revision| !revision.is_configuration()).count();
        assert_eq!(all.len(), software);
    }

    #[test]
    fn everything_that_is_named_exists() {
        let catalog = catalog();
        let known: HashSet<UpdateId> = catalog.revisions.iter().map(|r| r.identity.update).collect();
        for revision in &catalog.revisions {
            let needed = revision.prerequisites.iter().flat_map(|clause| &clause.any_of);
            assert!(needed.chain(&revision.supersedes).all(|id| known.contains(id)));
            assert!(revision.bundled.iter().flatten().all(|part| catalog.find(part).is_some()));
        }
    }
}
