//! A registry file (`.reg`), version 5.00.
//!
//! **Invariant:** only the named values are written or removed; a key as such is never removed, so nothing else in it is
//! lost. It is read as UTF-16LE: names in every script survive.

use std::fmt::Write as _;

use super::policy::{Data, Policy};

/// The file's text.
pub(super) fn file(policy: &Policy, undo: bool) -> String {
    let mut out = String::from("Windows Registry Editor Version 5.00\r\n");
    for key in policy.keys() {
        let _ = write!(out, "\r\n[HKEY_LOCAL_MACHINE\\{}]\r\n", key.path());
        for value in policy.of(key) {
            let _ = match &value.data {
                _ if undo => write!(out, "\"{}\"=-\r\n", value.name),
                Data::Text(text) => write!(out, "\"{}\"=\"{}\"\r\n", value.name, escaped(text)),
                Data::Number(number) => write!(out, "\"{}\"=dword:{number:08x}\r\n", value.name),
            };
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}
