//! `/Content/` answers as RFC 9110 says and as agents were recorded to rely on; `/selfupdate/` is clean.

#![expect(clippy::cast_possible_truncation, reason = "test files fit the address space")]

use http::Method;

use crate::support::world::{Setup, World};

const SIZE: usize = 300_000;

/// Request headers, the status, and which bytes the body has.
type Row = (&'static [(&'static str, &'static str)], u16, Option<(usize, usize)>);

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_conditions_mean_the_same_for_held_and_missing_files() {
    let world = World::start().await;
    for (n, held) in [(1, true), (2, false)] {
        let table: [Row; 22] = [
            (&[], 200, Some((0, SIZE))),
            (&[("range", "bytes=0-")], 206, Some((0, SIZE))),
            (&[("range", "bytes=5-9")], 206, Some((5, 10))),
            (&[("range", "bytes=65530-65545")], 206, Some((65_530, 65_546))),
            (&[("range", "bytes=-10")], 206, Some((SIZE - 10, SIZE))),
            (&[("range", "bytes=299995-301000")], 206, Some((SIZE - 5, SIZE))),
            (&[("range", "bytes=300000-")], 416, None),
            (&[("range", "bytes=-0")], 416, None),
            (&[("range", "bytes=9-2")], 200, Some((0, SIZE))),
            (&[("range", "lines=1-2")], 200, Some((0, SIZE))),
            (&[("range", "bytes=abc")], 200, Some((0, SIZE))),
            (&[("range", "bytes=0-9"), ("if-match", "\"nothing\"")], 412, None),
            (&[("range", "bytes=0-9"), ("if-match", "*")], 206, Some((0, 10))),
            (
                &[("range", "bytes=0-9"), ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT")],
                206,
                Some((0, 10)),
            ),
            (&[("range", "bytes=0-9"), ("if-unmodified-since", "Fri, 31 Dec 1999 00:00:00 GMT")], 412, None),
            (&[("range", "bytes=0-9"), ("if-range", "\"other\"")], 200, Some((0, SIZE))),
            (&[("range", "bytes=0-9"), ("if-range", "Fri, 31 Dec 1999 00:00:00 GMT")], 200, Some((0, SIZE))),
            (&[("range", "bytes=0-9"), ("if-range", "Sat, 01 Jan 2000 00:00:00 GMT")], 206, Some((0, 10))),
            (&[("if-none-match", "*")], 304, None),
            (&[("if-none-match", "\"x\"")], 200, Some((0, SIZE))),
            (&[("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT")], 304, None),
            (&[("range", "bytes=0-9"), ("content-length", "0")], 206, Some((0, 10))),
        ];
        for (row, (headers, status, part)) in table.into_iter().enumerate() {
            let file = world.file("file.cab", SIZE, n * 1000 + if held { 0 } else { row as u64 });
            let (bytes, path) = (world.origin.bytes(&file), file.content_path());
            let mut client = world.client().await;
            if held {
                client.get(&path, &[]).await;
            }
            let reply = client.get(&path, headers).await;
            let case = format!("held {held}, {headers:?}");
            assert_eq!(reply.status, status, "{case}");
            assert_eq!(reply.header("accept-ranges"), "bytes", "{case}");
            assert_eq!(reply.header("transfer-encoding"), "", "{case}");
            if status != 304 {
                assert_eq!(reply.header("content-length"), reply.body.len().to_string(), "{case}");
            }
            if let Some((start, end)) = part {
                assert!(reply.body == bytes[start..end], "{case}");
                assert_eq!(reply.header("etag"), format!("\"{}\"", file.sha1), "{case}");
            }
            match (status, part) {
                (206, Some((start, end))) => {
                    assert_eq!(reply.header("content-range"), format!("bytes {start}-{}/{SIZE}", end - 1));
                }
                (416, _) => assert_eq!(reply.header("content-range"), format!("bytes */{SIZE}")),
                _ => assert_eq!(reply.header("content-range"), "", "{case}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_come_as_parts() {
    let world = World::start().await;
    let file = world.file("parts.cab", SIZE, 1);
    let (bytes, path) = (world.origin.bytes(&file), file.content_path());
    let reply = world.client().await.get(&path, &[("range", "bytes=0-3,10-13,-2")]).await;
    assert_eq!(reply.status, 206);
    let boundary = reply.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (start, end) in [(0, 4), (10, 14), (SIZE - 2, SIZE)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{}/{SIZE}\r\n\r\n",
            end - 1
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&bytes[start..end]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("content-length"), expected.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_answers_without_asking_the_upstream() {
    let world = World::start().await;
    let file = world.file("image.wim", SIZE, 1);
    let reply = world.client().await.ask(Method::HEAD, &file.content_path(), &[]).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-length"), SIZE.to_string());
    assert_eq!(reply.header("content-type"), "application/x-ms-wim");
    assert_eq!(world.origin.sent(&file).requests, 0);
    let reply = world.client().await.ask(Method::POST, &file.content_path(), &[]).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn letter_case_does_not_matter_and_a_wrong_folder_does() {
    let world = World::start().await;
    let file = world.file("case.exe", 1000, 1);
    let path = file.content_path();
    let mut client = world.client().await;
    assert_eq!(client.get(&path.to_lowercase(), &[]).await.body, world.origin.bytes(&file));
    assert_eq!(client.get(&path.to_uppercase(), &[]).await.status, 200);
    let hex = file.sha1.hex();
    let folder = if &hex[38..] == "00" { "01" } else { "00" };
    assert_eq!(client.get(&format!("/Content/{folder}/{hex}.exe"), &[]).await.status, 404);
    assert_eq!(client.get(&format!("/Content/{hex}.exe"), &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_the_store() {
    let world = World::start().await;
    let file = world.file("inside.cab", 1000, 1);
    world.client().await.get(&file.content_path(), &[]).await;
    for path in [
        "/Content/../../../../../../etc/passwd",
        "/Content/..%2f..%2f..%2f..%2fetc/passwd",
        "/Content/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/Content//etc/passwd",
        "/Content/00/%00",
        "/Content/index/db",
        "/Content/index/conf",
        "/selfupdate/../../etc/passwd",
        "/selfupdate/x",
        "/selfupdate",
    ] {
        let reply = world.client().await.get(path, &[]).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("root:"), "{path}");
    }
    let map = format!("/Content/{}/{}.map", &file.sha1.hex()[38..], file.sha1);
    // `.map` is an extension like any other: the payload, not the store's own file
    assert_eq!(world.client().await.get(&map, &[]).await.body, world.origin.bytes(&file));
}

/// The method and the headers; the status, the body, and the range of the answer.
type Asked<'a> = (Method, &'a [(&'a str, &'a str)], u16, &'a str, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn selfupdate_serves_its_folder_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("WSUS3")).unwrap();
    let file = folder.path().join("WSUS3/wuident.cab");
    std::fs::write(&file, b"ident").unwrap();
    let modified = httpdate::parse_http_date("Mon, 10 Feb 2014 02:40:00 GMT").unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    let setup = Setup { selfupdate: Some(folder.path().to_owned()), ..Setup::default() };
    let world = World::with(setup).await;
    let mut client = world.client().await;
    assert_eq!(client.get("/selfupdate/wsus3/other.cab", &[]).await.status, 404);
    let (date, path) = ("Mon, 10 Feb 2014 02:40:00 GMT", "/SelfUpdate/wsus3/WUIDENT.cab");
    let etag = client.get(path, &[]).await.header("etag").to_owned();
    let table: [Asked<'_>; 10] = [
        (Method::GET, &[], 200, "ident", ""),
        (Method::HEAD, &[], 200, "", ""),
        (Method::GET, &[("if-modified-since", date)], 304, "", ""),
        (Method::GET, &[("if-modified-since", "Mon, 10 Feb 2014 02:39:59 GMT")], 200, "ident", ""),
        (Method::GET, &[("if-unmodified-since", "Mon, 10 Feb 2014 02:39:59 GMT")], 412, "", ""),
        (Method::GET, &[("if-none-match", &etag)], 304, "", ""),
        (Method::GET, &[("range", "bytes=1-2")], 206, "de", "bytes 1-2/5"),
        (Method::GET, &[("range", "bytes=1-"), ("if-range", date)], 206, "dent", "bytes 1-4/5"),
        (Method::GET, &[("range", "bytes=0-0,4-4")], 200, "ident", ""),
        (Method::GET, &[("range", "bytes=5-")], 416, "", "bytes */5"),
    ];
    for (method, headers, status, body, range) in table {
        let reply = client.ask(method.clone(), path, headers).await.unwrap();
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..]),
            (status, body.as_bytes()),
            "{method} {headers:?}"
        );
        assert_eq!(reply.header("last-modified"), date, "{method} {headers:?}");
        assert_eq!(reply.header("content-range"), range, "{method} {headers:?}");
        let length = if method == Method::HEAD { "5".to_owned() } else { body.len().to_string() };
        assert!(status == 304 || reply.header("content-length") == length, "{method} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests() {
    let world = World::start().await;
    let file = world.file("again.cab", 2_000_000, 1);
    let (bytes, path) = (world.origin.bytes(&file), file.content_path());
    let mut client = world.client().await;
    for start in (0..20).rev().map(|n| n * 100_000) {
        let reply = client.range(&path, start, start + 100_000).await;
        assert!(reply.body == bytes[start as usize..start as usize + 100_000]);
    }
    assert_eq!(world.origin.sent(&file).bytes, 2_000_000);
}

/// The largest real one has a hundred megabytes; whatever it has, a step of it is in memory.
#[tokio::test(flavor = "multi_thread")]
async fn selfupdate_files_of_any_size_are_streamed() {
    const LARGE: u64 = 160 << 20;
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("large.cab")).unwrap();
    file.set_len(LARGE).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"the end", LARGE - 7).unwrap();
    let setup = Setup { selfupdate: Some(folder.path().to_owned()), ..Setup::default() };
    let world = World::with(setup).await;
    let mut client = world.client().await;
    let head = client.ask(Method::HEAD, "/selfupdate/large.cab", &[]).await.unwrap();
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, LARGE.to_string().as_str()));
    let end = client.range("/selfupdate/large.cab", LARGE - 1_000_000, LARGE).await;
    assert_eq!(
        (end.status.as_u16(), end.body.len(), &end.body[999_993..]),
        (206, 1_000_000, &b"the end"[..])
    );
    let mut whole = client.begin(Method::GET, "/selfupdate/large.cab", &[]).await.unwrap().into_body();
    let mut came = 0;
    while let Some(frame) = http_body_util::BodyExt::frame(&mut whole).await {
        came += frame.unwrap().into_data().unwrap().len() as u64;
    }
    assert_eq!(came, LARGE);
    // one that becomes shorter while it is sent breaks off instead of being made up
    let cut = client.begin(Method::GET, "/selfupdate/large.cab", &[]).await.unwrap().into_body();
    file.set_len(1_000).unwrap();
    assert!(http_body_util::BodyExt::collect(cut).await.is_err());
}
