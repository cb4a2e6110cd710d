//! What is made of a request takes no more memory than was set apart for it, whatever the request looks like: bytes are
//! counted as they are allocated while the real decoders read the worst shapes that the limits of lists let through.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tailwater::domain::ServerId;
use tailwater::wire::client_update::{Request, Service};
use tailwater::wire::server_reporting::{Report, RollupConfiguration};
use tailwater::wire::soap;
use tailwater::wire::xml::Limits;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts the bytes that this thread holds.
struct Counting;

fn add(bytes: usize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller's
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.set(HELD.get().saturating_sub(layout.size()));
        // SAFETY: as the caller's
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // both may be there for a moment
        add(size);
        HELD.set(HELD.get().saturating_sub(layout.size()));
        // SAFETY: as the caller's
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were held at once while `work` ran, beyond those before it.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = HELD.get();
    PEAK.set(before);
    let made = work();
    (PEAK.get() - before, made)
}

fn envelope(operation: &str, namespace: &str, inside: &str) -> String {
    soap::request(namespace, operation, inside)
}

/// `row` as often as fits about so many bytes, at most `most` times.
fn rows(row: &str, bytes: usize, most: usize) -> String {
    row.repeat((bytes / row.len()).min(most))
}

const GUID: &str = "6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12";

#[test]
fn what_is_made_of_an_agents_request_takes_what_is_set_apart_for_it() {
    const SCAN: usize = 4 << 20;
    const REPORT: usize = 6 << 20;
    let texts = |row: &str| rows(row, usize::MAX, 1_000);
    let device = format!("<Device><HardwareIDs>{}</HardwareIDs></Device>", texts("<string/>"));
    let named = format!("<Device><HardwareIDs>{}</HardwareIDs></Device>", texts("<string>a</string>"));
    let event = |inside: &str| {
        format!(
            "<ReportingEvent><BasicData><EventInstanceID>{GUID}</EventInstanceID></BasicData>{inside}</ReportingEvent>"
        )
    };
    let wordy = |row: &str| {
        event(&format!("<ExtendedData><MiscData>{}</MiscData></ExtendedData>", rows(row, usize::MAX, 1_000)))
    };
    let scan =
        |inside: String| ("SyncUpdates", Service::Client, format!("<parameters>{inside}</parameters>"));
    let report = |inside: String| {
        ("ReportEventBatch", Service::Reporting, format!("<eventBatch>{inside}</eventBatch>"))
    };
    let identity = format!(
        "<UpdateIdentity><UpdateID>{GUID}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity>"
    );
    let ids = |element: &str, int: &str| format!("<{element}>{}</{element}>", rows(int, SCAN / 3, 199_000));
    let shapes = [
        scan(
            ids("InstalledNonLeafUpdateIDs", "<int>1</int>") + &ids("OtherCachedUpdateIDs", "<int> 1</int>"),
        ),
        scan(format!("<SystemSpec>{}</SystemSpec>", rows("<Device/>", SCAN, 19_000))),
        scan(format!("<SystemSpec>{}</SystemSpec>", rows(&device, SCAN, 19_000))),
        scan(format!("<SystemSpec>{}</SystemSpec>", rows(&named, SCAN, 19_000))),
        scan(format!("<FeatureScoreMatchingKey>{}</FeatureScoreMatchingKey>", "x".repeat(SCAN - 4_096))),
        report(rows(&event(""), REPORT, 19_000)),
        report(rows(&wordy("<string/>"), REPORT, 19_000)),
        report(rows(&wordy("<string>a</string>"), REPORT, 19_000)),
        report(rows(
            &wordy("<string>some text of fifty bytes, as events have them</string>"),
            REPORT,
            19_000,
        )),
        (
            "RefreshCache",
            Service::Client,
            format!("<globalIDs>{}</globalIDs>", rows(&identity, 2 << 20, 19_000)),
        ),
        (
            "GetFileLocations",
            Service::Client,
            format!(
                "<fileDigests>{}</fileDigests>",
                rows("<base64Binary>AA==</base64Binary>", 256 << 10, 19_000)
            ),
        ),
        (
            "GetExtendedUpdateInfo",
            Service::Client,
            format!("<locales>{}</locales>", rows("<string/>", 60 << 10, 1_000)),
        ),
    ];
    for (operation, service, inside) in shapes {
        let body = envelope(operation, service.namespace(), &inside);
        let (peak, _made) = peak(|| {
            let mut message = soap::open(body.as_bytes(), Limits::REQUEST).unwrap();
            // whether it is taken or breaks a limit
            drop(Request::decode(service, operation, &mut message.decoder));
        });
        let start = &inside[..inside.len().min(60)];
        println!("{operation} {start}…: {} bytes, {peak} at most in memory", body.len());
        let apart = (6 * body.len()).min(2 * body.len() + (12 << 20));
        assert!(peak <= apart + (64 << 10), "{operation} {start}…: {peak} of {} bytes", body.len());
    }
}

/// Roll-ups count what was read as what is made of it.
#[test]
fn what_is_made_of_a_rollup_is_no_longer_than_its_text() {
    let limits = RollupConfiguration::usual(ServerId(uuid::Uuid::nil()), uuid::Uuid::nil());
    let state = format!(
        "<ComputerStatusRollupUpdateStatus><UpdateId>{GUID}</UpdateId><SummarizationState>1</SummarizationState></ComputerStatusRollupUpdateStatus>"
    );
    let status = format!(
        "<ComputerStatusRollupInfo><ComputerId>a</ComputerId><RollupNumber>1</RollupNumber><UpdateStatus>{}</UpdateStatus></ComputerStatusRollupInfo>",
        rows(&state, usize::MAX, 500)
    );
    let computer = |inside: &str| {
        format!(
            "<ComputerRollupInfo ComputerId=\"a\" ParentServerId=\"{GUID}\"><Details>{inside}</Details></ComputerRollupInfo>"
        )
    };
    let groups = computer(&format!(
        "<RequestedTargetGroupNames>{}</RequestedTargetGroupNames>",
        rows("<string/>", usize::MAX, 1_000)
    ));
    let ids = computer(&format!(
        "<TargetGroupIdList>{}</TargetGroupIdList>",
        rows(&format!("<guid>{GUID}</guid>"), usize::MAX, 1_000)
    ));
    let shapes = [
        ("RollupComputerStatus", format!("<computers>{}</computers>", rows(&status, 26 << 20, 500))),
        ("RollupComputers", format!("<computers>{}</computers>", rows(&computer(""), 8 << 20, 1_500))),
        ("RollupComputers", format!("<computers>{}</computers>", rows(&groups, 16 << 20, 1_500))),
        ("RollupComputers", format!("<computers>{}</computers>", rows(&ids, 16 << 20, 1_500))),
        (
            "GetOutOfSyncComputers",
            format!(
                "<lastRollupNumbers>{}</lastRollupNumbers>",
                rows(
                    "<ComputerLastRollupNumber><ComputerId>a</ComputerId><RollupNumber>1</RollupNumber></ComputerLastRollupNumber>",
                    8 << 20,
                    20_000
                )
            ),
        ),
    ];
    for (operation, inside) in shapes {
        let body = envelope(operation, tailwater::wire::server_reporting::NAMESPACE, &inside);
        let (peak, _made) = peak(|| {
            let mut message = soap::open(body.as_bytes(), Limits::ROLLUP).unwrap();
            drop(Report::decode(operation, &mut message.decoder, &limits));
        });
        let start = &inside[..inside.len().min(60)];
        println!("{operation} {start}…: {} bytes, {peak} at most in memory", body.len());
        assert!(peak <= body.len() + (2 << 20), "{operation} {start}…: {peak} of {} bytes", body.len());
    }
}
