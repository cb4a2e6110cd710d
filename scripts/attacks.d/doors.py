"""Attacks on what is remembered of clients, and at the doors: made-up computers, tokens, smuggling, browsers, the log."""
import json, random, socket, threading, time, uuid

import agent
from agent import AUTH, CLIENT, DSS, REPORT, SYNC, Agent, Child, inner
from flood import attack
from world import SHORT, Crowd, addresses, ask, size


@attack("made-up-computers", "110,000 computers that come once and never again, from many addresses: more than max_computers",
        extra="[agents]\nmax_computers = 3000\n" if SHORT else "")
def made_up_computers(field):
    total, lines = size(110_000, 4_000), 16
    def batch(n):
        made = []
        for _ in range(total // lines):
            content = f"<clientId>{uuid.UUID(int=random.getrandbits(128))}</clientId><targetGroupName/><dnsName>pc{random.getrandbits(40)}.example</dnsName>"
            made.append(agent.raw(AUTH, "GetAuthorizationCookie", content))
        return b"".join(made)
    began = time.monotonic()
    with Crowd(field.server.port, wide=True) as crowd:
        crowd.add(lines, batch).finish(size(90, 20))
    field.note(f"{total} asked in {time.monotonic() - began:.1f} s")
    field.check("a real computer registers and scans", newcomer(field))
    field.server.stop()
    began = time.monotonic()
    field.server.start()
    field.note(f"starts again in {time.monotonic() - began:.1f} s with {field.server.resident():.0f} MB, {field.server.disk():.0f} MB on disk")
    field.check("and again after a restart", newcomer(field))
    field.check("what never came back takes under 100 MB of disk", field.server.disk() < 100, f"{field.server.disk():.0f} MB")


def newcomer(field):
    try:
        Agent(field.server.port, name=f"real{random.getrandbits(30)}.example").handshake().learn()
        return True
    except Exception as error:
        field.note(f"a newcomer: {error}"[:160])
        return False


@attack("made-up-statuses", "800 computers that report states of updates that do not exist")
def made_up_statuses(field):
    computers, ids = size(800, 40), size(10_000, 5_000)
    made = ";".join(str(uuid.UUID(int=random.getrandbits(128))) for _ in range(ids))
    def one(n):
        caller = Agent(field.server.port, f"127.66.{n % 200}.{n // 200 + 1}", name=f"liar{n}.example", timeout=60)
        try:
            caller.handshake()
            shuffled = made[(n % 40) * 37:] + ";" + str(uuid.uuid4())
            event = (f"<ReportingEvent><BasicData><TargetID><Sid>{caller.id}</Sid></TargetID><SequenceNumber>0</SequenceNumber><TimeAtTarget>{caller.now()}</TimeAtTarget>"
                     f"<EventInstanceID>{uuid.uuid4()}</EventInstanceID><NamespaceID>1</NamespaceID><EventID>156</EventID><SourceID>101</SourceID>"
                     f"<UpdateID><UpdateID>{uuid.UUID(int=0)}</UpdateID><RevisionNumber>0</RevisionNumber></UpdateID><Win32HResult>0</Win32HResult><AppName>x</AppName></BasicData>"
                     f"<ExtendedData><MiscData><string>V={shuffled}</string><string>U={shuffled}</string></MiscData></ExtendedData></ReportingEvent>")
            caller.call(REPORT, "ReportEventBatch", f"{caller.cookie}<clientTime>{caller.now()}</clientTime><eventBatch>{event}</eventBatch>")
        except (OSError, agent.Refused):
            pass
    work(one, computers, size(4, 2), size(90, 15))
    field.server.stop()
    field.server.start()
    field.check("a start afterwards takes under 300 MB", field.server.resident() < 300 and field.server.peak() < 512, f"{field.server.resident():.0f} MB, at most {field.server.peak():.0f}")
    field.check("what they said takes under 100 MB of disk", field.server.disk() < 100, f"{field.server.disk():.0f} MB")


def work(one, count, workers, seconds):
    """Calls `one` with each number, by a few threads, for so long at most."""
    end, numbers, lock = time.monotonic() + seconds, iter(range(count)), threading.Lock()
    def run():
        while time.monotonic() < end:
            with lock:
                n = next(numbers, None)
            if n is None:
                return
            one(n)
    threads = [threading.Thread(target=run, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 70)


@attack("endless-scans", "scans that name 100,000 ids which the catalog does not know, each time others", long=True)
def endless_scans(field):
    caller = Agent(field.server.port, "127.66.0.1", name="endless.example", timeout=60).handshake()
    def one(n):
        ids = [random.randrange(1, 1 << 30) for _ in range(size(100_000, 30_000))]
        try:
            caller.sync(ids[::2], ids[1::2])
        except (OSError, agent.Refused):
            pass
    work(one, size(120, 12), 2, size(60, 12))


@attack("long-polls", "5,000 connections that wait for changes, of one server", long=True)
def long_polls(field):
    child = Child(field.server.port, "127.66.0.1").handshake()
    number = field.numbers(child)
    request = f"GET /tailwater/v1/changes?updates={number}&wait=55 HTTP/1.1\r\nHost: u\r\nTailwater-Cookie: {child.data}\r\n\r\n".encode()
    with Crowd(field.server.port, wide=True) as crowd:
        crowd.add(size(5_000, 800), request).run(size(15, 5))
        field.note(f"{sum(b' 503' in line['head'][:20] for line in crowd.lines)} told to come again, {crowd.open()} wait")


@attack("wrong-tokens", "guesses of the admin token as fast as they go")
def wrong_tokens(field):
    lines, count, began = field.server.lines(), size(4_000, 600), time.monotonic()
    request = b"".join(f"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {random.getrandbits(200):x}\r\n\r\n".encode() for _ in range(count // 4))
    with Crowd(field.server.admin_port) as crowd:
        crowd.add(4, request).finish(size(15, 5))
        answered, took = sum(line["heads"] for line in crowd.lines), time.monotonic() - began - 1.5
    rate = answered / max(took, 0.1)
    field.check("guesses are slowed", rate < 200, f"about {rate:.0f} a second answered")
    field.attempt("the right token is let in meanwhile", lambda: field.server.api("/status", timeout=10), 10)
    grew = field.server.lines() - lines
    field.check("they are logged, and do not fill the log", 1 <= grew <= 20, f"{grew} lines")


BODY = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLING = [
    ("no Host", "GET /x HTTP/1.1\r\n\r\n"),
    ("two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("two equal Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("a Host with a space", "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a Host with a user", "GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("bare line feeds", "GET /x HTTP/1.1\nHost: a\n\n"),
    ("one bare line feed", "GET /x HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    ("CL and TE", f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{BODY}"),
    ("TE and CL", f"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{BODY}"),
    ("two CLs", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("a list of CLs", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello!"),
    ("CL with a plus", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    ("CL below zero", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    ("CL that overflows", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("an unknown TE", f"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n{BODY}"),
    ("chunked not last", f"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n{BODY}"),
    ("a space before the colon", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"),
    ("a folded line", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
    ("a NUL in a value", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
    ("a bare CR in a value", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n"),
    ("a chunk with a bad size", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    ("TE in HTTP/1.0", f"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{BODY}"),
    ("HTTP/0.9", "GET /x\r\n\r\n"),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
]


def statuses(port, text, wait=2.0):
    """The statuses that raw bytes are answered with, and whether the connection was closed."""
    with socket.create_connection(("127.0.0.1", port), 5, ("127.66.0.1", 0)) as s:
        s.sendall(text.encode("latin-1"))
        s.settimeout(wait)
        data = b""
        try:
            while part := s.recv(65536):
                data += part
            closed = True
        except TimeoutError:
            closed = False
        except OSError:
            closed = True
    found = [int(piece[:3]) for piece in data.decode("latin-1").split("HTTP/1.1 ")[1:] if piece[:3].isdigit()]
    return found, closed


@attack("smuggling", "heads that two readers would read in two ways")
def smuggling(field):
    wrong, after = [], "GET /Content/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for port in (field.server.port, field.server.admin_port):
        for name, text in SMUGGLING:
            found, closed = statuses(port, text + after)
            if not closed or len(found) > 1 or any(status not in (400, 411, 413, 431, 501, 505) for status in found):
                wrong.append(f"{name}{' (admin)' if port != field.server.port else ''}: {found or 'nothing'}{'' if closed else ', left open'}")
    field.check("each is refused and the connection closed", not wrong, "; ".join(wrong))
    path = field.payload_path()
    found, _ = statuses(field.server.port, f"HEAD http://updates.example{path} HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
    field.check("an absolute target is understood", found == [200], str(found))


@attack("browsers", "requests as pages of other sites make them")
def browsers(field):
    port, wrong, path = field.server.port, [], field.payload_path()
    agents = Agent(port, "127.66.0.1")
    body = agent.envelope(CLIENT, "GetConfig", "<protocolVersion>2.90</protocolVersion>")
    plain = agent.head(CLIENT, "GetConfig")
    table = [
        ("Origin", {**plain, "Origin": "https://evil.example"}), ("Origin null", {**plain, "Origin": "null"}),
        ("cross-site", {**plain, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        ("cross-site in capitals", {**plain, "SEC-FETCH-SITE": "Cross-Site"}),
        ("text/plain", {**plain, "Content-Type": "text/plain"}), ("a form", {**plain, "Content-Type": "application/x-www-form-urlencoded"}),
        ("multipart", {**plain, "Content-Type": "multipart/form-data; boundary=x"}), ("no type", {"SOAPAction": plain["SOAPAction"]}),
    ]
    for name, headers in table:
        status, answer, _ = ask(port, "POST", CLIENT[0], body, headers, "127.66.0.1")
        if status not in (400, 403, 415) or answer.get("Access-Control-Allow-Origin"):
            wrong.append(f"{name}: {status}")
    for name, headers in (("a payload by Origin", {"Origin": "https://evil.example"}), ("a payload cross-site", {"Sec-Fetch-Site": "cross-site"})):
        status = ask(port, "GET", path, headers={**headers, "Range": "bytes=0-9"}, source="127.66.0.1")[0]
        if status != 403:
            wrong.append(f"{name}: {status}")
    for name, headers in (("the API by Origin", {"Origin": "https://evil.example"}), ("the API under another name", {"Host": "evil.example"})):
        status = ask(field.server.admin_port, "GET", "/api/v1/status", headers={**headers, "Authorization": "Bearer " + field.server.token()})[0]
        if status not in (400, 403, 421):
            wrong.append(f"{name}: {status}")
    field.check("each is refused", not wrong, "; ".join(wrong))
    text = agents.call(CLIENT, "GetConfig", "<protocolVersion>2.90</protocolVersion>")
    field.check("an agent's own request is answered", bool(inner(text, "LastChange")))


@attack("log-flood", "20,000 requests of every kind that is refused")
def log_flood(field):
    lines, count = field.server.lines(), size(24_000, 3_000)
    kinds = [
        b"GET /nothing/%d HTTP/1.1\r\nHost: u\r\n\r\n",
        agent.raw(CLIENT, "SyncUpdates", "<cookie><Expiration>x</Expiration><EncryptedData>AAAA</EncryptedData></cookie><parameters/>").replace(b"%", b"%%"),
        agent.raw(AUTH, "GetAuthorizationCookie", "<clientId/><dnsName>&#1;</dnsName>").replace(b"%", b"%%"),
        agent.raw(CLIENT, "Nonsense", "<<<").replace(b"%", b"%%"),
        agent.raw(DSS, "GetAuthorizationCookie", "<accountName>??</accountName><accountGuid>x</accountGuid>").replace(b"%", b"%%"),
        agent.raw(REPORT, "RollupComputers", "<cookie/>").replace(b"%", b"%%"),
        b"GET /Content/AA/%040d.cab HTTP/1.1\r\nHost: u\r\n\r\n",
        b"GET /tailwater/v1/content/%040d HTTP/1.1\r\nHost: u\r\nTailwater-Cookie: AAAA\r\n\r\n",
    ]
    lines_each = size(60, 25)
    each = count // len(kinds) // lines_each
    def data(n):
        kind = kinds[n % len(kinds)]
        return b"".join((kind % (n * each + m) if b"%d" in kind or b"%040d" in kind else kind.replace(b"%%", b"%")) for m in range(each))
    with Crowd(field.server.port) as crowd:
        crowd.add(len(kinds) * lines_each, data).finish(size(30, 10))
        field.note(f"{sum(line['heads'] for line in crowd.lines)} of {count} answered")
    grew = field.server.lines() - lines
    field.check("refusals are about one line a minute with a count", grew <= 40, f"{grew} lines")
