//! Work that may panic, because a library that it calls does: the panic costs that work and nothing else.
//!
//! **Invariant:** a panic under [`guarded`] or [`guarded_future`] ends there, as a value that says what happened. It
//! never hides one: whoever guards reports it where it belongs.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use tailwater_domain::{Limit, limits};

/// The most of a panic's message that is kept.
const MOST_SHOWN: usize = 200;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_SHOWN in "characters": "The message of a fault that is shown" => "it is cut",
];

/// Work ended with a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fault of the program was hit ({message}); please report it")]
pub struct Panicked {
    /// What the panic said.
    message: String,
}

impl Panicked {
    fn of(payload: &(dyn Any + Send)) -> Self {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { message: said.unwrap_or("no message").chars().take(MOST_SHOWN).collect() }
    }
}

/// Runs work that handles foreign bytes.
///
/// What the work leaves half done is dropped with it: it must own what it changes, or change it only at its end.
///
/// # Errors
/// When it panicked.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panicked::of(&*payload))
}

/// The same for a future: after a panic it is not polled again.
///
/// # Errors
/// When it panicked.
pub fn guarded_future<F: Future>(work: F) -> impl Future<Output = Result<F::Output, Panicked>> {
    // boxed at once, so that who waits for it holds none of it
    let mut work = Box::pin(work);
    poll_fn(move |context| match guarded(|| work.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_value_and_says_what_happened() {
        assert_eq!(guarded(|| 7), Ok(7));
        let empty: Vec<u8> = Vec::new();
        let message = guarded(|| empty[3]).unwrap_err().to_string();
        assert!(message.contains("index out of bounds"), "{message}");
        let long = guarded(|| std::panic::panic_any("x".repeat(5_000))).unwrap_err();
        assert_eq!(long.message.len(), MOST_SHOWN);
        assert_eq!(guarded(|| std::panic::panic_any(7)).unwrap_err().message, "no message");
        assert_eq!(guarded_future(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            assert!(empty.len() > 3, "too few");
        };
        assert_eq!(guarded_future(late).await.unwrap_err().message, "too few");
    }
}
