//! `SyncUpdates`, `SyncPrinterCatalog`, `StartCategoryScan`.
//!
//! **Invariant:** the long lists of identities are read without an event for each.

use std::io::BufRead;

use uuid::Uuid;

use super::element::{
    MAX_DEVICES, MAX_IDS, MAX_ROWS, MAX_TEXTS, Outcome, cookie, guid, optional_rows, present, rows,
    worth_keeping,
};
use crate::client_update::request::{
    CategoryRelationship, Device, InstalledDriver, StartCategoryScan, SyncPrinterCatalog, SyncUpdates,
};
use crate::xml::{Decoder, XmlError};

pub(super) fn start_category_scan<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<StartCategoryScan> {
    let mut request = StartCategoryScan::default();
    while let Some(name) = decoder.child()? {
        match name {
            "requestedCategories" => {
                request.requested = optional_rows(decoder, "CategoryRelationship", MAX_ROWS, category)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn category<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<CategoryRelationship> {
    let (mut group, mut category) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "IndexOfAndGroup" => group = decoder.optional_value()?,
            "CategoryId" => category = Some(guid(decoder)?),
            _ => decoder.skip()?,
        }
    }
    Ok(CategoryRelationship {
        group: group.unwrap_or_default(),
        category: category.ok_or(XmlError::Missing { element: "CategoryId" })?,
    })
}

pub(super) fn sync_updates<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<SyncUpdates> {
    let mut request = SyncUpdates::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "parameters" => {
                let read = |decoder: &mut Decoder<R>| sync_parameters(decoder, &mut request);
                request.has_parameters = present(decoder, read)?.is_some();
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn sync_parameters<R: BufRead>(decoder: &mut Decoder<R>, request: &mut SyncUpdates) -> Outcome<()> {
    while let Some(name) = decoder.child()? {
        match name {
            "InstalledNonLeafUpdateIDs" => request.installed = decoder.ints(MAX_IDS)?,
            "OtherCachedUpdateIDs" => request.other = decoder.ints(MAX_IDS)?,
            "CachedDriverIDs" => request.cached_drivers = decoder.ints(MAX_IDS)?,
            "SystemSpec" => request.devices = worth_keeping(decoder, "Device", MAX_DEVICES, device)?,
            "SkipSoftwareSync" => request.skip_software = decoder.boolean()?,
            "FilterCategoryIds" => {
                request.categories = rows(decoder, "CategoryIdentifier", MAX_ROWS, category_id)?;
            }
            "NeedTwoGroupOutOfScopeUpdates" => request.two_groups = decoder.boolean()?,
            "ComputerSpec" => request.computer_hardware_ids = computer_spec(decoder)?,
            "FeatureScoreMatchingKey" => request.feature_key = decoder.optional_text()?,
            "ProductsParameters" => request.device_attributes = device_attributes(decoder)?,
            _ => decoder.skip()?,
        }
    }
    Ok(())
}

fn category_id<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let mut id = None;
    while let Some(name) = decoder.child()? {
        match name {
            "Id" => id = Some(guid(decoder)?),
            _ => decoder.skip()?,
        }
    }
    id.ok_or(XmlError::Missing { element: "Id" })
}

fn computer_spec<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Vec<String>> {
    let mut ids = Vec::new();
    while let Some(name) = decoder.child()? {
        match name {
            "HardwareIDs" => ids = decoder.texts("guid", MAX_TEXTS)?,
            _ => decoder.skip()?,
        }
    }
    Ok(ids)
}

fn device_attributes<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<String>> {
    let mut attributes = None;
    while let Some(name) = decoder.child()? {
        match name {
            "DeviceAttributes" => attributes = decoder.optional_text()?,
            _ => decoder.skip()?,
        }
    }
    Ok(attributes)
}

/// A device; `None` when it has no identity by which a driver could be found.
fn device<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Device>> {
    let mut device = Device::default();
    while let Some(name) = decoder.child()? {
        match name {
            "HardwareIDs" => device.hardware_ids = decoder.texts("string", MAX_TEXTS)?,
            "CompatibleIDs" => device.compatible_ids = decoder.texts("string", MAX_TEXTS)?,
            "installedDriver" => device.installed = present(decoder, installed_driver)?.map(Box::new),
            _ => decoder.skip()?,
        }
    }
    let is_named = !device.hardware_ids.is_empty() || !device.compatible_ids.is_empty();
    Ok(is_named.then_some(device))
}

fn installed_driver<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<InstalledDriver> {
    let mut driver = InstalledDriver::default();
    while let Some(name) = decoder.child()? {
        match name {
            "MatchingID" => driver.matching_id = decoder.optional_text()?,
            "DriverVerDate" => driver.date = decoder.text()?,
            "DriverVerVersion" => driver.version = decoder.optional_value()?.unwrap_or_default(),
            "Class" => driver.class = decoder.optional_text()?,
            "Manufacturer" => driver.manufacturer = decoder.optional_text()?,
            "Provider" => driver.provider = decoder.optional_text()?,
            "MatchingComputerHWID" => driver.computer_hardware_id = decoder.optional_text()?,
            "DriverRank" => driver.rank = decoder.optional_value()?,
            _ => decoder.skip()?,
        }
    }
    Ok(driver)
}

pub(super) fn sync_printers<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<SyncPrinterCatalog> {
    let mut request = SyncPrinterCatalog::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "installedNonLeafUpdateIDs" => request.installed = decoder.ints(MAX_IDS)?,
            "printerUpdateIDs" => request.cached = decoder.ints(MAX_IDS)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}
