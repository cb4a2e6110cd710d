"""What fuzzing begins with: recorded traffic, where it lies beside the project, and a few inputs of each kind made here.

Usage: seeds.py FOLDER. Adds files to FOLDER/TARGET; what is there stays.
"""
import base64, hashlib, os, pathlib, re, struct, sys, zlib

PROJECT = pathlib.Path(__file__).resolve().parents[2]
CAPTURES = pathlib.Path(os.environ.get("TAILWATER_SHARED", PROJECT.parent / "shared")) / "captures"
LONGEST = 1 << 17


def keep(target, data):
    if isinstance(data, str):
        data = data.encode()
    if 0 < len(data) <= LONGEST:
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def cabinet(text, packed=True):
    data = b"\xff\xfe" + text.encode("utf-16-le")
    blocks = b""
    for at in range(0, len(data), 32768):
        part = data[at:at + 32768]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = b"CK" + packer.compress(part) + packer.flush() if packed else part
        blocks += struct.pack("<IHH", 0, len(body), len(part)) + body
    head, count = 65, (len(data) + 32767) // 32768
    return (struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, head + len(blocks), 0, 44, 0, 3, 1, 1, 1, 0, 0, 0) + struct.pack("<IHH", head, count, int(packed))
            + struct.pack("<IIHHHH", len(data), 0, 0, 0x5a21, 0, 0x20) + b"blob\0" + blocks)


def captured():
    for path in sorted(CAPTURES.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.name == "request.body":
            keep("agent_requests", data), keep("server_requests", data)
        elif path.name == "response.body":
            keep("upstream_answers", data), keep("xpress", data)
            for blob in re.findall(rb"XmlUpdateBlobCompressed>([^<]+)<", data)[:4]:
                keep("cabinets", base64.b64decode(blob))
        elif path.name.endswith(".headers"):
            keep("file_requests", b"/Content/AA/x.cab\n" + data), keep("addresses", b"\xc8\0" + data)
        elif path.suffix == ".xml":
            keep("update_documents", data), keep("cabinets", cabinet(data.decode("utf-8", "replace")[:20_000]))


def made():
    document = '<upd:Update xmlns:upd="http://schemas.microsoft.com/msus/2002/12/Update"><upd:UpdateIdentity UpdateID="00000000-0000-0000-0000-000000000001" RevisionNumber="1"/><upd:Properties UpdateType="Software" DefaultPropertiesLanguage="en"/><upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language><upd:Title>A &amp; B</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection><upd:Relationships><upd:Prerequisites><upd:UpdateIdentity UpdateID="00000000-0000-0000-0000-000000000002"/></upd:Prerequisites></upd:Relationships><upd:Files><upd:File Digest="AAAAAAAAAAAAAAAAAAAAAAAAAAA=" DigestAlgorithm="SHA1" FileName="x.cab" Size="1"/></upd:Files></upd:Update>'
    keep("update_documents", document), keep("cabinets", cabinet(document)), keep("cabinets", cabinet(document, False))
    keep("xpress", struct.pack("<II", 5, 5) + b"hello"), keep("xpress", document)
    for text in ("2026-11-30T12:00:00Z", "1753-01-01T00:00:00.0000000", "2026-02-29T25:61:61+14:00", "2.90", "5 MB", "8 Mbit/s", "unlimited", "30m", "pc1.example.com", "xn--bcher-kva.example",
                 "da39a3ee5e6b4b0d3255bfef95601890afd80709", "/Content/09/DA39A3EE5E6B4B0D3255BFEF95601890AFD80709.cab", "a phrase\na title with a phrase"):
        keep("texts", text)
    for text in ("/Content/09/DA39A3EE5E6B4B0D3255BFEF95601890AFD80709.cab\nRange: bytes=0-9,20-29, -5\nIf-Range: \"tag\"\n", "/a/../%2e%2e/b%5cc\nIf-Match: *\nIf-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT\n"):
        keep("file_requests", text)
    for text in ("//other.example/x", "../x?y#z", "http://user:pass@proxy:3128", "http://[::1]:80/\nhttp://p:1\nlocalhost,10.0.0.0/8,*.example:80,::/0", "https://a.example:99999/"):
        keep("addresses", text)
    for status in (100, 106, 316, 403):
        keep("addresses", struct.pack("<H", status) + b"Content-Range: bytes 100-199/1000\nContent-Length: 100\nRetry-After: 120\nContent-Type: multipart/byteranges; boundary=x\n")
    keep("configuration", (PROJECT / "config/tailwater.toml").read_text())
    keep("configuration", "[server]\nlisten = \"127.0.0.1:0\"\n[[bandwidth.window]]\ndays = [\"mon-fri\"]\nfrom = \"08:00\"\nto = \"18:00\"\nrate = \"1 Mbit/s\"\n\0TAILWATER_SERVER__LISTEN=127.0.0.1:1\n")
    for length in (1, 21, 80, 200):
        for target in ("cookies", "stored_records", "peer_messages", "peer_packs"):
            keep(target, bytes(range(length)))
    keep("cookies", "1,2026-11-30 12:00:00.123"), keep("peer_messages", b"\x01\x10" + bytes(16)), keep("peer_packs", b"\0\x02\xff\x0f" + b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00")
    keep("stored_records", b"TWDUMP01" + bytes(8)), keep("stored_records", b"\x01" * 128)
    body = bytes(20)
    keep("stored_records", struct.pack("<I", zlib.crc32(struct.pack("<I", len(body))[:3] + struct.pack("<I", 100)[:3] + b"\x05\xff" + body)) + struct.pack("<I", len(body))[:3] + struct.pack("<I", 100)[:3] + b"\x05\xff" + body)


if __name__ == "__main__":
    if CAPTURES.is_dir():
        captured()
    else:
        print("no ../shared/captures: fuzzing begins with what is made here")
    made()
