//! The fault of both protocols ([MS-WUSP] 2.2.2.4, [MS-WSUSSS] 2.2.9). Invariant: receivers act on
//! `ErrorCode` alone. It never carries anything of the server's insides.

use std::fmt;
use std::io::BufRead;

use super::{Style, Version, envelope};
use crate::xml::{Decoder, Encoder, XmlError, once};

/// Whose mistake it was: `faultcode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request was wrong.
    Client,
    /// The server could not.
    Server,
}

/// A fault. The children of `detail` belong to no namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose mistake.
    pub blame: Blame,
    /// `ErrorCode`: `InvalidCookie`, `ServerBusy`, …; faults of other software have none.
    pub code: Option<String>,
    /// `Message`: the offending parameter, or empty.
    pub message: String,
    /// `ID`: a GUID of this occurrence.
    pub id: String,
    /// `Method`: the request's `SOAPAction`, with its quotation marks.
    pub method: String,
    /// `faultactor`: the service's address, in the style of servers.
    pub actor: Option<String>,
    /// `faultstring`.
    pub text: String,
}

/// What Microsoft's servers write as `faultstring`.
const OCCURRED: &str = "Fault occurred";

impl Fault {
    /// A fault as Microsoft's servers raise it.
    pub fn new(blame: Blame, code: &str, message: &str, id: String, method: String) -> Self {
        Self {
            blame,
            code: Some(code.to_owned()),
            message: message.to_owned(),
            id,
            method,
            actor: None,
            text: OCCURRED.to_owned(),
        }
    }

    /// The whole message.
    pub fn encode(&self, version: Version, style: Style) -> String {
        let mut detail = Encoder::new();
        if let Some(code) = &self.code {
            detail.text("ErrorCode", code).text("Message", &self.message);
            detail.text("ID", &self.id).text("Method", &self.method);
        }
        let prefix = style.prefix();
        let fault = format!("{prefix}:Fault");
        let mut body = Encoder::new();
        body.open(&fault);
        match version {
            Version::V11 => {
                let blame = if self.blame == Blame::Client { "Client" } else { "Server" };
                body.value("faultcode", format_args!("{prefix}:{blame}"));
                body.text("faultstring", &self.text);
                if let Some(actor) = &self.actor {
                    body.text("faultactor", actor);
                }
                body.open("detail").raw(detail.as_str()).close("detail");
            }
            Version::V12 => {
                let blame = if self.blame == Blame::Client { "Sender" } else { "Receiver" };
                body.raw(&format!(
                    "<{prefix}:Code><{prefix}:Value>{prefix}:{blame}</{prefix}:Value></{prefix}:Code>"
                ));
                body.raw(&format!("<{prefix}:Reason><{prefix}:Text xml:lang=\"en\">"));
                body.raw(&crate::xml::escape(&self.text));
                body.raw(&format!("</{prefix}:Text></{prefix}:Reason>"));
                // between servers it is an element of no namespace ([MS-WSUSSS] 2.2.9.2), unlike SOAP's own
                let element = if style == Style::Server { "Detail" } else { &format!("{prefix}:Detail") };
                body.open(element).raw(detail.as_str()).close(element);
            }
        }
        body.close(&fault);
        envelope(version, style, body.as_str())
    }

    /// Reads a fault of either version; the decoder stands inside `Fault`.
    pub(super) fn read<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Self, XmlError> {
        let (mut blame, mut text, mut actor) = (None, None, None);
        let mut detail = Detail::default();
        while let Some(name) = decoder.child()? {
            match name {
                "faultcode" => once(&mut blame, "faultcode", decoder.text()?)?,
                "faultstring" => once(&mut text, "faultstring", decoder.text()?)?,
                "faultactor" => once(&mut actor, "faultactor", decoder.text()?)?,
                "Code" => once(&mut blame, "Code", first_text(decoder, "Value")?)?,
                "Reason" => once(&mut text, "Reason", first_text(decoder, "Text")?)?,
                "detail" | "Detail" => detail.read(decoder)?,
                _ => decoder.skip()?,
            }
        }
        let blame = blame.unwrap_or_default();
        let client = blame.ends_with("Client") || blame.ends_with("Sender");
        Ok(Self {
            blame: if client { Blame::Client } else { Blame::Server },
            code: detail.code,
            message: detail.message.unwrap_or_default(),
            id: detail.id.unwrap_or_default(),
            method: detail.method.unwrap_or_default(),
            actor,
            text: text.unwrap_or_default(),
        })
    }
}

#[derive(Default)]
struct Detail {
    code: Option<String>,
    message: Option<String>,
    id: Option<String>,
    method: Option<String>,
}

impl Detail {
    fn read<R: BufRead>(&mut self, decoder: &mut Decoder<R>) -> Result<(), XmlError> {
        while let Some(name) = decoder.child()? {
            match name {
                "ErrorCode" => once(&mut self.code, "ErrorCode", decoder.text()?.trim().to_owned())?,
                "Message" => once(&mut self.message, "Message", decoder.text()?)?,
                "ID" => once(&mut self.id, "ID", decoder.text()?)?,
                "Method" => once(&mut self.method, "Method", decoder.text()?)?,
                _ => decoder.skip()?,
            }
        }
        Ok(())
    }
}

/// The text of the first child called `name`; leaves the element.
fn first_text<R: BufRead>(decoder: &mut Decoder<R>, name: &str) -> Result<String, XmlError> {
    let mut text = None;
    while let Some(child) = decoder.child()? {
        if child == name && text.is_none() {
            text = Some(decoder.text()?);
        } else {
            decoder.skip()?;
        }
    }
    Ok(text.unwrap_or_default())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "the server answered with the fault {code}")?,
            None => write!(f, "the server answered with a fault without a code ({})", self.text)?,
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, " ({})", self.message) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, SoapError, open_answer};
    use super::*;

    fn fault() -> Fault {
        let (id, method) = ("6ea693bc-a66e-4334-a797-043728561c7d", "\"http://example.invalid/GetX\"");
        Fault::new(Blame::Client, "InvalidParameters", "filter", id.to_owned(), method.to_owned())
    }

    fn read_back(text: &str) -> Fault {
        match open_answer(text.as_bytes(), Limits::ANSWER, "GetX") {
            Err(SoapError::Fault(fault)) => *fault,
            _ => panic!("no fault in {text}"),
        }
    }

    #[test]
    fn a_fault_of_the_client_service_is_written_as_by_iis() {
        let expected = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
            <s:Body xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\
            <s:Fault><faultcode>s:Client</faultcode><faultstring>Fault occurred</faultstring>\
            <detail><ErrorCode>InvalidParameters</ErrorCode><Message>filter</Message>\
            <ID>6ea693bc-a66e-4334-a797-043728561c7d</ID>\
            <Method>&quot;http://example.invalid/GetX&quot;</Method></detail></s:Fault></s:Body></s:Envelope>";
        assert_eq!(fault().encode(Version::V11, Style::Client), expected);
    }

    #[test]
    fn faults_survive_both_versions_and_styles() {
        for version in [Version::V11, Version::V12] {
            for style in [Style::Client, Style::Server] {
                assert_eq!(read_back(&fault().encode(version, style)), fault());
            }
        }
        let actor = Some("http://example.invalid/x.asmx".to_owned());
        let with_actor = Fault { actor, ..fault() };
        assert_eq!(read_back(&with_actor.encode(Version::V11, Style::Server)), with_actor);
    }

    #[test]
    fn a_fault_without_a_code_is_still_a_fault() {
        let text = "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><e:Fault>\
            <faultcode>e:Server</faultcode><faultstring>out of order</faultstring></e:Fault></e:Body></e:Envelope>";
        let fault = read_back(text);
        assert_eq!((fault.code, fault.blame), (None, Blame::Server));
    }
}
