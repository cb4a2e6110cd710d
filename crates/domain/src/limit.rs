//! The one form of a limit: what is limited, how much, which key changes it, and what the one beyond gets.
//!
//! **Invariant:** a limit's value is read from the constant that the code obeys, or from the default of the key
//! that changes it; it is never written a second time. Nothing here enforces anything.
//!
//! A file lists its limits below its constants with [`limits!`](crate::limits), its `mod.rs` joins them with
//! [`joined_limits!`](crate::joined_limits) into the room's `LIMITS`, and `docs/limits.md` is made from all of them.

use std::fmt::Write as _;
use std::time::Duration;

use super::ByteCount;

/// One limit.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The constant, or the key where only a key says how much.
    pub name: &'static str,
    /// The file that has it, from the top of the project.
    pub file: &'static str,
    /// What is limited, as a heading would say it.
    pub what: &'static str,
    /// How much; `None` where the default of `key` says it.
    pub value: Option<fn() -> LimitValue>,
    /// What is counted: `"bytes"` are written in KiB, MiB and GiB; of no meaning for times.
    pub unit: &'static str,
    /// The key of the configuration that changes it.
    pub key: Option<&'static str>,
    /// What the one beyond gets.
    pub beyond: &'static str,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitValue {
    /// So many of its unit.
    Count(u64),
    /// So long.
    Time(Duration),
}

macro_rules! counted {
    ($($number:ty),+) => {
        $(impl From<$number> for LimitValue {
            fn from(number: $number) -> Self {
                Self::Count(u64::try_from(number).unwrap_or_default())
            }
        })+
    };
}

counted!(u8, u16, u32, u64, u128, usize, i32, i64);

impl From<ByteCount> for LimitValue {
    fn from(bytes: ByteCount) -> Self {
        Self::Count(bytes.0)
    }
}

impl From<Duration> for LimitValue {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl From<jiff::SignedDuration> for LimitValue {
    fn from(time: jiff::SignedDuration) -> Self {
        Self::Time(time.unsigned_abs())
    }
}

impl LimitValue {
    /// As people write it: `4 MiB`, `10,000 groups`, `15 s`.
    pub fn shown(self, unit: &str) -> String {
        match self {
            Self::Time(time) => shown_time(time),
            Self::Count(bytes) if unit == "bytes" => shown_bytes(bytes),
            Self::Count(number) => format!("{} {unit}", grouped(number)).trim_end().to_owned(),
        }
    }
}

fn shown_time(time: Duration) -> String {
    let millis = time.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if millis >= length && millis.is_multiple_of(length) {
            return format!("{} {unit}", millis / length);
        }
    }
    format!("{millis} ms")
}

fn shown_bytes(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", grouped(bytes >> shift));
        }
    }
    format!("{} bytes", grouped(bytes))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        let _ = write!(text, "{digit}");
    }
    text
}

impl Limit {
    /// What a joined array is filled with before its parts are copied into it.
    const BLANK: Self = Self { name: "", file: "", what: "", value: None, unit: "", key: None, beyond: "" };

    /// How many limits several slices have together.
    pub const fn count(parts: &[&[Self]]) -> usize {
        let (mut sum, mut at) = (0, 0);
        while at < parts.len() {
            sum += parts[at].len();
            at += 1;
        }
        sum
    }

    /// Several slices one after the other; `N` is their [`count`](Self::count).
    pub const fn joined<const N: usize>(parts: &[&[Self]]) -> [Self; N] {
        let mut all = [Self::BLANK; N];
        let (mut next, mut part) = (0, 0);
        while part < parts.len() {
            let mut at = 0;
            while at < parts[part].len() {
                all[next] = parts[part][at];
                next += 1;
                at += 1;
            }
            part += 1;
        }
        all
    }
}

/// Lists limits beside their constants: `CONSTANT in "unit": "what" => "what the one beyond gets"`, without
/// `in` for times, with `key "section.name"` behind the unit where a key changes it; `key "section.name" in
/// "unit": …` alone where only the key's default says how much.
#[macro_export]
macro_rules! limits {
    (@one $name:ident $(in $unit:literal)? $(key $key:literal)? : $what:literal => $beyond:literal) => {
        $crate::Limit {
            name: stringify!($name),
            file: file!(),
            what: $what,
            value: Some(|| $crate::LimitValue::from($name)),
            unit: concat!($($unit)?),
            key: $crate::limits!(@key $($key)?),
            beyond: $beyond,
        }
    };
    (@key) => { None };
    (@key $key:literal) => { Some($key) };
    (@all [$($done:expr,)*]) => { &[$($done,)*] };
    (@all [$($done:expr,)*] key $key:literal $(in $unit:literal)? : $what:literal => $beyond:literal, $($rest:tt)*) => {
        $crate::limits!(@all [$($done,)* $crate::Limit {
            name: $key,
            file: file!(),
            what: $what,
            value: None,
            unit: concat!($($unit)?),
            key: Some($key),
            beyond: $beyond,
        },] $($rest)*)
    };
    (@all [$($done:expr,)*] $name:ident $(in $unit:literal)? $(key $key:literal)? : $what:literal => $beyond:literal, $($rest:tt)*) => {
        $crate::limits!(@all [$($done,)* $crate::limits!(
            @one $name $(in $unit)? $(key $key)? : $what => $beyond
        ),] $($rest)*)
    };
    ($($all:tt)*) => { $crate::limits!(@all [] $($all)*) };
}

/// Joins the limits of several files: `joined_limits![approvals::LIMITS, computers::LIMITS]`.
#[macro_export]
macro_rules! joined_limits {
    ($($part:expr),+ $(,)?) => {{
        const PARTS: &[&[$crate::Limit]] = &[$($part),+];
        const ALL: [$crate::Limit; $crate::Limit::count(PARTS)] = $crate::Limit::joined(PARTS);
        &ALL
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_A: usize = 10_000;
    const MAX_B: u64 = 4 << 20;
    const WAIT: Duration = Duration::from_secs(90);
    const FIRST: &[Limit] = limits![
        MAX_A in "groups": "Groups" => "409",
        MAX_B in "bytes" key "a.b": "Body" => "413",
    ];
    const SECOND: &[Limit] = limits![
        WAIT: "Wait" => "503",
        key "a.c" in "computers": "Computers" => "busy",
    ];

    #[test]
    fn a_limit_is_read_from_its_constant_or_its_key() {
        let all: &[Limit] = joined_limits![FIRST, SECOND];
        let shown: Vec<String> = all
            .iter()
            .map(|limit| limit.value.map_or("key".to_owned(), |value| value().shown(limit.unit)))
            .collect();
        assert_eq!(shown, ["10,000 groups", "4 MiB", "90 s", "key"]);
        assert_eq!(all.iter().map(|limit| limit.name).collect::<Vec<_>>(), ["MAX_A", "MAX_B", "WAIT", "a.c"]);
        assert_eq!(all[1].key, Some("a.b"));
        assert!(all.iter().all(|limit| limit.file == "crates/domain/src/limit.rs"));
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        for (bytes, text) in
            [(5_120_u64, "5 KiB"), (65_535, "65,535 bytes"), (999, "999 bytes"), (1 << 30, "1 GiB")]
        {
            assert_eq!(LimitValue::from(bytes).shown("bytes"), text);
        }
        for (millis, text) in [(250, "250 ms"), (1_500, "1500 ms"), (60_000, "1 min"), (172_800_000, "2 d")] {
            assert_eq!(LimitValue::from(Duration::from_millis(millis)).shown(""), text);
        }
    }
}
