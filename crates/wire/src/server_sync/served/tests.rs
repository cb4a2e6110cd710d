//! What downstream servers ask is read, in every form they write it; what they are answered is read back by ours.

use super::*;
use crate::server_sync::{
    AuthorizationCookie, Cookie, Filter, IdAndDelta, LanguageAndDelta, download_files,
    get_authorization_cookie, get_config_data, get_cookie, get_revision_id_list, get_update_data,
    read_auth_config, read_authorization_cookie, read_config_data, read_cookie, read_revision_ids,
    read_update_data,
};
use crate::soap::{self, Message, Style, Version};
use crate::xml::Limits;
use tailwater_domain::{Sha1Digest, UpdateIdentity};

const ID: &str = "8c3fcc84-7410-4a95-8b89-a166a0190486";

fn open(body: &str) -> Message<&[u8]> {
    soap::open(body.as_bytes(), Limits::REQUEST).unwrap()
}

fn written(inside: &str) -> String {
    soap::request(NAMESPACE, "X", inside)
}

fn sent(element: &str) -> Vec<u8> {
    soap::envelope(Version::V11, Style::Server, element).into_bytes()
}

fn ours() -> Cookie {
    Cookie { expiration: "2026-10-04T20:33:26.65455Z".to_owned(), encrypted_data: "QUJD".to_owned() }
}

#[test]
fn what_our_own_side_asks_is_what_is_read() {
    let sealed = Some(b"ABC".to_vec());
    let id = uuid::Uuid::from_u128(5);
    let request = get_authorization_cookie("a.example", &id);
    let read = authorization_request(&mut open(&request.body).decoder).unwrap();
    assert_eq!((read.account_name.as_deref(), read.account_id), (Some("a.example"), Some(id.to_string())));
    let authorization =
        AuthorizationCookie { plug_in_id: "DssTargeting".to_owned(), cookie_data: "QUJD".to_owned() };
    let read = cookie_request(&mut open(&get_cookie(&authorization).body).decoder).unwrap();
    assert_eq!((read.authorizations, read.protocol_version.as_deref()), (vec![sealed.clone()], Some("1.20")));
    let read = config_request(&mut open(&get_config_data(&ours(), Some("1,x")).body).decoder).unwrap();
    assert_eq!((read.cookie, read.anchor.as_deref()), (sealed.clone(), Some("1,x")));

    let id = ID.parse().unwrap();
    let filter = Filter {
        anchor: Some("7,x".to_owned()),
        get_config: false,
        products: vec![IdAndDelta { id, delta: true }],
        classifications: vec![IdAndDelta { id, delta: false }],
        languages: vec![LanguageAndDelta { id: 1033, delta: true }],
    };
    let read = revision_ids_request(&mut open(&get_revision_id_list(&ours(), &filter).body).decoder).unwrap();
    let wanted = FilterRequest {
        anchor: filter.anchor,
        get_config: Some(false),
        categories: filter.products,
        classifications: filter.classifications,
        languages: filter.languages,
    };
    assert_eq!((read.cookie, read.filter), (sealed.clone(), Some(wanted)));
    let revisions = [UpdateIdentity { update: id, revision: 200 }];
    let read = update_data_request(&mut open(&get_update_data(&ours(), &revisions).body).decoder).unwrap();
    assert_eq!(read.revisions.as_deref(), Some(&revisions[..]));
    let digest = Sha1Digest([7; 20]);
    let read = download_request(&mut open(&download_files(&ours(), &[digest]).body).decoder).unwrap();
    assert_eq!((read.cookie, read.digests), (sealed, Some(vec![digest.base64()])));
}

#[test]
fn nil_empty_and_absent_are_told_apart_where_it_matters() {
    let nil = "xsi:nil=\"1\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
    let table = [
        (String::new(), None, None),
        (format!("<cookie {nil}/><updateIds {nil}/>"), None, None),
        ("<cookie><EncryptedData/></cookie><updateIds/>".to_owned(), None, Some(0)),
        ("<updateIds soapenc:arrayType=\"x[0]\"></updateIds><cookie><Expiration>x</Expiration><EncryptedData> QU\nJD </EncryptedData></cookie>".to_owned(), Some(b"ABC".to_vec()), Some(0)),
        (format!("<updateIds><UpdateIdentity {nil}/><UpdateIdentity><RevisionNumber>1</RevisionNumber><UpdateID>{}</UpdateID></UpdateIdentity></updateIds>", ID.to_uppercase()), None, Some(1)),
    ];
    for (inside, sealed, count) in table {
        let read = update_data_request(&mut open(&written(&inside)).decoder).unwrap();
        assert_eq!((read.cookie, read.revisions.map(|list| list.len())), (sealed, count), "{inside}");
    }
    for twice in [
        "<cookie/><cookie/>",
        "<filter/><filter/>",
        "<filter><GetConfig>true</GetConfig><GetConfig>true</GetConfig></filter>",
    ] {
        assert!(revision_ids_request(&mut open(&written(twice)).decoder).is_err(), "{twice}");
    }
    let none = revision_ids_request(&mut open(&written("<filter><Anchor/></filter>")).decoder).unwrap();
    assert_eq!(none.filter, Some(FilterRequest::default()));
}

#[test]
fn what_is_answered_is_read_by_our_own_side() {
    let time = jiff::Timestamp::from_second(1_791_131_606).unwrap();
    assert_eq!(read_auth_config(&sent(&auth_config_answer(time))[..]).unwrap().plug_ins.len(), 1);
    let read = read_authorization_cookie(&sent(&authorization_answer(b"ABC"))[..]).unwrap();
    assert_eq!(read.cookie_data, "QUJD");
    let read = read_cookie(&sent(&cookie_answer(time, b"ABC"))[..]).unwrap();
    assert_eq!((read.encrypted_data.as_str(), read.expires_at()), ("QUJD", Some(time)));
    let languages = [LanguageRow { id: 1031, short_name: "de", long_name: "German", enabled: true }];
    let answer = ConfigAnswer {
        catalog_only: true,
        lazy: true,
        hosts_psf: false,
        most_updates: 100,
        anchor: "1,x",
        languages: &languages,
    };
    let read = read_config_data(&sent(&config_answer(&answer))[..]).unwrap();
    assert_eq!((read.catalog_only_sync, read.lazy_sync, read.max_updates_per_request), (true, true, 100));
    assert_eq!((read.languages.len(), read.languages[0].id, read.anchor.as_str()), (1, 1031, "1,x"));
    let revisions = [UpdateIdentity { update: ID.parse().unwrap(), revision: 200 }];
    for list in [&revisions[..], &[]] {
        let answer = revision_ids_head("1,x") + &revision_ids_rest(list);
        let read = read_revision_ids(&sent(&answer)[..]).unwrap();
        assert_eq!((read.anchor.as_str(), &read.revisions[..]), ("1,x", list));
    }
}

#[test]
fn an_update_is_framed_around_its_document() {
    let (identity, digest) =
        (UpdateIdentity { update: ID.parse().unwrap(), revision: 200 }, Sha1Digest([7; 20]));
    let frame = update_frame(&identity, &[digest], false);
    let mut urls = String::new();
    file_url(&mut urls, &digest, Some("http://a.example/x.cab?a&b"));
    let text = format!("{UPDATE_DATA}{}&lt;a/&gt;{}{}", frame.head, frame.tail, update_data_end(&urls));
    let read = read_update_data(&sent(&text)[..], |document| {
        let mut text = String::new();
        std::io::Read::read_to_string(document, &mut text).unwrap();
        text
    })
    .unwrap();
    assert_eq!((read.updates[0].id, read.updates[0].digests.as_deref()), (identity, Some(&[digest][..])));
    assert_eq!(read.updates[0].document.as_deref().unwrap(), "<a/>");
    assert_eq!(read.file_urls[0].mu_url.as_deref(), Some("http://a.example/x.cab?a&b"));
    assert!(update_data_end("").starts_with("</updates><fileUrls />"));
}
