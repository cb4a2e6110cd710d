"""Many downstream servers that synchronise at once, over and over, while agents ask.

Of each kind one real exchange is recorded here; then every server and every agent says the same on a connection of its
own with its own cookie, and asks for the next thing when the last byte of an answer came. They live in two processes
that look at no answer but its status, the servers' behind everybody else: on a site they have processors of their own.
"""
import asyncio, collections, os, pickle, random, re, socket, subprocess, sys, tempfile, time

import clients, liars
from world import Tailwater, Upstream

ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><{0} xmlns="{1}">{2}</{0}></s:Body></s:Envelope>'
COOKIE = "(cookie)"
BATCH = 100


class Leaf(liars.Child):
    """A downstream server that remembers what it said."""

    def __init__(self, port, number):
        super().__init__(port, f"leaf-{number}.example")
        self.said = []

    def ask(self, operation, inside, path=liars.SYNC, space=liars.SPACE):
        self.said.append((operation, space, path, inside))
        status, text = super().ask(operation, inside, path, space)
        if status != 200:
            raise RuntimeError(f"{operation}: {status} {text[:300]}")
        return status, text

    def synchronise(self):
        """A first synchronisation; how many revisions it brought."""
        self.with_cookie("GetConfigData")
        brought = 0
        for config in ("true", "false"):
            _, text = self.with_cookie("GetRevisionIdList", f"<filter><GetConfig>{config}</GetConfig></filter>")
            left = re.findall(r"<UpdateID>([^<]*)</UpdateID><RevisionNumber>(\d+)</RevisionNumber>", text)
            while left:
                rows = "".join(f"<UpdateIdentity><UpdateID>{u}</UpdateID><RevisionNumber>{r}</RevisionNumber></UpdateIdentity>" for u, r in left[:BATCH])
                _, text = self.with_cookie("GetUpdateData", f"<updateIds>{rows}</updateIds>")
                # an answer ends where its limit of bytes is reached
                came = text.count("</ServerSyncUpdateData>")
                assert came, text[:300]
                left, brought = left[came:], brought + came
        return brought


class Agent(clients.RawAgent):
    """An agent that remembers what it said."""

    def __init__(self, port, number):
        super().__init__(port, number=number)
        self.said = []

    def call(self, service, namespace, operation, inside):
        self.said.append((operation, namespace, service, inside))
        return super().call(service, namespace, operation, inside)


# ---------------------------------------------------------------- in a process of its own

async def exchange(loop, sock, request, scratch):
    """Sends a request and takes the whole answer; its status and length."""
    await loop.sock_sendall(sock, request)
    head = b""
    while b"\r\n\r\n" not in head:
        part = await loop.sock_recv(sock, 65536)
        if not part:
            raise ConnectionError("closed")
        head += part
    head, _, rest = head.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head).group(1))
    left = length - len(rest)
    while left > 0:
        got = await loop.sock_recv_into(sock, scratch)
        if not got:
            raise ConnectionError("closed")
        left -= got
    return int(head[9:12]), length


async def talk(port, number, who, until, pause, rows):
    loop, dice, scratch = asyncio.get_running_loop(), random.Random(number), bytearray(1 << 18)
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    if pause:
        await asyncio.sleep(pause * dice.random())
    while True:
        for operation, space, path, inside in who["says"]:
            if time.monotonic() >= until:
                return sock.close()
            body = ENVELOPE.format(operation, space, inside.replace(COOKIE, who["cookie"])).encode()
            head = f'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml; charset=utf-8\r\nSOAPAction: "{space}/{operation}"\r\n{who["accepts"]}Content-Length: {len(body)}\r\n\r\n'
            began = time.monotonic()
            try:
                status, length = await exchange(loop, sock, head.encode() + body, scratch)
            except (OSError, AttributeError) as error:
                rows.append((operation, time.monotonic() - began, repr(error), 0))
                return sock.close()
            rows.append((operation, time.monotonic() - began, status, length))
            if pause:
                await asyncio.sleep(dice.expovariate(1 / pause))


async def all_talk(port, plan):
    rows, until = [], time.monotonic() + plan["seconds"]
    await asyncio.gather(*(talk(port, n, who, until, plan["pause"], rows) for n, who in enumerate(plan["all"])))
    return rows


def process():
    """Reads a plan, says it, and writes what came of it."""
    plan = pickle.load(sys.stdin.buffer)
    os.nice(plan["behind"])
    pickle.dump(asyncio.run(all_talk(plan["port"], plan)), sys.stdout.buffer)


def speak(port, everybody, seconds, pause=0.0, behind=0):
    child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pickle.dump(dict(port=port, all=everybody, seconds=seconds, pause=pause, behind=behind), child.stdin)
    child.stdin.close()
    return child


def heard(child):
    rows = pickle.loads(child.stdout.read())
    child.wait()
    return rows


# ---------------------------------------------------------------- the scenario

def milliseconds(rows, share):
    took = sorted(row[1] for row in rows)
    return 1000 * took[min(len(took) - 1, int(share * len(took)))]


def told(rows):
    return f"p50 {milliseconds(rows, 0.5):.1f}, p99 {milliseconds(rows, 0.99):.1f}, most {milliseconds(rows, 1):.1f} ms of {len(rows)} requests"


def leaves(check, folder):
    count, seconds = int(os.environ.get("TAILWATER_LEAVES", "50")), float(os.environ.get("TAILWATER_LEAVES_SECONDS", "30"))
    asking = int(os.environ.get("TAILWATER_LEAVES_AGENTS", "50"))
    with Upstream("--catalog", folder) as up, Tailwater(up.url) as tw:
        tw.start()
        check("leaves: sync", tw.run("sync", timeout=1800)[0] in (0, 3))
        tw.approve_all()
        agents = []
        for number in range(asking):
            agent = Agent(tw.port, 1 + number % 10)
            if number < 10:
                collections.deque(agent.scan(), maxlen=0)
                agents.append(dict(says=agent.said, cookie="", accepts="Accept-Encoding: xpress\r\n"))
            else:
                agents.append(agents[number % 10])
        first = Leaf(tw.port, 0).handshake()
        brought = first.synchronise()
        says = [(o, s, p, inside.replace(first.cookie, COOKIE)) for o, s, p, inside in first.said[2:]]
        family = []
        for number in range(count):
            leaf = Leaf(tw.port, number).handshake()
            # every other one compresses, as servers do that come over a slow link
            family.append(dict(says=leaf.said + says, cookie=leaf.cookie, accepts="Accept-Encoding: xpress\r\n" if number % 2 else ""))
        pause = asking / 100
        alone = heard(speak(tw.port, agents, seconds, pause))
        tw.reset_peak()
        before, memory = busy(tw), tw.resident()["VmRSS"]
        children = speak(tw.port, family, seconds + 2, behind=10)
        time.sleep(1)
        beside = heard(speak(tw.port, agents, seconds, pause))
        took = heard(children)
        used = busy(tw) - before
        bad = collections.Counter((row[0], row[2]) for row in alone + beside + took if row[2] != 200)
        by = collections.Counter(row[0] for row in took)
        rounds = len(took) / (len(says) + 2)
        check(f"leaves: {count} downstream servers synchronise {brought} revisions at once, every request is answered", not bad and by["GetUpdateData"] > count, f"{rounds:.1f} whole synchronisations in {seconds + 2:.0f} s, {dict(by)}, {sum(row[3] for row in took) / 1e6:.0f} MB, {used / (seconds + 2):.2f} of {os.cpu_count()} processors, {memory:.0f} MB before and {tw.resident()['VmHWM']:.0f} MB at most; refused {dict(bad)}")
        for operation in sorted(by):
            print(f"      {operation}: {told([row for row in took if row[0] == operation])}")
        for operation in sorted({row[0] for row in beside}):
            print(f"      agents' {operation}: {told([row for row in beside if row[0] == operation])}")
        check("leaves: the agents' p99 stays under 100 ms", milliseconds(beside, 0.99) < 100, f"{told(beside)}; alone {told(alone)}")


def busy(tailwater):
    """Seconds of a processor that the server used."""
    with open(f"/proc/{tailwater.process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    process()
