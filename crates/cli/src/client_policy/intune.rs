//! Intune: settings of the Policy CSP by OMA-URI, and a remediation for what no Configuration Service Provider sets.
//!
//! **Invariant:** every value of the policy is either in the profile or in the remediation; none is left out in silence.

use std::fmt::Write as _;

use super::policy::{Csp, Data, Policy, Value};
use super::{check, powershell};

/// Where the Policy CSP has its settings.
const BASE: &str = "./Device/Vendor/MSFT/Policy/Config";

/// The text.
pub(super) fn profile(policy: &Policy, undo: bool) -> String {
    let mut settings: Vec<&Csp> = Vec::new();
    for csp in policy.values.iter().filter_map(|value| value.csp.as_ref()) {
        if !settings.iter().any(|known| known.path == csp.path) {
            settings.push(csp);
        }
    }
    let mut out = String::new();
    if undo {
        out.push_str("Remove these settings from the custom profile, or the profile as a whole:\n");
        for csp in &settings {
            let _ = writeln!(out, "{BASE}/{}", csp.path);
        }
    } else {
        out.push_str("Custom profile for Windows 10 and later: OMA-URI | data type | value\n");
        for csp in &settings {
            let (kind, text) = match &csp.data {
                Data::Text(text) => ("String", text.clone()),
                Data::Number(number) => ("Integer", number.to_string()),
            };
            let _ = writeln!(out, "{BASE}/{} | {kind} | {text}", csp.path);
        }
    }
    let rest: Vec<Value> = policy.values.iter().filter(|value| value.csp.is_none()).cloned().collect();
    if rest.is_empty() {
        return out;
    }
    let names: Vec<&str> = rest.iter().map(|value| value.name).collect();
    let _ = writeln!(
        out,
        "\nNo Configuration Service Provider sets {}. Add them as a remediation (Devices > Scripts and remediations), run \
         in the 64-bit PowerShell as the system account.",
        names.join(", ")
    );
    let others = Policy { url: policy.url.clone(), group: None, values: rest, warnings: Vec::new() };
    if !undo {
        let _ = write!(out, "\n# --- detection script ---\n{}", check::script(&others));
    }
    let title = if undo { "script that removes them" } else { "remediation script" };
    let _ = write!(
        out,
        "\n# --- {title} ---\n$ErrorActionPreference = 'Stop'\n{}",
        powershell::statements(&others, undo)
    );
    out
}
