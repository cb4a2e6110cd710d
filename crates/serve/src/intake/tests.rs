//! Bodies of many shapes against one budget.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};

use std::io::{BufRead as _, Read as _};

use super::*;
use tailwater_runtime::Tasks;

const MIB: usize = 1 << 20;

/// A client's body: `length` bytes in pieces of `piece`, with a pause before each, that stops after `until`.
struct Sender {
    length: usize,
    until: usize,
    piece: usize,
    pause: Duration,
    declared: bool,
    sent: usize,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Sender {
    fn of(length: usize, piece: usize) -> Self {
        let (until, pause, declared) = (length, Duration::ZERO, false);
        Self { length, until, piece, pause, declared, sent: 0, wait: None }
    }

    fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    fn stopping_at(self, until: usize) -> Self {
        Self { until, declared: true, ..self }
    }
}

impl Body for Sender {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == self.length {
            return Poll::Ready(None);
        }
        if self.sent >= self.until {
            return Poll::Pending;
        }
        if !self.pause.is_zero() {
            let pause = self.pause;
            let wait = self.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            std::task::ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        let piece = self.piece.min(self.until - self.sent);
        self.sent += piece;
        // a piece of a large buffer, as a connection hands it out
        let buffer = Bytes::from(vec![b' '; self.piece.max(8 * 1024)]);
        Poll::Ready(Some(Ok(Frame::data(buffer.slice(..piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.declared { SizeHint::with_exact(self.length as u64) } else { SizeHint::default() }
    }
}

fn intake(memory: usize) -> Intake {
    Intake::new(ByteCount(memory as u64), &Clock::system())
}

fn address(subnet: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, subnet, host).into()
}

#[tokio::test(start_paused = true)]
async fn a_body_costs_its_bytes_whatever_pieces_it_comes_in() {
    for piece in [1, 2, 7, 1_000, 8_192, 65_536, MIB] {
        for length in [0, 1, 2_047, 2_048, 2_049, 100_000, MIB] {
            for declared in [false, true] {
                let intake = intake(64 * MIB);
                let sender = Sender { declared, ..Sender::of(length, piece) };
                let taken = intake.take(address(0, 1), sender, 4 * MIB).await.unwrap();
                assert_eq!(taken.bytes().len(), length);
                let (bytes, reserved) = taken.into_parts();
                let what = format!("{length} bytes in pieces of {piece}, declared: {declared}");
                assert_eq!(reserved.bytes(), bytes.capacity() + made_of(length), "{what}");
                assert!(bytes.capacity() <= 2 * length + FIRST, "{what} hold {}", bytes.capacity());
                // while it was copied into a larger place both were there
                let most = 4 * length + made_of(length) + 2 * FIRST;
                assert!(intake.in_use().most <= most as u64, "{what}: {}", intake.in_use().most);
                drop(reserved);
                assert_eq!(intake.in_use().used, 0, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_bodies_are_kept_in_blocks_that_go_as_they_are_read() {
    for piece in [1_000, 65_536, MIB] {
        let intake = intake(64 * MIB);
        let blocks = intake.take_large(address(0, 1), Sender::of(9 * MIB, piece), 16 * MIB).await.unwrap();
        let most = 9 * MIB + 2 * BLOCK;
        assert!(intake.in_use().most <= most as u64, "{} bytes", intake.in_use().most);
        let mut text = blocks.unpacked(false, 16 * MIB).unwrap();
        let mut read = Vec::new();
        assert_eq!(text.read_to_end(&mut read).unwrap(), 9 * MIB);
        // what is made of it takes the place of what was read
        let rows = 2 * MIB;
        assert!(intake.in_use().most <= (most + rows) as u64, "{} bytes", intake.in_use().most);
        drop(text);
        assert_eq!(intake.in_use().used, 0);
    }
}

/// Many clients at once: those that hold what they have, those that come slowly, those in tiny pieces, from one address,
/// one subnet or many. The budget holds, and honest requests are taken in at once.
/// A name, and where the sender of that number comes from.
type Origin = (&'static str, fn(u16) -> IpAddr);

fn byte_of(number: u16) -> u8 {
    u8::try_from(number % 200).unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn the_budget_holds_and_honest_requests_are_taken_in() {
    type Attack = fn() -> Sender;
    let shapes: [(&str, Attack); 6] = [
        ("whole bodies, as fast as it goes", || Sender::of(4 * MIB, 65_536)),
        ("nearly all of it, then nothing", || Sender::of(4 * MIB, 65_536).stopping_at(4 * MIB - 1)),
        ("slow, in tiny pieces", || Sender::of(4 * MIB, 100).pausing(Duration::from_millis(50))),
        ("small, then nothing", || Sender::of(60_000, 1_000).stopping_at(59_999)),
        ("one byte at a time", || Sender::of(MIB, 1).stopping_at(MIB - 1)),
        ("no length, as fast as it goes", || Sender::of(4 * MIB, 400_000)),
    ];
    let places: [Origin; 3] = [
        ("one address", |_| address(0, 1)),
        ("one subnet", |number| address(0, byte_of(number))),
        ("many subnets", |number| address(byte_of(number), byte_of(number / 200))),
    ];
    for (shape, attack) in shapes {
        for (place, from) in places {
            let what = format!("{shape}, from {place}");
            let (intake, tasks) = (intake(16 * MIB), Tasks::new());
            for number in 0..300 {
                let intake = intake.clone();
                tasks.spawn("attacker", async move {
                    // whatever becomes of it
                    drop(intake.take(from(number), attack(), 4 * MIB).await);
                });
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            for (name, who) in [("the same address", from(0)), ("elsewhere", address(250, 9))] {
                for length in [300, 3_000, 46_000] {
                    let begun = tokio::time::Instant::now();
                    let taken = intake.take(who, Sender::of(length, 1_460), 4 * MIB).await;
                    let waited = begun.elapsed();
                    assert!(taken.is_ok(), "{what}: {length} bytes of {name} after {waited:?}");
                    assert!(waited < Duration::from_millis(200), "{what}: {name} waited {waited:?}");
                }
            }
            let used = intake.in_use();
            assert!(used.most <= used.total, "{what}: {used:?}");
            // nobody holds its place for ever
            tokio::time::sleep(BODY_TIME + PAUSE).await;
            assert_eq!(intake.in_use().used, 0, "{what}");
            tasks.shut_down(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_must_go_on() {
    let intake = intake(64 * MIB);
    let table = [
        ("nothing comes", Sender::of(1_000, 10).stopping_at(0), Some(15)),
        ("it stops", Sender::of(MIB, 1_000).stopping_at(500_000), Some(15)),
        ("ten bytes a second", Sender::of(MIB, 10).pausing(Duration::from_secs(1)), Some(15)),
        ("two kilobytes a second", Sender::of(80_000, 2_000).pausing(Duration::from_secs(1)), None),
        ("too long for all of it", Sender::of(MIB, 4_000).pausing(Duration::from_secs(1)), Some(60)),
    ];
    for (what, sender, ends) in table {
        let begun = tokio::time::Instant::now();
        let taken = intake.take(address(0, 1), sender, 4 * MIB).await.map(|taken| taken.bytes().len());
        match ends {
            None => assert_eq!(taken, Ok(80_000), "{what}"),
            Some(seconds) => {
                assert_eq!(taken, Err(Misdirected::Timeout), "{what}");
                let took = begun.elapsed().as_secs();
                assert!((seconds..=seconds + 1).contains(&took), "{what}: {took} s");
            }
        }
    }
    // a roll-up over 128 kbit/s has the time it needs
    let slow = Sender::of(4 * MIB, 16_000).pausing(Duration::from_secs(1));
    assert!(intake.take_large(address(0, 1), slow, 16 * MIB).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_of_what_is_too_long() {
    let intake = intake(64 * MIB);
    let declared = Sender::of(5_000, 1_000).stopping_at(5_000);
    let refused = intake.take(address(0, 1), declared, 4_096).await.err();
    assert_eq!((refused, intake.in_use().most), (Some(Misdirected::TooLarge(4_096)), 0));
    let chunked = intake.take(address(0, 1), Sender::of(5_000, 100), 4_096).await.err();
    assert_eq!(chunked, Some(Misdirected::TooLarge(4_096)));
    assert!(intake.in_use().most <= 8_192);
    // one request never has more than half of the memory, with what is made of it
    let larger = intake.take(address(0, 1), Sender::of(40 * MIB, 65_536), 100 * MIB).await.err();
    assert_eq!(larger, Some(Misdirected::TooLarge(longest(32 * MIB))));
    assert!(longest(32 * MIB) + made_of(longest(32 * MIB)) <= 32 * MIB);
    let larger = intake.take_large(address(0, 1), Sender::of(40 * MIB, 65_536), 100 * MIB).await.err();
    assert_eq!(larger, Some(Misdirected::TooLarge(28 * MIB)));
}

#[tokio::test(start_paused = true)]
async fn what_is_unpacked_is_charged_as_it_comes_out() {
    let text = vec![b' '; 60 * MIB];
    for level in [1, 3, 19] {
        let packed = zstd::encode_all(&text[..], level).unwrap();
        let intake = intake(64 * MIB);
        let body = http_body_util::Full::new(Bytes::from(packed));
        let blocks = intake.take_large(address(0, 1), body, 48 * MIB).await.unwrap();
        assert_eq!(blocks.beginning(true).len(), 16 * 1024);
        let mut read = 0;
        let mut unpacked = blocks.unpacked(true, 48 * MIB).unwrap();
        let refusal = loop {
            match unpacked.fill_buf().map(<[u8]>::len) {
                Ok(0) => break None,
                Ok(length) => {
                    unpacked.consume(length);
                    read += length;
                    assert!(intake.in_use().used >= read as u64);
                }
                Err(_refused) => break unpacked.refusal(),
            }
        };
        // one address has half of the memory
        assert_eq!(refusal, Some(Misdirected::Busy), "level {level}");
        assert!((20 * MIB..32 * MIB).contains(&read), "level {level}: {read} bytes");
        assert!(intake.in_use().most <= 32 * MIB as u64);
        drop(unpacked);
        assert_eq!(intake.in_use().used, 0);
    }
    let intake = intake(64 * MIB);
    let packed = zstd::encode_all(&text[..2 * MIB], 3).unwrap();
    let body = http_body_util::Full::new(Bytes::from(packed));
    let blocks = intake.take_large(address(0, 1), body, 48 * MIB).await.unwrap();
    let mut unpacked = blocks.unpacked(true, MIB).unwrap();
    assert!(unpacked.read_to_end(&mut Vec::new()).is_err());
    assert_eq!(unpacked.refusal(), Some(Misdirected::TooLarge(MIB)));
}

#[tokio::test(start_paused = true)]
async fn utf16_requests_are_read() {
    let intake = intake(64 * MIB);
    let text = "<\u{e9}\u{1f600}/>";
    let mut little = vec![0xff, 0xfe];
    let mut big = vec![0xfe, 0xff];
    for unit in text.encode_utf16() {
        little.extend(unit.to_le_bytes());
        big.extend(unit.to_be_bytes());
    }
    for bytes in [little, big, text.as_bytes().to_vec()] {
        let taken = intake.whole(address(0, 1), bytes.into()).await.unwrap().into_utf8().await.unwrap();
        assert_eq!(taken.bytes(), text.as_bytes());
        let (bytes, reserved) = taken.into_parts();
        assert!(reserved.bytes() >= bytes.capacity());
    }
    let unpaired = Bytes::from_static(&[0xff, 0xfe, 0x00, 0xd8]);
    let taken = intake.whole(address(0, 1), unpaired).await.unwrap();
    assert!(taken.into_utf8().await.is_err());
    assert_eq!(intake.in_use().used, 0);
}
