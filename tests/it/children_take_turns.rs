//! However many tailwaters ask one, no more than the configured number of transfers run at once, and nobody is rounds
//! ahead of another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::domain::{ByteCount, Class, Rate};
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;
use tailwater::wire::peer::{COOKIE_HEADER, Item, Order};
use tailwater::wire::server_sync::{
    self, AUTH_PATH, SERVICE_PATH, get_authorization_cookie, get_cookie, read_authorization_cookie,
    read_cookie,
};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::server::{Server, said};

const CHILDREN: usize = 200;
const SLOTS: usize = 4;
/// Packs that each child takes.
const PACKS: usize = 4;

/// A child that has shaken hands.
struct Child {
    link: LinkClient,
    base: String,
    cookie: String,
}

impl Child {
    async fn new(address: SocketAddr, tasks: &Tasks) -> Self {
        let clock = Clock::system();
        let config = LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
        let limiter = Limiter::new(Rate::Unlimited, &clock, tasks);
        let link = LinkClient::new(config, &limiter, &Meter::new(&clock), &clock, tasks).unwrap();
        let mut child = Self { link, base: format!("http://{address}"), cookie: String::new() };
        let id = Uuid::new_v4();
        let asked = get_authorization_cookie(&format!("child-{id}.example"), &id);
        let answer = child.soap(AUTH_PATH, &asked).await;
        let authorization = read_authorization_cookie(&answer[..]).unwrap();
        let answer = child.soap(SERVICE_PATH, &get_cookie(&authorization)).await;
        child.cookie = read_cookie(&answer[..]).unwrap().encrypted_data;
        child
    }

    async fn soap(&self, path: &str, request: &server_sync::Request) -> Bytes {
        let message = Request::post(format!("{}{path}", self.base))
            .header("content-type", "text/xml; charset=utf-8")
            .header("SOAPAction", &request.action)
            .body(Full::new(Bytes::from(request.body.clone())))
            .unwrap();
        let response = self.link.send(message, Class::Metadata).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    }

    /// Asks for a file and keeps its turn until given up.
    async fn hold(&self, sha1: &str) {
        let message = Request::get(format!("{}/tailwater/v1/content/{sha1}", self.base))
            .header(COOKIE_HEADER, &self.cookie)
            .body(Full::default())
            .unwrap();
        let answer = self.link.send(message, Class::Metadata).await.unwrap();
        assert_eq!(answer.status(), 200);
        std::future::pending::<()>().await;
    }

    /// One pack; the status and how many bytes.
    async fn pack(&self, order: &Order) -> (u16, usize) {
        let message = Request::post(format!("{}/tailwater/v1/pack", self.base))
            .header(COOKIE_HEADER, &self.cookie)
            .body(Full::new(Bytes::from(order.encode())))
            .unwrap();
        let response = self.link.send(message, Class::Metadata).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes().len())
    }
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A figure of `/metrics`.
fn figure(server: &Server, state: &str) -> u64 {
    let text = server.ask("GET", "/metrics", &bearer(server), b"").text();
    let name = format!("tailwater_downstream_turns{{state=\"{state}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

fn bearer(server: &Server) -> String {
    format!("Authorization: Bearer {}\r\nHost: localhost\r\n", server.token())
}

/// Waits until so many transfers run and so many requests wait for their turn.
async fn becomes(server: &Server, running: usize, waiting: usize) {
    let mut seen = (0, 0);
    for _ in 0..3_000 {
        seen = (figure(server, "running"), figure(server, "waiting"));
        if seen == (running as u64, waiting as u64) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{seen:?} run and wait, not {running} and {waiting}");
}

/// Files of the catalog, none of them held.
fn files(server: &Server, count: usize) -> Vec<String> {
    let listed = server.api("GET", "/updates?limit=100", None).json();
    let updates = listed["updates"].as_array().unwrap();
    let ids = updates.iter().filter(|update| update["approvable"] == true);
    let mut files: Vec<_> = ids
        .flat_map(|update| {
            let id = update["update_id"].as_str().unwrap();
            let files = server.api("GET", &format!("/updates/{id}"), None).json()["files"].clone();
            files
                .as_array()
                .unwrap()
                .iter()
                .map(|file| file["sha1"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() >= count, "{files:?}");
    files.truncate(count);
    files
}

/// How many children had a turn when the first of them had all of its own. The order of answers as one process sees it
/// is nearly that of the grants.
fn until_one_had_all(granted: &[usize]) -> usize {
    let mut turns: HashMap<usize, usize> = HashMap::new();
    for child in granted {
        let count = turns.entry(*child).or_default();
        *count += 1;
        if *count == PACKS {
            break;
        }
    }
    turns.len()
}

#[test]
fn two_hundred_children_take_turns() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = Tasks::new();
    let config = upstream::Config {
        updates: 20,
        definitions: 0,
        drivers: 0,
        mean_size: ByteCount(2_000_000),
        ..upstream::Config::default()
    };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
    let head = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n\
         [downstream]\ntransfers = {SLOTS}\n",
        office.url()
    ));
    json(&head, &["sync"]);
    let address = head.agents();
    // who was granted, in the order of the answers
    let granted: Arc<Mutex<Vec<usize>>> = Arc::default();
    runtime.block_on(async {
        let mut children = Vec::new();
        for _ in 0..CHILDREN {
            children.push(Child::new(address, &tasks).await);
        }
        // all turns are taken until everybody waits for one
        json(&head, &["bandwidth", "set", "--rate", "64 kbit/s"]);
        let mut taken = Vec::new();
        for sha1 in files(&head, SLOTS) {
            let child = Child::new(address, &tasks).await;
            taken.push(tasks.spawn("holder", async move { child.hold(&sha1).await }));
        }
        becomes(&head, SLOTS, 0).await;
        let order = Arc::new(Order { items: (1..=40).map(Item::Number).collect(), ..Order::default() });
        let mut work = Vec::new();
        for (number, child) in children.into_iter().enumerate() {
            let (order, granted) = (Arc::clone(&order), Arc::clone(&granted));
            work.push(tasks.spawn("child", async move {
                for _ in 0..PACKS {
                    let mut tries = 0;
                    loop {
                        let (status, bytes) = child.pack(&order).await;
                        if status == 200 {
                            assert!(bytes > 1_000);
                            break;
                        }
                        assert_eq!(status, 503, "only told to come again");
                        tries += 1;
                        assert!(tries < 100);
                    }
                    granted.lock().unwrap().push(number);
                }
            }));
        }
        becomes(&head, SLOTS, CHILDREN).await;
        taken.iter().for_each(JoinHandle::abort);
        for one in work {
            one.await.unwrap();
        }
    });
    assert!(figure(&head, "most") <= SLOTS as u64, "{}", figure(&head, "most"));
    assert_eq!((figure(&head, "running"), figure(&head, "waiting")), (0, 0));
    let granted = granted.lock().unwrap();
    assert_eq!(granted.len(), CHILDREN * PACKS);
    let turns = until_one_had_all(&granted);
    // all but those whose first transfer still runs, or whose answer was not read yet when another's was
    assert!(turns >= CHILDREN - 2 * SLOTS, "a child had {PACKS} turns, others none: {turns}");
    drop(head);
    assert!(runtime.block_on(tasks.shut_down(Duration::from_secs(10))));
}
