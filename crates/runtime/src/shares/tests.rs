use super::*;

/// A repeatable row of numbers (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// An address of a subnet, of either family.
fn client(subnet: u64, host: u64) -> IpAddr {
    if subnet.is_multiple_of(2) {
        let bytes = |number: u64| number.to_be_bytes();
        IpAddr::from([10, bytes(subnet)[6], bytes(subnet)[7], bytes(host)[7]])
    } else {
        std::net::Ipv6Addr::from((u128::from(0xfd00_0000_0000_0000 + subnet) << 64) | u128::from(host)).into()
    }
}

fn limits(total: u64, least: u64) -> Limits {
    Limits { least, ..Limits::of(total) }
}

#[test]
fn counts_are_those_of_the_shares_and_never_above_a_bound() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let limits = Limits {
            total: 1 + numbers.below(5_000),
            per_subnet: 1 + numbers.below(4_000),
            per_address: 1 + numbers.below(3_000),
            free: numbers.below(3_000),
            least: 1 + numbers.below(20),
            entries: 1 + usize::try_from(numbers.below(60)).unwrap(),
        };
        let shares = Shares::new(limits);
        let mut held: Vec<Share> = Vec::new();
        for _ in 0..3_000 {
            match numbers.below(4) {
                0 | 1 => {
                    let address = client(numbers.below(12), numbers.below(12));
                    held.extend(shares.try_take(address, numbers.below(limits.total / 4 + 2)));
                }
                2 if !held.is_empty() => {
                    let at = usize::try_from(numbers.below(held.len() as u64)).unwrap();
                    let before = held[at].units();
                    let more = numbers.below(200);
                    match held[at].grow(more) {
                        Ok(()) => assert_eq!(held[at].units(), before + more),
                        Err(_) => assert_eq!(held[at].units(), before),
                    }
                    held[at].shrink(numbers.below(300));
                }
                _ if !held.is_empty() => {
                    held.swap_remove(usize::try_from(numbers.below(held.len() as u64)).unwrap());
                }
                _ => {}
            }
            let (mut addresses, mut subnets): (HashMap<_, u64>, HashMap<_, u64>) = Default::default();
            for share in held.iter().filter(|share| share.units() > 0) {
                *addresses.entry(share.address).or_default() += share.units();
                *subnets.entry(Subnet::of(share.address)).or_default() += share.units();
            }
            let now = shares.in_use();
            assert_eq!(now.used, held.iter().map(Share::units).sum::<u64>(), "seed {seed}");
            assert_eq!((now.addresses, now.subnets), (addresses.len(), subnets.len()), "seed {seed}");
            assert!(now.used <= limits.total && now.most <= limits.total && now.addresses <= limits.entries);
            assert!(addresses.values().all(|units| *units <= limits.per_address), "seed {seed}");
            assert!(subnets.values().all(|units| *units <= limits.per_subnet), "seed {seed}");
            assert!(addresses.iter().all(|(address, units)| shares.held_by(*address) == *units));
        }
        held.clear();
        let now = shares.in_use();
        assert_eq!((now.used, now.addresses, now.subnets), (0, 0, 0));
    }
}

/// Takes for all clients, in any order and steps, until nobody gets another unit.
fn take_all(shares: &Shares, clients: &[IpAddr], numbers: &mut Numbers) -> Vec<Share> {
    let mut held = Vec::new();
    let mut in_vain = 0;
    while in_vain < 40 * clients.len() {
        let client = clients[usize::try_from(numbers.below(clients.len() as u64)).unwrap()];
        match shares.try_take(client, 1 + numbers.below(8)) {
            Ok(share) => {
                in_vain = 0;
                held.push(share);
            }
            Err(_) => in_vain += 1,
        }
    }
    for client in clients {
        while let Ok(share) = shares.try_take(*client, 1) {
            held.push(share);
        }
    }
    held
}

#[test]
fn an_honest_client_gets_its_least_whatever_others_hold() {
    for (seed, (total, least)) in [(64, 1), (64, 2), (512, 1), (4_096, 8), (16_384, 16), (10_007, 3)]
        .into_iter()
        .cycle()
        .take(60)
        .enumerate()
    {
        let mut numbers = Numbers(seed as u64);
        let sure = total / 8 / least;
        // in fewer subnets than the last eighth has leasts, with however many addresses
        let subnets = 1 + numbers.below(sure.min(40) - 1);
        let hosts = 1 + numbers.below(60);
        let attackers: Vec<_> =
            (0..subnets).flat_map(|subnet| (1..=hosts).map(move |host| client(subnet, host))).collect();
        let shares = Shares::new(limits(total, least));
        let held = take_all(&shares, &attackers, &mut numbers);
        let told = format!("seed {seed}: {total}, {least}, {subnets} subnets of {hosts}");
        let elsewhere = shares.try_take(client(1_000, 1), least);
        assert!(elsewhere.is_ok(), "{told}: {elsewhere:?}");
        drop((elsewhere, held));
        // beside them in their own subnet, when their addresses are fewer
        let few = usize::try_from(sure - 1).unwrap().min(attackers.len());
        let held = take_all(&shares, &attackers[..few], &mut numbers);
        let beside = shares.try_take(client(0, 200), least);
        assert!(beside.is_ok(), "{told}: {beside:?}");
        drop(held);
    }
}

#[test]
fn one_address_alone_has_half_and_leaves_room_beside_it() {
    for total in [2, 4, 16, 64, 1_000, 1 << 40] {
        let shares = Shares::new(limits(total, 1));
        let (proxy, other) = (client(0, 1), client(2, 1));
        let held = shares.try_take(proxy, total / 2).unwrap();
        assert_eq!(shares.try_take(proxy, total).err(), Some(Refused::Total));
        assert!(shares.try_take(proxy, (total / 8).max(1)).is_err(), "{total}");
        let second = shares.try_take(other, (total / 4).max(1)).unwrap();
        assert_eq!(shares.in_use().used, held.units() + second.units());
    }
}

#[test]
fn the_fair_share_falls_with_those_who_hold_something() {
    let shares = Shares::new(limits(1_200, 1));
    let _most = [shares.try_take(client(0, 1), 400).unwrap(), shares.try_take(client(2, 1), 200).unwrap()];
    // three subnets hold or ask: a quarter of the total each
    assert!(shares.try_take(client(4, 1), 301).is_err());
    assert!(shares.try_take(client(0, 1), 1).is_err());
    let third = shares.try_take(client(4, 1), 200).unwrap();
    drop(third);
    let grown = shares.try_take(client(2, 1), 100).unwrap();
    assert_eq!(shares.held_by(client(2, 1)), 300);
    drop(grown);
    assert_eq!(shares.held_by(client(2, 1)), 200);
}

#[test]
fn own_bounds_are_named_and_one_subnet_cannot_fill_the_table() {
    let limits = Limits { per_address: 3, per_subnet: 5, total: 1_000, free: 500, least: 1, entries: 40 };
    let shares = Shares::new(limits);
    let _one = shares.try_take(client(0, 1), 3).unwrap();
    assert_eq!(shares.try_take(client(0, 1), 1).err(), Some(Refused::Address));
    assert_eq!(shares.try_take(client(0, 2), 3).err(), Some(Refused::Subnet));
    assert_eq!(shares.in_use().refused, 2);
    let shares = Shares::new(Limits { entries: 40, ..Limits::of(1_000) });
    let mut held: Vec<_> = (1..=40).filter_map(|host| shares.try_take(client(0, host), 1).ok()).collect();
    assert_eq!(held.len(), 10);
    held.extend((1..=50).filter_map(|subnet| shares.try_take(client(2 * subnet, 1), 1).ok()));
    assert_eq!((held.len(), shares.in_use().addresses), (40, 40));
    assert_eq!(shares.try_take(client(900, 1), 1).err(), Some(Refused::Entries));
    assert!(shares.try_take(client(0, 1), 1).is_ok(), "who is counted already goes on");
}

#[test]
fn a_table_that_was_full_gives_its_memory_back() {
    let shares = Shares::new(limits(1 << 20, 16));
    let held: Vec<_> = (0..20_000).map(|number| shares.try_take(client(number * 2, 1), 1).unwrap()).collect();
    assert!(shares.state().addresses.capacity() >= 20_000);
    drop(held);
    let state = shares.state();
    assert!(state.addresses.capacity() <= SPARE_ENTRIES && state.subnets.capacity() <= SPARE_ENTRIES);
}

#[test]
fn an_ipv4_address_is_the_same_mapped_into_ipv6() {
    let shares = Shares::new(limits(100, 1));
    let _held = shares.try_take("::ffff:10.0.0.1".parse().unwrap(), 2).unwrap();
    assert_eq!(shares.held_by("10.0.0.1".parse().unwrap()), 2);
}
