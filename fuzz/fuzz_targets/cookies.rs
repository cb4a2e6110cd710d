//! Cookies and anchors that come back: forged ones, and what a right seal could hold.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    tailwater::serve::client::fuzzing::cookies(data);
    tailwater::serve::downstream::fuzzing::cookies(data);
});
