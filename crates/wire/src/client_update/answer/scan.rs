//! Answers of `SyncUpdates`, `SyncPrinterCatalog` and `StartCategoryScan`.
//!
//! **Invariant:** what a client of an old protocol version does not know is not written.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Answer, Piece, SealedCookie, int_list, whole};
use crate::client_update::{ProtocolVersion, Service, date, date_time};
use crate::xml::Encoder;

/// `StartCategoryScanResponse` ([MS-WUSP] 2.2.2.2.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CategoryScanAnswer {
    /// `preferredCategoryIds`.
    pub preferred: Vec<Uuid>,
    /// `requestedCategoryIdsInError`.
    pub in_error: Vec<Uuid>,
}

impl CategoryScanAnswer {
    /// The body.
    pub fn encode(&self) -> String {
        whole(Service::Client, "StartCategoryScan", |xml| {
            for (list, ids) in
                [("preferredCategoryIds", &self.preferred), ("requestedCategoryIdsInError", &self.in_error)]
            {
                if !ids.is_empty() {
                    xml.open(list);
                    for id in ids {
                        xml.value("guid", id);
                    }
                    xml.close(list);
                }
            }
        })
    }
}

/// `Deployment` as it is shown to one client ([MS-WUSP] 2.2.2.2.4).
#[derive(Debug, Clone)]
pub struct DeploymentView<'a> {
    /// `ID`.
    pub id: u32,
    /// `Action`.
    pub action: &'static str,
    /// `Deadline`.
    pub deadline: Option<Timestamp>,
    /// `IsAssigned`.
    pub is_assigned: bool,
    /// `LastChangeTime`.
    pub last_change: Timestamp,
    /// `HardwareIds`.
    pub hardware_ids: &'a [String],
}

impl DeploymentView<'_> {
    pub(super) fn write(&self, xml: &mut Encoder, version: ProtocolVersion) {
        xml.open("Deployment").value("ID", self.id).value("Action", self.action);
        if let Some(deadline) = self.deadline {
            xml.value("Deadline", date_time(deadline));
        }
        xml.value("IsAssigned", self.is_assigned).value("LastChangeTime", date(self.last_change));
        if version.knows_hardware_ids() && !self.hardware_ids.is_empty() {
            xml.open("HardwareIds");
            for id in self.hardware_ids {
                xml.text("string", id);
            }
            xml.close("HardwareIds");
        }
        if version.knows_auto_select() {
            xml.value("AutoSelect", 0).value("AutoDownload", 0).value("SupersedenceBehavior", 0);
        }
        xml.close("Deployment");
    }
}

/// `UpdateInfo`.
#[derive(Debug, Clone)]
pub struct UpdateView<'a, F> {
    /// `ID`.
    pub id: u32,
    /// `Deployment`.
    pub deployment: DeploymentView<'a>,
    /// `IsLeaf`.
    pub is_leaf: bool,
    /// `Xml`, where it is sent.
    pub core: Option<F>,
}

/// `SyncInfo` up to the new cookie; [`SyncEnd`] is the rest.
#[derive(Debug)]
pub struct SyncAnswer<'a, F> {
    /// `NewUpdates`.
    pub new: Vec<UpdateView<'a, F>>,
    /// `OutOfScopeRevisionIDs`.
    pub out_of_scope: &'a [u32],
    /// `ChangedUpdates`.
    pub changed: Vec<UpdateView<'a, F>>,
    /// `Truncated`.
    pub truncated: bool,
    /// Whom it is for.
    pub version: ProtocolVersion,
}

/// `SyncInfo` from the new cookie on.
#[derive(Debug)]
pub struct SyncEnd<'a> {
    /// `NewCookie`.
    pub cookie: &'a SealedCookie,
    /// `DeployedOutOfScopeRevisionIds`.
    pub deployed_out_of_scope: &'a [u32],
    /// `DriverSyncNotNeeded`.
    pub driver_sync_not_needed: bool,
    /// Whom it is for.
    pub version: ProtocolVersion,
}

fn update_list<F>(
    answer: &mut Answer<F>,
    list: &str,
    updates: Vec<UpdateView<'_, F>>,
    version: ProtocolVersion,
) {
    if updates.is_empty() {
        return;
    }
    answer.xml.open(list);
    for update in updates {
        answer.xml.open("UpdateInfo").value("ID", update.id);
        update.deployment.write(&mut answer.xml, version);
        answer.xml.value("IsLeaf", update.is_leaf);
        if let Some(core) = update.core {
            answer.xml_element(core);
        }
        answer.xml.close("UpdateInfo");
    }
    answer.xml.close(list);
}

impl<F> SyncAnswer<'_, F> {
    /// The body of `operation` (`SyncUpdates`, `SyncPrinterCatalog`) before the cookie: the same for every agent that
    /// asks the same question, and so worth keeping.
    pub fn before_cookie(self, operation: &str) -> Vec<Piece<F>> {
        let mut answer = Answer::new();
        answer.xml.open_in(&format!("{operation}Response"), Service::Client.namespace());
        answer.xml.open(&format!("{operation}Result"));
        update_list(&mut answer, "NewUpdates", self.new, self.version);
        int_list(&mut answer.xml, "OutOfScopeRevisionIDs", self.out_of_scope);
        update_list(&mut answer, "ChangedUpdates", self.changed, self.version);
        answer.xml.value("Truncated", self.truncated);
        answer.pieces()
    }
}

impl SyncEnd<'_> {
    /// The rest of the body of `operation`.
    pub fn encode(&self, operation: &str) -> String {
        let mut xml = Encoder::with_capacity(768);
        xml.open("NewCookie");
        self.cookie.write(&mut xml);
        xml.close("NewCookie");
        if self.version.knows_driver_sync_not_needed() {
            int_list(&mut xml, "DeployedOutOfScopeRevisionIds", self.deployed_out_of_scope);
            xml.value("DriverSyncNotNeeded", self.driver_sync_not_needed);
        }
        xml.close(&format!("{operation}Result")).close(&format!("{operation}Response"));
        xml.finish()
    }
}
