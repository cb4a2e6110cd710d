//! `Registry.pol`: the registry part of a Group Policy object ([MS-GPREG] 2.2.1).
//!
//! **Invariant:** each instruction sets or removes one named value. It never writes `**DeleteValues`, `**DelVals` or
//! `**DeleteKeys`, which would take what others set.

use super::policy::{Data, Policy};

/// `PReg`, then version 1.
const HEADER: [u8; 8] = [0x50, 0x52, 0x65, 0x67, 1, 0, 0, 0];

const REG_SZ: u32 = 1;
const REG_DWORD: u32 = 4;

/// The file: a header, then `[key;value;type;size;data]` in UTF-16LE for each value.
pub(super) fn file(policy: &Policy, undo: bool) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    for value in &policy.values {
        let (name, kind, data) = match &value.data {
            // [MS-GPREG] 3.2.5.1: `**Del.` removes a value; its data is a space by convention
            _ if undo => (format!("**del.{}", value.name), REG_SZ, terminated(" ")),
            Data::Text(text) => (value.name.to_owned(), REG_SZ, terminated(text)),
            Data::Number(number) => (value.name.to_owned(), REG_DWORD, number.to_le_bytes().to_vec()),
        };
        out.extend(wide("["));
        out.extend(terminated(value.key.path()));
        out.extend(wide(";"));
        out.extend(terminated(&name));
        out.extend(wide(";"));
        out.extend(kind.to_le_bytes());
        out.extend(wide(";"));
        // names of groups and addresses are far below 4 GiB
        out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(wide(";"));
        out.extend(data);
        out.extend(wide("]"));
    }
    out
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = wide(text);
    bytes.extend([0, 0]);
    bytes
}
