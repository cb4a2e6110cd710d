//! The line to a tailwater for one synchronisation: its messages, and what they said that later ones build on.
//!
//! **Invariant:** once it was strange it is not used again; the numbers of a list are used for that list only. It
//! stores nothing but what fetching stores.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Method;

use super::exchange::{Ask, Trouble};
use super::order::{Books, Prepared, Sample};
use crate::catalog::Catalog;
use crate::domain::{Limit, UpdateIdentity, limits};
use crate::upstream::SyncError;
use crate::upstream::ingest::{self, Ingested};
use crate::upstream::session::Session;
use crate::upstream::sync::blocking;
use crate::wire::peer::{Hello, List, MAX_LIST, Numbers, PackReader, Question};
use crate::wire::update_metadata::{Languages, MAX_DOCUMENT, cut};

/// A pack of one document, as it crosses the link.
const LONGEST_PACK: u64 = MAX_DOCUMENT;
/// `N M`, and the marks of both.
const LONGEST_NUMBERS: u64 = 128;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_PACK in "bytes": "A pack of documents as it crosses the link" => "the pack is refused",
    LONGEST_NUMBERS in "bytes": "The answer to a question for changes" => "it is refused",
];

/// One line. Shared by all who fetch.
pub(in crate::upstream) struct Line {
    pub(super) session: Arc<Session>,
    pub(super) hello: Hello,
    pub(super) catalog: Catalog,
    /// The languages that are kept, as configured.
    pub(super) languages: Vec<String>,
    strange: AtomicBool,
    books: Mutex<Books>,
}

impl Line {
    pub(in crate::upstream) fn new(
        session: Arc<Session>,
        hello: Hello,
        catalog: Catalog,
        languages: Vec<String>,
    ) -> Self {
        let (strange, books) = (AtomicBool::new(false), Mutex::default());
        Self { session, hello, catalog, languages, strange, books }
    }

    /// Whether it can still be used.
    pub(in crate::upstream) fn is_good(&self) -> bool {
        !self.strange.load(Ordering::Relaxed)
    }

    /// It behaved strangely. Told once.
    pub(in crate::upstream) fn distrust(&self, reason: &str) {
        if !self.strange.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason, "the upstream tailwater behaves strangely; going on over MS-WSUSSS");
        }
    }

    /// The most documents in one order.
    pub(in crate::upstream) fn batch(&self) -> usize {
        self.hello.most_items
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the server has come.
    pub(super) async fn numbers(&self) -> Result<Numbers, Trouble> {
        numbers(&self.session, "/changes?marks=1").await
    }

    /// One page of a list. What it says of numbers and kin is remembered until the next page.
    pub(super) async fn list(&self, question: &Question) -> Result<List, Trouble> {
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
        let list = read.await?.map_err(|error| Trouble::Strange(error.to_string()))??;
        if list.server != self.hello.server {
            return Err(Trouble::Strange("another server answers".to_owned()));
        }
        if list.entries.first().is_some_and(|first| first.number <= question.after) {
            return Err(Trouble::Strange("its list leads back".to_owned()));
        }
        let mut books = self.books();
        books.numbers = list.entries.iter().map(|entry| (entry.identity, entry.number)).collect();
        books.kin.clone_from(&list.kin);
        drop(books);
        Ok(list)
    }

    /// Asks for documents; the answer may have fewer. `lenient` as in [`ingest`].
    pub(in crate::upstream) async fn pack(
        self: &Arc<Self>,
        asked: Arc<[UpdateIdentity]>,
        languages: Arc<Languages>,
        lenient: bool,
    ) -> Result<Ingested, Trouble> {
        let line = Arc::clone(self);
        let prepared = blocking(move || {
            let books = line.books().clone();
            Prepared::new(&asked, &books, &line)
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
            Ok::<_, Trouble>((ingest::packed(records, lenient), sample.taken()))
        });
        let (ingested, sample) = read.await??;
        self.books().sample = sample;
        Ok(ingested)
    }
}

/// Asks for numbers at a path with its query.
pub(super) async fn numbers(session: &Session, path: &str) -> Result<Numbers, Trouble> {
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
    found.ok_or_else(|| Trouble::Strange("its numbers are none".to_owned()))
}

impl Books {
    /// The server's number for a revision that the present page listed.
    pub(super) fn number(&self, identity: &UpdateIdentity) -> Option<u32> {
        self.numbers.get(identity).copied()
    }
}

/// As [`Books`] keeps them.
pub(super) type NumbersOf = HashMap<UpdateIdentity, u32>;
