//! Finding out whether an upstream is a tailwater: `GET /tailwater/v1/`.
//!
//! The answer is JSON of a few dozen bytes, so that people can read it too. **Invariant:** fields that are not
//! known are passed over; without `protocol` 1 it is no tailwater that we can talk to. It names nobody.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{MOST_ITEMS, MessageError};
use tailwater_domain::{Limit, limits};

/// No answer that says this is longer.
pub const MAX_HELLO: usize = 4096;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_HELLO in "bytes": "A greeting" => "the server counts as another kind",
];

/// The version of everything in this folder.
const PROTOCOL: u32 = 1;

/// What a tailwater says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of this protocol: 1.
    pub protocol: u32,
    /// Who it is: change numbers mean something only together with this.
    pub server: Uuid,
    /// The most documents it packs for one request.
    pub most_items: usize,
}

impl Hello {
    /// Of this server.
    pub fn new(server: Uuid) -> Self {
        Self { protocol: PROTOCOL, server, most_items: MOST_ITEMS }
    }

    /// As an answer's body.
    pub fn encode(&self) -> Vec<u8> {
        // plain data with string keys: this cannot fail
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an answer's body.
    ///
    /// # Errors
    /// When it is not the answer of a tailwater of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_HELLO {
            return Err(MessageError::TooLong { what: "the greeting", limit: MAX_HELLO });
        }
        let hello: Self =
            serde_json::from_slice(bytes).map_err(|_json| MessageError::Value { what: "the greeting" })?;
        if hello.protocol != PROTOCOL {
            return Err(MessageError::Value { what: "the version" });
        }
        Ok(Self { most_items: hello.most_items.clamp(1, MOST_ITEMS), ..hello })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_version_is_understood() {
        let hello = Hello::new(Uuid::from_u128(7));
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        let table = [
            "<html>Not Found</html>",
            "",
            "{}",
            r#"{"protocol":2,"server":"00000000-0000-0000-0000-000000000007","most_items":9}"#,
            r#"{"protocol":1,"server":"x","most_items":9}"#,
        ];
        for text in table {
            assert!(Hello::decode(text.as_bytes()).is_err(), "{text}");
        }
        let more =
            r#"{"protocol":1,"server":"00000000-0000-0000-0000-000000000007","most_items":99999,"x":[1]}"#;
        assert_eq!(Hello::decode(more.as_bytes()).unwrap().most_items, MOST_ITEMS);
    }
}
