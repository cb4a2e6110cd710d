//! Progress of long work on standard error: a bar on a terminal, plain lines elsewhere.
//!
//! **Invariant:** the same line is not printed twice. It never writes to standard output.

use std::io::IsTerminal as _;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Progress of long work on standard error.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    /// The last plain line, so that nothing is said twice.
    said: Mutex<String>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, said: Mutex::new(String::new()) }
    }

    pub(super) fn show(&self, done: u64, total: u64, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text.to_owned());
            return;
        }
        // plain lines: one for each phase and tenth
        let tenth = (done * 10).checked_div(total).unwrap_or(0);
        let phase = text.split(':').next().unwrap_or_default();
        let line = format!("{phase} {tenth}");
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *said != line {
            *said = line;
            output::note(text);
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
