//! Paths, conditions and ranges of requests for payloads.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tailwater::serve::files::fuzzing::request(data));
