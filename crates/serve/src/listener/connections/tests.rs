//! Who gives way, and who never does.

use super::*;

fn connections(total: usize, per_address: usize, per_subnet: usize) -> Connections {
    Connections::new(ConnectionLimits { total, wanted: total, per_address, per_subnet }, Clock::system())
}

fn address(subnet: u8, host: u8) -> IpAddr {
    IpAddr::from([10, 0, subnet, host])
}

/// Whether it was told to give way.
fn leaves(place: &ConnectionSlot) -> bool {
    !place.activity.stays()
}

#[tokio::test(start_paused = true)]
async fn idle_ones_of_the_largest_holder_give_way_first() {
    let connections = connections(10, 0, 0);
    let other = connections.admit(address(2, 1)).unwrap();
    let held: Vec<_> = (0..9).map(|_| connections.admit(address(1, 1)).unwrap()).collect();
    let answers = held[0].activity().answers();
    tokio::time::advance(Duration::from_secs(1)).await;
    let newcomer = connections.admit(address(3, 1)).unwrap();
    assert_eq!(held.iter().filter(|place| leaves(place)).count(), 1);
    assert!(!leaves(&held[0]) && !leaves(&other) && !leaves(&newcomer));
    assert_eq!((connections.status().open, connections.status().closed_for_others), (10, 1));
    drop((answers, held, other, newcomer));
    assert_eq!(connections.status().open, 0);
    assert!(connections.state().open.is_empty());
}

#[tokio::test(start_paused = true)]
async fn readers_that_take_nothing_give_way_and_running_answers_only_to_smaller_holders() {
    let connections = connections(4, 0, 0);
    let held: Vec<_> = (0..4).map(|_| connections.admit(address(1, 1)).unwrap()).collect();
    let _answers: Vec<_> = held.iter().map(|place| place.activity().answers()).collect();
    assert_eq!(connections.admit(address(1, 1)).err(), Some(Refused::Total), "nobody gives way to itself");
    held[2].activity().waits_for_client();
    tokio::time::advance(STALLED).await;
    let second = connections.admit(address(1, 1)).unwrap();
    assert!(leaves(&held[2]));
    let _answers = second.activity().answers();
    let small = connections.admit(address(2, 1)).unwrap();
    assert_eq!(held.iter().chain([&second]).filter(|place| leaves(place)).count(), 2);
    let _answers = small.activity().answers();
    assert_eq!(connections.admit(address(2, 1)).err(), Some(Refused::Total), "three are not twice two");
}

#[tokio::test(start_paused = true)]
async fn bounds_by_address_and_subnet_hold_and_own_idle_ones_give_way() {
    let connections = connections(100, 2, 3);
    let one = connections.admit(address(1, 1)).unwrap();
    let _answers = one.activity().answers();
    let two = connections.admit(address(1, 1)).unwrap();
    let third = connections.admit(address(1, 1)).unwrap();
    assert!(leaves(&two) && !leaves(&one));
    let fourth = connections.admit(address(1, 2)).unwrap();
    let _answers = fourth.activity().answers();
    let _answers = third.activity().answers();
    assert_eq!(connections.admit(address(1, 3)).err(), Some(Refused::Subnet));
    assert_eq!(connections.admit(address(1, 1)).err(), Some(Refused::Address));
    assert!(connections.admit(address(2, 1)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_table_of_attackers_makes_room_for_whoever_comes() {
    let connections = connections(1_000, 0, 0);
    let attackers: Vec<_> =
        (0..200).cycle().take(1_000).map(|n| connections.admit(address(n, 1)).unwrap()).collect();
    let _answers: Vec<_> = attackers.iter().map(|place| place.activity().answers()).collect();
    let honest: Vec<_> = (1..=100).map(|host| connections.admit(address(250, host)).unwrap()).collect();
    assert!(honest.iter().all(|place| !leaves(place)));
    assert_eq!(connections.status().open, 1_000);
}
