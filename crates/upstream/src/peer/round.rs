//! One round of a synchronisation with a tailwater: what `Run` does over MS-WSUSSS, in its messages.
//!
//! **Invariant:** the mark moves in the batch that makes what it stands for visible, and pages that were stored are not
//! listed again after a kill. It asks for nothing when the server has not moved.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::PeerClient;
use super::exchange::PeerError;
use crate::blocking::blocking;
use crate::config::Mode;
use crate::error::SyncError;
use crate::fetch::Fetcher;
use crate::ingest::Related;
use crate::mark::Mark;
use crate::report::Phase;
use crate::run::Run;
use crate::select::{self, Selection};
use tailwater_catalog::to_json;
use tailwater_domain::UpdateIdentity;
use tailwater_wire::peer::{Numbers, Question};

const PAGE_KEY: &str = "upstream.peer.page";

/// How far a list of several pages was read.
#[derive(Serialize, Deserialize)]
struct Page {
    server: Uuid,
    /// BLAKE3 of the question for the first page.
    question: [u8; 32],
    /// What the first page's answer said.
    numbers: Numbers,
    after: u32,
}

/// How an upstream stands to what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// As it was.
    Quiet,
    /// Something else was decided there.
    Decided,
    /// There are other revisions, or others are wanted of it.
    News,
}

/// What the pages of a list said beside their entries.
#[derive(Debug, Default)]
struct ListSummary {
    /// Those of the first page: what came while the others were read comes again.
    numbers: Numbers,
    decisions: Option<Vec<u8>>,
}

impl Run {
    /// Everything up to the activation.
    pub(crate) async fn peer_round(&mut self, peer: &PeerClient, fetcher: &Fetcher) -> Result<(), PeerError> {
        let mark = self.state().mark().cloned().filter(|mark| mark.server == peer.hello.server);
        let retried = self.to_retry();
        let mut related = Related::default();
        let stand = self.stand(peer, mark.as_ref()).await?;
        let before = mark.unwrap_or_default();
        let mut reached = Mark { server: peer.hello.server, ..before.clone() };
        let mut decided = None;
        if stand != Stand::Quiet {
            self.phase(Phase::Categories);
            let asked = Question {
                server: Some(peer.hello.server),
                since: before.numbers.updates,
                since_mark: before.numbers.updates_mark,
                config: true,
                decisions: self.wants_decisions().then(|| before.decisions.unwrap_or_default()),
                decisions_mark: before.decisions_branch,
                ..Question::default()
            };
            let told = self.pages(peer, fetcher, asked, &mut related).await?;
            (reached.numbers, decided) = (told.numbers, told.decisions);
        }
        if stand == Stand::News {
            reached.selection = self.selection().await?;
            self.phase(Phase::Listing);
            if !reached.selection.nothing {
                let asked = self.question(peer, &before, &reached.selection);
                self.phase(Phase::Updates);
                self.pages(peer, fetcher, asked, &mut related).await?;
            }
        }
        related.merge(self.retry(fetcher, retried).await?);
        self.phase(Phase::Related);
        let unfiltered = reached.selection.is_unfiltered();
        self.related(fetcher, related, unfiltered).await?;
        (reached.decisions, reached.decisions_branch) = match decided {
            Some(told) => {
                let change = self.take_told_decisions(&told).await?;
                let numbers = &reached.numbers;
                let mark = if change == numbers.decisions { numbers.decisions_mark } else { 0 };
                (Some(change), mark)
            }
            None => (before.decisions.filter(|_| self.wants_decisions()), before.decisions_branch),
        };
        if self.keep_missing() {
            if stand == Stand::News && !reached.selection.nothing {
                self.has_compared();
            }
            self.state_mut().read_peer(reached);
        }
        Ok(())
    }

    fn wants_decisions(&self) -> bool {
        self.config().mode == Mode::Replica
    }

    /// Compares what is known with where the server is.
    async fn stand(&mut self, peer: &PeerClient, mark: Option<&Mark>) -> Result<Stand, PeerError> {
        let Some(mark) = mark else { return Ok(Stand::News) };
        let now = peer.numbers().await?;
        if !mark.knows_updates(&now) || self.selection().await? != mark.selection {
            return Ok(Stand::News);
        }
        // decisions are none of an autonomous server's business
        let decided = self.wants_decisions() && !mark.knows_decisions(&now);
        Ok(if decided { Stand::Decided } else { Stand::Quiet })
    }

    /// Asks what is to be installed, as `GetRevisionIdList` would be asked.
    fn question(&self, peer: &PeerClient, before: &Mark, selection: &Selection) -> Question {
        // the anchor only says that there is one: a number stands for it here
        let known = (before.numbers.updates > 0).then_some("");
        let filter = select::filter(selection, &before.selection, known);
        let tags = self.state().languages();
        let languages = filter.languages.iter().filter_map(|entry| {
            let tag = tags.iter().find(|language| language.id == entry.id)?.short_name.clone();
            Some((tag, entry.delta))
        });
        Question {
            server: Some(peer.hello.server),
            since: if filter.anchor.is_some() { before.numbers.updates } else { 0 },
            since_mark: if filter.anchor.is_some() { before.numbers.updates_mark } else { 0 },
            languages: languages.collect(),
            products: filter.products,
            classifications: filter.classifications,
            ..Question::default()
        }
    }

    /// Reads a list page by page, and fetches what each names.
    async fn pages(
        &mut self,
        peer: &PeerClient,
        fetcher: &Fetcher,
        mut question: Question,
        related: &mut Related,
    ) -> Result<ListSummary, PeerError> {
        let hash = *blake3::hash(&question.encode()).as_bytes();
        let (mut first, mut told) = (None, ListSummary::default());
        if let Some(page) = self.page().await?
            && (page.server, page.question) == (peer.hello.server, hash)
        {
            question.after = page.after;
            first = Some(page.numbers);
        }
        loop {
            let list = peer.list(&question).await?;
            let numbers = *first.get_or_insert(list.numbers);
            told.numbers = numbers;
            told.decisions = list.decisions.or(told.decisions);
            self.withdraw(list.withdrawn);
            let listed: Vec<UpdateIdentity> = list.entries.iter().map(|entry| entry.identity).collect();
            related.merge(self.take(fetcher, &listed).await?);
            let reached = list.entries.last().map(|entry| entry.number).filter(|_| list.more);
            let Some(reached) = reached else {
                self.keep_page(None).await?;
                return Ok(told);
            };
            question.after = reached;
            // what did not come of a page is only known to this run: then the pages are read again
            if self.tally().missing.is_empty() {
                let page = Page { server: peer.hello.server, question: hash, numbers, after: reached };
                self.keep_page(Some(page)).await?;
            }
        }
    }

    async fn page(&self) -> Result<Option<Page>, SyncError> {
        let catalog = self.catalog();
        let kept = blocking(move || catalog.setting(PAGE_KEY)).await?.map_err(SyncError::Catalog)?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn keep_page(&self, page: Option<Page>) -> Result<(), SyncError> {
        let catalog = self.catalog();
        let bytes = page.map(|page| to_json(&page)).transpose().map_err(SyncError::Catalog)?;
        let kept = blocking(move || match bytes {
            None if catalog.setting(PAGE_KEY)?.is_none() => Ok(()),
            bytes => catalog.set_setting(PAGE_KEY, bytes.as_deref()),
        });
        kept.await?.map_err(SyncError::Catalog)
    }
}
