"""A bad link on the real binary: resets, stalls, outages, busy answers, expired addresses, hours without ranges, kills.

`road` compresses days to minutes; `sources` takes payloads from several servers by cost. Waste is what the origin's
sockets sent of payloads beyond the distinct bytes.
"""
import collections, email.utils, fcntl, hashlib, http.client, http.server, os, random, re, resource, socket, struct, tempfile, termios, threading, time, urllib.error
import documents
from world import Tailwater, Upstream, fetch, free_port, wait_for

CHUNK = 4096
PIECE = 65536
# seconds after which an interruption that is waited out is an outage, with what it takes to find out
KNOWN = 7


class Front(http.server.ThreadingHTTPServer):
    """Stands before the upstream's services and signs the addresses of payloads it names; has no payloads itself."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream, origin):
        self.upstream, self.origin, self.calls = upstream, origin, 0
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "accept-encoding", "content-length", "connection")}
            connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream.port, timeout=60)
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            if b"<MUUrl>" in data:
                self.server.calls += 1
                data = re.sub(rb"<MUUrl>https?://[^/<]*(/[^<]*)</MUUrl>", lambda m: f"<MUUrl>{self.server.origin.url}{m[1].decode()}?signature={self.server.origin.signature}</MUUrl>".encode(), data)
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


class Origin:
    """Payloads by range at one pace over all connections, with faults by seeded dice and by what `weather` says."""

    def __init__(self, files, rate, seed=1, signed=False, faults=True):
        self.files = {f"/{f['hex']}.": f for f in files}
        self.rate, self.dice, self.signed, self.faults = rate, random.Random(seed), signed, faults
        self.port, self.signature, self.weather = free_port(), 1, "fair"
        self.url = f"http://127.0.0.1:{self.port}"
        self.lock, self.turn, self.sent, self.requests, self.connections = threading.Lock(), time.monotonic(), 0, 0, 0
        self.happened, self.open, self.listener = collections.Counter(), set(), None
        self.listen()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def outage(self):
        """Nobody answers, and what was under way is gone."""
        self.weather = "outage"
        # an accept under way would take one more
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            doomed = list(self.open)
        for s in doomed:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def back(self):
        self.weather = "fair"
        self.listen()

    def _accept(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            with self.lock:
                self.open.add(s)
                self.connections += 1
            threading.Thread(target=self._converse, args=(s,), daemon=True).start()

    def _converse(self, s):
        self_sent = 0
        try:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    part = s.recv(4096)
                    if not part:
                        return
                    head += part
                with self.lock:
                    self.requests += 1
                    roll = self.dice.random() if self.faults else 1.0
                if not self._answer(s, head.decode("latin-1"), roll):
                    return
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(s)
                try:
                    self.sent -= struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0]
                except OSError:
                    pass
            s.close()

    def _say(self, s, status, more=""):
        s.sendall(f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n".encode())
        return True

    def _note(self, what):
        with self.lock:
            self.happened[what] += 1

    def _answer(self, s, head, roll):
        target = head.split(" ")[1]
        path, _, query = target.partition("?")
        if self.signed and query != f"signature={self.signature}":
            self._note("expired")
            return self._say(s, ("403 Forbidden", "404 Not Found", "410 Gone")[self.requests % 3])
        if self.weather == "busy" or roll < 0.02:
            self._note("busy")
            seconds = 1 + self.requests % 3
            after = str(seconds) if self.requests % 2 else email.utils.formatdate(time.time() + seconds + 1, usegmt=True)
            return self._say(s, "503 Busy", f"Retry-After: {after}\r\n")
        if roll < 0.03:
            self._note("error")
            return self._say(s, "500 Oops")
        found = next((f for name, f in self.files.items() if name in path.upper().replace(".CAB", ".")), None)
        if found is None:
            self._note("missing")
            return self._say(s, "404 Not Found")
        line = next((l for l in head.split("\r\n") if l.lower().startswith("range:")), None)
        size = found["size"]
        if self.weather == "whole" or 0.03 <= roll < 0.05 or line is None:
            self._note("no ranges")
            first, end, status = 0, size, "200 OK\r\n"
        else:
            a, b = line.split("=")[1].split("-")
            first, end = int(a), min(int(b) + 1, size)
            status = f"206 Partial Content\r\nContent-Range: bytes {first}-{end - 1}/{size}\r\n"
        cut, how = None, None
        if self.weather == "resets" or 0.05 <= roll < 0.10:
            cut = first + self.dice.randrange(1, 900_000)
            how = "reset" if self.requests % 2 else "close"
        elif 0.10 <= roll < 0.105:
            cut, how = first + self.dice.randrange(1, 200_000), "stall"
        s.sendall(f"HTTP/1.1 {status}Content-Length: {end - first}\r\n\r\n".encode())
        return self._body(s, found, first, end, cut, how)

    def _body(self, s, found, first, end, cut, how):
        with open(found["path"], "rb") as data:
            data.seek(first)
            while first < end:
                if cut is not None and first >= cut:
                    return self._cut(s, how)
                with self.lock:
                    self.turn = max(self.turn, time.monotonic() - 0.01) + CHUNK / self.rate
                    wait = self.turn - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                part = data.read(min(CHUNK, end - first))
                s.sendall(part)
                first += len(part)
                with self.lock:
                    self.sent += len(part)
        return True

    def _cut(self, s, how):
        self._note(how)
        if how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "stall":
            s.settimeout(120)
            s.recv(1)
        return False


def states(tailwater):
    rows = tailwater.rows("/content?limit=1000", "files")
    return {row["sha1"].upper(): row["state"] for row in rows}


def all_verified(tailwater, files):
    held = states(tailwater)
    return all(held.get(f["hex"].upper()) == "verified" for f in files)


def agent(tailwater, files, seed, stop, seen):
    """Reads ranges like Delivery Optimization, asks again when told to, and compares."""
    dice = random.Random(seed)
    while not stop.is_set():
        f = dice.choice(files)
        first = dice.randrange(0, f["size"] - 300_000)
        end = min(f["size"], first + 300_000)
        try:
            data = fetch(f"{tailwater.url}/Content/{f['hex'][-2:]}/{f['hex']}.cab", headers={"Range": f"bytes={first}-{end - 1}"}, timeout=100)
            with open(f["path"], "rb") as truth:
                truth.seek(first)
                seen["right" if data == truth.read(end - first) else "WRONG"] += 1
        except urllib.error.HTTPError as error:
            seen[error.code] += 1
        except (OSError, http.client.HTTPException):
            seen["cut"] += 1
        stop.wait(0.5 + dice.random())


def ask_in_an_outage(tailwater, files, seconds):
    """Agents that come one after the other, each for a piece that is not held: when each came, how long it waited, and
    what it was told."""
    began, dice, rows, asking = time.monotonic(), random.Random(seconds), [], []

    def ask(f, first):
        at, again = time.monotonic(), None
        try:
            fetch(f"{tailwater.url}/Content/{f['hex'][-2:]}/{f['hex']}.cab", headers={"Range": f"bytes={first}-{first + PIECE - 1}"}, timeout=100)
            told = "held"
        except urllib.error.HTTPError as error:
            told, again = error.code, int(error.headers.get("Retry-After", 0))
        except (OSError, http.client.HTTPException) as error:
            told = type(error).__name__
        rows.append((at - began, time.monotonic() - at, told, again))

    while time.monotonic() - began < seconds - 2:
        held = {row["sha1"].upper(): row["held"] for row in tailwater.rows("/content?limit=1000", "files")}
        share = lambda f: held.get(f["hex"], 0) / f["size"]
        # of a file of which most is missing, a piece is likely to be
        if lacking := [f for f in sorted(files, key=share)[:4] if share(f) < 1]:
            f = dice.choice(lacking)
            asking.append(threading.Thread(target=ask, args=(f, dice.randrange(f["size"] // PIECE) * PIECE), daemon=True))
            asking[-1].start()
        time.sleep(0.5)
    time.sleep(max(0, began + seconds - time.monotonic()))
    rows += [(0, seconds, "nothing", None)] * (len(asking) - len(rows))
    return [row for row in rows if row[2] != "held"]


def check_outage(check, seconds, rows):
    """What is waited out is not yet an outage; from then on everybody is told at once."""
    told = [row for row in rows if row[2] == 503]
    slowest = lambda rows: max((row[1] for row in rows), default=0.0)
    first, then = slowest(row for row in told if row[0] < KNOWN), slowest(row for row in told if row[0] >= KNOWN)
    again = [row[3] for row in told]
    detail = f"{len(told)} agents: of those who came at first the last after {first:.1f} s, later ones within {1000 * then:.0f} ms; to come again in {min(again, default=0)} to {max(again, default=0)} s; others {collections.Counter(row[2] for row in rows if row[2] != 503)}"
    check(f"road: in an outage of {seconds} s every agent is told so at once", any(row[0] >= KNOWN for row in told) and len(told) == len(rows) and first < KNOWN + 1 and then < 1 and min(again) >= 1, detail)


def road(check):
    """The long road."""
    full = os.environ.get("TAILWATER_ROAD", "full") == "full"
    count, size, rate = (40, 12_000_000, 5e6) if full else (12, 10_000_000, 5e6)
    plan = [("fair", 8), ("outage", 25), ("fair", 8), ("kill", 0), ("resets", 15), ("expire", 0), ("fair", 6), ("busy", 6), ("whole", 12), ("kill", 0), ("fair", 8), ("outage", 45), ("expire", 0), ("resets", 20), ("kill", 0), ("fair", 1)]
    short = [("fair", 3), ("outage", 15), ("resets", 4), ("kill", 0), ("expire", 0), ("whole", 4), ("fair", 1)]
    with tempfile.TemporaryDirectory() as folder:
        files = documents.site(folder, [size + 4097 * n for n in range(count)])
        total = sum(f["size"] for f in files)
        with Upstream("--docs", f"{folder}/docs", "--mu-url") as up:
            origin = Origin(files, rate, seed=8, signed=True)
            front = Front(up, origin)
            with Tailwater(front.url, content='fetch = "all"\nallowed_private = ["127.0.0.1"]') as tw:
                tw.change("schedule = []", 'schedule = []\ncontent_from = "microsoft"')
                tw.start()
                check("road: sync", tw.run("sync")[0] == 0)
                tw.approve_all()
                began, stop, seen = time.monotonic(), threading.Event(), collections.Counter()
                for n in range(4):
                    threading.Thread(target=agent, args=(tw, files, n, stop, seen), daemon=True).start()
                returns, kills, lost = [], 0, 0
                for what, seconds in plan if full else short:
                    if what == "kill":
                        kills, lost = kills + 1, lost + origin.sent - sum(row["held"] for row in tw.rows("/content?limit=1000", "files"))
                        tw.kill()
                        tw.start()
                        continue
                    if what == "expire":
                        origin.signature += 1
                        continue
                    if what != "outage":
                        origin.weather = what
                        time.sleep(seconds)
                        continue
                    origin.outage()
                    before = origin.sent
                    check_outage(check, seconds, ask_in_an_outage(tw, files, seconds))
                    origin.back()
                    returned = time.monotonic()
                    wait_for("bytes after an outage", lambda: origin.sent > before + 200_000, 300)
                    returns.append(time.monotonic() - returned)
                origin.weather = "fair"
                whole = False
                try:
                    whole = wait_for("every file", lambda: all_verified(tw, files), 900)
                except TimeoutError:
                    print("     ", [(t["name"], t["state"], t["trouble"], t["held"], t["size"]) for t in tw.api("/transfers")["transfers"]][:5])
                took = time.monotonic() - began
                stop.set()
                time.sleep(1)
                wasted = (origin.sent - total) / total
                check(f"road: every one of {count} files arrives and is verified", whole, f"{took:.0f} s, {total / rate:.0f} s at the pace of the origin; {dict(origin.happened)}, {origin.connections} connections, {front.calls} answers with addresses")
                check("road: under 1 % of the bytes crossed twice", wasted < 0.01, f"{100 * wasted:.3f} % of {total} bytes; at most {lost} bytes were not yet in a whole piece at {kills} kills")
                check("road: bytes flow soon after each return of the link", all(r < 60 for r in returns), ", ".join(f"{r:.1f} s" for r in returns))
                check("road: agents got right bytes or an honest refusal", seen["WRONG"] == 0 and seen["right"] > 0, dict(seen))
                bad = [f["name"] for f in files if hashlib.sha1(fetch(f"{tw.url}/Content/{f['hex'][-2:]}/{f['hex']}.cab")).hexdigest().upper() != f["hex"]]
                check("road: what is served is what was declared", not bad, bad)


def sources(check):
    """Payloads from the cheapest server that has them and answers."""
    with tempfile.TemporaryDirectory() as folder:
        files = documents.site(folder, [6_000_000] * 6)
        with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up:
            # the cheap one lacks a file, the dear one has all but another
            cheap, dear = Origin(files[1:], 8e6, faults=False), Origin(files, 8e6, faults=False)
            with Tailwater(up.url) as tw:
                tw.change("schedule = []", f'schedule = []\nsource = [{{ url = "{dear.url}", cost = 50 }}, {{ url = "{cheap.url}", cost = 1 }}]')
                tw.start()
                check("sources: sync", tw.run("sync")[0] == 0)
                tw.approve_all()
                path = lambda f: f"{tw.url}/Content/{f['hex'][-2:]}/{f['hex']}.cab"
                get = lambda f: hashlib.sha1(fetch(path(f))).hexdigest().upper() == f["hex"]
                own = lambda: up.counters()["content"]["bytes"]
                check("sources: the cheapest is asked first", get(files[1]) and cheap.sent == files[1]["size"] and own() == 0 and dear.sent == 0, f"{cheap.sent}, {own()}, {dear.sent}")
                check("sources: a file that it lacks comes from the next, that file only", get(files[0]) and own() == files[0]["size"] and dear.sent == 0, f"{own()}, {dear.sent}")
                cheap.outage()
                check("sources: while it is down the upstream stands in", get(files[2]) and own() == 2 * files[0]["size"] and dear.sent == 0, f"{own()}, {dear.sent}")
                row = next(r for r in tw.json("status")["sources"] if r["source"] == cheap.url)
                check("sources: status tells state, cost and bytes", row["state"] == "down" and row["cost"] == 1 and row["received"] == files[1]["size"], row)
                cheap.back()
                wait_for("the cheap one is asked again", lambda: get(files[3]) and (cheap.sent > files[1]["size"] or get(files[4]) and cheap.sent > files[1]["size"]), 60)
                up.stop()
                cheap.outage()
                check("sources: with both down the dear one stands in", get(files[5]) and dear.sent > 0, f"{dear.sent}")
                text = tw.run("status")[1]
                check("sources: the screen shows them", cheap.url in text and dear.url in text, [l for l in text.splitlines() if "Source" in l])


def crowd(check):
    """Ten thousand agents with open ranges, half of them on a closed link, half that read slowly."""
    count = int(os.environ.get("TAILWATER_CROWD", "10000"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 1000:
        return check(f"crowd: {count} agents", False, f"this process may open only {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1000 if hard == resource.RLIM_INFINITY else hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        files = documents.site(folder, [64_000_000] * 2)
        with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up, Tailwater(up.url) as tw:
            tw.change("[upstream]", f"max_connections = {count + 100}\n[upstream]")
            tw.start()
            check("crowd: sync", tw.run("sync")[0] == 0)
            tw.approve_all()
            fetch(f"{tw.url}/Content/{files[0]['hex'][-2:]}/{files[0]['hex']}.cab")
            check("crowd: the link is closed", tw.run("bandwidth", "set", "--rate", "closed")[0] == 0)
            before, open_ones, dice = tw.resident()["VmRSS"], [], random.Random(4)
            for n in range(count):
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.connect(("127.0.0.1", tw.port))
                f = files[n % 2]
                first = dice.randrange(0, f["size"] - 2_000_000)
                s.sendall(f"GET /Content/{f['hex'][-2:]}/{f['hex']}.cab HTTP/1.1\r\nHost: x\r\nUser-Agent: Microsoft-Delivery-Optimization/10.1\r\nRange: bytes={first}-{first + 999_999}\r\n\r\n".encode())
                open_ones.append(s)
            time.sleep(10)
            memory, waiting = tw.resident(), sum(t["waiting"] for t in tw.api("/transfers")["transfers"])
            began = time.monotonic()
            answer = fetch(f"{tw.url}/Content/{files[0]['hex'][-2:]}/{files[0]['hex']}.cab", headers={"Range": "bytes=0-65535"})
            took = time.monotonic() - began
            check(f"crowd: {count} agents with open ranges hold under 512 MB", memory["VmRSS"] < 512 and waiting > 0.4 * count, f"{memory['VmRSS']:.0f} MB, {before:.0f} MB before; {waiting} wait for bytes")
            check("crowd: another one is served what is held at once", len(answer) == 65536 and took < 1, f"{1000 * took:.0f} ms")
            for s in open_ones:
                s.close()
