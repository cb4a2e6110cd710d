//! `bandwidth`: the rate, and what crosses the link.
//!
//! **Invariant:** a rate set here holds until the server restarts, and says so. It never edits the
//! configuration file.

use serde_json::json;

use crate::cli::arguments::BandwidthCommand;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, bytes, field, list, number};

/// A number of bits a second, for people.
pub(super) fn rate(bits: u64) -> String {
    let one = |size: u64, unit: &str| format!("{}.{} {unit}", bits / size, bits % size * 10 / size);
    match bits {
        1_000_000_000.. => one(1_000_000_000, "Gbit/s"),
        1_000_000.. => one(1_000_000, "Mbit/s"),
        1_000.. => one(1_000, "kbit/s"),
        _ => format!("{bits} bit/s"),
    }
}

/// Shows or sets.
pub(super) async fn run(
    connection: &Connection,
    command: &BandwidthCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        BandwidthCommand::Show => {
            let reading = connection.get("/bandwidth").await?;
            if json {
                output::json(&reading)?;
                return Ok(Outcome::Done);
            }
            output::text(&format!(
                "Rate      {}\nNow       {}\nReceived  {} since start\nSent      {} since start\n\n",
                field(&reading, "rate"),
                rate(number(&reading, "bits_per_second")),
                bytes(&reading, "received"),
                bytes(&reading, "sent"),
            ));
            let rows: Vec<Vec<String>> = list(&reading, "by_class")
                .iter()
                .map(|class| vec![field(class, "class"), bytes(class, "received"), bytes(class, "sent")])
                .collect();
            output::table(&["PURPOSE", "RECEIVED", "SENT"], &rows);
        }
        BandwidthCommand::Set { rate } => {
            if !connection.is_server() {
                return Err(super::usage(
                    "no server runs, so there is no rate to change; set bandwidth.rate in the configuration",
                ));
            }
            let answer = connection.send("PUT", "/bandwidth", Some(json!({ "rate": rate }))).await?;
            if json {
                output::json(&answer)?;
                return Ok(Outcome::Done);
            }
            output::text(&format!(
                "The link's rate is now {} (was {}), until the server restarts; bandwidth.rate holds for good.",
                field(&answer, "rate"),
                field(&answer, "before")
            ));
        }
    }
    Ok(Outcome::Done)
}
