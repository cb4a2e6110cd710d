//! What two tailwaters tell each other.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::catalog::DecisionSet;
use tailwater::wire::peer::{Hello, List, Order, Question, decode_hashes, unsqueeze};

fuzz_target!(|data: &[u8]| {
    let _ = Hello::decode(data);
    let _ = List::decode(data);
    let _ = Question::decode(data);
    let _ = Order::decode(data);
    let _ = unsqueeze::<DecisionSet>(data, "decisions");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = decode_hashes(text);
    }
});
