//! Promises about cabinets that are no good: whatever is cut off or changed, reading ends with a text or an error, and
//! no panic of a library comes through.

use std::io::{self, Cursor, Read as _};
use std::path::PathBuf;

use base64::Engine as _;
use cab::{CabinetBuilder, CompressionType};

use super::*;

/// Bytes changed of one cabinet; more of a longer one would say nothing new.
const MOST_PLACES: usize = 1_500;

fn made(text: &str, method: CompressionType, name: &str) -> Vec<u8> {
    let mut builder = CabinetBuilder::new();
    builder.add_folder(method).add_file(name);
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        io::copy(&mut units.as_slice(), &mut file).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Two files of "Hello, world!" and the like in LZX, which no library here writes.
const LZX: &[u8] = b"\x4d\x53\x43\x46\x00\x00\x00\x00\x97\x00\x00\x00\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x00\
    \x00\x00\x03\x01\x01\x00\x02\x00\x00\x00\x2d\x05\x00\x00\x5b\x00\x00\x00\x01\x00\x03\x13\x0f\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x21\x53\x0d\xb2\x20\x00\x68\x69\x2e\x74\x78\x74\x00\x10\x00\x00\x00\x0f\x00\x00\x00\x00\
    \x00\x21\x53\x0b\xb2\x20\x00\x62\x79\x65\x2e\x74\x78\x74\x00\x5c\xef\x2a\xc7\x34\x00\x1f\x00\x5b\x80\x80\x8d\
    \x00\x30\xf0\x01\x10\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x48\x65\x6c\x6c\x6f\x2c\x20\x77\x6f\x72\x6c\
    \x64\x21\x0d\x0a\x53\x65\x65\x20\x79\x6f\x75\x20\x6c\x61\x74\x65\x72\x21\x0d\x0a\x00";

/// Cabinets of a recorded server, the shortest first; none where there are no recordings.
fn recorded() -> Vec<Vec<u8>> {
    let captures =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures/wsusss/exchanges");
    let Ok(exchanges) = std::fs::read_dir(&captures) else {
        println!("skipped: no recordings at {}", captures.display());
        return Vec::new();
    };
    let mut found = Vec::new();
    for exchange in exchanges {
        let Ok(body) = std::fs::read(exchange.unwrap().path().join("response.body")) else { continue };
        let body = String::from_utf8_lossy(&body).into_owned();
        for part in body.split("<XmlUpdateBlobCompressed>").skip(1) {
            let text: String = part.split('<').next().unwrap().split_whitespace().collect();
            found.push(base64::engine::general_purpose::STANDARD.decode(text).unwrap());
        }
    }
    assert!(!found.is_empty());
    found.sort_by_key(Vec::len);
    found.dedup();
    found.truncate(4);
    found
}

fn all() -> Vec<Vec<u8>> {
    let long = "<a b=\"c\">some text</a>".repeat(4_000);
    let mut all = vec![
        made("<a/>", CompressionType::None, "blob"),
        made("<a/>", CompressionType::MsZip, "blob"),
        made(&long, CompressionType::MsZip, "n".repeat(200).as_str()),
        LZX.to_vec(),
    ];
    all.extend(recorded());
    all
}

/// What a caller sees; a panic fails the test by itself.
fn outcome(cabinet: &[u8]) -> Result<usize, String> {
    let read = with_document(Cursor::new(cabinet), |document| {
        let mut text = Vec::new();
        document.read_to_end(&mut text).map(|_| text.len())
    });
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[test]
fn every_sound_cabinet_passes_the_check() {
    for cabinet in all() {
        check::check(&mut Cursor::new(&cabinet)).unwrap();
        // the sample in LZX is no UTF-16; it is read all the same
        assert!(outcome(&cabinet).is_ok() || cabinet == LZX, "{:?}", outcome(&cabinet));
    }
}

#[test]
fn whatever_is_cut_off_or_changed_is_an_error_or_a_text() {
    for cabinet in all() {
        let step = cabinet.len().div_ceil(MOST_PLACES).max(1);
        for len in (0..cabinet.len()).step_by(step) {
            let _ = outcome(&cabinet[..len]);
        }
        // its head is what sizes and offsets are in
        for at in (0..cabinet.len()).filter(|at| *at < 160 || at % step == 0) {
            for change in [1, 0x80, 0xff] {
                let mut changed = cabinet.clone();
                changed[at] ^= change;
                let _ = outcome(&changed);
            }
        }
    }
}

#[test]
fn sizes_and_offsets_that_lead_nowhere_are_refused_before_the_library_sees_them() {
    let sound = made("<a>a text</a>", CompressionType::MsZip, "blob");
    let at = usize::try_from(u32::from_le_bytes(sound[16..20].try_into().unwrap())).unwrap();
    let data = usize::try_from(u32::from_le_bytes(sound[36..40].try_into().unwrap())).unwrap();
    let change = |place: usize, bytes: &[u8]| {
        let mut changed = sound.clone();
        changed[place..place + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let far = 0x7fff_0000_u32.to_le_bytes();
    let table = [
        ("a file begins behind its folder", change(at + 4, &far)),
        ("a file begins at its folder's end", change(at + 4, &[26, 0, 0, 0])),
        ("a file is longer than its folder", change(at, &27_u32.to_le_bytes())),
        ("no blocks", change(40, &[0, 0])),
        ("more blocks than there are", change(40, &[200, 0])),
        ("blocks behind the end", change(36, &far)),
        ("a block of nothing", change(data + 6, &[0, 0])),
        ("a block of too much", change(data + 6, &[1, 0x80])),
        ("a block beyond the end", change(data + 4, &[0xff, 0x7f])),
        ("files behind the end", change(16, &far)),
        ("a folder that is not there", change(at + 8, &[9, 0])),
        ("a folder of another cabinet", change(at + 8, &[0xfd, 0xff])),
        ("an unknown compression", change(42, &[7, 0])),
        ("a window of 32 MiB", change(42, &[3, 25])),
        ("too many folders", change(26, &[0xff, 0xff])),
        ("too many files", change(28, &[0xff, 0xff])),
        ("the next cabinet", change(30, &[2, 0])),
        ("a reserve beyond the end", change(30, &[4, 0])),
        ("a longer cabinet", change(8, &far)),
    ];
    for (what, cabinet) in table {
        let refused = with_document(Cursor::new(&cabinet), |_| ());
        assert!(matches!(refused, Err(CabinetError::Broken { .. })), "{what}: {refused:?}");
    }
    let long = with_document(Cursor::new(change(at, &far)), |_| ());
    assert!(matches!(long, Err(CabinetError::TooLong { .. })), "{long:?}");
    // the same by brute force: no change of a head that passes makes the library panic
    for (place, byte) in (0..at + 30).flat_map(|place| [0, 1, 26, 0x7f, 0xff].map(|byte| (place, byte))) {
        let cabinet = change(place, &[byte]);
        if check::check(&mut Cursor::new(&cabinet)).is_ok() {
            let opened = guarded(|| {
                let mut opened = Cabinet::new(Cursor::new(&cabinet)).ok()?;
                let name = opened.folder_entries().flat_map(|f| f.file_entries()).next()?.name().to_owned();
                let mut text = Vec::new();
                let _ = opened.read_file(&name).ok()?.read_to_end(&mut text);
                Some(())
            });
            assert!(opened.is_ok(), "byte {byte} at {place}: {opened:?}");
        }
    }
}

#[test]
fn a_panic_while_a_document_is_read_is_an_error_of_that_document() {
    struct Trap;
    impl Read for Trap {
        fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
            std::panic::panic_any("the library slipped")
        }
    }
    let mut reader = Guard(Some(Trap));
    for round in 0..2 {
        let error = reader.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string().contains("the library slipped"), round == 0, "{error}");
    }
}
