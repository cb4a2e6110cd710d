"""Client policies read by programs that are not ours: Samba's and regpol's readers of Registry.pol, and a parser of
PowerShell's grammar. The values of `--json` are what every form has to say."""
import ast, json, pathlib, re, shutil, subprocess, sys

from world import BINARY

GROUPS = ["Pilot", "Büro Köln;Pilot", "会议室", "O'Neil’s", "a\"b\\c", "$(calc) `x", "[a;b]"]
OPTIONS = ["--url", "http://updates.example:8530", "--alternate", "http://other.example", "--fill-empty-content-urls", "--detection-hours", "4",
           "--automatic-updates", "scheduled", "--install-day", "sunday", "--install-hour", "3", "--no-internet", "--download-mode", "99",
           "--cache-host", "cache.example,10.0.0.9", "--cache-host-delay", "60"]

# prints [[key, name, type, data], …]; the system's Python has Samba's module
SAMBA = """
import json, sys
from samba.dcerpc import preg
from samba.ndr import ndr_unpack
policy = ndr_unpack(preg.file, open(sys.argv[1], "rb").read())  # its entries live as long as it does
plain = lambda data: data if isinstance(data, (int, str)) else bytes(data).decode("utf-16-le").rstrip("\\0")
print(json.dumps([[e.keyname, e.valuename, e.type, plain(e.data)] for e in policy.entries]))
"""


def policy(*more):
    done = subprocess.run([BINARY, "client-policy", *OPTIONS, *more], capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def by_samba(path):
    python = next((p for p in ("/usr/bin/python3",) if shutil.which(p) and not subprocess.run([p, "-c", "import samba.dcerpc.preg"], capture_output=True).returncode), None)
    if python is None:
        return None
    done = subprocess.run([python, "-c", SAMBA, str(path)], capture_output=True, env={"PYTHONIOENCODING": "utf-8"})
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return [tuple(e) for e in json.loads(done.stdout)]


def by_regpol(path):
    try:
        import regpol  # noqa: F401
    except ImportError:
        return None
    code = "import sys; from regpol import cli; sys.argv = ['regpol', sys.argv[1]]; cli()"
    text = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True).stdout.decode().replace("\0", "")
    found = re.findall(r"^(\S.*)\n    value: (.*)\n    type:  (\d+) .*\n    size:  (\d+)\n    data:  (.*)\n", text, re.M)
    plain = lambda kind, data: int.from_bytes(data, "little") if kind == 4 else data.decode("utf-16-le").rstrip("\0")
    return [(key, name, int(kind), plain(int(kind), ast.literal_eval(data))) for key, name, kind, _, data in found]


def has_errors(script):
    try:
        import tree_sitter, tree_sitter_powershell
    except ImportError:
        return None
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    return parser.parse(script).root_node.has_error


def run(folder, check):
    folder = pathlib.Path(folder)
    for group in GROUPS:
        shown = json.loads(policy("--group", group, "--json"))["values"]
        wanted = sorted((v["key"].removeprefix("HKLM\\"), v["name"], 1 if v["type"] == "REG_SZ" else 4, v["data"]) for v in shown)
        path = folder / "Registry.pol"
        path.write_bytes(policy("--group", group, "--format", "registry-pol"))
        for name, reader in (("Samba", by_samba), ("regpol", by_regpol)):
            read = reader(path)
            if read is None:
                print(f"SKIP {name}'s reader is not installed")
                continue
            check(f"{name} reads the policy for {group!r}", sorted(read) == wanted, [e for e in zip(sorted(read), wanted) if e[0] != e[1]][:2])
        undone = by_samba(path) and (path.write_bytes(policy("--group", group, "--format", "registry-pol", "--undo")), by_samba(path))[1]
        if undone:
            check("what undoes it names the same values", sorted((k, n.lower().removeprefix("**del.")) for k, n, *_ in undone) == sorted((k, n.lower()) for k, n, *_ in wanted))
        reg = policy("--group", group, "--format", "reg")
        check("a registry file is UTF-16LE with a byte order mark", reg[:2] == b"\xff\xfe" and group.replace("\\", "\\\\").replace('"', '\\"') in reg.decode("utf-16"))
        for more in (["--format", "powershell"], ["--format", "powershell", "--undo"], ["--format", "powershell", "--check"], ["--format", "powershell-gpo"]):
            wrong = has_errors(policy("--group", group, *more))
            if wrong is not None:
                check(f"PowerShell's grammar takes {' '.join(more)} for {group!r}", not wrong)
