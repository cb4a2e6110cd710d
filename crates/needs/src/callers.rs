//! Which classes of computers called from which address: a request for a payload says nothing but its address.
//!
//! **Invariant:** every class that called from an address within a lease counts, because behind one address may stand a
//! whole site. What is foreseen is the union over classes, so that one class too many moves no byte more. It never keeps
//! which computer it was.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::memory::ClassName;
use tailwater_catalog::Computer;
use tailwater_domain::{Limit, limits};

/// Addresses remembered; those seen longest ago go first.
const MAX_ADDRESSES: usize = 65_536;

/// Classes remembered of one address.
const MAX_CLASSES: usize = 16;

/// Days for which an address is believed: what DHCP servers lease an address for by default.
const LEASE_DAYS: i32 = 8;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ADDRESSES in "addresses": "Addresses remembered" => "it is not remembered until others are forgotten",
    MAX_CLASSES in "classes": "Classes of computers remembered of one address" => "the one seen longest ago is forgotten",
    LEASE_DAYS in "days": "Days that an address is believed to be the same computers'" => "it is forgotten",
];

/// Downstream servers that say who they are.
pub(super) const SERVERS: &str = "downstream servers";

/// Who asks when no computer called from the address: other downstream servers, and computers not seen yet.
pub(super) const OTHERS: &str = "others";

/// The classes of one address with the day each was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen(pub(super) Vec<(ClassName, i32)>);

/// Addresses and their classes.
#[derive(Debug, Default)]
pub(super) struct Callers {
    pub(super) known: HashMap<IpAddr, Seen>,
    /// What changed since it was last taken for storing.
    changed: HashSet<IpAddr>,
}

/// What of a computer decides which files it needs: kind and build of its system, and its architecture.
pub(super) fn class_of(computer: &Computer) -> Option<ClassName> {
    let info = computer.info.as_ref()?;
    // 1 is a workstation, 2 a domain controller, 3 a server
    let kind = if info.old_product_type > 1 { "Windows Server" } else { "Windows" };
    let architecture: String =
        info.architecture.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let name = format!(
        "{kind} {}.{}.{} {}",
        info.os_major,
        info.os_minor,
        info.os_build,
        architecture.to_uppercase()
    );
    Some(name.trim_end().to_owned())
}

impl Callers {
    /// Notes a call. Whether it told anything new.
    pub(super) fn called(&mut self, from: IpAddr, class: &str, day: i32) -> bool {
        if self.known.len() >= MAX_ADDRESSES && !self.known.contains_key(&from) {
            self.age(day);
            if self.known.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let seen = &mut self.known.entry(from).or_default().0;
        // days of a clock that was ahead are today
        for (_, last) in seen.iter_mut() {
            *last = day.min(*last);
        }
        match seen.iter_mut().find(|(known, _)| known == class) {
            Some((_, last)) if *last == day => return false,
            Some((_, last)) => *last = day,
            None => seen.push((class.to_owned(), day)),
        }
        if seen.len() > MAX_CLASSES {
            seen.sort_unstable_by_key(|(_, last)| std::cmp::Reverse(*last));
            seen.truncate(MAX_CLASSES);
        }
        self.changed.insert(from);
        true
    }

    /// What changed since this was asked last; an address that is no longer known is to be removed.
    pub(super) fn take_changed(&mut self) -> HashSet<IpAddr> {
        std::mem::take(&mut self.changed)
    }

    /// The classes that count for an address.
    pub(super) fn classes(&self, from: IpAddr, day: i32) -> Vec<ClassName> {
        let seen = self.known.get(&from).map_or(&[][..], |seen| &seen.0);
        let fresh = seen.iter().filter(|(_, last)| day.saturating_sub(*last) <= LEASE_DAYS);
        let classes: Vec<ClassName> = fresh.map(|(class, _)| class.clone()).collect();
        if classes.is_empty() { vec![OTHERS.to_owned()] } else { classes }
    }

    /// Forgets addresses whose leases are over. Which.
    pub(super) fn age(&mut self, day: i32) -> Vec<IpAddr> {
        for seen in self.known.values_mut() {
            seen.0.iter_mut().for_each(|(_, last)| *last = day.min(*last));
        }
        let over = |seen: &Seen| seen.0.iter().all(|(_, last)| day.saturating_sub(*last) > LEASE_DAYS);
        let gone: Vec<IpAddr> =
            self.known.iter().filter(|(_, seen)| over(seen)).map(|(address, _)| *address).collect();
        for address in &gone {
            self.known.remove(address);
        }
        self.changed.extend(&gone);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_classes_behind_an_address_count_until_the_lease_is_over() {
        let (mut callers, address) = (Callers::default(), IpAddr::from([192, 0, 2, 7]));
        assert_eq!(callers.classes(address, 1), [OTHERS]);
        assert!(callers.called(address, "A", 1) && callers.called(address, "B", 3));
        assert!(!callers.called(address, "B", 3), "known already");
        assert_eq!(callers.classes(address, 9), ["A", "B"]);
        assert_eq!(callers.classes(address, 10), ["B"]);
        assert!(callers.age(11).is_empty());
        assert_eq!(callers.age(12), [address]);
        assert_eq!(callers.classes(address, 12), [OTHERS]);
    }

    #[test]
    fn an_address_does_not_gather_classes_without_end() {
        let (mut callers, address) = (Callers::default(), IpAddr::from([192, 0, 2, 7]));
        for number in 0..100 {
            callers.called(address, &format!("class {number}"), number);
        }
        assert!(callers.known[&address].0.len() <= MAX_CLASSES);
    }

    #[test]
    fn days_of_a_clock_that_was_ahead_end_like_all_others() {
        let (mut callers, address) = (Callers::default(), IpAddr::from([192, 0, 2, 7]));
        for ahead in [1, 30, 3_650] {
            callers.called(address, "A", 100 + ahead);
            assert!(callers.age(100).is_empty());
            assert_eq!(callers.classes(address, 100 + LEASE_DAYS), ["A"]);
            assert_eq!(callers.age(101 + LEASE_DAYS), [address], "{ahead}");
        }
    }
}
