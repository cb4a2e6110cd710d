//! Short texts that have one right reading: dates, numbers with units, names, digests, identities.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::domain::{ByteCount, ComputerName, ContentPath, Phrase, Rate, Sha1Digest, Sha256Digest, UpdateId, folded};
use tailwater::wire::client_update::{ProtocolVersion, parse_date_time};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = parse_date_time(text);
    let _ = text.parse::<ProtocolVersion>();
    let _ = text.parse::<ByteCount>().map(|size| size.to_string());
    let _ = text.parse::<Rate>().map(|rate| rate.to_string());
    let _ = (text.parse::<Sha1Digest>(), text.parse::<Sha256Digest>(), text.parse::<UpdateId>());
    let _ = ComputerName::parse(text);
    let _ = folded(text);
    let _ = ContentPath::read(text).map(|path| path.encoded());
    if let Some((phrase, title)) = text.split_once('\n') {
        let _ = Phrase::new(phrase).map(|phrase| phrase.is_in(title));
    }
});
