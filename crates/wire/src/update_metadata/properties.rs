//! Which attributes of `Properties` go into which fragment ([MS-WUSP] 3.1.1.1, and what real servers leave out).
//!
//! **Invariant:** no attribute is in both fragments.

use super::tag::{Attribute, Tag};

/// Attributes that make up `Properties` of the Core fragment, in this order; those marked are left out when false.
const CORE_PROPERTIES: [(&str, bool); 5] = [
    ("UpdateType", false),
    ("ExplicitlyDeployable", true),
    ("AutoSelectOnWebSites", true),
    ("OSUpgrade", true),
    ("EulaID", false),
];
/// Attributes of `Properties` that the Extended fragment leaves out.
const NOT_EXTENDED: [&str; 12] = [
    "UpdateType",
    "ExplicitlyDeployable",
    "AutoSelectOnWebSites",
    "EulaID",
    "PublicationState",
    "PublisherID",
    "CreationDate",
    "IsPublic",
    "LegacyName",
    "DetectoidType",
    "OSUpgrade",
    "PerUser",
];

/// Those of the Core fragment, in its order.
pub(super) fn of_core<'a>(tag: &Tag<'a>) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
    let tag = *tag;
    CORE_PROPERTIES.iter().filter_map(move |&(name, left_out_when_false)| {
        let found = tag.attributes().find(|attribute| attribute.name == name)?;
        (!left_out_when_false || !matches!(found.raw, "false" | "0")).then_some(found)
    })
}

/// Those of the Extended fragment, in the document's order.
pub(super) fn of_extended<'a>(tag: &Tag<'a>) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
    tag.attributes().filter(|attribute| !NOT_EXTENDED.contains(&attribute.name))
}
