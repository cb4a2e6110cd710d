//! The configuration: a file, and the environment after the first zero byte.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        tailwater::config::fuzzing::text(text);
    }
});
