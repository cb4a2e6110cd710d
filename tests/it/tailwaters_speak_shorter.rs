//! A tailwater below a tailwater gets the same catalog in a fraction of the bytes, and whatever is strange on that path
//! costs nothing but the bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tailwater::catalog::PartKind;
use tailwater::domain::{ByteCount, UpdateIdentity};
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;
use tailwater::upstream::{Config, Outcome, PeerUse, SyncError, SyncOptions, SyncReport};
use tokio::runtime::Runtime;

use crate::hop::{Hop, Reply};
use crate::replica::Replica;
use crate::server::{Server, said};

/// An office with generated updates, a head office below it, and a hop below that.
struct Sites {
    runtime: Runtime,
    tasks: Tasks,
    office: upstream::Running,
    head: Server,
    hop: Hop,
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Sites {
    fn new(languages: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tasks = Tasks::new();
        let config = upstream::Config {
            updates: 40,
            definitions: 1,
            definition_files: 12,
            mean_size: ByteCount(2_000),
            ..upstream::Config::default()
        };
        let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
        let head = Server::started(&format!(
            "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\nlanguages = {languages}\n",
            office.url()
        ));
        json(&head, &["sync"]);
        let hop = runtime.block_on(Hop::start(head.agents(), &tasks));
        Self { runtime, tasks, office, head, hop }
    }

    fn child(&self, dir: &Path, change: impl FnOnce(&mut Config)) -> Replica {
        let _inside = self.runtime.enter();
        Replica::open(dir, &self.hop.url(), change)
    }

    fn sync(&self, child: &Replica) -> Result<SyncReport, SyncError> {
        self.runtime.block_on(child.upstream.sync(SyncOptions::default()))
    }

    /// New updates at the office arrive at the head office.
    fn publish(&self, updates: u32) {
        self.office.publish(updates);
        assert_eq!(json(&self.head, &["sync"])["outcome"], "complete");
    }

    fn end(self, children: impl IntoIterator<Item = Replica>) {
        for child in children {
            self.runtime.block_on(child.close());
        }
        assert!(self.runtime.block_on(self.tasks.shut_down(Duration::from_secs(10))));
    }
}

/// Every document that is visible.
fn documents(child: &Replica) -> BTreeMap<UpdateIdentity, blake3::Hash> {
    let snapshot = child.catalog.snapshot();
    let hash = |identity: &UpdateIdentity| {
        let part = snapshot.part(snapshot.find(identity).unwrap(), &PartKind::Document).unwrap();
        blake3::hash(&child.catalog.read(&part).unwrap())
    };
    child.visible().iter().map(|identity| (*identity, hash(identity))).collect()
}

fn urls(child: &Replica) -> usize {
    let snapshot = child.catalog.snapshot();
    let found = child.visible().into_iter().filter_map(|identity| snapshot.find(&identity));
    found.map(|id| child.catalog.facts(id).unwrap().unwrap().file_urls.len()).sum()
}

#[test]
fn the_same_documents_in_a_fraction_of_the_bytes() {
    let sites = Sites::new("[\"en\", \"de\", \"fr\"]");
    let (long_dir, short_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let long = sites.child(long_dir.path(), |config| config.peer = PeerUse::Off);
    let short = sites.child(short_dir.path(), |_| {});
    let both = |what: &str| {
        sites.hop.take();
        let told = sites.sync(&long).unwrap();
        let soap = sites.hop.take_bytes();
        let report = sites.sync(&short).unwrap();
        let passed = sites.hop.take();
        let bytes: u64 = passed.iter().map(|passed| passed.up + passed.down).sum();
        assert_eq!((report.outcome, report.fetched), (Outcome::Complete, told.fetched), "{what}");
        assert_eq!(documents(&short), documents(&long), "{what}");
        println!("{what}: {bytes} bytes instead of {soap}, {} documents", report.fetched);
        (bytes, soap, passed)
    };
    let (bytes, soap, _) = both("everything");
    assert!(bytes * 5 < soap, "{bytes} of {soap}");
    assert_eq!(urls(&short), urls(&long));
    let (bytes, _, passed) = both("nothing");
    assert!(bytes <= 2_000 && passed.len() == 1, "{bytes}: {passed:?}");
    sites.publish(10);
    let (bytes, soap, passed) = both("ten updates");
    assert!(bytes * 4 < soap, "{bytes} of {soap}");
    assert!(passed.iter().all(|passed| passed.path.starts_with("/tailwater/v1/")), "{passed:?}");
    sites.end([long, short]);
}

/// Changes an answer to a path.
type Twist = fn(&str, &mut Reply);

/// What may be wrong with a tailwater.
fn strange() -> Vec<(&'static str, Twist)> {
    fn damage(reply: &mut Reply) {
        let middle = reply.body.len() / 2;
        reply.body[middle] ^= 0x40;
    }
    vec![
        ("another kind of server", |path, reply| {
            if path.starts_with("/tailwater") {
                (reply.status, reply.body) = (http::StatusCode::NOT_FOUND, b"<html>".to_vec());
            }
        }),
        ("a page for everything", |path, reply| {
            if path.starts_with("/tailwater") {
                reply.body = b"<html>Please log in</html>".to_vec();
                reply.headers.insert("content-type", "text/html".parse().unwrap());
            }
        }),
        ("it refuses", |path, reply| {
            if path.starts_with("/tailwater/v1/l") {
                reply.status = http::StatusCode::FORBIDDEN;
            }
        }),
        ("a list that ends early", |path, reply| {
            if path.ends_with("/list") {
                reply.body.truncate(reply.body.len() - 7);
            }
        }),
        ("a list of another server", |path, reply| {
            if path.ends_with("/list") {
                reply.body[2] ^= 1;
            }
        }),
        ("a damaged pack", |path, reply| {
            if path.ends_with("/pack") {
                damage(reply);
            }
        }),
        ("an empty pack", |path, reply| {
            if path.ends_with("/pack") {
                reply.body.clear();
            }
        }),
        ("packs fail", |path, reply| {
            if path.ends_with("/pack") {
                reply.status = http::StatusCode::INTERNAL_SERVER_ERROR;
            }
        }),
    ]
}

#[test]
fn whatever_is_strange_falls_back_by_itself() {
    let sites = Sites::new("[\"en\"]");
    let dir = tempfile::tempdir().unwrap();
    let plain = sites.child(&dir.path().join("plain"), |config| config.peer = PeerUse::Off);
    let expected = sites.sync(&plain).unwrap().fetched;
    let mut children = Vec::new();
    for (number, (what, meddle)) in strange().into_iter().enumerate() {
        sites.hop.meddle(meddle);
        let child = sites.child(&dir.path().join(number.to_string()), |_| {});
        let report = sites.sync(&child).unwrap();
        assert_eq!((report.outcome, report.fetched), (Outcome::Complete, expected), "{what}");
        assert_eq!(documents(&child), documents(&plain), "{what}");
        // what was strange is let alone for a while
        sites.hop.take();
        assert_eq!(sites.sync(&child).unwrap().outcome, Outcome::Complete, "{what}");
        let again = sites.hop.take();
        assert!(again.iter().all(|passed| !passed.path.starts_with("/tailwater")), "{what}: {again:?}");
        children.push(child);
    }
    children.push(plain);
    sites.end(children);
}

#[test]
fn a_cut_costs_at_most_the_pack_that_was_on_its_way() {
    let sites = Sites::new("[\"en\"]");
    let dir = tempfile::tempdir().unwrap();
    let packs = std::sync::Arc::new(Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&packs);
    sites.hop.meddle(move |path, reply| {
        if path == "/tailwater/v1/" {
            let hello = String::from_utf8(reply.body.clone()).unwrap();
            reply.body = hello.replace("\"most_items\":512", "\"most_items\":16").into_bytes();
        }
        if path.ends_with("/pack") {
            let mut seen = seen.lock().unwrap();
            seen.push(reply.body.len());
            if seen.len() == 3 {
                reply.cut = Some(reply.body.len() / 2);
            }
        }
    });
    let child = sites.child(dir.path(), |_| {});
    let report = sites.sync(&child).unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    let bytes = packs.lock().unwrap().clone();
    assert!(bytes.len() > 5, "{bytes:?}");
    // the third was sent again, the very same
    assert_eq!(bytes[2], bytes[3], "{bytes:?}");
    assert_eq!(report.fetched, child.visible().len());
    sites.end([child]);
}

#[test]
fn a_revoked_child_is_refused_here_as_well() {
    let sites = Sites::new("[\"en\"]");
    let dir = tempfile::tempdir().unwrap();
    let child = sites.child(dir.path(), |_| {});
    sites.sync(&child).unwrap();
    let cookie = sites.hop.take().into_iter().find_map(|passed| passed.cookie).unwrap();
    let asked = |cookie: &str| {
        let head = format!("Tailwater-Cookie: {cookie}\r\nHost: head\r\n");
        sites.head.ask_agents("GET", "/Tailwater/V1/changes?updates=0", &head).status
    };
    assert_eq!(asked(&cookie), 200);
    assert_eq!(asked("AAAA"), 403);
    let id =
        json(&sites.head, &["downstreams", "list"])["servers"][0]["server_id"].as_str().unwrap().to_owned();
    json(&sites.head, &["downstreams", "revoke", &id]);
    assert_eq!(asked(&cookie), 403);
    let error = sites.sync(&child).unwrap_err();
    assert!(matches!(error, SyncError::Fault { .. }), "{error}");
    sites.end([child]);
}
