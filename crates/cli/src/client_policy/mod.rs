//! `client-policy`: what Windows computers need to find this server, in the form that their administrator uses.
//!
//! **Invariant:** every form is made from one list of values ([`policy::Value`]), so that all of them say the same; no
//! form empties a key or touches a value that it does not name. It never changes a computer.

mod address;
mod check;
mod gpo;
mod intune;
mod lgpo;
mod policy;
mod powershell;
mod reg;
mod registry_pol;

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::arguments::{PolicyArguments, PolicyFormat};
use crate::output::{self, Outcome};
use policy::{Policy, Value};
use tailwater_config::Settings;

/// What is printed: bytes for a file, or text for people and files alike.
enum Document {
    /// Text in UTF-8.
    Text(String),
    /// Text that Windows reads as UTF-16LE with a byte order mark.
    Wide(String),
    /// A binary file.
    Binary(Vec<u8>),
}

impl Document {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Wide(text) => {
                std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
            }
            Self::Binary(bytes) => bytes.clone(),
        }
    }

    fn encoding(&self) -> &'static str {
        match self {
            Self::Text(_) => "utf-8",
            Self::Wide(_) => "utf-16le-bom",
            Self::Binary(_) => "binary",
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    url: &'a str,
    group: Option<&'a str>,
    format: &'a str,
    undo: bool,
    check: bool,
    values: &'a [policy::Shown<'a>],
    warnings: &'a [String],
    policy: Option<&'a str>,
    encoding: &'a str,
    content_base64: String,
    output: Option<&'a Path>,
}

/// Prints the policy, what undoes it, or what checks a computer for it.
pub(super) fn run(settings: &Settings, arguments: &PolicyArguments, json: bool) -> anyhow::Result<Outcome> {
    let url = match (&arguments.url, &settings.server.public_url) {
        (Some(url), _) | (None, Some(url)) => url.clone(),
        (None, None) => format!("http://{}:{}", host_name(), settings.server.listen.port()),
    };
    let policy = Policy::new(&url, arguments)?;
    let document = document(&policy, arguments)?;
    let bytes = document.bytes();
    if let Some(path) = &arguments.output {
        save(path, &bytes)?;
    }
    for warning in &policy.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if json {
        let values: Vec<_> = policy.values.iter().map(Value::shown).collect();
        let text = match &document {
            Document::Text(text) | Document::Wide(text) => Some(text),
            Document::Binary(_) => None,
        };
        output::json(&Printed {
            url: &policy.url,
            group: policy.group.as_deref(),
            format: arguments.format.as_str(),
            undo: arguments.undo,
            check: arguments.check,
            values: &values,
            warnings: &policy.warnings,
            policy: text.map(String::as_str),
            encoding: document.encoding(),
            content_base64: STANDARD.encode(&bytes),
            output: arguments.output.as_deref(),
        })?;
        return Ok(Outcome::Done);
    }
    if arguments.output.is_some() {
        return Ok(Outcome::Done);
    }
    match &document {
        Document::Text(text) => output::text(text),
        Document::Wide(text) if std::io::stdout().is_terminal() => output::text(text),
        Document::Binary(_) if std::io::stdout().is_terminal() => {
            return Err(crate::usage::wrong(
                "registry-pol is a binary file; name one with --output Registry.pol, or redirect the output",
            ));
        }
        Document::Wide(_) | Document::Binary(_) => output::answer(&bytes),
    }
    Ok(Outcome::Done)
}

fn document(policy: &Policy, arguments: &PolicyArguments) -> anyhow::Result<Document> {
    if arguments.check {
        return match arguments.format {
            PolicyFormat::Powershell | PolicyFormat::Intune => Ok(Document::Text(check::script(policy))),
            _ => Err(crate::usage::wrong(
                "what a computer has is checked by a PowerShell script; write --format powershell --check (or --format \
                 intune --check for the detection script of a remediation)",
            )),
        };
    }
    let undo = arguments.undo;
    Ok(match arguments.format {
        PolicyFormat::Reg => Document::Wide(reg::file(policy, undo)),
        PolicyFormat::Gpo => Document::Text(gpo::steps(policy, undo)),
        PolicyFormat::Intune => Document::Text(intune::profile(policy, undo)),
        PolicyFormat::Powershell => Document::Text(powershell::script(policy, undo)),
        PolicyFormat::PowershellGpo => Document::Text(powershell::gpo_script(policy, undo)),
        PolicyFormat::Lgpo => Document::Text(lgpo::text(policy, undo)),
        PolicyFormat::RegistryPol => Document::Binary(registry_pol::file(policy, undo)),
    })
}

fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write {}; check the folder and its rights", path.display()))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
