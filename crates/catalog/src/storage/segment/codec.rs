//! Compression of texts: zstd level 3 with shared dictionaries that are trained from the first documents.
//!
//! Small documents compress 4.9 times alone and 9 times with a dictionary of 32 KiB. The number of the
//! dictionary is kept with each record, so that there may be several over a store's life: the first
//! documents of a first synchronisation are categories, and say little of what comes after them.
//!
//! **Invariant:** a dictionary is used only after the store made it durable. It never changes once used.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_error_name, get_frame_content_size};

use super::frame;
use super::frame::{Kind, MAX_RAW, PLAIN, STORED};
use crate::error::CatalogError;
use tailwater_domain::{Limit, limits};

const LEVEL: i32 = 3;
/// Size of a dictionary.
const DICTIONARY_BYTES: usize = 32 * 1024;
/// How many dictionaries a store may have: numbers 1 to this.
const MAX_DICTIONARIES: u8 = 3;
/// After how many revisions seen a dictionary is trained.
const TRAIN_AT: [u64; MAX_DICTIONARIES as usize] = [50, 2_000, 20_000];
/// The most text kept to train from; more does not make a better dictionary of this size.
const SAMPLE_BYTES: usize = 2 << 20;
/// Larger texts teach a dictionary nothing that a frame of its own would not learn.
const LARGEST_SAMPLE: usize = 16 * 1024;
/// Of this many texts one is kept to train from, once there are enough for a first dictionary.
const SAMPLE_EVERY: usize = 3;
/// How many idle contexts are kept, of each kind.
const MAX_IDLE: usize = 4;
/// The largest record that is read although it is longer than a record may be: early versions wrote such blocks.
const LARGEST_EARLIER: usize = 512 << 20;
/// Fewer samples cannot be trained from.
const LEAST_SAMPLES: usize = 40;

pub(super) const LIMITS: &[Limit] = limits![
    LARGEST_EARLIER in "bytes": "A record that an earlier version wrote longer than a record may be" => "it counts as damaged",
    MAX_DICTIONARIES in "dictionaries": "Dictionaries of a store" => "none is trained any more",
    SAMPLE_BYTES in "bytes": "Texts kept to train a dictionary" => "the oldest is forgotten",
    LARGEST_SAMPLE in "bytes": "A text that a dictionary is trained from" => "it is not used for that",
    MAX_IDLE in "contexts": "Idle contexts kept of each kind" => "they are made anew",
];

// not a limit: LEAST_SAMPLES: when a dictionary can be trained

/// A dictionary, ready for use.
pub(crate) struct Dictionary {
    number: u8,
    encoder: EncoderDictionary<'static>,
    decoder: DecoderDictionary<'static>,
}

/// All dictionaries of a store, and what the next one is trained from.
#[derive(Default)]
pub(crate) struct Codec {
    dictionaries: RwLock<Vec<Arc<Dictionary>>>,
    training: Mutex<Training>,
    encoders: Pool<CCtx<'static>>,
    decoders: Pool<DCtx<'static>>,
}

#[derive(Default)]
struct Training {
    /// Number of the last dictionary that was trained, durable or not yet.
    trained: u8,
    seen: u64,
    bytes: usize,
    samples: Vec<Vec<u8>>,
    next: usize,
}

/// Contexts that wait for their next use. Making one costs more than compressing a small text with it, and
/// one for every thread of a blocking pool would be hundreds of megabytes.
struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Pool<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, context: T) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(context);
        }
    }
}

impl Codec {
    /// Adds a dictionary that is durable.
    pub(crate) fn add(&self, number: u8, bytes: &[u8]) {
        let dictionary = Dictionary {
            number,
            encoder: EncoderDictionary::copy(bytes, LEVEL),
            decoder: DecoderDictionary::copy(bytes),
        };
        let mut all = self.dictionaries.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.number != number);
        all.push(Arc::new(dictionary));
        all.sort_by_key(|dictionary| dictionary.number);
    }

    /// A number that a dictionary has which cannot be read: no other one gets it.
    pub(crate) fn reserve(&self, number: u8) {
        let mut training = self.training.lock().unwrap_or_else(PoisonError::into_inner);
        training.trained = training.trained.max(number);
    }

    /// Whether what was compressed so can be read.
    pub(crate) fn knows(&self, dictionary: u8) -> bool {
        matches!(dictionary, STORED | PLAIN) || self.get(dictionary).is_some()
    }

    fn newest(&self) -> Option<Arc<Dictionary>> {
        self.dictionaries.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    fn get(&self, number: u8) -> Option<Arc<Dictionary>> {
        let all = self.dictionaries.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|dictionary| dictionary.number == number).cloned()
    }

    /// Learns from texts of revisions about to be stored. Now and then it answers with a new dictionary,
    /// to be made durable and then added.
    pub(crate) fn learn<'a>(
        &self,
        revisions: u64,
        texts: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(u8, Vec<u8>)> {
        let mut training = self.training.lock().unwrap_or_else(PoisonError::into_inner);
        // another thread may be making the last one durable: its number is taken
        let last = self.newest().map_or(0, |dictionary| dictionary.number).max(training.trained);
        let number = last.saturating_add(1);
        let due = *TRAIN_AT.get(usize::from(number).checked_sub(1)?)?;
        training.seen += revisions;
        let every = if number == 1 { 1 } else { SAMPLE_EVERY };
        for text in texts.filter(|text| !text.is_empty() && text.len() <= LARGEST_SAMPLE).step_by(every) {
            training.keep(text);
        }
        if training.seen < due || training.samples.len() < LEAST_SAMPLES {
            return None;
        }
        let samples = std::mem::take(&mut *training).samples;
        training.seen = due;
        // a store whose texts cannot be trained from is compressed without a dictionary
        let mut bytes = zstd::dict::from_samples(&samples, DICTIONARY_BYTES).ok()?;
        // its identity is written into each frame: a small number takes one byte instead of four
        bytes.get_mut(4..8)?.copy_from_slice(&[number, 0, 0, 0]);
        training.trained = number;
        Some((number, bytes))
    }

    /// Compresses with the newest dictionary; for one thread.
    pub(crate) fn encoder(&self) -> Result<Encoder<'_>, CatalogError> {
        let context = self.encoders.take().or_else(CCtx::try_create);
        let context =
            context.ok_or_else(|| CatalogError::Compression(std::io::ErrorKind::OutOfMemory.into()))?;
        Ok(Encoder { codec: self, context: Some(context), dictionary: self.newest(), scratch: Vec::new() })
    }

    /// Undoes what an encoder did.
    pub(crate) fn decode(&self, header: &frame::Header, payload: &[u8]) -> Result<Vec<u8>, CatalogError> {
        let known = |len: usize| len == header.raw || (len <= LARGEST_EARLIER && len & MAX_RAW == header.raw);
        if header.dictionary == STORED {
            return if known(payload.len()) { Ok(payload.to_vec()) } else { Err(mismatch()) };
        }
        // the frame says its length too, with the bits that the headers of early versions lost
        let said = get_frame_content_size(payload).ok().flatten().and_then(|len| usize::try_from(len).ok());
        let len = said.unwrap_or(header.raw);
        if !known(len) {
            return Err(mismatch());
        }
        let mut raw = Vec::with_capacity(len);
        let mut decoder = self.decoders.take().unwrap_or_default();
        match header.dictionary {
            PLAIN => decoder.decompress(&mut raw, payload).map_err(fail),
            number => match self.get(number) {
                Some(dictionary) => decoder
                    .decompress_using_ddict(&mut raw, payload, dictionary.decoder.as_ddict())
                    .map_err(fail),
                None => Err(CatalogError::Compression(std::io::ErrorKind::NotFound.into())),
            },
        }?;
        self.decoders.give(decoder);
        if raw.len() == len { Ok(raw) } else { Err(mismatch()) }
    }
}

impl Training {
    /// Keeps a text; when full, the oldest goes.
    fn keep(&mut self, text: &[u8]) {
        if self.bytes + text.len() <= SAMPLE_BYTES || self.samples.is_empty() {
            self.bytes += text.len();
            self.samples.push(text.to_vec());
            return;
        }
        let at = self.next % self.samples.len();
        self.bytes = self.bytes + text.len() - self.samples[at].len();
        self.samples[at] = text.to_vec();
        self.next += 7; // some of the old stay, whatever order texts come in
    }
}

/// A record has another length than its header says.
fn mismatch() -> CatalogError {
    CatalogError::Compression(std::io::ErrorKind::InvalidData.into())
}

fn fail(code: usize) -> CatalogError {
    CatalogError::Compression(std::io::Error::other(get_error_name(code)))
}

/// Compresses records; see [`Codec::encoder`].
pub(crate) struct Encoder<'a> {
    codec: &'a Codec,
    /// There until it is given back.
    context: Option<CCtx<'static>>,
    dictionary: Option<Arc<Dictionary>>,
    scratch: Vec<u8>,
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            self.codec.encoders.give(context);
        }
    }
}

impl Encoder<'_> {
    /// Appends one record to `out`.
    pub(crate) fn record(&mut self, out: &mut Vec<u8>, kind: Kind, raw: &[u8]) -> Result<(), CatalogError> {
        if raw.len() > MAX_RAW {
            let (len, limit) = (raw.len() as u64, MAX_RAW as u64);
            return Err(CatalogError::RecordTooLarge { len, limit });
        }
        self.scratch.clear();
        self.scratch.reserve(compress_bound(raw.len()));
        let context = self.context.get_or_insert_default();
        let number = if let Some(dictionary) = &self.dictionary {
            let cdict = dictionary.encoder.as_cdict();
            context.compress_using_cdict(&mut self.scratch, raw, cdict).map_err(fail)?;
            dictionary.number
        } else {
            context.compress(&mut self.scratch, raw, LEVEL).map_err(fail)?;
            PLAIN
        };
        if self.scratch.len() < raw.len() {
            frame::write(out, kind, number, raw.len(), &self.scratch)
        } else {
            frame::write(out, kind, STORED, raw.len(), raw)
        }
    }
}

/// Appends one record that is not compressed: dictionaries themselves.
pub(crate) fn plain_record(out: &mut Vec<u8>, kind: Kind, raw: &[u8]) -> Result<(), CatalogError> {
    frame::write(out, kind, STORED, raw.len(), raw)
}
