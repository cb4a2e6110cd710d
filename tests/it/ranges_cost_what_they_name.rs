//! Whatever ranges a client names, of a cold file the link carries the pieces that they touch, or nothing.

#![expect(clippy::cast_possible_truncation, reason = "test files fit the address space")]

use std::collections::BTreeSet;

use http::Method;

use crate::support::world::World;

const PIECE: u64 = 65_536;
const SIZE: u64 = 9_000_000;

/// The ranges of an answer: its one range, or those of its parts, with their bytes.
fn parts(reply: &crate::support::client::Reply) -> Vec<(u64, Vec<u8>)> {
    let start =
        |value: &str| value.trim_start_matches("bytes ").split('-').next().unwrap().parse::<u64>().unwrap();
    let kind = reply.header("content-type");
    let Some(boundary) = kind.strip_prefix("multipart/byteranges; boundary=") else {
        return vec![(start(reply.header("content-range")), reply.body.to_vec())];
    };
    let (delimiter, mut rest, mut parts) = (format!("\r\n--{boundary}"), &reply.body[..], Vec::new());
    while let Some(after) = rest.strip_prefix(delimiter.as_bytes()) {
        if after == b"--\r\n" {
            return parts;
        }
        let head = after.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let text = std::str::from_utf8(&after[..head]).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix("Content-Range: bytes ")).unwrap();
        let (first, last) = value.split('/').next().unwrap().split_once('-').unwrap();
        let len = (last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()) as usize;
        parts.push((start(value), after[head + 4..head + 4 + len].to_vec()));
        rest = &after[head + 4 + len..];
    }
    panic!("the last boundary is missing");
}

fn list(specs: impl IntoIterator<Item = (u64, u64)>) -> String {
    let specs: Vec<_> = specs.into_iter().map(|(start, end)| format!("{start}-{}", end - 1)).collect();
    format!("bytes={}", specs.join(","))
}

/// A name, a header, and the ranges it names.
type Case = (&'static str, String, Vec<(u64, u64)>);

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, ranges: Vec<(u64, u64)>| cases.push((name, list(ranges.clone()), ranges));
    for count in [2, 32, 33, 64, 500, 1_024] {
        case("apart", (0..count).map(|n| (n * (SIZE / count), n * (SIZE / count) + 1_000)).collect());
    }
    case("33, the last first", (0..33).rev().map(|n| (n * 250_000, n * 250_000 + 1_000)).collect());
    case("shuffled", (0..200).map(|n| (n * 7_919 % 200 * 40_000, n * 7_919 % 200 * 40_000 + 10)).collect());
    case("adjacent", (0..400).map(|n| (5_000_000 + n * 100, 5_000_100 + n * 100)).collect());
    case("the same again and again", vec![(8_000_000, 8_001_000); 700]);
    case("overlapping", (0..300).map(|n| (1_000_000 + n * 10, 1_003_000 + n * 10)).collect());
    case("overlapping and longer than the file", [(1_000, 30_000), (0, 29_000)].repeat(800));
    case("one byte of each", (0..900).map(|n| (n * 40, n * 40 + 1)).collect());
    let end = |n: u64| (SIZE - n, SIZE);
    let suffixes: Vec<_> = (1..=100).map(|n| format!("-{n}")).collect();
    cases.push(("suffixes", format!("bytes={}", suffixes.join(",")), (1..=100).map(end).collect()));
    let open: Vec<_> = (1..=50).map(|n| format!("{}-", SIZE - n * 1_000)).collect();
    cases.push((
        "open ends",
        format!("bytes={}", open.join(", ")),
        (1..=50).map(|n| end(n * 1_000)).collect(),
    ));
    let beyond = format!("bytes={},5-9", vec!["99999999999-"; 100].join(","));
    cases.push(("beyond the end", beyond, vec![(5, 10)]));
    cases.push((
        "spaces and empty ones",
        format!("bytes= 1-2 ,{} 70000-70001", ",".repeat(500)),
        vec![(1, 3), (70_000, 70_002)],
    ));
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn any_set_of_ranges_costs_the_pieces_it_touches() {
    let world = World::start().await;
    for (seed, (name, header, ranges)) in cases().into_iter().enumerate() {
        let file = world.file("ranges.cab", SIZE as usize, 100 + seed as u64);
        let bytes = world.origin.bytes(&file);
        let reply = world.client().await.get(&file.content_path(), &[("range", &header)]).await;
        let what = format!("{name}, {} ranges", ranges.len());
        assert_eq!(reply.status, 206, "{what}");
        assert_eq!(reply.header("content-length"), reply.body.len().to_string(), "{what}");
        let parts = parts(&reply);
        let mut covered = BTreeSet::new();
        for (start, part) in &parts {
            assert!(part[..] == bytes[*start as usize..*start as usize + part.len()], "{what} at {start}");
            covered.extend(*start..*start + part.len() as u64);
        }
        for (start, end) in &ranges {
            assert!((*start..*end).all(|at| covered.contains(&at)), "{what}: {start}..{end} is missing");
        }
        let touched: BTreeSet<u64> =
            ranges.iter().flat_map(|(start, end)| start / PIECE..end.div_ceil(PIECE)).collect();
        let most = (touched.len() as u64 * PIECE).min(SIZE);
        let sent = world.origin.sent(&file);
        println!(
            "{what}: {} parts, {} B touched, {} B from upstream, {} requests",
            parts.len(),
            most,
            sent.bytes,
            sent.requests
        );
        assert!(sent.bytes <= most, "{what}: {} B for {most} B", sent.bytes);
        assert!(sent.pieces.values().all(|times| *times == 1), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_refused_costs_nothing() {
    let world = World::start().await;
    let file = world.file("refused.cab", SIZE as usize, 5);
    let refused = [
        ("too many", list((0..1_025).map(|n| (n * 8_000, n * 8_000 + 1)))),
        ("far too many", list((0..4_000).map(|n| (n * 1_000, n * 1_000 + 1)))),
        ("a damaged one", "bytes=0-9,9-2".to_owned()),
        ("nonsense", "bytes=0-9,x,5-".to_owned()),
        ("nothing but commas", format!("bytes={}", ",".repeat(1_000))),
        ("all beyond the end", format!("bytes={}", vec!["9000000-"; 2_000].join(","))),
    ];
    for (name, header) in refused {
        let reply = world.client().await.get(&file.content_path(), &[("range", &header)]).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-range")),
            (416, "bytes */9000000"),
            "{name}"
        );
    }
    let huge = list((0..9_000).map(|n| (n * 4_000, n * 4_000 + 1)));
    let reply = world.client().await.ask(Method::GET, &file.content_path(), &[("range", &huge)]).await;
    assert!(reply.is_err() || reply.unwrap().status == 431, "longer than a head may be");
    assert_eq!(world.origin.sent(&file).requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_many_parts_leaves_little_behind() {
    let world = World::start().await;
    let file = world.file("left.cab", SIZE as usize, 6);
    let header = list((0..500).map(|n| (n * 17_000, n * 17_000 + 10)));
    let mut client = world.client().await;
    let begun = client.begin(Method::GET, &file.content_path(), &[("range", &header)]).await.unwrap();
    assert_eq!(begun.status(), 206);
    drop((begun, client));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !world.transfer.list().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", world.transfer.list());
        tokio::task::yield_now().await;
    }
}
