//! Answers, written element for element in the order of real servers; empty lists are left out.
//!
//! **Invariant:** what comes out is one body element of the service's namespace, in pieces: text, and places where a
//! stored fragment stands. Fragments are XML-escaped already and never touched.

mod details;
mod handshake;
mod scan;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::{Service, date_time};
use crate::xml::Encoder;

pub use details::{
    Extended2Answer, ExtendedAnswer, FileKey, FileLocation, RefreshRow, extended_answer, extended2_answer,
    file_locations_answer, refresh_cache_answer,
};
pub use handshake::{
    AuthorizationAnswer, ConfigAnswer, cookie_answer, register_computer_answer, report_answer, report2_answer,
};
pub use scan::{CategoryScanAnswer, DeploymentView, SyncAnswer, SyncEnd, UpdateView};

/// A part of an answer: text, or a place for a stored fragment that `F` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<F> {
    /// XML as it goes out.
    Text(String),
    /// The escaped text of a fragment goes here.
    Fragment(F),
}

/// An answer under construction.
struct Answer<F> {
    pieces: Vec<Piece<F>>,
    xml: Encoder,
}

impl<F> Answer<F> {
    fn new() -> Self {
        Self { pieces: Vec::new(), xml: Encoder::with_capacity(512) }
    }

    fn fragment(&mut self, fragment: F) {
        self.cut();
        self.pieces.push(Piece::Fragment(fragment));
    }

    fn cut(&mut self) {
        let text = std::mem::replace(&mut self.xml, Encoder::with_capacity(512)).finish();
        self.pieces.push(Piece::Text(text));
    }

    /// Its pieces in order.
    fn pieces(mut self) -> Vec<Piece<F>> {
        self.cut();
        self.pieces
    }

    /// An element that holds a stored fragment.
    fn xml_element(&mut self, fragment: F) {
        self.xml.open("Xml");
        self.fragment(fragment);
        self.xml.close("Xml");
    }
}

/// One answer in one text: `<operation>Response` with `content` inside.
fn whole(service: Service, operation: &str, content: impl FnOnce(&mut Encoder)) -> String {
    let mut xml = Encoder::with_capacity(1024);
    let response = format!("{operation}Response");
    xml.open_in(&response, service.namespace());
    content(&mut xml);
    xml.close(&response);
    xml.finish()
}

/// A cookie on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCookie {
    /// `Expiration`.
    pub expires: Timestamp,
    /// `EncryptedData`.
    pub sealed: Vec<u8>,
}

impl SealedCookie {
    /// The inside of a cookie element.
    fn write(&self, xml: &mut Encoder) {
        xml.value("Expiration", date_time(self.expires))
            .value("EncryptedData", STANDARD.encode(&self.sealed));
    }
}

fn int_list(xml: &mut Encoder, list: &str, ids: &[u32]) {
    if ids.is_empty() {
        return;
    }
    xml.open(list);
    for id in ids {
        xml.value("int", id);
    }
    xml.close(list);
}
