//! A client is never held for a wait whose end is known and lies beyond what it waits: it is told 503 and when to come
//! again, whoever said so and however. What is over sooner is waited out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use tailwater::domain::FileDeclaration;
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::{Answer, Listener, ListenerConfig, Peer, Request, Response, full};

use crate::support::client::Reply;
use crate::support::origin::content;
use crate::support::world::{Setup, World};

/// A source that refuses with one answer: its status and headers.
struct Refuses {
    status: u16,
    headers: Vec<(&'static str, String)>,
    asked: Arc<AtomicU32>,
}

impl Answer for Refuses {
    async fn answer(&self, _request: Request, _from: Peer) -> Response {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answer = http::Response::builder().status(self.status);
        for (name, value) in &self.headers {
            answer = answer.header(*name, value);
        }
        answer.body(full("come again")).unwrap()
    }
}

/// Its address, and how often it is asked.
async fn refusing(
    tasks: &Tasks,
    status: u16,
    headers: Vec<(&'static str, String)>,
) -> (String, Arc<AtomicU32>) {
    let listener = Listener::bind(ListenerConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let (url, asked) = (format!("http://{}/x", listener.address()), Arc::default());
    let answer = Refuses { status, headers, asked: Arc::clone(&asked) };
    tasks.spawn("refusing source", listener.run(Arc::new(answer), Clock::system(), tasks.clone()));
    (url, asked)
}

fn after(seconds: u64) -> Vec<(&'static str, String)> {
    vec![("retry-after", seconds.to_string())]
}

fn at(seconds: i64, form: &str) -> Vec<(&'static str, String)> {
    let date = Clock::system().now() + jiff::SignedDuration::from_secs(seconds);
    vec![("retry-after", date.strftime(form).to_string())]
}

/// A site whose clients would be held for an hour.
async fn patient() -> World {
    World::with(Setup { patience: Duration::from_hours(1), ..Setup::default() }).await
}

async fn asked_at(world: &World, urls: &[String], seed: u64) -> (Reply, FileDeclaration) {
    let file = world.origin.add("waits.cab", 300_000, seed);
    world.known.declare(&file, urls);
    let (mut client, path) = (world.client().await, file.content_path());
    let asking = client.ask(Method::GET, &path, &[("range", "bytes=0-99")]);
    let reply = tokio::time::timeout(Duration::from_mins(1), asking).await;
    (reply.unwrap_or_else(|_held| panic!("a client is held for a known wait")).unwrap(), file)
}

fn told(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 503, "{:?}", reply.headers);
    reply.header("retry-after").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_asks_for_long_is_named_to_clients_at_once_in_every_form() {
    let (world, tasks) = (patient().await, Tasks::new());
    let forms = [
        (503, after(120)),
        (429, after(120)),
        (502, after(120)),
        (503, at(120, "%a, %d %b %Y %H:%M:%S GMT")),
        (429, at(120, "%A, %d-%b-%y %H:%M:%S GMT")),
        (503, at(120, "%a %b %e %H:%M:%S %Y")),
    ];
    for (seed, (status, headers)) in (1..).zip(forms) {
        let shown = format!("{status} {headers:?}");
        let (url, asked) = refusing(&tasks, status, headers).await;
        let (reply, file) = asked_at(&world, &[url], seed).await;
        let seconds = told(&reply);
        assert!((60..=121).contains(&seconds), "{shown}: {seconds}");
        // who comes meanwhile costs the source nothing
        let again = world.client().await.get(&file.content_path(), &[]).await;
        assert!(told(&again) <= seconds, "{shown}");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_busy_behind_a_redirect_is_busy() {
    let (world, tasks) = (patient().await, Tasks::new());
    let (busy, asked) = refusing(&tasks, 503, after(200)).await;
    let (url, _) = refusing(&tasks, 302, vec![("location", busy)]).await;
    let (reply, _) = asked_at(&world, &[url], 1).await;
    assert!((150..=201).contains(&told(&reply)));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_sources_the_soonest_counts_and_one_that_delivers_is_used() {
    let (world, tasks) = (patient().await, Tasks::new());
    let (long, _) = refusing(&tasks, 503, after(280)).await;
    let (short, _) = refusing(&tasks, 429, after(90)).await;
    let (gone, _) = refusing(&tasks, 404, Vec::new()).await;
    let (reply, _) = asked_at(&world, &[long.clone(), gone, short], 1).await;
    assert!((30..=91).contains(&told(&reply)), "{:?}", reply.headers);

    let file = world.origin.add("there.cab", 300_000, 2);
    world.known.declare(&file, &[long, world.origin.url(&file)]);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.status == 200 && reply.body == content(300_000, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_soon_is_waited_out() {
    let world = patient().await;
    let file = world.file("soon.cab", 300_000, 1);
    world.origin.inject([crate::support::origin::Fault::Status(503, 1)]);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.status == 200 && reply.body == content(300_000, 1));
}
