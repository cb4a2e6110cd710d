//! Promises of the ledger.

use std::sync::atomic::AtomicU64;

use super::*;

struct Site {
    folder: tempfile::TempDir,
    clock: Clock,
    received: Arc<AtomicU64>,
}

const FILE: Sha1Digest = Sha1Digest([7; 20]);

impl Site {
    fn new() -> Self {
        let clock = Clock::manual("2026-11-22T22:10:00Z".parse().unwrap());
        Self { folder: tempfile::tempdir().unwrap(), clock, received: Arc::default() }
    }

    /// As after a start; nothing writes by itself.
    fn open(&self) -> Ledger {
        let ledger = Ledger::open(self.folder.path(), TimeZone::UTC, &self.clock).unwrap();
        let received = Arc::clone(&self.received);
        received.store(0, Ordering::Relaxed);
        let sockets = move || vec![("interactive", received.load(Ordering::Relaxed), 10)];
        let witnesses = Witnesses { sockets: Box::new(sockets), holds: Box::new(|_| false) };
        assert!(ledger.0.witnesses.set(witnesses).is_ok());
        ledger
    }

    fn fetch(&self, ledger: &Ledger, start: u64, end: u64) {
        self.received.fetch_add(end - start + 100, Ordering::Relaxed);
        ledger.came("interactive", FILE, &"http://up:8530".into(), Fate::Stored(ByteRange { start, end }));
    }
}

fn serve(ledger: &Ledger, start: u64, end: u64) {
    ledger.served(Client::Agent(IpAddr::from([10, 0, 0, 1])), FILE, ByteRange { start, end });
}

fn all(ledger: &Ledger, by: By) -> Report {
    let (from, to) = ("2026-01-01T00:00:00Z", "2027-12-31T00:00:00Z");
    ledger.report(from.parse().unwrap(), to.parse().unwrap(), by).unwrap()
}

#[test]
fn served_is_fetched_and_avoided_and_payload_is_accounted_for() {
    let (site, ledger) = {
        let site = Site::new();
        let ledger = site.open();
        (site, ledger)
    };
    site.fetch(&ledger, 0, 1000);
    ledger.came("normal", FILE, &"http://up:8530".into(), Fate::Wasted(30));
    serve(&ledger, 0, 400);
    serve(&ledger, 200, 600);
    ledger.write(false);
    let report = all(&ledger, By::Client);
    let total = report.total;
    assert_eq!((total.served, total.fetched, total.avoided(), report.ahead), (800, 600, 200, 400));
    assert_eq!((total.payload, total.wasted, total.received), (1030, 30, 1100));
    assert_eq!((report.rows[0].name.as_str(), report.rows[0].counts.served), ("10.0.0.1", 800));
    // the file is gone before the rest of it was served
    ledger.write(true);
    let after = all(&ledger, By::File);
    assert_eq!((after.total.wasted, after.ahead), (430, 0));
    assert_eq!(after.total.payload, after.total.fetched + after.total.wasted + after.ahead);
    assert_eq!(all(&ledger, By::Class).rows.iter().map(|row| row.counts.wasted).sum::<u64>(), 430);
}

#[test]
fn a_kill_loses_only_what_was_not_written() {
    let site = Site::new();
    let ledger = site.open();
    for hour in 0..3 {
        site.fetch(&ledger, hour * 1000, hour * 1000 + 1000);
        serve(&ledger, hour * 1000, hour * 1000 + 500);
        ledger.write(false);
        site.clock.advance(Duration::from_hours(1));
    }
    serve(&ledger, 0, 100);
    drop(ledger);
    let again = site.open();
    let report = all(&again, By::Hour);
    assert_eq!((report.total.served, report.total.fetched, report.ahead), (1500, 1500, 1500));
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    // the hour that runs has what the new start sent so far
    assert_eq!(names, ["2026-11-22T22", "2026-11-22T23", "2026-11-23T00", "2026-11-23T01"]);
    serve(&again, 500, 700);
    again.write(false);
    let report = all(&again, By::Day);
    assert_eq!((report.total.fetched, report.ahead, report.rows.len()), (1700, 1300, 2));
}

#[test]
fn a_clock_that_is_set_back_adds_to_the_hour_that_was() {
    let site = Site::new();
    let ledger = site.open();
    serve(&ledger, 0, 100);
    ledger.write(false);
    site.clock.advance(Duration::from_hours(1));
    ledger.write(false);
    let back = Clock::manual("2026-11-22T22:30:00Z".parse().unwrap());
    drop(ledger);
    let site = Site { clock: back, ..site };
    let ledger = site.open();
    serve(&ledger, 0, 100);
    ledger.write(false);
    let report = all(&ledger, By::Hour);
    assert_eq!((report.rows.len(), report.rows[0].counts.served), (1, 200));
}

#[test]
fn texts_name_spans_of_time() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let table = [
        ("2026-11", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"),
        ("2026-11-22", "2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"),
        ("2026-11-22T14", "2026-11-22T13:00:00Z", "2026-11-22T14:00:00Z"),
        ("2026-11-22T14:30:00+01:00", "2026-11-22T13:30:00Z", "2026-11-22T13:30:00Z"),
    ];
    for (text, begin, end) in table {
        let wanted = (begin.parse().unwrap(), end.parse().unwrap());
        assert_eq!(report::span_of(text, &zone), Some(wanted), "{text}");
    }
    for wrong in ["", "yesterday", "2026", "2026-13", "2026-11-31"] {
        assert_eq!(report::span_of(wrong, &zone), None, "{wrong}");
    }
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nothing() {
    let site = Site::new();
    let ledger = site.open();
    serve(&ledger, 0, 100);
    ledger.write(false);
    site.clock.advance(Duration::from_hours(1));
    let away = site.folder.path().with_extension("away");
    std::fs::rename(site.folder.path(), &away).unwrap();
    serve(&ledger, 0, 100);
    ledger.write(false);
    std::fs::rename(&away, site.folder.path()).unwrap();
    serve(&ledger, 0, 100);
    ledger.write(false);
    drop(ledger);
    assert_eq!(all(&site.open(), By::Day).total.served, 300);
}

#[test]
fn totals_are_kept_over_restarts_and_agree_with_the_report() {
    let site = Site::new();
    let mut ledger = site.open();
    // two days, a restart after every second hour, an hour of silence now and then
    for hour in 0..40_u64 {
        if hour % 3 > 0 {
            site.fetch(&ledger, hour * 1000, hour * 1000 + 700);
            serve(&ledger, hour * 1000, hour * 1000 + 500);
            serve(&ledger, hour * 1000, hour * 1000 + 100);
        }
        ledger.write(false);
        if hour % 2 == 1 {
            drop(ledger);
            ledger = site.open();
        }
        let report = all(&ledger, By::Day);
        let kept = ledger.kept();
        assert_eq!((kept.total, kept.ahead), (report.total, report.ahead), "hour {hour}");
        assert_eq!(kept.month, report.total, "hour {hour}");
        let today = site.clock.now().to_string()[..10].to_owned();
        let row = report.rows.iter().find(|row| row.name == today).map(|row| row.counts);
        assert_eq!(kept.today, row.unwrap_or_default(), "hour {hour}");
        let source = all(&ledger, By::Source).rows.iter().map(|row| row.counts.payload).sum::<u64>();
        assert_eq!(ledger.kept_of(By::Source, "http://up:8530").payload, source, "hour {hour}");
        let (counted, _) = ledger.counted();
        assert_eq!(counted.served, report.total.served, "counters go on over restarts, hour {hour}");
        site.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(ledger.kept().since.map(|date| date.to_string()).as_deref(), Some("2026-11-22"));
    let pace = ledger.pace().unwrap();
    assert_eq!(pace.bytes, all(&ledger, By::Day).total.received);
    assert!(pace.seconds > 39 * 3600, "{pace:?}");
    // 13 months later the day is no longer kept
    for _ in 0..14 {
        site.clock.advance(Duration::from_hours(24 * 30));
        ledger.write(false);
    }
    serve(&ledger, 0, 10);
    ledger.write(false);
    site.clock.advance(Duration::from_hours(24));
    ledger.write(false);
    assert_eq!(ledger.kept().total.served, 10);
}

#[test]
fn an_hour_that_was_closed_and_not_forgotten_counts_once() {
    let site = Site::new();
    let ledger = site.open();
    site.fetch(&ledger, 0, 1000);
    serve(&ledger, 0, 1000);
    ledger.write(false);
    let journal = site.folder.path().join("journal");
    let before = std::fs::read(&journal).unwrap();
    site.clock.advance(Duration::from_hours(1));
    ledger.write(false);
    drop(ledger);
    // killed between the archive and the journal
    std::fs::write(&journal, before).unwrap();
    let ledger = site.open();
    assert_eq!((ledger.kept().total.served, all(&ledger, By::Day).total.served), (1000, 1000));
    ledger.write(false);
    assert_eq!((ledger.kept().total.served, all(&ledger, By::Day).total.served), (1000, 1000));
}

#[test]
fn a_clock_that_is_set_loses_no_byte_and_no_day() {
    const DAY: i64 = 86_400;
    for jump in [-3_650 * DAY, -DAY, -3_600, 3_600, DAY, 3_650 * DAY] {
        for at_start in [true, false] {
            let site = Site::new();
            let mut ledger = site.open();
            for day in 0..3 {
                site.fetch(&ledger, day * 1_000, day * 1_000 + 1_000);
                ledger.write(false);
                site.clock.advance(Duration::from_hours(24));
                ledger.write(false);
            }
            let right = site.clock.now();
            if at_start {
                drop(ledger);
                site.clock.set(right + jiff::SignedDuration::from_secs(jump));
                ledger = site.open();
            } else {
                site.clock.set(right + jiff::SignedDuration::from_secs(jump));
            }
            site.fetch(&ledger, 3_000, 4_000);
            ledger.write(false);
            site.clock.advance(Duration::from_hours(1));
            ledger.write(false);
            site.clock.set(right);
            site.fetch(&ledger, 4_000, 5_000);
            ledger.write(false);
            site.clock.advance(Duration::from_hours(1));
            ledger.write(false);
            assert_eq!(ledger.kept().total.payload, 5_000, "{jump} s, at start {at_start}");
            assert_eq!(all(&ledger, By::Hour).rows.len().min(4), 4, "{jump} s, at start {at_start}");
        }
    }
}
