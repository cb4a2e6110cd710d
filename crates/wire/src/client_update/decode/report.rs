//! `ReportEventBatch` and `ReportEventBatch2`.
//!
//! **Invariant:** an event that cannot be told from others is left out; numbers that only people read may be wrong.

use std::io::BufRead;

use uuid::Uuid;

use super::element::{MAX_ROWS, MAX_TEXTS, Outcome, cookie, guid, identity, lenient, present, worth_keeping};
use crate::client_update::parse_date_time;
use crate::client_update::request::{Event, ReportEventBatch};
use crate::xml::Decoder;

pub(super) fn report<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<ReportEventBatch> {
    let mut request = ReportEventBatch::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "computerId" => request.computer_id = decoder.optional_text()?,
            "clientTime" => request.has_client_time = parse_date_time(&decoder.text()?).is_some(),
            "eventBatch" => {
                request.events = worth_keeping(decoder, "ReportingEvent", MAX_ROWS, event)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

/// An event; `None` when it has no identity, so that it could not be told from others.
fn event<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Event>> {
    let mut event = Event {
        instance: Uuid::nil(),
        id: 0,
        namespace: 0,
        source: 0,
        at: None,
        update: None,
        result: 0,
        app: String::new(),
        replacements: Vec::new(),
        misc: Vec::new(),
    };
    while let Some(name) = decoder.child()? {
        match name {
            "BasicData" => basic_data(decoder, &mut event)?,
            "ExtendedData" => extended_data(decoder, &mut event)?,
            _ => decoder.skip()?,
        }
    }
    Ok((!event.instance.is_nil()).then_some(event))
}

fn basic_data<R: BufRead>(decoder: &mut Decoder<R>, event: &mut Event) -> Outcome<()> {
    while let Some(name) = decoder.child()? {
        match name {
            "TimeAtTarget" => event.at = parse_date_time(&decoder.text()?),
            "EventInstanceID" => event.instance = guid(decoder)?,
            "NamespaceID" => event.namespace = lenient(decoder)?,
            "EventID" => event.id = lenient(decoder)?,
            "SourceID" => event.source = lenient(decoder)?,
            "UpdateID" => event.update = present(decoder, identity)?.filter(|row| !row.update.is_nil()),
            // the specification writes Win32Hresult in its text
            "Win32HResult" | "Win32Hresult" => event.result = lenient(decoder)?,
            "AppName" => event.app = decoder.text()?,
            _ => decoder.skip()?,
        }
    }
    Ok(())
}

fn extended_data<R: BufRead>(decoder: &mut Decoder<R>, event: &mut Event) -> Outcome<()> {
    while let Some(name) = decoder.child()? {
        match name {
            "ReplacementStrings" => event.replacements = decoder.texts("string", MAX_TEXTS)?,
            "MiscData" => event.misc = decoder.texts("string", MAX_TEXTS)?,
            _ => decoder.skip()?,
        }
    }
    Ok(())
}
