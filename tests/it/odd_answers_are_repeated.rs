//! One odd answer is one odd answer: whatever it is and wherever it comes, it is asked for again and cuts nothing; a
//! source that goes on refusing is given up soon and politely.

#![expect(clippy::cast_possible_truncation, reason = "test files fit the address space")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tailwater::content::FileState;
use tailwater::domain::FileDeclaration;

use crate::support::origin::{content, declare};
use crate::support::raw_origin::{Ask, RawOrigin, Said, good, part, said};
use crate::support::world::World;

const SIZE: usize = 5 * 1024 * 1024 + 77;

/// A kind of odd answer.
type Odd = (&'static str, fn(&Ask, &Bytes) -> Said);

fn status(status: &str) -> Said {
    said(status, &[("Content-Type", "text/html")], Bytes::from_static(b"<html>no</html>"))
}

fn raw(head: &str, cut: usize) -> Said {
    Said { head: head.to_owned(), body: Bytes::new(), cut: Some(cut) }
}

const ODD: [Odd; 28] = [
    ("204", |_, _| raw("HTTP/1.1 204 No Content\r\n", 0)),
    ("206 elsewhere", |ask, bytes| {
        part(
            ask,
            bytes,
            if ask.start == 0 { 4_000_000 } else { 0 },
            if ask.start == 0 { 4_000_100 } else { 100 },
        )
    }),
    ("206 without a range", |ask, bytes| {
        said("206 Partial", &[], bytes.slice(ask.start as usize..ask.end as usize))
    }),
    ("206 of another length", |ask, bytes| {
        let range = format!("bytes {}-{}/999999999", ask.start, ask.end - 1);
        said("206 Partial", &[("Content-Range", &range)], bytes.slice(ask.start as usize..ask.end as usize))
    }),
    ("200 page", |_, _| status("200 OK")),
    ("200 coded", |_, bytes| said("200 OK", &[("Content-Encoding", "gzip")], bytes.slice(..1000))),
    ("301 to nowhere", |_, _| status("301 Moved Permanently")),
    ("302 in a circle", |ask, _| said("302 Found", &[("Location", &ask.target)], Bytes::new())),
    ("302 to another scheme", |_, _| said("302 Found", &[("Location", "ftp://here/x")], Bytes::new())),
    ("304", |_, _| raw("HTTP/1.1 304 Not Modified\r\n", 0)),
    ("400", |_, _| status("400 Bad Request")),
    ("401", |_, _| status("401 Unauthorized")),
    ("403", |_, _| status("403 Forbidden")),
    ("404", |_, _| status("404 Not Found")),
    ("405", |_, _| status("405 Method Not Allowed")),
    ("407", |_, _| status("407 Proxy Authentication Required")),
    ("408", |_, _| status("408 Request Timeout")),
    ("410", |_, _| status("410 Gone")),
    ("416", |ask, _| {
        said(
            "416 Range Not Satisfiable",
            &[("Content-Range", &format!("bytes */{}", ask.size))],
            Bytes::new(),
        )
    }),
    ("429", |_, _| said("429 Too Many Requests", &[("Retry-After", "1")], Bytes::new())),
    ("451", |_, _| status("451 Unavailable For Legal Reasons")),
    ("500", |_, _| status("500 Oops")),
    ("503", |_, _| said("503 Service Unavailable", &[("Retry-After", "1")], Bytes::new())),
    ("599", |_, _| status("599 Odd")),
    ("nothing", |_, _| raw("", 0)),
    ("no HTTP", |_, _| raw("\u{1}\u{2}\u{3} garbage\r\n: : :\r\n", 0)),
    ("cut", |ask, bytes| Said { cut: Some((ask.end - ask.start) as usize / 3), ..good(ask, bytes) }),
    ("a length that is no number", |_, _| raw("HTTP/1.1 200 OK\r\nContent-Length: many\r\n", 0)),
];

/// A site whose source gives the odd answer whenever `odd_at` says so.
async fn site(
    odd: Odd,
    odd_at: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> (World, RawOrigin, FileDeclaration) {
    let world = World::start().await;
    let bytes = content(SIZE, 1);
    let file = declare("odd.cab", &bytes);
    let script = move |ask: &Ask, bytes: &Bytes| {
        if odd_at(ask.number) { (odd.1)(ask, bytes) } else { good(ask, bytes) }
    };
    let origin = RawOrigin::start(&world.tasks, bytes, script).await;
    world.known.declare(&file, &[origin.url(&file)]);
    (world, origin, file)
}

/// Reads the whole from one client and a part from another, at once.
async fn read(world: &World, file: &FileDeclaration, what: &str) {
    let (mut one, mut two) = (world.client().await, world.client().await);
    let path = file.content_path();
    let range = [("range", "bytes=3000000-5000000")];
    let (whole, some) = tokio::join!(one.ask(Method::GET, &path, &[]), two.ask(Method::GET, &path, &range));
    let bytes = content(SIZE, 1);
    let whole = whole.unwrap_or_else(|error| panic!("{what}: the answer was cut: {error}"));
    let some = some.unwrap_or_else(|error| panic!("{what}: the part was cut: {error}"));
    assert!(whole.status == 200 && whole.body == bytes, "{what}: {}", whole.status);
    assert!(some.status == 206 && some.body == bytes[3_000_000..=5_000_000], "{what}: {}", some.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_odd_answer_at_any_place_among_good_ones_cuts_nothing() {
    for odd in ODD {
        for place in [1, 2, 4] {
            let what = format!("{} as answer {place}", odd.0);
            let (world, origin, file) = site(odd, move |number| number == place).await;
            read(&world, &file, &what).await;
            world.becomes(&file, FileState::Verified).await;
            let account = world.known.account(&file);
            assert_eq!(account.stored, SIZE as u64, "{what}: {account:?}");
            assert!(origin.asked().len() >= place as usize, "{what}: {} answers", origin.asked().len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_now_and_then_cut_nothing() {
    for odd in
        ODD.into_iter().filter(|(name, _)| ["403", "404", "416", "302 in a circle", "cut"].contains(name))
    {
        // the first two, and one in four
        let (world, _origin, file) = site(odd, |number| number <= 2 || number % 4 == 0).await;
        read(&world, &file, odd.0).await;
        world.becomes(&file, FileState::Verified).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_that_come_together_count_as_one() {
    let odd = ODD.into_iter().find(|(name, _)| *name == "404").unwrap();
    let (world, _origin, file) = site(odd, |number| (2..=5).contains(&number)).await;
    read(&world, &file, "four 404 at once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_whose_signature_just_expired_is_followed_anew() {
    let world = World::start().await;
    let bytes = content(SIZE, 1);
    let file = declare("signed.cab", &bytes);
    let script = move |ask: &Ask, bytes: &Bytes| match ask.target.split_once("?signature=") {
        None => said(
            "302 Found",
            &[("Location", &format!("{}?signature={}", ask.target, ask.number))],
            Bytes::new(),
        ),
        // each seventh has expired by the time it is used
        Some((_, number)) if number.parse::<u64>().unwrap() % 7 == 0 || ask.number == 2 => {
            status("403 Forbidden")
        }
        Some(_) => good(ask, bytes),
    };
    let origin = RawOrigin::start(&world.tasks, bytes, script).await;
    world.known.declare(&file, &[origin.url(&file)]);
    read(&world, &file, "expired redirects").await;
    world.becomes(&file, FileState::Verified).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_said_soon_and_asked_for_a_few_times() {
    for (name, expected) in [("404", 404), ("410", 404), ("403", 502), ("416", 502), ("302 in a circle", 502)]
    {
        let odd = ODD.into_iter().find(|(odd, _)| *odd == name).unwrap();
        let (world, origin, file) = site(odd, |_| true).await;
        let began = Instant::now();
        let reply = world.client().await.get(&file.content_path(), &[]).await;
        assert_eq!(reply.status, expected, "{name}");
        assert!(began.elapsed() < Duration::from_secs(10), "{name}: {:?}", began.elapsed());
        // each time through the redirects
        let most = if name.starts_with("302") { 3 * 4 } else { 3 };
        assert!(origin.asked().len() <= most, "{name}: {}", origin.asked().len());
        // who asks again soon is told without asking the source
        assert_eq!(world.client().await.get(&file.content_path(), &[]).await.status, expected, "{name}");
        assert!(origin.asked().len() <= most, "{name}: {}", origin.asked().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_while_it_is_fetched_ends_honestly() {
    let odd = ODD.into_iter().find(|(name, _)| *name == "404").unwrap();
    let (world, origin, file) = site(odd, |number| number > 2).await;
    let began = Instant::now();
    let result = world.client().await.ask(Method::GET, &file.content_path(), &[]).await;
    assert!(result.is_err(), "a short body must not look whole");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(origin.asked().len() < 30, "{} requests", origin.asked().len());
    assert!(world.store.status(&file.sha1).unwrap().held > 0, "what came is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_sources_any_may_be_odd() {
    let bytes = content(SIZE, 1);
    let file = declare("several.cab", &bytes);
    for name in ["404", "403", "200 page", "302 in a circle", "no HTTP"] {
        let odd = ODD.into_iter().find(|(odd, _)| *odd == name).unwrap();
        for first_is_odd in [true, false] {
            let world = World::start().await;
            let always = move |ask: &Ask, bytes: &Bytes| (odd.1)(ask, bytes);
            let sometimes = move |ask: &Ask, bytes: &Bytes| match ask.number {
                2 => (odd.1)(ask, bytes),
                _ => good(ask, bytes),
            };
            let bad = RawOrigin::start(&world.tasks, bytes.clone(), always).await;
            let fair = RawOrigin::start(&world.tasks, bytes.clone(), sometimes).await;
            let mut urls = vec![bad.url(&file), fair.url(&file)];
            if !first_is_odd {
                urls.reverse();
            }
            world.known.declare(&file, &urls);
            read(&world, &file, &format!("{name}, first {first_is_odd}")).await;
            world.becomes(&file, FileState::Verified).await;
            assert!(bad.asked().len() < 30, "{name}: {} requests", bad.asked().len());
        }
    }
}
