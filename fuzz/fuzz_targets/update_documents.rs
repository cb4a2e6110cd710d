//! Update documents: cut into facts and fragments.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::wire::update_metadata::{Languages, cut, drivers_of};

fuzz_target!(|data: &[u8]| {
    let _ = cut(data, &Languages::all());
    let _ = cut(data, &Languages::of(["de", "en"]));
    let _ = drivers_of(data);
});
