//! SOAP 1.1 and 1.2 envelopes, in and out, and the fault that both protocols share.
//!
//! **Invariant:** an envelope is known by its namespace, never by its prefix; what is read of a body is
//! the name and namespace of its first child, everything else is left to the message types. It never
//! decides what a fault means to its receiver.

mod fault;

use std::io::BufRead;

pub use fault::{Blame, Fault};

use super::xml::{Decoder, Limits, XmlError, escape_into};

/// Which SOAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 1.1, `text/xml`: what agents and servers speak.
    #[default]
    V11,
    /// 1.2, `application/soap+xml`: answered when asked.
    V12,
}

impl Version {
    /// The envelope's namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::V11 => "http://schemas.xmlsoap.org/soap/envelope/",
            Self::V12 => "http://www.w3.org/2003/05/soap-envelope",
        }
    }

    /// The media type of messages.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V11 => "text/xml; charset=utf-8",
            Self::V12 => "application/soap+xml; charset=utf-8",
        }
    }
}

/// How Microsoft's server writes the envelope of a service's answers. Decoders do not care; being the same
/// makes recordings comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The Client service: prefix `s`, no XML declaration, `xsi` and `xsd` declared on the body, faults
    /// without actor.
    Client,
    /// `SimpleAuth`, reporting and everything between servers: XML declaration, prefix `soap`, `xsi` and
    /// `xsd` declared on the envelope, faults with an actor.
    Server,
}

impl Style {
    fn prefix(self) -> &'static str {
        match self {
            Self::Client => "s",
            Self::Server => "soap",
        }
    }
}

/// Why a text is no usable envelope.
#[derive(Debug, thiserror::Error)]
pub enum SoapError {
    /// It is no readable XML.
    #[error("the message cannot be read")]
    Xml(#[from] XmlError),
    /// Its root is something else (a login page of a proxy, say).
    #[error("the message is no SOAP envelope but {root:?}")]
    NotAnEnvelope {
        /// Local name of the root.
        root: String,
    },
    /// It has no body, or nothing in it.
    #[error("the SOAP envelope has no body")]
    EmptyBody,
    /// It answers something else.
    #[error("the answer is a {found}, not a {expected}")]
    OtherAnswer {
        /// The element that should be there.
        expected: String,
        /// The element that is.
        found: String,
    },
    /// The other side reports that it could not answer.
    #[error("{0}")]
    Fault(Box<Fault>),
}

/// A message that was opened: the decoder stands inside the operation's element.
pub struct Message<R> {
    /// Which SOAP it is, so that the answer can be the same.
    pub version: Version,
    /// Local name of the body's first child: the operation, or the operation and `Response`.
    pub operation: String,
    /// Its namespace; empty when none was declared.
    pub namespace: String,
    /// Stands inside that element.
    pub decoder: Decoder<R>,
}

/// Opens a message of either version. Headers are passed over.
///
/// # Errors
/// When it is no envelope, or has nothing in its body, or crosses `limits` on the way.
pub fn open<R: BufRead>(input: R, limits: Limits) -> Result<Message<R>, SoapError> {
    let mut decoder = Decoder::new(input, limits);
    let root = decoder.child()?.unwrap_or_default().to_owned();
    let version = match decoder.namespace() {
        Some(uri) if root == "Envelope" && uri == Version::V11.namespace() => Version::V11,
        Some(uri) if root == "Envelope" && uri == Version::V12.namespace() => Version::V12,
        _ => return Err(SoapError::NotAnEnvelope { root }),
    };
    loop {
        match decoder.child()? {
            Some("Body") => break,
            Some(_) => decoder.skip()?,
            None => return Err(SoapError::EmptyBody),
        }
    }
    let Some(operation) = decoder.child()?.map(str::to_owned) else { return Err(SoapError::EmptyBody) };
    let namespace = decoder.namespace().unwrap_or_default().to_owned();
    Ok(Message { version, operation, namespace, decoder })
}

/// What can be told of a message whether or not it can be read whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Glimpse {
    /// The envelope's version.
    pub version: Option<Version>,
    /// Namespace and local name of the body's first child.
    pub operation: Option<(String, String)>,
}

/// Looks at a message's envelope and the name of its operation, as far as they can be read.
pub fn glimpse(body: &[u8]) -> Glimpse {
    let mut seen = Glimpse::default();
    let mut decoder = Decoder::new(body, Limits::REQUEST);
    let mut look = || -> Result<(), XmlError> {
        let is_envelope = decoder.child()? == Some("Envelope");
        seen.version = [Version::V11, Version::V12]
            .into_iter()
            .find(|version| is_envelope && decoder.namespace() == Some(version.namespace()));
        if seen.version.is_none() {
            return Ok(());
        }
        loop {
            match decoder.child()? {
                Some("Body") => break,
                Some(_) => decoder.skip()?,
                None => return Ok(()),
            }
        }
        if let Some(operation) = decoder.child()?.map(str::to_owned) {
            seen.operation = Some((decoder.namespace().unwrap_or_default().to_owned(), operation));
        }
        Ok(())
    };
    // what is broken further on was seen as far as it goes
    let _ = look();
    seen
}

/// Opens the answer to `operation`: the decoder stands inside `<operation>Response`.
///
/// # Errors
/// As [`open`]; [`SoapError::Fault`] when the answer is a fault.
pub fn open_answer<R: BufRead>(input: R, limits: Limits, operation: &str) -> Result<Decoder<R>, SoapError> {
    let mut message = open(input, limits)?;
    if message.operation == "Fault" && message.namespace == message.version.namespace() {
        return Err(SoapError::Fault(Box::new(Fault::read(&mut message.decoder)?)));
    }
    match message.operation.strip_suffix("Response") {
        Some(found) if found == operation => Ok(message.decoder),
        _ => {
            Err(SoapError::OtherAnswer { expected: format!("{operation}Response"), found: message.operation })
        }
    }
}

const XSI_XSD: &str =
    " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"";

/// Everything of a message before the body's child.
pub fn opening(version: Version, style: Style) -> String {
    let (prefix, namespace) = (style.prefix(), version.namespace());
    match style {
        Style::Client => {
            format!("<{prefix}:Envelope xmlns:{prefix}=\"{namespace}\"><{prefix}:Body{XSI_XSD}>")
        }
        Style::Server => format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><{prefix}:Envelope xmlns:{prefix}=\"{namespace}\"{XSI_XSD}><{prefix}:Body>"
        ),
    }
}

/// Everything of a message after the body's child.
pub fn closing(style: Style) -> &'static str {
    match style {
        Style::Client => "</s:Body></s:Envelope>",
        Style::Server => "</soap:Body></soap:Envelope>",
    }
}

/// A whole message around `body`, which is XML.
pub fn envelope(version: Version, style: Style, body: &str) -> String {
    let mut message = opening(version, style);
    message.reserve(body.len() + 32);
    message.push_str(body);
    message.push_str(closing(style));
    message
}

/// A request: `content` is the inside of `<operation xmlns="namespace">`.
pub fn request(namespace: &str, operation: &str, content: &str) -> String {
    let mut body = String::with_capacity(content.len() + 2 * operation.len() + namespace.len() + 16);
    body.push('<');
    body.push_str(operation);
    body.push_str(" xmlns=\"");
    escape_into(&mut body, namespace);
    body.push_str("\">");
    body.push_str(content);
    body.push_str("</");
    body.push_str(operation);
    body.push('>');
    envelope(Version::V11, Style::Server, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_do_not_matter_and_both_versions_are_read() {
        for (text, version) in [
            (
                "<a:Envelope xmlns:a=\"http://schemas.xmlsoap.org/soap/envelope/\"><a:Header><x/></a:Header>\
                 <a:Body><GetCookie xmlns=\"urn:x\"><v>1</v></GetCookie></a:Body></a:Envelope>",
                Version::V11,
            ),
            (
                "\u{feff}<?xml version=\"1.0\"?><Envelope xmlns=\"http://www.w3.org/2003/05/soap-envelope\"> <Body>\
                 <q:GetCookie xmlns:q=\"urn:x\"><q:v>1</q:v></q:GetCookie></Body></Envelope>",
                Version::V12,
            ),
        ] {
            let mut message = open(text.as_bytes(), Limits::REQUEST).unwrap();
            assert_eq!(message.version, version);
            assert_eq!((message.operation.as_str(), message.namespace.as_str()), ("GetCookie", "urn:x"));
            assert_eq!(message.decoder.child().unwrap(), Some("v"));
            assert_eq!(message.decoder.text().unwrap(), "1");
            assert_eq!(message.decoder.child().unwrap(), None);
        }
    }

    #[test]
    fn a_glimpse_shows_what_can_be_read() {
        let (v11, v12) = (Version::V11.namespace(), Version::V12.namespace());
        let head = |uri: &str| format!("<e:Envelope xmlns:e=\"{uri}\"><e:Header><x>1</x></e:Header><e:Body>");
        let asked = |operation: &str| Some(("urn:x".to_owned(), operation.to_owned()));
        let table = [
            (head(v11) + "<Ping xmlns=\"urn:x\"/></e:Body></e:Envelope>", Some(Version::V11), asked("Ping")),
            (head(v12) + "<q:Ping xmlns:q=\"urn:x\"><q:a></q:b>", Some(Version::V12), asked("Ping")),
            (head(v12) + "</e:Body></e:Envelope>", Some(Version::V12), None),
            (head(v12), Some(Version::V12), None),
            (head("urn:other"), None, None),
            ("<html/>".to_owned(), None, None),
            ("\u{0}\u{1}".to_owned(), None, None),
            (String::new(), None, None),
        ];
        for (text, version, operation) in table {
            assert_eq!(glimpse(text.as_bytes()), Glimpse { version, operation }, "{text}");
        }
    }

    #[test]
    fn what_is_no_envelope_is_named() {
        let page = "<html><body>proxy login</body></html>";
        let error = open(page.as_bytes(), Limits::ANSWER).err().unwrap();
        assert!(matches!(error, SoapError::NotAnEnvelope { root } if root == "html"));
        let text = request("urn:x", "Ping", "");
        let error = open_answer(text.as_bytes(), Limits::ANSWER, "GetCookie").err().unwrap();
        assert!(matches!(error, SoapError::OtherAnswer { found, .. } if found == "Ping"));
    }
}
