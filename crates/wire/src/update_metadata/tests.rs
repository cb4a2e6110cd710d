//! Promises of cutting, on documents of our own.
#![expect(clippy::format_collect, reason = "a few short texts for a test")]

use super::*;
use tailwater_domain::{CategoryKind, Encryption, UpdateType};

pub(super) const NAMES: &str = "xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" \
    xmlns:bar=\"http://schemas.microsoft.com/msus/2002/12/BaseApplicabilityRules\" \
    xmlns:lar=\"http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules\" \
    xmlns:mar=\"http://schemas.microsoft.com/msus/2002/12/MsiApplicabilityRules\" \
    xmlns:drv=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/WindowsDriver\" \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
pub(super) const ID: &str =
    "<upd:UpdateIdentity UpdateID=\"0FA1201D-4330-4fa8-8ae9-b877473b6441\" RevisionNumber=\"7\"/>";
const PROPERTIES: &str = "<upd:Properties AutoSelectOnWebSites=\"true\" DefaultPropertiesLanguage=\"de\" \
    UpdateType=\"Software\" ExplicitlyDeployable=\"false\" PublicationState=\"Published\" Handler=\"h\">\n \
    <upd:KBArticleID>KB123</upd:KBArticleID> <upd:UninstallationBehavior> </upd:UninstallationBehavior></upd:Properties>";

fn document(inner: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<upd:Update {NAMES}>{inner}</upd:Update>")
}

fn cut_text(text: &str, keep: &Languages) -> Result<Cut, MetadataError> {
    cut(text.as_bytes(), keep)
}

/// A fragment as an agent sees it after unescaping once.
fn plain(spool: Spool) -> String {
    plain_bytes(&spool.into_bytes().unwrap())
}

fn plain_bytes(bytes: &[u8]) -> String {
    escape::unescape(std::str::from_utf8(bytes).unwrap()).unwrap().into_owned()
}

#[test]
fn core_and_extended_take_their_own_of_properties() {
    let cut = cut_text(&document(&format!("{ID}{PROPERTIES}")), &Languages::all()).unwrap();
    assert_eq!(cut.facts.identity.to_string(), "0fa1201d-4330-4fa8-8ae9-b877473b6441/7");
    assert_eq!(cut.facts.update_type, UpdateType::Software);
    assert_eq!(cut.facts.kb_articles, ["123"]);
    assert!(cut.facts.uninstallable);
    assert_eq!(
        plain(cut.core),
        "<UpdateIdentity UpdateID=\"0FA1201D-4330-4fa8-8ae9-b877473b6441\" RevisionNumber=\"7\" />\
         <Properties UpdateType=\"Software\" AutoSelectOnWebSites=\"true\" />"
    );
    assert_eq!(
        plain(cut.extended),
        "<ExtendedProperties DefaultPropertiesLanguage=\"de\" Handler=\"h\">\
         <KBArticleID>KB123</KBArticleID><UninstallationBehavior /></ExtendedProperties>"
    );
}

#[test]
fn sections_in_any_order_come_out_in_theirs() {
    let sections = [
        ID.to_owned(),
        PROPERTIES.to_owned(),
        "<upd:Relationships><upd:SupersededUpdates/></upd:Relationships>".to_owned(),
        "<upd:ApplicabilityRules><lar:True/></upd:ApplicabilityRules>".to_owned(),
        "<upd:HandlerSpecificData xsi:type=\"cmd:X\"/>".to_owned(),
        "<upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>de</upd:Language>\
         <upd:Title>T</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>"
            .to_owned(),
        "<upd:Other/>".to_owned(),
    ];
    let keep = Languages::of(["fr"]);
    let expected = cut_text(&document(&sections.concat()), &keep).unwrap();
    let (facts, core, extended) = (expected.facts, plain(expected.core), plain(expected.extended));
    assert!(core.ends_with("</Relationships><ApplicabilityRules><True /></ApplicabilityRules>"));
    assert!(extended.ends_with("<HandlerSpecificData type=\"cmd:X\" /><Other />"));
    for turn in 1..sections.len() {
        let mut turned = sections.clone();
        turned.rotate_left(turn);
        let text = document(&turned.concat());
        let cut = cut_text(&text, &keep).unwrap();
        assert_eq!(plain(cut.core), core, "turned by {turn}");
        assert_eq!(plain(cut.extended), extended, "turned by {turn}");
        assert_eq!(cut.facts, facts, "turned by {turn}");
        assert_eq!(cut.localized.len(), 1, "the default language is kept when no other matches");
        assert_eq!(String::from_utf8(cut.document.into_bytes().unwrap()).unwrap(), text);
    }
}

#[test]
fn names_and_texts_of_rules_are_those_of_fragments() {
    let rules = "<upd:ApplicabilityRules>\n<upd:IsInstalled><lar:And xmlns:lar=\"http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules\">\
        <bar:RegSz Key='a\"b' Data=\"&quot;&amp;\"></bar:RegSz><mar:MsiProductInstalled/></lar:And></upd:IsInstalled>\
        <upd:Metadata><assembly xmlns=\"urn:schemas-microsoft-com:asm.v3\" v=\"1\"><a:b xmlns:a=\"urn:a\" a:c=\"d\"> x &lt; y <!-- no --><![CDATA[<&]]></a:b></assembly>\
        <p x=\"1\" xmlns=\"http://schemas.microsoft.com/msus/2002/12/Update\"> &amp; &#x41; </p></upd:Metadata></upd:ApplicabilityRules>";
    let cut = cut_text(&document(&format!("{ID}{PROPERTIES}{rules}")), &Languages::all()).unwrap();
    let core = plain(cut.core);
    let (_, rules) = core.split_once("AutoSelectOnWebSites=\"true\" />").unwrap();
    assert_eq!(
        rules,
        "<ApplicabilityRules><IsInstalled><And><b.RegSz Key=\"a&quot;b\" Data=\"&quot;&amp;\" />\
         <m.MsiProductInstalled /></And></IsInstalled>\
         <Metadata><assembly xmlns=\"urn:schemas-microsoft-com:asm.v3\" v=\"1\"><b c=\"d\"> x &lt; y &lt;&amp;</b></assembly>\
         <p x=\"1\"> &amp; &#x41; </p></Metadata></ApplicabilityRules>"
    );
}

#[test]
fn relationships_files_and_categories_become_facts() {
    let id = "11111111-2222-3333-4444-555555555555";
    let inner = format!(
        "{ID}{PROPERTIES}<upd:Relationships>\
         <upd:Prerequisites><upd:UpdateIdentity UpdateID=\"{id}\"/><upd:AtLeastOne IsCategory=\"true\"><upd:UpdateIdentity UpdateID=\"{id}\"/>\
         <upd:UpdateIdentity UpdateID=\"{id}\"/></upd:AtLeastOne><upd:AtLeastOne/></upd:Prerequisites>\
         <upd:BundledUpdates><upd:UpdateIdentity UpdateID=\"{id}\" RevisionNumber=\"1\"/><upd:AtLeastOne>\
         <upd:UpdateIdentity UpdateID=\"{id}\" RevisionNumber=\"2\"/><upd:UpdateIdentity UpdateID=\"{id}\" RevisionNumber=\"3\"/></upd:AtLeastOne></upd:BundledUpdates>\
         <upd:SupersededUpdates><upd:UpdateIdentity UpdateID=\"{id}\"/></upd:SupersededUpdates></upd:Relationships>\
         <upd:Files><upd:File Digest=\"vXidQqLgJwCO4+fE++5nIN1txMk=\" FileName=\"a&amp;b.cab\" Size=\"10\" PatchingType=\"Express\">\
         <upd:AdditionalDigest Algorithm=\"SHA256\">FX0fJz391BBQFKgKnFee7Set4FikM6ebvaIHkpuXY+c=</upd:AdditionalDigest></upd:File></upd:Files>\
         <upd:HandlerSpecificData><upd:CategoryInformation CategoryType=\"UpdateClassification\"/></upd:HandlerSpecificData>"
    );
    let facts = cut_text(&document(&inner), &Languages::all()).unwrap().facts;
    let shape: Vec<_> =
        facts.prerequisites.iter().map(|clause| (clause.any_of.len(), clause.is_category)).collect();
    assert_eq!(shape, [(1, false), (2, true)]);
    let bundled: Vec<Vec<u32>> = facts
        .bundled
        .iter()
        .map(|clause| clause.any_of.iter().map(|identity| identity.revision).collect())
        .collect();
    assert_eq!(bundled, [vec![1], vec![2, 3]]);
    assert_eq!(facts.supersedes.len(), 1);
    assert_eq!(facts.category, Some(CategoryKind::Classification));
    let [file] = &facts.files[..] else { panic!("one file: {:?}", facts.files) };
    assert_eq!((file.name.as_str(), file.size, file.sha256.is_some()), ("a&b.cab", 10, true));
}

#[test]
fn drivers_say_what_they_match() {
    let inner = format!(
        "{ID}{PROPERTIES}<upd:ApplicabilityRules><upd:Metadata><drv:WindowsDriverMetaData HardwareID=\"PCI\\VEN_8086&amp;DEV_1\" \
         DriverVerDate=\"2024-02-01\" DriverVerVersion=\"1.2.3.4\" Class=\"Net\"><drv:FeatureScore OperatingSystem=\"amd64.10.0\" FeatureScore=\"255\"/>\
         <drv:DistributionComputerHardwareId> DEF
</drv:DistributionComputerHardwareId>\
         <drv:TargetComputerHardwareId>ABC</drv:TargetComputerHardwareId></drv:WindowsDriverMetaData></upd:Metadata></upd:ApplicabilityRules>"
    );
    let cut = cut_text(&document(&inner), &Languages::all()).unwrap();
    let [driver] = &cut.facts.drivers[..] else { panic!("one driver") };
    assert_eq!(driver.hardware_id, "PCI\\VEN_8086&DEV_1");
    assert_eq!(driver.version, 0x0001_0002_0003_0004);
    assert_eq!(driver.feature_scores, [("amd64.10.0".to_owned(), 255)]);
    assert_eq!(
        (&driver.computer_hardware_ids[..], &driver.distribution_ids[..]),
        (&["abc".to_owned()][..], &["def".to_owned()][..])
    );
    let again = drivers_of(document(&inner).as_bytes()).unwrap();
    assert_eq!((&again[..], drivers_of(b"<x>")), (&cut.facts.drivers[..], None));
    assert!(plain(cut.core).contains("<d.WindowsDriverMetaData HardwareID=\"PCI\\VEN_8086&amp;DEV_1\""));
}

fn localized(languages: &[&str]) -> String {
    let entries: String = languages
        .iter()
        .map(|language| {
            format!(
                "\n<upd:LocalizedProperties><upd:Language>{language}</upd:Language><upd:Title>in {language} &amp; more</upd:Title></upd:LocalizedProperties>\
                 <upd:EulaFile Language=\"{language}\" FileName=\"e.txt\" Digest=\"vXidQqLgJwCO4+fE++5nIN1txMk=\" Size=\"1\"/>"
            )
        })
        .collect();
    format!("<upd:LocalizedPropertiesCollection>{entries}</upd:LocalizedPropertiesCollection>")
}

#[test]
fn only_wanted_languages_stay() {
    let table: [(&[&str], &[&str], &[&str]); 4] = [
        (&["ar", "de", "en", "fr"], &["fr"], &["en", "fr"]),
        (&["ar", "de", "ja"], &["fr"], &["de"]),
        (&["pt", "pt-br", "de"], &["pt-BR"], &["pt", "pt-br"]),
        (&["ar"], &["fr"], &[]),
    ];
    for (there, wanted, stay) in table {
        for properties_first in [true, false] {
            let collection = localized(there);
            let inner = if properties_first {
                format!("{ID}{PROPERTIES}{collection}")
            } else {
                format!("{ID}{collection}{PROPERTIES}")
            };
            let keep = Languages::of(wanted.iter().copied());
            let cut = cut_text(&document(&inner), &keep).unwrap();
            let languages: Vec<&str> = cut.localized.iter().map(|entry| entry.language.as_str()).collect();
            assert_eq!(languages, stay, "{wanted:?} of {there:?}");
            assert_eq!(cut.eulas.len(), stay.len());
            assert_eq!(cut.facts.titles.len(), stay.len());
            assert_eq!(cut.facts.files.len(), usize::from(!stay.is_empty()));
            if let Some(first) = cut.localized.first() {
                assert_eq!(
                    plain_bytes(&first.text),
                    format!(
                        "<LocalizedProperties><Language>{0}</Language><Title>in {0} &amp; more</Title></LocalizedProperties>",
                        stay[0]
                    )
                );
            }
            let text = String::from_utf8(cut.document.into_bytes().unwrap()).unwrap();
            for language in there {
                let kept = stay.contains(language);
                assert_eq!(text.contains(&format!("<upd:Language>{language}</")), kept, "{text}");
            }
            assert_eq!(text.matches("</upd:Properties>").count(), 1);
        }
    }
}

#[test]
fn what_is_no_update_is_refused() {
    let twice = format!("{ID}{PROPERTIES}{ID}");
    let deep = format!("{ID}{PROPERTIES}<upd:ApplicabilityRules>{}", "<lar:Not>".repeat(100_000));
    let long = format!("{ID}{PROPERTIES}<upd:Files>{}", "x".repeat(20 << 20));
    let table = [
        String::new(),
        "<upd:Update>".to_owned(),
        "<Update/>".to_owned(),
        "<Other/>".to_owned(),
        document(ID),
        document(PROPERTIES),
        document(&twice),
        document(&deep),
        document(&long),
        document(&format!("{ID}{PROPERTIES}<upd:Files><upd:File Digest=\"AAAA\" Size=\"1\"/></upd:Files>")),
        document(&format!("{ID}{PROPERTIES}<upd:Files a=\"1\" upd:a=\"2\"/>")),
        document(&format!("{ID}{PROPERTIES}<x:Files/>")),
        document(&format!("{ID}{PROPERTIES}&nbsp;")),
        document(&format!("{ID}{PROPERTIES}<a></b>")),
        document(&format!("{ID}{PROPERTIES}\u{1}")),
        format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", document(&format!("{ID}{PROPERTIES}"))),
        format!("{}<a/>", document(&format!("{ID}{PROPERTIES}"))),
        format!("{}text", document(&format!("{ID}{PROPERTIES}"))),
        document(&format!("{ID}{PROPERTIES}")).replace("</upd:Update>", ""),
    ];
    for text in table {
        let start: String = text.chars().take(300).collect();
        assert!(cut_text(&text, &Languages::all()).is_err(), "{start}");
    }
    assert!(cut(&b"<Update>\xff</Update>"[..], &Languages::all()).is_err());
}

#[test]
fn huge_rules_pass_through_a_file() {
    let part = "<lar:And><lar:True/>some text &amp; more</lar:And>";
    let rules = part.repeat(100_000);
    let inner = format!("{ID}{PROPERTIES}<upd:ApplicabilityRules>{rules}</upd:ApplicabilityRules>");
    let text = document(&inner);
    let cut = cut_text(&text, &Languages::all()).unwrap();
    assert!(cut.core.as_bytes().is_none() && cut.document.as_bytes().is_none(), "both are on disk");
    assert_eq!(String::from_utf8(cut.document.into_bytes().unwrap()).unwrap(), text);
    let core = plain(cut.core);
    assert_eq!(core.matches("<And><True />some text &amp; more</And>").count(), 100_000);
}

/// Any change of a valid document ends in a cut or an error: never a panic, never an endless read.
#[test]
fn mutated_documents_never_panic() {
    let seed = document(&format!("{ID}{PROPERTIES}{}", localized(&["en", "de"]))).into_bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    let alphabet = b"<>/=\"'&;:!?[]- \n\0x\xc3\xbfupd";
    for round in 0..4_000 {
        let mut bytes = seed.clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = alphabet[next(alphabet.len())],
                1 => bytes.insert(at, alphabet[next(alphabet.len())]),
                2 => {
                    bytes.remove(at);
                }
                _ => {
                    let len = next(60).min(bytes.len() - at);
                    let piece = bytes[at..at + len].to_vec();
                    let to = next(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        if let Ok(cut) = cut(bytes.as_slice(), &Languages::of(["de"])) {
            let core = cut.core.into_bytes().unwrap();
            assert!(!core.contains(&b'<'), "round {round}: fragments are escaped");
        }
    }
}

#[test]
fn of_the_children_of_properties_core_has_secured_fragments_alone() {
    let properties = |children: &str| {
        format!(
            "{ID}<upd:Properties UpdateType=\"Software\" DefaultPropertiesLanguage=\"en\">{children}</upd:Properties>"
        )
    };
    let file = "<upd:Files><upd:File Digest=\"AAAAAAAAAAAAAAAAAAAAAAAAAAA=\" Size=\"1\" FileName=\"a.wim\"/></upd:Files>";
    let table = [
        ("", "<Properties UpdateType=\"Software\" />", Encryption::None),
        (
            "<upd:KBArticleID>1</upd:KBArticleID> <upd:SecuredFragment>FileUrl</upd:SecuredFragment>",
            "<Properties UpdateType=\"Software\"><SecuredFragment>FileUrl</SecuredFragment></Properties>",
            Encryption::None,
        ),
        (
            "<upd:SecuredFragment>FileUrl</upd:SecuredFragment>\n<upd:SecuredFragment><![CDATA[File]]>Decryption\
             </upd:SecuredFragment><upd:Language>en</upd:Language>",
            "<Properties UpdateType=\"Software\"><SecuredFragment>FileUrl</SecuredFragment>\
             <SecuredFragment>FileDecryption</SecuredFragment></Properties>",
            Encryption::Unmarked,
        ),
        (
            "<upd:SecuredFragment/>",
            "<Properties UpdateType=\"Software\"><SecuredFragment /></Properties>",
            Encryption::None,
        ),
    ];
    for (children, expected, encryption) in table {
        let cut = cut_text(&document(&(properties(children) + file)), &Languages::all()).unwrap();
        assert!(plain(cut.core).ends_with(expected), "{children}");
        assert_eq!(cut.facts.encryption, encryption, "{children}");
        // Extended keeps what it had
        assert_eq!(
            plain(cut.extended).matches("<SecuredFragment").count(),
            children.matches("<upd:Sec").count()
        );
    }
}

#[test]
fn what_stands_around_a_document_is_no_part_of_it() {
    let inner = format!("{ID}{PROPERTIES}");
    let root = format!("<upd:Update {NAMES}>{inner}</upd:Update>");
    let declared = format!("<?xml version=\"1.0\"?>\r\n<!-- made here -->\n{root}\n<!-- end -->");
    for body in [root, declared] {
        let clean = cut_text(&body, &Languages::all()).unwrap();
        assert_eq!(clean.document.into_bytes().unwrap(), body.as_bytes(), "what is inside stays");
        let core = plain(clean.core);
        for (before, after) in [
            ("\u{feff}", ""),
            ("\n", "\n"),
            (" \t\r\n  ", "  \r\n\n"),
            ("\u{feff}\r\n", "\n"),
            ("\n\u{feff} \u{feff}", "\n\u{feff}\n"),
        ] {
            // a declaration that does not begin the text is none to an XML reader, and yet it comes
            let cut = cut_text(&format!("{before}{body}{after}"), &Languages::all()).unwrap();
            assert_eq!(
                String::from_utf8(cut.document.into_bytes().unwrap()).unwrap(),
                body,
                "{before:?} {after:?}"
            );
            assert_eq!(plain(cut.core), core);
        }
    }
    for wrong in ["x", "\u{feff}x", "&amp;"] {
        let text = format!("{wrong}<upd:Update {NAMES}>{inner}</upd:Update>");
        assert!(cut_text(&text, &Languages::all()).is_err(), "{wrong:?}");
    }
}
