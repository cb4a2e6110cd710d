//! A replica in the test: catalog, link and synchronisation as `app` joins them, towards an office in memory.

use std::path::Path;

use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::catalog::{self, Catalog};
use tailwater::domain::{Rate, UpdateIdentity};
use tailwater::runtime::{Clock, Tasks};
use tailwater::upstream::{Config, ContentFrom, Mode, PeerUse, Schedule, Upstream};

pub(crate) struct Replica {
    pub(crate) catalog: Catalog,
    pub(crate) upstream: Upstream,
    pub(crate) tasks: Tasks,
}

impl Replica {
    /// Opens the store in `dir` and points it at `url`.
    pub(crate) fn open(dir: &Path, url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let catalog = Catalog::open(catalog::Config::new(dir.join("catalog")), clock.clone()).unwrap();
        let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
        let meter = Meter::new(&clock);
        let link_config = LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
        let link = LinkClient::new(link_config.clone(), &limiter, &meter, &clock, &tasks).unwrap();
        let mut config = Config {
            url: url.to_owned(),
            products: Vec::new(),
            classifications: Vec::new(),
            languages: vec!["en".to_owned()],
            schedule: Schedule::on_demand(),
            account_name: Some("replica.example.invalid".to_owned()),
            token: None,
            mode: Mode::Autonomous,
            content_from: ContentFrom::Upstream,
            cost: tailwater::upstream::USUAL_COST,
            sources: Vec::new(),
            peer: PeerUse::Sync,
            dir: dir.join("tmp"),
            link: link_config,
        };
        change(&mut config);
        let upstream = Upstream::new(config, catalog.clone(), link, clock, tasks.clone()).unwrap();
        Self { catalog, upstream, tasks }
    }

    /// What agents may be told of.
    pub(crate) fn visible(&self) -> Vec<UpdateIdentity> {
        let mut visible = self.catalog.staging().unwrap().active();
        visible.sort_unstable();
        visible
    }

    pub(crate) async fn close(self) {
        self.tasks.shut_down(std::time::Duration::from_secs(10)).await;
    }
}
