//! What to order, and against which documents it may be compressed: older revisions of the same updates, revisions that
//! the list proposed, and some of the pack before.
//!
//! **Invariant:** what is named as held is held, byte for byte, until the answer was read. It never asks anybody.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use bytes::Bytes;

use tailwater_catalog::{Catalog, CatalogError, PartKind, Snapshot};
use tailwater_domain::{Limit, RevisionId, UpdateIdentity, limits};
use tailwater_wire::peer::{Context, Item, MAX_CONTEXT_BYTES, MOST_CONTEXT, Order, short_hash};

/// Larger documents are not compressed against: they would crowd the others out.
const LARGEST_CONTEXT: u64 = 256 << 10;
/// Documents of a pack that the next one is compressed against.
const SAMPLED: usize = 24;
/// The largest of these.
const LARGEST_SAMPLE: usize = 24 << 10;

pub(super) const LIMITS: &[Limit] = limits![
    LARGEST_CONTEXT in "bytes": "A document that others are compressed against" => "it is not used for that",
    LARGEST_SAMPLE in "bytes": "A document that stands for its like in the context" => "it is not used for that",
];

/// What earlier messages of a synchronisation said.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    /// The server's numbers for the revisions of the present page.
    pub(super) numbers: HashMap<UpdateIdentity, u32>,
    /// What it proposed to compress against.
    pub(super) kin: Vec<UpdateIdentity>,
    /// Some documents of the last pack.
    pub(super) sample: Vec<(UpdateIdentity, Bytes)>,
}

impl Books {
    /// The server's number for a revision that the present page listed.
    fn number(&self, identity: &UpdateIdentity) -> Option<u32> {
        self.numbers.get(identity).copied()
    }
}

/// An order with all that is needed to read its answer.
pub(super) struct Prepared {
    pub(super) order: Order,
    /// The items' identities, in the order of the order.
    pub(super) items: Vec<UpdateIdentity>,
    /// The documents of its context, likewise.
    pub(super) context: Vec<Bytes>,
}

impl Prepared {
    /// Reads what is held from the catalog; may wait for the disk.
    pub(super) fn new(
        asked: &[UpdateIdentity],
        books: &Books,
        catalog: &Catalog,
        languages: &[String],
    ) -> Result<Self, CatalogError> {
        let named = |identity: &UpdateIdentity| {
            books.number(identity).map_or(Item::Identity(*identity), Item::Number)
        };
        let mut pairs: Vec<(Item, UpdateIdentity)> =
            asked.iter().map(|identity| (named(identity), *identity)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let (items, identities) = pairs.into_iter().unzip();
        let mut prepared = Self {
            order: Order { languages: languages.to_vec(), items, context: Vec::new() },
            items: identities,
            context: Vec::new(),
        };
        let mut room = MAX_CONTEXT_BYTES;
        for (identity, text) in &books.sample {
            prepared.add(*identity, text.clone(), &mut room);
        }
        let snapshot = catalog.snapshot();
        let kin = books.kin.iter().filter_map(|identity| snapshot.find(identity));
        let older = prepared.items.clone();
        let older = older.iter().filter_map(|identity| snapshot.latest(&identity.update));
        for revision in kin.chain(older) {
            if let Some((identity, text)) = document(catalog, &snapshot, revision)? {
                prepared.add(identity, text, &mut room);
            }
        }
        Ok(prepared)
    }

    fn add(&mut self, identity: UpdateIdentity, text: Bytes, room: &mut usize) {
        let known = self.order.context.iter().any(|context| context.identity == identity);
        if known || self.context.len() == MOST_CONTEXT || text.len() > *room {
            return;
        }
        *room -= text.len();
        self.order.context.push(Context { identity, hash: short_hash(&text) });
        self.context.push(text);
    }
}

fn document(
    catalog: &Catalog,
    snapshot: &Snapshot,
    revision: RevisionId,
) -> Result<Option<(UpdateIdentity, Bytes)>, CatalogError> {
    let (Some(known), Some(part)) =
        (snapshot.revision(revision), snapshot.part(revision, &PartKind::Document))
    else {
        return Ok(None);
    };
    if part.len() > LARGEST_CONTEXT {
        return Ok(None);
    }
    match catalog.read(&part) {
        Ok(text) => Ok(Some((known.identity, text))),
        // it is fetched again, and needs nothing to be compressed against
        Err(CatalogError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes copies of some documents while they are read.
pub(super) struct Sample {
    every: usize,
    seen: usize,
    taken: Vec<(UpdateIdentity, Vec<u8>)>,
}

impl Sample {
    /// Out of so many documents.
    pub(super) fn new(count: usize) -> Self {
        Self { every: count.div_ceil(SAMPLED).max(1), seen: 0, taken: Vec::new() }
    }

    /// A document on its way to its reader.
    pub(super) fn tee<'a>(&'a mut self, identity: UpdateIdentity, text: &'a mut dyn BufRead) -> Tee<'a> {
        self.seen += 1;
        let copy = self.seen.is_multiple_of(self.every).then(|| {
            self.taken.push((identity, Vec::new()));
            self.taken.last_mut()
        });
        Tee { text, copy: copy.flatten().map(|(_, copy)| copy) }
    }

    /// Those that were not too large.
    pub(super) fn taken(self) -> Vec<(UpdateIdentity, Bytes)> {
        let small = self.taken.into_iter().filter(|(_, text)| text.len() <= LARGEST_SAMPLE);
        small.map(|(identity, text)| (identity, Bytes::from(text))).collect()
    }
}

/// A reader that keeps a copy of what it read, until that is too large.
pub(super) struct Tee<'a> {
    text: &'a mut dyn BufRead,
    copy: Option<&'a mut Vec<u8>>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Tee<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.text.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(copy) = self.copy.as_mut().filter(|copy| copy.len() <= LARGEST_SAMPLE)
            && let Ok(available) = self.text.fill_buf()
        {
            copy.extend_from_slice(&available[..amount.min(available.len())]);
        }
        self.text.consume(amount);
    }
}
