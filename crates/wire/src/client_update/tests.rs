//! Golden pairs, and what clients of all ages write.

use super::*;
use crate::soap::{self, request};
use crate::xml::{Limits, XmlError};

fn decode(service: Service, operation: &str, content: &str) -> Result<Option<Request>, XmlError> {
    let text = request(service.namespace(), operation, content);
    let mut message = soap::open(text.as_bytes(), Limits::REQUEST).unwrap();
    Request::decode(service, &message.operation, &mut message.decoder)
}

fn sync(content: &str) -> SyncUpdates {
    match decode(Service::Client, "SyncUpdates", content).unwrap() {
        Some(Request::SyncUpdates(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_scan_is_read_whatever_the_order_and_form_of_its_lists() {
    let request = sync(
        "<parameters><SkipSoftwareSync>0</SkipSoftwareSync>\
         <OtherCachedUpdateIDs soapenc:arrayType=\"xsd:int[3]\" xmlns:soapenc=\"urn:e\"> <int>7</int><int> 8 </int>\n<int>9</int></OtherCachedUpdateIDs>\
         <SystemSpec xsi:nil=\"true\" xmlns:xsi=\"urn:i\"/><InstalledNonLeafUpdateIDs><int>1</int><int>-2</int></InstalledNonLeafUpdateIDs>\
         <AlsoPerformRegularSync>false</AlsoPerformRegularSync><FilterCategoryIds><CategoryIdentifier><Id>dd78b8a1-0b20-45c1-add6-4da72e9364cf</Id></CategoryIdentifier></FilterCategoryIds>\
         <ProductsParameters><X><Y/></X><DeviceAttributes>a=b;</DeviceAttributes><Products/></ProductsParameters></parameters>\
         <cookie><Expiration>2026-10-04T15:03:36</Expiration><EncryptedData> AQ\nID </EncryptedData></cookie>",
    );
    assert_eq!(request.installed, [1]);
    assert_eq!(request.other, [7, 8, 9]);
    assert_eq!((request.devices, request.skip_software, request.has_parameters), (None, false, true));
    assert_eq!(request.categories.len(), 1);
    assert_eq!(request.device_attributes.as_deref(), Some("a=b;"));
    assert_eq!(request.cookie, Some(Cookie { sealed: Some(vec![1, 2, 3]) }));
}

#[test]
fn absent_empty_and_nil_parameters_are_told_apart_where_it_matters() {
    let nil = "xsi:nil=\"1\" xmlns:xsi=\"urn:i\"";
    assert!(!sync("").has_parameters);
    assert!(!sync(&format!("<parameters {nil}/>")).has_parameters);
    assert!(sync("<parameters/>").has_parameters);
    let device = "<Device><HardwareIDs><string>A</string></HardwareIDs>\
        <installedDriver><DriverVerVersion>5</DriverVerVersion><MatchingComputerHWID a:nil=\"true\" xmlns:a=\"urn:i\"/></installedDriver></Device>";
    let request = sync(&format!("<parameters><SystemSpec>{device}</SystemSpec></parameters>"));
    let installed = request.devices.unwrap()[0].installed.clone().unwrap();
    assert_eq!((installed.version, installed.computer_hardware_id), (5, None));
    let cookie = |inner: &str| sync(&format!("<cookie>{inner}</cookie>")).cookie.unwrap().sealed;
    assert_eq!(cookie("<Expiration>2026-10-04T15:03:36Z</Expiration>"), None);
    assert_eq!(cookie("<EncryptedData/>"), None);
    assert_eq!(cookie(&format!("<EncryptedData {nil}/>")), None);
    assert_eq!(cookie("<EncryptedData>no base64!</EncryptedData>"), Some(b"nobase64!".to_vec()));
}

#[test]
fn what_has_the_wrong_form_is_an_error_that_names_its_element() {
    let table = [
        (
            "SyncUpdates",
            "<parameters><SkipSoftwareSync>perhaps</SkipSoftwareSync></parameters>",
            "SkipSoftwareSync",
        ),
        (
            "SyncUpdates",
            "<parameters><OtherCachedUpdateIDs><int>x</int></OtherCachedUpdateIDs></parameters>",
            "int",
        ),
        (
            "RefreshCache",
            "<globalIDs><UpdateIdentity><UpdateID>x</UpdateID></UpdateIdentity></globalIDs>",
            "UpdateID",
        ),
    ];
    for (operation, content, element) in table {
        match decode(Service::Client, operation, content) {
            Err(XmlError::Value { element: found, .. }) => assert_eq!(found, element),
            other => panic!("{operation}: {other:?}"),
        }
    }
    assert_eq!(decode(Service::Client, "NoSuchThing", "").unwrap(), None);
    assert_eq!(decode(Service::Reporting, "SyncUpdates", "").unwrap(), None);
}

#[test]
fn events_keep_what_status_is_derived_from() {
    let event = "<ReportingEvent><BasicData><TargetID><Sid>s</Sid></TargetID><SequenceNumber>0</SequenceNumber>\
        <TimeAtTarget>2026-10-04T15:03:36.1</TimeAtTarget><EventInstanceID>6ea693bc-a66e-4334-a797-043728561c7d</EventInstanceID>\
        <NamespaceID>1</NamespaceID><EventID>182</EventID><SourceID>101</SourceID>\
        <UpdateID><UpdateID>266f6222-c89d-43f2-9f8a-69340271e677</UpdateID><RevisionNumber>200</RevisionNumber></UpdateID>\
        <Win32HResult>-2145124329</Win32HResult><AppName>x</AppName></BasicData>\
        <ExtendedData><ReplacementStrings><string>a</string></ReplacementStrings><MiscData><string>U=1;2</string></MiscData></ExtendedData><PrivateData/></ReportingEvent>";
    let content = format!(
        "<clientTime>2026-10-04T15:03:36Z</clientTime><eventBatch>{event}<ReportingEvent/></eventBatch>"
    );
    let Some(Request::ReportEventBatch(batch)) =
        decode(Service::Reporting, "ReportEventBatch", &content).unwrap()
    else {
        panic!("a batch")
    };
    assert!(batch.has_client_time);
    let events = batch.events.unwrap();
    assert_eq!(events.len(), 1, "an event without an identity is left out");
    assert_eq!((events[0].id, events[0].result), (182, -2_145_124_329));
    assert_eq!(events[0].misc, ["U=1;2"]);
    assert_eq!(events[0].update.map(|update| update.revision), Some(200));
}

fn deployment(hardware_ids: &[String]) -> DeploymentView<'_> {
    DeploymentView {
        id: 8059,
        action: "Evaluate",
        deadline: None,
        is_assigned: true,
        last_change: parse_date_time("2026-10-04T23:00:00Z").unwrap(),
        hardware_ids,
    }
}

fn joined(pieces: Vec<Piece<&str>>) -> String {
    pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Fragment(fragment) => fragment.to_owned(),
        })
        .collect()
}

#[test]
fn a_page_has_the_elements_of_a_real_server_in_their_order() {
    let version = |text: &str| text.parse::<ProtocolVersion>().unwrap();
    let ids = ["PCI\\A&B".to_owned()];
    let answer = |version| SyncAnswer {
        new: vec![UpdateView {
            id: 5,
            deployment: deployment(&ids),
            is_leaf: false,
            core: Some("&lt;A /&gt;"),
        }],
        out_of_scope: &[],
        changed: vec![UpdateView { id: 6, deployment: deployment(&[]), is_leaf: true, core: None }],
        truncated: true,
        version,
    };
    let cookie =
        SealedCookie { expires: parse_date_time("2026-10-04T16:00:00Z").unwrap(), sealed: vec![1, 2, 3] };
    let end = |version| SyncEnd {
        cookie: &cookie,
        deployed_out_of_scope: &[3],
        driver_sync_not_needed: false,
        version,
    };
    let modern = joined(answer(version("2.90")).before_cookie("SyncUpdates"))
        + &end(version("2.90")).encode("SyncUpdates");
    assert_eq!(
        modern,
        "<SyncUpdatesResponse xmlns=\"http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService\"><SyncUpdatesResult>\
         <NewUpdates><UpdateInfo><ID>5</ID><Deployment><ID>8059</ID><Action>Evaluate</Action><IsAssigned>true</IsAssigned>\
         <LastChangeTime>2026-10-04</LastChangeTime><HardwareIds><string>PCI\\A&amp;B</string></HardwareIds>\
         <AutoSelect>0</AutoSelect><AutoDownload>0</AutoDownload><SupersedenceBehavior>0</SupersedenceBehavior></Deployment>\
         <IsLeaf>false</IsLeaf><Xml>&lt;A /&gt;</Xml></UpdateInfo></NewUpdates>\
         <ChangedUpdates><UpdateInfo><ID>6</ID><Deployment><ID>8059</ID><Action>Evaluate</Action><IsAssigned>true</IsAssigned>\
         <LastChangeTime>2026-10-04</LastChangeTime><AutoSelect>0</AutoSelect><AutoDownload>0</AutoDownload>\
         <SupersedenceBehavior>0</SupersedenceBehavior></Deployment><IsLeaf>true</IsLeaf></UpdateInfo></ChangedUpdates>\
         <Truncated>true</Truncated><NewCookie><Expiration>2026-10-04T16:00:00Z</Expiration><EncryptedData>AQID</EncryptedData></NewCookie>\
         <DeployedOutOfScopeRevisionIds><int>3</int></DeployedOutOfScopeRevisionIds><DriverSyncNotNeeded>false</DriverSyncNotNeeded>\
         </SyncUpdatesResult></SyncUpdatesResponse>"
    );
    let old = joined(answer(version("1.6")).before_cookie("SyncUpdates"))
        + &end(version("1.6")).encode("SyncUpdates");
    for late in ["AutoSelect", "DriverSyncNotNeeded", "DeployedOutOfScope"] {
        assert!(!old.contains(late), "{late}");
    }
    assert!(old.contains("HardwareIds"));
}

/// Any change of a valid request ends in a request or an error: never a panic, never an endless read.
#[test]
fn mutated_requests_never_panic() {
    let content = "<cookie><EncryptedData>AQID</EncryptedData></cookie><parameters><InstalledNonLeafUpdateIDs><int>1</int><int>22</int></InstalledNonLeafUpdateIDs>\
        <SystemSpec><Device><HardwareIDs><string>A</string></HardwareIDs></Device></SystemSpec><SkipSoftwareSync>true</SkipSoftwareSync></parameters>";
    let seed = request(Service::Client.namespace(), "SyncUpdates", content).into_bytes();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    let alphabet = b"<>/=\"'&;:!?[]- 0x\xc3\xbfint";
    for _ in 0..4_000 {
        let mut bytes = seed.clone();
        for _ in 0..=next(5) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = alphabet[next(alphabet.len())],
                1 => bytes.insert(at, alphabet[next(alphabet.len())]),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        if let Ok(mut message) = soap::open(bytes.as_slice(), Limits::REQUEST) {
            let _ = Request::decode(Service::Client, &message.operation, &mut message.decoder);
        }
    }
}
