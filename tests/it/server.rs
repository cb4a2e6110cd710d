//! The real binary, started for a test and ended with it. It never runs longer than its test.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a start may take on a busy machine; the promise itself is tested where it is made.
const PATIENCE: Duration = Duration::from_mins(1);

/// A data directory, its configuration, and the server while it runs.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    child: Option<Child>,
    /// Where its administrators are answered, when that is configured.
    admin: Option<SocketAddr>,
}

/// An answer: status, headers in lower case, body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A port at which nobody answers.
pub(crate) fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// A configuration that is not started yet; its upstream is dead unless `more` says otherwise.
    pub(crate) fn configured(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let upstream = if more.contains("[upstream]") {
            String::new()
        } else {
            format!("[upstream]\nurl = \"http://127.0.0.1:{}\"\nschedule = []\n", dead_port())
        };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{upstream}{more}\n"
        );
        std::fs::write(dir.path().join("tailwater.toml"), text).unwrap();
        Self { dir, child: None, admin: None }
    }

    /// From the next start on administrators are answered at a port that is configured, so that nobody has to read the
    /// lock file to find it.
    pub(crate) fn fix_admin_port(&mut self) {
        let address = SocketAddr::from(([127, 0, 0, 1], dead_port()));
        let text = std::fs::read_to_string(self.config()).unwrap();
        let (any, fixed) = ("[admin]\nlisten = \"127.0.0.1:0\"", format!("[admin]\nlisten = \"{address}\""));
        assert!(text.contains(any));
        std::fs::write(self.config(), text.replace(any, &fixed)).unwrap();
        self.admin = Some(address);
    }

    /// Starts it where no file may be longer than so many blocks of 512 bytes.
    pub(crate) fn start_limited(&mut self, blocks: u64) {
        let log = std::fs::File::create(self.dir.path().join("server.log")).unwrap();
        let script = format!("ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_tailwater"), "--config"]).arg(self.config());
        self.child = Some(shell.arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.wait_until_ready(Instant::now());
    }

    /// A server that is ready.
    pub(crate) fn started(more: &str) -> Self {
        let mut server = Self::configured(more);
        server.start();
        server
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("tailwater.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it and waits until it is ready; says how long that took.
    pub(crate) fn start(&mut self) -> Duration {
        let log = std::fs::File::create(self.dir.path().join("server.log")).unwrap();
        self.start_with(log.into())
    }

    /// The same with this under standard error.
    pub(crate) fn start_with(&mut self, log: Stdio) -> Duration {
        let began = Instant::now();
        let child = command(&self.config()).arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        self.wait_until_ready(began);
        began.elapsed()
    }

    fn wait_until_ready(&mut self, began: Instant) {
        while !self.is_ready() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "not ready: {}", self.log());
            std::thread::yield_now();
        }
    }

    /// What `/readyz` says.
    pub(crate) fn readiness(&self) -> String {
        self.ask("GET", "/readyz", "Host: localhost\r\n", b"").text()
    }

    fn is_ready(&self) -> bool {
        let Some(address) = self.admin() else { return false };
        TcpStream::connect(address).is_ok_and(|stream| {
            exchange(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"")
                .is_some_and(|answer| answer.status == 200)
        })
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// Where administrators are answered, once the server says so.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        if self.admin.is_some() {
            return self.admin;
        }
        let holder: Value =
            serde_json::from_slice(&std::fs::read(self.data().join("tailwater.lock")).ok()?).ok()?;
        let pid = self.child.as_ref()?.id();
        (holder["pid"] == pid).then(|| holder["admin"].as_str()?.parse().ok())?
    }

    /// Where agents are answered.
    pub(crate) fn agents(&self) -> SocketAddr {
        self.api("GET", "/status", None).json()["listen"][0].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.data().join("admin-token")).unwrap().trim().to_owned()
    }

    /// Asks the API with the token.
    pub(crate) fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(|body| serde_json::to_vec(body).unwrap()).unwrap_or_default();
        let head = format!(
            "Authorization: Bearer {}\r\nHost: localhost\r\nContent-Type: application/json\r\n",
            self.token()
        );
        self.ask(method, &format!("/api/v1{path}"), &head, &body)
    }

    /// Asks the admin listener with these header lines.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.admin().unwrap()).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        exchange(stream, &head, body).unwrap()
    }

    /// Asks the agents' listener with these header lines.
    pub(crate) fn ask_agents(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.ask_agents_with(method, path, headers, b"")
    }

    /// The same with a body.
    pub(crate) fn ask_agents_with(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.agents()).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        exchange(stream, &head, body).unwrap()
    }

    /// Runs a command with this configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command(&self.config()).args(arguments).output().unwrap()
    }

    /// The process while it runs.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return true };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().success()
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The binary with a configuration.
pub(crate) fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
    command.arg("--config").arg(config);
    command
}

/// What a command said on both streams.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn exchange(mut stream: TcpStream, head: &str, body: &[u8]) -> Option<Answer> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    // a server that refuses early may close before everything is sent
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}
