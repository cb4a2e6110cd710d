//! The values that a policy sets: one list, from which every form is written.
//!
//! **Invariant:** a name stands in the list at most once, and only when its option was given or it is needed to find the
//! server. Names, keys and meanings are those of Microsoft's administrative templates (WindowsUpdate.admx,
//! DeliveryOptimization.admx) and of the Policy CSP.

use serde::Serialize;

use super::address::{checked, doubt, is_host};
use crate::arguments::{AutomaticUpdates, PolicyArguments, ProxyBehavior};

/// The key below `HKEY_LOCAL_MACHINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Windows Update.
    WindowsUpdate,
    /// Automatic updates.
    AutomaticUpdates,
    /// Delivery Optimization.
    DeliveryOptimization,
}

impl Key {
    /// Every one, in the order in which they are written.
    pub(super) const ALL: [Self; 3] =
        [Self::WindowsUpdate, Self::AutomaticUpdates, Self::DeliveryOptimization];

    /// Its path below the hive.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::WindowsUpdate => r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate",
            Self::AutomaticUpdates => r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU",
            Self::DeliveryOptimization => r"SOFTWARE\Policies\Microsoft\Windows\DeliveryOptimization",
        }
    }
}

/// What a value holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// `REG_SZ`.
    Text(String),
    /// `REG_DWORD`.
    Number(u32),
}

/// A setting of the Policy CSP: the path below `./Device/Vendor/MSFT/Policy/Config/`, and the value there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Csp {
    pub(super) path: &'static str,
    pub(super) data: Data,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) key: Key,
    pub(super) name: &'static str,
    pub(super) data: Data,
    /// How a Configuration Service Provider sets it; `None` when there is none.
    pub(super) csp: Option<Csp>,
}

impl Value {
    fn number(key: Key, name: &'static str, number: u32) -> Self {
        Self { key, name, data: Data::Number(number), csp: None }
    }

    fn text(key: Key, name: &'static str, text: &str) -> Self {
        Self { key, name, data: Data::Text(text.to_owned()), csp: None }
    }

    /// With the setting of a CSP that takes the same value.
    fn and_csp(self, path: &'static str) -> Self {
        let csp = Csp { path, data: self.data.clone() };
        Self { csp: Some(csp), ..self }
    }

    fn and_csp_number(self, path: &'static str, number: u32) -> Self {
        Self { csp: Some(Csp { path, data: Data::Number(number) }), ..self }
    }

    /// For `--json`.
    pub(super) fn shown(&self) -> Shown<'_> {
        let (kind, data) = match &self.data {
            Data::Text(text) => ("REG_SZ", ShownData::Text(text)),
            Data::Number(number) => ("REG_DWORD", ShownData::Number(*number)),
        };
        let csp = self.csp.as_ref().map(|csp| csp.path);
        Shown { key: format!("HKLM\\{}", self.key.path()), name: self.name, kind, data, csp }
    }
}

/// A value as `--json` prints it.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    key: String,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    data: ShownData<'a>,
    csp: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownData<'a> {
    Text(&'a str),
    Number(u32),
}

/// Everything that was asked for.
pub(super) struct Policy {
    pub(super) url: String,
    pub(super) group: Option<String>,
    pub(super) values: Vec<Value>,
    pub(super) warnings: Vec<String>,
}

/// Kinds of updates, each with the value and the CSP that name its source.
const SOURCES: [(&str, &str); 4] = [
    ("SetPolicyDrivenUpdateSourceForFeatureUpdates", "Update/SetPolicyDrivenUpdateSourceForFeatureUpdates"),
    ("SetPolicyDrivenUpdateSourceForQualityUpdates", "Update/SetPolicyDrivenUpdateSourceForQualityUpdates"),
    ("SetPolicyDrivenUpdateSourceForDriverUpdates", "Update/SetPolicyDrivenUpdateSourceForDriverUpdates"),
    ("SetPolicyDrivenUpdateSourceForOtherUpdates", "Update/SetPolicyDrivenUpdateSourceForOtherUpdates"),
];

/// The longest name of a group.
const MAX_GROUP: usize = 255;

impl Policy {
    /// Reads the options.
    ///
    /// # Errors
    /// A usage error that names the option.
    pub(super) fn new(url: &str, arguments: &PolicyArguments) -> anyhow::Result<Self> {
        let address = |text: &str, option| checked(text, option).map_err(|why| crate::usage::wrong(&why));
        let url = address(url, "--url")?;
        let alternate =
            arguments.alternate.as_deref().map(|text| address(text, "--alternate")).transpose()?;
        let group = arguments.group.as_deref().map(group_name).transpose()?;
        let mut policy = Self { warnings: doubt(&url).into_iter().collect(), url, group, values: Vec::new() };
        policy.find_the_server(alternate.as_deref());
        policy.sources(!arguments.no_scan_source);
        policy.detection(arguments);
        policy.automatic_updates(arguments);
        policy.delivery(arguments)?;
        Ok(policy)
    }

    /// The values of one key, in the order in which they are written.
    pub(super) fn of(&self, key: Key) -> impl Iterator<Item = &Value> {
        self.values.iter().filter(move |value| value.key == key)
    }

    /// The keys that anything is written to.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        Key::ALL.into_iter().filter(|key| self.of(*key).next().is_some())
    }

    fn find_the_server(&mut self, alternate: Option<&str>) {
        use Key::{AutomaticUpdates, WindowsUpdate};
        self.values
            .push(Value::text(WindowsUpdate, "WUServer", &self.url).and_csp("Update/UpdateServiceUrl"));
        // the CSP sets both from one address
        self.values
            .push(Value::text(WindowsUpdate, "WUStatusServer", &self.url).and_csp("Update/UpdateServiceUrl"));
        if let Some(alternate) = alternate {
            let value = Value::text(WindowsUpdate, "UpdateServiceUrlAlternate", alternate);
            self.values.push(value.and_csp("Update/UpdateServiceUrlAlternate"));
        }
        if let Some(group) = &self.group {
            self.values.push(Value::number(WindowsUpdate, "TargetGroupEnabled", 1));
            self.values.push(Value::text(WindowsUpdate, "TargetGroup", group));
        }
        self.values.push(
            Value::number(AutomaticUpdates, "UseWUServer", 1).and_csp_number("Update/AllowUpdateService", 1),
        );
    }

    fn sources(&mut self, wanted: bool) {
        if !wanted {
            return;
        }
        for (name, path) in SOURCES {
            self.values.push(Value::number(Key::WindowsUpdate, name, 1).and_csp(path));
        }
        // the CSP implies it
        let value = Value::number(Key::AutomaticUpdates, "UseUpdateClassPolicySource", 1);
        self.values.push(value.and_csp_number("Update/SetPolicyDrivenUpdateSourceForQualityUpdates", 1));
        self.warnings.push(
            "the source of each kind of update is set to this server: not with Configuration Manager's client; and on \
             Windows 10 2004 to 11 21H2 features on demand and language packs cannot be installed then \
             (--no-scan-source leaves it out)"
                .to_owned(),
        );
    }

    fn detection(&mut self, arguments: &PolicyArguments) {
        use Key::{AutomaticUpdates, WindowsUpdate};
        if arguments.fill_empty_content_urls {
            let value = Value::number(WindowsUpdate, "FillEmptyContentUrls", 1);
            self.values.push(value.and_csp("Update/FillEmptyContentUrls"));
        }
        if let Some(behavior) = arguments.proxy_behavior {
            let number = u32::from(behavior == ProxyBehavior::User);
            let value = Value::number(WindowsUpdate, "SetProxyBehaviorForUpdateDetection", number);
            self.values.push(value.and_csp("Update/SetProxyBehaviorForUpdateDetection"));
        }
        if arguments.no_certificate_pinning {
            let name = "DoNotEnforceEnterpriseTLSCertPinningForUpdateDetection";
            let value = Value::number(WindowsUpdate, name, 1);
            self.values.push(value.and_csp("Update/DoNotEnforceEnterpriseTLSCertPinningForUpdateDetection"));
        }
        if arguments.no_internet {
            self.values.push(Value::number(WindowsUpdate, "DoNotConnectToWindowsUpdateInternetLocations", 1));
            self.warnings.push(
                "--no-internet also cuts computers off from the Microsoft Store and from Windows Update for Business"
                    .to_owned(),
            );
        }
        if let Some(hours) = arguments.detection_hours {
            self.values.push(Value::number(AutomaticUpdates, "DetectionFrequencyEnabled", 1));
            let value = Value::number(AutomaticUpdates, "DetectionFrequency", hours);
            self.values.push(value.and_csp("Update/DetectionFrequency"));
        }
    }

    fn automatic_updates(&mut self, arguments: &PolicyArguments) {
        let Some(choice) = arguments.automatic_updates else { return };
        let key = Key::AutomaticUpdates;
        let number = choice.number();
        let value = Value::number(key, "AUOptions", number);
        self.values.push(match choice {
            AutomaticUpdates::Notify => value.and_csp_number("Update/AllowAutoUpdate", 0),
            AutomaticUpdates::Scheduled => value.and_csp_number("Update/AllowAutoUpdate", 3),
            // the CSP has no equal of these
            AutomaticUpdates::Download | AutomaticUpdates::Local => value,
        });
        self.values.push(Value::number(key, "NoAutoUpdate", 0));
        if choice == AutomaticUpdates::Scheduled {
            let day = arguments.install_day.number();
            self.values
                .push(Value::number(key, "ScheduledInstallDay", day).and_csp("Update/ScheduledInstallDay"));
            let hour = Value::number(key, "ScheduledInstallTime", arguments.install_hour);
            self.values.push(hour.and_csp("Update/ScheduledInstallTime"));
        }
    }

    fn delivery(&mut self, arguments: &PolicyArguments) -> anyhow::Result<()> {
        let key = Key::DeliveryOptimization;
        if let Some(mode) = arguments.download_mode {
            let value = Value::number(key, "DODownloadMode", mode.number());
            self.values.push(value.and_csp("DeliveryOptimization/DODownloadMode"));
        }
        if !arguments.cache_host.is_empty() {
            if let Some(wrong) = arguments.cache_host.iter().find(|host| !is_host(host)) {
                let shown: String = wrong.chars().filter(|c| !c.is_control()).take(120).collect();
                return Err(crate::usage::wrong(format!(
                    "--cache-host: {shown:?} is no host name or address; write it without scheme and port"
                )));
            }
            let value = Value::text(key, "DOCacheHost", &arguments.cache_host.join(","));
            self.values.push(value.and_csp("DeliveryOptimization/DOCacheHost"));
        }
        if let Some(seconds) = arguments.cache_host_delay {
            let foreground = Value::number(key, "DODelayCacheServerFallbackForeground", seconds);
            self.values.push(foreground.and_csp("DeliveryOptimization/DODelayCacheServerFallbackForeground"));
            let background = Value::number(key, "DODelayCacheServerFallbackBackground", seconds);
            self.values.push(background.and_csp("DeliveryOptimization/DODelayCacheServerFallbackBackground"));
        }
        Ok(())
    }
}

/// A group's name as it may stand in a policy.
fn group_name(text: &str) -> anyhow::Result<String> {
    let name = text.trim();
    let length = name.encode_utf16().count();
    if name.is_empty() || length > MAX_GROUP || name.chars().any(char::is_control) {
        return Err(crate::usage::wrong(
            "--group: write the name of a group, at most 255 characters in one line (several groups with ; between)",
        ));
    }
    Ok(name.to_owned())
}
