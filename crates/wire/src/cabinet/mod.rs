//! The cabinet in which update documents travel (`XmlUpdateBlobCompressed`, [MS-WSUSSS] 3.1.4.6): one file,
//! stored, MSZIP or LZX, whose content is the document in UTF-16LE.
//!
//! **Invariant:** the document is given as UTF-8, a block at a time, whatever its size; nothing past
//! [`LIMIT`] is decompressed. Sizes and offsets are checked before a library sees them, and a panic of it is an error.
//! It never looks at the file's name.

mod check;
mod error;
mod guard;
#[cfg(test)]
mod poison_tests;
mod utf16;
mod write;

use std::io::{BufRead, BufReader, Read, Seek};

use cab::Cabinet;

pub use error::{CabinetError, LIMIT};
use guard::Guard;
use tailwater_domain::{Limit, joined_limits};
use tailwater_runtime::guarded;
use utf16::Utf16;
pub use write::Writer;

/// What is limited here.
pub(super) const LIMITS: &[Limit] = joined_limits![error::LIMITS, check::LIMITS, write::LIMITS,];

/// Gives the document of `cabinet` to `read`, as UTF-8. A damaged block shows as an error of the reader.
///
/// # Errors
/// When it is no cabinet with a file, or announces more than [`LIMIT`] bytes.
pub fn with_document<R, T>(
    mut cabinet: R,
    read: impl FnOnce(&mut dyn BufRead) -> T,
) -> Result<T, CabinetError>
where
    R: Read + Seek,
{
    check::check(&mut cabinet)?;
    let mut cabinet = guarded(|| Cabinet::new(cabinet))?.map_err(CabinetError::Unreadable)?;
    let first = cabinet.folder_entries().flat_map(|folder| folder.file_entries()).next();
    let (name, size) = first
        .map(|file| (file.name().to_owned(), u64::from(file.uncompressed_size())))
        .ok_or(CabinetError::Empty)?;
    if size > LIMIT {
        return Err(CabinetError::TooLong { size });
    }
    let file = guarded(|| cabinet.read_file(&name))?.map_err(CabinetError::Unreadable)?;
    let mut document = BufReader::with_capacity(utf16::WINDOW, Utf16::new(Guard(Some(file))));
    Ok(read(&mut document))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use cab::{CabinetBuilder, CompressionType};

    use super::*;

    fn cabinet(text: &str, bom: bool, compression: CompressionType) -> Vec<u8> {
        let mut builder = CabinetBuilder::new();
        builder.add_folder(compression).add_file("blob");
        let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
        while let Some(mut file) = writer.next_file().unwrap() {
            let mut units: Vec<u8> = if bom { vec![0xff, 0xfe] } else { Vec::new() };
            units.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            io::copy(&mut units.as_slice(), &mut file).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn read(cabinet: &[u8]) -> Result<io::Result<String>, CabinetError> {
        with_document(Cursor::new(cabinet), |document| {
            let mut text = String::new();
            document.read_to_string(&mut text).map(|_| text)
        })
    }

    #[test]
    fn stored_and_mszip_documents_come_out_as_utf8() {
        // surrogate pairs land on every position within the windows
        let long: String = (0..40_000).map(|n| if n % 7 == 0 { '\u{1f512}' } else { 'ä' }).collect();
        for text in ["", "<a/>", "日本語 & \u{10ffff}", long.as_str()] {
            for compression in [CompressionType::None, CompressionType::MsZip] {
                for bom in [false, true] {
                    assert_eq!(read(&cabinet(text, bom, compression)).unwrap().unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back_however_it_was_cut() {
        let mut state = 1_u32;
        let noise: String = (0..60_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from_u32(state >> 12).unwrap_or('\u{1f512}')
            })
            .collect();
        let long = "<upd:Update xmlns:upd=\"urn:x\">\u{e9}\u{1f512}</upd:Update>".repeat(3_000);
        for text in ["", "a", "<a>\u{1f600}</a>", noise.as_str(), long.as_str()] {
            for step in [1, 7, 4_096, usize::MAX] {
                let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
                for piece in text.as_bytes().chunks(step) {
                    writer.write(piece).unwrap();
                }
                let cabinet = writer.finish().unwrap().into_inner();
                assert_eq!(read(&cabinet).unwrap().unwrap(), text);
                assert_eq!(cabinet[8..12], u32::try_from(cabinet.len()).unwrap().to_le_bytes());
            }
        }
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        assert!(writer.write(b"\xff").is_err());
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        writer.write(b"\xc3").unwrap();
        assert!(writer.finish().is_err(), "ends inside a character");
    }

    #[test]
    fn damage_is_noticed() {
        assert!(matches!(read(b"MSCF"), Err(CabinetError::Broken { .. })));
        assert!(matches!(read(b"<html>"), Err(CabinetError::Broken { .. })));
        let whole = cabinet("<a>some text that is long enough</a>", false, CompressionType::None);
        let mut torn = whole.clone();
        let last = torn.len() - 3;
        torn[last] ^= 0x55;
        assert!(read(&torn).map_or(true, |text| text.is_err()));
        assert!(read(&whole[..whole.len() - 4]).map_or(true, |text| text.is_err()));
    }
}
