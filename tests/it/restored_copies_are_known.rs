//! A data folder that was put back from a copy gives its numbers another meaning. Agents and downstream servers that
//! hold numbers of the lost branch are told so and begin anew ([MS-WUSP] 2.2.2.4, [MS-WSUSSS] 2.2.9.3); those of an
//! undisturbed server never are.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tailwater::catalog::{self, Catalog, rebuild_index};
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;
use tailwater::upstream::SyncOptions;
use tailwater::wire::client_update as wusp;
use tailwater::wire::soap;

use crate::agents::{Agent, Document, Reply, ingest};
use crate::downstream::{Child, Upper};
use crate::replica::Replica;
use crate::server::{Server, said};

const SCAN: &str = "<parameters><SkipSoftwareSync>false</SkipSoftwareSync></parameters>";

const INFO: &str = "<computerInfo><DnsName>pc</DnsName><OSMajorVersion>10</OSMajorVersion></computerInfo>";

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// One operation of an agent over the network.
fn ask(server: &Server, service: wusp::Service, operation: &str, content: &str) -> Reply {
    let body = soap::request(service.namespace(), operation, content);
    let mut stream = TcpStream::connect(server.agents()).unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\nSOAPAction: \"{}/{operation}\"\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        service.path(),
        service.namespace(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_ref()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), text: text.to_owned() }
}

fn client(server: &Server, operation: &str, content: &str) -> Reply {
    ask(server, wusp::Service::Client, operation, content)
}

/// The whole handshake; `old` is the cookie of before.
pub(crate) fn handshake(server: &Server, id: &str, old: &str) -> Result<Agent, String> {
    let config = client(server, "GetConfig", "<protocolVersion>2.90</protocolVersion>").ok();
    let who = format!("<clientId>{id}</clientId><dnsName>pc-{id}.example</dnsName>");
    let authorization = ask(server, wusp::Service::SimpleAuth, "GetAuthorizationCookie", &who).ok();
    let mut agent = Agent {
        last_change: config.one("LastChange").to_owned(),
        authorization: authorization.one("CookieData").to_owned(),
        cookie: String::new(),
    };
    let reply = client(server, "GetCookie", &agent.get_cookie(old, "2.90"));
    if reply.status != StatusCode::OK {
        return Err(reply.code().to_owned());
    }
    reply.one("GetCookieResult").clone_into(&mut agent.cookie);
    client(server, "RegisterComputer", &agent.with(INFO)).ok();
    Ok(agent)
}

/// One scan; the cookie becomes the one that came back.
pub(crate) fn scan(server: &Server, agent: &mut Agent) -> Result<(), String> {
    let mut reply = client(server, "SyncUpdates", &agent.with(SCAN));
    if reply.status != StatusCode::OK && reply.code() == "RegistrationRequired" {
        // a kill may cost the last second's registrations: agents then say again what they are
        client(server, "RegisterComputer", &agent.with(INFO)).ok();
        reply = client(server, "SyncUpdates", &agent.with(SCAN));
    }
    if reply.status != StatusCode::OK {
        return Err(reply.code().to_owned());
    }
    reply.one("NewCookie").clone_into(&mut agent.cookie);
    Ok(())
}

fn sync(server: &Server) {
    let output = server.run(&["sync"]);
    assert!(output.status.success(), "{}", said(&output));
}

/// A server below a generated upstream.
pub(crate) struct Site {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) tasks: Tasks,
    office: upstream::Running,
    pub(crate) server: Server,
}

impl Site {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tasks = Tasks::new();
        let config = upstream::Config {
            updates: 12,
            definitions: 1,
            definition_files: 2,
            mean_size: ByteCount(500),
            ..upstream::Config::default()
        };
        let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
        let server = Server::started(&format!(
            "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n\
             [content]\ndemand = \"anything\"\n",
            office.url()
        ));
        sync(&server);
        Self { runtime, tasks, office, server }
    }

    fn copied(&mut self, name: &str) {
        assert!(self.server.stop());
        copy(&self.server.data(), &self.server.dir.path().join(name));
        self.server.start();
    }

    fn restored(&mut self, name: &str) {
        self.server.kill();
        std::fs::remove_dir_all(self.server.data()).unwrap();
        copy(&self.server.dir.path().join(name), &self.server.data());
        self.server.start();
    }
}

#[test]
fn agents_of_a_lost_branch_begin_anew_and_no_others() {
    let mut site = Site::new();
    let changed = Err("ServerChanged".to_owned());
    let mut early = handshake(&site.server, "early", "").unwrap();
    scan(&site.server, &mut early).unwrap();
    site.copied("copy");
    scan(&site.server, &mut early).unwrap();
    let before = early.clone();
    site.office.publish(2);
    sync(&site.server);
    let mut late = handshake(&site.server, "late", "").unwrap();
    // a cookie without a scan stands for nothing that was given, but for what may be given until the next one
    let unused = late.clone();
    scan(&site.server, &mut late).unwrap();
    // nothing happens to agents of an undisturbed server: at a restart, a kill, a second copy
    site.server.kill();
    site.server.start();
    site.copied("later");
    for agent in [&late, &before, &unused] {
        assert_eq!(scan(&site.server, &mut agent.clone()), Ok(()));
        let old = format!("<oldCookie>{}</oldCookie>", agent.cookie);
        assert!(handshake(&site.server, "late", &old).is_ok());
    }
    // the copy is put back, and other updates arrive: past where the lost branch was
    site.restored("copy");
    assert_eq!(scan(&site.server, &mut late.clone()), changed);
    for _ in 0..3 {
        site.office.publish(1);
        sync(&site.server);
        assert_eq!(scan(&site.server, &mut late.clone()), changed);
        assert_eq!(scan(&site.server, &mut before.clone()), Ok(()));
    }
    let old = format!("<oldCookie>{}</oldCookie>", late.cookie);
    assert_eq!(handshake(&site.server, "late", &old).err(), changed.clone().err());
    let extended = "<revisionIDs><int>3</int></revisionIDs><infoTypes><XmlUpdateFragmentType>Extended\
                    </XmlUpdateFragmentType></infoTypes><locales><string>en</string></locales>";
    assert_eq!(client(&site.server, "GetExtendedUpdateInfo", &late.with(extended)).code(), "ServerChanged");
    // it begins anew, and goes on undisturbed; the other copy brings it back to its own branch
    let mut anew = handshake(&site.server, "late", "").unwrap();
    scan(&site.server, &mut anew).unwrap();
    site.server.kill();
    site.server.start();
    assert_eq!(scan(&site.server, &mut anew), Ok(()));
    site.restored("later");
    assert_eq!(scan(&site.server, &mut anew.clone()), changed);
    assert_eq!(scan(&site.server, &mut late), Ok(()));
    assert!(site.runtime.block_on(site.tasks.shut_down(Duration::from_secs(10))));
}

#[test]
fn a_tailwater_below_takes_over_what_the_restored_one_has() {
    let mut site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let open = |site: &Site| {
        let _inside = site.runtime.enter();
        Replica::open(dir.path(), &format!("http://{}", site.server.agents()), |config| {
            config.mode = tailwater::upstream::Mode::Replica;
        })
    };
    let approved = |site: &Site, text: &str| {
        let output = site.server.run(&["groups", "create", text]);
        assert!(output.status.success(), "{}", said(&output));
    };
    site.copied("copy");
    site.office.publish(2);
    sync(&site.server);
    approved(&site, "lost");
    // it reads the lost branch up to a number that the restored one reaches with something else
    let child = open(&site);
    site.runtime.block_on(child.upstream.sync(SyncOptions::default())).unwrap();
    site.runtime.block_on(child.close());
    site.restored("copy");
    site.office.publish(3);
    sync(&site.server);
    approved(&site, "restored");
    let child = open(&site);
    site.runtime.block_on(child.upstream.sync(SyncOptions::default())).unwrap();
    let groups: Vec<String> = child.catalog.groups().into_iter().map(|group| group.name).collect();
    assert!(
        groups.iter().any(|name| name == "restored") && !groups.iter().any(|name| name == "lost"),
        "{groups:?}"
    );
    let updates = site.server.api("GET", "/updates?limit=200", None).json();
    let held = child.visible().len();
    assert!(held > 15, "{held}: {updates}");
    site.runtime.block_on(child.close());
    assert!(site.runtime.block_on(site.tasks.shut_down(Duration::from_secs(10))));
}

fn anchored(anchor: &str) -> String {
    format!("<filter><Anchor>{anchor}</Anchor><GetConfig>false</GetConfig></filter>")
}

#[tokio::test]
async fn anchors_of_a_lost_branch_are_refused_and_those_of_before_are_not() {
    let upper = Upper::over(1, [Document::new(1, "Software").text()]);
    let child = Child::of(&upper, 5).await;
    let filter = "<GetConfig>false</GetConfig>";
    let (before, _) = child.list(&upper, filter).await;
    let kept = tempfile::tempdir().unwrap();
    let Upper { service, catalog, clock, dir, .. } = upper;
    drop((service, catalog));
    copy(dir.path(), kept.path());
    let open = |dir: &Path, clock: &Clock| Catalog::open(catalog::Config::new(dir), clock.clone()).unwrap();
    let upper = Upper::carried(1, open(dir.path(), &clock), clock, dir);
    ingest(&upper.catalog, [Document::new(2, "Software").text()]);
    let (lost, _) = child.list(&upper, filter).await;
    let lost_child = Child::of(&upper, 5).await;
    let Upper { service, catalog, clock, dir, .. } = upper;
    drop((service, catalog, dir));
    let nowhere = || std::sync::Arc::new(tempfile::tempdir().unwrap());
    let upper = Upper::carried(1, open(kept.path(), &clock), clock.clone(), nowhere());
    for number in 3..40 {
        let reply = upper.ask("GetRevisionIdList", &child.with(&anchored(&lost))).await;
        assert_eq!(reply.code(), "ServerChanged");
        let deployments =
            format!("<deploymentAnchor>{lost}</deploymentAnchor><syncAnchor>{before}</syncAnchor>");
        assert_eq!(upper.ask("GetDeployments", &child.with(&deployments)).await.code(), "ServerChanged");
        let deployments = format!("<syncAnchor>{lost}</syncAnchor>");
        assert_eq!(upper.ask("GetDeployments", &child.with(&deployments)).await.code(), "ServerChanged");
        // its cookie is of the lost branch as well
        let config = format!("<configAnchor>{lost}</configAnchor>");
        assert_eq!(upper.ask("GetConfigData", &lost_child.with(&config)).await.code(), "ServerChanged");
        // who knows nothing of the configuration is told all of it
        let config = upper.ask("GetConfigData", &child.with(&config)).await.ok();
        assert_eq!(config.all("ServerSyncLanguageData").len(), 39);
        upper.ask("GetRevisionIdList", &child.with(&anchored(&before))).await.ok();
        ingest(&upper.catalog, [Document::new(number, "Software").text()]);
    }
    // neither a restart nor an index made anew from the documents changes anything
    let (now, _) = child.list(&upper, filter).await;
    let Upper { service, catalog, .. } = upper;
    drop((service, catalog));
    rebuild_index(&catalog::Config::new(kept.path())).unwrap();
    let upper = Upper::carried(1, open(kept.path(), &clock), clock.clone(), nowhere());
    // who came is no part of the documents: the child introduces itself again, and keeps its anchors
    let child = Child::of(&upper, 5).await;
    for anchor in [&before, &now] {
        upper.ask("GetRevisionIdList", &child.with(&anchored(anchor))).await.ok();
    }
    assert_eq!(upper.ask("GetRevisionIdList", &child.with(&anchored(&lost))).await.code(), "ServerChanged");
}
