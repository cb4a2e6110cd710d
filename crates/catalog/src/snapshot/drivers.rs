//! The driver pass: the best driver for each device ([MS-WUSP] 3.1.5.7).
//!
//! **Invariant:** a driver is offered only if it is better than what the device has installed, and for each
//! device at most one is best. What candidates say of themselves is asked of the caller; nothing here reads
//! a disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::bits::Bits;
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::snapshot::scan::Question;
use crate::storage::manifest::hardware_hash;
use crate::values::facts::StoredFacts;
use crate::values::scan::{Device, DriverQuery, InstalledDriver, ScanAnswer};
use tailwater_domain::{DriverFacts, Limit, UpdateType, limits};

/// The most devices that are looked at; a real machine has 70 to 200.
const MAX_DEVICES: usize = 2_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DEVICES in "devices": "Devices of one scan" => "they are passed over",
];

/// Position of what is not in a list: behind everything that is.
const UNLISTED: usize = usize::MAX;
/// Feature score of a driver without one: the worst there is ([MS-WUSP] 3.1.1, 0 to 255).
const UNSCORED: u8 = 0xFF;

/// How well a driver fits a device; the least is the best.
type Rank = (usize, u8, usize, Reverse<String>, Reverse<u64>);

/// A machine, with positions for quick comparison.
struct Machine<'a> {
    /// Position of each computer hardware identity, lower case.
    computer_ids: HashMap<String, usize>,
    feature_key: Option<&'a str>,
}

/// A computer hardware identity as it is compared: a GUID with or without braces, in any letter case.
fn plain(id: &str) -> String {
    id.trim().trim_start_matches('{').trim_end_matches('}').to_lowercase()
}

impl Machine<'_> {
    /// Where in the machine's list the best identity stands that a driver is for: what its publisher distributes it
    /// to, what it is made for, or where it says both, what is in both. `None` when it is for other machines.
    fn aim(&self, driver: &DriverFacts) -> Option<usize> {
        let (made_for, sent_to) = (&driver.computer_hardware_ids, &driver.distribution_ids);
        let position = |id: &String| self.computer_ids.get(&plain(id)).copied();
        let best = |ids: &[String]| ids.iter().filter_map(position).min();
        match (made_for.is_empty(), sent_to.is_empty()) {
            (true, true) => Some(UNLISTED),
            (false, true) => best(made_for),
            (true, false) => best(sent_to),
            (false, false) => {
                let in_both =
                    made_for.iter().filter(|id| sent_to.iter().any(|other| plain(other) == plain(id)));
                in_both.filter_map(position).min()
            }
        }
    }

    /// The rank of a driver's match for a device; `None` when it is for other machines.
    fn rank(&self, driver: &DriverFacts, position: usize) -> Option<Rank> {
        let computer = self.aim(driver)?;
        let scores = driver.feature_scores.iter().filter(|(system, _)| {
            self.feature_key.is_some_and(|key| system.trim().eq_ignore_ascii_case(key.trim()))
        });
        let score = scores.map(|(_, score)| *score).min().unwrap_or(UNSCORED);
        let date = driver.date.chars().take(10).collect();
        Some((computer, score, position, Reverse(date), Reverse(driver.version)))
    }

    /// The rank of what is installed.
    fn installed_rank(&self, installed: &InstalledDriver, ids: &HashMap<String, usize>) -> Rank {
        let computer =
            installed.computer_hardware_id.as_ref().and_then(|id| self.computer_ids.get(&plain(id)));
        let position = installed.matching_id.as_ref().and_then(|id| ids.get(&id.to_lowercase()));
        // a rank is 0xSSGGTHHH: signature, feature score, kind of match
        let score = installed.rank.map_or(UNSCORED, |rank| rank.to_be_bytes()[1]);
        (
            computer.copied().unwrap_or(UNLISTED),
            score,
            position.copied().unwrap_or(UNLISTED),
            Reverse(installed.date.chars().take(10).collect()),
            // four parts of 16 bits, whatever the sign
            Reverse(installed.version.cast_unsigned()),
        )
    }
}

/// Positions of a device's identities, lower case: hardware identities before compatible ones.
fn positions(device: &Device) -> HashMap<String, usize> {
    let mut positions = HashMap::new();
    for (position, id) in device.hardware_ids.iter().chain(&device.compatible_ids).enumerate() {
        positions.entry(id.to_lowercase()).or_insert(position);
    }
    positions
}

fn is_printer(class: &str) -> bool {
    class.eq_ignore_ascii_case("printer")
}

/// A printer's driver is replaced only by one of the same provider and manufacturer.
fn may_replace(installed: &InstalledDriver, driver: &DriverFacts) -> bool {
    let printer = installed.class.as_deref().is_some_and(is_printer);
    let same = |text: &Option<String>, other: &str| {
        text.as_deref().is_some_and(|text| text.eq_ignore_ascii_case(other))
    };
    !printer
        || same(&installed.provider, &driver.provider) && same(&installed.manufacturer, &driver.manufacturer)
}

/// Reads what a revision says of itself.
pub(crate) type Facts<'a> = &'a dyn Fn(u32) -> Result<Option<Arc<StoredFacts>>, CatalogError>;

impl Snapshot {
    /// The best driver of one device: its revision and the identity it matches by.
    fn best_driver(
        &self,
        device: &Device,
        machine: &Machine<'_>,
        may_have: &dyn Fn(u32) -> bool,
        facts: Facts<'_>,
    ) -> Result<Option<(u32, String)>, CatalogError> {
        let world = self.world();
        let ids = positions(device);
        let mut best: Option<(Rank, u32, String, bool)> = None;
        for (id, position) in &ids {
            for revision in world.drivers_for(hardware_hash(id)).filter(|revision| may_have(*revision)) {
                let Some(facts) = facts(revision)? else { continue };
                let matches =
                    facts.facts.drivers.iter().filter(|driver| driver.hardware_id.eq_ignore_ascii_case(id));
                for driver in matches {
                    let Some(rank) = machine.rank(driver, *position) else { continue };
                    if best.as_ref().is_some_and(|(other, than, ..)| (other, than) <= (&rank, &revision)) {
                        continue;
                    }
                    let wanted = device.installed.as_ref().is_none_or(|installed| {
                        may_replace(installed, driver) && rank < machine.installed_rank(installed, &ids)
                    });
                    best = Some((rank, revision, driver.hardware_id.clone(), wanted));
                }
            }
        }
        Ok(best.and_then(|(_, revision, id, wanted)| wanted.then_some((revision, id))))
    }

    /// Every printer driver that the computer may have, with the identities it is for. Asks about every driver;
    /// people wait for this once, when they add a printer.
    fn printers(
        &self,
        offered: &Bits,
        machine: &Machine<'_>,
        may_have: &dyn Fn(u32) -> bool,
        facts: Facts<'_>,
    ) -> Result<BTreeMap<u32, Vec<String>>, CatalogError> {
        let world = self.world();
        let mut printers = BTreeMap::new();
        for position in offered.iter() {
            let id = world.order[position as usize];
            if world.revs[id as usize].update_type != UpdateType::Driver || !may_have(id) {
                continue;
            }
            let Some(facts) = facts(id)? else { continue };
            let drivers = facts.facts.drivers.iter();
            let printing =
                drivers.filter(|driver| is_printer(&driver.class) && machine.aim(driver).is_some());
            let ids: Vec<String> = printing.map(|driver| driver.hardware_id.clone()).collect();
            if !ids.is_empty() {
                printers.insert(id, ids);
            }
        }
        Ok(printers)
    }

    /// The driver pass. `facts` is asked about candidates.
    pub(crate) fn drivers(
        &self,
        query: &DriverQuery<'_>,
        facts: Facts<'_>,
    ) -> Result<ScanAnswer, CatalogError> {
        let world = self.world();
        let reach = self.reach(query.groups);
        let satisfied = self.view().satisfied(query.installed);
        let offered = reach.offered.as_ref().unwrap_or(&self.view().offered);
        let may_have = |id: u32| {
            let rev = &world.revs[id as usize];
            offered.has(rev.position) && satisfied[rev.requirement as usize]
        };
        let computer_ids = query.computer_hardware_ids.iter().enumerate();
        let machine = Machine {
            computer_ids: computer_ids.rev().map(|(position, id)| (plain(id), position)).collect(),
            feature_key: query.feature_key,
        };
        let mut best: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        if query.all_printers {
            best = self.printers(offered, &machine, &may_have, facts)?;
        }
        for device in query.devices.iter().take(MAX_DEVICES) {
            if let Some((revision, id)) = self.best_driver(device, &machine, &may_have, facts)? {
                let ids = best.entry(revision).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        let mut question = Question::new(b'd', self.sequence());
        question.ids(query.groups.iter().map(|id| &id.0)).numbers(query.cached).number(query.since);
        for (revision, hardware_ids) in &best {
            question.number(u64::from(*revision));
            for id in hardware_ids {
                question.text(id);
            }
        }
        let mut answer = ScanAnswer { change_number: self.change_number(), ..ScanAnswer::default() };
        for (revision, hardware_ids) in best.iter().filter(|(id, _)| !query.cached.contains(id)) {
            if answer.new.len() >= query.limit.max(1) {
                answer.truncated = true;
                break;
            }
            answer.new.extend(self.view().offer(*revision, &reach, false).map(|mut offer| {
                offer.hardware_ids.clone_from(hardware_ids);
                offer
            }));
        }
        for id in query.cached {
            match (best.get(id), world.rev(*id)) {
                (Some(hardware_ids), Some(rev)) if self.view().change_of(rev) > query.since => {
                    let mut offer = self.view().offer(*id, &reach, false);
                    if let Some(offer) = &mut offer {
                        offer.hardware_ids.clone_from(hardware_ids);
                    }
                    answer.changed.extend(offer);
                }
                (Some(_), _) => {}
                (None, _) => answer.out_of_scope.push(*id),
            }
        }
        answer.out_of_scope.sort_unstable();
        answer.out_of_scope.dedup();
        answer.fingerprint = question.number(query.limit as u64).fingerprint();
        Ok(answer)
    }
}
