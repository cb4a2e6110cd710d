//! Gives memory that nobody uses back to the system.
//!
//! The allocator keeps what was freed for those who allocate next and gives it back when it is asked for more after a
//! while; a server that became quiet after a burst would keep the burst's memory for ever.
//!
//! **Invariant:** what is in use is never touched. It never decides how much memory anybody may have.

/// Returns free pages to the system. Takes some milliseconds; costs those who allocate next the faults of new pages.
#[expect(unsafe_code, reason = "the allocator's own function; it takes no memory of ours")]
pub fn give_memory_back() {
    // SAFETY: `mi_collect` may be called at any time from any thread, whether or not it is the process's allocator
    unsafe { libmimalloc_sys::mi_collect(true) }
}
