//! What can be typed behind `client-policy`.
//!
//! **Invariant:** each option sets named values and no others; what contradicts itself is refused while it is parsed. It
//! never acts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `client-policy`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[expect(clippy::doc_markdown, reason = "help texts name registry values as they are written")]
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tailwater client-policy --format reg --output tailwater.reg
  tailwater client-policy --format registry-pol --group Pilot --output Registry.pol
  tailwater client-policy --format powershell --url http://updates.example:8530 --automatic-updates scheduled --install-hour 3
  tailwater client-policy --format intune --group Pilot
  tailwater client-policy --format powershell --check
  tailwater client-policy --format powershell --undo")]
pub(crate) struct PolicyArguments {
    /// In which form
    #[arg(long, default_value = "reg")]
    pub(crate) format: PolicyFormat,
    /// The address that clients are to use [default: `server.public_url`, else this machine's name]
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Client-side targeting: the group that clients ask for (several with ; between)
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Write to a file, in the encoding that Windows expects, instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What removes the values that the same options set
    #[arg(long)]
    pub(crate) undo: bool,
    /// A script that says what a computer has of it (formats powershell and intune); it ends with 1 at a difference
    #[arg(long, conflicts_with = "undo")]
    pub(crate) check: bool,
    /// Where payloads are downloaded instead (UpdateServiceUrlAlternate)
    #[arg(long, value_name = "URL")]
    pub(crate) alternate: Option<String>,
    /// Use the alternate server for files without an address as well (FillEmptyContentUrls)
    #[arg(long, requires = "alternate")]
    pub(crate) fill_empty_content_urls: bool,
    /// Leave the source of each kind of update alone (needed with Configuration Manager's client)
    #[arg(long)]
    pub(crate) no_scan_source: bool,
    /// Which proxy detection may use (SetProxyBehaviorForUpdateDetection)
    #[arg(long)]
    pub(crate) proxy_behavior: Option<ProxyBehavior>,
    /// Do not pin the server's certificate (DoNotEnforceEnterpriseTLSCertPinningForUpdateDetection)
    #[arg(long)]
    pub(crate) no_certificate_pinning: bool,
    /// Never ask Microsoft's update services (DoNotConnectToWindowsUpdateInternetLocations); this breaks the Store
    #[arg(long)]
    pub(crate) no_internet: bool,
    /// How often computers ask, in hours (DetectionFrequency)
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=22))]
    pub(crate) detection_hours: Option<u32>,
    /// What computers do with updates by themselves (AUOptions)
    #[arg(long, value_name = "CHOICE")]
    pub(crate) automatic_updates: Option<AutomaticUpdates>,
    /// On which day scheduled updates are installed
    #[arg(long, value_name = "DAY", default_value = "every", requires = "automatic_updates")]
    pub(crate) install_day: InstallDay,
    /// At which hour they are installed
    #[arg(
        long,
        value_name = "HOUR",
        default_value_t = 3,
        requires = "automatic_updates",
        value_parser = clap::value_parser!(u32).range(0..=23)
    )]
    pub(crate) install_hour: u32,
    /// How Delivery Optimization downloads (DODownloadMode): 0 HTTP only, 99 simple
    #[arg(long, value_name = "MODE")]
    pub(crate) download_mode: Option<DownloadMode>,
    /// Cache hosts for Delivery Optimization, by name or address, with commas between (DOCacheHost)
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) cache_host: Vec<String>,
    /// Seconds before computers leave the cache host for the origin
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "cache_host",
        value_parser = clap::value_parser!(u32).range(0..=2_592_000)
    )]
    pub(crate) cache_host_delay: Option<u32>,
}

/// Forms of a client policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyFormat {
    /// A registry file (UTF-16LE)
    Reg,
    /// Group Policy settings, by their names in the editor
    Gpo,
    /// OMA-URI settings, and a remediation for what no CSP sets
    Intune,
    /// A script for one computer
    Powershell,
    /// A script that sets the values in a Group Policy object
    PowershellGpo,
    /// Text for LGPO.exe /t
    Lgpo,
    /// The binary Registry.pol of a Group Policy object
    RegistryPol,
}

impl PolicyFormat {
    /// As it is typed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reg => "reg",
            Self::Gpo => "gpo",
            Self::Intune => "intune",
            Self::Powershell => "powershell",
            Self::PowershellGpo => "powershell-gpo",
            Self::Lgpo => "lgpo",
            Self::RegistryPol => "registry-pol",
        }
    }
}

/// Proxies that detection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyBehavior {
    /// Only the system's proxy
    System,
    /// The user's proxy too, when the system's fails
    User,
}

/// What computers do by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AutomaticUpdates {
    /// 2: notify before downloading
    Notify,
    /// 3: download, notify before installing
    Download,
    /// 4: download and install at a set time
    Scheduled,
    /// 5: the local administrator chooses
    Local,
}

impl AutomaticUpdates {
    /// The number of `AUOptions`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Notify => 2,
            Self::Download => 3,
            Self::Scheduled => 4,
            Self::Local => 5,
        }
    }
}

/// Days of `ScheduledInstallDay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InstallDay {
    Every,
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

impl InstallDay {
    /// 0 is every day, 1 is Sunday.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

/// How Delivery Optimization downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DownloadMode {
    /// HTTP only, no peers
    #[value(name = "0")]
    HttpOnly,
    /// Without Delivery Optimization's cloud services
    #[value(name = "99")]
    Simple,
}

impl DownloadMode {
    /// The number of `DODownloadMode`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::HttpOnly => 0,
            Self::Simple => 99,
        }
    }
}
