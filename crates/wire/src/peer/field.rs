//! Numbers, blocks and numbered fields: what every message between two tailwaters is made of.
//!
//! A number is LEB128, a block is its length and then its bytes, a field is its tag and then a block. Who
//! does not know a tag passes over it, so that later versions can say more.
//!
//! **Invariant:** no length that came from outside is believed beyond the bytes that are there, and a reader
//! never allocates. It never knows what a field means.

use super::MessageError;
use tailwater_domain::{Limit, limits};

/// Bytes of the longest number.
const LONGEST_NUMBER: usize = 10;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_NUMBER in "bytes": "A number between tailwaters" => "the message is refused",
];

/// Writes a message.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn number(&mut self, mut value: u64) -> &mut Self {
        while value > 0x7f {
            self.0.push(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.0.push(low_bits(value));
        self
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn block(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).raw(bytes)
    }

    /// One field; an empty one is left out.
    pub(super) fn field(&mut self, tag: u64, content: &Self) -> &mut Self {
        if content.0.is_empty() {
            return self;
        }
        self.number(tag).block(&content.0)
    }

    /// A field that is one number; 0 is left out.
    pub(super) fn number_field(&mut self, tag: u64, value: u64) -> &mut Self {
        if value == 0 {
            return self;
        }
        let mut content = Self::new();
        content.number(value);
        self.field(tag, &content)
    }
}

/// The lowest seven bits.
fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

/// Reads a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Result<u64, MessageError> {
        let mut value = 0_u64;
        for (place, byte) in self.0.iter().take(LONGEST_NUMBER).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * place;
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < LONGEST_NUMBER { MessageError::Short } else { MessageError::Number })
    }

    /// A number that fits 32 bits.
    pub(super) fn small(&mut self) -> Result<u32, MessageError> {
        u32::try_from(self.number()?).map_err(|_range| MessageError::Number)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(MessageError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn block(&mut self) -> Result<&'a [u8], MessageError> {
        let len = usize::try_from(self.number()?).map_err(|_range| MessageError::Short)?;
        let (head, tail) = self.0.split_at_checked(len).ok_or(MessageError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// A block that is text of at most `limit` bytes.
    pub(super) fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, MessageError> {
        let block = self.block()?;
        if block.len() > limit {
            return Err(MessageError::TooLong { what, limit });
        }
        std::str::from_utf8(block).map_err(|_text| MessageError::Value { what })
    }

    /// The next field: its tag and its content.
    pub(super) fn field(&mut self) -> Result<Option<(u64, Self)>, MessageError> {
        if self.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.number()?, Self(self.block()?))))
    }

    /// Reads entries to the end of a field, at most `limit` of them.
    pub(super) fn each<T>(
        mut self,
        what: &'static str,
        limit: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let mut found = Vec::new();
        while !self.is_empty() {
            if found.len() == limit {
                return Err(MessageError::TooLong { what, limit });
            }
            found.push(read(&mut self)?);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut writer = Writer::new();
                writer.number(value);
                let bytes = writer.into_bytes();
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.number(), Ok(value));
                assert!(reader.is_empty());
                assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).number(), Err(MessageError::Short));
            }
        }
        assert_eq!(Reader::new(&[0xff; 10]).number(), Err(MessageError::Number));
        assert_eq!(Reader::new(&[0xff; 11]).number(), Err(MessageError::Number));
    }

    #[test]
    fn a_length_beyond_the_end_is_not_believed() {
        let mut writer = Writer::new();
        writer.number(u64::MAX).raw(b"abc");
        let bytes = writer.into_bytes();
        assert_eq!(Reader::new(&bytes).block(), Err(MessageError::Short));
    }

    #[test]
    fn unknown_fields_are_passed_over_by_their_length() {
        let mut inner = Writer::new();
        inner.raw(b"xy");
        let mut writer = Writer::new();
        writer.field(77, &inner).number_field(2, 9);
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        let (tag, content) = reader.field().unwrap().unwrap();
        assert_eq!((tag, content.0), (77, &b"xy"[..]));
        let (tag, mut content) = reader.field().unwrap().unwrap();
        assert_eq!((tag, content.number()), (2, Ok(9)));
        assert!(reader.field().unwrap().is_none());
    }
}
