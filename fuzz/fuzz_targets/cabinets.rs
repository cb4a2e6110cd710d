//! Cabinets of an upstream: whatever is in them, read to its end.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, copy, sink};
use tailwater::wire::cabinet::with_document;

fuzz_target!(|data: &[u8]| {
    let _ = with_document(Cursor::new(data), |document| copy(document, &mut sink()).ok());
});
