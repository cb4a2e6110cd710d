"""What a cold cache costs its upstream, beside nginx and squid, in one run against one shaped, counting origin.

Three loads, each on an empty cache: 20 clients with random unaligned 1 MiB ranges, 20 clients with the whole file, and
20 clients that leave after 32 MiB. Origin and clients are processes of their own that move bytes without looking at them.
"""
import collections, fcntl, json, math, mmap, multiprocessing, os, pathlib, random, selectors, shutil, socket, struct, subprocess, tempfile, termios, time
import clients, documents
from world import Tailwater, Upstream, fetch, free_port, wait_for

MIB = 1 << 20
CLIENTS = 20
THINK = 0.005
QUANTUM = 16384


class Origin:
    """One file over HTTP/1.1 with ranges, at one rate over all connections in turn, 5 ms of thought before each answer."""

    def __init__(self, path, name, rate):
        self.path, self.name, self.rate, self.port = path, name, rate, free_port()
        self.sent, self.requests = multiprocessing.Value("Q", 0), multiprocessing.Value("Q", 0)
        self.process = multiprocessing.Process(target=self._serve, daemon=True)
        self.process.start()
        wait_for("the origin", lambda: socket.create_connection(("127.0.0.1", self.port)).close() is None)
        self.url = f"http://127.0.0.1:{self.port}"

    def take(self):
        """Payload bytes that crossed since the last call, once nothing more moves."""
        last, since = self.sent.value, time.monotonic()
        while time.monotonic() - since < 2:
            if self.sent.value != last:
                last, since = self.sent.value, time.monotonic()
            time.sleep(0.05)
        self.sent.value, requests = 0, self.requests.value
        self.requests.value = 0
        return last, requests

    def _serve(self):
        data = memoryview(mmap.mmap(os.open(self.path, os.O_RDONLY), 0, prot=mmap.PROT_READ))
        listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        listener.setblocking(False)
        select = selectors.DefaultSelector()
        select.register(listener, selectors.EVENT_READ)
        ready, thinking, blocked, state = collections.deque(), [], set(), {}
        credit, stamp = 0.0, time.monotonic()

        def close(s):
            one = state.pop(s)
            # what still waits in the socket never crossed
            waits = struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0] if one["body"] else 0
            self.sent.value -= min(waits, one["body"])
            select.unregister(s)
            blocked.discard(s)
            s.close()

        while True:
            now = time.monotonic()
            credit, stamp = min(credit + (now - stamp) * self.rate, self.rate * 0.01), now
            while thinking and thinking[0][0] <= now:
                ready.append(thinking.pop(0)[1])
            while ready and credit >= QUANTUM:
                s = ready.popleft()
                one = state.get(s)
                if one is None or one["left"] == 0:
                    continue
                try:
                    n = s.send(data[one["at"]:one["at"] + min(QUANTUM, one["left"])])
                except BlockingIOError:
                    blocked.add(s)
                    select.modify(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
                    continue
                except OSError:
                    close(s)
                    continue
                one["at"], one["left"], one["body"] = one["at"] + n, one["left"] - n, one["body"] + n
                self.sent.value += n
                credit -= n
                if one["left"]:
                    ready.append(s)
            wait = 0.05 if not ready and not thinking else 0.001
            for key, events in select.select(wait):
                s = key.fileobj
                if s is listener:
                    c, _ = listener.accept()
                    c.setblocking(False)
                    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                    select.register(c, selectors.EVENT_READ)
                    state[c] = dict(head=b"", at=0, left=0, body=0)
                    continue
                if s not in state:
                    continue
                if events & selectors.EVENT_WRITE:
                    select.modify(s, selectors.EVENT_READ)
                    blocked.discard(s)
                    ready.append(s)
                if events & selectors.EVENT_READ:
                    try:
                        part = s.recv(65536)
                    except OSError:
                        part = b""
                    if not part:
                        close(s)
                        continue
                    one = state[s]
                    one["head"] += part
                    if b"\r\n\r\n" in one["head"] and one["left"] == 0:
                        head, _, one["head"] = one["head"].partition(b"\r\n\r\n")
                        self._answer(s, one, head.decode("latin-1"), len(data))
                        thinking.append((time.monotonic() + THINK, s))

    def _answer(self, s, one, head, size):
        self.requests.value += 1
        line = next((l for l in head.split("\r\n") if l.lower().startswith("range:")), None)
        first, last = 0, size - 1
        if line:
            a, b = line.split("=")[1].split("-")
            first, last = int(a), min(int(b or size - 1), size - 1)
        status = f"206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}" if line else "200 OK"
        one.update(at=first, left=0 if head.startswith("HEAD") else last - first + 1, body=0)
        s.send(f'HTTP/1.1 {status}\r\nContent-Length: {last - first + 1}\r\nAccept-Ranges: bytes\r\nETag: "{self.name}"\r\nLast-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\nCache-Control: public, max-age=864000\r\nContent-Type: application/octet-stream\r\n\r\n'.encode())

    def stop(self):
        self.process.kill()
        self.process.join()


def load(port, path, work, pipe):
    """Clients that drop what they read in the kernel. `work`: for each client a list of (first, end, stop after)."""
    select, sink = selectors.DefaultSelector(), bytearray(4 * MIB)
    firsts, got, wrong, began = [], 0, [], time.monotonic()

    def ask(one):
        first, end, _ = one["tasks"][0]
        span = f"Range: bytes={first}-{end - 1}\r\n" if end else ""
        one.update(head=b"", left=None, read=0, asked=time.monotonic())
        one["s"].setblocking(True)
        one["s"].sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: Microsoft-Delivery-Optimization/10.1\r\n{span}\r\n".encode())
        one["s"].setblocking(False)

    def open_one(tasks):
        s = socket.create_connection(("127.0.0.1", port))
        one = dict(s=s, tasks=collections.deque(tasks))
        select.register(s, selectors.EVENT_READ, one)
        ask(one)

    for tasks in work:
        open_one(tasks)
    while select.get_map():
        for key, _ in select.select(60) or [(None, None)]:
            if key is None:
                wrong.append("nothing for 60 s")
                for s in list(select.get_map().values()):
                    select.unregister(s.fileobj)
                break
            one, s = key.data, key.fileobj
            try:
                if one["left"] is None:
                    one["head"] += s.recv(16384)
                    if b"\r\n\r\n" not in one["head"]:
                        continue
                    head, _, body = one["head"].partition(b"\r\n\r\n")
                    text = head.decode("latin-1").lower()
                    if " 206 " not in text.split("\r\n")[0] and " 200 " not in text.split("\r\n")[0]:
                        wrong.append(text.split("\r\n")[0])
                    one["left"] = int(next(l for l in text.split("\r\n") if l.startswith("content-length:")).split(":")[1])
                    n = len(body)
                else:
                    n = s.recv_into(sink, min(len(sink), one["left"]), socket.MSG_TRUNC)
                    if n == 0:
                        raise ConnectionError("closed early")
            except BlockingIOError:
                continue
            except (OSError, StopIteration) as error:
                wrong.append(repr(error))
                select.unregister(s)
                s.close()
                continue
            if n and not one["read"]:
                firsts.append(time.monotonic() - one["asked"])
            one["read"] += n
            one["left"] -= n
            got += n
            stop = one["tasks"][0][2]
            if one["left"] == 0 or (stop and one["read"] >= stop):
                one["tasks"].popleft()
                if one["tasks"] and one["left"] == 0:
                    ask(one)
                else:
                    select.unregister(s)
                    s.close()
    firsts.sort()
    at = lambda share: firsts[min(len(firsts) - 1, math.ceil(len(firsts) * share) - 1)] if firsts else float("nan")
    pipe.send(dict(seconds=time.monotonic() - began, p50=at(0.5), p99=at(0.99), got=got, wrong=wrong[:3]))


def run_load(port, path, work):
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=load, args=(port, path, work, there))
    process.start()
    there.close()
    result = here.recv()
    process.join()
    return result


class Nginx:
    """As caches for Windows updates are set up: slices of 1 MiB, one request a slice."""
    name = "nginx slice 1m + lock"

    def __init__(self, home, origin):
        self.home, self.port = pathlib.Path(home), free_port()
        self.home.chmod(0o755)
        for folder in ("cache", "tmp"):
            (self.home / folder).mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        (self.home / "nginx.conf").write_text(f"""
{user} worker_processes 2; pid {self.home}/pid; error_log {self.home}/error.log; daemon off;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; client_body_temp_path {self.home}/tmp; proxy_temp_path {self.home}/tmp;
  proxy_cache_path {self.home}/cache levels=2:2 keys_zone=wsus:64m max_size=20g inactive=1d use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin.port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      slice 1m; proxy_cache wsus; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache_valid 200 206 1d;
      proxy_cache_lock on; proxy_cache_lock_age 2m; proxy_cache_lock_timeout 1h; proxy_pass http://origin;
    }}
  }}
}}
""")
        self.process = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(self.home / "nginx.conf"), "-p", str(self.home)], stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Squid:
    """As commonly advised for WSUS: whole objects, whatever was asked for and whoever left."""
    name = "squid, whole objects"

    def __init__(self, home, origin):
        self.home, self.port = pathlib.Path(home), free_port()
        self.home.chmod(0o777)
        (self.home / "cache").mkdir()
        (self.home / "cache").chmod(0o777)
        conf = self.home / "squid.conf"
        conf.write_text(f"""
http_port 127.0.0.1:{self.port} accel defaultsite=127.0.0.1 no-vhost
cache_peer 127.0.0.1 parent {origin.port} 0 no-query originserver no-digest name=origin
cache_peer_access origin allow all
never_direct allow all
http_access allow all
cache_dir ufs {self.home}/cache 20000 16 64
maximum_object_size 6 GB
cache_mem 64 MB
range_offset_limit none
quick_abort_min -1 KB
collapsed_forwarding on
refresh_pattern -i /Content/ 525600 100% 525600 override-expire
access_log none
cache_store_log none
cache_log {self.home}/cache.log
pid_filename {self.home}/pid
coredump_dir {self.home}
shutdown_lifetime 1 seconds
cache_effective_user {'proxy' if os.geteuid() == 0 else os.environ.get('USER', 'proxy')}
pinger_enable off
""")
        program = shutil.which("squid") or "/usr/sbin/squid"
        subprocess.run([program, "-f", str(conf), "-z", "-N"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        self.process = subprocess.Popen([program, "-f", str(conf), "-N"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Ours:
    name = "tailwater"

    def __init__(self, home, origin):
        self.tailwater = Tailwater(Ours.upstream.url, keep=home)
        self.tailwater.change("schedule = []", f'schedule = []\nsource = [{{ url = "{origin.url}", cost = 1 }}]')
        self.tailwater.start()
        code, out, err = self.tailwater.run("sync")
        if code != 0:
            raise RuntimeError(f"sync: {err}")
        self.tailwater.approve_all()
        self.port = self.tailwater.port

    def stop(self):
        self.tailwater.stop()


def payload(scratch, mib):
    """Documents and a payload of this size, made once."""
    folder = scratch / f"cold-{mib}"
    if not (folder / "made.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        [f] = documents.site(folder, [mib * MIB])
        (folder / "made.json").write_text(json.dumps(dict(hex=f["hex"], path=str(f["path"]))))
    return folder, json.loads((folder / "made.json").read_text())


def compare(scratch, check):
    mib = int(os.environ.get("TAILWATER_COLD_MIB", "1024"))
    rate = float(os.environ.get("TAILWATER_COLD_MBIT", "200")) * 1e6 / 8
    scratch.mkdir(parents=True, exist_ok=True)
    folder, made = payload(scratch, mib)
    size, stop = mib * MIB, min(32, mib // 4) * MIB
    path = f"/Content/{made['hex'][-2:]}/{made['hex']}.cab"
    asked = [clients.unaligned(size, 4242 + n, max(2, 10 * mib // 1024)) for n in range(CLIENTS)]
    distinct = clients.distinct([r for one in asked for r in one])
    loads = [
        ("ranges", [[(a, b, 0) for a, b in one] for one in asked], distinct),
        ("whole", [[(0, 0, 0)] for _ in range(CLIENTS)], size),
        ("aborts", [[(0, 0, stop)] for _ in range(CLIENTS)], stop),
    ]
    print(f"     {mib} MiB, origin at {rate * 8 / 1e6:.0f} Mbit/s and {THINK * 1000:.0f} ms; ranges ask for {distinct / MIB:.1f} MiB, aborts for {stop / MIB:.0f} MiB", flush=True)
    seen = {}
    origin = Origin(made["path"], made["hex"], rate)
    with Upstream("--docs", folder / "docs") as Ours.upstream:
        try:
            for kind in (Ours, Nginx, Squid):
                if kind is not Ours and not shutil.which(kind.__name__.lower(), path=os.environ.get("PATH", "") + ":/usr/sbin"):
                    print(f"     {kind.name}: not installed", flush=True)
                    continue
                for name, work, want in loads:
                    home = tempfile.mkdtemp(prefix=f"tailwater-cold-{kind.__name__.lower()}-")
                    server = kind(home, origin)
                    try:
                        wait_for(kind.name, lambda: socket.create_connection(("127.0.0.1", server.port)).close() is None)
                        origin.take()
                        got = run_load(server.port, path, work)
                        sent, requests = origin.take()
                    finally:
                        server.stop()
                        shutil.rmtree(home, ignore_errors=True)
                    got.update(ratio=sent / want, floor=want / rate, requests=requests)
                    seen[kind, name] = got
                    print(f"     {kind.name:22} {name:7} upstream/distinct {got['ratio']:7.4f}  {got['seconds']:6.2f} s ({got['seconds'] / got['floor']:.3f} of the floor)  first byte p50 {got['p50'] * 1000:.0f} ms, p99 {got['p99'] * 1000:.0f} ms  {requests} requests {got['wrong'] or ''}", flush=True)
        finally:
            origin.stop()
    for name, most in (("ranges", 1.06), ("whole", 1.001), ("aborts", 1.05)):
        ours = seen[Ours, name]
        check(f"cold cache, {name}: upstream sends at most {most} times what was asked for", ours["ratio"] <= most and not ours["wrong"], f"{ours['ratio']:.4f}")
        if name != "aborts":
            check(f"cold cache, {name}: at most 1.1 times as long as the upstream alone needs", ours["seconds"] <= 1.1 * ours["floor"], f"{ours['seconds']:.2f} s, floor {ours['floor']:.2f} s")
        if (Nginx, name) in seen and name == "ranges":
            theirs = seen[Nginx, name]
            check("cold cache, ranges: first byte p99 at most half of nginx with slices", ours["p99"] <= theirs["p99"] / 2, f"{ours['p99'] * 1000:.0f} ms, nginx {theirs['p99'] * 1000:.0f} ms")
