//! Cuts one document: reads it token by token.
//!
//! **Invariant:** a document is read once, from its beginning to its end. It never holds more of it than one token.

use std::io::BufRead;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::cut_result::Cut;
use super::cutter::Cutter;
use super::error::MetadataError;
use super::language::Languages;
use super::source::{Tee, limit_or};
use tailwater_domain::DriverFacts;
use tailwater_runtime::guarded;

/// What a document says of the devices its driver is for; none when it cannot be read.
pub fn drivers_of(document: &[u8]) -> Option<Vec<DriverFacts>> {
    cut(document, &Languages::of(["en"])).ok().map(|cut| cut.facts.drivers)
}

/// Cuts a full update document of UTF-8 text (a byte order mark is allowed).
///
/// # Errors
/// When it is no update document, breaks a limit, or a temporary file cannot be written.
pub fn cut(document: impl BufRead, keep: &Languages) -> Result<Cut, MetadataError> {
    // whatever a document does to the program, it does to itself
    guarded(|| read(document, keep)).unwrap_or_else(|panicked| Err(MetadataError::Fault(panicked)))
}

fn read(document: impl BufRead, keep: &Languages) -> Result<Cut, MetadataError> {
    let mut reader = Reader::from_reader(Tee::new(document));
    let mut buffer = Vec::new();
    let mut cutter = Cutter::new(keep);
    loop {
        buffer.clear();
        let event = match reader.read_event_into(&mut buffer) {
            Ok(event) => event,
            Err(quick_xml::Error::Io(error)) => return Err(limit_or(&error)),
            Err(source) => return Err(MetadataError::NotXml { position: reader.error_position(), source }),
        };
        let done = matches!(event, Event::Eof);
        let position = reader.buffer_position();
        let seen = &mut reader.get_mut().seen;
        cutter.token(&event, seen).map_err(|error| located(error, position))?;
        seen.clear();
        if done {
            return cutter.finish();
        }
    }
}

fn located(error: MetadataError, at: u64) -> MetadataError {
    match error {
        MetadataError::Malformed { position: 0, what } => MetadataError::Malformed { position: at, what },
        other => other,
    }
}
