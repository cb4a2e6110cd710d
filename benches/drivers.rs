//! What does a driver pass cost? Budget on 2 cores: under 20 ms where 5,000 drivers are known and a machine of 70 devices
//! (four hardware and three compatible identities each) matches 700 of them, and under 150 ms where it matches all 5,000;
//! the first pass after a start, which reads what drivers say of themselves, under 1 s.
//!
//! `cargo bench --bench drivers`; a tenth of the drivers name computers that they are distributed to.
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::io::Cursor;
use std::time::{Duration, Instant};

use tailwater::catalog::{Activation, Catalog, Config, Device, DriverQuery, NewPart, NewRevision, PartKind};
use tailwater::runtime::Clock;
use tailwater::wire::update_metadata::{Languages, Spool, cut};

const DRIVERS: u32 = 5_000;
const DEVICES: u32 = 70;
const MEASURE: Duration = Duration::from_secs(3);

fn guid(number: u32) -> String {
    uuid::Uuid::from_u128(u128::from(number) + (1 << 100)).to_string()
}

fn device_id(device: u32, rank: u32) -> String {
    format!("PCI\\VEN_{:04X}&amp;DEV_{device:04X}&amp;REV_{rank:02X}", 0x8086)
}

/// A driver for one of `spread` devices; of those the machine has the first 70.
fn document(number: u32, spread: u32) -> String {
    let aim = if number.is_multiple_of(10) {
        format!(
            "<drv:DistributionComputerHardwareId>{}</drv:DistributionComputerHardwareId>",
            guid(900_000 + number % 3)
        )
    } else {
        String::new()
    };
    format!(
        "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" \
         xmlns:drv=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/WindowsDriver\">\
         <upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"1\"/>\
         <upd:Properties DefaultPropertiesLanguage=\"en\" UpdateType=\"Driver\" ExplicitlyDeployable=\"true\"/>\
         <upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language>\
         <upd:Title>Driver {number}</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>\
         <upd:ApplicabilityRules><upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"{}\" DriverVerDate=\"2026-{:02}-{:02}\" \
         DriverVerVersion=\"1.2.3.{}\" Class=\"Net\" Provider=\"Vendor\" Manufacturer=\"Vendor\" Model=\"Model {number}\">\
         <drv:FeatureScore OperatingSystem=\"AMD64.10.0\" FeatureScore=\"{}\"/>{aim}</drv:WindowsDriverMetaData>\
         </upd:Metadata></upd:ApplicabilityRules></upd:Update>",
        guid(number),
        device_id(number % spread, number % 7),
        number % 12 + 1,
        number % 28 + 1,
        number % 60_000,
        number % 256,
    )
}

fn part(kind: PartKind, spool: Spool) -> NewPart {
    NewPart { kind, len: spool.len(), text: Box::new(spool.into_reader().unwrap()) }
}

fn catalog(dir: &std::path::Path, spread: u32) -> Catalog {
    let catalog = Catalog::open(Config::new(dir), Clock::system()).unwrap();
    let staging = catalog.staging().unwrap();
    let numbers: Vec<u32> = (1..=DRIVERS).collect();
    for some in numbers.chunks(100) {
        let revisions = some.iter().map(|number| {
            let cut = cut(Cursor::new(document(*number, spread)), &Languages::of(["en"])).unwrap();
            let parts = vec![
                part(PartKind::Document, cut.document),
                part(PartKind::Core, cut.core),
                part(PartKind::Extended, cut.extended),
            ];
            NewRevision { facts: cut.facts, parts, file_urls: Vec::new() }
        });
        staging.store(revisions.collect()).unwrap();
    }
    staging.activate(Activation::default()).unwrap();
    drop((staging, catalog));
    Catalog::open(Config::new(dir), Clock::system()).unwrap()
}

fn pass(catalog: &Catalog, devices: &[Device], computer: &[String]) -> usize {
    let question = DriverQuery {
        groups: &[],
        installed: &[],
        cached: &[],
        devices,
        all_printers: false,
        computer_hardware_ids: computer,
        feature_key: Some("AMD64.10.0"),
        since: 0,
        limit: 200,
    };
    catalog.drivers(&question).unwrap().new.len()
}

fn main() {
    let devices: Vec<Device> = (0..DEVICES)
        .map(|device| {
            let ids = |ranks: std::ops::Range<u32>| {
                ranks.map(|rank| device_id(device, rank).replace("&amp;", "&")).collect()
            };
            Device { hardware_ids: ids(0..4), compatible_ids: ids(4..7), installed: None }
        })
        .collect();
    let computer: Vec<String> = (0..2).map(|number| guid(900_000 + number)).collect();
    for (spread, matched) in [(DEVICES * DRIVERS / 700, 700), (DEVICES, DRIVERS)] {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(dir.path(), spread);
        let began = Instant::now();
        let found = pass(&catalog, &devices, &computer);
        let first = began.elapsed();
        let (mut passes, began) = (0_u32, Instant::now());
        while began.elapsed() < MEASURE {
            passes += 1;
            assert_eq!(pass(&catalog, &devices, &computer), found);
        }
        let each = began.elapsed() / passes;
        println!(
            "{DRIVERS} drivers, {DEVICES} devices, {matched} match: {found} offered; first pass {first:.1?}, then {each:.2?} a pass"
        );
    }
}
