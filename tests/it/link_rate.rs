//! The rate that an administrator sets, or the calendar, holds at the upstream's sockets, and a new one takes effect at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tailwater::bandwidth::{Calendar, Days, Limiter, LinkClient, LinkConfig, Meter, Timetable, Window};
use tailwater::domain::{Class, Rate};
use tailwater::runtime::{Clock, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// Bytes that wait in the sockets of connections to a local port: at its own end what the other has not acknowledged yet,
/// at the other what has arrived and was not read yet.
fn waiting_at(port: u16, own: bool) -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let of_port = format!(":{port:04X}");
    let waiting = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(if own { 1 } else { 2 });
        fields.next().filter(|address| address.ends_with(&of_port))?;
        let mut queues = fields.nth(if own { 2 } else { 1 })?.split(':');
        u64::from_str_radix(queues.nth(usize::from(!own))?, 16).ok()
    });
    waiting.sum()
}

/// What the upstream's sockets hold unsent.
const SEND_BUFFER: u32 = 4096;

/// Sends answer after answer, and counts what its socket takes. They are short: what runs when a rate falls keeps the
/// receive buffers of the higher one until it ends.
async fn pour(mut socket: TcpStream, sent: Arc<AtomicU64>) -> std::io::Result<()> {
    let piece = vec![7; 16 * 1024];
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        request.clear();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 32768\r\n\r\n").await?;
        let mut left = 1 << 15;
        while left > 0 {
            let written = socket.write(&piece[..piece.len().min(left)]).await?;
            sent.fetch_add(written as u64, Ordering::Relaxed);
            left -= written;
        }
    }
}

struct Scene {
    limiter: Limiter,
    meter: Meter,
    tasks: Tasks,
    sent: Arc<AtomicU64>,
    port: u16,
}

impl Scene {
    /// Eight downloads at once, over and over.
    fn start(rate: &str, clock: &Clock) -> Self {
        let tasks = Tasks::new();
        let limiter = Limiter::new(rate.parse().unwrap(), clock, &tasks);
        let meter = Meter::new(clock);
        let client = LinkClient::new(LinkConfig::default(), &limiter, &meter, clock, &tasks).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        // segments as small as outside of this machine: a receive buffer takes large ones by halves of it
        socket.set_send_buffer_size(SEND_BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/file");
        let sent = Arc::new(AtomicU64::new(0));
        let (count, spawner) = (Arc::clone(&sent), tasks.clone());
        tasks.spawn("upstream", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _task = spawner.spawn("upstream-connection", pour(socket, Arc::clone(&count)));
            }
        });
        for _ in 0..8 {
            let (client, url) = (client.clone(), url.clone());
            tasks.spawn("download", async move {
                loop {
                    let request = Request::get(&url).body(Full::new(Bytes::new())).unwrap();
                    let Ok(answer) = client.send(request, Class::Normal).await else { break };
                    let mut body = answer.into_body();
                    while let Some(Ok(_)) = body.frame().await {}
                }
            });
        }
        Self { limiter, meter, tasks, sent, port }
    }

    /// What crossed the link so far, read or not; looks again while something is read meanwhile. Acknowledgements are no
    /// measure: they are late by as much as they like.
    fn crossed(&self) -> u64 {
        loop {
            let read = self.meter.received();
            let crossed = read + waiting_at(self.port, false);
            if self.meter.received() == read {
                return crossed;
            }
        }
    }

    /// The same in the words of the upstream.
    fn acknowledged(&self) -> u64 {
        let written = self.sent.load(Ordering::Acquire);
        written.saturating_sub(waiting_at(self.port, true))
    }

    /// What crossed per second, as a share of the rate, watched for so long.
    async fn share(&self, rate: &str, time: Duration) -> f64 {
        let rate = rate.parse::<Rate>().unwrap().bytes_per_second().unwrap();
        let (start, before) = (Instant::now(), self.crossed());
        tokio::time::sleep(time).await;
        let bytes = self.crossed() - before;
        count(bytes) / start.elapsed().as_secs_f64() / count(rate)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_holds_at_the_upstream_and_changes_at_once() {
    let scene = Scene::start("20 Mbit/s", &Clock::system());
    scene.share("20 Mbit/s", Duration::from_secs(1)).await;
    let mut best = 0.0_f64;
    for second in 0..4 {
        let share = scene.share("20 Mbit/s", Duration::from_secs(1)).await;
        // a busy machine is late and never fast; that the rate is used up as well is tested in paused time
        assert!(share <= 1.05, "second {second}: {share:.3} of the rate");
        best = best.max(share);
    }
    assert!(best >= 0.3, "at most {best:.3} of the rate in a second");
    scene.limiter.set_rate("4 Mbit/s".parse().unwrap());
    scene.share("4 Mbit/s", Duration::from_secs(1)).await;
    let share = scene.share("4 Mbit/s", Duration::from_secs(3)).await;
    assert!((0.3..=1.05).contains(&share), "after the change: {share:.3} of the rate");
    let (crossed, acknowledged) = (scene.crossed(), scene.acknowledged());
    // segments that came twice count as often as they came; the kernel counts them for all connections of the machine, and
    // those of other tests may be taken for these
    assert!(crossed * 50 > acknowledged * 49, "{crossed} crossed, {acknowledged} acknowledged");
    assert!(crossed * 10 < acknowledged * 11, "{crossed} crossed, {acknowledged} acknowledged");
    scene.tasks.shut_down(Duration::from_secs(1)).await;
}

/// How long a window may take to settle, by no clock but the real one.
const SETTLES: Duration = Duration::from_secs(2);

/// Between two looks whether this test is late.
const TICK: Duration = Duration::from_millis(5);

/// What the limiter makes up for when it is woken late; the time of a machine that has no time beyond it is not lent.
const LENT: Duration = Duration::from_millis(10);

/// A night in Berlin: windows as configured, and the instant at which each ends, written down by hand.
struct Night {
    begins: &'static str,
    windows: [(&'static str, &'static str, &'static str); 3],
    ends: [&'static str; 3],
}

/// One hour less in spring, one more in autumn, both in the first window. Not below 8 Mbit/s: a kernel that gets segments
/// as large as its own machine's opens a receive buffer by half of it, and all together are 5 % of a second then.
const NIGHTS: [Night; 2] = [
    Night {
        begins: "2026-03-28T23:30:00Z",
        windows: [
            ("00:30", "03:30", "20 Mbit/s"),
            ("03:30", "05:30", "8 Mbit/s"),
            ("05:30", "07:30", "16 Mbit/s"),
        ],
        ends: ["2026-03-29T01:30:00Z", "2026-03-29T03:30:00Z", "2026-03-29T05:30:00Z"],
    },
    Night {
        begins: "2026-10-24T22:30:00Z",
        windows: [
            ("00:30", "03:30", "8 Mbit/s"),
            ("03:30", "05:30", "closed"),
            ("05:30", "07:30", "16 Mbit/s"),
        ],
        ends: ["2026-10-25T02:30:00Z", "2026-10-25T04:30:00Z", "2026-10-25T06:30:00Z"],
    },
];

/// What was seen of a link at once.
struct Look {
    /// On the calendar's clock.
    at: Timestamp,
    /// The rate in force.
    rate: Rate,
    /// What crossed so far, counted after `since` and before `until`.
    bytes: u64,
    since: Duration,
    until: Duration,
    /// How much of that time the machine let this test run.
    lent: Duration,
}

impl Night {
    fn begin(&self) -> Timestamp {
        self.begins.parse().unwrap()
    }

    fn follow(&self, limiter: &Limiter, clock: &Clock, tasks: &Tasks) -> Timetable {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let windows = self.windows.map(|(from, to, rate)| Window {
            days: Days::ALL,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            rate: rate.parse().unwrap(),
            zone: zone.clone(),
        });
        let calendar = Calendar::new("1 Mbit/s".parse().unwrap(), windows.to_vec());
        Timetable::start(calendar, None, limiter, clock, tasks)
    }

    /// Watches a link for the whole night, of which so many seconds pass in one.
    async fn watch(
        &self,
        compressed: u32,
        limiter: &Limiter,
        clock: &Clock,
        crossed: impl Fn() -> u64,
    ) -> Vec<Look> {
        let last: Timestamp = self.ends[2].parse().unwrap();
        let start = Instant::now();
        let (mut looks, mut passed, mut lent) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        while clock.now() < last {
            let since = start.elapsed();
            let (at, rate, bytes) = (clock.now(), limiter.rate(), crossed());
            looks.push(Look { at, rate, bytes, since, until: start.elapsed(), lent });
            for _tick in 0..4 {
                tokio::time::sleep(TICK).await;
                let more = start.elapsed().saturating_sub(passed);
                clock.advance(more * compressed);
                (passed, lent) = (passed + more, lent + more.min(LENT));
            }
        }
        looks
    }

    /// Each window's rate is in force 2 s after the window began and until it ends; its mean is within 95 and 100 % of
    /// it, and no second is over.
    fn judge(&self, compressed: u32, looks: &[Look]) {
        let settles = SignedDuration::try_from(SETTLES * compressed).unwrap();
        let mut begin = self.begin();
        for ((wall, _, rate), end) in self.windows.into_iter().zip(self.ends) {
            let (window, end) = (format!("{}, from {wall}", self.begins), end.parse().unwrap());
            let settled: Vec<_> =
                looks.iter().filter(|look| begin + settles <= look.at && look.at < end).collect();
            judge(&window, rate.parse().unwrap(), &settled);
            begin = end;
        }
    }
}

fn judge(window: &str, rate: Rate, settled: &[&Look]) {
    assert!(settled.iter().all(|look| look.rate == rate), "{window}: another rate than {rate} in force");
    let (first, last) = (settled[0], settled[settled.len() - 1]);
    let bytes = last.bytes - first.bytes;
    let Some(due) = rate.bytes_per_second().filter(|due| *due > 0) else {
        assert_eq!(bytes, 0, "{window}: through a closed link");
        return;
    };
    let share = |bytes: u64, time: Duration| count(bytes) / time.as_secs_f64() / count(due);
    // not before the first look nor after the last: what is over, is
    let most = |from: &Look, to: &Look| share(to.bytes - from.bytes, to.until.saturating_sub(from.since));
    let (mean, of_lent) = (most(first, last), share(bytes, last.lent.saturating_sub(first.lent)));
    assert!(mean <= 1.0 && of_lent >= 0.95, "{window}: mean {mean:.4}, {of_lent:.4} of the time lent");
    let mut ends = settled.iter().peekable();
    for from in settled {
        while ends.next_if(|to| to.since < from.until + Duration::from_secs(1)).is_some() {}
        let Some(to) = ends.peek() else { break };
        assert!(most(from, to) <= 1.05, "{window}: {:.4} of the rate in a second", most(from, to));
    }
}

/// In tokio's own time, so that neither the machine nor the network is judged, and closely: a quarter of an hour is
/// nearly four seconds.
#[tokio::test(start_paused = true)]
async fn the_calendar_holds_in_the_nights_when_clocks_change() {
    for night in NIGHTS {
        let (clock, tasks) = (Clock::manual(night.begin()), Tasks::new());
        let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
        let _timetable = night.follow(&limiter, &clock, &tasks);
        let taken = Arc::new(AtomicU64::new(0));
        for _ in 0..8 {
            let (mut lane, taken) = (limiter.lane(Class::Normal), Arc::clone(&taken));
            tasks.spawn("stream", async move {
                while let Ok(bytes) = lane.take(1 << 16).await {
                    taken.fetch_add(bytes, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        let looks = night.watch(240, &limiter, &clock, || taken.load(Ordering::Relaxed)).await;
        night.judge(240, &looks);
        assert!(tasks.shut_down(Duration::from_secs(1)).await);
    }
}

/// In one thread, so that whoever watches is as late as whoever fetches.
#[tokio::test]
async fn the_calendar_holds_at_the_upstream_in_those_nights() {
    let night = async |night: &Night| {
        let clock = Clock::manual(night.begin());
        // what came without a limit would be read out of buffers for seconds
        let scene = Scene::start(night.windows[0].2, &clock);
        let _timetable = night.follow(&scene.limiter, &clock, &scene.tasks);
        let looks = night.watch(1_200, &scene.limiter, &clock, || scene.crossed()).await;
        night.judge(1_200, &looks);
        scene.tasks.shut_down(Duration::from_secs(1)).await;
    };
    tokio::join!(night(&NIGHTS[0]), night(&NIGHTS[1]));
}

#[expect(clippy::cast_precision_loss, reason = "figures of a test, far below 2^52")]
fn count(bytes: u64) -> f64 {
    bytes as f64
}
