//! `SyncUpdates` and `SyncPrinterCatalog` ([MS-WUSP] 3.1.5.7, 3.1.5.12): the question is translated, the catalog
//! answers, the answer is rendered.
//!
//! **Invariant:** what is offered is decided by the catalog alone. The cookie that goes out expires when the one that
//! came in does, and carries the change number of the answer
//! and its place in the history of the store, which covers every number that the answer gives.

use std::sync::Arc;

use super::cookie::Claims;
use super::pages::PageKey;
use super::service::Service;
use crate::Response;
use crate::fault::Refusal;
use crate::soap::Exchange;
use tailwater_catalog::{
    Caller, Computer, Device, DriverQuery, InstalledDriver, Offer, PartRef, ScanAnswer, ScanQuery, Snapshot,
};
use tailwater_domain::{GroupId, Limit, UpdateId, limits};
use tailwater_wire::client_update::{
    self as wusp, DeploymentView, ProtocolVersion, SyncAnswer, SyncEnd, SyncUpdates, UpdateView,
};
use tailwater_wire::soap::Version;

const UPDATES: &str = "SyncUpdates";
const PRINTERS: &str = "SyncPrinterCatalog";
/// The driver pass is one call, so its answer has no pages to speak of.
const MAX_DRIVERS: usize = 1_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DRIVERS in "drivers": "Drivers in one answer" => "they come with a later scan",
];

impl Service {
    /// [MS-WUSP] 3.1.5.7
    pub(super) async fn sync_updates(
        &self,
        exchange: &Exchange,
        request: SyncUpdates,
        from: &Caller,
    ) -> Result<Response, Refusal> {
        let claims = self.claims(request.cookie.as_ref())?;
        if !request.has_parameters {
            return Err(Refusal::Parameter("parameters"));
        }
        if request.devices.is_some() && !request.skip_software {
            return Err(Refusal::Parameter("parameters.SystemSpec"));
        }
        let mut computer = self.scanning(&claims)?;
        if let Some(known) = &computer {
            let attributes = request.device_attributes.as_deref();
            if known.scanned {
                self.0.catalog.contacted(from, &claims.computer, attributes)?;
            } else {
                // its first scan: it may become a member, take a record over, and wait for the disk
                let (from, id, attributes) =
                    (from.clone(), claims.computer.clone(), attributes.map(str::to_owned));
                self.blocking(move |service| service.0.catalog.contacted(&from, &id, attributes.as_deref()))
                    .await?;
            }
            computer = self.0.catalog.computer(&claims.computer).or(computer);
        }
        self.called(from, computer.as_deref());
        if request.skip_software {
            let scan = DriverScan {
                installed: request.installed,
                cached: request.cached_drivers,
                devices: request.devices.unwrap_or_default().into_iter().map(device).collect(),
                computer_hardware_ids: request.computer_hardware_ids,
                feature_key: request.feature_key,
            };
            return self.driver_pass(exchange, UPDATES, claims, computer, scan).await;
        }
        self.software_pass(exchange, claims, computer, &request).await
    }

    /// A member of the fleet called: of others nothing is learned.
    pub(super) fn called(&self, from: &Caller, computer: Option<&Computer>) {
        if let (Some(address), Some(computer)) = (from.address, computer.filter(|computer| computer.scanned))
        {
            self.0.callers.called(address, computer);
        }
    }

    /// [MS-WUSP] 3.1.5.12
    pub(super) async fn sync_printers(
        &self,
        exchange: &Exchange,
        request: wusp::SyncPrinterCatalog,
    ) -> Result<Response, Refusal> {
        let claims = self.claims(request.cookie.as_ref())?;
        let computer = self.scanning(&claims)?;
        let scan =
            DriverScan { installed: request.installed, cached: request.cached, ..DriverScan::default() };
        self.driver_pass(exchange, PRINTERS, claims, computer, scan).await
    }

    async fn software_pass(
        &self,
        exchange: &Exchange,
        claims: Claims,
        computer: Option<Arc<Computer>>,
        request: &SyncUpdates,
    ) -> Result<Response, Refusal> {
        let version = claims.version;
        let categories: Vec<UpdateId> = request.categories.iter().map(|&id| UpdateId(id)).collect();
        let groups = groups_of(computer.as_ref());
        let snapshot = self.0.catalog.snapshot();
        let heard = Heard::of(&snapshot, groups, &claims);
        let answer = snapshot.scan(&ScanQuery {
            groups,
            installed: &request.installed,
            other: &request.other,
            categories: &categories,
            two_groups: request.two_groups,
            since: heard.since,
            moved: heard.moved,
            limit: self.0.config.page_updates,
            max_bytes: self.0.config.page_bytes.0,
        });
        let end = self.end(heard.told(claims, &answer), &answer, !categories.is_empty(), UPDATES);
        let large = answer.new.iter().any(|offer| offer.core.is_large());
        // an answer without updates is made faster than it is found
        let remember = !large && !answer.new.is_empty() && answer.is_known;
        let key =
            remember.then(|| PageKey { fingerprint: answer.fingerprint, shape: shape(exchange, version) });
        self.page_answer(exchange, key, || sync_pieces(&answer, version, UPDATES), &end).await
    }

    async fn driver_pass(
        &self,
        exchange: &Exchange,
        operation: &'static str,
        claims: Claims,
        computer: Option<Arc<Computer>>,
        scan: DriverScan,
    ) -> Result<Response, Refusal> {
        let version = claims.version;
        let heard = Heard::of(&self.0.catalog.snapshot(), groups_of(computer.as_ref()), &claims);
        let answer = self
            .blocking(move |service| {
                service.0.catalog.drivers(&DriverQuery {
                    groups: groups_of(computer.as_ref()),
                    installed: &scan.installed,
                    cached: &scan.cached,
                    devices: &scan.devices,
                    all_printers: operation == PRINTERS,
                    computer_hardware_ids: &scan.computer_hardware_ids,
                    feature_key: scan.feature_key.as_deref(),
                    since: if heard.moved { 0 } else { heard.since },
                    limit: MAX_DRIVERS,
                })
            })
            .await?;
        let end = self.end(heard.told(claims, &answer), &answer, true, operation);
        self.page_answer(exchange, None, || sync_pieces(&answer, version, operation), &end).await
    }

    /// The end of an answer, with the agent's next cookie, which says this.
    fn end(&self, claims: Claims, answer: &ScanAnswer, no_drivers: bool, operation: &str) -> String {
        let given = self.0.catalog.place(answer.change_number);
        let (version, cookie) = (claims.version, self.sealed(&Claims { given, ..claims }));
        let end = SyncEnd {
            cookie: &cookie,
            deployed_out_of_scope: &answer.deployed_out_of_scope,
            driver_sync_not_needed: no_drivers,
            version,
        };
        end.encode(operation)
    }
}

/// What a driver pass asks, owned so that it can be asked off the async workers.
#[derive(Default)]
struct DriverScan {
    installed: Vec<u32>,
    cached: Vec<u32>,
    devices: Vec<Device>,
    computer_hardware_ids: Vec<String>,
    feature_key: Option<String>,
}

fn groups_of(computer: Option<&Arc<Computer>>) -> &[GroupId] {
    computer.map_or(&[], |computer| &computer.groups)
}

/// What an agent knows of the decisions for its groups.
#[derive(Clone, Copy)]
struct Heard {
    reach: u64,
    /// Up to which change number.
    since: u64,
    /// Whether it was answered for other groups then.
    moved: bool,
}

impl Heard {
    fn of(snapshot: &Snapshot, groups: &[GroupId], claims: &Claims) -> Self {
        let reach = snapshot.reach_of(groups);
        match claims.reach {
            Some(known) => Self { reach, since: claims.change_number, moved: known != reach },
            // a fresh cookie, or one of a version that did not tell
            None => Self { reach, since: 0, moved: false },
        }
    }

    /// What its next cookie says.
    fn told(self, claims: Claims, answer: &ScanAnswer) -> Claims {
        Claims { change_number: answer.change_number, reach: Some(self.reach), ..claims }
    }
}

/// Everything but the scan that makes one page differ from another.
fn shape(exchange: &Exchange, version: ProtocolVersion) -> u8 {
    u8::from(exchange.xpress)
        | u8::from(exchange.version == Version::V12) << 1
        | u8::from(version.knows_auto_select()) << 2
        | u8::from(version.knows_hardware_ids()) << 3
}

fn sync_pieces(answer: &ScanAnswer, version: ProtocolVersion, operation: &str) -> Vec<wusp::Piece<PartRef>> {
    let view = |offer, with_core| update_view(offer, with_core);
    let sync = SyncAnswer {
        new: answer.new.iter().map(|offer| view(offer, true)).collect(),
        out_of_scope: &answer.out_of_scope,
        changed: answer.changed.iter().map(|offer| view(offer, false)).collect(),
        truncated: answer.truncated,
        version,
    };
    sync.before_cookie(operation)
}

fn update_view(offer: &Offer, with_core: bool) -> UpdateView<'_, PartRef> {
    UpdateView {
        id: offer.id.0,
        deployment: deployment_view(offer),
        is_leaf: offer.is_leaf,
        core: with_core.then_some(offer.core),
    }
}

pub(super) fn deployment_view(offer: &Offer) -> DeploymentView<'_> {
    DeploymentView {
        id: offer.deployment.id,
        action: offer.deployment.action.as_str(),
        deadline: offer.deployment.deadline,
        is_assigned: offer.deployment.is_assigned,
        last_change: offer.deployment.last_change,
        hardware_ids: &offer.hardware_ids,
    }
}

fn device(device: wusp::Device) -> Device {
    Device {
        hardware_ids: device.hardware_ids,
        compatible_ids: device.compatible_ids,
        installed: device.installed.map(|driver| InstalledDriver {
            matching_id: driver.matching_id,
            date: driver.date,
            version: driver.version,
            class: driver.class,
            manufacturer: driver.manufacturer,
            provider: driver.provider,
            computer_hardware_id: driver.computer_hardware_id,
            rank: driver.rank,
        }),
    }
}
