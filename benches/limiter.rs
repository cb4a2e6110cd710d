//! Does the link carry what it may, no more, and fairly? Budget: mean 95-100 % of the rate, no second above
//! 105 % after the first, least over most of equal streams at least 0.9, limiter CPU at 1 Gbit/s under 3 % of
//! a core.
//!
//! `cargo bench --bench limiter [-- turns] [-- sockets]`; with `LINK_UPSTREAM=http://host:port` the sockets
//! are another server's, asked at `/bytes/N`.
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tailwater::bandwidth::{CongestionYield, Limiter, LinkClient, LinkConfig, Meter};
use tailwater::domain::{Class, Purpose, Rate, Requester};
use tailwater::runtime::{Clock, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How often the upstream's count is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// Bytes of one download.
const DOWNLOAD: u64 = 1 << 20;

/// Bytes of one metadata answer.
const METADATA: u64 = 3_000;

/// Seconds of CPU that this process has used, from the kernel's clock of 100 Hz.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Grants alone: 32 greedy streams, half of them asking for little at a time.
async fn turns(rate: Rate, seconds: u64) {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let limiter = Limiter::new(rate, &clock, &tasks);
    let taken: Vec<Arc<AtomicU64>> = (0..32).map(|_| Arc::default()).collect();
    for (index, taken) in taken.iter().enumerate() {
        let (mut lane, taken) = (limiter.lane(Class::Normal), Arc::clone(taken));
        let want = if index % 2 == 0 { 65_536 } else { 8_192 };
        tasks.spawn("stream", async move {
            while let Ok(bytes) = lane.take(want).await {
                taken.fetch_add(bytes, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let shares: Vec<u64> = taken.iter().map(|taken| taken.load(Ordering::Relaxed)).collect();
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let due = rate.bytes_per_second().unwrap_or(1) as f64 * elapsed;
    let least = shares.iter().min().copied().unwrap_or(0) as f64;
    let most = shares.iter().max().copied().unwrap_or(1) as f64;
    println!(
        "turns   {:>12}  mean {:6.2} %  least/most {:.3}  cpu {:5.2} % of a core",
        rate.to_string(),
        100.0 * shares.iter().sum::<u64>() as f64 / due,
        least / most,
        100.0 * cpu / elapsed
    );
    tasks.shut_down(Duration::from_secs(1)).await;
}

/// Grants with everything on: 64 streams of 16 agents in four classes, two files each, and streams that yield beside
/// them, held back by the delay control. What is printed is the limiter's own: grants are all that happens.
async fn everything(rate: Rate, seconds: u64) -> Outcome<()> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let limiter = Limiter::new(rate, &clock, &tasks);
    let meter = Meter::new(&clock);
    let client = LinkClient::new(LinkConfig::default(), &limiter, &meter, &clock, &tasks)?;
    let exempt = Class::ALL.into_iter().filter(|class| *class != Class::Background).collect();
    let congestion = CongestionYield::start(exempt, &client, &clock, &tasks);
    let taken: Arc<AtomicU64> = Arc::default();
    for stream in 0_u8..80 {
        let class = if stream < 64 { Class::ALL[usize::from(stream % 4)] } else { Class::Background };
        let requester = Requester::at(std::net::IpAddr::from([10, 0, 0, stream / 4]));
        let file = Some(tailwater::domain::Sha1Digest([stream / 2; 20]));
        let (mut lane, taken) = (limiter.lane(Purpose { class, requester, file }), Arc::clone(&taken));
        tasks.spawn("stream", async move {
            while let Ok(bytes) = lane.take(65_536).await {
                taken.fetch_add(bytes, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let due = rate.bytes_per_second().unwrap_or(1) as f64 * elapsed;
    println!(
        "everything {:>9}  mean {:6.2} %  classes, 20 requesters, adaptive ({} bit/s for what yields): cpu {:5.2} % of a core",
        rate.to_string(),
        100.0 * taken.load(Ordering::Relaxed) as f64 / due,
        congestion.status().cap_bits_per_second,
        100.0 * cpu / elapsed
    );
    tasks.shut_down(Duration::from_secs(1)).await;
    Ok(())
}

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

/// What crossed the link: written, less what waits. Looks again while something is written meanwhile.
fn crossed(sent: &AtomicU64, port: u16) -> u64 {
    loop {
        let written = sent.load(Ordering::Acquire);
        let crossed = written.saturating_sub(waiting_at(port));
        if sent.load(Ordering::Acquire) == written {
            return crossed;
        }
    }
}

/// An upstream that counts what it writes.
async fn upstream(tasks: &Tasks, sent: Arc<AtomicU64>) -> Outcome<(String, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let spawner = tasks.clone();
    tasks.spawn("upstream", async move {
        while let Ok((socket, _)) = listener.accept().await {
            let sent = Arc::clone(&sent);
            spawner.spawn("upstream-connection", async move {
                let _gone = answer(socket, &sent).await;
            });
        }
    });
    Ok((format!("http://127.0.0.1:{port}"), port))
}

/// Answers `GET …/N` with N bytes until the other end leaves.
async fn answer(mut socket: TcpStream, sent: &AtomicU64) -> std::io::Result<()> {
    let piece = vec![b'x'; 64 * 1024];
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default();
        let mut left: u64 = path.rsplit('/').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        request.clear();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        sent.fetch_add(head.len() as u64, Ordering::Relaxed);
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let written = socket.write(&piece[..part]).await? as u64;
            sent.fetch_add(written, Ordering::Relaxed);
            left -= written;
        }
    }
}

/// Fetches `bytes` and counts them as they come.
async fn fetch(client: &LinkClient, url: &str, bytes: u64, class: Class, got: &AtomicU64) -> Outcome<()> {
    let request = Request::get(format!("{url}/bytes/{bytes}")).body(Full::new(Bytes::new()))?;
    let mut body = client.send(request, class).await?.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            got.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Parallel downloads of 1 MiB and a metadata request ten times a second, counted at the upstream.
async fn sockets(rate: Rate, seconds: u64, window: Duration, downloads: usize) -> Outcome<()> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let limiter = Limiter::new(rate, &clock, &tasks);
    let meter = Meter::new(&clock);
    let client = LinkClient::new(LinkConfig::default(), &limiter, &meter, &clock, &tasks)?;
    let sent = Arc::new(AtomicU64::new(0));
    let (url, port) = match std::env::var("LINK_UPSTREAM") {
        Ok(url) => (url, 0),
        Err(_) => upstream(&tasks, Arc::clone(&sent)).await?,
    };
    let shares: Vec<Arc<AtomicU64>> = (0..downloads).map(|_| Arc::default()).collect();
    let start = Instant::now();
    for share in &shares {
        let (client, url, share) = (client.clone(), url.clone(), Arc::clone(share));
        tasks.spawn("download", async move {
            while fetch(&client, &url, DOWNLOAD, Class::Normal, &share).await.is_ok() {}
        });
    }
    let metadata = Arc::new(AtomicU64::new(0));
    let (metadata_client, metadata_url, count) = (client.clone(), url.clone(), Arc::clone(&metadata));
    tasks.spawn("metadata", async move {
        while fetch(&metadata_client, &metadata_url, METADATA, Class::Metadata, &count).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let cpu = cpu_seconds();
    let mut samples = vec![(start.elapsed(), 0)];
    let counted = || match sent.load(Ordering::Relaxed) {
        0 => meter.received(),
        _ => crossed(&sent, port),
    };
    while start.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(SAMPLE).await;
        let (at, count) = (start.elapsed(), counted());
        // on a busy machine a look may take long, and then belongs to no moment
        if start.elapsed().saturating_sub(at) < Duration::from_millis(5) {
            samples.push((at, count));
        }
    }
    let cpu = 100.0 * (cpu_seconds() - cpu) / start.elapsed().as_secs_f64();
    let bytes: Vec<u64> = shares.iter().map(|share| share.load(Ordering::Relaxed)).collect();
    let fair = bytes.iter().min().copied().unwrap_or(0) as f64
        / bytes.iter().max().copied().unwrap_or(1).max(1) as f64;
    report(rate, &samples, window);
    println!(
        "        {downloads} downloads, least/most {fair:.3}; metadata {} answers; both ends {cpu:.1} % of a core",
        metadata.load(Ordering::Relaxed) / METADATA
    );
    tasks.shut_down(Duration::from_secs(1)).await;
    Ok(())
}

/// The mean over the run, and the fullest window that begins after the first second.
fn report(rate: Rate, samples: &[(Duration, u64)], window: Duration) {
    let due = rate.bytes_per_second().unwrap_or(1) as f64;
    let mut worst = 0.0_f64;
    for (index, &(from, before)) in samples.iter().enumerate() {
        if from < Duration::from_secs(1) {
            continue;
        }
        if let Some(&(to, after)) = samples[index..].iter().find(|(at, _)| *at >= from + window) {
            worst =
                worst.max(after.saturating_sub(before) as f64 / to.saturating_sub(from).as_secs_f64() / due);
        }
    }
    let (end, all) = samples.last().copied().unwrap_or_default();
    println!(
        "sockets {:>12}  mean {:6.2} %  fullest {} s {:6.2} %",
        rate.to_string(),
        100.0 * all as f64 / end.as_secs_f64() / due,
        window.as_secs(),
        100.0 * worst
    );
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    if runs("turns") {
        for rate in ["1 Mbit/s", "8 Mbit/s", "100 Mbit/s", "1 Gbit/s"] {
            turns(rate.parse()?, 5).await;
        }
        for rate in ["100 Mbit/s", "1 Gbit/s"] {
            everything(rate.parse()?, 5).await?;
        }
    }
    if let Some(rate) = wanted.iter().find_map(|word| word.parse::<Rate>().ok()) {
        sockets(rate, 30, Duration::from_secs(1), 8).await?;
    }
    if runs("sockets") {
        for (rate, seconds, window, downloads) in [
            ("1 Mbit/s", 60, 10, 8),
            ("8 Mbit/s", 30, 1, 8),
            ("100 Mbit/s", 15, 1, 8),
            ("100 Mbit/s", 15, 1, 32),
        ] {
            sockets(rate.parse()?, seconds, Duration::from_secs(window), downloads).await?;
        }
    }
    Ok(())
}
