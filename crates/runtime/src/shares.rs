//! What is in use by clients, of something that there is a bounded amount of: bytes, connections, places.
//!
//! Units are counted in total, by subnet and by address. A site may have all its computers behind one address (a
//! proxy, a NAT, a tailwater with five hundred agents), so an address is held to little only when there is little:
//!
//! | in use, of the total | what a client may come to hold |
//! |---|---|
//! | up to 1/2 | what it asks for, within `per_address` and `per_subnet` |
//! | up to 3/4 | its fair share: the total by the subnets that hold something and one more, for its subnet, and that in turn by the addresses in it and one more, for itself |
//! | up to 7/8 | `least`, by address |
//! | all | `least`, by subnet |
//!
//! Nothing is taken back, so what protects a newcomer is what nobody else may take. The third quarter leaves a large
//! client room beside another; the last two eighths are for those who hold next to nothing. Many addresses of one
//! subnet can fill the first of these, and only as many subnets the second.
//!
//! **Invariant:** the counts are those of the [`Share`]s that exist, and never above the total; only this file changes
//! them. It never waits, and never closes or interrupts what holds a share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailwater_domain::Subnet;

/// Addresses of one subnet are at most this part of all entries, so that one subnet cannot fill the table.
const SUBNET_ENTRIES: usize = 4;
/// A table with room for more entries than this gives memory back when few are left.
const SPARE_ENTRIES: usize = 1_024;

// not a limit: SPARE_ENTRIES: when memory is given back

/// How much there is, and how much of it one client may have. Units are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In use at once, by everybody.
    pub total: u64,
    /// In use at once by one subnet, however much is free; [`u64::MAX`] for no bound of its own.
    pub per_subnet: u64,
    /// In use at once by one address, however much is free; [`u64::MAX`] for no bound of its own.
    pub per_address: u64,
    /// Up to so much in use everybody has what it asks for; half of the total as a rule. All of it where what is in use can
    /// be taken back from the largest holder, as connections can.
    pub free: u64,
    /// What an address, and a subnet, may hold when nearly all is in use. An eighth of the total divided by this is
    /// how many addresses, or subnets, are sure of it.
    pub least: u64,
    /// Addresses that hold something at once: bounds this table's own memory, at about 100 bytes each.
    pub entries: usize,
}

impl Limits {
    /// So much in all, without bounds by client beyond the fair ones; the least is a 1,024th.
    pub fn of(total: u64) -> Self {
        Self {
            total,
            per_subnet: u64::MAX,
            per_address: u64::MAX,
            free: total / 2,
            least: (total / 1_024).max(1),
            entries: 65_536,
        }
    }
}

/// Which bound stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// All of it is in use.
    #[error("all of it is in use")]
    Total,
    /// The subnet has what one subnet may have now.
    #[error("the subnet has its share")]
    Subnet,
    /// The address has what one address may have now.
    #[error("the address has its share")]
    Address,
    /// There are too many addresses to count them apart.
    #[error("too many addresses hold a share")]
    Entries,
}

/// The table. Cheap to clone; clones share the same counts.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    most: u64,
    refused: u64,
    subnets: HashMap<Subnet, Network>,
    addresses: HashMap<IpAddr, u64>,
}

/// What a subnet has; in the table as long as that is something.
#[derive(Debug, Default, Clone, Copy)]
struct Network {
    used: u64,
    addresses: usize,
}

/// What is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse {
    /// Units.
    pub used: u64,
    /// Units there are.
    pub total: u64,
    /// The most units that were in use at once.
    pub most: u64,
    /// Addresses that hold some.
    pub addresses: usize,
    /// Subnets that hold some.
    pub subnets: usize,
    /// How often something was refused.
    pub refused: u64,
}

impl Shares {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes units for a client; none is fine, and grown later.
    ///
    /// # Errors
    /// The bound that stands in the way.
    pub fn try_take(&self, address: IpAddr, units: u64) -> Result<Share, Refused> {
        let mut share = Share { shares: self.clone(), address: address.to_canonical(), units: 0 };
        share.grow(units)?;
        Ok(share)
    }

    /// What an address holds.
    pub fn held_by(&self, address: IpAddr) -> u64 {
        self.state().addresses.get(&address.to_canonical()).copied().unwrap_or(0)
    }

    /// What is in use.
    pub fn in_use(&self) -> InUse {
        let state = self.state();
        InUse {
            used: state.used,
            total: self.0.limits.total,
            most: state.most,
            addresses: state.addresses.len(),
            subnets: state.subnets.len(),
            refused: state.refused,
        }
    }
}

impl State {
    fn check(&self, limits: &Limits, address: IpAddr, subnet: Subnet, units: u64) -> Result<(), Refused> {
        let network = self.subnets.get(&subnet).copied().unwrap_or_default();
        let held = self.addresses.get(&address).copied();
        let total = self.used.checked_add(units).filter(|total| *total <= limits.total);
        let total = total.ok_or(Refused::Total)?;
        // neither can overflow: both are at most what is in use
        let (of_subnet, of_address) = (network.used + units, held.unwrap_or(0) + units);
        if of_address > limits.per_address {
            return Err(Refused::Address);
        }
        if of_subnet > limits.per_subnet {
            return Err(Refused::Subnet);
        }
        if held.is_none() {
            if self.addresses.len() >= limits.entries {
                return Err(Refused::Entries);
            }
            if network.addresses >= limits.entries.div_ceil(SUBNET_ENTRIES) {
                return Err(Refused::Subnet);
            }
        }
        // rounded down, so that of two units one is kept
        let kept = |eighths: u64| limits.total / 8 * eighths + (limits.total % 8 * eighths).div_ceil(8);
        let part = |eighths: u64| limits.total - kept(8 - eighths);
        if total <= limits.free || (total <= part(7) && of_address <= limits.least) {
            return Ok(());
        }
        if total <= part(6) {
            let subnets = self.subnets.len() + usize::from(network.addresses == 0);
            let addresses = network.addresses + usize::from(held.is_none());
            let fair = limits.total / (subnets as u64 + 1);
            return if of_subnet > fair {
                Err(Refused::Subnet)
            } else if of_address > if addresses > 1 { fair / (addresses as u64 + 1) } else { fair } {
                Err(Refused::Address)
            } else {
                Ok(())
            };
        }
        if of_address > limits.least {
            Err(Refused::Address)
        } else if of_subnet > limits.least {
            Err(Refused::Subnet)
        } else {
            Ok(())
        }
    }

    fn add(&mut self, address: IpAddr, subnet: Subnet, units: u64) {
        self.used += units;
        self.most = self.most.max(self.used);
        let network = self.subnets.entry(subnet).or_default();
        network.used += units;
        let held = self.addresses.entry(address).or_insert_with(|| {
            network.addresses += 1;
            0
        });
        *held += units;
    }

    fn remove(&mut self, address: IpAddr, subnet: Subnet, units: u64) {
        self.used = self.used.saturating_sub(units);
        let Some(held) = self.addresses.get_mut(&address) else { return };
        *held = held.saturating_sub(units);
        let gone = *held == 0;
        if gone {
            self.addresses.remove(&address);
            give_back(&mut self.addresses);
        }
        let Some(network) = self.subnets.get_mut(&subnet) else { return };
        network.used = network.used.saturating_sub(units);
        network.addresses = network.addresses.saturating_sub(usize::from(gone));
        if network.addresses == 0 {
            self.subnets.remove(&subnet);
            give_back(&mut self.subnets);
        }
    }
}

fn give_back<K: std::hash::Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SPARE_ENTRIES && table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2);
    }
}

/// Units that a client holds; given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    address: IpAddr,
    units: u64,
}

impl Share {
    /// How many.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Takes more. Without room for all of it nothing is taken, and what was held stays.
    ///
    /// # Errors
    /// The bound that stands in the way.
    pub fn grow(&mut self, units: u64) -> Result<(), Refused> {
        if units == 0 {
            return Ok(());
        }
        let subnet = Subnet::of(self.address);
        let mut state = self.shares.state();
        if let Err(refused) = state.check(&self.shares.0.limits, self.address, subnet, units) {
            state.refused += 1;
            return Err(refused);
        }
        state.add(self.address, subnet, units);
        drop(state);
        self.units += units;
        Ok(())
    }

    /// Gives some back; at most what is held.
    pub fn shrink(&mut self, units: u64) {
        let units = units.min(self.units);
        if units > 0 {
            self.units -= units;
            self.shares.state().remove(self.address, Subnet::of(self.address), units);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.units);
    }
}

#[cfg(test)]
mod tests;
