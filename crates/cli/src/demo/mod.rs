//! `demo`: the whole story on one machine.
//!
//! **Invariant:** every number it prints was measured in this run, at the counters of the real server. It never
//! touches the configuration or the data of a real installation: all of it lives in a folder that goes.

mod story;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::arguments::DemoArguments;
use crate::connection::Connection;
use crate::output::{self, Outcome};
use tailwater_app::{self as app, Running};
use tailwater_config as config;
use tailwater_domain::{ByteCount, Rate};
use tailwater_runtime::{Clock, Tasks};
use tailwater_simulate::upstream;

/// Ordinary updates of the sample head office: what a small site selects.
const UPDATES: u32 = 120;

/// Packages of the definitions bundle, of which a computer needs a few.
const DEFINITION_FILES: u32 = 40;

/// Mean size of a payload; with the default rate the story fits two minutes.
const MEAN_SIZE: ByteCount = ByteCount(1_500_000);

/// How long the head office may take to end.
const DRAIN: Duration = Duration::from_secs(3);

/// The stage: a head office, a branch behind a slow link, and the way to the branch's API.
struct Stage {
    office: upstream::Running,
    branch: Running,
    desk: Arc<Connection>,
    rate: Rate,
    clients: u32,
    quiet: bool,
}

impl Stage {
    /// Tells people; programs are told at the end.
    fn say(&self, text: &str) {
        if !self.quiet {
            output::text(text);
        }
    }

    fn agents(&self) -> String {
        self.branch.agents.first().map(|address| format!("http://{address}")).unwrap_or_default()
    }
}

/// Tells the story.
pub(super) async fn run(arguments: &DemoArguments, json: bool) -> anyhow::Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("tailwater-demo-").tempdir()?;
    let (clock, tasks, office_tasks) = (Clock::system(), Tasks::new(), Tasks::new());
    let stage = set_up(arguments, folder.path(), &tasks, &office_tasks, json).await?;
    let told = tokio::select! {
        told = story::tell(&stage, &clock, &tasks) => told,
        stop = app::stop_signal() => stop.map_err(Into::into).and_then(|()| anyhow::bail!("stopped before the end")),
    };
    if let Ok(figures) = &told {
        if json {
            output::json(figures)?;
        }
        if !arguments.exit {
            let say = if json { output::note } else { output::text };
            say(&format!(
                "\nThe console stays open until Ctrl-C: http://{}/\nIts token: {}",
                stage.branch.admin,
                std::fs::read_to_string(&stage.branch.token_file)?.trim()
            ));
            app::stop_signal().await?;
        }
    }
    stage.branch.stop().await;
    office_tasks.shut_down(DRAIN).await;
    told.map(|_figures| Outcome::Done)
}

async fn set_up(
    arguments: &DemoArguments,
    folder: &Path,
    tasks: &Tasks,
    office_tasks: &Tasks,
    quiet: bool,
) -> anyhow::Result<Stage> {
    let clock = Clock::system();
    let office = upstream::Config {
        updates: UPDATES,
        mean_size: MEAN_SIZE,
        definitions: 1,
        definition_files: DEFINITION_FILES,
        ..upstream::Config::default()
    };
    let office = upstream::start(office, &clock, office_tasks).await?;
    let file = folder.join("tailwater.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n\
         [agents]\ntargeting = \"client\"\n\
         [content]\nmax_size = \"20 GB\"\nmin_free = \"0\"\n\
         [bandwidth]\nrate = \"{}\"\n[admin]\nlisten = \"{}\"\n",
        office.url(),
        arguments.rate,
        arguments.admin_listen,
    );
    std::fs::write(&file, text)?;
    let loaded = config::load(Some(&file), [])?;
    let branch = app::start(&loaded, clock, tasks.clone()).await?;
    let desk = Arc::new(Connection::within(branch.local_site(), tasks.clone()));
    Ok(Stage { office, branch, desk, rate: arguments.rate, clients: arguments.clients, quiet })
}
