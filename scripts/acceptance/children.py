"""Many downstream tailwaters of one server: their transfers take turns."""
import collections, http.client, random, re, socket, threading, time, uuid

import documents
from world import Tailwater, Upstream, fetch

ENVELOPE = '<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>{}</soap:Body></soap:Envelope>'
SYNC = "http://www.microsoft.com/SoftwareDistribution"
AUTH = SYNC + "/Server/DssAuthWebService"


class Child:
    """A downstream server as far as it takes payloads: the handshake of MS-WSUSSS, then /tailwater/v1."""

    def __init__(self, port, number):
        self.port, self.id = port, str(uuid.uuid5(uuid.NAMESPACE_DNS, f"child-{number}"))
        auth = self.call("/DssAuthWebService/DssAuthWebService.asmx", AUTH, "GetAuthorizationCookie", f"<accountName>child{number}.example</accountName><accountGuid>{self.id}</accountGuid>")
        data = re.search("<CookieData>(.*?)</CookieData>", auth).group(1)
        text = f"<authCookies><AuthorizationCookie><PlugInId>DssTargeting</PlugInId><CookieData>{data}</CookieData></AuthorizationCookie></authCookies><protocolVersion>1.20</protocolVersion>"
        cookie = self.call("/ServerSyncWebService/ServerSyncWebService.asmx", SYNC, "GetCookie", text)
        self.cookie = re.search("<EncryptedData>(.*?)</EncryptedData>", cookie).group(1)

    def call(self, path, namespace, operation, inner):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        c.request("POST", path, ENVELOPE.format(f'<{operation} xmlns="{namespace}">{inner}</{operation}>').encode(), {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{namespace}/{operation}"'})
        answer = c.getresponse().read().decode()
        c.close()
        return answer

    def take(self, sha1, first, last):
        """One range; when it was asked for, when its first byte came, when its last."""
        asked = time.monotonic()
        while True:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            c.sock = socket.socket()
            # a small window, so that a transfer lasts as long as it is read
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.sock.settimeout(120)
            c.sock.connect(("127.0.0.1", self.port))
            c.request("GET", f"/tailwater/v1/content/{sha1}", headers={"Tailwater-Cookie": self.cookie, "Range": f"bytes={first}-{last}"})
            answer = c.getresponse()
            if answer.status == 503:
                answer.read(), c.close()
                continue
            assert answer.status == 206, answer.status
            begun, size = time.monotonic(), 0
            while part := answer.read(65536):
                size += len(part)
                time.sleep(0.04)
            c.close()
            assert size == last - first + 1
            return asked, begun, time.monotonic()


def turns(folder, check, children=200, rounds=2):
    files = documents.site(folder, [8_000_000])
    with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up, Tailwater(up.url) as tw:
        tw.start()
        assert tw.run("sync")[0] == 0
        tw.approve_all()
        sha1 = files[0]["hex"]
        whole = len(fetch(f"{tw.url}/Content/{sha1[-2:]}/{sha1}.cab", timeout=60))
        family, taken, lock = [Child(tw.port, n) for n in range(children)], [], threading.Lock()
        def work(number, child):
            dice = random.Random(number)
            for _ in range(rounds):
                first = dice.randrange(0, whole // 65536 - 33) * 65536
                row = (number, *child.take(sha1, first, first + 2097151))
                with lock:
                    taken.append(row)
        workers = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(family)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
        check(f"{children} children took {rounds} ranges each", len(taken) == children * rounds, len(taken))
        metrics = fetch(tw.admin + "/metrics").decode()
        read = lambda what: max(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if f'"{what}"' in line)
        most, slots = read("most"), read("slots")
        check("never more transfers at once than downstream.transfers", 0 < most <= slots == 16, f"at most {most:.0f} of {slots:.0f}")
        worst = 0
        for number, asked, begun, _ in taken:
            others = collections.Counter(n for n, _, b, _ in taken if n != number and asked < b < begun)
            worst = max(worst, max(others.values(), default=0))
        check("nobody waits longer than one round of the others", worst <= 2, f"at most {worst} turns of another child between asking and getting (one may have been granted before)")
