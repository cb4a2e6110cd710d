"""The cap as the wire sees it: the upstream in a network namespace of its own, bytes counted by the kernel between.

wire.py [RATE/DELAY/FILES…]    Mbit/s, ms of a round trip, files at once; none: the whole matrix. --short: two cells
What the interface received, heads of frames and packets taken off, so bytes that crossed twice count twice. A round trip of
0.1 ms is a pair of veth with the large segments of one machine; longer ones are a program between two TUN devices (this
file with --link) that holds each packet for half of the time each way and drops none. Needs root, ip, /dev/net/tun and a build.
"""
import collections, os, pathlib, select, subprocess, sys, tempfile, threading, time

HERE, THERE, PORT = "10.98.0.1", "10.98.0.2", 8530
NEAR, FAR = f"tailwater-wire-near-{os.getpid()}", f"tailwater-wire-far-{os.getpid()}"
RATES, DELAYS, FILES = (1, 2, 4, 8, 16, 50, 100), (0.1, 5, 20, 100, 300), (1, 8)
SHORT = ((8, 0.1, 8), (16, 20, 8))
# Ethernet, IP, TCP with timestamps; a TUN device has no frames
FRAME, PACKET = 14, 52
# parts of the rate; a busy machine that takes part in CI need not use it up
MEAN, SECOND, LEAST, MODEST = 1.005, 1.05, 0.95, 0.75


def link(near, far, inside, outside, delay):
    """Carries packets between two TUN devices until its input closes, each half of the round trip later."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except OSError:
        pass
    import polite
    fds = []
    for name, space, address in (("tw-near", near, HERE), ("tw-far", far, THERE)):
        name = f"{name}-{os.getpid()}"[:15]
        fds.append(polite.tun(name))
        polite.ip("link", "set", name, "netns", space)
        polite.ip("-n", space, "link", "set", name, "name", inside if space == near else outside)
        name = inside if space == near else outside
        polite.ip("-n", space, "address", "add", f"{address}/24", "dev", name)
        polite.ip("-n", space, "link", "set", name, "up", "txqueuelen", "10000")
    print("ready", flush=True)
    ways = {fds[0]: (fds[1], collections.deque()), fds[1]: (fds[0], collections.deque())}
    ready = select.poll()
    for fd in (*fds, 0):
        ready.register(fd, select.POLLIN)
    while True:
        now, soon = time.monotonic(), 1.0
        for sink, queue in ways.values():
            while queue and queue[0][0] <= now:
                try:
                    os.write(sink, queue.popleft()[1])
                except OSError:
                    pass
            if queue:
                soon = min(soon, queue[0][0] - now)
        for fd, _ in ready.poll(max(0.0, soon * 1000)):
            if fd == 0:
                return
            for _ in range(64):
                try:
                    packet = os.read(fd, 65536)
                except OSError:
                    break
                ways[fd][1].append((time.monotonic() + delay / 2, packet))


class Wire:
    """Two namespaces, joined; counts what reaches the near one."""

    def __init__(self, delay_ms):
        import polite
        self.ip, self.process, self.head = polite.ip, None, PACKET
        self.sweep()
        for space in (NEAR, FAR):
            self.ip("netns", "add", space)
            self.ip("-n", space, "link", "set", "lo", "up")
        if delay_ms < 1:
            self.head += FRAME
            self.ip("-n", NEAR, "link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns", FAR)
            for space, name, address in ((NEAR, "wire0", HERE), (FAR, "wire1", THERE)):
                self.ip("-n", space, "address", "add", f"{address}/24", "dev", name)
                self.ip("-n", space, "link", "set", name, "up")
        else:
            self.process = subprocess.Popen([sys.executable, __file__, "--link", NEAR, FAR, "wire0", "wire1", str(delay_ms / 1000)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if self.process.stdout.readline().strip() != "ready":
                raise RuntimeError("the link does not start")

    def sweep(self):
        for space in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(5)
        self.sweep()


class Count:
    """Bytes of payload that came so far, 50 times a second; taken by a thread of the near namespace."""

    def __init__(self, head):
        self.head, self.rows, self.done = head, [], threading.Event()
        self.device = open("/proc/thread-self/net/dev")
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def now(self):
        self.device.seek(0)
        fields = next(line for line in self.device if line.strip().startswith("wire0:")).split(":")[1].split()
        return time.monotonic(), int(fields[0]) - int(fields[1]) * self.head

    def _read(self):
        while not self.done.wait(0.02):
            self.rows.append(self.now())

    def close(self):
        self.done.set()
        self.thread.join()


def tcp_counters():
    """What the senders' kernel counted."""
    out = subprocess.run(["ip", "netns", "exec", FAR, "cat", "/proc/net/snmp", "/proc/net/netstat"], capture_output=True, text=True, check=True).stdout.splitlines()
    named = {}
    for names, values in zip(out[::2], out[1::2]):
        named.update(zip(names.split()[1:], map(int, values.split()[1:])))
    return {name: named.get(name, 0) for name in ("OutSegs", "RetransSegs", "TCPLossProbes", "TCPDSACKRecv", "TCPTimeouts")}


def seconds_of(rows, width=1.0):
    """(begin, bytes a second) of each span of that width that begins at a sample."""
    out, end = [], 0
    for at, bytes_so_far in rows:
        while end < len(rows) and rows[end][0] < at + width:
            end += 1
        if end == len(rows):
            break
        out.append((at, (rows[end][1] - bytes_so_far) / (rows[end][0] - at)))
    return out


def one(check, wire, url, rate, delay, files, seconds, least):
    from world import Tailwater
    import documents
    with Tailwater(url) as tw:
        tw.start()
        assert tw.run("sync")[0] == 0
        assert tw.run("bandwidth", "set", "--rate", f"{rate} Mbit/s")[0] == 0
        time.sleep(0.5)
        count, before, own = Count(wire.head), tcp_counters(), tw.api("/bandwidth")["received"]
        began, settle = time.monotonic(), 3 + delay / 50
        wanted = [0] if files == 1 else range(1, 1 + files)
        # one request for all, so that they begin together
        code, _, err = tw.run("content", "fetch", *(documents.update(n) for n in wanted), "--no-wait")
        assert code == 0, err
        time.sleep(settle + seconds)
        own = tw.api("/bandwidth")["received"] - own
        count.close()
        after = tcp_counters()
    rows = [row for row in count.rows if row[0] >= began]
    settled = [row for row in rows if row[0] >= began + settle]
    bytes_a_second = rate * 125_000
    mean = (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0]) / bytes_a_second
    each = [(at, share / bytes_a_second) for at, share in seconds_of(rows)]
    first = max(share for at, share in each if at < began + settle)
    worst = max(share for at, share in each if at >= began + settle)
    tcp = {name: after[name] - before[name] for name in after}
    name = f"{rate:g} Mbit/s, {delay:g} ms, {files} file{'s' * (files > 1)}"
    detail = f"mean {100 * mean:.2f} %, worst second {100 * worst:.1f} %, at the start {100 * first:.1f} %; counted {own} of {rows[-1][1] - rows[0][1]}; {tcp}"
    check(f"{name}: mean {100 * least:g} to {100 * MEAN:g} %, no second above {100 * SECOND:g} %", least <= mean <= MEAN and max(first, worst) <= SECOND, detail)
    if os.environ.get("TAILWATER_TRACE"):
        print("  ms and bytes:", *(f"{1000 * (row[0] - began):.0f}:{row[1] - last[1]}" for last, row in zip(rows, rows[1:]) if row[1] != last[1]))
    return rate, delay, files, mean, worst, first


def wire(check, cells=None, short=False):
    import polite
    if lacks := polite.missing():
        print(f"SKIP wire: needs {lacks}")
        return
    import documents
    from world import PROBES, PYTHON, fetch, wait_for
    cells = cells or (SHORT if short else [(rate, delay, files) for delay in DELAYS for files in FILES for rate in RATES])
    seconds = float(os.environ.get("TAILWATER_SECONDS", "10" if short else "12"))
    most = max(rate for rate, _, _ in cells) * 125_000 * (seconds + 15)
    table, home = [], open("/proc/thread-self/ns/net")
    with tempfile.TemporaryDirectory() as folder:
        documents.site(folder, [int(most)] + [int(most / 8)] * 8)
        for delay in dict.fromkeys(delay for _, delay, _ in cells):
            running, upstream = Wire(delay), None
            try:
                command = [PYTHON, str(PROBES / "fake_uss.py"), "--bind", THERE, "--port", str(PORT), "--docs", f"{folder}/docs", "--content", f"{folder}/content"]
                upstream = subprocess.Popen(["ip", "netns", "exec", FAR, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                polite.enter(NEAR)
                url = f"http://{THERE}:{PORT}"
                wait_for("the upstream", lambda: fetch(url + "/_counters"), 60)
                table += [one(check, running, url, *cell, seconds, MODEST if short else LEAST) for cell in cells if cell[1] == delay]
            finally:
                polite.enter(home)
                if upstream:
                    upstream.kill()
                    upstream.wait()
                running.close()
    show(table)


def show(table):
    """Rows are rates, columns delays: mean / worst second / worst second while it begins, in per cent."""
    for files in dict.fromkeys(row[2] for row in table):
        delays = list(dict.fromkeys(row[1] for row in table))
        print(f"\n{files} at once  " + "".join(f"{delay:>20g} ms" for delay in delays))
        for rate in sorted({row[0] for row in table}):
            cells = [next((f"{100 * mean:.1f} /{100 * worst:6.1f} /{100 * first:6.1f}" for r, d, f, mean, worst, first in table if (r, d, f) == (rate, delay, files)), "") for delay in delays]
            print(f"{rate:g} Mbit/s".ljust(12) + "".join(f"{cell:>23}" for cell in cells))


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    if sys.argv[1:2] == ["--link"]:
        link(*sys.argv[2:6], float(sys.argv[6]))
    else:
        from world import Ledger
        ledger, named = Ledger(), [argument for argument in sys.argv[1:] if argument != "--short"]
        cells = [(float(rate), float(delay), int(files)) for rate, delay, files in (cell.split("/") for cell in named)]
        wire(ledger.check, cells, "--short" in sys.argv[1:])
        sys.exit(ledger.close())
