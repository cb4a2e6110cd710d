//! Turns: who is next, how long a wait is, what one address may have.

use super::*;
use crate::Tasks;

const PATIENCE: Duration = Duration::from_secs(25);

fn asker(host: u8, key: u128) -> Asker {
    Asker { address: IpAddr::from([10, 0, host, 1]), key }
}

/// Who is served, in which order, when these ask one after the other and one place comes free.
async fn order(asked: &[Asker]) -> Vec<Asker> {
    let turns = Turns::new(TurnLimits::of(1, PATIENCE), Clock::system());
    let first = turns.take(asker(99, 0)).await.unwrap();
    let tasks = Tasks::new();
    let (order, mut served) = tokio::sync::mpsc::channel(64);
    for asker in asked.iter().copied() {
        let (turns, order) = (turns.clone(), order.clone());
        tasks.spawn("asker", async move {
            let turn = turns.take(asker).await.unwrap();
            order.send(asker).await.unwrap();
            drop(turn);
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(turns.status(), TurnStatus { places: 1, running: 1, waiting: asked.len(), most: 1 });
    drop((first, order));
    let mut seen = Vec::new();
    while let Some(asker) = served.recv().await {
        seen.push(asker);
    }
    assert_eq!(turns.status(), TurnStatus { places: 1, running: 0, waiting: 0, most: 1 });
    seen
}

#[tokio::test(start_paused = true)]
async fn addresses_take_turns_and_within_them_askers() {
    let [a, b, c, d] = [asker(1, 1), asker(1, 2), asker(2, 1), asker(3, 1)];
    assert_eq!(order(&[a, a, a, b, c, d]).await, [a, c, d, b, a, a]);
    assert_eq!(order(&[a, b, a, b, c, c]).await, [a, c, b, c, a, b]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_and_who_waits_is_bounded_by_address() {
    let limits = TurnLimits { waiting: 16, ..TurnLimits::of(1, PATIENCE) };
    let turns = Turns::new(limits, Clock::system());
    let busy = turns.take(asker(1, 0)).await.unwrap();
    assert!(turns.try_take().is_none());
    let tasks = Tasks::new();
    let waits = |asker| {
        let turns = turns.clone();
        tasks.spawn("asker", async move { turns.take(asker).await.map(drop) })
    };
    let mut greedy: Vec<_> = (0..16).map(|key| waits(asker(1, key))).collect();
    tokio::task::yield_now().await;
    let honest = waits(asker(2, 0));
    tokio::task::yield_now().await;
    assert_eq!(turns.status().waiting, 9, "half of the places to wait, and one");
    assert_eq!(greedy.pop().unwrap().await.unwrap(), Err(NoTurn::Full));
    let began = Instant::now();
    assert_eq!(greedy.remove(0).await.unwrap(), Err(NoTurn::Patience));
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(honest.await.unwrap(), Err(NoTurn::Patience));
    drop(busy);
    assert!(turns.try_take().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_has_kept_its_place() {
    let limits = TurnLimits { kept: Duration::from_mins(1), ..TurnLimits::of(1, PATIENCE) };
    let turns = Turns::new(limits, Clock::system());
    let busy = turns.take(asker(1, 0)).await.unwrap();
    assert_eq!(turns.take(asker(2, 0)).await.err(), Some(NoTurn::Patience));
    let tasks = Tasks::new();
    let late = {
        let turns = turns.clone();
        tasks.spawn("late", async move { turns.take(asker(3, 0)).await.map(drop) })
    };
    tokio::task::yield_now().await;
    let back = {
        let turns = turns.clone();
        tasks.spawn("back", async move { turns.take(asker(2, 0)).await })
    };
    tokio::task::yield_now().await;
    drop(busy);
    let turn = back.await.unwrap().unwrap();
    assert!(!late.is_finished(), "the one that came first is first");
    drop(turn);
    late.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_waiting_costs_nobody_a_turn() {
    let turns = Turns::new(TurnLimits::of(1, PATIENCE), Clock::system());
    let busy = turns.take(asker(1, 0)).await.unwrap();
    for host in 2..50 {
        let waited = tokio::time::timeout(Duration::from_millis(1), turns.take(asker(host, 0))).await;
        assert!(waited.is_err());
    }
    assert_eq!(turns.status().waiting, 0);
    drop(busy);
    assert!(turns.take(asker(99, 0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_address_has_no_more_turns_than_its_own() {
    let limits = TurnLimits { by_address: 2, ..TurnLimits::of(4, PATIENCE) };
    let turns = Turns::new(limits, Clock::system());
    let (one, other) = (asker(1, 0), asker(2, 0));
    let first = turns.take(one).await.unwrap();
    let second = turns.take(one).await.unwrap();
    let tasks = Tasks::new();
    let third = {
        let turns = turns.clone();
        tasks.spawn("third", async move { turns.take(one).await })
    };
    tokio::task::yield_now().await;
    assert_eq!((turns.status().running, turns.status().waiting), (2, 1));
    let others = [turns.take(other).await.unwrap(), turns.take(other).await.unwrap()];
    assert_eq!(turns.status().running, 4, "whoever waits for its own address keeps nobody else out");
    drop(others);
    tokio::task::yield_now().await;
    assert!(!third.is_finished(), "two places are free, but not for this address");
    drop(first);
    let third = third.await.unwrap().unwrap();
    assert_eq!(turns.status().running, 2);
    drop((second, third));
    assert!(turns.state().holders.is_empty(), "nothing is kept of who has no turn");
    let mapped = Asker { address: "::ffff:10.0.1.1".parse().unwrap(), key: 0 };
    let held = [turns.take(one).await.unwrap(), turns.take(mapped).await.unwrap()];
    assert!(tokio::time::timeout(PATIENCE / 2, turns.take(one)).await.is_err(), "both are one address");
    drop(held);
}
