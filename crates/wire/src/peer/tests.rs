//! Messages read back as they were written, and altered or cut ones never read as more than they say.

use uuid::Uuid;

use super::*;
use crate::server_sync::IdAndDelta;
use tailwater_domain::{Sha1Digest, UpdateId, UpdateIdentity};

fn identity(number: u128) -> UpdateIdentity {
    let update = UpdateId(Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)));
    UpdateIdentity { update, revision: u32::try_from(number % 300).unwrap() }
}

fn question() -> Question {
    let entry = |number, delta| IdAndDelta { id: identity(number).update, delta };
    Question {
        server: Some(Uuid::from_u128(5)),
        since: 300,
        since_mark: u64::MAX,
        after: 70_000,
        config: true,
        products: vec![entry(1, true), entry(2, false)],
        classifications: vec![entry(3, true)],
        languages: vec![("en".to_owned(), true), ("de".to_owned(), false)],
        named: vec![identity(9).update],
        decisions: Some(0),
        decisions_mark: 1,
    }
}

fn list() -> List {
    let entries =
        [1, 2, 300, 70_000].map(|number| ListEntry { number, identity: identity(u128::from(number)) });
    List {
        server: Uuid::from_u128(5),
        numbers: Numbers { updates: 9, decisions: 1 << 40, updates_mark: u64::MAX, decisions_mark: 7 },
        entries: entries.to_vec(),
        more: true,
        withdrawn: vec![identity(4)],
        kin: vec![identity(1), identity(2)],
        decisions: Some(b"decided".to_vec()),
    }
}

fn order() -> Order {
    let context = |number| Context { identity: identity(number), hash: short_hash(&document(number)) };
    Order {
        languages: vec!["en".to_owned(), "pt-br".to_owned()],
        items: vec![Item::Number(3), Item::Number(90), Item::Identity(identity(7))],
        context: vec![context(100), context(101)],
    }
}

fn document(number: u128) -> Vec<u8> {
    let head = "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\">".to_owned();
    let text = format!("{head}<upd:UpdateIdentity UpdateID=\"{}\" />", identity(number).update);
    (text + &"<upd:Text>the same in each</upd:Text>".repeat(20)).into_bytes()
}

#[test]
fn messages_are_read_back_as_they_were_written() {
    assert_eq!(Question::decode(&question().encode()), Ok(question()));
    assert_eq!(Question::decode(&[]), Ok(Question::default()));
    assert_eq!(List::decode(&list().encode()), Ok(list()));
    assert_eq!(Order::decode(&order().encode()), Ok(order()));
}

#[test]
fn an_entry_of_a_list_costs_eighteen_bytes() {
    let entries: Vec<ListEntry> =
        (1..=1_000).map(|n| ListEntry { number: n, identity: identity(u128::from(n % 100)) }).collect();
    let bytes = List { entries, ..List::default() }.encode();
    assert!(bytes.len() < 1_000 * 18 + 64, "{}", bytes.len());
}

/// Every prefix, and every byte replaced by several others.
fn each_alteration(bytes: &[u8], mut see: impl FnMut(&[u8])) {
    for len in 0..bytes.len() {
        see(&bytes[..len]);
    }
    let mut altered = bytes.to_vec();
    for at in 0..bytes.len() {
        for with in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 0x10] {
            altered[at] = with;
            see(&altered);
        }
        altered[at] = bytes[at];
    }
}

#[test]
fn altered_messages_are_refused_or_read_within_the_limits() {
    each_alteration(&question().encode(), |bytes| drop(Question::decode(bytes)));
    each_alteration(&order().encode(), |bytes| drop(Order::decode(bytes)));
    each_alteration(&list().encode(), |bytes| {
        if let Ok(list) = List::decode(bytes) {
            assert!(list.entries.is_sorted_by_key(|entry| entry.number));
        }
    });
}

#[test]
fn limits_are_kept() {
    let entries: Vec<ListEntry> =
        (1..=3_000).map(|n| ListEntry { number: n, identity: identity(u128::from(n)) }).collect();
    assert!(List::decode(&List { entries, ..List::default() }.encode()).is_err());
    let items = (1..=600).map(Item::Number).collect();
    assert!(Order::decode(&Order { items, ..Order::default() }.encode()).is_err());
    let half = Question { classifications: Vec::new(), ..question() };
    assert_eq!(Question::decode(&half.encode()), Err(MessageError::Value { what: "the filter" }));
}

/// A pack of documents 1 to 50 of which the third is left out, against two documents of which one is used.
fn packed() -> (Vec<u8>, Vec<UpdateIdentity>) {
    let identities: Vec<UpdateIdentity> = (1..=50).map(identity).collect();
    let included: Vec<(UpdateIdentity, bool)> =
        identities.iter().enumerate().map(|(place, identity)| (*identity, place != 2)).collect();
    let pack = Pack::new(&included, &[None, Some(document(101))], 3);
    let mut opened = pack.begin(Vec::new(), 50_000).unwrap();
    let sha1 = Sha1Digest([0xab; 20]);
    for number in (1..=50).filter(|number| *number != 3) {
        let url = format!("http://host/{}_{}.cab", number, sha1.hex().to_lowercase());
        let text = document(number);
        let addresses = [Address::of(0, &url, &sha1)];
        opened.record(text.len() as u64, &mut text.as_slice(), &addresses).unwrap();
    }
    (opened.finish().unwrap(), identities)
}

type Read = Vec<(UpdateIdentity, Vec<u8>, usize)>;

fn unpacked(bytes: &[u8], identities: &[UpdateIdentity]) -> Result<Read, MessageError> {
    let held = [document(100), document(101)];
    let context: Vec<&[u8]> = held.iter().map(Vec::as_slice).collect();
    let reader = PackReader::open(bytes, identities, &context)?;
    let records = reader.read(|_, text| {
        let mut all = Vec::new();
        text.read_to_end(&mut all).map(|_| all)
    })?;
    let each = records.into_iter().map(|one| {
        one.document
            .map(|text| (one.identity, text, one.addresses.len()))
            .map_err(|error| MessageError::Compression(error.to_string()))
    });
    each.collect()
}

#[test]
fn a_pack_gives_back_its_documents_and_addresses() {
    let (bytes, identities) = packed();
    let read = unpacked(&bytes, &identities).unwrap();
    assert_eq!(read.len(), 49);
    let numbers = (1..=50).filter(|number| *number != 3);
    for (number, (id, text, addresses)) in numbers.zip(read) {
        assert_eq!((id, text, addresses), (identity(number), document(number), 1));
    }
    let raw: usize = (1..=50).map(|number| document(number).len()).sum();
    assert!(bytes.len() * 50 < raw, "{} of {raw}", bytes.len());
}

#[test]
fn an_altered_pack_never_gives_other_documents() {
    let (bytes, identities) = packed();
    let good = unpacked(&bytes, &identities).unwrap();
    for len in 0..bytes.len() {
        assert!(unpacked(&bytes[..len], &identities).is_err(), "cut at {len}");
    }
    let mut altered = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            altered[at] ^= 1 << bit;
            if let Ok(read) = unpacked(&altered, &identities) {
                // the reserved bits of a frame's head mean nothing
                assert_eq!(read, good, "byte {at} bit {bit}");
            }
            altered[at] ^= 1 << bit;
        }
    }
    let more = [bytes.as_slice(), b"x"].concat();
    assert!(unpacked(&more, &identities).is_err());
}

#[test]
fn a_pack_against_other_documents_is_not_read() {
    let (bytes, identities) = packed();
    let other = [document(100), document(101).into_iter().rev().collect()];
    let context: Vec<&[u8]> = other.iter().map(Vec::as_slice).collect();
    let reader = PackReader::open(bytes.as_slice(), &identities, &context).unwrap();
    assert!(reader.read(|_, text| text.read_to_end(&mut Vec::new()).is_ok()).is_err());
}

#[test]
fn an_address_finds_its_digest_again() {
    let sha1 = Sha1Digest([0xcd; 20]);
    for url in [
        format!("http://h/a_{}.cab", sha1.hex().to_lowercase()),
        format!("http://h/Content/CD/{}.cab", sha1.hex()),
        "http://h/plain.cab".to_owned(),
    ] {
        assert_eq!(Address::of(3, &url, &sha1).text(&sha1), url);
    }
}
