//! Computers that said who they are and did not scan yet: in memory only, until a scan makes them members of the fleet.
//!
//! An identity costs its maker nothing, so it must not cost this server anything lasting. When the table is full, the
//! address that has the most computers in it loses its oldest one: whoever makes computers up pushes out its own.
//!
//! **Invariant:** never more than [`MAX_PROVISIONAL`] computers and [`MAX_PROVISIONAL_BYTES`]; nothing of it is written
//! anywhere. It never decides who becomes a member.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::values::computer::{Caller, Computer};
use tailwater_domain::{ComputerId, Limit, Subnet, limits};

/// The most computers that wait for their first scan: a site that is set up at once, many times over.
pub(crate) const MAX_PROVISIONAL: usize = 10_000;
/// The most memory for what they said: 1 KB each as a rule, 20 KB for who sends the longest texts.
pub(crate) const MAX_PROVISIONAL_BYTES: usize = 16 << 20;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_PROVISIONAL in "computers": "Computers that said who they are and did not scan yet" => "the oldest of the address that has most goes, and registers again",
    MAX_PROVISIONAL_BYTES in "bytes": "What those computers said" => "the oldest of the address that has most goes, and registers again",
];

/// Whose a computer in the table is: an IPv4 address, or 64 bits of an IPv6 address, which one host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Nobody,
    Address(IpAddr),
    Range(Subnet),
}

impl Owner {
    fn of(caller: &Caller) -> Self {
        match caller.address.map(|address| address.to_canonical()) {
            None => Self::Nobody,
            Some(address @ IpAddr::V4(_)) => Self::Address(address),
            Some(address) => Self::Range(Subnet::of(address)),
        }
    }
}

struct Entry {
    computer: Arc<Computer>,
    owner: Owner,
    bytes: usize,
}

#[derive(Default)]
struct Table {
    entries: HashMap<ComputerId, Entry>,
    /// By owner, the oldest first.
    owned: HashMap<Owner, VecDeque<ComputerId>>,
    bytes: usize,
}

/// The table.
#[derive(Default)]
pub(crate) struct Provisional(Mutex<Table>);

/// Bytes that a computer takes, about.
fn size(computer: &Computer) -> usize {
    let texts = computer.info.as_ref().map_or(0, |info| {
        [
            &info.dns_name,
            &info.locale,
            &info.manufacturer,
            &info.model,
            &info.bios_version,
            &info.bios_name,
            &info.bios_date,
            &info.architecture,
            &info.client_version,
            &info.os_description,
            &info.oem,
            &info.device_type,
            &info.firmware_version,
            &info.mobile_operator,
        ]
        .iter()
        .map(|text| text.len())
        .sum()
    });
    let requested: usize = computer.requested_groups.iter().map(|name| name.len() + 24).sum();
    let attributes = computer.device_attributes.as_ref().map_or(0, String::len);
    size_of::<Computer>()
        + 3 * computer.id.0.len()
        + computer.dns_name.len()
        + texts
        + requested
        + attributes
        + 200
}

impl Table {
    fn remove(&mut self, id: &ComputerId) -> Option<Arc<Computer>> {
        let entry = self.entries.remove(id)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        if let Some(list) = self.owned.get_mut(&entry.owner) {
            // the oldest is pushed out and the newest says more: both ends are near
            if list.front() == Some(id) {
                list.pop_front();
            } else if let Some(at) = list.iter().rposition(|other| other == id) {
                list.remove(at);
            }
            if list.is_empty() {
                self.owned.remove(&entry.owner);
            }
        }
        Some(entry.computer)
    }

    /// Takes the oldest computer from the owner with the most.
    fn push_one_out(&mut self) {
        let most = self.owned.iter().max_by_key(|(_, list)| list.len());
        let Some(oldest) = most.and_then(|(_, list)| list.front()).cloned() else { return };
        self.remove(&oldest);
    }
}

impl Provisional {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.table().entries.get(id).map(|entry| Arc::clone(&entry.computer))
    }

    /// Puts a computer in, or what is known of it in the place of what was. It keeps the owner that brought it first.
    pub(crate) fn put(&self, computer: Computer, caller: &Caller) -> Arc<Computer> {
        let mut table = self.table();
        let known = table.entries.get(&computer.id).map(|entry| entry.owner);
        let owner = known.unwrap_or_else(|| Owner::of(caller));
        table.remove(&computer.id);
        let bytes = size(&computer);
        while !table.entries.is_empty()
            && (table.entries.len() >= MAX_PROVISIONAL || table.bytes + bytes > MAX_PROVISIONAL_BYTES)
        {
            table.push_one_out();
        }
        let (id, computer) = (computer.id.clone(), Arc::new(computer));
        table.owned.entry(owner).or_default().push_back(id.clone());
        table.entries.insert(id, Entry { computer: Arc::clone(&computer), owner, bytes });
        table.bytes += bytes;
        computer
    }

    pub(crate) fn remove(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.table().remove(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.table().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use tailwater_domain::ComputerFacts;

    fn computer(name: &str) -> Computer {
        Computer::new(&ComputerId(name.to_owned()), Timestamp::UNIX_EPOCH)
    }

    fn caller(last: u8) -> Caller {
        Caller::at(IpAddr::from([192, 0, 2, last]))
    }

    fn is_sound(provisional: &Provisional) {
        let table = provisional.table();
        let owned: usize = table.owned.values().map(VecDeque::len).sum();
        let bytes: usize = table.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!((owned, bytes), (table.entries.len(), table.bytes));
        assert!(table.entries.len() <= MAX_PROVISIONAL && bytes <= MAX_PROVISIONAL_BYTES);
        assert!(table.owned.values().all(|list| !list.is_empty()));
    }

    #[test]
    fn whoever_makes_computers_up_pushes_out_its_own() {
        let provisional = Provisional::default();
        for number in 0..500 {
            provisional.put(computer(&format!("site-{number}")), &caller(1));
        }
        for number in 0..3 * MAX_PROVISIONAL {
            provisional.put(computer(&format!("made-up-{number}")), &caller(66));
        }
        is_sound(&provisional);
        let real = |number: usize| provisional.get(&ComputerId(format!("site-{number}"))).is_some();
        assert!((0..500).all(real), "a real one was pushed out");
        assert!(provisional.get(&ComputerId("made-up-0".to_owned())).is_none());
        let last = format!("made-up-{}", 3 * MAX_PROVISIONAL - 1);
        assert!(provisional.get(&ComputerId(last)).is_some());
    }

    #[test]
    fn an_ipv6_host_is_one_owner_whatever_addresses_it_makes_up() {
        let provisional = Provisional::default();
        provisional.put(computer("real"), &Caller::at("2001:db8:1::1".parse().unwrap()));
        for number in 0..2 * MAX_PROVISIONAL as u128 {
            let address = std::net::Ipv6Addr::from_bits((0x2001_0db8_0002_u128 << 80) | number);
            provisional.put(computer(&format!("made-up-{number}")), &Caller::at(address.into()));
        }
        is_sound(&provisional);
        assert!(provisional.get(&ComputerId("real".to_owned())).is_some());
    }

    #[test]
    fn bytes_are_bounded_also_when_computers_say_more_later() {
        let provisional = Provisional::default();
        for number in 0..MAX_PROVISIONAL {
            provisional.put(computer(&format!("pc-{number}")), &caller(1));
        }
        let long = "x".repeat(4_096);
        for number in 0..MAX_PROVISIONAL {
            let mut one = computer(&format!("pc-{number}"));
            one.info = Some(ComputerFacts { oem: long.clone(), ..ComputerFacts::default() });
            provisional.put(one, &caller(1));
        }
        is_sound(&provisional);
        let last = ComputerId(format!("pc-{}", MAX_PROVISIONAL - 1));
        assert!(provisional.get(&last).unwrap().info.is_some());
        assert!(provisional.remove(&last).is_some() && provisional.remove(&last).is_none());
        is_sound(&provisional);
    }
}
