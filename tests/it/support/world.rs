//! A site under test: store, transfers and the files service on a free port, against an [`Origin`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::content::{self, FileState, Store};
use tailwater::domain::{ByteCount, Class, FileDeclaration, Rate, Requester, Sha1Digest};
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::{Answer, Listener, ListenerConfig, Peer, Request, Response, files};
use tailwater::transfer::{self, ByteOutcome, Handle, Policy, Source, Sources, SourcesFuture};

use super::client::Client;
use super::origin::Origin;

/// What metadata would say: files and their addresses. It keeps an account of what came.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<Vec<Declared>>>, Arc<Mutex<HashMap<Sha1Digest, Account>>>);

/// What came of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Bytes that were stored, those that were stored again counted again.
    pub stored: u64,
    /// Bytes of no use.
    pub wasted: u64,
}

type Declared = (FileDeclaration, Vec<String>);

impl Known {
    pub fn declare(&self, file: &FileDeclaration, urls: &[String]) {
        let mut known = self.0.lock().unwrap();
        known.retain(|(other, _)| other.sha1 != file.sha1);
        known.push((file.clone(), urls.to_vec()));
    }

    pub fn account(&self, file: &FileDeclaration) -> Account {
        self.1.lock().unwrap().get(&file.sha1).copied().unwrap_or_default()
    }
}

impl files::KnownFiles for Known {
    fn may_fetch(&self, _sha1: &Sha1Digest, _by: Requester) -> bool {
        true
    }

    fn declaration(&self, sha1: &Sha1Digest) -> Option<FileDeclaration> {
        self.0.lock().unwrap().iter().find(|(file, _)| file.sha1 == *sha1).map(|(file, _)| file.clone())
    }
}

impl Sources for Known {
    fn came(&self, _class: Class, sha1: Sha1Digest, _origin: &Arc<str>, came: ByteOutcome) {
        let mut accounts = self.1.lock().unwrap();
        let account = accounts.entry(sha1).or_default();
        match came {
            ByteOutcome::Stored(range) => account.stored += range.len(),
            ByteOutcome::Wasted(bytes) => account.wasted += bytes,
        }
    }

    fn sources<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move {
            let known = self.0.lock().unwrap();
            let urls = known.iter().find(|(other, _)| other.sha1 == file.sha1).map(|(_, urls)| urls.clone());
            urls.unwrap_or_default().into_iter().map(Source::from).collect()
        })
    }
}

struct FilesOnly(files::Service);

impl Answer for FilesOnly {
    async fn answer(&self, request: Request, from: Peer) -> Response {
        self.0.answer(request, Requester::at(from.address.ip())).await
    }
}

/// How the site is set up.
pub struct Setup {
    pub policy: Policy,
    pub max_size: Option<u64>,
    pub patience: Duration,
    pub rate: Rate,
    pub idle_timeout: Duration,
    pub selfupdate: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: Policy::Demand,
            max_size: None,
            patience: Duration::from_secs(20),
            rate: Rate::Unlimited,
            idle_timeout: Duration::from_secs(1),
            selfupdate: None,
        }
    }
}

/// The running site and its upstream.
pub struct World {
    pub origin: Origin,
    pub known: Known,
    pub store: Store,
    pub transfer: Handle,
    /// What the link took from the origin.
    pub meter: Meter,
    pub address: SocketAddr,
    pub tasks: Tasks,
    dir: Option<tempfile::TempDir>,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let origin = Origin::start(&Tasks::new()).await;
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::over(origin, dir.path(), setup).await;
        world.dir = Some(dir);
        world
    }

    /// A site over a folder that may hold something already.
    #[expect(clippy::unused_async, reason = "whoever makes one waits, as for every server here")]
    pub async fn over(origin: Origin, dir: &Path, setup: Setup) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let config = content::Config {
            dir: dir.to_owned(),
            max_size: setup.max_size.map(ByteCount),
            min_free: ByteCount(0),
        };
        let store = Store::open(config, clock.clone()).unwrap();
        store.start(&tasks);
        let known = Known::default();
        let link_config = LinkConfig {
            proxy: ProxySetting::Direct,
            idle_timeout: setup.idle_timeout,
            answer_timeout: setup.idle_timeout,
            ..LinkConfig::default()
        };
        let limiter = Limiter::new(setup.rate, &clock, &tasks);
        let meter = Meter::new(&clock);
        let link = LinkClient::new(link_config, &limiter, &meter, &clock, &tasks).unwrap();
        let transfer_config = transfer::Config {
            policy: setup.policy,
            patience: setup.patience,
            ..transfer::Config::default()
        };
        let sources = Arc::new(known.clone());
        let transfer =
            Handle::new(transfer_config, store.clone(), link, sources, clock.clone(), tasks.clone());
        let files = files::Service::new(
            &files::Config { selfupdate: setup.selfupdate },
            store.clone(),
            transfer.clone(),
            Arc::new(known.clone()),
            Arc::new(()),
        );
        let listener = Listener::bind(ListenerConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = listener.address();
        tasks.spawn("site", listener.run(Arc::new(FilesOnly(files)), clock, tasks.clone()));
        Self { origin, known, store, transfer, meter, address, tasks, dir: None }
    }

    /// A file that the origin has and metadata declares.
    pub fn file(&self, name: &str, size: usize, seed: u64) -> FileDeclaration {
        let file = self.origin.add(name, size, seed);
        self.known.declare(&file, &[self.origin.url(&file)]);
        file
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Waits until the store says so of a file.
    pub async fn becomes(&self, file: &FileDeclaration, state: FileState) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while self.store.status(&file.sha1).is_none_or(|status| status.state != state) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} did not become {state:?}: {:?}, {:?}",
                file.name,
                self.store.status(&file.sha1),
                self.transfer.list()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Ends everything as a stop does.
    pub async fn stop(&self) {
        self.tasks.shut_down(Duration::from_secs(10)).await;
        self.store.close().unwrap();
    }
}
