//! A source that says what its pieces are is held to it piece by piece, and believed no further than the digests go.

use tailwater::content::FileState;

use crate::support::origin::{Claim, Fault};
use crate::support::world::World;

const PIECE: usize = 65_536;

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_piece_is_fetched_again_by_itself() {
    let world = World::start().await;
    let file = world.file("update.cab", 40 * PIECE + 77, 1);
    world.origin.claim(Some(Claim::Right));
    // one byte in the middle of an answer is wrong
    world.origin.inject([Fault::Corrupt]);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == world.origin.bytes(&file), "what was served is right from the first byte");
    world.becomes(&file, FileState::Verified).await;
    let sent = world.origin.sent(&file);
    let again: Vec<_> = sent.pieces.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(again.len(), 1, "{again:?}");
    assert!(sent.bytes <= (42 * PIECE) as u64, "{}", sent.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_hashes_delay_and_do_not_poison() {
    let world = World::start().await;
    let file = world.file("update.cab", 30 * PIECE, 2);
    world.origin.claim(Some(Claim::Wrong));
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == world.origin.bytes(&file));
    world.becomes(&file, FileState::Verified).await;
    // the first answers are asked for once more, then nothing is believed any more
    assert!(world.origin.sent(&file).bytes <= (80 * PIECE) as u64, "{}", world.origin.sent(&file).bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_that_are_none_are_passed_over() {
    let world = World::start().await;
    for (seed, claim) in [Claim::Garbage, Claim::TooFew].into_iter().enumerate() {
        let file = world.file("update.cab", 20 * PIECE, 10 + seed as u64);
        world.origin.claim(Some(claim));
        let reply = world.client().await.get(&file.content_path(), &[]).await;
        assert!(reply.body == world.origin.bytes(&file));
        world.becomes(&file, FileState::Verified).await;
        assert_eq!(world.origin.sent(&file).bytes, (20 * PIECE) as u64);
    }
}
