//! Hands each token of a document to the document copy, the fragment of its section, and the facts.
//!
//! **Invariant:** the order of sections in the document does not matter; the order in fragments is fixed.
//! It never holds more than one token and the small sections in memory.

use quick_xml::events::Event;

use super::around::Around;
use super::cut_result::{Cut, Localized};
use super::element_kind::ElementKind;
use super::error::MetadataError;
use super::escape;
use super::facts::{self, Collector};
use super::fragment::Writer;
use super::language::Languages;
use super::localized::{Entries, Kind};
use super::properties;
use super::section::{CORE, EXTENDED, FILES, HANDLER, IDENTITY, RELATIONSHIPS, RULES, UNROUTED};
use super::spool::Spool;
use super::tag::{AttributeSpans, Scope, Space, Tag};
use tailwater_domain::{Limit, limits};

/// Elements open at once; applicability rules of real documents nest about thirty deep.
pub const MAX_DEPTH: usize = 200;
/// The longest text that becomes a fact (a title, a digest).
const MAX_FACT: usize = 64 << 10;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DEPTH in "elements": "Elements within elements of a document" => "that document is refused",
    MAX_FACT in "bytes": "A text of a document that becomes a fact" => "that document is refused",
];

/// What has been read so far of a document.
pub(super) struct Cutter<'k> {
    keep: &'k Languages,
    facts: Collector,
    scope: Scope,
    attribute_places: AttributeSpans,
    places: Vec<ElementKind>,
    writer: Writer,
    /// Writes `Properties` of the Core fragment, while they are open.
    core_writer: Writer,
    sections: [Spool; 8],
    seen: [bool; 8],
    /// The section being written, while below the root.
    section: Option<usize>,
    /// The text of the element being read, when it becomes a fact.
    text: String,
    document: Spool,
    around: Around,
    /// What follows the localized properties, while it is unknown which of them stay.
    tail: Option<Spool>,
    entries: Entries,
    localized: Vec<Localized>,
    eulas: Vec<Localized>,
    collection_seen: bool,
    root_seen: bool,
}

impl<'k> Cutter<'k> {
    pub(super) fn new(keep: &'k Languages) -> Self {
        Self {
            keep,
            facts: Collector::default(),
            scope: Scope::default(),
            attribute_places: AttributeSpans::default(),
            places: Vec::new(),
            writer: Writer::default(),
            core_writer: Writer::default(),
            sections: Default::default(),
            seen: [false; 8],
            section: None,
            text: String::new(),
            document: Spool::default(),
            around: Around::default(),
            tail: None,
            entries: Entries::default(),
            localized: Vec::new(),
            eulas: Vec::new(),
            collection_seen: false,
            root_seen: false,
        }
    }

    /// One token, with the bytes it was read from.
    pub(super) fn token(&mut self, event: &Event<'_>, raw: &[u8]) -> Result<(), MetadataError> {
        match event {
            Event::Start(tag) => {
                self.start(tag, raw)?;
                self.settle()
            }
            Event::Empty(tag) => {
                self.start(tag, raw)?;
                self.end(tag.local_name().into_inner(), &[])
            }
            Event::End(tag) => self.end(tag.local_name().into_inner(), raw),
            Event::Text(text) => self.text(text, raw, false),
            Event::CData(text) => self.text(text, raw, true),
            Event::GeneralRef(name) => {
                if escape::referenced(name).is_none() {
                    return Err(MetadataError::Malformed { position: 0, what: "references are known ones" });
                }
                let whole = format!("&{};", &**name);
                self.text(&whole, raw, false)
            }
            Event::DocType(_) => Err(MetadataError::Dtd),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {
                self.copy(raw);
                Ok(())
            }
            Event::Eof => Ok(()),
        }
    }

    fn place(&self) -> ElementKind {
        self.places.last().copied().unwrap_or(ElementKind::Document)
    }

    fn start(&mut self, text: &str, raw: &[u8]) -> Result<(), MetadataError> {
        let depth = self.places.len() + 1;
        if depth > MAX_DEPTH {
            return Err(MetadataError::TooMuch {
                what: "elements inside each other",
                limit: MAX_DEPTH as u64,
            });
        }
        let mut attribute_places = std::mem::take(&mut self.attribute_places);
        let outcome = Tag::read(text, depth, &mut self.scope, &mut attribute_places)
            .and_then(|tag| self.start_tag(&tag, raw));
        self.attribute_places = attribute_places;
        outcome
    }

    fn start_tag(&mut self, tag: &Tag<'_>, raw: &[u8]) -> Result<(), MetadataError> {
        let parent = self.place();
        let place = parent.child(tag);
        match (parent, place) {
            (ElementKind::Document, ElementKind::Update) if !std::mem::replace(&mut self.root_seen, true) => {
            }
            (ElementKind::Document, _) => {
                return Err(MetadataError::NotAnUpdate { root: tag.local.to_owned() });
            }
            (ElementKind::Update, _) => self.begin_section(place)?,
            (ElementKind::Localizations, _) => self.begin_entry(place, tag)?,
            _ => {}
        }
        self.copy(raw);
        self.facts.start(place, tag)?;
        self.text.clear();
        self.places.push(place);
        match place {
            ElementKind::Update | ElementKind::Localizations => {}
            ElementKind::Properties => self.write_properties(tag),
            _ => {
                if place == ElementKind::Secured {
                    self.core_writer.start(self.sections[CORE].end(), tag);
                }
                if let Some((writer, out)) = self.sink() {
                    writer.start(out, tag);
                }
            }
        }
        Ok(())
    }

    fn in_collection(&self) -> bool {
        self.places.get(1) == Some(&ElementKind::Localizations)
    }

    /// Where the fragment text of the open element goes.
    fn sink(&mut self) -> Option<(&mut Writer, &mut Vec<u8>)> {
        if self.in_collection() {
            let entry = self.entries.current();
            return (self.places.len() > 2 && !entry.dropped)
                .then_some((&mut self.writer, &mut entry.fragment));
        }
        self.section.map(|section| (&mut self.writer, self.sections[section].end()))
    }

    fn begin_section(&mut self, place: ElementKind) -> Result<(), MetadataError> {
        let (section, name) = match place {
            ElementKind::Identity => (IDENTITY, "UpdateIdentity"),
            ElementKind::Properties => (EXTENDED, "Properties"),
            ElementKind::Relationships => (RELATIONSHIPS, "Relationships"),
            ElementKind::Rules => (RULES, "ApplicabilityRules"),
            ElementKind::Files => (FILES, "Files"),
            ElementKind::Handler => (HANDLER, "HandlerSpecificData"),
            ElementKind::Localizations => {
                if std::mem::replace(&mut self.collection_seen, true) {
                    return Err(MetadataError::Twice { section: "LocalizedPropertiesCollection" });
                }
                return Ok(());
            }
            _ => (UNROUTED, "unrouted"),
        };
        if std::mem::replace(&mut self.seen[section], true) && section != UNROUTED {
            return Err(MetadataError::Twice { section: name });
        }
        self.section = Some(section);
        Ok(())
    }

    fn begin_entry(&mut self, place: ElementKind, tag: &Tag<'_>) -> Result<(), MetadataError> {
        let kind = match place {
            ElementKind::Localized => Kind::Properties,
            ElementKind::Eula => Kind::Eula,
            _ => Kind::Between,
        };
        self.entries.begin(kind);
        if kind == Kind::Eula {
            let entry = self.entries.current();
            entry.eula = Some(facts::file(tag)?);
            let language = tag.value("Language").unwrap_or_default();
            self.entries.name_language(
                facts::language_name(&language)?,
                self.keep,
                self.facts.default_language.as_deref(),
            );
        }
        Ok(())
    }

    /// `Properties` goes to Core with five of its attributes and to Extended with the others and its children. Of the
    /// children Core has `SecuredFragment` as well: agents ask for keys by it.
    fn write_properties(&mut self, tag: &Tag<'_>) {
        let out = self.sections[CORE].end();
        self.core_writer.start_as(out, Space::Plain, "Properties", properties::of_core(tag));
        let extended = properties::of_extended(tag);
        self.writer.start_as(self.sections[EXTENDED].end(), Space::Plain, "ExtendedProperties", extended);
    }

    fn end(&mut self, name: &str, raw: &[u8]) -> Result<(), MetadataError> {
        let place = self.place();
        if place == ElementKind::Localizations {
            self.places.pop();
            self.end_collection()?;
            self.copy(raw);
            self.scope.close(self.places.len() + 1);
            return Ok(());
        }
        self.copy(raw);
        let written = if place == ElementKind::Properties { "ExtendedProperties" } else { name };
        if place != ElementKind::Update
            && let Some((writer, out)) = self.sink()
        {
            writer.end(out, written);
        }
        if matches!(place, ElementKind::Properties | ElementKind::Secured) {
            self.core_writer.end(self.sections[CORE].end(), name);
        }
        if place.has_text() {
            self.take_fact(place)?;
        }
        self.places.pop();
        self.scope.close(self.places.len() + 1);
        match self.places.len() {
            1 => self.section = None,
            2 if self.place() == ElementKind::Localizations => {
                self.entries.end();
            }
            _ => {}
        }
        self.settle()
    }

    fn take_fact(&mut self, place: ElementKind) -> Result<(), MetadataError> {
        let text = std::mem::take(&mut self.text);
        match place {
            ElementKind::Language => {
                let default = self.facts.default_language.as_deref();
                if !self.entries.name_language(facts::language_name(text.trim())?, self.keep, default) {
                    self.writer = Writer::default();
                }
            }
            ElementKind::Title => self.entries.current().title = Some(text.trim().to_owned()),
            _ => self.facts.text(place, &text)?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str, raw: &[u8], cdata: bool) -> Result<(), MetadataError> {
        if !escape::is_xml_text(text) {
            return Err(MetadataError::Malformed { position: 0, what: "control characters are not text" });
        }
        let place = self.place();
        if place == ElementKind::Document {
            return self.around.hold(text, raw);
        }
        self.copy(raw);
        if place.has_text() {
            if self.text.len() + text.len() > MAX_FACT {
                return Err(MetadataError::TooMuch {
                    what: "bytes in a title or digest",
                    limit: MAX_FACT as u64,
                });
            }
            match text.strip_prefix('&').and_then(|name| name.strip_suffix(';')).filter(|_| !cdata) {
                Some(name) => self.text.extend(escape::referenced(name)),
                None => self.text.push_str(text),
            }
        }
        let secured =
            (place == ElementKind::Secured).then(|| (&mut self.core_writer, self.sections[CORE].end()));
        if let Some((writer, out)) = secured {
            writer.any_text(out, text, cdata);
        }
        if let Some((writer, out)) = self.sink() {
            writer.any_text(out, text, cdata);
        }
        self.settle()
    }

    /// Copies a token's bytes to where the document is kept.
    fn copy(&mut self, raw: &[u8]) {
        let (before, raw) = self.around.token(raw);
        self.tail.as_mut().unwrap_or(&mut self.document).push(&before);
        if self.in_collection() {
            self.entries.current().copy(raw);
        } else {
            self.tail.as_mut().unwrap_or(&mut self.document).push(raw);
        }
    }

    fn settle(&mut self) -> Result<(), MetadataError> {
        if self.in_collection() {
            return self.entries.check_held();
        }
        if let Some(section) = self.section {
            self.sections[section].settle()?;
        }
        self.tail.as_mut().unwrap_or(&mut self.document).settle()?;
        Ok(())
    }

    /// Which entries stay is known here when `Properties` came first, as it does in practice.
    fn end_collection(&mut self) -> Result<(), MetadataError> {
        if self.seen[EXTENDED] {
            return self.keep_entries();
        }
        self.tail = Some(Spool::default());
        Ok(())
    }

    fn keep_entries(&mut self) -> Result<(), MetadataError> {
        let default = self.facts.default_language.clone().unwrap_or_default();
        for entry in std::mem::take(&mut self.entries).choose(self.keep, &default) {
            self.document.push(&entry.raw);
            let language = entry.language.unwrap_or_default();
            let list = match entry.kind {
                Kind::Between => continue,
                Kind::Properties => &mut self.localized,
                Kind::Eula => &mut self.eulas,
            };
            match list.iter_mut().find(|known| known.language.eq_ignore_ascii_case(&language)) {
                // licences of one language differ by region
                Some(known) if entry.kind == Kind::Eula => known.text.extend(entry.fragment),
                Some(_) => continue,
                None => list.push(Localized { language: language.clone(), text: entry.fragment }),
            }
            if let Some(title) = entry.title {
                self.facts.title(&language, &title)?;
            }
            if let Some(file) = entry.eula {
                self.facts.eula_file(file)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Cut, MetadataError> {
        if !self.places.is_empty() || !self.root_seen {
            return Err(MetadataError::Malformed { position: 0, what: "the root is there and closed" });
        }
        if let Some(tail) = self.tail.take() {
            self.keep_entries()?;
            self.document.append(tail)?;
        }
        let [identity, core_properties, relationships, rules, extended, files, handler, unrouted] =
            self.sections;
        let (mut core, mut rest) = (identity, extended);
        for section in [core_properties, relationships, rules] {
            core.append(section)?;
        }
        for section in [files, handler, unrouted] {
            rest.append(section)?;
        }
        Ok(Cut {
            facts: self.facts.finish(self.keep)?,
            document: self.document,
            core,
            extended: rest,
            localized: self.localized,
            eulas: self.eulas,
        })
    }
}
