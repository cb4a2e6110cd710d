"""An agent and a downstream server of our own, by the letter of [MS-WUSP] and [MS-WSUSSS]; run as a program: scans for ever.

Each scan is a connection of its own with two SyncUpdates, every fifth begins with the whole handshake. A line for each:
when it began, how many milliseconds it took, and what went wrong (`-`: nothing).
"""
import http.client, re, sys, time, uuid

CLIENT = ("/ClientWebService/client.asmx", "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService")
AUTH = ("/SimpleAuthWebService/SimpleAuth.asmx", "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService")
REPORT = ("/ReportingWebService/ReportingWebService.asmx", "http://www.microsoft.com/SoftwareDistribution")
SYNC = ("/ServerSyncWebService/ServerSyncWebService.asmx", "http://www.microsoft.com/SoftwareDistribution")
DSS = ("/DssAuthWebService/DssAuthWebService.asmx", "http://www.microsoft.com/SoftwareDistribution/Server/DssAuthWebService")


class Refused(Exception):
    pass


def envelope(service, operation, content):
    return (f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><{operation} xmlns="{service[1]}">{content}</{operation}></s:Body></s:Envelope>').encode()


def head(service, operation):
    return {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{service[1]}/{operation}"'}


def raw(service, operation, content, extra="", host="updates.example"):
    """A request as bytes, for crowds."""
    body = envelope(service, operation, content)
    return (f'POST {service[0]} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml; charset=utf-8\r\nSOAPAction: "{service[1]}/{operation}"\r\nContent-Length: {len(body)}\r\n{extra}\r\n').encode() + body


def inner(text, name):
    found = re.search(rf"<(?:\w+:)?{name}(?:\s[^>]*)?>(.*?)</(?:\w+:)?{name}>", text, re.S)
    return found.group(1) if found else ""


class Caller:
    def __init__(self, port, source="127.0.0.1", timeout=15):
        self.port, self.source, self.timeout = port, source, timeout

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout, source_address=(self.source, 0))

    def call(self, service, operation, content, line=None):
        mine = line or self.connect()
        try:
            mine.request("POST", service[0], envelope(service, operation, content), head(service, operation))
            answer = mine.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            if line is None:
                mine.close()
        if answer.status != 200:
            raise Refused(f"{operation}: {answer.status} {inner(text, 'ErrorCode') or inner(text, 'faultstring') or text[:80]}")
        return text


class Agent(Caller):
    def __init__(self, port, source="127.0.0.1", identity=None, name="honest.example", timeout=15):
        super().__init__(port, source, timeout)
        self.id, self.name = identity or str(uuid.uuid4()), name
        self.installed, self.other, self.cookie = [], [], ""

    def now(self):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def handshake(self, line=None, register=True):
        change = inner(self.call(CLIENT, "GetConfig", "<protocolVersion>2.90</protocolVersion>", line), "LastChange")
        auth = self.call(AUTH, "GetAuthorizationCookie", f"<clientId>{self.id}</clientId><targetGroupName/><dnsName>{self.name}</dnsName>", line)
        ticket = f"<AuthorizationCookie><PlugInId>{inner(auth, 'PlugInId')}</PlugInId><CookieData>{inner(auth, 'CookieData')}</CookieData></AuthorizationCookie>"
        text = self.call(CLIENT, "GetCookie", f"<authCookies>{ticket}</authCookies><oldCookie/><lastChange>{change}</lastChange><currentTime>{self.now()}</currentTime><protocolVersion>2.90</protocolVersion>", line)
        self.cookie = f"<cookie><Expiration>{inner(text, 'Expiration')}</Expiration><EncryptedData>{inner(text, 'EncryptedData')}</EncryptedData></cookie>"
        if register:
            numbers = "".join(f"<{n}>{v}</{n}>" for n, v in (("OSMajorVersion", 10), ("OSMinorVersion", 0), ("OSBuildNumber", 26100), ("OSServicePackMajorNumber", 0), ("OSServicePackMinorNumber", 0)))
            self.call(CLIENT, "RegisterComputer", f"{self.cookie}<computerInfo><DnsName>{self.name}</DnsName>{numbers}<OSLocale>en-US</OSLocale><ComputerManufacturer>x</ComputerManufacturer><ComputerModel>x</ComputerModel><ProcessorArchitecture>AMD64</ProcessorArchitecture></computerInfo>", line)
        return self

    def sync(self, installed, other, line=None):
        def ints(name, ids):
            return f"<{name}>{''.join(f'<int>{i}</int>' for i in ids)}</{name}>" if ids else ""
        return self.call(CLIENT, "SyncUpdates", f"{self.cookie}<parameters><ExpressQuery>false</ExpressQuery>{ints('InstalledNonLeafUpdateIDs', installed)}{ints('OtherCachedUpdateIDs', other)}<SkipSoftwareSync>false</SkipSoftwareSync><NeedTwoGroupOutOfScopeUpdates>true</NeedTwoGroupOutOfScopeUpdates></parameters>", line)

    def learn(self):
        """Rounds until nothing is new; what is no leaf counts as installed."""
        for _ in range(60):
            text = self.sync(self.installed, self.other)
            rows = re.findall(r"<UpdateInfo>\s*<ID>(\d+)</ID>(.*?)</UpdateInfo>", inner(text, "NewUpdates"), re.S)
            if not rows:
                return self
            for number, rest in rows:
                (self.other if "<IsLeaf>true" in rest else self.installed).append(int(number))
        raise Refused("the scan does not end")

    def scan(self, handshake=False):
        line = self.connect()
        try:
            if handshake:
                self.handshake(line)
            self.sync([], [], line)
            self.sync(self.installed, self.other, line)
        finally:
            line.close()


class Child(Caller):
    """A downstream server."""

    def __init__(self, port, source="127.0.0.1", identity=None, name="branch.example", timeout=15):
        super().__init__(port, source, timeout)
        self.id, self.name, self.cookie, self.data = identity or str(uuid.uuid4()), name, "", ""

    def handshake(self):
        auth = self.call(DSS, "GetAuthorizationCookie", f"<accountName>{self.name}</accountName><accountGuid>{self.id}</accountGuid>")
        ticket = f"<AuthorizationCookie><PlugInId>DssTargeting</PlugInId><CookieData>{inner(auth, 'CookieData')}</CookieData></AuthorizationCookie>"
        text = self.call(SYNC, "GetCookie", f"<authCookies>{ticket}</authCookies><protocolVersion>1.20</protocolVersion>")
        self.data = inner(text, "EncryptedData")
        self.cookie = f"<cookie><Expiration>{inner(text, 'Expiration')}</Expiration><EncryptedData>{self.data}</EncryptedData></cookie>"
        return self

    def revisions(self, config):
        text = self.call(SYNC, "GetRevisionIdList", f"{self.cookie}<filter><GetConfig>{str(config).lower()}</GetConfig></filter>")
        return re.findall(r"<UpdateID>([-0-9a-fA-F]+)</UpdateID>\s*<RevisionNumber>(\d+)</RevisionNumber>", text)

    def documents(self, revisions):
        rows = "".join(f"<UpdateIdentity><UpdateID>{u}</UpdateID><RevisionNumber>{r}</RevisionNumber></UpdateIdentity>" for u, r in revisions)
        return f"{self.cookie}<updateIds>{rows}</updateIds>"


def main():
    agent = Agent(int(sys.argv[1]))
    agent.handshake().learn()
    for turn in range(1 << 30):
        began, clock, trouble = time.monotonic(), time.monotonic(), "-"
        try:
            agent.scan(handshake=turn % 5 == 4)
        except (OSError, http.client.HTTPException, Refused) as error:
            trouble = f"{type(error).__name__}: {error}"[:120].replace("\n", " ") or "error"
        print(f"{began:.3f} {(time.monotonic() - clock) * 1000:.1f} {trouble}", flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
