//! What of the texts that a computer sends is kept.
//!
//! **Invariant:** no text is longer than its limit or holds what cannot be shown. It never refuses one.

use crate::values::text::cut;
use tailwater_domain::{ComputerFacts, Limit, limits};

/// The longest text of a registration that is kept, in characters.
pub(super) const MAX_TEXT: usize = 256;
/// The most of `DeviceAttributes` that is kept, in characters.
pub(super) const MAX_ATTRIBUTES: usize = 4_096;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_TEXT in "characters": "A text of a registration" => "it is cut",
    MAX_ATTRIBUTES in "characters": "`DeviceAttributes`" => "they are cut",
];

/// The same for everything that a registration says.
pub(super) fn cut_info(mut info: ComputerFacts) -> ComputerFacts {
    let texts = [
        &mut info.dns_name,
        &mut info.locale,
        &mut info.manufacturer,
        &mut info.model,
        &mut info.bios_version,
        &mut info.bios_name,
        &mut info.bios_date,
        &mut info.architecture,
        &mut info.client_version,
        &mut info.os_description,
        &mut info.oem,
        &mut info.device_type,
        &mut info.firmware_version,
        &mut info.mobile_operator,
    ];
    for text in texts {
        *text = cut(text, MAX_TEXT);
    }
    info
}
