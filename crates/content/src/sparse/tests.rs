//! Promises of a file that loses pieces while it is read and written.

use std::sync::atomic::AtomicU32;
use std::thread;

use super::*;

const PIECES: u64 = 40;

/// The bytes that a piece always has.
fn piece(index: u64) -> Vec<u8> {
    let len = usize::try_from(map::piece_len(SIZE, index)).unwrap();
    (0..len).map(|at| u8::try_from((index * 7 + at as u64 / 512) % 250).unwrap() + 1).collect()
}

const SIZE: u64 = (PIECES - 1) * PIECE + 777;

fn file(dir: &Path) -> SparseFile {
    let header = Header { sha1: Sha1Digest([5; 20]), sha256: None, size: SIZE, verified: false };
    SparseFile::create(&dir.join("x"), header, Arc::default()).unwrap()
}

#[test]
fn what_is_released_is_missing_and_its_room_is_given_back() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path());
    for index in 0..PIECES - 1 {
        assert!(file.write_piece(index, &piece(index)).unwrap());
    }
    file.sync().unwrap();
    let before = std::fs::metadata(dir.path().join("x")).unwrap().blocks();
    let (gone, given_back) = file.release(&[3, 4, 5, 9, 9, PIECES - 1, 10_000]);
    given_back.unwrap();
    assert_eq!((gone, file.held()), (4 * PIECE, (PIECES - 5) * PIECE));
    let after = std::fs::metadata(dir.path().join("x")).unwrap().blocks();
    assert!(before - after >= 4 * PIECE / 512 - 64, "{before} blocks, then {after}");
    let mut buffer = vec![0; 3 * 65_536];
    assert_eq!(file.read_waiting(&mut buffer, 3 * PIECE).unwrap(), 0);
    assert_eq!(file.read_waiting(&mut buffer, 2 * PIECE).unwrap(), 65_536);
    assert_eq!(
        file.held_pieces(),
        [0, 1, 2].into_iter().chain(6..9).chain(10..PIECES - 1).collect::<Vec<_>>()
    );
    // it can come again, and an unclean stop finds what is there
    assert!(file.write_piece(4, &piece(4)).unwrap());
    drop(file);
    let again = SparseFile::open(&dir.path().join("x"), true, Arc::default()).unwrap().unwrap();
    assert_eq!(again.held(), (PIECES - 4) * PIECE);
    assert_eq!(again.read_waiting(&mut buffer, 4 * PIECE).unwrap(), buffer.len().min(3 * 65_536));
}

#[test]
fn a_file_system_that_gives_nothing_back_releases_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let lacks =
        tailwater_durable::Lacks { holes: true, modes: true, folder_sync: true, ..Default::default() };
    tailwater_durable::with_lacks(lacks, || {
        let file = file(dir.path());
        for index in 0..PIECES - 1 {
            assert!(file.write_piece(index, &piece(index)).unwrap());
        }
        let (gone, given_back) = file.release(&[3, 4]);
        given_back.unwrap();
        assert_eq!((gone, file.held()), (2 * PIECE, (PIECES - 3) * PIECE));
        let mut buffer = vec![0; 65_536];
        assert_eq!(file.read_waiting(&mut buffer, 3 * PIECE).unwrap(), 0, "what was released is not read");
        assert!(file.write_piece(3, &piece(3)).unwrap());
    });
}

#[test]
fn a_complete_file_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path());
    for index in 0..PIECES {
        file.write_piece(index, &piece(index)).unwrap();
    }
    assert!(file.is_complete());
    assert_eq!(file.release(&[1, 2, 3]).0, 0);
    assert!(file.is_complete());
}

/// However reads, writes and releases meet: what is read is what was written, or nothing.
#[test]
fn whatever_meets_no_reader_sees_a_byte_that_was_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path());
    let (reads, empty) = (AtomicU32::new(0), AtomicU32::new(0));
    let dice = |seed: u64| {
        let mut state = seed;
        move |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % sides
        }
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (file, is_over, mut roll) = (&file, &is_over, dice(seed));
            scope.spawn(move || {
                for _ in 0..1_500 {
                    let index = roll(PIECES - 1);
                    file.write_piece(index, &piece(index)).unwrap();
                    let first = roll(PIECES - 1);
                    file.release(&(first..first + 1 + roll(6)).collect::<Vec<_>>()).1.unwrap();
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        for seed in 10..13 {
            let (file, is_over, reads, empty, mut roll) = (&file, &is_over, &reads, &empty, dice(seed));
            scope.spawn(move || {
                let mut buffer = vec![0; 3 * 65_536];
                while !is_over.load(Ordering::Relaxed) {
                    let at = roll((PIECES - 4) * PIECE);
                    let end = file.held_until(at, at + 100_000);
                    let len = usize::try_from(end - at).unwrap();
                    let got = match file.read_now(&mut buffer[..len], at).unwrap() {
                        Some(got) => got,
                        None => file.read_waiting(&mut buffer[..len], at).unwrap(),
                    };
                    (if got > 0 { reads } else { empty }).fetch_add(1, Ordering::Relaxed);
                    let mut from = 0;
                    while from < got {
                        let index = (at + from as u64) / PIECE;
                        let within = usize::try_from((at + from as u64) % PIECE).unwrap();
                        let part = (65_536 - within).min(got - from);
                        assert!(buffer[from..from + part] == piece(index)[within..within + part], "at {at}");
                        from += part;
                    }
                }
            });
        }
    });
    assert!(reads.into_inner() > 100, "{empty:?} found nothing");
    let held: u64 = file.held_pieces().iter().map(|index| map::piece_len(SIZE, *index)).sum();
    assert_eq!(file.held(), held);
}
