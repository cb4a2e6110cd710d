//! The client of a tailwater for one synchronisation: its messages, and what they said that later ones build on.
//!
//! **Invariant:** once it was strange it is not used again; the numbers of a list are used for that list only. It
//! stores nothing but what fetching stores.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Method;

use super::exchange::{Ask, PeerError};
use super::order::{Books, Prepared, Sample};
use crate::blocking::blocking;
use crate::error::SyncError;
use crate::ingest::{self, Ingested};
use crate::session::Session;
use tailwater_catalog::Catalog;
use tailwater_domain::{Limit, UpdateId, UpdateIdentity, limits};
use tailwater_wire::peer::{Hello, List, MAX_LIST, MOST_ENTRIES, Numbers, PackReader, Question};
use tailwater_wire::update_metadata::{Languages, MAX_DOCUMENT, cut};

/// A pack of one document, as it crosses the link.
const LONGEST_PACK: u64 = MAX_DOCUMENT;
/// `N M`, and the marks of both.
const LONGEST_NUMBERS: u64 = 128;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_PACK in "bytes": "A pack of documents as it crosses the link" => "the pack is refused",
    LONGEST_NUMBERS in "bytes": "The answer to a question for changes" => "it is refused",
];

/// The client of one upstream. Shared by all who fetch.
pub(crate) struct PeerClient {
    session: Arc<Session>,
    pub(super) hello: Hello,
    catalog: Catalog,
    /// The languages that are kept, as configured.
    languages: Vec<String>,
    strange: AtomicBool,
    books: Mutex<Books>,
}

impl PeerClient {
    pub(crate) fn new(session: Arc<Session>, hello: Hello, catalog: Catalog, languages: Vec<String>) -> Self {
        let (strange, books) = (AtomicBool::new(false), Mutex::default());
        Self { session, hello, catalog, languages, strange, books }
    }

    /// Whether it can still be used.
    pub(crate) fn is_good(&self) -> bool {
        !self.strange.load(Ordering::Relaxed)
    }

    /// It behaved strangely. Told once.
    pub(crate) fn distrust(&self, reason: &str) {
        if !self.strange.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                reason,
                "the upstream tailwater gave an unexpected answer; continuing over MS-WSUSSS"
            );
        }
    }

    /// The most documents in one order.
    pub(crate) fn batch(&self) -> usize {
        self.hello.most_items
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the server has come.
    pub(super) async fn numbers(&self) -> Result<Numbers, PeerError> {
        numbers(&self.session, "/changes?marks=1").await
    }

    /// One page of a list. What it says of numbers and kin is remembered until the next page.
    pub(super) async fn list(&self, question: &Question) -> Result<List, PeerError> {
        let ask = Ask {
            what: "the list",
            method: Method::POST,
            path: "/list",
            body: question.encode().into(),
            limit: MAX_LIST as u64,
        };
        let mut answer = self.session.ask_peer(&ask).await?;
        let read = blocking(move || {
            let mut bytes = Vec::new();
            answer.read_to_end(&mut bytes).map(|_| List::decode(&bytes))
        });
        let list = read.await?.map_err(|error| PeerError::Strange(error.to_string()))??;
        if list.server != self.hello.server {
            return Err(PeerError::Strange("another server answers".to_owned()));
        }
        if list.entries.first().is_some_and(|first| first.number <= question.after) {
            return Err(PeerError::Strange("its list leads back".to_owned()));
        }
        let mut books = self.books();
        books.numbers = list.entries.iter().map(|entry| (entry.identity, entry.number)).collect();
        books.kin.clone_from(&list.kin);
        drop(books);
        Ok(list)
    }

    /// The newest revisions of updates, as far as the server has them.
    pub(crate) async fn newest(&self, updates: &[UpdateId]) -> Result<Vec<UpdateIdentity>, PeerError> {
        let mut found = Vec::new();
        for named in updates.chunks(MOST_ENTRIES) {
            let question = Question { named: named.to_vec(), ..Question::default() };
            let list = self.list(&question).await?;
            found.extend(list.entries.iter().map(|entry| entry.identity));
        }
        Ok(found)
    }

    /// Asks for documents; the answer may have fewer. `lenient` as in [`ingest`].
    pub(crate) async fn pack(
        self: &Arc<Self>,
        asked: Arc<[UpdateIdentity]>,
        languages: Arc<Languages>,
        lenient: bool,
    ) -> Result<Ingested, PeerError> {
        let client = Arc::clone(self);
        let prepared = blocking(move || {
            let books = client.books().clone();
            Prepared::new(&asked, &books, &client.catalog, &client.languages)
        });
        let prepared = prepared.await?.map_err(SyncError::Catalog)?;
        let body = Bytes::from(prepared.order.encode());
        let ask = Ask { what: "the pack", method: Method::POST, path: "/pack", body, limit: LONGEST_PACK };
        let answer = self.session.ask_peer(&ask).await?;
        let read = blocking(move || {
            let context: Vec<&[u8]> = prepared.context.iter().map(|document| &document[..]).collect();
            let reader = PackReader::open(answer, &prepared.items, &context)?;
            let mut sample = Sample::new(reader.included().len());
            let records = reader.read(|identity, text| cut(sample.tee(*identity, text), &languages))?;
            Ok::<_, PeerError>((ingest::packed(records, lenient), sample.taken()))
        });
        let (ingested, sample) = read.await??;
        self.books().sample = sample;
        Ok(ingested)
    }
}

/// Asks for numbers at a path with its query.
pub(super) async fn numbers(session: &Session, path: &str) -> Result<Numbers, PeerError> {
    let ask =
        Ask { what: "its numbers", method: Method::GET, path, body: Bytes::new(), limit: LONGEST_NUMBERS };
    let answer = session.ask_peer(&ask).await?;
    let mut text = String::new();
    let read = answer.take(LONGEST_NUMBERS).read_to_string(&mut text);
    let all: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
    let found = match all.as_deref().filter(|_| read.is_ok()) {
        Some(&[updates, decisions]) => Some(Numbers { updates, decisions, ..Numbers::default() }),
        Some(&[updates, decisions, updates_mark, decisions_mark]) => {
            Some(Numbers { updates, decisions, updates_mark, decisions_mark })
        }
        _ => None,
    };
    found.ok_or_else(|| PeerError::Strange("its numbers are none".to_owned()))
}
