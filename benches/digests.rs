//! Question: what does it cost to look for collisions where SHA-1 alone decides?
//! Budget: at least 100 MiB/s with watching, so that verifying is never slower than a link of 800 Mbit/s.
//!
//! Prints MiB/s of both digests in one pass, without and with watching.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Instant;

use tailwater::content::Hasher;

const CHUNK: usize = 256 * 1024;
const CHUNKS: u32 = 1024;

fn main() {
    let chunk: Vec<u8> = (0..CHUNK).map(|at| u8::try_from(at * 31 % 251).unwrap_or_default()).collect();
    for (name, watching) in [("SHA-1 and SHA-256", false), ("the same, watching for collisions", true)] {
        let mut best = f64::MAX;
        for _ in 0..3 {
            let begun = Instant::now();
            let mut hasher = Hasher::new(watching);
            for _ in 0..CHUNKS {
                hasher.update(&chunk);
            }
            std::hint::black_box(hasher.finish());
            best = best.min(begun.elapsed().as_secs_f64());
        }
        println!("{name}: {:.0} MiB/s", f64::from(CHUNKS) / 4.0 / best);
    }
}
