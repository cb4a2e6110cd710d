//! What is read back from the disk, damaged in any way: segments, journals, dumps, piece maps, the ledger.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    tailwater::catalog::fuzzing::records(data);
    tailwater::content::fuzzing::map(data);
    tailwater::ledger::fuzzing::journal(data);
    tailwater::needs::fuzzing::rows(data);
    tailwater::bandwidth::fuzzing::budget_file(data);
});
