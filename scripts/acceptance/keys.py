"""Encrypted updates: an upstream of its own kind of judge, agents and servers below that are asked what they were told.

Run as a program this file is that upstream: the probes' simulator, which knows of no encrypted update, with keys added.
"""
import base64, hashlib, http.client, json, os, pathlib, re, subprocess, sys, tempfile, uuid
import xml.etree.ElementTree as ET

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import documents
from children import AUTH, ENVELOPE, SYNC, Child
from world import PROBES, PYTHON, Tailwater, Upstream, free_port, wait_for

AGENTS = SYNC + "/Server/ClientWebService"
SIMPLE = SYNC + "/Server/SimpleAuthWebService"


def key_of(digest):
    """The key of a payload, as upstream and judge both know it."""
    return base64.b64encode(hashlib.sha256(b"key of " + digest.encode()).digest()).decode()


def encrypted(n):
    digest = base64.b64encode(hashlib.sha1(f"encrypted {n}".encode()).digest()).decode()
    return str(uuid.uuid5(documents.SPACE, f"encrypted {n}")), digest


def write(folder, count):
    """A folder of documents: a product, a classification, one plain update and `count` encrypted ones."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    company = uuid.uuid5(documents.SPACE, "company")
    (folder / "company.xml").write_text(documents.category(company, "Company", "Contoso"))
    (folder / "product.xml").write_text(documents.category(documents.PRODUCT, "Product", "Contoso Suite", company))
    (folder / "class.xml").write_text(documents.category(documents.CLASSIFICATION, "UpdateClassification", "Security Updates"))
    for n in range(-1, count):
        identity, digest = encrypted(n)
        sha256 = base64.b64encode(hashlib.sha256(digest.encode()).digest()).decode()
        text = documents.software(identity, f"Encrypted {n}", [dict(sha1=digest, sha256=sha256, name=f"f{n}.wim", size=7)], 5200000 + n)
        if n >= 0:
            text = text.replace("</upd:Properties>", "<upd:SecuredFragment>FileDecryption</upd:SecuredFragment></upd:Properties>")
            text = text.replace(' Size="7"', ' Size="7" IsEncrypted="true"')
        # white space around a document is no part of it
        (folder / f"update-{n}.xml").write_text("\n  " + text + "\n")


def call(port, path, namespace, operation, inner):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = ENVELOPE.format(f'<{operation} xmlns="{namespace}">{inner}</{operation}>').encode()
    c.request("POST", path, body, {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{namespace}/{operation}"'})
    answer = c.getresponse()
    text = answer.read().decode()
    c.close()
    assert answer.status == 200, f"{operation}: {answer.status} {text[:400]}"
    return ET.fromstring(text)


def local(element):
    return element.tag.rsplit("}", 1)[-1]


def named(root, name):
    return [e for e in root.iter() if local(e) == name]


def one(root, name):
    return named(root, name)[0].text


def identities(ids, name):
    return f"<{name}>" + "".join(f"<UpdateIdentity><UpdateID>{i}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity>" for i in ids) + f"</{name}>"


def agent_keys(port, ids):
    """What a Windows agent is told: {digest: (key, security data)}, by MaxExtendedUpdatesPerRequest."""
    client = "/ClientWebService/client.asmx"
    config = call(port, client, AGENTS, "GetConfig", "<protocolVersion>2.90</protocolVersion>")
    auth = call(port, "/SimpleAuthWebService/SimpleAuth.asmx", SIMPLE, "GetAuthorizationCookie", f"<clientId>{uuid.uuid4()}</clientId><targetGroupName /><dnsName>pc.example</dnsName>")
    cookie = call(port, client, AGENTS, "GetCookie", f"<authCookies><AuthorizationCookie><PlugInId>SimpleTargeting</PlugInId><CookieData>{one(auth, 'CookieData')}</CookieData></AuthorizationCookie></authCookies><lastChange>{one(config, 'LastChange')}</lastChange><currentTime>2026-11-30T00:00:00Z</currentTime><protocolVersion>2.90</protocolVersion>")
    sealed = f"<cookie><Expiration>{one(cookie, 'Expiration')}</Expiration><EncryptedData>{one(cookie, 'EncryptedData')}</EncryptedData></cookie>"
    found, core = {}, 0
    for at in range(0, len(ids), 50):
        some = identities(ids[at:at + 50], "updateIDs")
        answer = call(port, client, AGENTS, "GetExtendedUpdateInfo2", sealed + some + "<infoTypes><XmlUpdateFragmentType>FileUrl</XmlUpdateFragmentType><XmlUpdateFragmentType>FileDecryption</XmlUpdateFragmentType><XmlUpdateFragmentType>Core</XmlUpdateFragmentType></infoTypes>")
        result = named(answer, "GetExtendedUpdateInfo2Result")[0]
        order = ["Updates", "FileLocations", "FileDecryptionData", "FileDecryptionData2", "UpdateEncryptionDetails"]
        places = [order.index(local(e)) for e in result]
        assert places == sorted(places), [local(e) for e in result]
        for row in named(result, "FileDecryption"):
            assert [local(e) for e in row] == ["FileDigest", "DecryptionKey", "SecurityData"]
            security = [e.text for e in row[2]]
            found[row[0].text] = (row[1].text, security)
        core += sum("<SecuredFragment>FileDecryption</SecuredFragment></Properties>" in (e.text or "") for e in named(result, "Xml"))
    return found, core


def server_keys(port, ids, size):
    """What a downstream server is told: {(id, digest): key}."""
    child = Child(port, 7)
    cookie = f"<cookie><Expiration>2099-01-01T00:00:00Z</Expiration><EncryptedData>{child.cookie}</EncryptedData></cookie>"
    found = {}
    for at in range(0, len(ids), size):
        answer = call(port, "/ServerSyncWebService/ServerSyncWebService.asmx", SYNC, "GetUpdateDecryptionData", cookie + identities(ids[at:at + size], "updateIds"))
        for row in named(answer, "ServerSyncUpdateFileDecryption"):
            for file in named(row, "ServerSyncFileDecryption"):
                key = [e.text for e in file if local(e) == "DecryptionKey"]
                found[(one(row, "UpdateID").lower(), one(file, "FileDigest"))] = key[0] if key else None
    return found


class Keyed(Upstream):
    """The upstream of this file, as a process."""

    def __init__(self, folder, *more):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [PYTHON, __file__, "--port", str(self.port), "--docs", str(folder), *map(str, more)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the upstream with keys", self.counters, 180)

    def calls(self):
        return self.counters()["operations"].get("GetUpdateDecryptionData", 0)


def keys(check, count=250):
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/docs", count)
        ids = [encrypted(n)[0] for n in range(count)]
        expected = {encrypted(n)[1]: (key_of(encrypted(n)[1]), [key_of(encrypted(n)[1])]) for n in range(count)}
        for limit, calls in ((100, 3), (500, 1), (60, 5), (0, 3)):
            with Keyed(f"{folder}/docs", "--decryption-limit", limit) as up, Tailwater(up.url) as top:
                top.start()
                code = top.run("sync")[0]
                check(f"{count} encrypted updates, {limit} a request: {calls} calls", (code, up.calls()) == (0, calls), f"exit {code}, {up.calls()} calls, {up.counters()['faults']}")
                top.run("sync")
                check("none at the second synchronisation", up.calls() == calls, up.calls())
                told, core = agent_keys(top.port, ids)
                check("an agent has the right key of each", told == expected and core == count, f"{len(told)} keys, {core} Core fragments with SecuredFragment")
                if limit != 100:
                    continue
                with Tailwater(top.url) as middle, Tailwater(top.url, tailwater="off") as plain:
                    middle.start(), plain.start()
                    with Tailwater(middle.url) as low:
                        low.start()
                        for name, tw in (("second level", middle), ("second level over MS-WSUSSS alone", plain), ("third level", low)):
                            code = tw.run("sync")[0]
                            told, core = agent_keys(tw.port, ids)
                            check(f"the {name} has the right key of each", (code, told) == (0, expected), f"exit {code}, {len(told)} keys")
                            rows = server_keys(tw.port, ids, 100)
                            check(f"the {name} tells servers the same", rows == {(encrypted(n)[0], encrypted(n)[1]): key_of(encrypted(n)[1]) for n in range(count)}, f"{len(rows)} rows")
                        check("nobody asked the top again", up.calls() == calls, up.calls())
                        secrets = [key_of(encrypted(n)[1]) for n in range(count)]
                        shown = "".join((tw.home / "server.log").read_text() + json.dumps(tw.json("updates", "show", ids[0])) for tw in (top, middle, low))
                        check("no key in logs or answers to people", not any(s in shown for s in secrets))
        withheld(check, folder, count, ids)


def withheld(check, folder, count, ids):
    """Keys that the upstream lacks, and one revision that it refuses."""
    lacking = ids[:5]
    with Keyed(f"{folder}/docs", "--lacks", ",".join(lacking)) as up, Tailwater(up.url) as tw:
        tw.start()
        code = tw.run("sync")[0]
        told, _ = agent_keys(tw.port, ids)
        check("what lacks its key is withheld, the rest is not", (code, len(told)) == (3, count - 5), f"exit {code}, {len(told)} keys")
        show = tw.run("updates", "show", lacking[0])[1]
        check("`updates show` says why", "key" in show.lower() and "withheld" in show.lower(), show[:400])
        up.stop()
    with Keyed(f"{folder}/docs", "--refuses", ids[33]) as up, Tailwater(up.url) as tw:
        tw.start()
        code = tw.run("sync")[0]
        told, _ = agent_keys(tw.port, ids)
        check("one refused revision withholds itself only", (code, len(told)) == (3, count - 1), f"exit {code}, {len(told)} keys, {up.calls()} calls")


def serve():
    """The probes' upstream with keys."""
    sys.path.insert(0, str(PROBES))
    import fake_uss
    K = fake_uss.K

    class Uss(fake_uss.Uss):
        def __init__(self, a):
            super().__init__(a)
            self.conf["MaxUpdatesPerRequestInGetUpdateDecryptionData"] = a.decryption_limit

        def op_GetUpdateDecryptionData(self, el):
            self.cookie(el)
            wanted = K.first(el, "updateIds")
            wanted = None if wanted is None else K.kids(wanted, "UpdateIdentity")
            if not wanted or len(wanted) > (self.a.decryption_limit or 100):
                raise fake_uss.SoapFault("InvalidParameters", "updateIds")
            rows = []
            for row in wanted:
                name, revision = K.t(row, "UpdateID").lower(), int(K.t(row, "RevisionNumber"))
                document = self.revs.get((name, revision))
                if document is None or name == self.a.refuses:
                    raise fake_uss.SoapFault("InternalServerError")
                files = "".join(
                    f"<ServerSyncFileDecryption><FileDigest>{f[0]}</FileDigest>"
                    + ("" if name in self.a.lacks else f"<DecryptionKey>{key_of(f[0])}</DecryptionKey>")
                    + "</ServerSyncFileDecryption>" for f in document.files)
                rows.append(f"<ServerSyncUpdateFileDecryption><UpdateId><UpdateID>{name}</UpdateID><RevisionNumber>{revision}</RevisionNumber></UpdateId><FileDecryptionData>{files}</FileDecryptionData></ServerSyncUpdateFileDecryption>")
            return f"<GetUpdateDecryptionDataResult><UpdateFileDecryptionData>{''.join(rows)}</UpdateFileDecryptionData></GetUpdateDecryptionDataResult>"

    def more(parser):
        parser.add_argument("--decryption-limit", type=int, default=100)
        parser.add_argument("--lacks", default="", type=lambda text: set(text.split(",")))
        parser.add_argument("--refuses", default="")

    fake_uss.main(Uss, more)


if __name__ == "__main__":
    serve()
