//! Amounts and rates as people write them: `200 GB`, `1.5 GiB`, `8 Mbit/s`, `unlimited`.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of bytes. Decimal units are powers of 1,000 (`GB`), binary ones of 1,024 (`GiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

/// A half-open range of bytes, `start..end`; never empty when made by [`ByteRange::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl ByteRange {
    /// The range, if it holds at least one byte.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// How fast bytes may pass: a number of bits a second, no limit, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rate {
    /// No limit.
    #[default]
    Unlimited,
    /// This many bits each second.
    BitsPerSecond(NonZeroU64),
    /// Nothing.
    Closed,
}

impl Rate {
    /// Bytes a second, rounded down but at least 1 where any may pass; `None` when unlimited.
    pub fn bytes_per_second(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Closed => Some(0),
            Self::BitsPerSecond(bits) => Some((bits.get() / 8).max(1)),
        }
    }
}

/// A text that is no amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of bytes; write it like \"200 GB\" or \"512 MiB\"")]
pub struct ParseByteCountError(pub String);

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rate; write it like \"8 Mbit/s\", \"500 kbit/s\", \"2 MB/s\", \"unlimited\" or \"closed\""
)]
pub struct ParseRateError(pub String);

/// Splits `12.5 GB` into the number and the unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    number.is_finite().then_some((number, text[split..].trim()))
}

fn scaled(number: f64, factor: f64) -> Option<u64> {
    let value = number * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against the bounds first"
    )]
    (0.0..9.0e18).contains(&value).then(|| value.round() as u64)
}

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    fn from_str(text: &str) -> Result<Self, ParseByteCountError> {
        let refuse = || ParseByteCountError(text.chars().take(80).collect());
        let (number, unit) = number_and_unit(text).ok_or_else(refuse)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" | "bytes" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => 1_073_741_824.0,
            "tib" => 1_099_511_627_776.0,
            _ => return Err(refuse()),
        };
        scaled(number, factor).map(Self).ok_or_else(refuse)
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, ParseRateError> {
        let refuse = || ParseRateError(text.chars().take(80).collect());
        if text.trim().eq_ignore_ascii_case("unlimited") {
            return Ok(Self::Unlimited);
        }
        if text.trim().eq_ignore_ascii_case("closed") {
            return Ok(Self::Closed);
        }
        let (number, unit) = number_and_unit(text).ok_or_else(refuse)?;
        // letter case tells bits from bytes where the unit is one letter: Mb/s is bits, MB/s is bytes
        let factor = match unit {
            "bit/s" | "bps" => 1.0,
            "kbit/s" | "kbps" | "Kbit/s" => 1e3,
            "Mbit/s" | "Mbps" | "mbit/s" => 1e6,
            "Gbit/s" | "Gbps" | "gbit/s" => 1e9,
            "B/s" => 8.0,
            "kB/s" | "KB/s" => 8e3,
            "MB/s" => 8e6,
            "GB/s" => 8e9,
            "KiB/s" => 8.0 * 1024.0,
            "MiB/s" => 8.0 * 1_048_576.0,
            _ => return Err(refuse()),
        };
        scaled(number, factor).and_then(NonZeroU64::new).map(Self::BitsPerSecond).ok_or_else(refuse)
    }
}

/// Writes a number with at most one decimal and the largest unit that keeps it at 1 or more.
fn with_unit(f: &mut fmt::Formatter<'_>, value: u64, units: &[(u64, &str)], least: &str) -> fmt::Result {
    for &(size, unit) in units {
        if value >= size {
            let tenths = u128::from(value) * 10 / u128::from(size);
            return match tenths % 10 {
                0 => write!(f, "{} {unit}", tenths / 10),
                tenth => write!(f, "{}.{tenth} {unit}", tenths / 10),
            };
        }
    }
    write!(f, "{value} {least}")
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
        with_unit(f, self.0, &units, "B")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Closed => f.write_str("closed"),
            Self::BitsPerSecond(bits) => {
                let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
                with_unit(f, bits.get(), &units, "bit/s")
            }
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        let table = [
            ("200 GB", 200_000_000_000),
            ("5GB", 5_000_000_000),
            ("1.5 MiB", 1_572_864),
            ("0", 0),
            ("17 b", 17),
        ];
        for (text, bytes) in table {
            assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
        }
        for text in ["", "GB", "-1 GB", "1 XB", "1e99 TB", "99999999999999999999 GB"] {
            assert!(text.parse::<ByteCount>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_tell_bits_from_bytes() {
        let table =
            [("8 Mbit/s", 1_000_000), ("1 MB/s", 1_000_000), ("64 kbit/s", 8_000), ("2 MiB/s", 2_097_152)];
        for (text, bytes) in table {
            assert_eq!(text.parse::<Rate>().unwrap().bytes_per_second(), Some(bytes), "{text}");
        }
        assert_eq!("Unlimited".parse(), Ok(Rate::Unlimited));
        for text in ["", "8", "8 Mbit", "0 Mbit/s", "fast"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn they_print_so_that_they_can_be_read_again() {
        for text in ["8 Mbit/s", "1.5 Gbit/s", "500 kbit/s", "unlimited"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!(ByteCount(1_234_567).to_string(), "1.2 MB");
        assert_eq!(ByteCount(999).to_string(), "999 B");
    }
}
