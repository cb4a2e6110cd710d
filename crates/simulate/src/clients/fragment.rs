//! Fragments of updates as an agent reads them: relations and rules of the Core fragment, files of the
//! Extended one ([MS-WUSP] 3.1.1.1).

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use tailwater_domain::{Sha1Digest, Sha256Digest, UpdateId};

/// Keys of the registry by which a machine says how far behind it is.
const BEHIND: &str = "SOFTWARE\\Tailwater\\Simulated\\Behind";

/// Elements inside each other.
const MAX_DEPTH: usize = 64;

/// An element, without text and without what lies inside `Metadata`.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    fn id(&self) -> Option<UpdateId> {
        self.attribute("UpdateID").and_then(|text| text.parse().ok())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.attribute(name).and_then(|text| text.parse().ok())
    }
}

fn element(tag: &BytesStart<'_>) -> Result<Element, quick_xml::Error> {
    let mut made = Element { name: tag.name().as_ref().to_owned(), ..Element::default() };
    for attribute in tag.attributes() {
        let attribute = attribute?;
        made.attributes.push((attribute.key.as_ref().to_owned(), attribute.value.as_ref().to_owned()));
    }
    Ok(made)
}

/// Reads a fragment, which has several roots.
fn read(fragment: &str) -> Result<Element, quick_xml::Error> {
    let mut reader = Reader::from_str(fragment);
    let mut open = vec![Element::default()];
    // how deep inside an element that is of no interest
    let mut ignored = 0_usize;
    loop {
        match reader.read_event()? {
            Event::Start(_) if ignored > 0 => ignored += 1,
            Event::Start(tag) => {
                if tag.name().as_ref() == "Metadata" || open.len() > MAX_DEPTH {
                    ignored = 1;
                } else {
                    open.push(element(&tag)?);
                }
            }
            Event::Empty(tag) if ignored == 0 => {
                let made = element(&tag)?;
                if let Some(parent) = open.last_mut() {
                    parent.children.push(made);
                }
            }
            Event::End(_) if ignored > 0 => ignored -= 1,
            Event::End(_) => {
                if let Some(made) = open.pop()
                    && let Some(parent) = open.last_mut()
                {
                    parent.children.push(made);
                }
            }
            Event::Text(text) if ignored == 0 => {
                if let Some(current) = open.last_mut() {
                    current.text.push_str(text.as_ref());
                }
            }
            Event::Eof => return Ok(open.swap_remove(0)),
            _ => {}
        }
    }
}

/// What an agent knows of itself, asked by rules.
#[derive(Debug, Clone)]
pub(super) struct Traits {
    /// `Processor/@Architecture`: 9 is x64, 12 ARM64, 0 x86.
    pub(super) architecture: u32,
    /// Of Windows 10.0.
    pub(super) build: u32,
    /// `en`, `de`, ….
    pub(super) language: &'static str,
    /// How many releases of definitions it is behind; 0 has none at all.
    pub(super) behind: u32,
}

/// A condition. What this agent cannot decide stays open.
#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Known(bool),
    All(Vec<Rule>),
    Any(Vec<Rule>),
    Not(Box<Rule>),
    Architecture(u32),
    Build { comparison: String, version: (u32, u32, u32) },
    Language(String),
    Behind(u32),
    Open,
}

impl Rule {
    fn of(element: &Element) -> Self {
        let inside = || element.children.iter().map(Self::of).collect::<Vec<_>>();
        match element.name.as_str() {
            "True" | "b.Platform" => Self::Known(true),
            // nothing is installed on a simulated machine
            "b.RegKeyExists" => {
                let behind =
                    element.attribute("Subkey").and_then(|key| key.strip_prefix(BEHIND)?.parse().ok());
                behind.map_or(Self::Known(false), Self::Behind)
            }
            "False" | "b.FileExists" | "b.RegValueExists" => Self::Known(false),
            "And" => Self::All(inside()),
            "Or" => Self::Any(inside()),
            "Not" => Self::Not(Box::new(Self::All(inside()))),
            "b.Processor" => element.number("Architecture").map_or(Self::Open, Self::Architecture),
            "b.WindowsVersion" => Self::Build {
                comparison: element.attribute("Comparison").unwrap_or("EqualTo").to_owned(),
                version: (
                    element.number("MajorVersion").unwrap_or(0),
                    element.number("MinorVersion").unwrap_or(0),
                    element.number("BuildNumber").unwrap_or(0),
                ),
            },
            "b.WindowsLanguage" => {
                Self::Language(element.attribute("Language").unwrap_or_default().to_ascii_lowercase())
            }
            _ => Self::Open,
        }
    }

    fn decide(&self, traits: &Traits) -> Option<bool> {
        match self {
            Self::Known(value) => Some(*value),
            Self::All(rules) => {
                let decided: Vec<_> = rules.iter().map(|rule| rule.decide(traits)).collect();
                if decided.contains(&Some(false)) {
                    Some(false)
                } else if decided.contains(&None) {
                    None
                } else {
                    Some(true)
                }
            }
            Self::Any(rules) => {
                let decided: Vec<_> = rules.iter().map(|rule| rule.decide(traits)).collect();
                if decided.contains(&Some(true)) {
                    Some(true)
                } else if decided.contains(&None) {
                    None
                } else {
                    Some(false)
                }
            }
            Self::Not(rule) => rule.decide(traits).map(|value| !value),
            Self::Architecture(code) => Some(*code == traits.architecture),
            Self::Behind(releases) => Some(*releases == traits.behind),
            Self::Language(code) => Some(code == traits.language),
            Self::Build { comparison, version } => {
                let order = (10, 0, traits.build).cmp(version);
                Some(match comparison.as_str() {
                    "GreaterThanOrEqualTo" => order.is_ge(),
                    "GreaterThan" => order.is_gt(),
                    "LessThanOrEqualTo" => order.is_le(),
                    "LessThan" => order.is_lt(),
                    _ => order.is_eq(),
                })
            }
            Self::Open => None,
        }
    }
}

/// A Core fragment.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) update: Option<UpdateId>,
    pub(super) revision: u32,
    /// Alternatives of each part of a bundle.
    pub(super) bundled: Vec<Vec<UpdateId>>,
    /// What it replaces.
    pub(super) supersedes: Vec<UpdateId>,
    is_installed: Option<Rule>,
    is_installable: Option<Rule>,
}

impl Core {
    pub(super) fn read(fragment: &str) -> Result<Self, quick_xml::Error> {
        let root = read(fragment)?;
        let identity = root.child("UpdateIdentity");
        let rules = root.child("ApplicabilityRules");
        let rule = |name| {
            let element = rules.and_then(|rules| rules.child(name))?;
            Some(Rule::All(element.children.iter().map(Rule::of).collect()))
        };
        let bundled = root.child("Relationships").and_then(|relations| relations.child("BundledUpdates"));
        let superseded =
            root.child("Relationships").and_then(|relations| relations.child("SupersededUpdates"));
        let alternatives = |clause: &Element| match clause.id() {
            Some(id) => vec![id],
            None => clause.children.iter().filter_map(Element::id).collect(),
        };
        Ok(Self {
            update: identity.and_then(Element::id),
            revision: identity.and_then(|identity| identity.number("RevisionNumber")).unwrap_or(0),
            bundled: bundled.map_or_else(Vec::new, |list| list.children.iter().map(alternatives).collect()),
            supersedes: superseded
                .map_or_else(Vec::new, |list| list.children.iter().filter_map(Element::id).collect()),
            is_installed: rule("IsInstalled"),
            is_installable: rule("IsInstallable"),
        })
    }

    /// What a machine reports of a category or detectoid: what cannot be decided is not installed.
    pub(super) fn is_installed(&self, traits: &Traits) -> bool {
        self.is_installed.as_ref().and_then(|rule| rule.decide(traits)).unwrap_or(false)
    }

    /// Whether it would be installed: what cannot be decided may be.
    pub(super) fn is_installable(&self, traits: &Traits) -> bool {
        self.is_installable.as_ref().is_none_or(|rule| rule.decide(traits) != Some(false))
    }
}

/// A file of an Extended fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) sha1: Sha1Digest,
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) size: u64,
    pub(super) is_express: bool,
}

/// The files of an Extended fragment.
pub(super) fn files(fragment: &str) -> Result<Vec<File>, quick_xml::Error> {
    let root = read(fragment)?;
    let file = |element: &Element| {
        let additional = element.children.iter().find(|child| child.attribute("Algorithm") == Some("SHA256"));
        Some(File {
            sha1: Sha1Digest::from_base64(element.attribute("Digest")?).ok()?,
            sha256: additional.and_then(|digest| Sha256Digest::from_base64(&digest.text).ok()),
            size: element.attribute("Size")?.parse().ok()?,
            is_express: element.attribute("PatchingType") == Some("Express"),
        })
    };
    Ok(root.child("Files").map_or_else(Vec::new, |files| files.children.iter().filter_map(file).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Traits = Traits { architecture: 9, build: 22_621, language: "en", behind: 0 };

    #[test]
    fn relations_and_rules_are_read() {
        let core = Core::read(
            "<UpdateIdentity UpdateID=\"56309036-4C77-4DD9-951A-99EE9C246A94\" RevisionNumber=\"101\" />\
             <Properties UpdateType=\"Software\" /><Relationships><BundledUpdates><UpdateIdentity \
             UpdateID=\"6964aab4-c5b5-43bd-a17d-ffb4346a8e1d\" RevisionNumber=\"1\" /><AtLeastOne><UpdateIdentity \
             UpdateID=\"6964aab4-c5b5-43bd-a17d-ffb4346a8e1e\" RevisionNumber=\"1\" /><UpdateIdentity \
             UpdateID=\"6964aab4-c5b5-43bd-a17d-ffb4346a8e1f\" RevisionNumber=\"1\" /></AtLeastOne></BundledUpdates>\
             </Relationships><ApplicabilityRules><IsInstalled><And><b.Processor Architecture=\"9\" /><Not>\
             <b.WindowsVersion Comparison=\"LessThan\" MajorVersion=\"10\" BuildNumber=\"22000\" /></Not></And>\
             </IsInstalled><IsInstallable><Or><CbsPackageInstallable /><False /></Or></IsInstallable><Metadata>\
             <x><y /></x></Metadata></ApplicabilityRules>",
        )
        .unwrap();
        assert_eq!(core.revision, 101);
        assert_eq!(core.bundled.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert!(core.is_installed(&MACHINE));
        assert!(!core.is_installed(&Traits { build: 19_045, ..MACHINE }));
        assert!(core.is_installable(&MACHINE), "what cannot be decided may be installed");
    }

    #[test]
    fn files_are_read_with_both_digests() {
        let list = files(
            "<ExtendedProperties /><Files><File Digest=\"vXidQqLgJwCO4+fE++5nIN1txMk=\" DigestAlgorithm=\"SHA1\" \
             FileName=\"a.cab\" Size=\"5\" PatchingType=\"Express\"><AdditionalDigest Algorithm=\"SHA256\">\
             47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=</AdditionalDigest></File></Files>",
        )
        .unwrap();
        assert_eq!(list.len(), 1);
        assert!(list[0].sha256.is_some() && list[0].is_express && list[0].size == 5);
    }
}
