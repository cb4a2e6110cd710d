//! What reading a scan request and compressing its answer cost: both stand in every agent's way.
//!
//! Budget: a request with 1,250 ids is read in 80 µs; xpress encodes at least 150 MB/s and decodes 500 MB/s.
//! `cargo bench --bench envelopes`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on ends, and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tailwater::wire::soap;
use tailwater::wire::xml::Limits;
use tailwater::wire::xpress;

/// The shortest of several rounds.
fn best(mut work: impl FnMut()) -> Duration {
    let rounds = (0..200).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed()
    });
    rounds.min().unwrap_or_default()
}

fn request(ids: u32) -> String {
    let list = |from: u32, to: u32| {
        (from..to).fold(String::new(), |list, id| list + "<int>" + &(20_000 + id).to_string() + "</int>")
    };
    let content = format!(
        "<cookie><Expiration>2026-10-04T16:03:35.9967236Z</Expiration><EncryptedData>{}</EncryptedData></cookie>\
         <parameters><ExpressQuery>false</ExpressQuery><InstalledNonLeafUpdateIDs>{}</InstalledNonLeafUpdateIDs>\
         <OtherCachedUpdateIDs>{}</OtherCachedUpdateIDs><SkipSoftwareSync>false</SkipSoftwareSync></parameters>",
        "A".repeat(312),
        list(0, 90),
        list(90, ids)
    );
    soap::request(
        "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService",
        "SyncUpdates",
        &content,
    )
}

fn read(text: &[u8]) -> usize {
    let mut message = soap::open(text, Limits::REQUEST).unwrap();
    let (mut ids, mut depth) = (0, 1);
    while depth > 0 {
        match message.decoder.child().unwrap() {
            None => depth -= 1,
            Some("parameters") => depth += 1,
            Some("InstalledNonLeafUpdateIDs" | "OtherCachedUpdateIDs") => {
                ids += message.decoder.ints(100_000).unwrap().len();
            }
            Some(_) => message.decoder.skip().unwrap(),
        }
    }
    ids
}

fn megabytes_a_second(bytes: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / took.as_secs_f64() / 1e6
}

fn main() {
    let text = request(1_250);
    assert_eq!(read(text.as_bytes()), 1_250);
    let took = best(|| {
        black_box(read(black_box(text.as_bytes())));
    });
    println!(
        "a scan request of 1,250 ids ({} bytes) is read in {:.1} µs",
        text.len(),
        took.as_secs_f64() * 1e6
    );

    let element = |n: u32| {
        format!(
            "<UpdateInfo><ID>{n}</ID><Deployment><ID>{}</ID><Action>PreDeploymentCheck</Action><IsAssigned>true</IsAssigned>\
             <LastChangeTime>2026-10-04</LastChangeTime></Deployment><IsLeaf>true</IsLeaf><Xml>&lt;UpdateIdentity \
             UpdateID=\"{:08x}-7951-4c2c-a42b-{:012x}\" RevisionNumber=\"200\" /&gt;&lt;Properties UpdateType=\"Software\" \
             /&gt;&lt;Relationships&gt;&lt;Prerequisites&gt;&lt;UpdateIdentity UpdateID=\"{:08x}-e2e9-4f71-8525-2ff588527978\" \
             /&gt;&lt;/Prerequisites&gt;&lt;/Relationships&gt;</Xml></UpdateInfo>",
            n * 3,
            n.wrapping_mul(0x9E37_79B1),
            u64::from(n).wrapping_mul(0x9E37_79B9_7F4A) & 0xffff_ffff_ffff,
            (n % 40).wrapping_mul(0x85EB_CA6B),
        )
    };
    let answer: String = (0..400).map(element).collect();
    let coded = xpress::encode(answer.as_bytes());
    let encoding = best(|| {
        black_box(xpress::encode(black_box(answer.as_bytes())));
    });
    let decoding = best(|| {
        black_box(xpress::decode(black_box(&coded), answer.len()).unwrap());
    });
    println!(
        "xpress: {} to {} bytes, encodes {:.0} MB/s, decodes {:.0} MB/s",
        answer.len(),
        coded.len(),
        megabytes_a_second(answer.len(), encoding),
        megabytes_a_second(answer.len(), decoding)
    );
}
