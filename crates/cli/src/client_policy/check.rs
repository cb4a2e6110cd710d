//! A PowerShell script that says what a computer has of the policy: also the detection script of an Intune remediation.
//!
//! **Invariant:** it only reads. It ends with 0 when everything is as wanted and with 1 otherwise, and prints each
//! difference.

use std::fmt::Write as _;

use super::policy::{Policy, Value};
use super::powershell::{data, quoted};

/// The script for the whole policy.
pub(super) fn script(policy: &Policy) -> String {
    of(policy.values.iter())
}

/// The script for some values.
pub(super) fn of<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let mut out = String::from("$wanted = @(\n");
    for value in values {
        let (text, _) = data(&value.data);
        let path = quoted(&format!("HKLM:\\{}", value.key.path()));
        let _ = writeln!(
            out,
            "    [pscustomobject]@{{ Path = {path}; Name = {}; Value = {text} }}",
            quoted(value.name)
        );
    }
    out.push_str(
        ")\n$wrong = 0\nforeach ($one in $wanted) {\n    $has = $null\n    \
         $item = Get-ItemProperty -LiteralPath $one.Path -Name $one.Name -ErrorAction SilentlyContinue\n    \
         if ($null -ne $item) { $has = $item.($one.Name) }\n    \
         if ($null -eq $has) {\n        Write-Output \"missing: $($one.Path) $($one.Name)\"; $wrong++\n    } \
         elseif (\"$has\" -cne \"$($one.Value)\") {\n        \
         Write-Output \"differs: $($one.Path) $($one.Name) is $has, wanted $($one.Value)\"; $wrong++\n    }\n}\n\
         if ($wrong -gt 0) { exit 1 }\nWrite-Output 'as wanted'\nexit 0\n",
    );
    out
}
