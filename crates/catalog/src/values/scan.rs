//! What an agent asks in a scan and what it is answered ([MS-WUSP] 3.1.5.7), as values.
//!
//! **Invariant:** an answer that is not truncated and holds only leaves is the last one with updates, as
//! long as the agent's installed list does not grow. Nothing here reads a disk.

use jiff::Timestamp;

use crate::values::part::PartRef;
use tailwater_domain::{Deadline, GroupId, RevisionId, UpdateId};

/// `Deployment/Action` ([MS-WUSP] 2.2.2.2.4), as far as this server uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentAction {
    /// Install it.
    Install,
    /// Remove it.
    Uninstall,
    /// Only report whether it is needed.
    PreDeploymentCheck,
    /// Only evaluate it: categories, detectoids, dependencies.
    Evaluate,
    /// Part of a bundle.
    Bundle,
}

impl DeploymentAction {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "Install",
            Self::Uninstall => "Uninstall",
            Self::PreDeploymentCheck => "PreDeploymentCheck",
            Self::Evaluate => "Evaluate",
            Self::Bundle => "Bundle",
        }
    }
}

/// How a revision is deployed to one computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// `Deployment/ID`: a number space of its own, positive.
    pub id: u32,
    /// What to do.
    pub action: DeploymentAction,
    /// By when.
    pub deadline: Deadline,
    /// Whether agents do it by themselves.
    pub is_assigned: bool,
    /// When this last changed; on the wire only its date (UTC).
    pub last_change: Timestamp,
}

/// One revision in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// `ID`.
    pub id: RevisionId,
    /// `Deployment`.
    pub deployment: Deployment,
    /// `IsLeaf`: whether no update names it as prerequisite.
    pub is_leaf: bool,
    /// The escaped Core fragment. `ChangedUpdates` do not carry it on the wire.
    pub core: PartRef,
    /// The hardware identities for which a driver was best; empty for everything else.
    pub hardware_ids: Vec<String>,
}

/// A software scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanQuery<'a> {
    /// The groups the computer was put into ([`crate::values::computer::Computer::groups`]); ancestors are added here. Empty
    /// means Unassigned Computers.
    pub groups: &'a [GroupId],
    /// `InstalledNonLeafUpdateIDs`, in any order, repetitions allowed.
    pub installed: &'a [u32],
    /// `OtherCachedUpdateIDs`, likewise.
    pub other: &'a [u32],
    /// `FilterCategoryIds`; empty for everything.
    pub categories: &'a [UpdateId],
    /// `NeedTwoGroupOutOfScopeUpdates`.
    pub two_groups: bool,
    /// The change number that the agent's cookie carries, 0 for a fresh one.
    pub since: u64,
    /// Whether it was answered for other groups then ([`crate::snapshot::Snapshot::reach_of`]): it hears again of whatever is
    /// decided for a group below All Computers.
    pub moved: bool,
    /// The most new updates in one answer.
    pub limit: usize,
    /// The most bytes of Core fragments in one answer; the first update is given whatever its size.
    pub max_bytes: u64,
}

/// The answer to a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanAnswer {
    /// Differs between any two different questions and any two snapshots of one process: a key for whoever
    /// keeps encoded answers.
    pub fingerprint: u128,
    /// Whether the catalog knows everything that the question named. Only then it is worth remembering.
    pub is_known: bool,
    /// `NewUpdates`, those that others need first.
    pub new: Vec<Offer>,
    /// `OutOfScopeRevisionIDs`.
    pub out_of_scope: Vec<u32>,
    /// `DeployedOutOfScopeRevisionIds`; only with categories and `two_groups`.
    pub deployed_out_of_scope: Vec<u32>,
    /// `ChangedUpdates`.
    pub changed: Vec<Offer>,
    /// `Truncated`: whether more new updates wait behind these.
    pub truncated: bool,
    /// For the new cookie.
    pub change_number: u64,
}

impl ScanAnswer {
    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        let text = |offer: &Offer| {
            let ids = offer.hardware_ids.iter().map(|id| size_of::<String>() + id.capacity());
            size_of::<Offer>() + ids.sum::<usize>()
        };
        let ids = self.out_of_scope.capacity() + self.deployed_out_of_scope.capacity();
        let offers = self.new.iter().chain(&self.changed).map(text).sum::<usize>();
        size_of::<Self>() + ids * size_of::<u32>() + offers
    }
}

/// A driver as a machine reports it (`InstalledDriver`).
#[derive(Debug, Clone, Default)]
pub struct InstalledDriver {
    /// `MatchingID`.
    pub matching_id: Option<String>,
    /// `DriverVerDate`; its first ten characters (`yyyy-mm-dd`) count.
    pub date: String,
    /// `DriverVerVersion`.
    pub version: i64,
    /// `Class`.
    pub class: Option<String>,
    /// `Manufacturer`.
    pub manufacturer: Option<String>,
    /// `Provider`.
    pub provider: Option<String>,
    /// `MatchingComputerHWID`.
    pub computer_hardware_id: Option<String>,
    /// `DriverRank`, `0xSSGGTHHH`; none when unknown.
    pub rank: Option<i32>,
}

/// A device of a machine (`Device`).
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// `HardwareIDs`, best first.
    pub hardware_ids: Vec<String>,
    /// `CompatibleIDs`, best first.
    pub compatible_ids: Vec<String>,
    /// `installedDriver`.
    pub installed: Option<InstalledDriver>,
}

/// A driver scan (`SkipSoftwareSync` true, or `SyncPrinterCatalog`).
#[derive(Debug, Clone, Copy)]
pub struct DriverQuery<'a> {
    /// As in [`ScanQuery::groups`].
    pub groups: &'a [GroupId],
    /// `InstalledNonLeafUpdateIDs`.
    pub installed: &'a [u32],
    /// `CachedDriverIDs`.
    pub cached: &'a [u32],
    /// `SystemSpec`.
    pub devices: &'a [Device],
    /// Every printer driver instead of the best one for each device (`SyncPrinterCatalog`).
    pub all_printers: bool,
    /// `ComputerSpec/HardwareIDs`, best first, any letter case.
    pub computer_hardware_ids: &'a [String],
    /// `FeatureScoreMatchingKey`, such as `AMD64.10.0`.
    pub feature_key: Option<&'a str>,
    /// As in [`ScanQuery::since`].
    pub since: u64,
    /// The most new drivers in one answer.
    pub limit: usize,
}
