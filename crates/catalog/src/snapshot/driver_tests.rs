//! Which driver a device gets, against a truth table written straight from the specification ([MS-WUSP] 3.1.5.7 and the
//! table of computer hardware identities): a plain reference over every combination, and rows by hand.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::config::OfferPolicy;
use crate::decisions::decided::Decisions;
use crate::snapshot::build::Builder;
use crate::snapshot::root::Snapshot;
use crate::snapshot::view::View;
use crate::storage::manifest::{Manifest, StoredKind, StoredPart};
use crate::tests::facts;
use crate::values::facts::StoredFacts;
use crate::values::scan::{Device, DriverQuery, InstalledDriver};
use crate::*;
use tailwater_domain::UpdateType;
use tailwater_domain::{DriverFacts, Facts};

/// Three computer models, as GUIDs are written.
const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const C: &str = "cccccccc-0000-4000-8000-000000000003";
/// What the device is, best first, and the last one is only compatible.
const IDS: [&str; 3] = ["PCI\\VEN_1&DEV_2&SUBSYS_3", "PCI\\VEN_1&DEV_2", "PCI\\CC_0200"];
const KEY: &str = "AMD64.10.0";

fn driver() -> DriverFacts {
    DriverFacts {
        hardware_id: IDS[1].to_owned(),
        class: "Net".to_owned(),
        date: "2026-05-01".to_owned(),
        version: 9,
        provider: "Contoso".to_owned(),
        manufacturer: "Contoso".to_owned(),
        model: "Model".to_owned(),
        computer_hardware_ids: Vec::new(),
        distribution_ids: Vec::new(),
        feature_scores: Vec::new(),
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// A driver made for (INF) and distributed to these computers.
fn aimed(made_for: &[&str], sent_to: &[&str]) -> DriverFacts {
    DriverFacts { computer_hardware_ids: texts(made_for), distribution_ids: texts(sent_to), ..driver() }
}

fn scored(score: u8) -> DriverFacts {
    DriverFacts { feature_scores: vec![(KEY.to_lowercase(), score)], ..driver() }
}

struct Case<'a> {
    drivers: &'a [DriverFacts],
    computer: &'a [&'a str],
    installed: Option<InstalledDriver>,
    all_printers: bool,
}

/// What the server answers: places in `drivers`.
fn answered(case: &Case<'_>) -> Vec<usize> {
    let all: Vec<Facts> = (1..)
        .zip(case.drivers)
        .map(|(number, driver)| Facts {
            drivers: vec![driver.clone()],
            ..facts(number, 1, UpdateType::Driver)
        })
        .collect();
    let mut builder = Builder::new();
    for (id, facts) in (1..).zip(&all) {
        let mut manifest = Manifest::of(facts, 0);
        manifest.id = id;
        manifest.parts.push(StoredPart { kind: StoredKind::Part(PartKind::Core), stored: 1, raw: 1 });
        builder.add(&manifest, 1);
    }
    let view =
        View::new(Arc::new(builder.build(1, 1)), Arc::new(Decisions::default()), OfferPolicy::AllNotDeclined);
    let snapshot = Snapshot::new(view, 1, 16);
    let stored = |id: u32| {
        let facts = all[id as usize - 1].clone();
        Ok(Some(Arc::new(StoredFacts { facts, file_urls: Vec::new(), drivers_known: true })))
    };
    let device = Device {
        hardware_ids: texts(&IDS[..2]),
        compatible_ids: texts(&IDS[2..]),
        installed: case.installed.clone(),
    };
    let devices = [device];
    let question = DriverQuery {
        groups: &[],
        installed: &[],
        cached: &[],
        devices: if case.all_printers { &[] } else { &devices },
        all_printers: case.all_printers,
        computer_hardware_ids: &texts(case.computer),
        feature_key: Some(KEY),
        since: 0,
        limit: 100,
    };
    let answer = snapshot.drivers(&question, &stored).unwrap();
    answer.new.iter().map(|offer| offer.id.0 as usize - 1).collect()
}

/// The reference: a match as the specification speaks of it.
struct Match {
    /// Place of the computer hardware identity that it is aimed at; none when it is for every computer.
    computer: Option<usize>,
    score: u32,
    place: Option<usize>,
    date: String,
    version: u64,
}

impl Match {
    fn of(driver: &DriverFacts, computer: &[&str]) -> Option<Self> {
        let (t, d) = (&driver.computer_hardware_ids, &driver.distribution_ids);
        let listed = |id: &str| computer.iter().position(|own| own.eq_ignore_ascii_case(id));
        // offered only to computers with one of the identities; with both lists, one of the intersection
        let effective: Vec<&String> = if t.is_empty() {
            d.iter().collect()
        } else if d.is_empty() {
            t.iter().collect()
        } else {
            t.iter().filter(|id| d.contains(id)).collect()
        };
        let aimed = !t.is_empty() || !d.is_empty();
        let hits: Vec<usize> = effective.into_iter().filter_map(|id| listed(id)).collect();
        if aimed && hits.is_empty() {
            return None;
        }
        let scores = driver.feature_scores.iter().filter(|(key, _)| key.eq_ignore_ascii_case(KEY));
        Some(Self {
            computer: hits.into_iter().min(),
            score: scores.map(|(_, score)| u32::from(*score)).min().unwrap_or(0xFF),
            place: Some(IDS.iter().position(|id| id.eq_ignore_ascii_case(&driver.hardware_id))?),
            date: driver.date.clone(),
            version: driver.version,
        })
    }

    fn installed(driver: &InstalledDriver, computer: &[&str]) -> Self {
        let own = driver.computer_hardware_id.as_ref();
        let id = driver.matching_id.as_ref();
        Self {
            computer: own.and_then(|id| computer.iter().position(|it| it.eq_ignore_ascii_case(id))),
            // 0xSSGGTHHH
            score: driver.rank.map_or(0xFF, |rank| (rank.cast_unsigned() / 0x1_0000) % 0x100),
            place: id.and_then(|id| IDS.iter().position(|it| it.eq_ignore_ascii_case(id))),
            date: driver.date[..10].to_owned(),
            version: u64::from_le_bytes(driver.version.to_le_bytes()),
        }
    }

    /// The rules in their order; the first that tells them apart decides.
    fn is_better(&self, than: &Self) -> bool {
        let earlier = |a: Option<usize>, b: Option<usize>| match (a, b) {
            (Some(a), Some(b)) => b.cmp(&a),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        let rules = [
            earlier(self.computer, than.computer),
            than.score.cmp(&self.score),
            earlier(self.place, than.place),
            self.date.cmp(&than.date),
            self.version.cmp(&than.version),
        ];
        rules.into_iter().find(|rule| *rule != Ordering::Equal) == Some(Ordering::Greater)
    }
}

/// What the specification has the server answer.
fn expected(case: &Case<'_>) -> Vec<usize> {
    let matches: Vec<(usize, Match)> = (0..)
        .zip(case.drivers)
        .filter_map(|(index, driver)| Some((index, Match::of(driver, case.computer)?)))
        .collect();
    let best = matches.iter().find(|(_, one)| !matches.iter().any(|(_, other)| other.is_better(one)));
    let Some((index, best)) = best else { return Vec::new() };
    if let Some(installed) = &case.installed {
        let driver = &case.drivers[*index];
        let printer = installed.class.as_deref() == Some("Printer");
        let kept = installed.provider.as_deref() == Some(driver.provider.as_str())
            && installed.manufacturer.as_deref() == Some(driver.manufacturer.as_str());
        if !best.is_better(&Match::installed(installed, case.computer)) || (printer && !kept) {
            return Vec::new();
        }
    }
    vec![*index]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_truth_table_holds() {
    let sets: [&[&str]; 5] = [&[], &[A], &[B], &[A, B], &[B, C]];
    let computers: [&[&str]; 7] = [&[], &[A], &[B], &[C], &[A, B], &[B, A], &[C, A, B]];
    let (mut rows, mut with_ids) = (0, 0);
    let mut check = |case: &Case<'_>| {
        rows += 1;
        let aimed = |driver: &DriverFacts| !driver.distribution_ids.is_empty();
        with_ids += usize::from(case.drivers.iter().any(aimed));
        let what = format!("{:?} on {:?} with {:?}", case.drivers, case.computer, case.installed);
        assert_eq!(answered(case), expected(case), "{what}");
    };
    // who is offered a driver at all
    for made_for in sets {
        for sent_to in sets {
            for computer in computers {
                let drivers = [aimed(made_for, sent_to)];
                check(&Case { drivers: &drivers, computer, installed: None, all_printers: false });
            }
        }
    }
    // which of two is better
    let of = |id: usize| DriverFacts { hardware_id: IDS[id].to_lowercase(), ..driver() };
    let at = |date: &str, version: u64| DriverFacts { date: date.to_owned(), version, ..driver() };
    let kinds = vec![
        driver(),
        of(0),
        of(2),
        scored(0),
        scored(254),
        scored(255),
        DriverFacts { feature_scores: vec![("x86.10.0".to_owned(), 1)], ..of(0) },
        DriverFacts { feature_scores: vec![(KEY.to_owned(), 200), (KEY.to_owned(), 3)], ..driver() },
        at("2026-06-01", 1),
        at("2026-05-01", 0xFFFF_0000_0000_0001),
        aimed(&[A], &[]),
        aimed(&[], &[A]),
        aimed(&[], &[B]),
        aimed(&[B, A], &[A, C]),
        DriverFacts { feature_scores: vec![(KEY.to_owned(), 9)], ..aimed(&[], &[C, B]) },
        DriverFacts { date: "2001-01-01".to_owned(), ..aimed(&[A], &[A, B]) },
    ];
    for first in &kinds {
        for second in &kinds {
            for computer in [&[][..], &[A, B], &[B, A]] {
                let drivers = [first.clone(), second.clone()];
                check(&Case { drivers: &drivers, computer, installed: None, all_printers: false });
            }
        }
    }
    // and whether it is better than what is there
    let there = |id: &str, date: &str, version: i64, rank: Option<i32>| InstalledDriver {
        matching_id: Some(id.to_owned()),
        date: format!("{date}T00:00:00"),
        version,
        rank,
        class: Some("Net".to_owned()),
        ..InstalledDriver::default()
    };
    let printer = |provider: &str, manufacturer: &str| InstalledDriver {
        class: Some("Printer".to_owned()),
        provider: Some(provider.to_owned()),
        manufacturer: Some(manufacturer.to_owned()),
        ..there(IDS[2], "2001-01-01", 1, None)
    };
    let mut installed =
        vec![printer("Contoso", "Contoso"), printer("Contoso", "Other"), printer("Other", "Contoso")];
    for rank in [None, Some(0), Some(0x00FF_2001), Some(0x0080_0000), Some(-0x7F01_0000)] {
        for (id, date, version) in [
            (IDS[0], "2020-01-01", 1),
            (IDS[1], "2026-05-01", 9),
            (IDS[1], "2026-05-01", -1),
            (IDS[1], "2026-04-30", 99),
            (IDS[2], "2026-12-01", 99),
            ("USB\\OTHER", "2026-12-01", 99),
        ] {
            installed.push(there(id, date, version, rank));
        }
    }
    for id in [A, B, "00000000-0000-0000-0000-000000000000"] {
        installed.push(InstalledDriver {
            computer_hardware_id: Some(id.to_owned()),
            ..there(IDS[1], "2026-05-01", 8, Some(0x00FF_0000))
        });
    }
    for kind in &kinds {
        for there in &installed {
            let drivers = [kind.clone()];
            let there = Some(there.clone());
            check(&Case { drivers: &drivers, computer: &[A, B], installed: there, all_printers: false });
        }
    }
    assert!(rows >= 200 && with_ids >= 40, "{rows} rows, {with_ids} with distribution identities");
}

/// Drivers, the computer's identities, and which of the drivers it gets; every row from a sentence of the specification.
type Row = (&'static str, Vec<DriverFacts>, Vec<&'static str>, Vec<usize>);

#[test]
fn rows_by_hand() {
    let braces = format!("{{{}}}", A.to_uppercase());
    let braces: &str = Box::leak(braces.into_boxed_str());
    let of = |id: usize| DriverFacts { hardware_id: IDS[id].to_owned(), ..driver() };
    let rows: Vec<Row> = vec![
        ("a driver without identities is for every computer", vec![driver()], vec![], vec![0]),
        ("a distributed one is not for a computer that names none", vec![aimed(&[], &[A])], vec![], vec![]),
        ("nor for another model", vec![aimed(&[], &[A])], vec![B, C], vec![]),
        ("it is for its own model, wherever that stands", vec![aimed(&[], &[A])], vec![C, B, A], vec![0]),
        ("one of several is enough", vec![aimed(&[], &[C, A])], vec![A], vec![0]),
        ("in any letter case and with braces", vec![aimed(&[], &[A])], vec![braces], vec![0]),
        ("what is made for a model is not for another", vec![aimed(&[A], &[])], vec![B], vec![]),
        ("with both lists, one of both", vec![aimed(&[A, B], &[B, C])], vec![B], vec![0]),
        ("made for it, but distributed to others", vec![aimed(&[A, B], &[B, C])], vec![A], vec![]),
        ("distributed to it, but made for others", vec![aimed(&[A, B], &[B, C])], vec![C], vec![]),
        ("one identity of each list is not enough", vec![aimed(&[A], &[B])], vec![A, B], vec![]),
        ("an aimed one is better than a general one", vec![driver(), aimed(&[], &[A])], vec![A], vec![1]),
        ("even with a worse score", vec![scored(1), aimed(&[], &[A])], vec![A], vec![1]),
        (
            "and for a less specific device",
            vec![of(0), DriverFacts { hardware_id: IDS[2].to_owned(), ..aimed(&[], &[A]) }],
            vec![A],
            vec![1],
        ),
        (
            "the earlier model is the more specific one",
            vec![aimed(&[], &[B]), aimed(&[], &[A])],
            vec![A, B],
            vec![1],
        ),
        ("whichever list names it", vec![aimed(&[B], &[]), aimed(&[], &[A])], vec![B, A], vec![0]),
        (
            "the better of the intersection counts, not of a list",
            vec![aimed(&[A, B], &[B]), aimed(&[A], &[A])],
            vec![A, B],
            vec![1],
        ),
        (
            "an aimed one for others leaves the general one",
            vec![aimed(&[], &[B]), driver()],
            vec![A],
            vec![1],
        ),
        ("a lower score is better", vec![scored(9), scored(8)], vec![], vec![1]),
        (
            "a missing score is 255: equal to 255, so the device decides",
            vec![scored(255), of(0)],
            vec![],
            vec![1],
        ),
        ("and worse than 254", vec![of(0), scored(254)], vec![], vec![1]),
        ("a hardware identity is better than a compatible one", vec![of(2), of(1)], vec![], vec![1]),
        ("the earlier hardware identity is better", vec![of(1), of(0)], vec![], vec![1]),
        (
            "then the date",
            vec![driver(), DriverFacts { date: "2026-05-02".to_owned(), version: 1, ..driver() }],
            vec![],
            vec![1],
        ),
        ("then the version", vec![driver(), DriverFacts { version: 10, ..driver() }], vec![], vec![1]),
        ("of equals one, always the same", vec![driver(), driver()], vec![], vec![0]),
    ];
    for (name, drivers, computer, wanted) in rows {
        let case = Case { drivers: &drivers, computer: &computer, installed: None, all_printers: false };
        assert_eq!(answered(&case), wanted, "{name}");
    }
}

#[test]
fn catalogs_of_printers_keep_to_the_computer_as_well() {
    let printer = |driver: DriverFacts| DriverFacts { class: "Printer".to_owned(), ..driver };
    let drivers = [printer(driver()), printer(aimed(&[], &[A])), printer(aimed(&[B], &[])), driver()];
    for (computer, wanted) in [(&[][..], vec![0]), (&[A][..], vec![0, 1]), (&[B, A][..], vec![0, 1, 2])] {
        let case = Case { drivers: &drivers, computer, installed: None, all_printers: true };
        assert_eq!(answered(&case), wanted, "{computer:?}");
    }
}
