//! `simulate`.
use crate::cli::arguments::SimulateCommand;
use crate::cli::output::Outcome;
pub(super) async fn run(_a: &SimulateCommand, _json: bool) -> anyhow::Result<Outcome> {
    anyhow::bail!("later")
}
