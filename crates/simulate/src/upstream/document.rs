//! Generated revisions as full update documents, in the form that upstream servers send ([MS-WSUSSS]
//! 3.1.1.1).

use std::fmt::Write as _;

use super::catalog::Catalog;
use super::payload::Payload;
use super::revision::{Kind, Revision};
use tailwater_domain::CategoryKind;
use tailwater_wire::xml::escape;

const NAMESPACES: [(&str, &str); 8] = [
    ("pub", "http://schemas.microsoft.com/msus/2002/12/Publishing"),
    ("bar", "http://schemas.microsoft.com/msus/2002/12/BaseApplicabilityRules"),
    ("lar", "http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules"),
    ("cat", "http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/Category"),
    ("cmd", "http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/CommandLineInstallation"),
    ("drv", "http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/WindowsDriver"),
    ("xsi", "http://www.w3.org/2001/XMLSchema-instance"),
    ("upd", "http://schemas.microsoft.com/msus/2002/12/Update"),
];

const PUBLISHER: &str = "395392a0-19c0-48b7-a927-f7c15066d905";

/// Seconds from 2024-01-01 at which the first revision was made.
const FIRST: i64 = 1_704_067_200;

/// The document of a revision. Digests of its payloads are made on first use, which may take long.
pub(super) fn document(catalog: &Catalog, revision: &Revision) -> String {
    let mut out = String::with_capacity(4_096);
    out.push_str("<upd:Update");
    for (prefix, namespace) in NAMESPACES {
        let _ = write!(out, " xmlns:{prefix}=\"{namespace}\"");
    }
    let identity = revision.identity;
    let _ = write!(
        out,
        "><upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\" />",
        identity.update, identity.revision
    );
    properties(&mut out, catalog, revision);
    localized(&mut out, catalog, revision);
    relationships(&mut out, revision);
    rules(&mut out, revision);
    let payload = |&index: &usize| &catalog.payloads[index];
    if !revision.files.is_empty() {
        out.push_str("<upd:Files>");
        let encrypted = revision.encrypted;
        revision.files.iter().map(payload).for_each(|file| file_element(&mut out, file, encrypted));
        out.push_str("</upd:Files>");
    }
    handler(&mut out, revision, revision.files.first().map(|index| payload(index).name.as_str()));
    out.push_str("</upd:Update>");
    out
}

fn properties(out: &mut String, catalog: &Catalog, revision: &Revision) {
    let (update_type, handler) = match revision.kind {
        Kind::Category(_) => ("Category", NAMESPACES[3].1),
        Kind::Detectoid => ("Detectoid", ""),
        Kind::Update | Kind::Package => ("Software", NAMESPACES[4].1),
        Kind::Driver => ("Driver", NAMESPACES[5].1),
    };
    let deployable = matches!(revision.kind, Kind::Update | Kind::Driver);
    let _ = write!(out, "<upd:Properties UpdateType=\"{update_type}\" DefaultPropertiesLanguage=\"en\"");
    if deployable {
        out.push_str(" ExplicitlyDeployable=\"true\" AutoSelectOnWebSites=\"true\"");
    }
    if !handler.is_empty() && (!revision.files.is_empty() || !deployable) {
        let _ = write!(out, " Handler=\"{handler}\"");
    }
    if !revision.files.is_empty() {
        let whole: u64 = revision.files.iter().map(|&index| catalog.payloads[index].size).sum();
        let _ = write!(out, " MaxDownloadSize=\"{whole}\" MinDownloadSize=\"0\"");
    }
    let seconds = FIRST + i64::try_from(revision.sequence).unwrap_or(0) * 60;
    let made = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let state = if revision.expired { "Expired" } else { "Published" };
    let _ = write!(
        out,
        " PublicationState=\"{state}\" CreationDate=\"{}\" PublisherID=\"{PUBLISHER}\"",
        made.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    );
    if let Some(severity) = revision.severity {
        let _ = write!(out, " MsrcSeverity=\"{severity}\"");
    }
    if revision.eula.is_some() {
        let _ = write!(out, " EulaID=\"{}\"", super::world::identity(0, "eula"));
    }
    out.push('>');
    if revision.kind == Kind::Package || (revision.kind == Kind::Update && !revision.files.is_empty()) {
        out.push_str("<upd:InstallationBehavior RebootBehavior=\"CanRequestReboot\" />");
    }
    if let Some(kb) = revision.kb {
        let _ = write!(
            out,
            "<upd:SupportUrl>https://support.example/{kb}</upd:SupportUrl><upd:KBArticleID>{kb}</upd:KBArticleID>"
        );
    }
    if revision.encrypted {
        out.push_str("<upd:SecuredFragment>FileDecryption</upd:SecuredFragment>");
    }
    out.push_str("</upd:Properties>");
}

fn localized(out: &mut String, catalog: &Catalog, revision: &Revision) {
    out.push_str("<upd:LocalizedPropertiesCollection>");
    for (language, title) in &revision.titles {
        let _ = write!(
            out,
            "<upd:LocalizedProperties><upd:Language>{language}</upd:Language><upd:Title>{}</upd:Title>",
            escape(title)
        );
        if revision.kind == Kind::Update {
            let _ = write!(
                out,
                "<upd:Description>{} resolves issues in this software &amp; what depends on it. After you install \
                 this item you may have to restart your computer.</upd:Description>",
                escape(title)
            );
        }
        out.push_str("</upd:LocalizedProperties>");
    }
    if let Some(index) = revision.eula {
        let file = &catalog.payloads[index];
        let _ = write!(
            out,
            "<upd:EulaFile Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"{}\" Size=\"{}\" \
             Modified=\"2024-01-01T00:00:00.000Z\" Language=\"en\" />",
            file.digests().0.base64(),
            file.name,
            file.size
        );
    }
    out.push_str("</upd:LocalizedPropertiesCollection>");
}

fn relationships(out: &mut String, revision: &Revision) {
    if revision.prerequisites.is_empty() && revision.bundled.is_empty() {
        return;
    }
    out.push_str("<upd:Relationships>");
    if !revision.prerequisites.is_empty() {
        out.push_str("<upd:Prerequisites>");
        for clause in &revision.prerequisites {
            let (open, close) = match clause.marked {
                None => ("", ""),
                Some(false) => ("<upd:AtLeastOne>", "</upd:AtLeastOne>"),
                Some(true) => ("<upd:AtLeastOne IsCategory=\"true\">", "</upd:AtLeastOne>"),
            };
            out.push_str(open);
            for id in &clause.any_of {
                let _ = write!(out, "<upd:UpdateIdentity UpdateID=\"{id}\" />");
            }
            out.push_str(close);
        }
        out.push_str("</upd:Prerequisites>");
    }
    if !revision.supersedes.is_empty() {
        out.push_str("<upd:SupersededUpdates>");
        for id in &revision.supersedes {
            let _ = write!(out, "<upd:UpdateIdentity UpdateID=\"{id}\" />");
        }
        out.push_str("</upd:SupersededUpdates>");
    }
    if !revision.bundled.is_empty() {
        out.push_str("<upd:BundledUpdates>");
        for group in &revision.bundled {
            let (open, close) =
                if group.len() > 1 { ("<upd:AtLeastOne>", "</upd:AtLeastOne>") } else { ("", "") };
            out.push_str(open);
            for part in group {
                let _ = write!(
                    out,
                    "<upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\" />",
                    part.update, part.revision
                );
            }
            out.push_str(close);
        }
        out.push_str("</upd:BundledUpdates>");
    }
    out.push_str("</upd:Relationships>");
}

fn rules(out: &mut String, revision: &Revision) {
    if revision.rules.is_empty() && revision.hardware_id.is_none() {
        return;
    }
    out.push_str("<upd:ApplicabilityRules>");
    out.push_str(&revision.rules);
    if let Some(hardware_id) = &revision.hardware_id {
        let _ = write!(
            out,
            "<upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"{}\" DriverVerDate=\"2024-02-01\" \
             DriverVerVersion=\"10.{}.0.1\" Class=\"Net\" Manufacturer=\"Sample Devices\" Provider=\"Sample \
             Devices\" Model=\"Sample adapter\" WhqlDriverID=\"70000001\"><drv:FeatureScore \
             OperatingSystem=\"amd64.10.0\" FeatureScore=\"255\" /></drv:WindowsDriverMetaData></upd:Metadata>",
            escape(hardware_id),
            revision.sequence % 60_000
        );
    }
    out.push_str("</upd:ApplicabilityRules>");
}

fn file_element(out: &mut String, file: &Payload, encrypted: bool) {
    let (sha1, sha256) = file.digests();
    let mut more = file.patching.map_or(String::new(), |kind| format!(" PatchingType=\"{kind}\""));
    if encrypted {
        more.push_str(" IsEncrypted=\"true\"");
    }
    let _ = write!(
        out,
        "<upd:File Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"{}\" Size=\"{}\" \
         Modified=\"2024-01-05T10:00:00.000Z\"{more}><upd:AdditionalDigest \
         Algorithm=\"SHA256\">{}</upd:AdditionalDigest></upd:File>",
        sha1.base64(),
        escape(&file.name),
        file.size,
        sha256.base64()
    );
}

fn handler(out: &mut String, revision: &Revision, program: Option<&str>) {
    match (revision.kind, program) {
        (Kind::Category(kind), _) => {
            let name = match kind {
                CategoryKind::Company => "Company",
                CategoryKind::ProductFamily => "ProductFamily",
                CategoryKind::Product => "Product",
                CategoryKind::Classification | CategoryKind::Other => "UpdateClassification",
            };
            let group = matches!(kind, CategoryKind::Company | CategoryKind::ProductFamily);
            let _ = write!(
                out,
                "<upd:HandlerSpecificData xsi:type=\"cat:Category\"><cat:CategoryInformation \
                 CategoryType=\"{name}\" ProhibitsSubcategories=\"{}\" ProhibitsUpdates=\"{group}\" \
                 DisplayOrder=\"{}\" ExcludedByDefault=\"false\" /></upd:HandlerSpecificData>",
                !group, revision.sequence
            );
        }
        (Kind::Driver, _) => out.push_str("<upd:HandlerSpecificData xsi:type=\"drv:WindowsDriver\" />"),
        (Kind::Update | Kind::Package, Some(program)) => {
            let _ = write!(
                out,
                "<upd:HandlerSpecificData xsi:type=\"cmd:CommandLineInstallation\"><cmd:InstallCommand \
                 Arguments=\"/quiet /norestart\" Program=\"{}\" RebootByDefault=\"false\" \
                 DefaultResult=\"Failed\"><cmd:ReturnCode Reboot=\"false\" Result=\"Succeeded\" Code=\"0\" \
                 /></cmd:InstallCommand></upd:HandlerSpecificData>",
                escape(program)
            );
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::*;
    use tailwater_domain::{ByteCount, UpdateType};
    use tailwater_wire::update_metadata;

    #[test]
    fn what_a_document_says_is_what_the_catalog_means() {
        let mean_size = ByteCount(1_000);
        let catalog =
            Catalog::new(Config { updates: 24, definitions: 1, drivers: 2, mean_size, ..Config::default() });
        for revision in &catalog.revisions {
            let text = document(&catalog, revision);
            let cut = update_metadata::cut(text.as_bytes(), &update_metadata::Languages::all()).unwrap();
            let facts = cut.facts;
            assert_eq!(facts.identity, revision.identity);
            assert_eq!(facts.prerequisites.len(), revision.prerequisites.len());
            assert_eq!(facts.bundled.len(), revision.bundled.len());
            assert_eq!(
                facts.files.len(),
                revision.files.len() + usize::from(revision.eula.is_some()),
                "{text}"
            );
            assert_eq!(facts.titles.len(), revision.titles.len());
            let driver = revision.kind == Kind::Driver;
            assert_eq!(facts.update_type == UpdateType::Driver, driver);
            assert_eq!(facts.drivers.len(), usize::from(driver));
        }
    }
}
