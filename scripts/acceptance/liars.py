"""A downstream server that lies: what it is told, what it costs, and that others do not notice."""
import base64, hashlib, http.client, re, threading, time, uuid

SYNC, AUTH = "/ServerSyncWebService/ServerSyncWebService.asmx", "/DssAuthWebService/DssAuthWebService.asmx"
SPACE = "http://www.microsoft.com/SoftwareDistribution"


class Child:
    """A downstream server that speaks bytes."""

    def __init__(self, port, name="liar.example", account=None):
        self.port, self.name, self.account = port, name, account or str(uuid.uuid4())
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.cookie = ""

    def ask(self, operation, inside, path=SYNC, space=SPACE):
        body = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><{operation} xmlns="{space}">{inside}</{operation}></s:Body></s:Envelope>'
        self.connection.request("POST", path, body.encode(), {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{space}/{operation}"'})
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def handshake(self):
        _, text = self.ask("GetAuthorizationCookie", f"<accountName>{self.name}</accountName><accountGuid>{self.account}</accountGuid>", AUTH, SPACE + "/Server/DssAuthWebService")
        data = one(text, "CookieData")
        _, text = self.ask("GetCookie", f"<authCookies><AuthorizationCookie><PlugInId>DssTargeting</PlugInId><CookieData>{data}</CookieData></AuthorizationCookie></authCookies><protocolVersion>1.20</protocolVersion>")
        self.cookie = f"<cookie><Expiration>2099-01-01T00:00:00Z</Expiration><EncryptedData>{one(text, 'EncryptedData')}</EncryptedData></cookie>"
        return self

    def with_cookie(self, operation, inside=""):
        return self.ask(operation, self.cookie + inside)

    def download(self, digests):
        rows = "".join(f"<base64Binary>{d}</base64Binary>" for d in digests)
        return self.with_cookie("DownloadFiles", f"<fileDigestList>{rows}</fileDigestList>")


def one(text, name):
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return found.group(1) if found else ""


def code(reply):
    return one(reply[1], "ErrorCode") or reply[0]


def anchor(text):
    return f"<filter><Anchor>{text}</Anchor><GetConfig>false</GetConfig></filter>"


def forgeries(upper, other, check):
    liar, stranger = Child(upper.port).handshake(), Child(other.port).handshake()
    mine = stranger.cookie
    liar.cookie, kept = mine, liar.cookie
    check("a cookie of another server: InvalidCookie", code(liar.with_cookie("GetConfigData")) == "InvalidCookie")
    sealed = bytearray(base64.b64decode(one(kept, "EncryptedData")))
    refused = 0
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 0x40
        liar.cookie = f"<cookie><EncryptedData>{base64.b64encode(changed).decode()}</EncryptedData></cookie>"
        refused += code(liar.with_cookie("GetConfigData")) == "InvalidCookie"
    check("a cookie with any byte changed: InvalidCookie", refused == len(sealed), f"{refused} of {len(sealed)}")
    liar.cookie = kept
    ours = one(liar.with_cookie("GetRevisionIdList", "<filter><GetConfig>false</GetConfig></filter>")[1], "Anchor")
    number, rest = ours.split(",", 1)
    foreign = one(stranger.with_cookie("GetRevisionIdList", "<filter><GetConfig>false</GetConfig></filter>")[1], "Anchor")
    told = {name: code(liar.with_cookie("GetRevisionIdList", anchor(text))) for name, text in
            (("future number", f"{int(number) + 1000},{rest}"), ("future date", f"{number},2099" + rest[4:]), ("foreign", foreign), ("garbage", "garbage"), ("huge", "9" * 100000))}
    wanted = {name: "InvalidParameters" if name in ("garbage", "huge") else "ServerChanged" for name in told}
    check("anchors that this server never gave: ServerChanged; what is no anchor: InvalidParameters", told == wanted, told)
    unknown = f"<updateIds><UpdateIdentity><UpdateID>{uuid.uuid4()}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity></updateIds>"
    check("ids of another server: InternalServerError, as WSUS", code(liar.with_cookie("GetUpdateData", unknown)) == "InternalServerError")
    return liar


def flood(upper, upstream, check, threads=16, each=200):
    """DownloadFiles by the thousand, of what nobody knows and of what is no digest."""
    before, told, errors = upper.resident()["VmRSS"], {}, []
    upstream.reset()

    def work(n):
        try:
            child = Child(upper.port, f"flood-{n}.example").handshake()
            for i in range(each):
                digests = [base64.b64encode(hashlib.sha1(f"{n} {i} {j}".encode()).digest()).decode() for j in range(100)]
                kind = ("unknown", "no digest", "too many")[i % 3]
                if kind == "no digest":
                    digests[50] = "&lt;&gt; no digest"
                elif kind == "too many":
                    digests += digests[:1]
                told.setdefault(kind, set()).add(code(child.download(digests)))
        except OSError as error:
            errors.append(repr(error))

    began = time.monotonic()
    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, after, counted = time.monotonic() - began, upper.resident()["VmRSS"], upstream.counters()
    wanted = {"unknown": {"FileDigestsMissing"}, "no digest": {"InvalidParameters"}, "too many": {"InvalidParameters"}}
    check("a flood of DownloadFiles gets the specified faults", told == wanted and not errors, f"{threads * each} requests in {took:.1f} s, {told}, {errors[:2]}")
    check("and costs bounded memory", after - before < 48, f"{before:.0f} MB before, {after:.0f} MB after")
    check("and no upstream bytes", counted["content"]["bytes"] == 0 and not counted["operations"], counted["operations"])


def run(upper, other, upstream, check):
    liar = forgeries(upper, other, check)
    flood(upper, upstream, check)
    check("the rest of the world does not notice", code(liar.with_cookie("GetConfigData")) == 200 and code(Child(upper.port, "honest.example").handshake().with_cookie("GetConfigData")) == 200)
