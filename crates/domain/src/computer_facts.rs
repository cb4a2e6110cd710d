//! One computer, one type: what agents register, what is kept of it, shown, and told to servers above.
//!
//! **Invariant:** texts are as they were said; whoever keeps them cuts them. The order of fields is that of stored records
//! and never changes. It never holds an address or a user's name.

use serde::{Deserialize, Serialize};

use super::rollup::{ComputerDetails, OsVersion};

/// What a computer is, as it registers itself (`ComputerInfo`, [MS-WUSP] 2.2.2.2.3). What was not said is empty or 0; nothing
/// here is believed beyond being shown and grouped by.
///
/// Stored in records by the order of its fields: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComputerFacts {
    /// `DnsName`.
    pub dns_name: String,
    /// `OSMajorVersion`.
    pub os_major: i32,
    /// `OSMinorVersion`.
    pub os_minor: i32,
    /// `OSBuildNumber`.
    pub os_build: i32,
    /// `OSServicePackMajorNumber`.
    pub service_pack_major: i32,
    /// `OSServicePackMinorNumber`.
    pub service_pack_minor: i32,
    /// `OSLocale`.
    pub locale: String,
    /// `ComputerManufacturer`.
    pub manufacturer: String,
    /// `ComputerModel`.
    pub model: String,
    /// `BiosVersion`.
    pub bios_version: String,
    /// `BiosName`.
    pub bios_name: String,
    /// `BiosReleaseDate`.
    pub bios_date: String,
    /// `ProcessorArchitecture`.
    pub architecture: String,
    /// `SuiteMask`.
    pub suite_mask: i32,
    /// `OldProductType`.
    pub old_product_type: i32,
    /// `NewProductType`.
    pub new_product_type: i32,
    /// `SystemMetrics`.
    pub system_metrics: i32,
    /// `ClientVersion…` as `major.minor.build.qfe`.
    pub client_version: String,
    /// `OSDescription`.
    pub os_description: String,
    /// `OEM`.
    pub oem: String,
    /// `DeviceType`.
    pub device_type: String,
    /// `FirmwareVersion`.
    pub firmware_version: String,
    /// `MobileOperator`.
    pub mobile_operator: String,
}

impl ComputerFacts {
    /// What tells its operating system from others, as roll-ups count it ([MS-WSUSSS] 3.1.4.14.3.4).
    pub fn os_version(&self) -> OsVersion {
        OsVersion {
            major: self.os_major,
            minor: self.os_minor,
            build: self.os_build,
            service_pack_major: self.service_pack_major,
            service_pack_minor: self.service_pack_minor,
            locale: self.locale.clone(),
            suite_mask: self.suite_mask,
            old_product_type: self.old_product_type,
            new_product_type: self.new_product_type,
            system_metrics: self.system_metrics,
            architecture: self.architecture.clone(),
        }
    }

    /// As a server above is told of it (`ComputerRollupDetails`, [MS-WSUSSS] 3.1.4.15.3.3), without name and groups, which
    /// are for whoever tells.
    pub fn details(&self) -> ComputerDetails {
        ComputerDetails {
            os: self.os_version(),
            os_description: self.os_description.clone(),
            make: self.manufacturer.clone(),
            model: self.model.clone(),
            bios_version: self.bios_version.clone(),
            bios_name: self.bios_name.clone(),
            bios_date: self.bios_date.clone(),
            client_version: self.client_version.clone(),
            ..ComputerDetails::default()
        }
    }
}

impl From<ComputerDetails> for ComputerFacts {
    /// What a server below told of a computer; what roll-ups do not carry is empty.
    fn from(details: ComputerDetails) -> Self {
        let os = details.os;
        Self {
            dns_name: details.name,
            os_major: os.major,
            os_minor: os.minor,
            os_build: os.build,
            service_pack_major: os.service_pack_major,
            service_pack_minor: os.service_pack_minor,
            locale: os.locale,
            manufacturer: details.make,
            model: details.model,
            bios_version: details.bios_version,
            bios_name: details.bios_name,
            bios_date: details.bios_date,
            architecture: os.architecture,
            suite_mask: os.suite_mask,
            old_product_type: os.old_product_type,
            new_product_type: os.new_product_type,
            system_metrics: os.system_metrics,
            client_version: details.client_version,
            os_description: details.os_description,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text another one, every number another one.
    fn facts() -> ComputerFacts {
        let text = |letter: &str| letter.to_owned();
        ComputerFacts {
            dns_name: text("a"),
            os_major: 1,
            os_minor: 2,
            os_build: 3,
            service_pack_major: 4,
            service_pack_minor: 5,
            locale: text("b"),
            manufacturer: text("c"),
            model: text("d"),
            bios_version: text("e"),
            bios_name: text("f"),
            bios_date: text("g"),
            architecture: text("h"),
            suite_mask: 6,
            old_product_type: 7,
            new_product_type: 8,
            system_metrics: 9,
            client_version: text("i"),
            os_description: text("j"),
            oem: text("k"),
            device_type: text("l"),
            firmware_version: text("m"),
            mobile_operator: text("n"),
        }
    }

    #[test]
    fn stored_records_have_the_order_that_they_always_had() {
        // lengths and letters of texts, numbers in zigzag
        let stored = b"\x01a\x02\x04\x06\x08\x0a\x01b\x01c\x01d\x01e\x01f\x01g\x01h\x0c\x0e\x10\x12\x01i\x01j\x01k\x01l\x01m\x01n";
        assert_eq!(postcard::to_stdvec(&facts()).unwrap(), stored);
        assert_eq!(postcard::from_bytes::<ComputerFacts>(stored).unwrap(), facts());
    }

    #[test]
    fn what_a_roll_up_carries_comes_back() {
        let told = ComputerDetails { name: facts().dns_name, ..facts().details() };
        let back = ComputerFacts::from(told);
        let without = ComputerFacts {
            oem: String::new(),
            device_type: String::new(),
            firmware_version: String::new(),
            mobile_operator: String::new(),
            ..facts()
        };
        assert_eq!(back, without);
    }
}
