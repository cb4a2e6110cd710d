//! Both sides of the messages, against each other and against the text's examples.

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::soap::{self, Style, Version};
use crate::xml::Limits;
use tailwater_domain::{
    Activity, ClientSummary, ComputerChange, ComputerDetails, ComputerId, GroupId, OsVersion, RolledComputer,
    ServerId, ServerReport, ServerSummary, StatusReport, Summarization, SyncResult, UpdateId, UpdateStatus,
};

fn limits() -> RollupConfiguration {
    RollupConfiguration::usual(server(1), Uuid::from_u128(2))
}

fn server(number: u128) -> ServerId {
    ServerId(Uuid::from_u128(number))
}

fn at(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn os() -> OsVersion {
    OsVersion {
        major: 10,
        build: 26200,
        locale: "de-DE".to_owned(),
        suite_mask: 256,
        old_product_type: 1,
        new_product_type: 48,
        architecture: "AMD64".to_owned(),
        ..OsVersion::default()
    }
}

fn read(text: &str) -> Report {
    let mut message = soap::open(text.as_bytes(), Limits::ROLLUP).unwrap();
    let operation = message.operation.clone();
    Report::decode(&operation, &mut message.decoder, &limits()).unwrap().unwrap()
}

fn answered<T>(element: &str, read: impl Fn(&[u8]) -> Result<T, soap::SoapError>) -> T {
    read(soap::envelope(Version::V11, Style::Server, element).as_bytes()).unwrap()
}

#[test]
fn what_is_told_of_servers_is_read_back() {
    let activity = Activity { update: UpdateId(Uuid::from_u128(9)), revision: 101, succeeded: 1, failed: 2 };
    let told = ServerReport {
        id: server(5),
        name: "b\u{fc}ro-co.example".to_owned(),
        last_sync: None,
        parent: Some(server(6)),
        version: "3.1.6001.65 & <later>".to_owned(),
        is_replica: true,
        last_rollup: at("2026-11-22T10:00:00Z"),
        summary: Some(ServerSummary { updates: 1002, computers_up_to_date: 7, ..ServerSummary::default() }),
        clients: vec![ClientSummary { os: os(), count: 3, activity: vec![activity] }],
    };
    let direct = ServerReport { id: server(7), parent: None, clients: Vec::new(), ..told.clone() };
    let now = at("2026-11-22T10:00:01Z").unwrap();
    let sent = rollup_servers(now, &[told.clone(), direct.clone()]);
    let servers = Some(vec![told, direct]);
    assert_eq!(read(&sent.body), Report::Servers { client_time: Some(now), servers });
}

#[test]
fn what_is_told_of_computers_is_read_back() {
    let details = ComputerDetails {
        groups: vec![GroupId::UNASSIGNED_COMPUTERS],
        requested_groups: vec!["B\u{fc}ro \"1\" <2>".to_owned()],
        name: "pc1.example".to_owned(),
        os: os(),
        os_description: "Windows".to_owned(),
        bios_date: "2022-02-02T00:00:00Z".to_owned(),
        client_version: "1507.2601.30012.0".to_owned(),
        ..ComputerDetails::default()
    };
    let told = RolledComputer {
        id: ComputerId("d07a4d51-7cb2-46d1-ad86-91195cb4325a".to_owned()),
        last_sync: at("2026-11-22T09:00:00Z"),
        last_result: SyncResult::Succeeded,
        last_reboot: None,
        last_status: at("2026-11-22T09:00:05Z"),
        last_inventory: None,
        parent: server(5),
        details: Some(details),
    };
    let plain = RolledComputer { details: None, ..told.clone() };
    let now = at("2026-11-22T10:00:01Z").unwrap();
    let sent = rollup_computers(now, &[told.clone(), plain.clone()]);
    assert!(
        sent.body.len() < 400 + computer_weight(&told) + computer_weight(&plain) + 200,
        "{}",
        sent.body.len()
    );
    assert_eq!(
        read(&sent.body),
        Report::Computers { client_time: Some(now), computers: Some(vec![told, plain]) }
    );
}

#[test]
fn what_is_told_of_states_is_read_back() {
    let computer = ComputerId("pc1".to_owned());
    let changed = at("2026-11-22T09:00:00Z").unwrap();
    let update = |number, state| UpdateStatus { update: UpdateId(Uuid::from_u128(number)), state, changed };
    let report = StatusReport {
        computer: computer.clone(),
        effective_detection: None,
        number: 3,
        full: true,
        updates: vec![update(1, Summarization::Installed), update(2, Summarization::NotApplicable)],
    };
    let now = at("2026-11-22T10:00:01Z").unwrap();
    let sent = rollup_status(now, server(5), std::slice::from_ref(&report));
    let told =
        Report::Status { client_time: Some(now), parent: Some(server(5)), computers: Some(vec![report]) };
    assert_eq!(read(&sent.body), told);
    let sent = get_out_of_sync(server(5), &[(computer.clone(), 2)]);
    let asked = Report::OutOfSync { parent: Some(server(5)), numbers: Some(vec![(computer, 2)]) };
    assert_eq!(read(&sent.body), asked);
    assert_eq!(read(&get_rollup_configuration().body), Report::Configuration);
}

#[test]
fn absent_empty_and_nil_lists_are_told_apart() {
    let body = |list: &str| soap::request(NAMESPACE, "RollupComputers", list);
    let computers = |list: &str| match read(&body(list)) {
        Report::Computers { computers, .. } => computers,
        other => panic!("{other:?}"),
    };
    assert_eq!(computers(""), None);
    assert_eq!(computers("<computers xmlns:i=\"x\" i:nil=\"true\"/>"), None);
    assert_eq!(computers("<computers/>"), Some(Vec::new()));
}

#[test]
fn lists_longer_than_allowed_are_refused() {
    let rows = "<ComputerLastRollupNumber><ComputerId>x</ComputerId><RollupNumber>0</RollupNumber></ComputerLastRollupNumber>";
    let list = |count: usize| format!("<lastRollupNumbers>{}</lastRollupNumbers>", rows.repeat(count));
    for (count, fits) in [(20_000, true), (20_001, false)] {
        let text = soap::request(NAMESPACE, "GetOutOfSyncComputers", &list(count));
        let mut message = soap::open(text.as_bytes(), Limits::ROLLUP).unwrap();
        let read = Report::decode("GetOutOfSyncComputers", &mut message.decoder, &limits());
        assert_eq!(read.is_ok(), fits, "{count}");
    }
}

#[test]
fn answers_are_read_back() {
    let configuration = limits();
    assert_eq!(
        answered(&configuration_answer(&configuration), |text| read_configuration(text)),
        configuration
    );
    let changed = vec![
        (ComputerId("a".to_owned()), ComputerChange::NewParent),
        (ComputerId("b".to_owned()), ComputerChange::Deleted),
    ];
    assert_eq!(answered(&computers_answer(&changed), |text| read_computers_answer(text)), changed);
    assert_eq!(answered(&computers_answer(&[]), |text| read_computers_answer(text)), Vec::new());
    let computers = vec![ComputerId("a".to_owned())];
    assert_eq!(answered(&out_of_sync_answer(&computers), |text| read_out_of_sync(text)), computers);
    assert!(answered(&status_answer(true), |text| read_status_answer(text)));
    answered(&servers_answer(), |text| read_servers_answer(text));
}
