//! Black-box tests: one file a promise.

mod fragments_equal_captures;
