//! From an answer of `GetUpdateData` to revisions that can be stored: every document is cut while it is
//! read. Blocking, pure but for temporary files.
//!
//! Invariant: what comes out of here is the revision that its envelope names, with the payloads that the
//! envelope names. It never stores anything.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::io::BufRead;

use tailwater_catalog::{FileUrl, NewPart, NewRevision, PartKind};
use tailwater_domain::{Facts, Sha1Digest, UpdateId, UpdateIdentity};
use tailwater_runtime::guarded;
use tailwater_wire::peer::Record;
use tailwater_wire::server_sync::{self, Received, UpdateData, read_update_data};
use tailwater_wire::soap::SoapError;
use tailwater_wire::update_metadata::{Cut, Languages, MetadataError, Spool, cut};

/// What others a revision needs.
#[derive(Debug, Default)]
pub(super) struct Related {
    /// Revisions that bundles name.
    pub(super) children: BTreeSet<UpdateIdentity>,
    /// Updates that prerequisites name.
    pub(super) prerequisites: BTreeSet<UpdateId>,
}

impl Related {
    pub(super) fn add(&mut self, facts: &Facts) {
        self.children.extend(facts.bundled.iter().flat_map(|clause| &clause.any_of));
        self.prerequisites.extend(facts.prerequisites.iter().flat_map(|clause| &clause.any_of));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.children.extend(other.children);
        self.prerequisites.extend(other.prerequisites);
    }
}

/// What an answer held of what was asked.
#[derive(Default)]
pub(super) struct Ingested {
    /// Ready to be stored.
    pub(super) revisions: Vec<NewRevision>,
    /// Came, but cannot be used.
    pub(super) damaged: Vec<(UpdateIdentity, String)>,
    /// What the good ones need.
    pub(super) related: Related,
    /// Addresses that carry a token: for the life of the process, never to be stored or logged.
    pub(super) signed: Vec<server_sync::FileUrl>,
}

/// Reads an answer. What was not asked for is passed over. `lenient` takes documents whose payloads differ
/// from what the envelope says, once asking again did not help.
pub(super) fn ingest(
    answer: impl BufRead,
    asked: &[UpdateIdentity],
    languages: &Languages,
    lenient: bool,
) -> Result<Ingested, SoapError> {
    let data = read_update_data(answer, |document| cut(document, languages))?;
    Ok(taken(data, |identity| asked.contains(identity), lenient))
}

/// The same for what came in a pack, which has only what was asked for.
pub(super) fn packed(records: Vec<Record<Result<Cut, MetadataError>>>, lenient: bool) -> Ingested {
    let mut file_urls = Vec::new();
    let updates = records.into_iter().map(|record| {
        let files = record.document.as_ref().map_or(&[][..], |cut| &cut.facts.files[..]);
        let addresses = record.addresses.iter().filter_map(|address| {
            let sha1 = files.get(address.file)?.sha1;
            Some(server_sync::FileUrl { sha1, mu_url: Some(address.text(&sha1)), uss_url: None })
        });
        file_urls.extend(addresses);
        Received { id: record.identity, digests: None, document: Ok(record.document) }
    });
    let updates = updates.collect();
    taken(UpdateData { updates, file_urls }, |_| true, lenient)
}

fn taken(
    data: UpdateData<Result<Cut, MetadataError>>,
    was_asked: impl Fn(&UpdateIdentity) -> bool,
    lenient: bool,
) -> Ingested {
    let urls: HashMap<Sha1Digest, &server_sync::FileUrl> =
        data.file_urls.iter().map(|url| (url.sha1, url)).collect();
    let mut ingested = Ingested::default();
    let mut seen = BTreeSet::new();
    let is_signed = |url: &Option<String>| url.is_some() && kept(url.as_deref()).is_none();
    ingested.signed = data.file_urls.iter().filter(|url| is_signed(&url.mu_url)).cloned().collect();
    for received in data.updates {
        let identity = received.id;
        if !was_asked(&identity) || !seen.insert(identity) {
            continue;
        }
        // a fault that one document leads to is that document's
        let made = guarded(|| checked(received, lenient).and_then(|cut| revision(cut, &urls)));
        match made.unwrap_or_else(|panicked| Err(panicked.to_string())) {
            Ok(revision) => {
                ingested.related.add(&revision.facts);
                ingested.revisions.push(revision);
            }
            Err(reason) => ingested.damaged.push((identity, reason)),
        }
    }
    ingested
}

/// The document, when it is what its envelope says.
fn checked(received: Received<Result<Cut, MetadataError>>, lenient: bool) -> Result<Cut, String> {
    let cut = received.document.map_err(|error| chain(&error))?.map_err(|error| chain(&error))?;
    if cut.facts.identity != received.id {
        return Err(format!("its document is that of {}", cut.facts.identity));
    }
    if let Some(announced) = received.digests {
        let declared: BTreeSet<Sha1Digest> = cut.facts.files.iter().map(|file| file.sha1).collect();
        if announced.iter().any(|digest| !declared.contains(digest)) {
            if !lenient {
                return Err("its document declares other payloads than the upstream announces".to_owned());
            }
            tracing::warn!(update = %received.id, "its document declares other payloads than the upstream announces");
        }
    }
    Ok(cut)
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn part(kind: PartKind, spool: Spool) -> Result<NewPart, String> {
    let len = spool.len();
    let text = spool.into_reader().map_err(|error| chain(&error))?;
    Ok(NewPart { kind, len, text: Box::new(text) })
}

/// A document that was cut, to be stored.
pub(super) fn revision(
    cut: Cut,
    urls: &HashMap<Sha1Digest, &server_sync::FileUrl>,
) -> Result<NewRevision, String> {
    let mut parts = vec![
        part(PartKind::Document, cut.document)?,
        part(PartKind::Core, cut.core)?,
        part(PartKind::Extended, cut.extended)?,
    ];
    let small = |kind, text: Vec<u8>| NewPart {
        kind,
        len: text.len() as u64,
        text: Box::new(std::io::Cursor::new(text)),
    };
    parts.extend(
        cut.localized.into_iter().map(|entry| small(PartKind::Localized(entry.language), entry.text)),
    );
    parts.extend(cut.eulas.into_iter().map(|entry| small(PartKind::Eula(entry.language), entry.text)));
    let addresses = cut.facts.files.iter().filter_map(|file| urls.get(&file.sha1));
    let file_urls = addresses
        .map(|url| FileUrl {
            sha1: url.sha1,
            mu_url: kept(url.mu_url.as_deref()),
            uss_url: kept(url.uss_url.as_deref()),
        })
        .filter(|url| url.mu_url.is_some() || url.uss_url.is_some())
        .collect();
    Ok(NewRevision { facts: cut.facts, parts, file_urls })
}

/// An address that may be kept: one with a query may carry a token, which ends and is nobody's business.
fn kept(url: Option<&str>) -> Option<String> {
    url.map(str::trim).filter(|url| !url.contains('?') && !url.contains('#')).map(str::to_owned)
}
