//! Languages that a site adds later come for what it holds already, once, over MS-WSUSSS and between tailwaters.

use std::path::Path;
use std::time::Duration;

use tailwater::catalog::PartKind;
use tailwater::domain::{ByteCount, RevisionId, UpdateIdentity};
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;
use tailwater::upstream::{Outcome, PeerUse, SyncOptions};
use tokio::runtime::Runtime;

use crate::replica::Replica;
use crate::server::{Server, said};

struct World {
    runtime: Runtime,
    tasks: Tasks,
    upstream: upstream::Running,
}

impl World {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tasks = Tasks::new();
        let config = upstream::Config {
            updates: 300,
            definitions: 0,
            drivers: 0,
            mean_size: ByteCount(100),
            max_updates_per_request: 40,
            ..upstream::Config::default()
        };
        let upstream = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
        Self { runtime, tasks, upstream }
    }

    fn replica(&self, dir: &Path, url: &str, languages: &[&str], peer: bool) -> Replica {
        let _inside = self.runtime.enter();
        Replica::open(dir, url, |config| {
            config.peer = if peer { PeerUse::Sync } else { PeerUse::Off };
            config.languages = languages.iter().map(|&tag| tag.to_owned()).collect();
        })
    }

    /// Synchronises; how many documents came.
    fn sync(&self, replica: &Replica) -> usize {
        let report = self.runtime.block_on(replica.upstream.sync(SyncOptions::default())).unwrap();
        assert_eq!(report.outcome, Outcome::Complete, "{report:?}");
        report.fetched
    }

    fn sent(&self) -> u64 {
        self.upstream.counters().documents
    }

    fn close(&self, replica: Replica) {
        self.runtime.block_on(replica.close());
    }

    fn end(self) {
        assert!(self.runtime.block_on(self.tasks.shut_down(Duration::from_secs(10))));
    }
}

/// How many visible revisions have a title in a language.
fn with(replica: &Replica, tag: &str) -> usize {
    let snapshot = replica.catalog.snapshot();
    let localized = PartKind::Localized(tag.to_owned());
    let ids = replica.visible().into_iter().filter_map(|identity| snapshot.find(&identity));
    ids.filter(|id| snapshot.part(*id, &localized).is_some()).count()
}

/// Numbers and what a server below is told of them.
fn standing(replica: &Replica) -> Vec<(RevisionId, UpdateIdentity)> {
    let snapshot = replica.catalog.snapshot();
    replica.visible().into_iter().map(|identity| (snapshot.find(&identity).unwrap(), identity)).collect()
}

#[test]
fn they_come_once_for_everything_and_change_no_number() {
    let world = World::new();
    let url = world.upstream.url();
    let dir = tempfile::tempdir().unwrap();
    let replica = world.replica(dir.path(), &url, &["en"], true);
    let all = world.sync(&replica);
    let before = standing(&replica);
    let expired =
        before.iter().filter(|(id, _)| replica.catalog.snapshot().revision(*id).unwrap().expired).count();
    assert_eq!((with(&replica, "de"), before.len()), (0, all));
    let change = replica.catalog.snapshot().change_number();
    world.close(replica);

    // stopped in the middle: what was stored is not asked for again
    let sent = world.sent();
    let replica = world.replica(dir.path(), &url, &["en", "de"], true);
    let mut progress = replica.upstream.progress();
    world.runtime.block_on(async {
        let running =
            replica.upstream.begin(SyncOptions::default(), tailwater::upstream::Trigger::Demand).unwrap();
        progress.wait_for(|now| now.fetched >= 80).await.unwrap();
        replica.upstream.cancel();
        running.await.unwrap().unwrap_err();
    });
    world.close(replica);
    let first = world.sent() - sent;
    assert!((80..all as u64).contains(&first), "{first} of {all}");

    let replica = world.replica(dir.path(), &url, &["en", "de"], true);
    world.sync(&replica);
    let asked = world.sent() - sent;
    let needed = (all - expired) as u64;
    assert!((needed..=needed + 40).contains(&asked), "{asked} for {needed}: at most a batch twice");
    let german = with(&replica, "de");
    assert!(german > 200, "only {german} have it");
    assert_eq!(standing(&replica), before, "numbers stay");
    let snapshot = replica.catalog.snapshot();
    assert_eq!(snapshot.revisions_after(change), 0, "nothing counts as new");
    let sent = world.sent();
    assert_eq!((world.sync(&replica), world.sent()), (0, sent), "none is asked for again");
    world.close(replica);

    // all of them, what has no other language included; after a restart none
    let replica = world.replica(dir.path(), &url, &[], true);
    assert_eq!(world.sync(&replica), all - expired);
    assert!(with(&replica, "ja") > 100 && with(&replica, "de") >= german);
    world.close(replica);
    for fewer in [&[][..], &["en", "de", "fr"], &["de"]] {
        let replica = world.replica(dir.path(), &url, fewer, true);
        assert_eq!(world.sync(&replica), 0, "{fewer:?}");
        world.close(replica);
    }
    world.end();
}

#[test]
fn they_come_down_a_chain_once_the_level_above_has_them() {
    let world = World::new();
    let config = |languages: &str| {
        format!(
            "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\nlanguages = {languages}\n",
            world.upstream.url()
        )
    };
    let mut head = Server::configured(&config("[\"en\"]"));
    head.start();
    let sync = |server: &Server| {
        let output = server.run(&["sync"]);
        assert!(output.status.success(), "{}", said(&output));
    };
    sync(&head);
    let wanted = &["en", "de"];
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let branch = |place: usize, head: &Server| {
        world.replica(dirs[place].path(), &format!("http://{}", head.agents()), wanted, place == 0)
    };
    for place in [0, 1] {
        let replica = branch(place, &head);
        assert!(world.sync(&replica) > 0);
        assert_eq!((with(&replica, "de"), world.sync(&replica)), (0, 0), "the head office has none");
        world.close(replica);
    }
    let text = std::fs::read_to_string(head.config()).unwrap();
    assert!(head.stop());
    std::fs::write(head.config(), text.replace("[\"en\"]", "[\"en\", \"de\"]")).unwrap();
    head.start();
    // it says so only when it has them
    for place in [0, 1] {
        let replica = branch(place, &head);
        assert_eq!(world.sync(&replica), 0, "tailwater: {}", place == 0);
        world.close(replica);
    }
    sync(&head);
    for place in [0, 1] {
        let replica = branch(place, &head);
        assert!(world.sync(&replica) > 0, "tailwater: {}", place == 0);
        assert!(with(&replica, "de") > 200, "tailwater: {}", place == 0);
        assert_eq!(world.sync(&replica), 0, "tailwater: {}", place == 0);
        world.close(replica);
    }
    assert!(head.stop());
    world.end();
}
