//! PowerShell: a script for one computer, and one for a Group Policy object.
//!
//! **Invariant:** a key that is there is left as it is (`New-Item -Force` would empty it); texts stand in single quotes in
//! which nothing can end the quotation. Works in Windows PowerShell 5.1.

use std::fmt::Write as _;

use super::policy::{Data, Policy};

/// In single quotes. PowerShell takes typographic quotes for straight ones, so they are doubled too.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        out.push(c);
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201A}' | '\u{201B}') {
            out.push(c);
        }
    }
    out.push('\'');
    out
}

pub(super) fn data(data: &Data) -> (String, &'static str) {
    match data {
        Data::Text(text) => (quoted(text), "String"),
        Data::Number(number) => (number.to_string(), "DWord"),
    }
}

/// For the computer that it runs on.
pub(super) fn script(policy: &Policy, undo: bool) -> String {
    let mut out = String::from("#Requires -RunAsAdministrator\n$ErrorActionPreference = 'Stop'\n");
    out.push_str(&statements(policy, undo));
    out.push_str("Restart-Service -Name wuauserv\n");
    if !undo {
        out.push_str("(New-Object -ComObject Microsoft.Update.AutoUpdate).DetectNow()\n");
    }
    out
}

/// The lines that set or remove the values.
pub(super) fn statements(policy: &Policy, undo: bool) -> String {
    let mut out = String::new();
    for key in policy.keys() {
        let _ = writeln!(out, "$key = {}", quoted(&format!("HKLM:\\{}", key.path())));
        if undo {
            out.push_str("if (Test-Path -LiteralPath $key) {\n");
            for value in policy.of(key) {
                let name = quoted(value.name);
                let _ = writeln!(
                    out,
                    "    Remove-ItemProperty -LiteralPath $key -Name {name} -ErrorAction SilentlyContinue"
                );
            }
            out.push_str("}\n");
            continue;
        }
        out.push_str("if (-not (Test-Path -LiteralPath $key)) { New-Item -Path $key -Force | Out-Null }\n");
        for value in policy.of(key) {
            let (text, kind) = data(&value.data);
            let name = quoted(value.name);
            let _ =
                writeln!(out, "Set-ItemProperty -LiteralPath $key -Name {name} -Value {text} -Type {kind}");
        }
    }
    out
}

/// For a Group Policy object, made when it is not there. Needs the module `GroupPolicy`.
pub(super) fn gpo_script(policy: &Policy, undo: bool) -> String {
    let mut out = String::from(
        "#Requires -Modules GroupPolicy\nparam([string]$GpoName = 'Windows updates from Tailwater')\n\
         $ErrorActionPreference = 'Stop'\n",
    );
    if !undo {
        out.push_str(
            "if (-not (Get-GPO -Name $GpoName -ErrorAction SilentlyContinue)) { New-GPO -Name $GpoName | Out-Null }\n",
        );
    }
    for value in &policy.values {
        let (key, name) = (quoted(&format!("HKLM\\{}", value.key.path())), quoted(value.name));
        let _ = if undo {
            writeln!(
                out,
                "Remove-GPRegistryValue -Name $GpoName -Key {key} -ValueName {name} -ErrorAction SilentlyContinue | Out-Null"
            )
        } else {
            let (text, kind) = data(&value.data);
            writeln!(
                out,
                "Set-GPRegistryValue -Name $GpoName -Key {key} -ValueName {name} -Type {kind} -Value {text} | Out-Null"
            )
        };
    }
    if !undo {
        out.push_str("# link it: New-GPLink -Name $GpoName -Target 'OU=…,DC=…'\n");
    }
    out
}
