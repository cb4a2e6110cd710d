"""What attacks are made of: the real binary with a stand-in upstream, an honest agent beside it, and crowds of sockets.

Only the standard library; loopback only. Attackers come from 127.66.0.0/16, the honest agent from 127.0.0.1, so that
shares by address and subnet tell them apart.
"""
import http.client, itertools, json, os, pathlib, re, resource, selectors, shutil, signal, socket, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
BINARY = os.environ.get("TAILWATER_BINARY", str(PROJECT / "target/release/tailwater"))
SHORT = bool(os.environ.get("TAILWATER_SHORT"))
MIB = 1 << 20


def size(full, short):
    """As much as is asked for, or less in the short form."""
    return short if SHORT else full


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def raise_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536, hard))


def wait_for(what, probe, seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            if value := probe():
                return value
        except (OSError, http.client.HTTPException, ValueError):
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def ask(port, method, path, body=None, headers=None, source="127.0.0.1", timeout=20, host="127.0.0.1"):
    """One request on a connection of its own: status, headers, body."""
    line = http.client.HTTPConnection(host, port, timeout=timeout, source_address=(source, 0))
    try:
        line.request(method, path, body, headers or {})
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        line.close()


class Upstream:
    """`tailwater simulate upstream` on a free port."""

    def __init__(self, updates):
        self.port = free_port()
        self.process = subprocess.Popen(
            [BINARY, "simulate", "upstream", "--listen", f"127.0.0.1:{self.port}", "--updates", str(updates), "--definitions", "1", "--mean-size", "4 MB"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("simulate upstream", lambda: ask(self.port, "GET", "/_counters")[0] == 200)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Server:
    """One data folder, its configuration, and `tailwater serve` while it runs."""

    def __init__(self, home, upstream_port, extra="", upstream="", descriptors=None, port=None):
        self.home, self.data = home, home / "data"
        self.port, self.admin_port = port or free_port(), free_port()
        self.descriptors, self.process, self.log = descriptors, None, home / "server.log"
        self.config = home / "tailwater.toml"
        self.config.write_text(
            f'[server]\nlisten = "0.0.0.0:{self.port}"\ndata_dir = "{self.data}"\n'
            f'[upstream]\nurl = "http://127.0.0.1:{upstream_port}"\nclassifications = []\nschedule = []\n{upstream}\n'
            f'[content]\ndemand = "anything"\nmin_free = "100 MB"\n[admin]\nlisten = "127.0.0.1:{self.admin_port}"\n{extra}\n')

    def start(self):
        def limit():
            if self.descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
        for again in range(4):
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen([BINARY, "serve", "--config", str(self.config)], stdout=log, stderr=log, preexec_fn=limit)
            wait_for("readyz", lambda: not self.alive() or ask(self.admin_port, "GET", "/readyz")[0] == 200, 60)
            if self.alive():
                return self
            # somebody else took a port that was free
            for name in ("port", "admin_port"):
                old, new = getattr(self, name), free_port()
                self.config.write_text(self.config.read_text().replace(f":{old}\"", f":{new}\""))
                setattr(self, name, new)
        raise OSError("the server does not start: " + self.log.read_text(errors="replace")[-300:])

    def alive(self):
        return self.process.poll() is None

    def run(self, *arguments, timeout=120):
        done = subprocess.run([BINARY, *arguments, "--config", str(self.config)], capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    def token(self):
        return next(iter(self.data.glob("*token*"))).read_text().strip()

    def api(self, path, method="GET", body=None, timeout=60):
        headers = {"Authorization": "Bearer " + self.token(), "Content-Type": "application/json"}
        status, _, text = ask(self.admin_port, method, "/api/v1" + path, json.dumps(body) if body is not None else None, headers, timeout=timeout)
        if status >= 400:
            raise OSError(f"{path}: {status} {text[:200]}")
        return json.loads(text) if text else None

    def _status(self, key):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(key + r":\s+(\d+) kB", text).group(1)) / 1024

    def resident(self):
        return self._status("VmRSS")

    def peak(self):
        return self._status("VmHWM")

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def lines(self):
        return self.log.read_text(errors="replace").count("\n")

    def disk(self):
        return sum(f.stat().st_blocks * 512 for f in self.data.rglob("*") if f.is_file()) / MIB

    def stop(self):
        if self.process and self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(25)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Honest:
    """An agent that scans all the time, in a process of its own; remembers when each scan began and how long it took."""

    def __init__(self, server):
        self.samples, self.process = [], subprocess.Popen([sys.executable, str(HERE / "agent.py"), str(server.port)], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        wait_for("the first scans of the honest agent", lambda: len(self.samples) >= 3, 60)

    def _read(self):
        for line in self.process.stdout:
            began, took, trouble = line.rstrip("\n").split(" ", 2)
            self.samples.append((float(began), float(took), trouble))

    def between(self, begin, end):
        """p50, p99 in milliseconds, how many scans, and what went wrong."""
        found = [s for s in list(self.samples) if begin <= s[0] <= end]
        times = sorted(s[1] for s in found) or [float("inf")]
        return times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))], len(found), [s[2] for s in found if s[2] != "-"]

    def stop(self):
        self.process.kill()
        self.process.wait()


def addresses(wide=False):
    """Whence attackers come: one address, or ever another one."""
    if not wide:
        return itertools.repeat("127.66.0.1")
    return (f"127.66.{n // 200 % 250}.{n % 200 + 1}" for n in itertools.count())


class Crowd:
    """Many sockets at once: each sends what it was given, as fast or slowly as it shall, and reads or does not."""

    def __init__(self, port, wide=False, receive=None):
        self.port, self.source, self.receive = port, addresses(wide), receive
        self.lines, self.selector, self.refused = [], selectors.DefaultSelector(), 0

    def add(self, count, data=b"", reads=True):
        """Opens `count` connections that send `data` (bytes, or a function of the place)."""
        for n in range(count):
            s = socket.socket()
            try:
                if self.receive:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.bind((next(self.source), 0))
                s.settimeout(0.5)
                s.connect(("127.0.0.1", self.port))
                s.setblocking(False)
            except OSError:
                self.refused += 1
                s.close()
                if self.refused > 20 and self.refused > len(self.lines) // 10:
                    break
                continue
            line = {"socket": s, "left": memoryview(data(n) if callable(data) else data), "got": 0, "heads": 0, "head": b"", "open": True, "reads": reads}
            self.lines.append(line)
            self._watch(line)
        return self

    def _watch(self, line):
        wanted = (selectors.EVENT_WRITE if line["left"] else 0) | (selectors.EVENT_READ if line["reads"] else 0)
        try:
            self.selector.unregister(line["socket"])
        except KeyError:
            pass
        if wanted and line["open"]:
            self.selector.register(line["socket"], wanted, line)

    def give(self, line, data):
        line["left"] = memoryview(bytes(line["left"]) + data)
        self._watch(line)

    def run(self, seconds, step=None, every=0.5, until=None):
        """Lets them send and read; `step` is called now and then with each open line."""
        end, then = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            for key, events in self.selector.select(0.05):
                self._turn(key.data, events)
            if step and time.monotonic() >= then:
                then = time.monotonic() + every
                for line in [l for l in self.lines if l["open"]]:
                    step(line)
            if until and until():
                break
            if not self.selector.get_map() and not step:
                time.sleep(0.05)
        return self

    def finish(self, seconds, quiet=1.5):
        """Lets them send and read until everything is sent and nothing more comes."""
        seen, since = None, time.monotonic()
        def over():
            nonlocal seen, since
            now = sum(line["got"] + len(line["left"]) for line in self.lines if line["open"])
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > quiet
        return self.run(seconds, until=over)

    def _turn(self, line, events):
        try:
            if events & selectors.EVENT_WRITE and line["left"]:
                sent = line["socket"].send(line["left"][:262144])
                line["left"] = line["left"][sent:]
                if not line["left"]:
                    self._watch(line)
            if events & selectors.EVENT_READ:
                part = line["socket"].recv(262144)
                line["got"] += len(part)
                line["heads"] += part.count(b"HTTP/1.1 ")
                if len(line["head"]) < 4096:
                    line["head"] += part[:4096]
                if not part:
                    self._end(line)
        except BlockingIOError:
            pass
        except OSError:
            self._end(line)

    def _end(self, line):
        line["open"] = False
        try:
            self.selector.unregister(line["socket"])
        except KeyError:
            pass
        line["socket"].close()

    def open(self):
        """How many are still open: those that do not read are asked whether the other side closed."""
        for line in [l for l in self.lines if l["open"] and not l["reads"]]:
            try:
                if line["socket"].recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                    self._end(line)
            except BlockingIOError:
                pass
            except OSError:
                self._end(line)
        return sum(line["open"] for line in self.lines)

    def close(self):
        for line in [l for l in self.lines if l["open"]]:
            self._end(line)
        self.selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def fresh(prefix="tailwater-attack-"):
    return pathlib.Path(tempfile.mkdtemp(prefix=prefix))


def discard(folder):
    shutil.rmtree(folder, ignore_errors=True)
