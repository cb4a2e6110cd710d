//! `client-policy`: what Windows computers need to find this server.
//!
//! **Invariant:** a text that names an address or a group cannot break out of its quotation. It never
//! changes a computer.

use std::fmt::Write as _;

use crate::cli::arguments::{PolicyArguments, PolicyFormat};
use crate::cli::output::Outcome;
use crate::config::Settings;

const KEY: &str = r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate";

/// What takes updates from this server and not from the internet, by kind of update.
const SOURCES: [&str; 4] = ["Feature", "Quality", "Driver", "Other"];

/// Prints the policy.
pub(super) fn run(settings: &Settings, arguments: &PolicyArguments, json: bool) -> anyhow::Result<Outcome> {
    let url = match (&arguments.url, &settings.server.public_url) {
        (Some(url), _) | (None, Some(url)) => url.trim_end_matches('/').to_owned(),
        (None, None) => format!("http://{}:{}", host_name(), settings.server.listen.port()),
    };
    let plain = |text: &str| !text.chars().any(|c| c.is_control() || "\"'`$<>".contains(c));
    let is_address =
        url.parse::<http::Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if !plain(&url) || !is_address {
        return Err(super::usage("--url is no address; write it like \"http://updates.example:8530\""));
    }
    let group = arguments.group.as_deref();
    if group.is_some_and(|group| !plain(group) || group.len() > 255) {
        return Err(super::usage("--group must be the plain name of a group"));
    }
    let text = match arguments.format {
        PolicyFormat::Reg => reg(&url, group),
        PolicyFormat::Gpo => gpo(&url, group),
        PolicyFormat::Intune => intune(&url),
        PolicyFormat::Powershell => powershell(&url, group),
    };
    if json {
        super::output::json(&serde_json::json!({ "url": url, "group": group, "policy": text }))?;
    } else {
        super::output::text(&text);
    }
    Ok(Outcome::Done)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Texts and numbers below `KEY`, and numbers below `KEY\AU`.
type Values = (Vec<(String, String)>, Vec<(String, u32)>, Vec<(&'static str, u32)>);

/// Names and values below `KEY`; numbers below `KEY\AU` come second.
fn values(url: &str, group: Option<&str>) -> Values {
    let mut texts =
        vec![("WUServer".to_owned(), url.to_owned()), ("WUStatusServer".to_owned(), url.to_owned())];
    let mut numbers = Vec::new();
    if let Some(group) = group {
        numbers.push(("TargetGroupEnabled".to_owned(), 1));
        texts.push(("TargetGroup".to_owned(), group.to_owned()));
    }
    numbers.extend(SOURCES.iter().map(|kind| (format!("SetPolicyDrivenUpdateSourceFor{kind}Updates"), 1)));
    (texts, numbers, vec![("UseWUServer", 1), ("UseUpdateClassPolicySource", 1)])
}

fn reg(url: &str, group: Option<&str>) -> String {
    let (texts, numbers, automatic) = values(url, group);
    let mut out = format!("Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\{KEY}]\r\n");
    for (name, text) in texts {
        let _ = write!(out, "\"{name}\"=\"{}\"\r\n", text.replace('\\', r"\\"));
    }
    for (name, number) in numbers {
        let _ = write!(out, "\"{name}\"=dword:{number:08x}\r\n");
    }
    let _ = write!(out, "\r\n[HKEY_LOCAL_MACHINE\\{KEY}\\AU]\r\n");
    for (name, number) in automatic {
        let _ = write!(out, "\"{name}\"=dword:{number:08x}\r\n");
    }
    out
}

fn powershell(url: &str, group: Option<&str>) -> String {
    let (texts, numbers, automatic) = values(url, group);
    let mut out = format!(
        "#Requires -RunAsAdministrator\n$key = 'HKLM:\\{KEY}'\nNew-Item -Path \"$key\\AU\" -Force | Out-Null\n"
    );
    for (name, text) in texts {
        let _ = writeln!(out, "Set-ItemProperty -Path $key -Name '{name}' -Value '{text}' -Type String");
    }
    for (name, number) in numbers {
        let _ = writeln!(out, "Set-ItemProperty -Path $key -Name '{name}' -Value {number} -Type DWord");
    }
    for (name, number) in automatic {
        let _ =
            writeln!(out, "Set-ItemProperty -Path \"$key\\AU\" -Name '{name}' -Value {number} -Type DWord");
    }
    out.push_str("Restart-Service -Name wuauserv\n");
    out.push_str("(New-Object -ComObject Microsoft.Update.AutoUpdate).DetectNow()\n");
    out
}

fn gpo(url: &str, group: Option<&str>) -> String {
    let mut out = format!(
        "Computer Configuration > Policies > Administrative Templates > Windows Components > Windows Update\n\
         \x20 > Manage updates offered from Windows Server Update Service\n\n\
         Specify intranet Microsoft update service location: Enabled\n\
         \x20 Set the intranet update service for detecting updates: {url}\n\
         \x20 Set the intranet statistics server: {url}\n\
         \x20 Set the alternate download server: (empty)\n\n\
         Specify source service for specific classes of Windows Updates: Enabled\n"
    );
    for kind in SOURCES {
        let _ = writeln!(out, "  {kind} updates: Windows Server Update Services");
    }
    if let Some(group) = group {
        let _ = write!(out, "\nEnable client-side targeting: Enabled\n  Target group name: {group}\n");
    }
    out
}

fn intune(url: &str) -> String {
    let mut out = String::from("Custom profile for Windows 10 and later: OMA-URI | data type | value\n");
    let base = "./Device/Vendor/MSFT/Policy/Config/Update";
    let _ = writeln!(out, "{base}/UpdateServiceUrl | String | {url}");
    for kind in SOURCES {
        let _ = writeln!(out, "{base}/SetPolicyDrivenUpdateSourceFor{kind}Updates | Integer | 1");
    }
    let _ = writeln!(out, "{base}/AllowUpdateService | Integer | 1");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_the_address() {
        for text in [reg("http://s:8530", Some("Pilot")), gpo("http://s:8530", Some("Pilot"))] {
            assert!(text.contains("http://s:8530") && text.contains("Pilot"), "{text}");
        }
        assert!(intune("http://s:8530").contains("UpdateServiceUrl | String | http://s:8530"));
        assert!(powershell("http://s:8530", None).contains("-Name 'UseWUServer' -Value 1"));
    }
}
