//! Xpress: what is decoded keeps its limit, and what is encoded comes back.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::io::{Read as _, sink};
use tailwater::wire::xpress::{Reader, decode, encode};

const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let whole = decode(data, LIMIT);
    assert!(whole.as_ref().map_or(0, Vec::len) <= LIMIT);
    let mut streamed = Vec::new();
    let read = Reader::new(data, LIMIT as u64).read_to_end(&mut streamed);
    assert!(streamed.len() <= LIMIT);
    if let (Ok(whole), Ok(_)) = (&whole, &read) {
        assert_eq!(*whole, streamed);
    }
    let _ = std::io::copy(&mut Reader::new(data, 1), &mut sink());
    assert_eq!(decode(&encode(data), data.len()).ok().as_deref(), Some(data));
});
