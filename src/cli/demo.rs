//! `demo`.
use crate::cli::arguments::DemoArguments;
use crate::cli::output::Outcome;
pub(super) async fn run(_a: &DemoArguments, _json: bool) -> anyhow::Result<Outcome> {
    anyhow::bail!("later")
}
