//! Group Policy by hand: the settings by their names in the editor, with what to choose in each.
//!
//! **Invariant:** every value of the policy belongs to a setting that is named here. Titles are those of the English
//! administrative templates.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::policy::{Data, Policy};

/// A setting of the editor: its title, and for each value how its option reads.
struct Setting {
    title: &'static str,
    options: &'static [(&'static str, Shown)],
}

/// How a value reads in the editor.
enum Shown {
    /// A text or number field.
    Field(&'static str),
    /// A choice: the words for numbers.
    Choice(&'static str, &'static [(u32, &'static str)]),
    /// It is what `Enabled` means, or a check box that is set.
    Implied,
}

const SOURCE: &[(u32, &str)] = &[(1, "Windows Server Update Services"), (0, "Windows Update")];

/// Below "Windows Components > Windows Update".
const UPDATE: &[Setting] = &[
    Setting {
        title: "Manage updates offered from Windows Server Update Service > Specify intranet Microsoft update service location",
        options: &[
            ("WUServer", Shown::Field("Set the intranet update service for detecting updates")),
            ("WUStatusServer", Shown::Field("Set the intranet statistics server")),
            ("UpdateServiceUrlAlternate", Shown::Field("Set the alternate download server")),
            ("UseWUServer", Shown::Implied),
            (
                "FillEmptyContentUrls",
                Shown::Choice(
                    "Download files with no Url in the metadata if alternate download server is set",
                    &[(1, "checked")],
                ),
            ),
            (
                "DoNotEnforceEnterpriseTLSCertPinningForUpdateDetection",
                Shown::Choice(
                    "Do not enforce TLS certificate pinning for Windows Update client for detecting updates",
                    &[(1, "checked")],
                ),
            ),
            (
                "SetProxyBehaviorForUpdateDetection",
                Shown::Choice(
                    "Select the proxy behavior for Windows Update client for detecting updates",
                    &[
                        (0, "Only use system proxy for detecting updates (default)"),
                        (
                            1,
                            "Allow user proxy to be used as a fallback if detection using system proxy fails",
                        ),
                    ],
                ),
            ),
        ],
    },
    Setting {
        title: "Manage updates offered from Windows Server Update Service > Specify source service for specific classes of Windows Updates",
        options: &[
            ("SetPolicyDrivenUpdateSourceForFeatureUpdates", Shown::Choice("Feature Updates", SOURCE)),
            ("SetPolicyDrivenUpdateSourceForQualityUpdates", Shown::Choice("Quality Updates", SOURCE)),
            ("SetPolicyDrivenUpdateSourceForDriverUpdates", Shown::Choice("Driver Updates", SOURCE)),
            ("SetPolicyDrivenUpdateSourceForOtherUpdates", Shown::Choice("Other Updates", SOURCE)),
            ("UseUpdateClassPolicySource", Shown::Implied),
        ],
    },
    Setting {
        title: "Manage updates offered from Windows Server Update Service > Enable client-side targeting",
        options: &[
            ("TargetGroupEnabled", Shown::Implied),
            ("TargetGroup", Shown::Field("Target group name for this computer")),
        ],
    },
    Setting {
        title: "Manage updates offered from Windows Server Update Service > Do not connect to any Windows Update Internet locations",
        options: &[("DoNotConnectToWindowsUpdateInternetLocations", Shown::Implied)],
    },
    Setting {
        title: "Manage updates offered from Windows Server Update Service > Automatic Updates detection frequency",
        options: &[
            ("DetectionFrequencyEnabled", Shown::Implied),
            ("DetectionFrequency", Shown::Field("Check for updates at the following interval (hours)")),
        ],
    },
    Setting {
        title: "Manage end user experience > Configure Automatic Updates",
        options: &[
            (
                "AUOptions",
                Shown::Choice(
                    "Configure automatic updating",
                    &[
                        (2, "2 - Notify for download and auto install"),
                        (3, "3 - Auto download and notify for install"),
                        (4, "4 - Auto download and schedule the install"),
                        (5, "5 - Allow local admin to choose setting"),
                    ],
                ),
            ),
            ("NoAutoUpdate", Shown::Implied),
            (
                "ScheduledInstallDay",
                Shown::Choice(
                    "Scheduled install day",
                    &[
                        (0, "0 - Every day"),
                        (1, "1 - Every Sunday"),
                        (2, "2 - Every Monday"),
                        (3, "3 - Every Tuesday"),
                        (4, "4 - Every Wednesday"),
                        (5, "5 - Every Thursday"),
                        (6, "6 - Every Friday"),
                        (7, "7 - Every Saturday"),
                    ],
                ),
            ),
            ("ScheduledInstallTime", Shown::Field("Scheduled install time (hour)")),
        ],
    },
];

/// Below "Windows Components > Delivery Optimization".
const DELIVERY: &[Setting] = &[
    Setting {
        title: "Download Mode",
        options: &[(
            "DODownloadMode",
            Shown::Choice("Download Mode", &[(0, "HTTP only (0)"), (99, "Simple (99)")]),
        )],
    },
    Setting { title: "Cache Server Hostname", options: &[("DOCacheHost", Shown::Field("Cache Server"))] },
    Setting {
        title: "Delay Foreground download Cache Server fallback (in seconds)",
        options: &[("DODelayCacheServerFallbackForeground", Shown::Field("Seconds"))],
    },
    Setting {
        title: "Delay Background download Cache Server fallback (in seconds)",
        options: &[("DODelayCacheServerFallbackBackground", Shown::Field("Seconds"))],
    },
];

/// Which settings to make, or to set back.
pub(super) fn steps(policy: &Policy, undo: bool) -> String {
    let values: HashMap<&str, &Data> = policy.values.iter().map(|value| (value.name, &value.data)).collect();
    let mut out = String::new();
    for (folder, settings) in [("Windows Update", UPDATE), ("Delivery Optimization", DELIVERY)] {
        let used: Vec<&Setting> = settings
            .iter()
            .filter(|setting| setting.options.iter().any(|(name, _)| values.contains_key(name)))
            .collect();
        if used.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "Computer Configuration > Policies > Administrative Templates > Windows Components > {folder}"
        );
        for setting in used {
            let state = if undo { "Not Configured" } else { "Enabled" };
            let _ = writeln!(out, "\n  {}: {state}", setting.title);
            let options = setting.options.iter().filter(|_| !undo);
            for (option, data) in options.filter_map(|(name, option)| Some((option, *values.get(name)?))) {
                if let Some(line) = line(option, data) {
                    let _ = writeln!(out, "    {line}");
                }
            }
        }
        out.push('\n');
    }
    out
}

fn line(option: &Shown, data: &Data) -> Option<String> {
    let plain = match data {
        Data::Text(text) => text.clone(),
        Data::Number(number) => number.to_string(),
    };
    match option {
        Shown::Implied => None,
        Shown::Field(title) => Some(format!("{title}: {plain}")),
        Shown::Choice(title, words) => {
            let word = words.iter().find(|(number, _)| *data == Data::Number(*number));
            Some(format!("{title}: {}", word.map_or(plain.as_str(), |(_, word)| word)))
        }
    }
}

/// The names of values that a setting is known for.
#[cfg(test)]
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    UPDATE.iter().chain(DELIVERY).flat_map(|setting| setting.options.iter().map(|(name, _)| *name))
}
