//! Packs: documents out of the catalog, as the child keeps them, compressed against what it holds.
//!
//! **Invariant:** a pack is a transfer and has a slot until its last byte left; a document against which is
//! compressed has the very bytes that the child named by their hash. A pack costs bounded memory, whatever its
//! documents weigh: a large one goes alone and through a temporary file.

use std::io::{Read, Seek as _};
use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tempfile::SpooledTempFile;

use super::content::{FileBody, Leased};
use super::refusal::{Refused, message};
use super::service::Service;
use crate::http::Response;
use crate::http::body::{self, Body};
use tailwater_catalog::{Catalog, PartKind, PartRef, Snapshot};
use tailwater_domain::{FileDeclaration, Limit, RevisionId, ServerId, UpdateIdentity, limits};
use tailwater_runtime::Asker;
use tailwater_wire::peer::{
    Address, Context, Item, MAX_ADDRESSES, MAX_CONTEXT_BYTES, MessageError, Order, Pack, short_hash,
};
use tailwater_wire::update_metadata::{Languages, cut};

/// Documents in one pack, before compression. What a kill costs at most is what they compress to.
const RAW: u64 = 2 << 20;
/// A larger document goes alone, and is never whole in memory.
const LONE: u64 = 1 << 20;
/// A pack should not be larger, once compressed: one that comes out so is made again with half of its documents.
const COMPRESSED: usize = 256 << 10;
/// Finished packs up to this size stay in memory while they are made.
const IN_MEMORY: usize = 1 << 20;
/// Finished packs up to this size are remembered: children with one filter order the very same packs.
const REMEMBERED: u64 = 512 << 10;
/// For the few documents of an ordinary day: small, whatever it takes.
const THOROUGH: i32 = 19;
/// For the many of a first synchronisation.
const QUICK: i32 = 9;
/// Up to this much is compressed thoroughly.
const FEW: u64 = 768 << 10;

pub(super) const LIMITS: &[Limit] = limits![
    RAW in "bytes": "Documents in one pack, before compression" => "they go into the next one",
    LONE in "bytes": "A document that shares its pack" => "it goes alone, as a stream",
    COMPRESSED in "bytes": "A pack" => "it is made again with half of its documents",
    REMEMBERED in "bytes": "A finished pack that is remembered" => "it is made again",
];

// not a limit: FEW: how hard is compressed

/// A document that goes into a pack.
struct Chosen {
    place: usize,
    revision: RevisionId,
    text: Vec<u8>,
}

/// What a pack is made from.
struct Maker {
    catalog: Catalog,
    snapshot: std::sync::Arc<Snapshot>,
    languages: Languages,
}

/// A finished pack in its file, with its length.
type Packed = (u64, SpooledTempFile);

impl Service {
    pub(super) async fn pack(
        &self,
        child: ServerId,
        from: IpAddr,
        asked: &[u8],
    ) -> Result<Response, Refused> {
        let order = Order::decode(asked)?;
        let lease = self.0.slots.lease(child, from).await?;
        let snapshot = self.0.catalog.snapshot();
        let mut key = blake3::Hasher::new();
        let key = key.update(&snapshot.sequence().to_le_bytes()).update(asked).finalize();
        let leased = |pack: Body, lease| message(Bytes::new()).map(|_| Leased::body(pack, lease));
        if let Some(pack) = self.0.work.packs.get(&key) {
            return Ok(leased(body::full(pack), lease));
        }
        let _making = self.0.work.making.take(Asker { key: child.0.as_u128(), ..Asker::at(from) }).await?;
        // another child may have had the same one made meanwhile
        if let Some(pack) = self.0.work.packs.get(&key) {
            return Ok(leased(body::full(pack), lease));
        }
        let languages = match &order.languages[..] {
            [] => Languages::all(),
            some => Languages::of(some.iter().cloned()),
        };
        let catalog = self.0.catalog.clone();
        let maker = Maker { catalog, snapshot, languages };
        let packed = tokio::task::spawn_blocking(move || {
            let (len, mut packed) = maker.make(&order)?;
            if len > REMEMBERED {
                return Ok::<_, Refused>((FileBody::new(packed, len).boxed_unsync(), None));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
            packed.read_to_end(&mut bytes).map_err(|_disk| Refused::Body)?;
            let bytes = Bytes::from(bytes);
            Ok((body::full(bytes.clone()), Some(bytes)))
        });
        let (pack, small) = packed.await??;
        if let Some(bytes) = small {
            self.0.work.packs.insert(key, bytes);
        }
        Ok(leased(pack, lease))
    }
}

/// Whether a document has a language that is not kept, so that the child has other bytes than we.
fn has_others(snapshot: &Snapshot, revision: RevisionId, languages: &Languages) -> bool {
    snapshot.parts(revision).iter().any(|(kind, _)| match kind {
        PartKind::Localized(language) | PartKind::Eula(language) => !languages.keeps(language),
        _ => false,
    })
}

impl Maker {
    fn find(&self, item: &Item) -> Option<(RevisionId, UpdateIdentity, PartRef)> {
        let revision = match item {
            Item::Number(number) => RevisionId(*number),
            Item::Identity(identity) => self.snapshot.find(identity)?,
        };
        let identity = self.snapshot.revision(revision)?.identity;
        Some((revision, identity, self.snapshot.part(revision, &PartKind::Document)?))
    }

    /// A small document as the child keeps it; `None` when it cannot be read, which the catalog has noted.
    fn text(&self, revision: RevisionId, part: &PartRef) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(usize::try_from(part.len()).unwrap_or_default());
        for chunk in self.catalog.chunks(part) {
            text.extend_from_slice(&chunk.ok()?);
        }
        if !has_others(&self.snapshot, revision, &self.languages) {
            return Some(text);
        }
        let shorter = cut(text.as_slice(), &self.languages).ok()?.document.into_bytes();
        shorter.ok()
    }

    /// For each document that the child holds, its bytes where they are the same here.
    fn context(&self, context: &[Context]) -> Vec<Option<Vec<u8>>> {
        let mut room = MAX_CONTEXT_BYTES;
        let mut same = |context: &Context| {
            let (revision, _, part) = self.find(&Item::Identity(context.identity))?;
            if part.len() > LONE {
                return None;
            }
            let text = self.text(revision, &part)?;
            room = (short_hash(&text) == context.hash).then(|| room.checked_sub(text.len()))??;
            Some(text)
        };
        context.iter().map(&mut same).collect()
    }

    fn make(&self, order: &Order) -> Result<Packed, Refused> {
        let found: Vec<_> = order.items.iter().map(|item| self.find(item)).collect();
        let context = self.context(&order.context);
        let mut chosen = Vec::new();
        let mut raw = 0;
        for (place, (revision, _, part)) in
            found.iter().enumerate().filter_map(|(place, found)| Some((place, found.as_ref()?)))
        {
            if part.len() > LONE {
                if chosen.is_empty() {
                    return self.lone(&found, place, *revision, part);
                }
                // it comes first in what is asked for next
                break;
            }
            let Some(text) = self.text(*revision, part) else { continue };
            raw += text.len() as u64;
            chosen.push(Chosen { place, revision: *revision, text });
            if raw >= RAW {
                break;
            }
        }
        loop {
            let packed = self.write(&found, &context, &chosen)?;
            if packed.0 <= COMPRESSED as u64 || chosen.len() < 2 {
                return Ok(packed);
            }
            chosen.truncate(chosen.len() / 2);
        }
    }

    fn write(
        &self,
        found: &[Option<(RevisionId, UpdateIdentity, PartRef)>],
        context: &[Option<Vec<u8>>],
        chosen: &[Chosen],
    ) -> Result<Packed, Refused> {
        let raw = chosen.iter().map(|one| one.text.len() as u64).sum();
        let level = if raw <= FEW { THOROUGH } else { QUICK };
        let pack = Pack::new(&included(found, chosen.iter().map(|one| one.place)), context, level);
        let mut opened = pack.begin(SpooledTempFile::new(IN_MEMORY), raw)?;
        for one in chosen {
            let addresses = self.addresses(one.revision)?;
            opened.record(one.text.len() as u64, &mut one.text.as_slice(), &addresses)?;
        }
        ended(opened.finish()?)
    }

    /// One large document, streamed.
    fn lone(
        &self,
        found: &[Option<(RevisionId, UpdateIdentity, PartRef)>],
        place: usize,
        revision: RevisionId,
        part: &PartRef,
    ) -> Result<Packed, Refused> {
        let pack = Pack::new(&included(found, std::iter::once(place)), &[], QUICK);
        let addresses = self.addresses(revision)?;
        let mut opened = pack.begin(SpooledTempFile::new(IN_MEMORY), part.len())?;
        let stored = Chunked { chunks: self.catalog.chunks(part), now: Bytes::new() };
        if has_others(&self.snapshot, revision, &self.languages) {
            let text = std::io::BufReader::new(stored);
            let shorter = cut(text, &self.languages).map_err(|_document| MessageError::Short)?.document;
            let len = shorter.len();
            let mut reader = shorter.into_reader().map_err(|_disk| MessageError::Short)?;
            opened.record(len, &mut reader, &addresses)?;
        } else {
            opened.record(part.len(), &mut { stored }, &addresses)?;
        }
        ended(opened.finish()?)
    }

    /// Where the payloads of a revision are available, as far as anybody may be told.
    fn addresses(&self, revision: RevisionId) -> Result<Vec<Address>, Refused> {
        let Some(facts) = self.catalog.facts(revision)? else { return Ok(Vec::new()) };
        let declared: &[FileDeclaration] = &facts.facts.files;
        let known = declared.iter().enumerate().filter_map(|(place, file)| {
            let url = facts.file_urls.iter().find(|url| url.sha1 == file.sha1)?;
            Some(Address::of(place, url.mu_url.as_deref()?, &file.sha1))
        });
        Ok(known.take(MAX_ADDRESSES).collect())
    }
}

/// Which items of an order a pack has.
fn included(
    found: &[Option<(RevisionId, UpdateIdentity, PartRef)>],
    places: impl Iterator<Item = usize>,
) -> Vec<(UpdateIdentity, bool)> {
    let nobody = UpdateIdentity { update: tailwater_domain::UpdateId(uuid::Uuid::nil()), revision: 0 };
    let mut items: Vec<(UpdateIdentity, bool)> = found
        .iter()
        .map(|found| (found.as_ref().map_or(nobody, |(_, identity, _)| *identity), false))
        .collect();
    for place in places {
        items[place].1 = true;
    }
    items
}

fn ended(mut packed: SpooledTempFile) -> Result<Packed, Refused> {
    let len = packed.stream_position().map_err(|_disk| Refused::Body)?;
    packed.rewind().map_err(|_disk| Refused::Body)?;
    Ok((len, packed))
}

/// A stored text as a reader.
struct Chunked {
    chunks: tailwater_catalog::Chunks,
    now: Bytes,
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.next() {
                Some(chunk) => self.now = chunk.map_err(std::io::Error::other)?,
                None => return Ok(0),
            }
        }
        let part = self.now.split_to(buffer.len().min(self.now.len()));
        buffer[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}
