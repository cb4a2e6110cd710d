//! What an upstream writes around the bytes decides nothing that the digests can decide: odd heads are passed over, bytes
//! that come unasked are used, and nothing wrong is ever kept.

#![expect(clippy::cast_possible_truncation, reason = "test files fit the address space")]

use std::fmt::Write as _;

use bytes::Bytes;
use tailwater::content::FileState;

use crate::support::origin::{content, declare};
use crate::support::raw_origin::{Ask, RawOrigin, Said, good, part, said};
use crate::support::world::World;

const SIZE: usize = 4 * 1024 * 1024 + 12_345;

/// How an upstream answers, and how many bytes beside the file it may make cross.
type Row = (&'static str, fn(&Ask, &Bytes) -> Said, u64);

fn ranged(ask: &Ask, bytes: &Bytes, content_range: &str, headers: &[(&str, &str)]) -> Said {
    let body = bytes.slice(ask.start as usize..ask.end as usize);
    let (first, last, size) = (ask.start.to_string(), (ask.end - 1).to_string(), ask.size.to_string());
    let value = content_range.replace("<a>", &first).replace("<b>", &last).replace("<n>", &size);
    let mut all = vec![("Content-Range", &*value)];
    all.extend(headers);
    said("206 Partial Content", &all, body)
}

fn odd_tag(ask: &Ask, tag: &str) -> Vec<(&'static str, String)> {
    vec![("ETag", tag.replace('N', &ask.number.to_string()))]
}

fn with(mut said: Said, headers: &[(&'static str, String)]) -> Said {
    for (name, value) in headers {
        let _ = write!(said.head, "{name}: {value}\r\n");
    }
    said
}

const NEAR: u64 = 300_000;

const ROWS: [Row; 32] = [
    ("good", good, 0),
    ("unit Bytes", |ask, bytes| ranged(ask, bytes, "Bytes <a>-<b>/<n>", &[]), 0),
    ("unit BYTES and spaces", |ask, bytes| ranged(ask, bytes, "  BYTES   <a> - <b> / <n>  ", &[]), 0),
    ("unit with =", |ask, bytes| ranged(ask, bytes, "bytes=<a>-<b>/<n>", &[]), 0),
    ("total *", |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/*", &[]), 0),
    (
        "coding Identity",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Encoding", "Identity")]),
        0,
    ),
    (
        "coding IDENTITY twice",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Encoding", "IDENTITY, identity")]),
        0,
    ),
    ("coding empty", |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Encoding", "")]), 0),
    ("coding none", |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Encoding", "none")]), 0),
    (
        "coding binary",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("content-encoding", "Binary")]),
        0,
    ),
    ("coding 8bit", |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Encoding", "8bit")]), 0),
    (
        "coding utf-8",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Encoding", "utf-8")]),
        0,
    ),
    (
        "type junk",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Type", "text/html; charset=\"")]),
        0,
    ),
    (
        "two types",
        |ask, bytes| {
            ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Content-Type", "a"), ("Content-Type", "b/c")])
        },
        0,
    ),
    ("a tag that changes", |ask, bytes| with(good(ask, bytes), &odd_tag(ask, "\"N\"")), 0),
    ("a weak tag", |ask, bytes| with(good(ask, bytes), &odd_tag(ask, "W/\"x\"")), 0),
    ("a tag without quotes", |ask, bytes| with(good(ask, bytes), &odd_tag(ask, "x N")), 0),
    (
        "modified in the future",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Last-Modified", "tomorrow")]),
        0,
    ),
    (
        "no ranges, it says",
        |ask, bytes| ranged(ask, bytes, "bytes <a>-<b>/<n>", &[("Accept-Ranges", "none")]),
        0,
    ),
    (
        "200 with the part",
        |ask, bytes| {
            let said = good(ask, bytes);
            Said { head: said.head.replace("206 Partial Content", "200 OK"), ..said }
        },
        0,
    ),
    ("200 with the whole", |_, bytes| said("200 OK", &[], bytes.clone()), NEAR),
    (
        "200 with the whole, no length",
        |_, bytes| Said {
            head: "HTTP/1.1 200 OK\r\n".to_owned(),
            body: bytes.clone(),
            cut: Some(usize::MAX),
        },
        NEAR,
    ),
    ("206 with the whole", |ask, bytes| part(ask, bytes, 0, ask.size), NEAR),
    ("206 with the whole and no range", |_, bytes| said("206 Partial Content", &[], bytes.clone()), NEAR),
    (
        "no length",
        |ask, bytes| {
            let said = good(ask, bytes);
            let head = said.head.lines().filter(|line| !line.starts_with("Content-Length"));
            let head = head.collect::<Vec<_>>().join("\r\n") + "\r\n";
            Said { head, cut: Some(usize::MAX), ..said }
        },
        0,
    ),
    ("more, to the end", |ask, bytes| part(ask, bytes, ask.start, ask.size), 40 << 20),
    ("a little more", |ask, bytes| part(ask, bytes, ask.start, (ask.end + 999).min(ask.size)), NEAR),
    ("a little earlier", |ask, bytes| part(ask, bytes, ask.start.saturating_sub(999), ask.end), NEAR),
    (
        "from whole megabytes to whole megabytes",
        |ask, bytes| {
            let (start, end) = (ask.start >> 20 << 20, (ask.end + (1 << 20) - 1) >> 20 << 20);
            part(ask, bytes, start, end.min(ask.size))
        },
        20 << 20,
    ),
    ("less: 100 kB at a time", |ask, bytes| part(ask, bytes, ask.start, ask.end.min(ask.start + 100_000)), 0),
    ("less than a piece", |ask, bytes| part(ask, bytes, ask.start, ask.end.min(ask.start + 40_000)), 0),
    (
        "a length that is too short",
        |ask, bytes| {
            if ask.end - ask.start < 200_000 {
                return good(ask, bytes);
            }
            let half =
                bytes.slice(ask.start as usize..(ask.start + (ask.end - ask.start).div_ceil(2)) as usize);
            let range = format!("bytes {}-{}/{}", ask.start, ask.end - 1, ask.size);
            said("206 Partial Content", &[("Content-Range", &range)], half)
        },
        0,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn odd_heads_and_odd_parts_are_used_for_what_they_are() {
    for (name, script, beside) in ROWS {
        let world = World::start().await;
        let bytes = content(SIZE, 7);
        let file = declare("liberal.cab", &bytes);
        let origin = RawOrigin::start(&world.tasks, bytes.clone(), script).await;
        world.known.declare(&file, &[origin.url(&file)]);
        // a part from the middle first, so that something is held when the rest comes
        let some =
            world.client().await.get(&file.content_path(), &[("range", "bytes=2000000-2100000")]).await;
        assert!(some.status == 206 && some.body == bytes[2_000_000..=2_100_000], "{name}: {}", some.status);
        let reply = world.client().await.get(&file.content_path(), &[]).await;
        assert!(reply.status == 200 && reply.body == bytes, "{name}: {}", reply.status);
        world.becomes(&file, FileState::Verified).await;
        let (account, received) = (world.known.account(&file), world.meter.received());
        assert_eq!(account.stored, SIZE as u64, "{name}: each byte is stored once: {account:?}");
        assert!(account.wasted <= beside, "{name}: {account:?}, {} requests", origin.asked().len());
        assert!(account.stored + account.wasted <= received, "{name}: {account:?} of {received}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coded_bytes_are_refused_and_the_next_source_is_asked() {
    for coding in ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "compress", "identity, gzip"] {
        let world = World::start().await;
        let bytes = content(1_000_000, 8);
        let file = declare("coded.cab", &bytes);
        let coded = move |ask: &Ask, bytes: &Bytes| {
            // as many bytes as were asked for, and others
            let other = bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
            ranged(ask, &other.into(), "bytes <a>-<b>/<n>", &[("Content-Encoding", coding)])
        };
        let liar = RawOrigin::start(&world.tasks, bytes.clone(), coded).await;
        let honest = RawOrigin::start(&world.tasks, bytes.clone(), good).await;
        world.known.declare(&file, &[liar.url(&file), honest.url(&file)]);
        let reply = world.client().await.get(&file.content_path(), &[]).await;
        assert!(reply.body == bytes, "{coding}");
        assert_eq!(world.known.account(&file).stored, 1_000_000, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_length_is_no_beginning_of_the_file() {
    let world = World::start().await;
    let bytes = content(1_000_000, 9);
    let file = declare("page.cab", &bytes);
    let page = |ask: &Ask, bytes: &Bytes| match ask.number {
        1 => Said {
            head: "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n".to_owned(),
            body: Bytes::from_static(b"<html>Please log in</html>"),
            cut: Some(usize::MAX),
        },
        _ => good(ask, bytes),
    };
    let origin = RawOrigin::start(&world.tasks, bytes.clone(), page).await;
    world.known.declare(&file, &[origin.url(&file)]);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == bytes, "no byte of the page is served");
    world.becomes(&file, FileState::Verified).await;
    assert_eq!(world.known.account(&file).stored, 1_000_000);
}
