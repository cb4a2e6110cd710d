//! Messages as we write them, and answers as three servers write them.

use std::io::BufRead;
use std::path::PathBuf;

use super::*;
use crate::soap::{SoapError, Style, Version, envelope};
use tailwater_domain::{Action, ApprovalId, GroupId, UpdateIdentity};

const ID: &str = "8c3fcc84-7410-4a95-8b89-a166a0190486";

fn cookie() -> Cookie {
    Cookie { expiration: "2026-10-04T20:33:26.65455Z".to_owned(), encrypted_data: "QUJD".to_owned() }
}

fn answer(operation: &str, content: &str) -> Vec<u8> {
    let body = format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{content}</{operation}Result></{operation}Response>"
    );
    envelope(Version::V11, Style::Server, &body).into_bytes()
}

fn whole(text: &mut dyn BufRead) -> String {
    let mut all = String::new();
    text.read_to_string(&mut all).unwrap();
    all
}

#[test]
fn a_filter_is_written_as_wsus_reads_it() {
    let id = ID.parse().unwrap();
    let filter = Filter {
        anchor: Some("9438,2026-10-04 16:09:27.371".to_owned()),
        get_config: false,
        products: vec![IdAndDelta { id, delta: true }],
        classifications: vec![IdAndDelta { id, delta: false }],
        languages: vec![LanguageAndDelta { id: 1033, delta: true }],
    };
    let request = get_revision_id_list(&cookie(), &filter);
    assert_eq!(request.action, "\"http://www.microsoft.com/SoftwareDistribution/GetRevisionIdList\"");
    let expected = format!(
        "<GetRevisionIdList xmlns=\"{NAMESPACE}\"><cookie><Expiration>2026-10-04T20:33:26.65455Z</Expiration>\
         <EncryptedData>QUJD</EncryptedData></cookie><filter><Anchor>9438,2026-10-04 16:09:27.371</Anchor>\
         <GetConfig>false</GetConfig><Get63LanguageOnly>false</Get63LanguageOnly>\
         <Categories><IdAndDelta><Id>{ID}</Id><Delta>true</Delta></IdAndDelta></Categories>\
         <Classifications><IdAndDelta><Id>{ID}</Id><Delta>false</Delta></IdAndDelta></Classifications>\
         <Languages><LanguageAndDelta><Id>1033</Id><Delta>true</Delta></LanguageAndDelta></Languages>\
         </filter></GetRevisionIdList>"
    );
    assert_eq!(request.body, envelope(Version::V11, Style::Server, &expected));
    let all = get_revision_id_list(&cookie(), &Filter { get_config: true, ..Filter::default() });
    assert!(all.body.contains(
        "<filter><GetConfig>true</GetConfig><Get63LanguageOnly>false</Get63LanguageOnly></filter>"
    ));
}

#[test]
fn a_list_that_was_cut_short_is_no_empty_list() {
    let whole = answer("GetRevisionIdList", "<Anchor>1,x</Anchor><NewRevisions />");
    assert_eq!(read_revision_ids(&whole[..]).unwrap().revisions, []);
    assert!(read_revision_ids(&answer("GetRevisionIdList", "<Anchor>1,x</Anchor>")[..]).is_err());
    assert!(read_revision_ids(&whole[..whole.len() - 40]).is_ok_and(|list| list.anchor == "1,x"));
    assert!(read_revision_ids(&whole[..whole.len() - 150]).is_err());
}

#[test]
fn both_orders_of_the_configuration_are_read() {
    let most = "<MaxNumberOfUpdatesPerRequest>30</MaxNumberOfUpdatesPerRequest>";
    let other = "<MaxNumberOfComputerIdsInRequest>0</MaxNumberOfComputerIdsInRequest>";
    for limits in [format!("{most}{other}"), format!("{other}{most}")] {
        let text = format!(
            "<CatalogOnlySync>true</CatalogOnlySync><LazySync>1</LazySync>{limits}<NewConfigAnchor>a</NewConfigAnchor>\
             <LanguageUpdateList><ServerSyncLanguageData><LanguageID>1033</LanguageID><ShortLanguage>en</ShortLanguage>\
             <LongLanguage>English</LongLanguage><Enabled>true</Enabled></ServerSyncLanguageData></LanguageUpdateList>"
        );
        let config = read_config_data(&answer("GetConfigData", &text)[..]).unwrap();
        assert!(config.catalog_only_sync && config.lazy_sync);
        assert_eq!((config.max_updates_per_request, config.languages.len()), (30, 1));
    }
    let twice = format!("{most}{most}");
    assert!(read_config_data(&answer("GetConfigData", &twice)[..]).is_err());
}

#[test]
fn digests_stand_before_or_after_the_document() {
    let id = format!("<Id><UpdateID>{}</UpdateID><RevisionNumber>7</RevisionNumber></Id>", ID.to_uppercase());
    let blob = "<XmlUpdateBlob>&lt;a b=\"1\"/&gt;</XmlUpdateBlob>";
    let digests =
        "<FileDigestList><base64Binary>vXidQqLgJwCO4+fE++5nIN1txMk=</base64Binary></FileDigestList>";
    let urls = "<fileUrls><ServerSyncUrlData><FileDigest>vXidQqLgJwCO4+fE++5nIN1txMk=</FileDigest>\
                <MUUrl>http://download.example.invalid/x.cab</MUUrl><UssUrl /></ServerSyncUrlData></fileUrls>";
    for inside in [format!("{id}{blob}{digests}"), format!("{digests}{blob}{id}")] {
        let text = format!("<updates><ServerSyncUpdateData>{inside}</ServerSyncUpdateData></updates>{urls}");
        let data = read_update_data(&answer("GetUpdateData", &text)[..], whole).unwrap();
        let [update] = &data.updates[..] else { panic!("one update") };
        assert_eq!(update.id, UpdateIdentity { update: ID.parse().unwrap(), revision: 7 });
        assert_eq!(update.document.as_deref().unwrap(), "<a b=\"1\"/>");
        assert_eq!(update.digests.as_ref().map(Vec::len), Some(1));
        assert_eq!(data.file_urls[0].uss_url, None);
        assert_eq!(data.file_urls[0].mu_url.as_deref(), Some("http://download.example.invalid/x.cab"));
    }
}

#[test]
fn one_damaged_document_does_not_spoil_the_answer() {
    let update = |revision: u32, blob: &str| {
        format!(
            "<ServerSyncUpdateData><Id><UpdateID>{ID}</UpdateID><RevisionNumber>{revision}</RevisionNumber></Id>{blob}</ServerSyncUpdateData>"
        )
    };
    let text = format!(
        "<updates>{}{}{}{}</updates>",
        update(1, "<XmlUpdateBlobCompressed>TVND RgAA</XmlUpdateBlobCompressed>"),
        update(2, "<XmlUpdateBlobCompressed>***</XmlUpdateBlobCompressed>"),
        update(3, ""),
        update(4, "<XmlUpdateBlob>x</XmlUpdateBlob>"),
    );
    let data = read_update_data(&answer("GetUpdateData", &text)[..], whole).unwrap();
    assert!(matches!(data.updates[0].document, Err(DocumentError::Cabinet(_))));
    assert!(matches!(data.updates[1].document, Err(DocumentError::Unpack(_))));
    assert!(matches!(data.updates[2].document, Err(DocumentError::Absent)));
    assert_eq!(data.updates[3].document.as_deref().unwrap(), "x");
}

#[test]
fn an_expiration_may_lack_its_zone() {
    for text in ["2026-10-04T20:33:26.65455Z", "2026-10-04T20:33:26.65455"] {
        let cookie = Cookie { expiration: text.to_owned(), ..Cookie::default() };
        assert_eq!(cookie.expires_at().unwrap().as_second(), 1_791_146_006);
    }
    assert_eq!(Cookie::default().expires_at(), None);
}

/// Recordings of real servers, which lie beside the project on some machines.
fn recording(name: &str) -> Option<Vec<u8>> {
    let captures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    if !captures.is_dir() {
        println!("skipped: no recordings at {}", captures.display());
        return None;
    }
    Some(std::fs::read(captures.join(name)).unwrap())
}

fn exchange(number: u32) -> Option<Vec<u8>> {
    recording(&format!("wsusss/exchanges/{number:06}/response.body"))
}

#[test]
fn a_recorded_handshake_is_read() {
    let Some(text) = exchange(1) else { return };
    let config = read_auth_config(&text[..]).unwrap();
    assert_eq!(config.plug_ins[0].id, "DssTargeting");
    assert_eq!(config.plug_ins[0].service_url, "DssAuthWebService/DssAuthWebService.asmx");
    let authorization = read_authorization_cookie(&exchange(2).unwrap()[..]).unwrap();
    assert_eq!(authorization.plug_in_id, "DssTargeting");
    let cookie = read_cookie(&exchange(3).unwrap()[..]).unwrap();
    assert!(cookie.expires_at().is_some());
}

#[test]
fn recorded_configurations_are_read() {
    let Some(text) = exchange(5) else { return };
    let wsus = read_config_data(&text[..]).unwrap();
    assert_eq!((wsus.max_updates_per_request, wsus.languages.len()), (100, 39));
    assert!(!wsus.catalog_only_sync && wsus.lazy_sync);
    let short = read_config_data(&exchange(4).unwrap()[..]).unwrap();
    assert!(short.languages.is_empty() && short.anchor.starts_with("9438,"));
    let microsoft = recording("microsoft-update/get-config-data.response.xml").unwrap();
    let microsoft = read_config_data(&microsoft[..]).unwrap();
    assert!(microsoft.catalog_only_sync);
    assert_eq!(microsoft.anchor, "2026-10-05 17:27:44.393");
    assert!(microsoft.languages.iter().any(|language| language.id == 0 && language.enabled));
}

#[test]
fn recorded_lists_are_read() {
    let Some(text) = exchange(6) else { return };
    assert_eq!(read_revision_ids(&text[..]).unwrap().revisions.len(), 30);
    let none = read_revision_ids(&exchange(11).unwrap()[..]).unwrap();
    assert!(none.revisions.is_empty() && none.anchor.starts_with("9438,"));
}

#[test]
fn recorded_documents_come_out_whole() {
    for (number, file) in [
        (13, "a2fef9b0-7951-4c2c-a42b-9e351dd1c1fe-r200.xml"),
        (14, "266f6222-c89d-43f2-9f8a-69340271e677-r200.xml"),
    ] {
        let Some(text) = exchange(number) else { return };
        let data = read_update_data(&text[..], whole).unwrap();
        let document = data.updates[0].document.as_deref().unwrap();
        let expected = recording(&format!("fragments/documents/{file}")).unwrap();
        let expected = String::from_utf8(expected).unwrap();
        assert_eq!(document.trim_end(), expected.trim_end(), "{file}");
    }
    let with_file = read_update_data(&exchange(14).unwrap()[..], whole).unwrap();
    assert_eq!(with_file.updates[0].digests.as_ref().map(Vec::len), Some(1));
    assert_eq!(with_file.file_urls.len(), 1);
    for number in [15, 16] {
        let data = read_update_data(&exchange(number).unwrap()[..], whole).unwrap();
        assert!(data.updates[0].document.as_deref().unwrap().contains("UpdateIdentity"));
    }
}

#[test]
fn recorded_faults_are_told_by_their_code() {
    for (number, code, message) in
        [(17, "InternalServerError", ""), (18, "InvalidParameters", "filter"), (19, "InvalidCookie", "")]
    {
        let Some(text) = exchange(number) else { return };
        let error = read_update_data(&text[..], whole).unwrap_err();
        let SoapError::Fault(fault) = error else { panic!("exchange {number}: {error}") };
        assert_eq!((fault.code.as_deref(), fault.message.as_str()), (Some(code), message));
        assert!(fault.actor.is_some());
    }
}

fn deployments() -> Deployments {
    let group = |number: u128| GroupId(uuid::Uuid::from_u128(number));
    let deployment = Deployment {
        update: ID.parse().unwrap(),
        revision: 202,
        action: Action::Uninstall,
        admin_name: "A & B".to_owned(),
        deadline: None,
        is_assigned: true,
        go_live: "2006-05-24T15:37:08.887Z".parse().unwrap(),
        id: ApprovalId(uuid::Uuid::from_u128(9)),
        group: group(7),
        priority: 3,
    };
    let timed = Deployment {
        action: Action::Block,
        deadline: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        ..deployment.clone()
    };
    let all = GroupId::ALL_COMPUTERS;
    Deployments {
        anchor: "4742,2006-05-26 18:59:26.192".to_owned(),
        groups: vec![
            TargetGroup { id: all, parent: None, name: "All Computers".to_owned(), is_builtin: true },
            TargetGroup { id: group(7), parent: Some(all), name: "<Test>".to_owned(), is_builtin: false },
        ],
        deployments: vec![deployment, timed],
        dead: vec![ApprovalId(uuid::Uuid::from_u128(3))],
        hidden: vec![ID.parse().unwrap()],
        accepted_eulas: vec![uuid::Uuid::from_u128(4)],
    }
}

#[test]
fn deployments_are_read_as_they_were_written_and_written_as_wsus_does() {
    let told = deployments();
    let body = served::deployments_head(&told.anchor) + &served::deployments_rest(&told);
    for part in [
        "<ParentGroupId>00000000-0000-0000-0000-000000000000</ParentGroupId><Name>All Computers</Name>\
         <IsBuiltin>true</IsBuiltin></ServerSyncTargetGroup>",
        "<RevisionNumber>202</RevisionNumber><Action>1</Action><AdminName>A &amp; B</AdminName>\
         <Deadline>9999-12-31T23:59:59.9999999</Deadline><IsAssigned>true</IsAssigned>\
         <GoLiveTime>2006-05-24T15:37:08.887</GoLiveTime>",
        "<Action>3</Action><AdminName>A &amp; B</AdminName><Deadline>2027-01-01T00:00:00</Deadline>",
        "<DownloadPriority>3</DownloadPriority></ServerSyncDeployment>",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let answer = envelope(Version::V11, Style::Server, &body);
    assert_eq!(read_deployments(answer.as_bytes()).unwrap(), told);
    let none = Deployments { anchor: "1,x".to_owned(), ..Deployments::default() };
    let empty = "<Groups></Groups><Deployments></Deployments><DeadDeployments></DeadDeployments>\
                 <HiddenUpdates></HiddenUpdates><AcceptedEulas></AcceptedEulas>";
    assert!(served::deployments_rest(&none).contains(empty), "every list is there, even empty");
}

#[test]
fn deployments_of_other_servers_are_read_with_what_they_leave_out() {
    let group = "<Groups><ServerSyncTargetGroup><TargetGroupID>b73ca6ed-5727-47f3-84de-015e03f6a88a</TargetGroupID>\
                 <Name>Unassigned Computers</Name><IsBuiltin>true</IsBuiltin></ServerSyncTargetGroup></Groups>";
    let deployment = |action: i32| {
        format!(
            "<ServerSyncDeployment><DownloadPriority>1</DownloadPriority><UpdateId>{ID}</UpdateId>\
             <RevisionNumber>100</RevisionNumber><Action>{action}</Action><Deadline>9999-12-31T23:59:59.9999999Z</Deadline>\
             <IsAssigned>1</IsAssigned><GoLiveTime>2006-05-24T15:37:08.887</GoLiveTime>\
             <DeploymentGuid>C2F2CA62-5413-419a-bdee-275a23087758</DeploymentGuid>\
             <TargetGroupId>b73ca6ed-5727-47f3-84de-015e03f6a88a</TargetGroupId></ServerSyncDeployment>"
        )
    };
    let list = format!("<Deployments>{}{}</Deployments>", deployment(0), deployment(5));
    let told = answer("GetDeployments", &format!("{group}{list}<Anchor>1,x</Anchor>"));
    let told = read_deployments(&told[..]).unwrap();
    assert_eq!(
        (told.groups[0].parent, told.deployments.len()),
        (None, 1),
        "an unknown action is passed over"
    );
    let one = &told.deployments[0];
    assert_eq!((one.deadline, one.is_assigned, one.admin_name.as_str()), (None, true, ""));
    assert!(told.dead.is_empty() && told.hidden.is_empty() && told.accepted_eulas.is_empty());
    for bad in [list.clone(), format!("<Groups />{list}"), format!("{group}<Deployments>")] {
        assert!(
            read_deployments(&answer("GetDeployments", &format!("<Anchor>1,x</Anchor>{bad}"))[..]).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn deployments_are_asked_for_with_both_anchors() {
    let request = get_deployments(&cookie(), Some("2,b"), "1,a");
    let anchors = "<deploymentAnchor>2,b</deploymentAnchor><syncAnchor>1,a</syncAnchor></GetDeployments>";
    assert!(request.body.contains(anchors), "{}", request.body);
    let first = get_deployments(&cookie(), None, "1,a");
    assert!(!first.body.contains("deploymentAnchor"));
    let mut message = crate::soap::open(request.body.as_bytes(), crate::xml::Limits::REQUEST).unwrap();
    let read = served::deployments_request(&mut message.decoder).unwrap();
    assert_eq!((read.since.as_deref(), read.sync_anchor.as_deref()), (Some("2,b"), Some("1,a")));
}
