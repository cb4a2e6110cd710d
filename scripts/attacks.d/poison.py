"""A hostile upstream: the stand-in's answers, rewritten on their way; and payloads that lie, loop or lead elsewhere."""
import base64, http.client, http.server, random, re, socket, struct, threading, time, uuid, zlib

import flood
from flood import attack
from world import MIB, Server, Upstream, ask, discard, fresh, size, wait_for


class Hostile(http.server.ThreadingHTTPServer):
    """Stands before an honest upstream. `rewrite(operation, text)` changes answers, `content(handler)` answers payloads."""
    daemon_threads, request_queue_size = True, 128

    def __init__(self, upstream, rewrite=None, content=None, soap=None):
        self.upstream, self.rewrite, self.content, self.soap, self.asked = upstream, rewrite, content, soap, 0
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, headers, data):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def forward(self, body):
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "accept-encoding", "content-length", "connection")}
            line = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
            line.request(self.command, self.path, body, headers)
            answer = line.getresponse()
            data = answer.read()
            line.close()
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server")]
            return answer.status, kept, data

        def do_GET(self):
            self.server.asked += 1
            if self.server.content and self.path.lower().startswith("/content/"):
                return self.server.content(self)
            self.reply(*self.forward(None))

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("SOAPAction", "").strip('"').rsplit("/", 1)[-1]
            if self.server.soap and self.server.soap(self, operation):
                return
            status, headers, data = self.forward(body)
            if self.server.rewrite:
                data = self.server.rewrite(operation, data.decode()).encode()
            self.reply(status, headers, data)


class Canary:
    """A server that nobody may reach: a file's right bytes, and how often it was asked."""

    def __init__(self, data=b"secret", family=socket.AF_INET):
        self.hits, self.socket = 0, socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
        self.port, self.data = self.socket.getsockname()[1], data
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                line, _ = self.socket.accept()
            except OSError:
                return
            self.hits += 1
            try:
                line.settimeout(2)
                line.recv(4096)
                line.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.data)}\r\nConnection: close\r\n\r\n".encode() + self.data)
            except OSError:
                pass
            line.close()

    def close(self):
        self.socket.close()


class Poisoned:
    """A second tailwater that has the hostile upstream, with its own folder."""

    def __init__(self, field, hostile, upstream="", extra=""):
        self.home = fresh()
        self.server = Server(self.home, hostile.port, extra, upstream).start()
        field.also.append(self.server)

    def sync(self, timeout=90):
        try:
            return self.server.run("sync", timeout=timeout)
        except Exception as error:
            return None, "", f"{type(error).__name__}"

    def offered(self):
        return self.server.api("/updates?limit=1")["total"]

    def close(self):
        self.server.stop()
        discard(self.home)


def files_of(server, most=4):
    """Paths of payloads of some updates."""
    found = []
    for row in server.api("/updates?limit=200")["updates"]:
        identity = row.get("update_id") or row.get("id")
        for file in (server.api(f"/updates/{identity}").get("files") or []):
            name = file["sha1"].upper()
            found.append((f"/Content/{name[-2:]}/{name}.{file['name'].rsplit('.', 1)[-1]}", file["size"]))
        if len(found) >= most:
            return found[:most]
    return found


def takes(server, path, timeout=25):
    """What a client gets of a payload: status and bytes; None when it was cut off or nothing came in time."""
    try:
        status, headers, data = ask(server.port, "GET", path, timeout=timeout)
        return status, data
    except (OSError, http.client.HTTPException):
        return None, b""


@attack("forged-addresses", "metadata whose payloads lie on loopback, link-local and our own listeners, however it is written")
def forged_addresses(field):
    canary, six = Canary(), None
    try:
        six = Canary(family=socket.AF_INET6)
    except OSError:
        pass
    port = canary.port
    forms = [f"http://127.0.0.1:{port}/x", f"http://localhost:{port}/x", f"http://127.1:{port}/x", f"http://2130706433:{port}/x", f"http://0x7f000001:{port}/x", f"http://0:{port}/x",
             f"http://[::ffff:127.0.0.1]:{port}/x", f"http://127.66.0.9:{port}/x", f"http://0.0.0.0:{port}/x", f"http://user@127.0.0.1:{port}/x", f"http://127.0.0.1.:{port}/x",
             "http://169.254.169.254/latest/meta-data", f"http://127.0.0.1:{field.server.admin_port}/api/v1/status", f"http://127.0.0.1:{field.server.port}/ClientWebService/client.asmx"]
    if six:
        forms += [f"http://[::1]:{six.port}/x", f"http://[0:0:0:0:0:0:0:1]:{six.port}/x"]
    place = [0]
    def rewrite(operation, text):
        if operation != "GetUpdateData":
            return text
        rows = ""
        for digest in dict.fromkeys(re.findall(r'<?Digest=(?:&quot;|")([A-Za-z0-9+/]{27}=)(?:&quot;|")', text)):
            place[0] += 1
            rows += f"<ServerSyncUrlData><FileDigest>{digest}</FileDigest><MUUrl>{forms[place[0] % len(forms)]}</MUUrl><UssUrl/></ServerSyncUrlData>"
        text = re.sub(r"<fileUrls\s*/>|<fileUrls>.*?</fileUrls>", "", text, flags=re.S)
        return text.replace("</GetUpdateDataResult>", f"<fileUrls>{rows}</fileUrls></GetUpdateDataResult>")
    hostile = Hostile(field.upstream, rewrite, lambda handler: handler.reply(404, [], b""))
    poisoned = Poisoned(field, hostile, 'content_from = "microsoft"\n')
    try:
        code, _, error = poisoned.sync()
        field.note(f"sync {code}, {place[0]} addresses forged")
        field.check("the metadata is taken", code == 0 and place[0] > 0, error.strip()[-200:])
        got = [takes(poisoned.server, path, 8) for path, _ in files_of(poisoned.server, size(len(forms), 6))]
        field.check("nobody was reached", canary.hits == 0 and (not six or six.hits == 0), f"{canary.hits} and {six.hits if six else 0} times")
        field.check("no client read what lies there", not any(b"secret" in data or status == 200 for status, data in got), str([status for status, _ in got]))
    finally:
        poisoned.close(), hostile.shutdown(), canary.close()


@attack("redirects", "payloads that redirect to loopback, to private addresses, to themselves and in circles")
def redirects(field):
    canary = Canary()
    targets = [f"http://127.0.0.1:{canary.port}/x", f"//127.0.0.1:{canary.port}/x", f"http://localhost:{canary.port}/x", f"http://[::ffff:127.0.0.1]:{canary.port}/x", "", "?again", "http://169.254.169.254/x", "file:///etc/passwd", f"http://127.0.0.1:{field.server.admin_port}/metrics"]
    place = [0]
    def content(handler):
        place[0] += 1
        target = targets[place[0] % len(targets)] or handler.path
        handler.reply(random.choice((301, 302, 303, 307, 308)), [("Location", target)], b"")
    hostile = Hostile(field.upstream, None, content)
    poisoned = Poisoned(field, hostile)
    try:
        poisoned.sync()
        before = hostile.asked
        got = [takes(poisoned.server, path, 12) for path, _ in files_of(poisoned.server, size(6, 3))]
        asked = hostile.asked - before
        field.check("nobody was reached", canary.hits == 0, f"{canary.hits} times")
        field.check("no client got a payload", all(status != 200 or len(data) == 0 for status, data in got), str([(s, len(d)) for s, d in got]))
        field.check("nobody runs in circles", asked < 60 * len(got), f"{asked} requests for {len(got)} payloads")
    finally:
        poisoned.close(), hostile.shutdown(), canary.close()


@attack("lying-payloads", "wrong bytes of the right length, endless bodies, short ones, and lengths that lie")
def lying_payloads(field):
    sizes, kinds = {}, ["wrong", "endless", "short", "huge-length", "wrong-end"]
    def content(handler):
        path = handler.path.split("?")[0]
        kind, total = kinds[hash(path) % len(kinds)], sizes.get(path.lower(), 100_000)
        start, end, ranged = 0, total, re.match(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if ranged:
            start, end = int(ranged[1]), min(total, int(ranged[2] or total - 1) + 1)
        headers = [("Content-Range", f"bytes {start}-{end - 1}/{total}")] if ranged else []
        if kind == "endless":
            handler.send_response(206 if ranged else 200)
            for name, value in headers + [("Transfer-Encoding", "chunked")]:
                handler.send_header(name, value)
            handler.end_headers()
            until = time.monotonic() + 30
            while time.monotonic() < until:
                handler.wfile.write(b"10000\r\n" + b"z" * 65536 + b"\r\n")
            return
        if kind == "huge-length":
            handler.send_response(206 if ranged else 200)
            for name, value in headers + [("Content-Length", str(1 << 50))]:
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(b"z" * 65536)
            handler.close_connection = True
            return
        if kind == "wrong-end":
            status, kept, data = handler.forward(None)
            return handler.reply(status, kept, data[:-1] + bytes([data[-1] ^ 1]) if data else data)
        data = b"z" * (end - start)
        handler.reply(206 if ranged else 200, headers, data[: len(data) // 2] if kind == "short" else data)
    hostile = Hostile(field.upstream, None, content)
    poisoned = Poisoned(field, hostile)
    try:
        poisoned.sync()
        files = files_of(poisoned.server, size(8, 4))
        sizes.update({path.lower(): length for path, length in files})
        got = [(length, *takes(poisoned.server, path, 20)) for path, length in files]
        whole = [length for length, status, data in got if status == 200 and len(data) == length]
        field.check("no wrong file is ever complete", not whole, f"{len(whole)} of {len(got)}")
    finally:
        poisoned.close(), hostile.shutdown()


def cabinet(text):
    """A cabinet with one file, as upstreams send documents: UTF-16, MSZIP."""
    data = b"\xff\xfe" + text.encode("utf-16-le")
    blocks = b""
    for at in range(0, len(data), 32768):
        part = data[at:at + 32768]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = b"CK" + packer.compress(part) + packer.flush()
        blocks += struct.pack("<IHH", 0, len(packed), len(part)) + packed
    head = 36 + 8 + 16 + 5
    count = (len(data) + 32767) // 32768
    return (struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, head + len(blocks), 0, 44, 0, 3, 1, 1, 1, 0, 0, 0) + struct.pack("<IHH", head, count, 1)
            + struct.pack("<IIHHHH", len(data), 0, 0, 0x5a21, 0, 0x20) + b"blob\0" + blocks)


def documents(kind, text):
    """Replaces every fifth document by a poisonous one of its identity; gives how many."""
    dice, count = random.Random(4), [0]
    def one(match):
        count[0] += 1
        if count[0] % 5:
            return match[0]
        document = match[2].replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
        if kind == "titles":
            document = document.replace("<upd:LocalizedPropertiesCollection>", "<upd:LocalizedPropertiesCollection>" + "".join(f"<upd:LocalizedProperties><upd:Language>x{n}</upd:Language><upd:Title>t</upd:Title></upd:LocalizedProperties>" for n in range(30_000)))
        elif kind == "prerequisites":
            many = "".join(f'<upd:UpdateIdentity UpdateID="{uuid.UUID(int=dice.getrandbits(128))}"/>' for _ in range(60_000))
            document = document.replace("</upd:Relationships>", f"<upd:Prerequisites>{many}</upd:Prerequisites></upd:Relationships>")
        elif kind == "files":
            many = "".join(f'<upd:File Digest="{base64.b64encode(dice.randbytes(20)).decode()}" DigestAlgorithm="SHA1" FileName="f{n}.cab" Size="10" Modified="2024-01-01T00:00:00Z"/>' for n in range(40_000))
            document = document.replace("</upd:Files>", many + "</upd:Files>") if "</upd:Files>" in document else document.replace("</upd:Update>", f"<upd:Files>{many}</upd:Files></upd:Update>")
        elif kind == "deep":
            document = document.replace("</upd:Update>", "<a>" * 20_000 + "</a>" * 20_000 + "</upd:Update>")
        elif kind == "long":
            document = document.replace("<upd:Title>", "<upd:Title>" + "x" * (9 * MIB), 1)
        elif kind == "broken":
            document = document[: len(document) // 2]
        elif kind == "entities":
            document = '<!DOCTYPE x [<!ENTITY a "' + "b" * 1000 + '">]>' + document.replace("<upd:Title>", "<upd:Title>" + "&a;" * 1000, 1)
        elif kind == "cabinets":
            packed = bytearray(cabinet(document))
            for _ in range(dice.randrange(1, 9)):
                packed[dice.randrange(4, min(len(packed), 90))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            packed = packed[: dice.choice((60, 121, 200, len(packed)))]
            return f"<XmlUpdateBlobCompressed>{base64.b64encode(packed).decode()}</XmlUpdateBlobCompressed>"
        return f"<{match[1]}>{document.replace('&', '&amp;').replace('<', '&lt;')}</{match[1]}>"
    return re.sub(r"<(XmlUpdateBlob)>(.*?)</XmlUpdateBlob>", one, text, flags=re.S)


@attack("poisonous-documents", "documents with 30,000 titles, 60,000 prerequisites, 40,000 files, 20,000 levels, 9 MB titles, entities, damaged cabinets")
def poisonous_documents(field):
    kinds = ["titles", "prerequisites", "files", "deep", "long", "broken", "entities", "cabinets"]
    for kind in (kinds if not flood.SHORT else ["prerequisites", "cabinets"]):
        hostile = Hostile(field.upstream, lambda operation, text: documents(kind, text) if operation == "GetUpdateData" else text)
        poisoned = Poisoned(field, hostile)
        try:
            code, _, error = poisoned.sync(150)
            peak = poisoned.server.peak()
            before = poisoned.offered() if poisoned.server.alive() else None
            field.check(f"{kind}: the others are there and the synchronisation ends", code is not None and before, f"exit {code}, {before} offered, at most {peak:.0f} MB {error.strip().splitlines()[-1:] if code else ''}"[:300])
            field.check(f"{kind}: under 512 MB", peak < 512, f"{peak:.0f} MB")
            poisoned.server.stop()
            poisoned.server.start()
            after = poisoned.offered()
            field.check(f"{kind}: nothing is lost by a restart", before == after, f"{before}, then {after}")
            hostile.rewrite = None
            poisoned.sync()
            whole = field.server.api("/updates?limit=1")["total"]
            field.check(f"{kind}: once the upstream is honest everything comes", poisoned.offered() == whole, f"{poisoned.offered()} of {whole}")
        finally:
            poisoned.close(), hostile.shutdown()


@attack("endless-answers", "answers of an upstream that never end, or unpack to gigabytes", long=True)
def endless_answers(field):
    for kind in ("endless", "gzip", "xpress", "head"):
        def soap(handler, operation):
            if operation != "GetRevisionIdList":
                return False
            text = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetRevisionIdListResponse xmlns="http://www.microsoft.com/SoftwareDistribution"><GetRevisionIdListResult>'
            if kind == "head":
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
                until = time.monotonic() + size(25, 6)
                while time.monotonic() < until:
                    handler.wfile.write(b"X-More: " + b"y" * 8192 + b"\r\n")
                handler.close_connection = True
                return True
            handler.send_response(200)
            handler.send_header("Content-Type", "text/xml; charset=utf-8")
            if kind != "endless":
                handler.send_header("Content-Encoding", kind)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            packer, until = zlib.compressobj(9, zlib.DEFLATED, 31), time.monotonic() + size(25, 6)
            row = b"<NewRevisions>" + b"<UpdateIdentity><UpdateID>00000000-0000-0000-0000-000000000001</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity>" * 500
            piece = {"endless": lambda: row, "gzip": lambda: packer.compress(b" " * (4 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH), "xpress": lambda: struct.pack("<II", 65535, 8) + b"\0" * 8}[kind]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(text), text)) if kind == "endless" else None
            while time.monotonic() < until:
                data = piece()
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            handler.close_connection = True
            return True
        hostile = Hostile(field.upstream, soap=soap)
        poisoned = Poisoned(field, hostile)
        try:
            worker = threading.Thread(target=poisoned.sync, args=(size(40, 12),), daemon=True)
            worker.start()
            worker.join(size(45, 14))
            peak = poisoned.server.peak()
            field.check(f"{kind}: alive and under 512 MB", poisoned.server.alive() and peak < 512, f"{peak:.0f} MB")
        finally:
            poisoned.close(), hostile.shutdown()
