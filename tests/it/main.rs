//! Black-box tests: one promise a file.

mod link;
mod link_rate;
