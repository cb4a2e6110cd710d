//! Redirects, proxies and heads of answers.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    tailwater::bandwidth::fuzzing::addresses(data);
    tailwater::transfer::fuzzing::head(data);
});
