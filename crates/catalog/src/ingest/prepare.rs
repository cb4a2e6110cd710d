//! From a new revision to records of a segment: small texts are read and compressed beside each other on
//! two threads, large ones pass through in frames of 256 KiB and are never whole in memory.
//!
//! **Invariant:** the texts of a revision lie in a row, its facts first, each with the length that was
//! announced. It never changes a text.

use std::io::Read;

use crate::error::CatalogError;
use crate::storage::handle::Storage;
use crate::storage::log::Appender;
use crate::storage::manifest::{Manifest, StoredKind, StoredPart};
use crate::storage::segment::codec::Encoder;
use crate::storage::segment::frame::Kind;
use crate::values::facts::StoredFacts;
use crate::values::part::FRAME_BYTES;
use crate::values::part::{NewPart, NewRevision, PartKind};
use tailwater_domain::{Limit, UpdateIdentity, limits};
use tailwater_runtime::guarded;

/// The largest text that is kept.
const MAX_PART: u64 = 512 << 20;
/// All texts of one revision together: they lie in a row in one segment.
const MAX_TEXTS: u64 = 1 << 30;
/// What is kept of one revision beside its texts: addresses, titles, files, devices.
const MAX_FACTS: usize = 64 << 20;
/// What is limited here.
pub(crate) const LIMITS: &[Limit] = limits![
    MAX_PART in "bytes": "One text of an update" => "that update is refused; the synchronisation goes on and reports it",
    MAX_TEXTS in "bytes": "All texts of an update" => "that update is refused; the synchronisation goes on and reports it",
    MAX_FACTS in "bytes": "What is kept of an update beside its texts" => "that update is refused; the synchronisation goes on and reports it",
];
// not a limit: WORTH_A_THREAD: how work is divided
/// Compressing is worth a second thread from this many revisions on.
const WORTH_A_THREAD: usize = 8;

/// A text before it is compressed.
enum Text {
    Small(Vec<u8>),
    Large(Box<dyn Read + Send>, u64),
}

/// What came of revisions on their way in: those that go on, and those that are refused, each alone.
pub(crate) struct Preparation {
    pub prepared: Vec<Prepared>,
    pub refused: Vec<Refused>,
}

/// A revision that cannot be stored, and why.
pub(crate) type Refused = (UpdateIdentity, CatalogError);

/// A revision with its small texts compressed.
pub(crate) struct Prepared {
    pub manifest: Manifest,
    records: Vec<u8>,
    /// Texts from the first large one on; they are compressed while they are appended.
    rest: Vec<(PartKind, Text)>,
}

struct Raw {
    manifest: Manifest,
    texts: Vec<(StoredKind, Text)>,
}

fn input(identity: UpdateIdentity) -> impl Fn(std::io::Error) -> CatalogError {
    move |source| CatalogError::PartInput { identity, source }
}

/// Reads exactly `len` bytes, and that the text ends there.
fn read_small(part: NewPart, identity: UpdateIdentity) -> Result<Vec<u8>, CatalogError> {
    let mut text = Vec::new();
    let read = part.text.take(part.len + 1).read_to_end(&mut text).map_err(input(identity))?;
    if read as u64 == part.len {
        Ok(text)
    } else {
        Err(input(identity)(std::io::ErrorKind::InvalidData.into()))
    }
}

fn read(revision: NewRevision, arrived: i64) -> Result<Raw, CatalogError> {
    let identity = revision.facts.identity;
    let mut manifest = Manifest::of(&revision.facts, arrived);
    let facts = StoredFacts { facts: revision.facts, file_urls: revision.file_urls, drivers_known: true };
    let facts = facts.without_signed_urls();
    let facts = facts.encode()?;
    if facts.len() > MAX_FACTS {
        let (len, limit) = (facts.len() as u64, MAX_FACTS as u64);
        return Err(CatalogError::TooManyFacts { identity, what: "facts", len, limit });
    }
    let kinds: Vec<StoredKind> =
        revision.parts.iter().map(|part| StoredKind::Part(part.kind.clone())).collect();
    manifest.check_size(&[StoredKind::Facts].iter().chain(&kinds).collect::<Vec<_>>())?;
    let all = revision.parts.iter().fold(facts.len() as u64, |sum, part| sum.saturating_add(part.len));
    if all > MAX_TEXTS {
        return Err(CatalogError::PartTooLarge { identity, len: all, limit: MAX_TEXTS });
    }
    let mut texts = vec![(StoredKind::Facts, Text::Small(facts))];
    manifest.parts.reserve(revision.parts.len() + 1);
    for part in revision.parts {
        if part.len > MAX_PART {
            return Err(CatalogError::PartTooLarge { identity, len: part.len, limit: MAX_PART });
        }
        let kind = StoredKind::Part(part.kind.clone());
        let text = if part.len <= u64::from(FRAME_BYTES) {
            Text::Small(read_small(part, identity)?)
        } else {
            Text::Large(part.text, part.len)
        };
        texts.push((kind, text));
    }
    // small ones first: they are compressed away from the log
    texts.sort_by_key(|(_, text)| matches!(text, Text::Large(..)));
    Ok(Raw { manifest, texts })
}

fn compress(raw: Raw, encoder: &mut Encoder<'_>) -> Result<Prepared, CatalogError> {
    let mut prepared = Prepared { manifest: raw.manifest, records: Vec::new(), rest: Vec::new() };
    for (kind, text) in raw.texts {
        match (text, kind) {
            (Text::Small(text), kind) => {
                let at = prepared.records.len();
                frames(&mut text.as_slice(), text.len() as u64, |frame| {
                    encoder.record(&mut prepared.records, Kind::Text, frame)
                })
                .map_err(|error| error.of(prepared.manifest.identity))?;
                let stored = length(prepared.manifest.identity, prepared.records.len() - at)?;
                let raw = length(prepared.manifest.identity, text.len())?;
                prepared.manifest.parts.push(StoredPart { kind, stored, raw });
            }
            (text, StoredKind::Part(kind)) => prepared.rest.push((kind, text)),
            (Text::Large(..), StoredKind::Facts) => {}
        }
    }
    Ok(prepared)
}

/// A length as manifests keep it.
fn length(identity: UpdateIdentity, len: usize) -> Result<u32, CatalogError> {
    let (len, limit) = (len as u64, u64::from(u32::MAX));
    u32::try_from(len).map_err(|_e| CatalogError::PartTooLarge { identity, len, limit })
}

/// What can go wrong between a reader and the log.
enum FrameError {
    Input(std::io::Error),
    Store(CatalogError),
}

impl FrameError {
    fn of(self, identity: UpdateIdentity) -> CatalogError {
        match self {
            Self::Input(source) => CatalogError::PartInput { identity, source },
            Self::Store(error) => error,
        }
    }
}

/// Cuts a text into frames; an empty text is one empty frame.
fn frames(
    text: &mut dyn Read,
    len: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), CatalogError>,
) -> Result<(), FrameError> {
    // what does not fit a usize is more than a frame
    let size = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(FRAME_BYTES as usize);
    let mut frame = vec![0; size(len)];
    let mut left = len;
    loop {
        let now = size(left);
        text.read_exact(&mut frame[..now]).map_err(FrameError::Input)?;
        each(&frame[..now]).map_err(FrameError::Store)?;
        left -= now as u64;
        if left == 0 {
            return Ok(());
        }
    }
}

/// Work for one revision: its failure, a panic included, is that revision's alone.
fn alone<T>(
    identity: UpdateIdentity,
    refused: &mut Vec<Refused>,
    work: impl FnOnce() -> Result<T, CatalogError>,
) -> Option<T> {
    let outcome = guarded(work).unwrap_or_else(|cause| Err(CatalogError::Revision { identity, cause }));
    outcome.map_err(|error| refused.push((identity, error))).ok()
}

/// Reads and compresses revisions, and trains a dictionary when it is time. What cannot be is refused alone.
pub(crate) fn prepare(storage: &Storage, revisions: Vec<NewRevision>) -> Result<Preparation, CatalogError> {
    let arrived = storage.clock().now().as_second();
    let mut refused = Vec::new();
    let raw: Vec<Raw> = revisions
        .into_iter()
        .filter_map(|revision| alone(revision.facts.identity, &mut refused, move || read(revision, arrived)))
        .collect();
    let texts = raw.iter().flat_map(|one| &one.texts).filter_map(|(_, text)| match text {
        Text::Small(text) => Some(text.as_slice()),
        Text::Large(..) => None,
    });
    if let Some((number, dictionary)) = storage.log().codec().learn(raw.len() as u64, texts) {
        storage.log().add_dictionary(number, &dictionary)?;
    }
    let run = |raw: Vec<Raw>| -> Result<Preparation, CatalogError> {
        let (mut encoder, mut refused) = (storage.log().codec().encoder()?, Vec::new());
        let done = raw
            .into_iter()
            .filter_map(|one| alone(one.manifest.identity, &mut refused, || compress(one, &mut encoder)));
        Ok(Preparation { prepared: done.collect(), refused })
    };
    let mut all = if raw.len() < WORTH_A_THREAD {
        run(raw)?
    } else {
        let mut first = raw;
        let second = first.split_off(first.len() / 2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run(second));
            let mut done = run(first)?;
            let other = other.join().map_err(|_panic| CatalogError::Worker)??;
            done.prepared.extend(other.prepared);
            done.refused.extend(other.refused);
            Ok::<_, CatalogError>(done)
        })?
    };
    all.refused.append(&mut refused);
    Ok(all)
}

/// Appends the texts of a revision to the log. Its number is still to be given.
pub(crate) fn append(
    log: &mut Appender<'_>,
    encoder: &mut Encoder<'_>,
    prepared: Prepared,
) -> Result<Manifest, CatalogError> {
    let Prepared { mut manifest, records, rest } = prepared;
    let identity = manifest.identity;
    let large: u64 = rest.iter().map(|(_, text)| if let Text::Large(_, len) = text { *len } else { 0 }).sum();
    // frames that do not compress are a little larger than their text
    log.make_room(records.len() as u64 + large + large / 1_000)?;
    let place = log.append(&records)?;
    (manifest.segment, manifest.offset) = (place.segment, place.offset);
    for (kind, text) in rest {
        let Text::Large(mut text, len) = text else { continue };
        let (mut stored, mut record) = (0, Vec::new());
        frames(&mut text, len, |frame| {
            record.clear();
            encoder.record(&mut record, Kind::Text, frame)?;
            stored += log.append(&record)?.stored;
            Ok(())
        })
        .map_err(|error| error.of(identity))?;
        let limit = u64::from(u32::MAX);
        let raw = u32::try_from(len).map_err(|_e| CatalogError::PartTooLarge { identity, len, limit })?;
        manifest.parts.push(StoredPart { kind: StoredKind::Part(kind), stored, raw });
    }
    Ok(manifest)
}
