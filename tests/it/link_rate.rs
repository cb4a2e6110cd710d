//! The rate that an administrator sets holds at the upstream's sockets, and a new one takes effect at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tailwater::bandwidth::{Class, Limiter, LinkClient, LinkConfig, Meter};
use tailwater::domain::Rate;
use tailwater::runtime::{Clock, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Bytes that sockets of a local port hold unacknowledged: written, and not across the link yet.
fn waiting_at(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let of_port = format!(":{port:04X}");
    let waiting = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().filter(|local| local.ends_with(&of_port))?;
        let queues = fields.nth(2)?;
        u64::from_str_radix(queues.split(':').next()?, 16).ok()
    });
    waiting.sum()
}

/// Sends megabyte after megabyte, and counts what its socket takes.
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
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n").await?;
        let mut left = 1 << 20;
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
    async fn start(rate: &str) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let limiter = Limiter::new(rate.parse().unwrap(), &clock, &tasks);
        let meter = Meter::new(&clock);
        let client = LinkClient::new(LinkConfig::default(), &limiter, &meter, &clock, &tasks).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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

    /// What crossed the link so far; looks again while something is written meanwhile.
    fn crossed(&self) -> u64 {
        loop {
            let written = self.sent.load(Ordering::Acquire);
            let crossed = written.saturating_sub(waiting_at(self.port));
            if self.sent.load(Ordering::Acquire) == written {
                return crossed;
            }
        }
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
    let scene = Scene::start("20 Mbit/s").await;
    scene.share("20 Mbit/s", Duration::from_secs(1)).await;
    for second in 0..3 {
        let share = scene.share("20 Mbit/s", Duration::from_secs(1)).await;
        // a busy machine may be late, never fast
        assert!((0.75..=1.05).contains(&share), "second {second}: {share:.3} of the rate");
    }
    scene.limiter.set_rate("4 Mbit/s".parse().unwrap());
    scene.share("4 Mbit/s", Duration::from_secs(1)).await;
    let share = scene.share("4 Mbit/s", Duration::from_secs(2)).await;
    assert!((0.70..=1.05).contains(&share), "after the change: {share:.3} of the rate");
    assert!(scene.meter.received() >= scene.crossed() * 9 / 10);
    scene.tasks.shut_down(Duration::from_secs(1)).await;
}

#[expect(clippy::cast_precision_loss, reason = "figures of a test, far below 2^52")]
fn count(bytes: u64) -> f64 {
    bytes as f64
}
