//! A budget is kept at the upstream's sockets, with a rate and without one, and begins anew at midnight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use jiff::tz::TimeZone;
use tailwater::bandwidth::{
    Budget, BudgetConfig, Limiter, LinkClient, LinkConfig, LinkError, Meter, WhenSpent,
};
use tailwater::domain::{ByteCount, Class};
use tailwater::runtime::{Clock, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: u64 = 6_000_000;
const PIECE: u64 = 64 * 1024;
const TRANSFERS: u64 = 8;

/// Answers every request with a megabyte, and counts what the other end's kernel took.
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

/// Downloads until the budget stops it; says what bodies brought.
async fn download(client: LinkClient, url: String, class: Class) -> u64 {
    let mut bytes = 0;
    loop {
        let request = Request::get(&url).body(Full::new(Bytes::new())).unwrap();
        let answer = match client.send(request, class).await {
            Ok(answer) => answer,
            Err(LinkError::Spent { .. }) if client.limiter().spent_until(class).is_some() => return bytes,
            Err(LinkError::Spent { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Err(LinkError::Spent { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn a_day(rate: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, tasks) = (Clock::manual("2026-11-22T12:00:00Z".parse().unwrap()), Tasks::new());
    let config = BudgetConfig {
        daily: Some(ByteCount(LIMIT)),
        monthly: None,
        reserve: 200,
        urgent: vec![Class::Interactive],
        when_spent: WhenSpent::Closed,
        zone: TimeZone::UTC,
    };
    let budget = Budget::open(config, &folder.path().join("budget"), &clock).unwrap();
    let limiter = Limiter::with_budget(rate.parse().unwrap(), Some(budget.clone()), &clock, &tasks);
    let meter = Meter::new(&clock);
    let client = LinkClient::new(LinkConfig::default(), &limiter, &meter, &clock, &tasks).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let (count, spawner) = (Arc::clone(&sent), tasks.clone());
    tasks.spawn("upstream", async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _task = spawner.spawn("upstream-connection", pour(socket, Arc::clone(&count)));
        }
    });
    let mut before = 0;
    for (class, most) in [(Class::Normal, LIMIT * 8 / 10), (Class::Interactive, LIMIT)] {
        let downloads: Vec<_> = (0..TRANSFERS)
            .map(|_| tasks.spawn("download", download(client.clone(), url.clone(), class)))
            .collect();
        for download in downloads {
            download.await.unwrap();
        }
        let received = meter.received();
        assert!(received <= most + PIECE * TRANSFERS, "{rate}: {class:?} received {received} of {most}");
        assert!(
            received >= most * 8 / 10 && received > before,
            "{rate}: {class:?} received {received} of {most}"
        );
        assert!(budget.status().daily.unwrap().spent >= received, "{rate}: everything received is counted");
        before = received;
    }
    let request = Request::get(&url).body(Full::new(Bytes::new())).unwrap();
    match client.send(request, Class::Interactive).await {
        Err(LinkError::Spent { until: Some(until) }) => {
            assert_eq!(until.to_string(), "2026-11-23T00:00:00Z");
        }
        other => panic!("{:?}", other.map(|answer| answer.status())),
    }
    clock.advance(Duration::from_hours(12));
    let request = Request::get(&url).body(Full::new(Bytes::new())).unwrap();
    assert!(client.send(request, Class::Normal).await.is_ok(), "midnight renews it");
    tasks.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_holds_without_a_rate() {
    a_day("unlimited").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_holds_beside_a_rate() {
    a_day("100 Mbit/s").await;
}
