//! The keys of encrypted payloads: asked for once, kept, handed to agents and to servers at every level, and what lacks
//! its key is withheld.
#![expect(clippy::format_collect, reason = "a few short texts for a test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tailwater::catalog::{self, rebuild_index};
use tailwater::domain::{ByteCount, DecryptionKey, GroupId, Sha1Digest, UpdateIdentity};
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;
use tailwater::upstream::{Outcome, PeerUse, SyncOptions, SyncReport};
use tokio::runtime::Runtime;

use crate::agents::{self, Agent, Server as Agents};
use crate::downstream::{Child, Upper};
use crate::office::{self, Document, Office};
use crate::replica::Replica;
use crate::server::{Server, said};

const ENCRYPTED: u32 = 250;
const OPERATION: &str = "GetUpdateDecryptionData";

/// A stand-in upstream with encrypted updates among others.
struct World {
    runtime: Runtime,
    tasks: Tasks,
    upstream: upstream::Running,
}

impl World {
    fn new(encrypted: u32) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tasks = Tasks::new();
        let config = upstream::Config {
            updates: 8,
            definitions: 0,
            drivers: 0,
            encrypted,
            mean_size: ByteCount(1_000),
            ..upstream::Config::default()
        };
        let upstream = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
        Self { runtime, tasks, upstream }
    }

    fn replica(&self, dir: &Path, url: &str, peer: bool) -> Replica {
        let _inside = self.runtime.enter();
        Replica::open(dir, url, |config| config.peer = if peer { PeerUse::Sync } else { PeerUse::Off })
    }

    fn sync(&self, replica: &Replica) -> SyncReport {
        self.runtime.block_on(replica.upstream.sync(SyncOptions::default())).unwrap()
    }

    fn asked(&self) -> u64 {
        self.upstream.counters().operations.get(OPERATION).copied().unwrap_or_default()
    }

    fn close(&self, replica: Replica) {
        self.runtime.block_on(replica.close());
    }

    fn end(self) {
        assert!(self.runtime.block_on(self.tasks.shut_down(Duration::from_secs(10))));
    }
}

/// What a site holds of the encrypted revisions, in the form in which the stand-in says it.
fn held(
    replica: &Replica,
    wanted: &[(UpdateIdentity, Sha1Digest, Vec<u8>)],
) -> Vec<(UpdateIdentity, Sha1Digest, Vec<u8>)> {
    let snapshot = replica.catalog.snapshot();
    let of = |(identity, ..): &(UpdateIdentity, Sha1Digest, Vec<u8>)| {
        let id = snapshot.find(identity)?;
        let (sha1, key) = *snapshot.payload_keys(id).first()?;
        Some((*identity, sha1, key?.bytes().to_vec()))
    };
    wanted.iter().filter_map(of).collect()
}

fn offered(replica: &Replica, identity: &UpdateIdentity) -> bool {
    let snapshot = replica.catalog.snapshot();
    let id = snapshot.find(identity).unwrap();
    snapshot.offer(id, &[GroupId::UNASSIGNED_COMPUTERS]).is_some()
}

#[test]
fn keys_are_asked_for_once_in_batches_and_survive_everything() {
    let world = World::new(ENCRYPTED);
    let wanted = world.upstream.encrypted();
    assert_eq!(wanted.len(), ENCRYPTED as usize);
    let dir = tempfile::tempdir().unwrap();
    let replica = world.replica(dir.path(), &world.upstream.url(), true);
    let report = world.sync(&replica);
    assert_eq!((report.outcome, world.asked()), (Outcome::Complete, 3));
    assert_eq!(held(&replica, &wanted), wanted);
    assert!(wanted.iter().all(|(identity, ..)| offered(&replica, identity)));
    assert_eq!(
        (world.sync(&replica).outcome, world.asked()),
        (Outcome::Complete, 3),
        "none is asked for again"
    );
    world.close(replica);
    // after a restart, and in an index made from the segments alone
    for rebuilt in [false, true] {
        if rebuilt {
            rebuild_index(&catalog::Config::new(dir.path().join("catalog"))).unwrap();
        }
        let replica = world.replica(dir.path(), &world.upstream.url(), true);
        assert_eq!(held(&replica, &wanted), wanted, "rebuilt: {rebuilt}");
        world.sync(&replica);
        assert_eq!(world.asked(), 3, "rebuilt: {rebuilt}");
        world.close(replica);
    }
    world.end();
}

#[test]
fn what_lacks_its_key_is_withheld_until_it_comes() {
    let world = World::new(7);
    world.upstream.hand_out_keys(false);
    let wanted = world.upstream.encrypted();
    let dir = tempfile::tempdir().unwrap();
    let replica = world.replica(dir.path(), &world.upstream.url(), true);
    for _ in 0..2 {
        let report = world.sync(&replica);
        assert_eq!((report.outcome, report.missing_total), (Outcome::Partial, 7));
        assert!(report.missing[0].reason.contains("withheld"), "{}", report.missing[0].reason);
        assert!(wanted.iter().all(|(identity, ..)| !offered(&replica, identity)));
        let others = replica.visible().iter().filter(|identity| offered(&replica, identity)).count();
        assert!(others > 20, "only {others} others are offered");
    }
    world.upstream.hand_out_keys(true);
    let before = replica.catalog.snapshot().updates_number();
    assert_eq!(world.sync(&replica).outcome, Outcome::Complete);
    assert_eq!(held(&replica, &wanted), wanted);
    assert!(wanted.iter().all(|(identity, ..)| offered(&replica, identity)));
    assert!(replica.catalog.snapshot().updates_number() > before, "servers below hear of it");
    world.close(replica);
    world.end();
}

#[test]
fn every_level_of_a_chain_has_the_right_keys() {
    let world = World::new(120);
    let wanted = world.upstream.encrypted();
    let site = |url: &str| {
        Server::configured(&format!(
            "[upstream]\nurl = \"{url}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\nlanguages = [\"en\"]\n"
        ))
    };
    let sync = |server: &Server| {
        let output = server.run(&["sync", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["outcome"].as_str().unwrap().to_owned(), said(&output))
    };
    let mut head = site(&world.upstream.url());
    head.start();
    let mut middle = site(&format!("http://{}", head.agents()));
    middle.start();
    // a level without keys below it: everything comes when it comes
    world.upstream.hand_out_keys(false);
    for server in [&head, &middle] {
        let (outcome, said) = sync(server);
        assert_eq!(outcome, "partial", "{said}");
    }
    world.upstream.hand_out_keys(true);
    for server in [&head, &middle] {
        let (outcome, said) = sync(server);
        assert_eq!(outcome, "complete", "{said}");
    }
    let below = format!("http://{}", middle.agents());
    for peer in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let lowest = world.replica(dir.path(), &below, peer);
        let report = world.sync(&lowest);
        assert_eq!((report.outcome, report.missing_total), (Outcome::Complete, 0), "peer: {peer}");
        assert_eq!(held(&lowest, &wanted), wanted, "peer: {peer}");
        world.close(lowest);
    }
    // keys are nobody's but agents' and servers'
    for server in [&head, &middle] {
        let (identity, _, key) = &wanted[0];
        let shown = server.run(&["updates", "show", &identity.update.to_string(), "--json"]);
        let everything = server.log() + &said(&shown) + &said(&server.run(&["sync", "history", "--json"]));
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [STANDARD.encode(key), hex.to_uppercase(), hex, format!("{key:?}")] {
            assert!(!everything.contains(&form), "a key is shown");
        }
    }
    assert!(head.stop() && middle.stop());
    world.end();
}

/// An update with payloads: for each whether it is marked as encrypted. `fragments` are its secured ones.
fn with_files(number: u128, revision: u32, fragments: &[&str], files: &[(u8, Option<&str>)]) -> Document {
    let needs = office::prerequisites(&[
        (office::DETECTOID, false),
        (office::PRODUCT, true),
        (office::CLASSIFICATION, true),
    ]);
    let file = |(byte, marked): &(u8, Option<&str>)| {
        let marked = marked.map(|value| format!(" IsEncrypted=\"{value}\"")).unwrap_or_default();
        format!(
            "<upd:File Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"f{byte}.wim\" Size=\"7\"{marked} />",
            Sha1Digest([*byte; 20]).base64()
        )
    };
    let files: String = files.iter().map(file).collect();
    let mut document = office::document(
        office::revision(number, revision),
        "Software",
        &format!("Update {number}"),
        &needs,
        &format!("<upd:Files>{files}</upd:Files>"),
    );
    let fragments: String =
        fragments.iter().map(|one| format!("<upd:SecuredFragment>{one}</upd:SecuredFragment>")).collect();
    document.text = document.text.replace(
        "PublisherID=\"395392a0-19c0-48b7-a927-f7c15066d905\" />",
        &format!("PublisherID=\"395392a0-19c0-48b7-a927-f7c15066d905\">{fragments}</upd:Properties>"),
    );
    document
}

fn digest(byte: u8) -> String {
    Sha1Digest([byte; 20]).base64()
}

/// Number, secured fragments, payloads, keys that there are; asked about, offered.
type Row<'a> = (u128, &'a [&'a str], &'a [(u8, Option<&'a str>)], &'a [u8], bool, bool);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_about_and_who_is_withheld_follows_the_document() {
    let secured = &["FileUrl", " FileDecryption "][..];
    let table: [Row<'_>; 10] = [
        (1, &[], &[(1, None)], &[], false, true),
        (2, &["FileUrl"], &[(2, Some("false"))], &[], false, true),
        (3, secured, &[(3, Some("true"))], &[3], true, true),
        (4, secured, &[(4, Some("1"))], &[], true, false),
        (5, &[], &[(5, Some("True"))], &[5], true, true),
        (6, &[], &[(6, Some("true"))], &[], true, false),
        (7, secured, &[(7, Some("true")), (17, None)], &[7], true, true),
        (8, secured, &[(8, Some("true")), (18, Some("true"))], &[8], true, false),
        // nothing is marked: the upstream knows
        (9, secured, &[(9, None), (19, None)], &[19], true, true),
        (10, secured, &[(10, None)], &[], true, true),
    ];
    let mut documents = office::categories();
    documents.extend(
        table.iter().map(|(number, fragments, files, ..)| with_files(*number + 1_000, 1, fragments, files)),
    );
    let office = Office::open(documents, 100).await;
    for (number, _, files, keys, ..) in &table {
        let key = |byte: &u8| keys.contains(byte).then(|| STANDARD.encode([*byte; 32]));
        let told = files.iter().map(|(byte, _)| (digest(*byte), key(byte))).collect();
        office.keys(office::revision(number + 1_000, 1), told);
    }
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    let missing: Vec<UpdateIdentity> = report.missing.iter().map(|missing| missing.identity).collect();
    let snapshot = replica.catalog.snapshot();
    for (number, _, _, keys, asks, is_offered) in table {
        let identity = office::revision(number + 1_000, 1);
        assert_eq!(offered(&replica, &identity), is_offered, "{number}");
        assert_eq!(missing.contains(&identity), !is_offered, "{number}");
        let id = snapshot.find(&identity).unwrap();
        let held: Vec<u8> =
            snapshot.payload_keys(id).iter().filter_map(|(_, key)| Some(key.as_ref()?.bytes()[0])).collect();
        assert_eq!(held, if asks { keys } else { &[] }, "{number}");
    }
    office.forget_counters();
    replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!(
        office.counters().operations.get(OPERATION),
        Some(&1),
        "only what is missing is asked for again"
    );
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_with_keys_fails_nothing_else() {
    for (limit, faults, refused, calls, missing) in [
        // what an upstream says, and what that costs
        (40, &[][..], None, 3, 0),
        (0, &[], None, 2, 0),
        (1_000, &[], None, 1, 0),
        // one of 120 is refused whatever stands beside it
        (100, &[], Some(1_060), 16, 1),
        // an upstream that does not know the operation is asked once
        (100, &["UnknownOperation"], None, 1, 120),
        (100, &["InvalidCookie"], None, 3, 0),
    ] {
        let mut documents = office::categories();
        documents.push(office::update(900, 1, 500));
        documents.extend(
            (0..120_u8)
                .map(|n| with_files(1_000 + u128::from(n), 1, &["FileDecryption"], &[(n, Some("true"))])),
        );
        let office = Office::open(documents, 100).await;
        office.limit_keys(limit);
        for n in 0..120_u8 {
            let told = vec![(digest(n), Some(STANDARD.encode([n; 32])))];
            office.keys(office::revision(1_000 + u128::from(n), 1), told);
        }
        let dir = tempfile::tempdir().unwrap();
        let replica = Replica::open(dir.path(), &office.url, |_| {});
        for code in faults {
            office.fault(OPERATION, code);
        }
        if let Some(number) = refused {
            office.refuse_keys(office::revision(number, 1));
        }
        let what = format!("limit {limit}, faults {faults:?}, refused {refused:?}");
        let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
        assert_eq!((report.fetched, report.missing_total), (124, missing), "{what}");
        assert_eq!(office.counters().operations.get(OPERATION), Some(&calls), "{what}");
        assert!(offered(&replica, &office::revision(900, 1)), "{what}");
        let lacking = (0..120).filter(|n| !offered(&replica, &office::revision(1_000 + n, 1))).count();
        assert_eq!(lacking, missing, "{what}");
        replica.close().await;
        office.close().await;
    }
}

/// A site with encrypted updates whose keys are held, but for one.
fn keyed() -> Vec<Document> {
    let mut documents = office::categories();
    documents.push(with_files(1, 1, &["FileDecryption"], &[(1, Some("true")), (2, None)]));
    documents.push(with_files(1, 2, &["FileDecryption"], &[(3, Some("true"))]));
    documents.push(with_files(2, 1, &["FileDecryption"], &[(4, Some("true"))]));
    documents.push(with_files(3, 1, &[], &[(5, None)]));
    documents
}

fn keep(catalog: &catalog::Catalog, bytes: &[u8]) {
    let key = |byte: &u8| (Sha1Digest([*byte; 20]), DecryptionKey::new(vec![*byte; 32]));
    catalog.keep_keys(bytes.iter().map(key).collect()).unwrap();
}

#[tokio::test]
async fn agents_are_told_the_keys_of_what_they_are_offered() {
    let server = Agents::over(keyed().into_iter().map(|document| document.text));
    keep(&server.catalog, &[1, 3]);
    let agent = Agent::introduced(&server, "a", "2.90").await;
    let ask = async |numbers: &[(u128, u32)], types: &[&str]| {
        let ids: String = numbers
            .iter()
            .map(|(number, revision)| {
                format!(
                    "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>{revision}</RevisionNumber></UpdateIdentity>",
                    office::id(*number)
                )
            })
            .collect();
        let types: String =
            types.iter().map(|one| format!("<XmlUpdateFragmentType>{one}</XmlUpdateFragmentType>")).collect();
        let content = format!("<updateIDs>{ids}</updateIDs><infoTypes>{types}</infoTypes>");
        server.client("GetExtendedUpdateInfo2", &agent.with(&content)).await.ok()
    };
    let keys = |reply: &agents::Reply| -> BTreeMap<String, Vec<String>> {
        reply
            .all("FileDecryption")
            .iter()
            .map(|row| {
                let one =
                    |name| agents::all(row, name).iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
                let mut told = one("DecryptionKey");
                let security = one("SecurityData");
                assert_eq!(security.len(), 1);
                told.extend(agents::all(&security[0], "base64Binary").iter().map(|&text| text.to_owned()));
                (one("FileDigest").remove(0), told)
            })
            .collect()
    };
    let expected = |bytes: &[u8]| -> BTreeMap<String, Vec<String>> {
        let key = |byte: &u8| STANDARD.encode([*byte; 32]);
        bytes.iter().map(|byte| (digest(*byte), vec![key(byte), key(byte)])).collect()
    };
    let both = &["FileUrl", "FileDecryption"][..];
    let reply = ask(&[(1, 2), (2, 1), (3, 1)], both).await;
    assert_eq!(keys(&reply), expected(&[3]), "the second lacks its key, the third needs none");
    assert_eq!(reply.all("FileDigestAlgorithm"), ["SHA1", "SHA1"], "one for each location");
    assert_eq!(reply.all("HasEncryptedFiles"), ["true"]);
    // a system that is older than these elements is sent none of them
    let info = "<computerInfo><DnsName>pc</DnsName><OSBuildNumber>22631</OSBuildNumber></computerInfo>";
    server.client("RegisterComputer", &agent.with(info)).await.ok();
    let reply = ask(&[(1, 2)], both).await;
    assert_eq!(keys(&reply), expected(&[3]));
    assert!(reply.all("FileDigestAlgorithm").is_empty() && reply.all("UpdateEncryptionDetails").is_empty());
    // an older revision that an agent may still hold
    assert_eq!(keys(&ask(&[(1, 1)], both).await), expected(&[1]));
    // who asks for no key gets none
    let reply = ask(&[(1, 2)], &["FileUrl"]).await;
    assert!(keys(&reply).is_empty() && reply.all("FileLocation").len() == 1);
    // it comes by itself
    keep(&server.catalog, &[4]);
    assert_eq!(keys(&ask(&[(1, 2), (2, 1)], both).await), expected(&[3, 4]));
    // what is declined is nobody's any more
    server.catalog.decline(&office::id(2), "test").unwrap();
    assert_eq!(keys(&ask(&[(1, 2), (2, 1)], both).await), expected(&[3]));
    // Core fragments tell agents to ask
    let core = ask(&[(1, 2)], &["Core"]).await;
    let secured = "&lt;SecuredFragment&gt;FileDecryption&lt;/SecuredFragment&gt;&lt;/Properties&gt;";
    assert!(core.one("Xml").contains(secured), "{}", core.text);
}

#[tokio::test]
async fn servers_are_told_what_there_is() {
    let upper = Upper::over(1, keyed().into_iter().map(|document| document.text));
    keep(&upper.catalog, &[1, 3]);
    let child = Child::of(&upper, 7).await;
    let wanted: String = [(1, 1), (1, 2), (2, 1), (3, 1), (99, 1), (1, 9)]
        .map(|(number, revision)| {
            format!(
                "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>{revision}</RevisionNumber></UpdateIdentity>",
                office::id(number)
            )
        })
        .concat();
    let reply = upper.ask(OPERATION, &child.with(&format!("<updateIds>{wanted}</updateIds>"))).await.ok();
    let names: Vec<String> = reply
        .all("ServerSyncUpdateFileDecryption")
        .iter()
        .map(|row| format!("{}/{}", agents::all(row, "UpdateID")[0], agents::all(row, "RevisionNumber")[0]))
        .collect();
    let expected: Vec<String> =
        [(1, 1), (1, 2), (2, 1), (3, 1)].map(|(n, r)| office::revision(n, r).to_string()).into();
    assert_eq!(names, expected, "what is not known has no entry");
    let files: Vec<(String, Option<String>)> = reply
        .all("ServerSyncFileDecryption")
        .iter()
        .map(|row| {
            let key = agents::all(row, "DecryptionKey").first().map(|&key| key.to_owned());
            (agents::all(row, "FileDigest")[0].to_owned(), key)
        })
        .collect();
    let key = |byte: u8| Some(STANDARD.encode([byte; 32]));
    let expected = vec![
        (digest(1), key(1)),
        (digest(2), None),
        (digest(3), key(3)),
        (digest(4), None),
        (digest(5), None),
    ];
    assert_eq!(files, expected);
}
