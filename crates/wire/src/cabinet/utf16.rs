//! UTF-16LE to UTF-8, a window at a time. Invariant: a pair of surrogates is never torn. It never passes on
//! what is no character: a half pair is an error.

use std::io::{self, Read};

/// Bytes of UTF-16 read at once.
pub(super) const WINDOW: usize = 32 * 1024;

// not a limit: WINDOW: how much is read at once

pub(super) struct Utf16<R> {
    input: R,
    /// Bytes read and not yet converted: fewer than four stay between windows.
    raw: Vec<u8>,
    text: Vec<u8>,
    handed: usize,
    started: bool,
    ended: bool,
}

impl<R: Read> Utf16<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            raw: Vec::with_capacity(WINDOW),
            text: Vec::with_capacity(WINDOW),
            handed: 0,
            started: false,
            ended: false,
        }
    }

    /// Converts the next window.
    fn next_window(&mut self) -> io::Result<()> {
        let kept = self.raw.len();
        self.raw.resize(WINDOW, 0);
        let count = loop {
            match self.input.read(&mut self.raw[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.raw.truncate(kept + count);
        self.ended = count == 0;
        if !self.started && self.raw.len() >= 2 {
            self.started = true;
            if self.raw.starts_with(&[0xff, 0xfe]) {
                self.raw.drain(..2);
            }
        }
        let used = convert(&self.raw, &mut self.text)?;
        self.raw.drain(..used);
        if self.ended && !self.raw.is_empty() {
            return Err(torn());
        }
        Ok(())
    }
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the document is no valid UTF-16")
}

/// Appends what `raw` means; returns how many bytes of it were whole characters.
fn convert(raw: &[u8], text: &mut Vec<u8>) -> io::Result<usize> {
    let mut used = 0;
    while let Some([low, high]) = raw.get(used..).and_then(|rest| rest.first_chunk::<2>()).copied() {
        if high == 0 && low < 0x80 {
            text.push(low);
            used += 2;
            continue;
        }
        let unit = u16::from_le_bytes([low, high]);
        let (character, width) = match unit {
            0xD800..=0xDBFF => {
                let Some([low, high]) = raw.get(used + 2..).and_then(|rest| rest.first_chunk::<2>()).copied()
                else {
                    break;
                };
                let pair = [unit, u16::from_le_bytes([low, high])];
                (char::decode_utf16(pair).next().and_then(Result::ok), 4)
            }
            _ => (char::from_u32(u32::from(unit)), 2),
        };
        let character = character.ok_or_else(torn)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        used += width;
    }
    Ok(used)
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.handed == self.text.len() {
            if self.ended || out.is_empty() {
                return Ok(0);
            }
            self.text.clear();
            self.handed = 0;
            self.next_window()?;
        }
        let count = (&self.text[self.handed..]).read(out)?;
        self.handed += count;
        Ok(count)
    }
}
