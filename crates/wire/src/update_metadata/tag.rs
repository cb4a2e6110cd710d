//! The inside of a start tag: its name, its attributes, and the namespaces in scope.
//!
//! **Invariant:** names are legal, prefixes are bound, values hold only known references. It never copies a
//! value: attributes are places in the tag's text.

use super::error::MetadataError;
use super::escape;
use tailwater_domain::{Limit, limits};

/// No element of a real document has more than twenty.
const MAX_ATTRIBUTES: usize = 128;
/// Namespace declarations in scope at once.
const MAX_BINDINGS: usize = 1_024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ATTRIBUTES in "attributes": "Attributes of an element" => "that document is refused",
    MAX_BINDINGS in "declarations": "Namespace declarations in scope" => "that document is refused",
];

const MSUS: &str = "http://schemas.microsoft.com/msus/2002/12/";

/// What a namespace means for the names of a fragment ([MS-WUSP] 3.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// None, or one of the update schemas that leave no trace in a fragment.
    Plain,
    /// Elements get this letter and a dot: `b`, `m` or `d`.
    Dotted(u8),
    /// A payload of another schema; its default declarations are kept.
    Foreign,
}

impl Space {
    fn of(uri: &str) -> Self {
        match uri.strip_prefix(MSUS) {
            Some("BaseApplicabilityRules") => Self::Dotted(b'b'),
            Some("MsiApplicabilityRules") => Self::Dotted(b'm'),
            Some("UpdateHandlers/WindowsDriver") => Self::Dotted(b'd'),
            Some(_) => Self::Plain,
            None if uri.is_empty() => Self::Plain,
            None => Self::Foreign,
        }
    }
}

/// Namespace declarations in scope.
#[derive(Debug, Default)]
pub(super) struct Scope {
    prefixes: String,
    bindings: Vec<Binding>,
}

#[derive(Debug)]
struct Binding {
    /// Where the prefix begins in `prefixes`; it ends where the next begins. Empty for the default.
    start: usize,
    space: Space,
    depth: usize,
}

impl Scope {
    /// Forgets what elements at `depth` or deeper declared.
    pub(super) fn close(&mut self, depth: usize) {
        while let Some(last) = self.bindings.last() {
            if last.depth < depth {
                break;
            }
            self.prefixes.truncate(last.start);
            self.bindings.pop();
        }
    }

    fn declare(&mut self, prefix: &str, uri: &str, depth: usize) -> Result<(), MetadataError> {
        if self.bindings.len() == MAX_BINDINGS {
            return Err(MetadataError::TooMuch { what: "namespaces in scope", limit: MAX_BINDINGS as u64 });
        }
        self.bindings.push(Binding { start: self.prefixes.len(), space: Space::of(uri), depth });
        self.prefixes.push_str(prefix);
        Ok(())
    }

    fn find(&self, prefix: &str) -> Option<Space> {
        let mut end = self.prefixes.len();
        for binding in self.bindings.iter().rev() {
            if &self.prefixes[binding.start..end] == prefix {
                return Some(binding.space);
            }
            end = binding.start;
        }
        match prefix {
            "" | "xml" => Some(Space::Plain),
            _ => None,
        }
    }

    pub(super) fn resolve(&self, prefix: &str) -> Result<Space, MetadataError> {
        self.find(prefix).ok_or_else(|| MetadataError::UnboundPrefix { prefix: prefix.to_owned() })
    }
}

/// One attribute: places in the tag's text.
#[derive(Debug, Clone, Copy)]
struct AttributeSpan {
    prefix: usize,
    local: usize,
    name_end: usize,
    value: usize,
    value_end: usize,
    kept: bool,
}

/// Attribute places, kept between tags so that their memory is reused.
#[derive(Debug, Default)]
pub(super) struct AttributeSpans(Vec<AttributeSpan>);

/// A start tag that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag<'a> {
    text: &'a str,
    places: &'a [AttributeSpan],
    /// The name without its prefix.
    pub(super) local: &'a str,
    /// What its namespace means.
    pub(super) space: Space,
}

/// An attribute that stays in a fragment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// Its name without a prefix.
    pub(super) name: &'a str,
    /// Its value as written, references and all.
    pub(super) raw: &'a str,
}

impl<'a> Tag<'a> {
    /// Reads the text between `<` and `>` (without the slash of an empty element) of the element at `depth`.
    pub(super) fn read(
        text: &'a str,
        depth: usize,
        scope: &mut Scope,
        places: &'a mut AttributeSpans,
    ) -> Result<Self, MetadataError> {
        places.0.clear();
        let name_end = text.find(is_space).unwrap_or(text.len());
        let (name, local_at) = checked_name(&text[..name_end])?;
        let mut at = name_end;
        loop {
            let next = text.len() - text[at..].trim_start_matches(is_space).len();
            if next == text.len() {
                break;
            }
            if next == at {
                return Err(broken("attributes are apart"));
            }
            if places.0.len() == MAX_ATTRIBUTES {
                return Err(MetadataError::TooMuch {
                    what: "attributes on one element",
                    limit: MAX_ATTRIBUTES as u64,
                });
            }
            let place = read_attribute(text, next)?;
            at = place.value_end + 1;
            places.0.push(place);
        }
        declare_all(text, depth, scope, &mut places.0)?;
        let prefix = if local_at == 0 { "" } else { &name[..local_at - 1] };
        let tag = Self { text, local: &name[local_at..], space: scope.resolve(prefix)?, places: &places.0 };
        tag.check_attributes(scope)?;
        Ok(tag)
    }

    /// The attributes that stay in a fragment, in their order.
    pub(super) fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let text = self.text;
        self.places.iter().filter(|place| place.kept).map(move |place| Attribute {
            name: &text[place.local..place.name_end],
            raw: &text[place.value..place.value_end],
        })
    }

    /// An attribute's value with its references replaced.
    pub(super) fn value(&self, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        self.attributes()
            .find(|attribute| attribute.name == name)
            .and_then(|found| escape::unescape(found.raw))
    }

    fn check_attributes(&self, scope: &Scope) -> Result<(), MetadataError> {
        for (index, place) in self.places.iter().enumerate() {
            let raw = &self.text[place.value..place.value_end];
            if raw.contains('<') || (raw.contains('&') && escape::unescape(raw).is_none()) {
                return Err(broken("an attribute's value holds no < and only known references"));
            }
            if !place.kept {
                continue;
            }
            if place.prefix != place.local {
                scope.resolve(&self.text[place.prefix..place.local - 1])?;
            }
            let name = &self.text[place.local..place.name_end];
            let twin = |other: &&AttributeSpan| other.kept && &self.text[other.local..other.name_end] == name;
            if self.places[..index].iter().find(twin).is_some() {
                return Err(MetadataError::AttributeCollision {
                    element: self.local.to_owned(),
                    attribute: name.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Enters the declarations of a tag into the scope, and marks those that leave no trace in a fragment.
fn declare_all(
    text: &str,
    depth: usize,
    scope: &mut Scope,
    places: &mut [AttributeSpan],
) -> Result<(), MetadataError> {
    let inside_foreign = scope.find("") == Some(Space::Foreign);
    let mut default_seen = false;
    for place in places {
        let uri = &text[place.value..place.value_end];
        let local = &text[place.local..place.name_end];
        if place.prefix == place.local && local == "xmlns" {
            if std::mem::replace(&mut default_seen, true) {
                return Err(broken("a default namespace is declared once"));
            }
            scope.declare("", uri, depth)?;
            // a foreign payload keeps its default namespace where the document has it
            place.kept = Space::of(uri) == Space::Foreign || (uri.is_empty() && inside_foreign);
        } else if place.prefix != place.local && &text[place.prefix..place.local - 1] == "xmlns" {
            if uri.is_empty() || local == "xml" || local == "xmlns" {
                return Err(broken("a prefix is bound to a namespace"));
            }
            scope.declare(local, uri, depth)?;
            place.kept = false;
        }
    }
    Ok(())
}

fn read_attribute(text: &str, start: usize) -> Result<AttributeSpan, MetadataError> {
    let rest = &text[start..];
    let name_len =
        rest.find(|c| is_space(c) || c == '=').ok_or_else(|| broken("an attribute has a value"))?;
    let (_, local_at) = checked_name(&rest[..name_len])?;
    let after = rest[name_len..].trim_start_matches(is_space);
    let after = after.strip_prefix('=').ok_or_else(|| broken("an attribute has a value"))?;
    let quoted = after.trim_start_matches(is_space);
    let quote = match quoted.as_bytes().first() {
        Some(quote @ (b'"' | b'\'')) => *quote,
        _ => return Err(broken("an attribute's value is quoted")),
    };
    let value = text.len() - quoted.len() + 1;
    let len = memchr::memchr(quote, &text.as_bytes()[value..]).ok_or_else(|| broken("a quote is closed"))?;
    Ok(AttributeSpan {
        prefix: start,
        local: start + local_at,
        name_end: start + name_len,
        value,
        value_end: value + len,
        kept: true,
    })
}

/// A legal qualified name, and where its local part begins.
fn checked_name(name: &str) -> Result<(&str, usize), MetadataError> {
    let mut local_at = 0;
    let mut fresh = true;
    for (at, byte) in name.bytes().enumerate() {
        let legal = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => true,
            b'0'..=b'9' | b'-' | b'.' => !fresh,
            b':' if !fresh && local_at == 0 => {
                (local_at, fresh) = (at + 1, true);
                continue;
            }
            _ => byte >= 0x80,
        };
        if !legal {
            return Err(broken("a name is made of letters, digits and -._"));
        }
        fresh = false;
    }
    if fresh {
        return Err(broken("a name is not empty"));
    }
    if !name.is_ascii() && !name.chars().all(|c| c.is_ascii() || c.is_alphanumeric()) {
        return Err(broken("a name is made of letters, digits and -._"));
    }
    Ok((name, local_at))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The position is filled in by the one who knows it.
fn broken(what: &'static str) -> MetadataError {
    MetadataError::Malformed { position: 0, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, MetadataError> {
        let (mut scope, mut places) = (Scope::default(), AttributeSpans::default());
        scope.declare("upd", "http://schemas.microsoft.com/msus/2002/12/Update", 0)?;
        let tag = Tag::read(text, 1, &mut scope, &mut places)?;
        Ok(std::iter::once(tag.local.to_owned())
            .chain(tag.attributes().map(|attribute| format!("{}={}", attribute.name, attribute.raw)))
            .collect())
    }

    #[test]
    fn prefixes_go_and_order_stays() {
        let text = "upd:A z=\"1\" xmlns:x='urn:x' x:type = 'cmd:C' xmlns=\"urn:foreign\" b='&quot;'";
        assert_eq!(read(text).unwrap(), ["A", "z=1", "type=cmd:C", "xmlns=urn:foreign", "b=&quot;"]);
        assert_eq!(read("upd:A xmlns=\"http://schemas.microsoft.com/msus/2002/12/Update\"").unwrap(), ["A"]);
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        let table = [
            "",
            ":A",
            "A:",
            "a:b:c",
            "1A",
            "x:A",
            "A b",
            "A b=",
            "A b=c",
            "A b=\"c",
            "A b=\"c\"d=\"e\"",
            "A b=\"<\"",
            "A b=\"&nbsp;\"",
            "A b=\"1\" b=\"2\"",
            "A xmlns:xml='urn:x'",
            "A xmlns:p=''",
            "A x:b='1'",
            "A upd:b='1' b='2'",
            "A/",
            "A \u{d7}='1'",
        ];
        for text in table {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
