"""Background transfers on a link that people use: two network namespaces, joined by a link of 10 Mbit/s and 40 ms.

The link is a program between two TUN devices (this file with --link): real packets of the kernel's own TCP, one
drop-tail queue of 100 ms towards us, served at the link's rate, and half of the delay each way. Kernels without netem
can run it too. It tells 20 times a second what queues, whose it is, and what it carried. Needs root, ip and /dev/net/tun.
"""
import collections, ctypes, fcntl, json, os, pathlib, select, shutil, socket, statistics, struct, subprocess, sys, tempfile, threading, time

RATE, DELAY, QUEUE = float(os.environ.get("LINK_RATE", 10e6)), float(os.environ.get("LINK_DELAY", 0.040)), 0.100
HERE, THERE, OURS, THEIRS = "10.99.0.1", "10.99.0.2", 8530, 5001
NEAR, FAR = "tailwater-near", "tailwater-far"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH", name.encode(), 0x0001 | 0x1000))  # TUNSETIFF: TUN without a head
    return fd


def link():
    """Carries packets until its input closes."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except OSError:
        pass
    near, far = tun("tw-near"), tun("tw-far")
    for name, space, address in (("tw-near", NEAR, HERE), ("tw-far", FAR, THERE)):
        ip("netns", "add", space)
        ip("link", "set", name, "netns", space)
        ip("-n", space, "address", "add", f"{address}/24", "dev", name)
        ip("-n", space, "link", "set", name, "up", "txqueuelen", "2000")
        ip("-n", space, "link", "set", "lo", "up")
    print("ready", flush=True)
    down, up = collections.deque(), collections.deque()  # (when it is there, packet)
    backlog = collections.deque()  # (when it leaves the queue, whose, bytes)
    free = up_free = 0.0
    carried, waiting, worst, tell, lost = {True: 0, False: 0}, {True: 0, False: 0}, [0.0, 0.0], 0.0, 0
    ready = select.poll()
    for fd in (near, far, 0):
        ready.register(fd, select.POLLIN)
    while True:
        now = time.monotonic()
        for queue, sink in ((down, near), (up, far)):
            while queue and queue[0][0] <= now:
                try:
                    os.write(sink, queue.popleft()[1])
                except OSError:
                    pass
        while backlog and backlog[0][0] <= now:
            _, whose, size = backlog.popleft()
            waiting[whose] -= size
            carried[whose] += size
        if now >= tell:
            print(json.dumps([round(now, 4), round(worst[0] * 1000, 2), round(worst[1] * 1000, 2), carried[True], carried[False], lost]), flush=True)
            tell, worst = now + 0.05, [0.0, 0.0]
        soon = min([tell] + [q[0][0] for q in (down, up, backlog) if q])
        for fd, _ in ready.poll(max(0.0, (soon - time.monotonic()) * 1000)):
            if fd == 0:
                return
            for _ in range(64):
                try:
                    packet = os.read(fd, 65536)
                except OSError:
                    break
                now = time.monotonic()
                if packet[0] >> 4 != 4:
                    continue
                size = len(packet)
                if fd == near:
                    up_free = max(now, up_free) + size * 8 / RATE
                    up.append((up_free + DELAY / 2, packet))
                    continue
                if max(0.0, free - now) > QUEUE:
                    lost += 1
                    continue
                head = (packet[0] & 15) * 4
                ours = packet[9] == 6 and struct.unpack_from("!H", packet, head)[0] == OURS
                free = max(now, free) + size * 8 / RATE
                waiting[ours] += size
                backlog.append((free, ours, size))
                down.append((free + DELAY / 2, packet))
                worst = [max(worst[0], free - now), max(worst[1], waiting[True] * 8 / RATE)]


def sender(congestion):
    """Sends to whoever connects, as fast as it goes."""
    listener = socket.create_server((THERE, THEIRS))
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            connection.close()


def enter(space):
    """Moves this thread into a network namespace: by name, or by an open file."""
    target = open(f"/run/netns/{space}") if isinstance(space, str) else space
    if ctypes.CDLL(None, use_errno=True).setns(target.fileno(), 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Link:
    """The running link, and what it told."""

    def __init__(self):
        self.sweep()
        self.process = subprocess.Popen([sys.executable, __file__, "--link"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("the link does not start")
        self.rows = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def span(self, start, end):
        return [row for row in self.rows if start <= row[0] <= end]

    def share(self, start, end, ours=True):
        rows = self.span(start, end)
        place = 3 if ours else 4
        return (rows[-1][place] - rows[0][place]) * 8 / (rows[-1][0] - rows[0][0]) / RATE

    def first(self, start, end, least, ours):
        """Seconds after which a whole second carries `least` of the link."""
        at = start
        while at + 1 <= end:
            if self.share(at, at + 1, ours) >= least:
                return at - start
            at += 0.25
        return None

    def queue(self, start, end, ours=False):
        return [row[2 if ours else 1] for row in self.span(start, end)]

    def sweep(self):
        for space in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def close(self):
        self.process.stdin.close()
        self.process.wait(5)
        self.sweep()


class Competitor:
    """A stream towards us that takes what it gets."""

    def __init__(self):
        self.socket = socket.create_connection((THERE, THEIRS), timeout=10)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while self.socket.recv(1 << 16):
                pass
        except OSError:
            pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def missing():
    if os.geteuid() != 0:
        return "root"
    if not shutil.which("ip"):
        return "ip (iproute2)"
    return None if os.path.exists("/dev/net/tun") else "/dev/net/tun"


def polite(check, short=False, congestion="cubic"):
    if lacks := missing():
        print(f"SKIP polite: needs {lacks}")
        return
    from world import PROBES, PYTHON, Tailwater, fetch, wait_for
    import documents
    alone, against, after = (15, 10, 14) if short else (30, 25, 25)
    running, processes, home = Link(), [], open("/proc/thread-self/ns/net")
    try:
        with tempfile.TemporaryDirectory() as folder:
            documents.site(folder, [120_000_000, 120_000_000])
            inside = ["ip", "netns", "exec", FAR]
            upstream = [PYTHON, str(PROBES / "fake_uss.py"), "--bind", THERE, "--port", str(OURS), "--docs", f"{folder}/docs", "--content", f"{folder}/content"]
            processes.append(subprocess.Popen([*inside, *upstream], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            processes.append(subprocess.Popen([*inside, sys.executable, __file__, "--sender", congestion]))
            enter(NEAR)
            url = f"http://{THERE}:{OURS}"
            wait_for("the upstream", lambda: fetch(url + "/_counters"), 30)
            time.sleep(1)
            # the competing stream by itself, to know which delay is its own
            began = time.monotonic()
            stream = Competitor()
            time.sleep(8)
            theirs = running.queue(began + 3, began + 8)
            theirs_share = running.share(began + 3, began + 8, False)
            stream.close()
            time.sleep(1)
            with Tailwater(url) as tw:
                tw.change('rate = "unlimited"', 'rate = "unlimited"\nadaptive = true')
                tw.start()
                check("sync", tw.run("sync")[0] == 0)
                for n in range(int(os.environ.get("TAILWATER_FILES", "2"))):
                    code, _, err = tw.run("content", "fetch", documents.update(n), "--no-wait")
                    assert code == 0, err
                start = time.monotonic()
                samples, done = [], threading.Event()

                def watch():
                    while not done.wait(0.25):
                        samples.append((time.monotonic(), tw.api("/bandwidth")["adaptive"]))
                threading.Thread(target=watch, daemon=True).start()
                time.sleep(alone)
                measure(check, running, start, alone)
                stream, begin = Competitor(), time.monotonic()
                time.sleep(against)
                stream.close()
                end = time.monotonic()
                compete(check, running, begin, end, theirs, theirs_share)
                time.sleep(after)
                back = running.first(end, end + after, 0.9, True)
                used = running.share(end + 10, end + after)
                check("when it ends: 90 % again within 10 s", back is not None and back <= 10 and used >= 0.9, f"after {back} s; {100 * used:.1f} % from 10 s on")
                done.set()
                code, out, _ = tw.run("bandwidth", "show")
                check("`bandwidth show` says what was measured", code == 0 and "Adaptive" in out and "queue on a way of" in out, [line for line in out.splitlines() if line.startswith("Adaptive")])
                if os.environ.get("TAILWATER_TRACE"):
                    for at, row in samples:
                        rows = running.span(at - 0.25, at)
                        print(f"  {at - start:6.2f} s  cap {row['cap_bits_per_second'] / 1e6:6.2f}  {row['because']:9} queue {row['queue_ms']} of {row['base_delay_ms']}; link: ours {running.share(at - 0.5, at):.2f} theirs {running.share(at - 0.5, at, False):.2f} queue {max(r[1] for r in rows) if rows else 0:.0f} ours {max(r[2] for r in rows) if rows else 0:.0f} ms")
    finally:
        enter(home)
        for process in processes:
            process.kill()
            process.wait()
        running.close()


def measure(check, running, start, seconds):
    settled = start + seconds / 3
    used, filled = running.share(settled, start + seconds), running.first(start, start + seconds, 0.9, True)
    queue = running.queue(settled, start + seconds)
    check("alone it uses at least 90 % of the link", used >= 0.9, f"{100 * used:.1f} %, 90 % first after {filled} s")
    check("alone it adds less than 30 ms of queue", percentile(queue, 0.95) < 30, f"median {statistics.median(queue):.1f}, 95 of 100 under {percentile(queue, 0.95):.1f}, most {max(queue):.1f} ms; at the start {max(running.queue(start, settled)):.0f} ms")


def compete(check, running, begin, end, theirs, theirs_share):
    got = running.share(begin + 5, end, False)
    first = running.first(begin, end, 0.8, False)
    check("a competing stream gets at least 80 % within 5 s", got >= 0.8 and first is not None and first <= 5, f"{100 * got:.1f} % from 5 s on, 80 % first after {first} s; alone it gets {100 * theirs_share:.1f} %; ours {100 * running.share(begin + 5, end):.1f} %")
    ours, both = running.queue(begin + 5, end, True), running.queue(begin + 5, end)
    check("our transfers add less than 30 ms of queue", percentile(ours, 0.99) < 30, f"ours: median {statistics.median(ours):.1f}, most {max(ours):.1f} ms; the stream's own queue alone: median {statistics.median(theirs):.1f}, with ours {statistics.median(both):.1f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--link"]:
        link()
    elif sys.argv[1:2] == ["--sender"]:
        sender(sys.argv[2])
