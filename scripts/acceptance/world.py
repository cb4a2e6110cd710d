"""The pieces an acceptance run is made of: a probe upstream, a relay that counts, a tailwater, a ledger of checks.

Only the standard library. The probes live beside the project (../shared/probes) and are never copied.
"""
import fcntl, http.client, json, os, pathlib, re, shutil, signal, socket, struct, subprocess, sys, tempfile, termios, threading, time, urllib.request

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("TAILWATER_SHARED", PROJECT.parent / "shared"))
PROBES = SHARED / "probes"
PYTHON = os.environ.get("TAILWATER_PROBE_PYTHON", sys.executable)
BINARY = os.environ.get("TAILWATER_BINARY", str(PROJECT / "target/release/tailwater"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ledger:
    """Counts what held and what did not."""

    def __init__(self):
        self.passed, self.failed = 0, []

    def check(self, name, held, detail=""):
        print(("PASS " if held else "FAIL ") + name + (f"  [{detail}]" if detail != "" else ""), flush=True)
        if held:
            self.passed += 1
        else:
            self.failed.append(name)
        return bool(held)

    def close(self):
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0


def wait_for(what, probe, seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            value = probe()
            if value:
                return value
        except (OSError, http.client.HTTPException, ValueError):
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def fetch(url, method="GET", body=None, headers=None, timeout=60):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read()


class Upstream:
    """fake_uss.py on a free port."""

    def __init__(self, *arguments, log=None, port=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [PYTHON, str(PROBES / "fake_uss.py"), "--port", str(self.port), *map(str, arguments)],
            stdout=subprocess.DEVNULL, stderr=open(log, "ab") if log else subprocess.DEVNULL)
        wait_for("fake_uss", self.counters, 180)

    def counters(self):
        return json.loads(fetch(self.url + "/_counters"))

    def reset(self):
        fetch(self.url + "/_counters/reset", "POST", b"{}")

    def catalog(self):
        return json.loads(fetch(self.url + "/_catalog", timeout=120))

    def inject(self, **rule):
        fetch(self.url + "/_inject", "POST", json.dumps(rule).encode())

    def clear(self):
        fetch(self.url + "/_inject", "DELETE")

    def mutate(self, **order):
        return json.loads(fetch(self.url + "/_mutate", "POST", json.dumps(order).encode()))

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Tailwater:
    """One data directory, its configuration, and the server while it runs."""

    def __init__(self, upstream, rate="unlimited", products=(), classifications=(), languages=("en",), extra="", keep=None, content="", mode="autonomous", tailwater="follow"):
        self.home = pathlib.Path(keep or tempfile.mkdtemp(prefix="tailwater-acceptance-"))
        self.port, self.admin_port = free_port(), free_port()
        self.url, self.admin = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin_port}"
        self.config = self.home / "tailwater.toml"
        self.data = self.home / "data"
        self.process = None
        self.config.write_text(f"""
[server]
listen = "127.0.0.1:{self.port}"
data_dir = "{self.data}"
[upstream]
url = "{upstream}"
mode = "{mode}"
tailwater = "{tailwater}"
products = {json.dumps(list(products))}
classifications = {json.dumps(list(classifications))}
languages = {json.dumps(list(languages))}
schedule = []
[content]
{content}
[bandwidth]
rate = "{rate}"
[admin]
listen = "127.0.0.1:{self.admin_port}"
{extra}
""")

    def start(self, wait=True):
        self.log = open(self.home / "server.log", "ab")
        self.process = subprocess.Popen([BINARY, "serve", "--config", str(self.config)], stdout=self.log, stderr=self.log)
        if wait:
            wait_for("readyz", lambda: self.process.poll() is None and fetch(self.admin + "/readyz"), 60)
        return self

    def run(self, *arguments, timeout=600):
        done = subprocess.run([BINARY, *arguments, "--config", str(self.config)], capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments):
        code, out, err = self.run(*arguments, "--json")
        if code not in (0, 3):
            raise RuntimeError(f"{arguments}: exit {code}: {err[-500:]}")
        return json.loads(out)

    def change(self, before, after):
        """Edits the configuration; a restart takes it up."""
        text = self.config.read_text()
        assert before in text, before
        self.config.write_text(text.replace(before, after))

    def restart(self):
        self.stop()
        return self.start()

    def token(self):
        for path in self.data.glob("*token*"):
            return path.read_text().strip()
        raise RuntimeError("no token file")

    def api(self, path, method="GET", body=None):
        headers = {"Authorization": "Bearer " + self.token()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = fetch(self.admin + "/api/v1" + path, method, json.dumps(body).encode() if body is not None else None, headers)
        return json.loads(answer) if answer else None

    def rows(self, path, name):
        """All rows of a list, page after page."""
        out, offset = [], 0
        while offset is not None:
            page = self.api(f"{path}{'&' if '?' in path else '?'}offset={offset}")
            out += page[name]
            offset = page["next"]
        return out

    def approve(self, *updates):
        """Approves for everybody; some cannot be approved by themselves, which is said of each (exit 3)."""
        for at in range(0, len(updates), 100):
            code, out, err = self.run("updates", "approve", "--accept-license", *updates[at:at + 100], "--group", "All Computers")
            if code not in (0, 3):
                raise RuntimeError(err)

    def approve_all(self, count=200):
        """Approves the first updates of the list; files of others are not fetched for agents."""
        picked = [row["update_id"] for row in self.rows("/updates?limit=1000", "updates") if row["approvable"]][:count]
        self.approve(*picked)
        return picked

    def resident(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return {k: int(re.search(k + r":\s+(\d+) kB", text).group(1)) / 1024 for k in ("VmRSS", "VmHWM")}

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        if not os.environ.get("TAILWATER_KEEP"):
            shutil.rmtree(self.home, ignore_errors=True)


class Relay:
    """Stands between a tailwater and its upstream and counts what the upstream's sockets had acknowledged."""

    def __init__(self, target_port):
        self.target = target_port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.open, self.done, self.again, self.lock = [], 0, 0, threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
            server = socket.create_connection(("127.0.0.1", self.target))
            with self.lock:
                self.open.append(client)
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source, sink, down):
        try:
            while data := source.recv(16384):
                sink.sendall(data)
        except OSError:
            pass
        if down:
            self._drain(sink)
            with self.lock:
                if sink in self.open:
                    acked, again = self._counted(sink)
                    self.done, self.again = self.done + acked, self.again + again
                    self.open.remove(sink)
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if down:
            source.close()
            sink.close()

    @staticmethod
    def _drain(sock, seconds=20):
        """Waits until a paced reader has what was sent before the end, or is gone."""
        end = time.monotonic() + seconds
        try:
            sock.shutdown(socket.SHUT_WR)
            while time.monotonic() < end:
                waits = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]
                is_closed = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 7
                if waits == 0 or is_closed:
                    return
                time.sleep(0.01)
        except OSError:
            pass

    @staticmethod
    def _counted(sock):
        """Bytes acknowledged, and bytes that were sent again."""
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            return struct.unpack_from("Q", info, 120)[0], struct.unpack_from("Q", info, 208)[0] if len(info) >= 216 else 0
        except OSError:
            return 0, 0

    def acked(self):
        with self.lock:
            return self.done + sum(self._counted(s)[0] for s in self.open)

    def crossed(self):
        """What was acknowledged, and what crossed more than once."""
        with self.lock:
            return self.done + self.again + sum(sum(self._counted(s)) for s in self.open)

    def sample(self, seconds, step=0.05):
        """(time, bytes acknowledged so far), from now on."""
        start = time.monotonic()
        rows = []
        while (now := time.monotonic() - start) < seconds:
            rows.append((now, self.acked()))
            time.sleep(step)
        return rows


def windows(rows, width):
    """Bytes in each window of that width, one beginning at every sample."""
    out, j = [], 0
    for i, (t, b) in enumerate(rows):
        while j < len(rows) and rows[j][0] < t + width:
            j += 1
        if j >= len(rows):
            break
        span = rows[j][0] - t
        out.append((t, (rows[j][1] - b) * width / span))
    return out
