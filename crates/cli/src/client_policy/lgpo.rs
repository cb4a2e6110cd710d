//! Text for `LGPO.exe /t`, Microsoft's tool for local policies: four lines a value.
//!
//! **Invariant:** no value holds a line break ([`super::policy`] sees to that), so no line can be taken for another. Only
//! named values are set or removed.

use std::fmt::Write as _;

use super::policy::{Data, Policy};

/// The text.
pub(super) fn text(policy: &Policy, undo: bool) -> String {
    let mut out = String::from("; LGPO.exe /t FILE\r\n");
    for value in &policy.values {
        let action = match &value.data {
            _ if undo => "DELETE".to_owned(),
            Data::Text(text) => format!("SZ:{text}"),
            Data::Number(number) => format!("DWORD:{number}"),
        };
        let _ = write!(out, "\r\nComputer\r\n{}\r\n{}\r\n{action}\r\n", value.key.path(), value.name);
    }
    out
}
