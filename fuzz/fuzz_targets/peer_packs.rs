//! A pack of documents from an upstream that is a tailwater.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::domain::{UpdateId, UpdateIdentity};
use tailwater::wire::peer::PackReader;

fuzz_target!(|data: &[u8]| {
    let items: Vec<UpdateIdentity> =
        (0..12).map(|revision| UpdateIdentity { update: UpdateId(Default::default()), revision }).collect();
    let context: [&[u8]; 2] = [b"<Update/>", b"<upd:Update><upd:Properties/></upd:Update>"];
    if let Ok(pack) = PackReader::open(data, &items, &context) {
        let _ = pack.read(|_, document| std::io::copy(document, &mut std::io::sink()).ok());
    }
});
