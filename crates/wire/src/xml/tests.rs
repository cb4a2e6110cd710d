//! What the decoder reads, and what it refuses.

use std::io::Read as _;

use super::*;

fn decoder(text: &str) -> Decoder<&[u8]> {
    Decoder::new(text.as_bytes(), Limits::REQUEST)
}

#[test]
fn elements_texts_and_absences_are_told_apart() {
    let mut xml = decoder(
        "<?xml version=\"1.0\"?><!-- c --><p:a xmlns:p=\"urn:a\"><p:b>x &lt;&#x41;&#66; y<![CDATA[<&]]></p:b><c/>\
         <d xsi:nil=\"1\"/><e> 7 </e><f>true</f><g><h><i/></h>text</g></p:a>",
    );
    assert_eq!(xml.child().unwrap(), Some("a"));
    assert_eq!(xml.namespace(), Some("urn:a"));
    assert_eq!(xml.child().unwrap(), Some("b"));
    assert_eq!(xml.text().unwrap(), "x <AB y<&");
    assert_eq!(xml.child().unwrap(), Some("c"));
    assert_eq!(xml.optional_text().unwrap(), Some(String::new()));
    assert_eq!(xml.child().unwrap(), Some("d"));
    assert!(xml.is_nil());
    assert_eq!(xml.optional_text().unwrap(), None);
    assert_eq!(xml.child().unwrap(), Some("e"));
    assert_eq!(xml.optional_value::<u32>().unwrap(), Some(7));
    assert_eq!(xml.child().unwrap(), Some("f"));
    assert!(xml.boolean().unwrap());
    assert_eq!(xml.child().unwrap(), Some("g"));
    xml.skip().unwrap();
    assert_eq!(xml.child().unwrap(), None);
    assert_eq!(xml.child().unwrap(), None);
}

#[test]
fn lists_of_numbers_are_read_in_every_form() {
    let table = [
        ("<l><int>1</int><int>4294967295</int></l>", vec![1, u32::MAX]),
        (
            "<l> <int>1</int>\n<int> 2 </int><q:int>3</q:int><int>-4</int><other/><int>5</int></l>",
            vec![1, 2, 3, 5],
        ),
        ("<l/>", vec![]),
        ("<l></l>", vec![]),
        ("<l><int xsi:nil=\"true\"/><int>9</int></l>", vec![9]),
    ];
    for (text, numbers) in table {
        let mut xml = decoder(text);
        xml.child().unwrap();
        assert_eq!(xml.ints(10).unwrap(), numbers, "{text}");
        assert_eq!(xml.child().unwrap(), None);
    }
    for text in
        ["<l><int>x</int></l>", "<l><int>1</l>", "<l><int>1<", "<l><int>99999999999999999999</int></l>"]
    {
        let mut xml = decoder(text);
        xml.child().unwrap();
        assert!(xml.ints(10).is_err(), "{text}");
    }
    let mut xml = decoder("<l><int>1</int><int>2</int><int>3</int></l>");
    xml.child().unwrap();
    assert!(matches!(xml.ints(2), Err(XmlError::TooManyElements { limit: 2 })));
}

fn read_all(text: &str, limits: Limits) -> Result<(), XmlError> {
    let mut xml = Decoder::new(text.as_bytes(), limits);
    xml.child()?;
    xml.skip()?;
    xml.child()?;
    Ok(())
}

#[test]
fn what_is_dangerous_is_refused() {
    let tight = Limits { depth: 4, attributes: 2, elements: 10, token_bytes: 200 };
    let deep = format!("{}{}", "<a>".repeat(5), "</a>".repeat(5));
    let many = format!("<a>{}</a>", "<b/>".repeat(10));
    let long = format!("<a>{}</a>", "x".repeat(300));
    let tag = format!("<a b=\"{}\"/>", "x".repeat(300));
    assert!(matches!(read_all(&deep, tight), Err(XmlError::TooDeep { limit: 4 })));
    assert!(matches!(read_all(&many, tight), Err(XmlError::TooManyElements { limit: 10 })));
    assert!(matches!(
        read_all("<a b='1' c='2' d='3'/>", tight),
        Err(XmlError::TooManyAttributes { limit: 2 })
    ));
    for text in [long, tag] {
        // a slice is one window: quick-xml sees all of it at once, a stream stops at the limit
        let stream = std::io::BufReader::with_capacity(64, text.as_bytes());
        let mut xml = Decoder::new(stream, tight);
        let read = xml.child().map(|_| ()).and_then(|()| xml.skip());
        assert!(matches!(read, Err(XmlError::TokenTooLong { limit: 200 })), "{read:?}");
    }
    let doctype = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>";
    assert!(matches!(read_all(doctype, Limits::REQUEST), Err(XmlError::Doctype)));
    let mut xml = decoder("<a>&x;</a>");
    xml.child().unwrap();
    assert!(matches!(xml.text(), Err(XmlError::Entity(name)) if name == "x"));
    for text in ["<a>", "<a></b>", "<a", "", "<a><b></a>", "<a b='1' b='2'/>"] {
        let mut xml = decoder(text);
        let read = xml
            .child()
            .map(|child| child.is_some())
            .and_then(|entered| if entered { xml.skip() } else { Err(XmlError::UnexpectedEnd) });
        assert!(read.is_err(), "{text}");
    }
}

#[test]
fn a_long_text_is_read_as_a_stream() {
    let long = "a&amp;b&#233;<![CDATA[<c>]]><!-- not text -->&lt;/d&gt;".repeat(5_000);
    let plain = "a&b\u{e9}<c></d>".repeat(5_000);
    for window in [16, 17, 64, 4096] {
        let text = format!("<r><x>{long}</x><y>1</y><z/></r>");
        let mut xml =
            Decoder::new(std::io::BufReader::with_capacity(window, text.as_bytes()), Limits::ANSWER);
        xml.child().unwrap();
        xml.child().unwrap();
        let mut reader = xml.text_reader();
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        reader.finish().unwrap();
        assert_eq!(got, plain, "window {window}");
        assert_eq!(xml.child().unwrap(), Some("y"));
        // not read at all, and empty
        xml.text_reader().finish().unwrap();
        assert_eq!(xml.child().unwrap(), Some("z"));
        xml.text_reader().finish().unwrap();
        assert_eq!(xml.child().unwrap(), None);
    }
    for text in ["<x>abc", "<x>abc<y/></x>", "<x>&unknown;</x>", "<x>&amp</x>"] {
        let mut xml = decoder(text);
        xml.child().unwrap();
        assert!(xml.text_reader().finish().is_err(), "{text}");
    }
}
