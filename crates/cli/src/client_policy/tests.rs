//! Every form says what the list of values says, whatever stands in it.

use std::collections::BTreeMap;

use clap::Parser as _;

use super::policy::{Data, Key, Policy};
use super::*;
use crate::arguments::{Arguments, Command};

fn arguments(more: &[&str]) -> PolicyArguments {
    let parsed = Arguments::try_parse_from([&["tailwater", "client-policy"], more].concat()).unwrap();
    match parsed.command {
        Command::ClientPolicy(arguments) => arguments,
        other => panic!("{other:?}"),
    }
}

fn policy(more: &[&str]) -> Policy {
    Policy::new("http://updates.example:8530", &arguments(more)).unwrap()
}

/// All options at once.
const EVERYTHING: &[&str] = &[
    "--alternate",
    "http://other.example:8530",
    "--fill-empty-content-urls",
    "--proxy-behavior",
    "user",
    "--no-certificate-pinning",
    "--no-internet",
    "--detection-hours",
    "4",
    "--automatic-updates",
    "scheduled",
    "--install-day",
    "sunday",
    "--install-hour",
    "3",
    "--download-mode",
    "99",
    "--cache-host",
    "cache1.example,10.0.0.9",
    "--cache-host-delay",
    "60",
];

/// Names of groups in scripts and with signs that some form could take for its own.
const GROUPS: [&str; 9] = [
    "Pilot",
    "Büro Köln;Pilot",
    "会议室",
    "O'Neil",
    "O\u{2019}Neil \u{201A}x\u{2018}",
    "a\"b\\c",
    "$(calc) `x",
    "[a;b]",
    "<a>&amp;",
];

type Values = BTreeMap<(String, String), Data>;

fn values(policy: &Policy) -> Values {
    policy
        .values
        .iter()
        .map(|value| ((value.key.path().to_owned(), value.name.to_owned()), value.data.clone()))
        .collect()
}

/// Reads a `.reg` file as regedit does, in short.
fn read_reg(bytes: &[u8]) -> Values {
    assert_eq!(&bytes[..2], [0xFF, 0xFE], "regedit needs the byte order mark");
    let units: Vec<u16> = bytes[2..].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units).unwrap();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next(), Some("Windows Registry Editor Version 5.00"));
    let (mut key, mut values) = (String::new(), Values::new());
    for line in lines.filter(|line| !line.is_empty()) {
        if let Some(path) = line.strip_prefix("[HKEY_LOCAL_MACHINE\\").and_then(|rest| rest.strip_suffix(']'))
        {
            key = path.to_owned();
            continue;
        }
        let (name, data) = line.strip_prefix('"').unwrap().split_once("\"=").unwrap();
        let data = if let Some(hex) = data.strip_prefix("dword:") {
            Data::Number(u32::from_str_radix(hex, 16).unwrap())
        } else {
            let quoted = data.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            let (mut text, mut chars) = (String::new(), quoted.chars());
            while let Some(c) = chars.next() {
                assert_ne!(c, '"', "the quotation ends too early: {line}");
                text.push(if c == '\\' { chars.next().unwrap() } else { c });
            }
            Data::Text(text)
        };
        values.insert((key.clone(), name.to_owned()), data);
    }
    values
}

fn sign(rest: &mut &[u8], wanted: u8) {
    assert_eq!(&rest[..2], [wanted, 0]);
    *rest = &rest[2..];
}

fn text(rest: &mut &[u8]) -> String {
    let end = rest.chunks(2).position(|unit| unit == [0, 0]).unwrap();
    let units: Vec<u16> =
        rest[..end * 2].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    *rest = &rest[end * 2 + 2..];
    String::from_utf16(&units).unwrap()
}

fn number(rest: &mut &[u8]) -> u32 {
    let number = u32::from_le_bytes(rest[..4].try_into().unwrap());
    *rest = &rest[4..];
    number
}

/// Reads a `Registry.pol` by its grammar.
fn read_pol(bytes: &[u8]) -> Values {
    assert_eq!(&bytes[..8], b"PReg\x01\0\0\0");
    let mut rest = &bytes[8..];
    let mut values = Values::new();
    while !rest.is_empty() {
        sign(&mut rest, b'[');
        let key = text(&mut rest);
        sign(&mut rest, b';');
        let name = text(&mut rest);
        sign(&mut rest, b';');
        let kind = number(&mut rest);
        sign(&mut rest, b';');
        let size = number(&mut rest) as usize;
        sign(&mut rest, b';');
        let mut data = &rest[..size];
        rest = &rest[size..];
        sign(&mut rest, b']');
        let data = if kind == 4 { Data::Number(number(&mut data)) } else { Data::Text(text(&mut data)) };
        assert!(data != Data::Text(String::new()) || kind == 1);
        values.insert((key, name), data);
    }
    values
}

/// Reads what a PowerShell text in single quotes means.
fn unquoted(text: &str) -> (String, &str) {
    let is_quote = |c: char| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201A}' | '\u{201B}');
    let mut chars = text.char_indices().peekable();
    assert!(chars.next().is_some_and(|(_, c)| is_quote(c)), "{text}");
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        if is_quote(c) {
            match chars.peek() {
                Some((_, next)) if is_quote(*next) => drop(chars.next()),
                _ => return (out, &text[at + c.len_utf8()..]),
            }
        }
        out.push(c);
    }
    panic!("not closed: {text}");
}

fn read_powershell(script: &str) -> Values {
    let (mut key, mut values) = (String::new(), Values::new());
    for line in script.lines() {
        if let Some(rest) = line.strip_prefix("$key = ") {
            key = unquoted(rest).0.strip_prefix("HKLM:\\").unwrap().to_owned();
        } else if let Some(rest) = line.strip_prefix("Set-ItemProperty -LiteralPath $key -Name ") {
            let (name, rest) = unquoted(rest);
            let rest = rest.strip_prefix(" -Value ").unwrap();
            let (data, kind) = if rest.starts_with(|c: char| c.is_ascii_digit()) {
                let (number, kind) = rest.split_once(' ').unwrap();
                (Data::Number(number.parse().unwrap()), kind.to_owned())
            } else {
                let (text, kind) = unquoted(rest);
                (Data::Text(text), kind.trim_start().to_owned())
            };
            let wanted = if matches!(data, Data::Number(_)) { "-Type DWord" } else { "-Type String" };
            assert_eq!(kind, wanted, "nothing else stands behind the value");
            values.insert((key.clone(), name), data);
        }
    }
    values
}

fn read_lgpo(text: &str) -> Values {
    let lines: Vec<&str> =
        text.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with(';')).collect();
    let four = |four: &[&str]| {
        assert_eq!(four[0], "Computer");
        let data = match (four[3].strip_prefix("SZ:"), four[3].strip_prefix("DWORD:")) {
            (Some(text), _) => Data::Text(text.to_owned()),
            (_, Some(number)) => Data::Number(number.parse().unwrap()),
            _ => panic!("{four:?}"),
        };
        ((four[1].to_owned(), four[2].to_owned()), data)
    };
    assert_eq!(lines.len() % 4, 0);
    lines.chunks(4).map(four).collect()
}

#[test]
fn every_form_says_the_same_whatever_a_group_is_called() {
    for group in GROUPS {
        let policy = policy(&[EVERYTHING, &["--group", group]].concat());
        let wanted = values(&policy);
        assert_eq!(wanted.len(), policy.values.len(), "a name stands once");
        assert_eq!(read_reg(&Document::Wide(reg::file(&policy, false)).bytes()), wanted, "{group}");
        assert_eq!(read_pol(&registry_pol::file(&policy, false)), wanted, "{group}");
        assert_eq!(read_powershell(&powershell::script(&policy, false)), wanted, "{group}");
        assert_eq!(read_lgpo(&lgpo::text(&policy, false)), wanted, "{group}");
        // by name in the other forms
        let steps = gpo::steps(&policy, false);
        assert!(steps.contains(group) && steps.contains("http://updates.example:8530"), "{steps}");
        let gpo_script = powershell::gpo_script(&policy, false);
        assert_eq!(gpo_script.matches("Set-GPRegistryValue").count(), wanted.len());
        let profile = intune::profile(&policy, false);
        for value in &policy.values {
            let named = value.csp.as_ref().map_or(value.name, |csp| csp.path);
            assert!(profile.contains(named), "{} is in neither part", value.name);
        }
        assert!(profile.contains(&powershell::quoted(group)), "the group has a remediation: {profile}");
    }
}

#[test]
fn nothing_ever_empties_or_removes_a_key() {
    let policy = policy(&[EVERYTHING, &["--group", "Pilot"]].concat());
    for undo in [false, true] {
        let reg = reg::file(&policy, undo);
        assert!(!reg.contains("[-"), "{reg}");
        let pol =
            String::from_utf8_lossy(&registry_pol::file(&policy, undo)).replace('\0', "").to_lowercase();
        for taking in ["**deletevalues", "**delvals", "**deletekeys", "**securekey"] {
            assert!(!pol.contains(taking), "{taking}");
        }
        for script in [powershell::script(&policy, undo), intune::profile(&policy, undo)] {
            assert!(!script.contains("Remove-Item "), "{script}");
            for line in script.lines().filter(|line| line.contains("New-Item")) {
                assert!(line.starts_with("if (-not (Test-Path"), "{line}");
            }
        }
        assert!(!lgpo::text(&policy, undo).contains("DELETEALLVALUES"));
    }
}

#[test]
fn undoing_names_exactly_what_was_set() {
    let policy = policy(&[EVERYTHING, &["--group", "Pilot"]].concat());
    let wanted = values(&policy);
    let reg = reg::file(&policy, true);
    assert_eq!(reg.matches("\"=-").count(), wanted.len());
    let removed: Vec<(String, String)> = read_pol(&registry_pol::file(&policy, true))
        .into_keys()
        .map(|(key, name)| (key, name.strip_prefix("**del.").unwrap().to_owned()))
        .collect();
    assert_eq!(removed, wanted.keys().cloned().collect::<Vec<_>>());
    assert_eq!(powershell::script(&policy, true).matches("Remove-ItemProperty").count(), wanted.len());
    assert_eq!(powershell::gpo_script(&policy, true).matches("Remove-GPRegistryValue").count(), wanted.len());
    assert_eq!(lgpo::text(&policy, true).matches("\r\nDELETE\r\n").count(), wanted.len());
    assert!(!gpo::steps(&policy, true).contains("Enabled"));
}

#[test]
fn only_what_was_asked_for_is_set() {
    let named = |more: &[&str]| {
        let policy = policy(more);
        policy.values.iter().map(|value| value.name).collect::<Vec<_>>()
    };
    assert_eq!(named(&["--no-scan-source"]), ["WUServer", "WUStatusServer", "UseWUServer"]);
    assert_eq!(named(&[]).len(), 8);
    assert!(!named(&[]).contains(&"TargetGroup"));
    assert!(named(&["--automatic-updates", "download"]).contains(&"AUOptions"));
    assert!(!named(&["--automatic-updates", "download"]).contains(&"ScheduledInstallDay"));
    // the editor's steps know every value that can be set
    let known: Vec<&str> = gpo::known().collect();
    for value in &policy(&[EVERYTHING, &["--group", "Pilot"]].concat()).values {
        assert!(known.contains(&value.name), "{}", value.name);
        assert!(Key::ALL.contains(&value.key));
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for wrong in [
        &["--detection-hours", "0"][..],
        &["--detection-hours", "23"],
        &["--install-hour", "24", "--automatic-updates", "scheduled"],
        &["--install-day", "someday", "--automatic-updates", "scheduled"],
        &["--fill-empty-content-urls"],
        &["--install-hour", "3"],
        &["--cache-host-delay", "60"],
        &["--download-mode", "100"],
        &["--undo", "--check"],
    ] {
        let parsed = Arguments::try_parse_from([&["tailwater", "client-policy"], wrong].concat());
        assert!(parsed.is_err(), "{wrong:?}");
    }
    for wrong in [
        &["--group", "two\nlines"][..],
        &["--group", " "],
        &["--alternate", "other.example"],
        &["--cache-host", "http://cache.example"],
        &["--cache-host", "cache.example:80"],
    ] {
        assert!(Policy::new("http://updates.example", &arguments(wrong)).is_err(), "{wrong:?}");
    }
    let check = ["--check", "--format", "reg"];
    assert!(document(&policy(&check), &arguments(&check)).is_err());
}
