//! Requests end where they end, however they are cut; nothing of a wrong one passes.

use super::*;

const WELL_FORMED: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nhOsT:\ta:80 \r\n\r\n",
    "GET http://b/x HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: [::1]:8530\r\nContent-Length: 3\r\n\r\n\0\r\n",
    "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 0003 \r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encodings-of-others: x\r\nContent-Lengthy: y\r\n\r\n",
];

#[test]
fn requests_end_where_they_end_however_they_are_cut() {
    for first in WELL_FORMED {
        for second in WELL_FORMED {
            let both = format!("{first}{second}");
            for cut in 0..=both.len() {
                let mut framing = Framing::new();
                assert_eq!(framing.expects(), Expects::Header);
                let (one, two) = both.as_bytes().split_at(cut);
                assert_eq!(framing.pass(one), Ok(()), "{both:?} cut at {cut}");
                assert_eq!(framing.pass(two), Ok(()), "{both:?} cut at {cut}");
                assert_eq!(framing.expects(), Expects::Request, "{both:?}");
            }
        }
    }
}

#[test]
fn nothing_of_a_wrong_request_passes_however_it_is_cut() {
    let wrong = [
        "GET / HTTP/1.1\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\n",
    ];
    let before = WELL_FORMED[4];
    for text in wrong {
        let whole = format!("{before}{text}");
        for cut in 0..whole.len() {
            let (one, two) = whole.as_bytes().split_at(cut);
            let mut framing = Framing::new();
            let passed = if let Err(kept) = framing.pass(one) {
                kept
            } else {
                let kept = framing.pass(two).expect_err(&whole);
                // what began among these bytes does not pass at all
                assert!(cut > before.len() || kept + cut == before.len(), "{whole:?} cut at {cut}");
                cut + kept
            };
            assert!(passed < whole.len(), "{whole:?} cut at {cut}");
        }
    }
}

#[test]
fn any_bytes_are_taken_without_a_panic() {
    let mut seed = 7_u64;
    let alphabet = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\0;,";
    for _ in 0..20_000 {
        let mut framing = Framing::new();
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for _ in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push(alphabet[usize::try_from(seed >> 33).unwrap() % alphabet.len()]);
        }
        if let Err(kept) = framing.pass(&bytes) {
            assert!(kept < bytes.len());
        }
    }
}
