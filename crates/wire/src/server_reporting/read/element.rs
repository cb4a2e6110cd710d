//! The elements and attributes that reports are made of, and how long their lists may be.
//!
//! **Invariant:** a list that is longer than its limit is an error before it is in memory. It never knows which operation
//! it reads for.

use std::io::BufRead;
use std::str::FromStr;

use uuid::Uuid;

use crate::xml::{Decoder, XmlError};
use tailwater_domain::{ComputerId, ComputerName, Limit, OsVersion, ServerName, limits};

/// Servers in one request. The text limits only what is inside them; trees of servers are small.
pub(super) const MAX_SERVERS: usize = 10_000;
/// Activities of one summary, and statuses of one computer: more updates than a catalog offers to one.
pub(super) const MAX_UPDATES: usize = 100_000;
/// Groups of a computer.
pub(super) const MAX_GROUPS: usize = 1_000;
/// Names of groups that are kept of a computer.
pub(super) const KEPT_GROUP_NAMES: usize = 64;

pub(in crate::server_reporting) const LIMITS: &[Limit] = limits![
    KEPT_GROUP_NAMES in "names": "Names of groups that are kept of a computer in a roll-up" => "the rest is left out",
    MAX_SERVERS in "servers": "Servers in a roll-up" => "the request is refused: InvalidParameters",
    MAX_UPDATES in "updates": "Updates of one summary or computer in a roll-up" => "the request is refused: InvalidParameters",
    MAX_GROUPS in "groups": "Groups of a computer in a roll-up" => "the request is refused: InvalidParameters",
];

/// What reading gives.
pub(super) type Outcome<T> = Result<T, XmlError>;

/// The children called `item`; `None` when the list itself is nil.
pub(super) fn rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    mut read: impl FnMut(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Option<Vec<T>>> {
    let nil = decoder.is_nil();
    let mut rows = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != item || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if rows.len() == limit {
            return Err(XmlError::TooManyElements { limit });
        }
        rows.push(read(decoder)?);
    }
    Ok((!nil).then_some(rows))
}

/// A GUID in any of its forms.
pub(super) fn guid<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let element = decoder.name().to_owned();
    parsed(&element, &decoder.text()?)
}

/// A value as its type reads it.
pub(super) fn parsed<T: FromStr>(element: &str, text: &str) -> Outcome<T> {
    let value = |_e| XmlError::Value { element: element.to_owned(), text: text.chars().take(80).collect() };
    text.trim().parse().map_err(value)
}

/// A number that is only shown: 0 when it is none.
pub(super) fn lenient<N: FromStr + Default>(text: &str) -> N {
    text.trim().parse().unwrap_or_default()
}

/// `ComputerId`.
pub(super) fn computer_id(text: &str) -> Outcome<ComputerId> {
    ComputerId::parse(text).map_err(|_why| XmlError::Value {
        element: "ComputerId".to_owned(),
        text: text.chars().take(80).collect(),
    })
}

/// The name of a server; empty where none is given.
pub(super) fn server_name(text: &str) -> Outcome<String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let name = ServerName::parse(text).map_err(|_why| XmlError::Value {
        element: "FullDomainName".to_owned(),
        text: text.chars().take(80).collect(),
    })?;
    Ok(name.into_string())
}

/// The name of a computer; empty where none is given.
pub(super) fn full_name(text: &str) -> Outcome<String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let name = ComputerName::parse(text).map_err(|_why| XmlError::Value {
        element: "FullDomainName".to_owned(),
        text: text.chars().take(80).collect(),
    })?;
    Ok(name.into_string())
}

/// The places of an operating system's numbers, by name.
pub(super) fn os_number<'a>(os: &'a mut OsVersion, name: &str) -> Option<&'a mut i32> {
    Some(match name {
        "OSMajorVersion" => &mut os.major,
        "OSMinorVersion" => &mut os.minor,
        "OSBuildNumber" => &mut os.build,
        "OSServicePackMajorNumber" => &mut os.service_pack_major,
        "OSServicePackMinorNumber" => &mut os.service_pack_minor,
        "SuiteMask" => &mut os.suite_mask,
        "OldProductType" => &mut os.old_product_type,
        "NewProductType" => &mut os.new_product_type,
        "SystemMetrics" => &mut os.system_metrics,
        _ => return None,
    })
}
