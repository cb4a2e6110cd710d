//! How fast are held files served, beside nginx? The real binary, over loopback, server CPU from /proc.
//!
//! Budgets (ratios of medians; three rounds A B C A B C in one run):
//! 1 MiB ranges on 64 connections and whole files: at least 1.15 times the throughput of nginx with
//! `sendfile on` at no more than 0.85 times its CPU per GiB, and at least 0.9 times the throughput of nginx
//! with `sendfile off; output_buffers 2 256k`. 16 KiB files: at least 0.9 times either.
//!
//! The client shares the cores, so it drops bodies in the kernel (`--copy` copies them, as a real client does,
//! and then often is what limits). On loopback a part of the sending runs in the receiver's context: the sum
//! of server and client is printed as well.
//!
//! `cargo bench --bench serve_files [-- --seconds 2 --rounds 3 --only ranges --copy]`; says that it skips where nginx is absent.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a bench prints, ends when it cannot be set up, and waits for other programs"
)]

mod drain;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use drain::Drain;
use sha1::Digest as _;
use tailwater::content::{self, PIECE, Store};
use tailwater::domain::{ByteCount, FileDeclaration, Sha1Digest};
use tailwater::runtime::Clock;

const LARGE: usize = 1 << 30;
const SMALL: usize = 16 * 1024;
const SMALL_FILES: u64 = 64;
const MIB: u64 = 1 << 20;

fn main() {
    let seconds: f64 = argument("--seconds").unwrap_or(2.0);
    let rounds: usize = argument("--rounds").unwrap_or(3);
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        println!("nginx is not installed: skipped (apt-get install nginx)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = fill(&dir.path().join("data/content"));
    let servers = [
        Server::ours(dir.path()),
        Server::nginx(dir.path(), "nginx sendfile", "sendfile on; tcp_nopush on; sendfile_max_chunk 2m;"),
        Server::nginx(dir.path(), "nginx copying", "sendfile off; output_buffers 2 256k;"),
    ];
    let mut seen: BTreeMap<(&str, &str), Vec<Figures>> = BTreeMap::new();
    let only = text_argument("--only");
    let copy = std::env::args().any(|argument| argument == "--copy");
    for load in [Load::Ranges, Load::Whole, Load::Small] {
        if only.as_deref().is_some_and(|only| !load.name().contains(only)) {
            continue;
        }
        for round in 0..=rounds {
            for server in &servers {
                let figures = measure(server, load, &files, Duration::from_secs_f64(seconds), copy);
                // the first round warms connections and the page cache up
                if round > 0 {
                    seen.entry((load.name(), server.name)).or_default().push(figures);
                }
            }
        }
        report(load, &servers, &mut seen);
    }
}

fn text_argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    text_argument(name)?.parse().ok()
}

/// Addresses of the files below the server's root.
struct Files {
    large: String,
    small: Vec<String>,
}

/// Fills a store with verified files, as transfers would.
fn fill(dir: &Path) -> Files {
    let config = content::Config { dir: dir.to_owned(), max_size: None, min_free: ByteCount(0) };
    let store = Store::open(config, Clock::system()).unwrap();
    let add = |size: usize, seed: u64| {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let file = FileDeclaration {
            sha1: Sha1Digest(sha1::Sha1::digest(&bytes).into()),
            sha256: None,
            size: size as u64,
            name: String::new(),
            patching: None,
        };
        let held = store.prepare(&file).unwrap();
        for (index, piece) in bytes.chunks(PIECE as usize).enumerate() {
            store.write_piece(&held, index as u64, piece).unwrap();
        }
        store.finish(&held).unwrap();
        file.content_path()
    };
    let files = Files { large: add(LARGE, 0), small: (1..=SMALL_FILES).map(|n| add(SMALL, n)).collect() };
    store.close().unwrap();
    files
}

struct Server {
    name: &'static str,
    address: SocketAddr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that nginx takes its workers along
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    fn ours(dir: &Path) -> Self {
        let (address, admin) = (free_address(), free_address());
        let config = format!(
            "[server]\nlisten = \"{address}\"\ndata_dir = \"{}\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\nschedule = []\n[admin]\nlisten = \"{admin}\"\n",
            dir.join("data").display()
        );
        let path = dir.join("tailwater.toml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tailwater"))
            .args(["--config".as_ref(), path.as_os_str(), "serve".as_ref()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { name: "tailwater", address, child }.up()
    }

    fn nginx(dir: &Path, name: &'static str, how: &str) -> Self {
        let address = free_address();
        let own = dir.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&own).unwrap();
        let mut config = String::new();
        let own_shown = own.display();
        writeln!(config, "worker_processes 2; daemon off; pid {own_shown}/pid; error_log {own_shown}/error;")
            .unwrap();
        writeln!(config, "events {{ worker_connections 1024; }}").unwrap();
        writeln!(config, "http {{ access_log off; {how} tcp_nodelay on; keepalive_requests 100000000;")
            .unwrap();
        writeln!(config, "open_file_cache max=1000 inactive=600s; default_type application/octet-stream;")
            .unwrap();
        writeln!(config, "client_body_temp_path {own_shown}/b; proxy_temp_path {own_shown}/p; fastcgi_temp_path {own_shown}/f; uwsgi_temp_path {own_shown}/u; scgi_temp_path {own_shown}/s;").unwrap();
        writeln!(config, "server {{ listen {address} reuseport; root {}; }} }}", dir.join("www").display())
            .unwrap();
        // the same bytes on the same disk, under nginx's own address
        if !dir.join("www").exists() {
            std::fs::create_dir_all(dir.join("www")).unwrap();
            std::os::unix::fs::symlink(dir.join("data/content"), dir.join("www/Content")).unwrap();
        }
        if rustix::process::getuid().is_root() {
            // nginx's workers are somebody else
            config = format!("user root;\n{config}");
        }
        let path = own.join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("nginx")
            .args(["-c".as_ref(), path.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { name, address, child }.up()
    }

    fn up(self) -> Self {
        let limit = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < limit, "{} did not start", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// CPU time of the process and its children, in seconds.
    fn cpu(&self) -> f64 {
        let own = self.child.id();
        let mut processes = vec![own];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            if parent == Some(own) {
                processes.push(id);
            }
        }
        processes.into_iter().map(process_cpu).sum()
    }
}

/// CPU time of one process, in seconds.
fn process_cpu(process: u32) -> f64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    let nanos = threads.flatten().map(|thread| {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        schedstat.split(' ').next().and_then(|run| run.parse::<f64>().ok()).unwrap_or(0.0)
    });
    nanos.sum::<f64>() / 1e9
}

#[derive(Clone, Copy)]
enum Load {
    Ranges,
    Whole,
    Small,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Ranges => "1 MiB ranges x 64",
            Self::Whole => "whole 1 GiB x 4",
            Self::Small => "16 KiB files x 64",
        }
    }

    fn connections(self) -> u64 {
        if matches!(self, Self::Whole) { 4 } else { 64 }
    }

    fn request(self, random: &mut u64, files: &Files) -> String {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        match self {
            Self::Ranges => {
                let start = *random % (LARGE as u64 - MIB);
                let end = start + MIB - 1;
                format!("GET {} HTTP/1.1\r\nHost: x\r\nRange: bytes={start}-{end}\r\n\r\n", files.large)
            }
            Self::Whole => format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", files.large),
            Self::Small => {
                let path = &files.small[(*random % SMALL_FILES) as usize];
                format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    sum_per_gib: f64,
    gib_per_second: f64,
    requests_per_second: f64,
    cpu_per_gib: f64,
}

/// One run of a load, everything on one client thread.
fn measure(server: &Server, load: Load, files: &Files, time: Duration, copy: bool) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let counts = Rc::new(std::cell::Cell::new((0_u64, 0_u64)));
    let (cpu, own, begun) = (server.cpu(), process_cpu(std::process::id()), Instant::now());
    local.block_on(&runtime, async {
        for connection in 1..=load.connections() {
            let (counts, address) = (Rc::clone(&counts), server.address);
            let mut random = connection.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let requests: Vec<_> = (0..512).map(|_| load.request(&mut random, files)).collect();
            tokio::task::spawn_local(async move { converse(address, copy, &requests, &counts).await });
        }
        tokio::time::sleep(time).await;
    });
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), server.cpu() - cpu);
    let own = process_cpu(std::process::id()) - own;
    let (bytes, requests) = counts.get();
    let gib = bytes as f64 / LARGE as f64;
    Figures {
        gib_per_second: gib / elapsed,
        requests_per_second: requests as f64 / elapsed,
        cpu_per_gib: cpu / gib,
        sum_per_gib: (cpu + own) / gib,
    }
}

async fn converse(
    address: SocketAddr,
    copy: bool,
    requests: &[String],
    counts: &std::cell::Cell<(u64, u64)>,
) {
    let mut connection = Drain::connect(address, copy).await.unwrap();
    for request in requests.iter().cycle() {
        let count = |got| counts.set((counts.get().0 + got, counts.get().1));
        connection.ask(request, count).await.unwrap();
        counts.set((counts.get().0, counts.get().1 + 1));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(load: Load, servers: &[Server], seen: &mut BTreeMap<(&str, &str), Vec<Figures>>) {
    println!("\n{}", load.name());
    let mut medians = Vec::new();
    for server in servers {
        let figures = &seen[&(load.name(), server.name)];
        let of = |pick: fn(&Figures) -> f64| median(&mut figures.iter().map(pick).collect::<Vec<_>>());
        let (gib, rps) = (of(|f| f.gib_per_second), of(|f| f.requests_per_second));
        let (cpu, sum) = (of(|f| f.cpu_per_gib), of(|f| f.sum_per_gib));
        println!(
            "  {:<15} {gib:>6.2} GiB/s {rps:>9.0} requests/s {cpu:>6.3} CPU-s/GiB ({sum:.3} with the client)",
            server.name
        );
        medians.push((gib, cpu));
    }
    let [(ours, ours_cpu), (sendfile, sendfile_cpu), (copying, copying_cpu)] = medians[..] else { return };
    let verdict = |good: bool| if good { "ok" } else { "MISSED" };
    let least = if matches!(load, Load::Small) { 0.9 } else { 1.15 };
    let (a, b, c) = (ours / sendfile, ours_cpu / sendfile_cpu, ours / copying);
    println!("  throughput / nginx sendfile {a:.2} (at least {least}) {}", verdict(a >= least));
    if matches!(load, Load::Small) {
        println!("  CPU / nginx sendfile        {b:.2}");
    } else {
        println!("  CPU / nginx sendfile        {b:.2} (at most 0.85) {}", verdict(b <= 0.85));
    }
    println!("  throughput / nginx copying  {c:.2} (at least 0.9) {}", verdict(c >= 0.9));
    println!("  CPU / nginx copying         {:.2}", ours_cpu / copying_cpu);
}
