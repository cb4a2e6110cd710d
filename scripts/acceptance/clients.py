"""Agents that fetch content the way Delivery Optimization does, many at once."""
import hashlib, http.client, random, threading, time


def fetch_ranges(port, path, ranges, sink=None, errors=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    for start, end in ranges:
        for attempt in (0, 1, 2):
            try:
                connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}", "User-Agent": "Microsoft-Delivery-Optimization/10.1", "Content-Length": "0"})
                answer = connection.getresponse()
                data = answer.read()
                if answer.status == 206 and len(data) == end - start:
                    if sink is not None:
                        sink(start, data)
                    break
                reason = f"{answer.status} with {len(data)} of {end - start} bytes"
            except (OSError, http.client.HTTPException) as error:
                reason = repr(error)
            connection.close()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            time.sleep(0.5)
        else:
            if errors is not None:
                errors.append(reason)
    connection.close()


def many(count, work):
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def shuffled(size, seed, step=1 << 20):
    ranges = [(at, min(at + step, size)) for at in range(0, size, step)]
    random.Random(seed).shuffle(ranges)
    return ranges


def unaligned(size, seed, count, step=1 << 20):
    dice = random.Random(seed)
    return [(at, at + step) for at in (dice.randrange(0, size - step) for _ in range(count))]


def distinct(ranges):
    total, reach = 0, 0
    for start, end in sorted(ranges):
        total += max(0, end - max(start, reach))
        reach = max(reach, end)
    return total


class RawAgent:
    """An agent that reads answers as bytes, for fragments larger than XML libraries take."""
    CLIENT = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService"
    SIMPLE = "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService"

    def __init__(self, port, encoding=None, number=1, source="127.0.0.1", build=0):
        self.port, self.encoding, self.source, self.build = port, encoding, source, build
        self.id, self.name = f"0c1b2a39-0000-4000-8000-{number:012d}", f"raw-{number}.example"
        self.offers = {}

    def call(self, service, namespace, operation, inside):
        body = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><{operation} xmlns="{namespace}">{inside}</{operation}></s:Body></s:Envelope>'
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300, source_address=(self.source, 0))
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{namespace}/{operation}"'}
        if self.encoding:
            headers["Accept-Encoding"] = self.encoding
        connection.request("POST", service, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.getheader("Content-Encoding") == "xpress":
            import wsdlkit  # of the probes: an independent decoder
            data = wsdlkit.xpress_decode(data)
        if answer.status != 200:
            raise RuntimeError(f"{operation}: {answer.status} {data[:400]!r}")
        return data

    @staticmethod
    def text(data, name):
        import re
        found = re.search(rb"<%s>([^<]*)</%s>" % (name.encode(), name.encode()), data)
        return found.group(1).decode() if found else ""

    def scan(self):
        """Staged software scan; yields the escaped Core fragments."""
        import re
        client, auth = "/ClientWebService/client.asmx", "/SimpleAuthWebService/SimpleAuth.asmx"
        last = self.text(self.call(client, self.CLIENT, "GetConfig", "<protocolVersion>2.90</protocolVersion>"), "LastChange")
        pass_ = self.text(self.call(auth, self.SIMPLE, "GetAuthorizationCookie", f"<clientId>{self.id}</clientId><dnsName>{self.name}</dnsName>"), "CookieData")
        data = self.call(client, self.CLIENT, "GetCookie", f"<authCookies><AuthorizationCookie><PlugInId>SimpleTargeting</PlugInId><CookieData>{pass_}</CookieData></AuthorizationCookie></authCookies><lastChange>{last}</lastChange><currentTime>2026-01-01T00:00:00Z</currentTime><protocolVersion>2.90</protocolVersion>")
        cookie = f"<cookie><Expiration>{self.text(data, 'Expiration')}</Expiration><EncryptedData>{self.text(data, 'EncryptedData')}</EncryptedData></cookie>"
        self.call(client, self.CLIENT, "RegisterComputer", cookie + f"<computerInfo><DnsName>{self.name}</DnsName><OSMajorVersion>10</OSMajorVersion><OSBuildNumber>{self.build}</OSBuildNumber></computerInfo>")
        installed, other = [], []
        for _ in range(200):
            ids = lambda name, rows: f"<{name}>" + "".join(f"<int>{i}</int>" for i in rows) + f"</{name}>" if rows else ""
            data = self.call(client, self.CLIENT, "SyncUpdates", cookie + "<parameters><ExpressQuery>false</ExpressQuery>" + ids("InstalledNonLeafUpdateIDs", installed) + ids("OtherCachedUpdateIDs", other) + "<SkipSoftwareSync>false</SkipSoftwareSync></parameters>")
            fresh = False
            for row in data.split(b"<UpdateInfo>")[1:]:
                number, leaf = int(self.text(row[:200], "ID")), b"<IsLeaf>true</IsLeaf>" in row[:2000]
                (other if leaf else installed).append(number)
                fresh = fresh or not leaf
                start, end = row.find(b"<Xml>") + 5, row.find(b"</Xml>")
                head = row[:start].decode()
                identity = re.search(rb"UpdateID=(?:&quot;|\")([0-9A-Fa-f-]{36})", row[start:start + 400])
                if identity:
                    self.offers[identity.group(1).decode().lower()] = (self.text(head.encode(), "Action"), self.text(head.encode(), "Deadline"))
                yield row[start:end]
            if not fresh and b"<Truncated>true" not in data[-5000:]:
                return
