"""Attacks on memory, places and connections: bodies, bombs, slow and stalled clients, floods of connections."""
import gzip, random, shutil, socket, ssl, struct, subprocess, threading, time

import agent
from agent import CLIENT, REPORT, SYNC, Child
from world import MIB, SHORT, Crowd, ask, free_port, size

ATTACKS = []


def attack(name, what, **options):
    """Makes a function an attack: `field` has the server, and checks what the attack itself is about."""
    def named(function):
        ATTACKS.append({"name": name, "what": what, "run": function, **options})
        return function
    return named


def post(path, action, length=None, extra=""):
    size_line = f"Content-Length: {length}\r\n" if length is not None else "Transfer-Encoding: chunked\r\n"
    return (f'POST {path} HTTP/1.1\r\nHost: updates.example\r\nContent-Type: text/xml; charset=utf-8\r\nSOAPAction: "{action}"\r\n{size_line}{extra}\r\n').encode()


def almost(service, operation, limit):
    """A request whose body lacks its last byte."""
    body = agent.envelope(service, operation, "<x>")[:-20]
    return post(service[0], f"{service[1]}/{operation}", limit) + body + b" " * (limit - len(body) - 1)


@attack("bodies-held", "bodies of almost the limit, all but the last byte, on 320 connections of one address")
def bodies_held(field):
    data = almost(CLIENT, "SyncUpdates", 4 * MIB - 1)
    with Crowd(field.server.port) as crowd:
        crowd.add(size(320, 120), data).run(size(15, 6))


@attack("bodies-held-wide", "the same, each connection from another address and 40 of each subnet", long=True)
def bodies_held_wide(field):
    data = almost(CLIENT, "SyncUpdates", 4 * MIB - 1)
    with Crowd(field.server.port, wide=True) as crowd:
        crowd.add(size(400, 120), data).run(size(15, 6))


@attack("bodies-of-every-kind", "bodies of almost the limit for every operation and service, small ones too", long=True)
def bodies_of_every_kind(field):
    kinds = [(CLIENT, "GetConfig"), (CLIENT, "GetCookie"), (CLIENT, "RegisterComputer"), (CLIENT, "GetExtendedUpdateInfo"), (CLIENT, "RefreshCache"),
             (agent.AUTH, "GetAuthorizationCookie"), (REPORT, "ReportEventBatch"), (REPORT, "RollupComputers"), (REPORT, "RollupComputerStatus"), (SYNC, "GetUpdateData"), (agent.DSS, "GetAuthorizationCookie")]
    with Crowd(field.server.port) as crowd:
        for service, operation in kinds:
            limit = 60 * MIB if operation.startswith("Rollup") else 4 * MIB - 1
            data = almost(service, operation, limit if not SHORT else min(limit, 8 * MIB))
            crowd.add(4 if operation.startswith("Rollup") else size(16, 6), data)
        for path in ("/tailwater/v1/list", "/tailwater/v1/pack"):
            crowd.add(size(16, 6), post(path, "", MIB) + b" " * (MIB - 1))
        crowd.run(size(15, 6))


@attack("one-byte-chunks", "bodies in chunks of one byte, 600,000 of them in each")
def one_byte_chunks(field):
    data = post(CLIENT[0], CLIENT[1] + "/SyncUpdates") + b"1\r\n \r\n" * size(600_000, 250_000)
    with Crowd(field.server.port) as crowd:
        crowd.add(size(24, 8), data).run(size(15, 6))


def zstd_bomb(blocks):
    """A frame of blocks that each repeat one byte 128 KiB times; 4 bytes for each."""
    frame = b"\x28\xb5\x2f\xfd\x00\x68"
    one = struct.pack("<I", (128 * 1024 << 3 | 1 << 1))[:3] + b" "
    last = struct.pack("<I", (128 * 1024 << 3 | 1 << 1 | 1))[:3] + b" "
    return frame + one * (blocks - 1) + last


@attack("bombs", "bodies of a few KB that unpack to hundreds of MB: zstd, gzip, xpress, deflate, to every service")
def bombs(field):
    packed = {"zstd": zstd_bomb(1500), "gzip": gzip.compress(b" " * (64 * MIB), 9), "deflate": gzip.zlib.compress(b" " * (64 * MIB), 9), "xpress": struct.pack("<II", 65535, 8) + b"\0" * 8}
    if not SHORT:
        field.note(f"zstd {len(packed['zstd'])} bytes for {1500 * 128 // 1024} MB")
    with Crowd(field.server.port) as crowd:
        for coding, data in packed.items():
            for service, operation in ((REPORT, "RollupComputers"), (REPORT, "RollupComputerStatus"), (REPORT, "ReportEventBatch"), (CLIENT, "SyncUpdates"), (SYNC, "GetUpdateData")):
                crowd.add(size(12, 4) if coding == "zstd" else 2, post(service[0], f"{service[1]}/{operation}", len(data), f"Content-Encoding: {coding}\r\n") + data)
        crowd.run(size(15, 8))
        field.check("none of them is answered 200", not any(line["head"].startswith(b"HTTP/1.1 200") for line in crowd.lines))


@attack("slow-headers", "heads of requests that come one byte in half a second")
def slow_headers(field):
    head = b"POST /ClientWebService/client.asmx HTTP/1.1\r\nHost: updates.example\r\nX-Slow: " + b"y" * 200
    with Crowd(field.server.port) as crowd:
        crowd.add(size(400, 100), b"P")
        def drip(line):
            line["place"] = line.get("place", 0) + 1
            crowd.give(line, head[line["place"]:line["place"] + 1])
        crowd.run(size(25, 5), drip, 0.5)
        if not SHORT:
            field.check("a first head has 15 seconds", crowd.open() == 0, f"{crowd.open()} still open after 25 s")


@attack("slow-bodies", "bodies of 4 KB that come one byte in half a second", long=True)
def slow_bodies(field):
    start = post(CLIENT[0], CLIENT[1] + "/GetCookie", 4096)
    with Crowd(field.server.port) as crowd:
        crowd.add(size(300, 80), start)
        crowd.run(size(20, 5), lambda line: crowd.give(line, b" "), 0.5)


def pipelined(request, count):
    return request * count


def stalled(field, request, lines, count=60, what="it", probe=None):
    """`lines` connections ask `count` times each and read nothing; `probe` must succeed beside them."""
    files = field.server.open_files()
    with Crowd(field.server.port, receive=4096) as crowd:
        crowd.add(lines, pipelined(request, count), reads=False)
        crowd.run(2)
        if probe:
            field.attempt(f"others get {what} meanwhile", probe, 30 if what == "payloads in turn" else 10)
        crowd.run(size(70, 2))
        if not SHORT:
            # the client itself cannot tell: what it does not read stands before the end
            left = field.server.open_files() - files
            field.check("who takes nothing for 60 s is closed", left < lines / 4, f"{left} descriptors more than before {lines} connections")


@attack("stalled-files", "clients that ask for payloads and read nothing", patience=80)
def stalled_files(field):
    path = field.payload_path()
    request = f"GET {path} HTTP/1.1\r\nHost: updates.example\r\n\r\n".encode()
    ask(field.server.port, "GET", path, timeout=60)
    stalled(field, request, size(200, 64), 4, "payloads", lambda: ask(field.server.port, "GET", path, timeout=10)[2])


@attack("stalled-details", "agents that ask for details and lists and read nothing", long=True, patience=80)
def stalled_details(field):
    caller = agent.Agent(field.server.port, "127.66.0.1", name="stalled.example").handshake().learn()
    ids = "".join(f"<int>{i}</int>" for i in (caller.installed + caller.other)[:50])
    details = agent.raw(CLIENT, "GetExtendedUpdateInfo", f"{caller.cookie}<revisionIDs>{ids}</revisionIDs><infoTypes><XmlUpdateFragmentType>Extended</XmlUpdateFragmentType><XmlUpdateFragmentType>LocalizedProperties</XmlUpdateFragmentType></infoTypes><locales><string>en</string></locales>")
    scan = agent.raw(CLIENT, "SyncUpdates", f"{caller.cookie}<parameters><ExpressQuery>false</ExpressQuery><SkipSoftwareSync>false</SkipSoftwareSync></parameters>")
    stalled(field, details + scan, size(200, 64), 30, "details", lambda: agent.Agent(field.server.port, timeout=10).handshake().learn())


def child_data(field):
    child = Child(field.server.port, "127.66.0.1").handshake()
    revisions = child.revisions(False)
    return child, agent.raw(SYNC, "GetUpdateData", child.documents(revisions[:100]))


@attack("stalled-downstream", "downstream servers that order documents on 80 connections and read nothing", patience=80)
def stalled_downstream(field):
    child, order = child_data(field)
    def probe():
        other = Child(field.server.port, name="other.example", timeout=10).handshake()
        found = other.revisions(False)
        text = other.call(SYNC, "GetUpdateData", other.documents(found[:10]))
        assert "XmlUpdateBlob" in text, text[:200]
    stalled(field, order, size(80, 70), 60, "documents", probe)


@attack("stalled-peers", "tailwaters that ask for payloads and lists and read nothing", long=True, patience=80)
def stalled_peers(field):
    child = Child(field.server.port, "127.66.0.1").handshake()
    path = field.payload_path()
    ask(field.server.port, "GET", path, timeout=60)
    name = path.rsplit("/", 1)[1].split(".")[0]
    request = f"GET /tailwater/v1/content/{name} HTTP/1.1\r\nHost: updates.example\r\nTailwater-Cookie: {child.data}\r\n\r\n".encode()
    def probe():
        other = Child(field.server.port, name="other.example").handshake()
        status, headers, _ = ask(field.server.port, "GET", f"/tailwater/v1/content/{name}", headers={"Tailwater-Cookie": other.data}, timeout=40)
        assert status in (200, 404), status
    stalled(field, request, size(40, 24), 6, "payloads in turn", probe)


@attack("stalled-rollups", "two servers that begin roll-ups and never end them", long=True, patience=80)
def stalled_rollups(field):
    child = Child(field.server.port, "127.66.0.1").handshake()
    data = post(REPORT[0], REPORT[1] + "/RollupComputers", 60 * MIB) + agent.envelope(REPORT, "RollupComputers", child.cookie)[:-80] + b" " * 100_000
    with Crowd(field.server.port) as crowd:
        crowd.add(size(20, 12), data).run(2)
        def probe():
            other = Child(field.server.port, name="other.example", timeout=40).handshake()
            other.call(REPORT, "GetRollupConfiguration", other.cookie)
        field.attempt("others roll up meanwhile", probe, 10)
        crowd.run(size(8, 2))


@attack("stalled-admin", "console clients that ask for everything and read nothing", long=True, patience=80)
def stalled_admin(field):
    request = f"GET /api/v1/updates?limit=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {field.server.token()}\r\n\r\n".encode()
    server, field_port = field.server, field.server.admin_port
    with Crowd(field_port, receive=4096) as crowd:
        crowd.add(size(100, 40), request * 40, reads=False).run(2)
        field.attempt("the administrator is answered meanwhile", lambda: server.api("/status", timeout=10), 10)
        crowd.run(size(8, 2))


@attack("idle-connections", "3,000 connections of one address that say nothing", long=True)
def idle_connections(field):
    with Crowd(field.server.port) as crowd:
        crowd.add(size(3000, 600), b"").run(size(20, 5))
        if not SHORT:
            field.check("a connection that says nothing is closed after 15 s", crowd.open() == 0, f"{crowd.open()} still open after 20 s")


@attack("idle-connections-wide", "11,000 connections of many addresses that say nothing: more than max_connections")
def idle_connections_wide(field):
    with Crowd(field.server.port, wide=True) as crowd:
        crowd.add(size(11_000, 1_200), b"").run(size(10, 3))


@attack("descriptors", "more connections than descriptors: a server under `ulimit -n 400`", descriptors=400)
def descriptors(field):
    path = field.payload_path()
    with Crowd(field.server.port, wide=True) as crowd:
        crowd.add(size(900, 600), b"GET /x HTTP/1.1\r\nHost: u\r\n").run(size(10, 4))
        field.attempt("the administrator is answered", lambda: field.server.api("/status", timeout=10), 10)
        field.attempt("a payload can be opened", lambda: ask(field.server.port, "GET", path, headers={"Range": "bytes=0-99"}, timeout=20)[0] == 206, 20)


def certificate(folder):
    """A self-signed certificate, by the openssl command."""
    if not shutil.which("openssl"):
        return None
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                           "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], capture_output=True)
    return made.returncode == 0


def with_tls(home):
    if not certificate(home):
        return None
    return f'[server.tls]\nlisten = "127.0.0.1:{free_port()}"\ncertificate = "{home}/cert.pem"\nkey = "{home}/key.pem"\n'


@attack("tls-handshakes", "TLS handshakes that are never begun, begun and never ended, and done in a flood", long=True, extra=with_tls)
def tls_handshakes(field):
    port = int(field.server.config.read_text().split("[server.tls]")[1].split(":", 1)[1].split('"', 1)[0])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ended, done = threading.Event(), [0]
    def flood():
        while not ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 5, ("127.66.0.1", 0)) as plain, context.wrap_socket(plain):
                    done[0] += 1
            except OSError:
                time.sleep(0.01)
    workers = [threading.Thread(target=flood, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    with Crowd(port) as crowd:
        crowd.add(size(400, 100), b"").add(size(400, 100), b"\x16\x03\x01\x02\x00\x01\x00").run(size(20, 5))
        ended.set()
        if not SHORT:
            field.check("a handshake has 15 seconds", crowd.open() == 0, f"{crowd.open()} still open after 20 s")
    for worker in workers:
        worker.join(6)
    field.note(f"{done[0]} handshakes")
