//! Trying again for a short while, where a thread may block.
//!
//! **Invariant:** it ends, with the last error, once its time is over. It is never used on a worker of the runtime.

use std::time::Duration;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries until it works, until an error is one that `passing` does not expect to pass, or until `attempts` were made
/// 20 ms apart. Blocks.
///
/// # Errors
/// The last one.
pub fn retry<T, E>(
    attempts: u32,
    passing: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    for _ in 1..attempts {
        match attempt() {
            Err(error) if passing(&error) => pause(),
            ended => return ended,
        }
    }
    attempt()
}

#[expect(
    clippy::disallowed_methods,
    reason = "callers block on a disk already; no worker of the runtime is theirs"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_waited_for_and_nothing_else() {
        let mut left = 2;
        let ended = retry(
            5,
            |_: &&str| true,
            || {
                left -= 1;
                if left == 0 { Ok(7) } else { Err("busy") }
            },
        );
        assert_eq!(ended, Ok(7));
        let mut made = 0;
        let ended: Result<(), _> = retry(
            5,
            |error| *error == "busy",
            || {
                made += 1;
                Err(if made < 3 { "busy" } else { "broken" })
            },
        );
        assert_eq!((ended, made), (Err("broken"), 3));
        made = 0;
        let ended: Result<(), _> = retry(
            3,
            |_| true,
            || {
                made += 1;
                Err("busy")
            },
        );
        assert_eq!((ended, made), (Err("busy"), 3));
    }
}
