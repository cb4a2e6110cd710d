"""A bad day on the disk: full, then with room again, mounted read-only, killed in between. On a real small file system,
mounted in a namespace of its own; the server runs in it and is asked from outside."""
import json, os, pathlib, subprocess, tempfile, urllib.error, urllib.request, uuid

from world import BINARY, Tailwater, fetch, free_port, wait_for


class Small:
    """A file system of some megabytes that only those see who enter its namespace."""

    def __init__(self, size):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="tailwater-disk-"))
        script = f'mount -t tmpfs -o size={size},mode=700 none "{self.place}" && echo mounted && exec sleep 100000'
        self.holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline().strip() != "mounted":
            raise RuntimeError("this machine lets nobody mount in a namespace of his own (unshare -rm)")
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-U", "-m", "--preserve-credentials", "--wdns=/"]
        # as it is seen from outside
        self.outside = pathlib.Path(f"/proc/{self.holder.pid}/root") / str(self.place).lstrip("/")

    def sh(self, script):
        return subprocess.run([*self.enter, "sh", "-c", script], capture_output=True, text=True)

    def fill(self):
        """Leaves nothing, not even for a file of one block."""
        for block in ("64k", "4k", "512"):
            self.sh(f'dd if=/dev/zero bs={block} >> "{self.place}/fill" 2>/dev/null')

    def free(self):
        self.sh(f'rm -f "{self.place}/fill"')

    def remount(self, how):
        done = self.sh(f'mount -o remount,{how} "{self.place}"')
        if done.returncode:
            raise RuntimeError(done.stderr)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.place.rmdir()


class Server(Tailwater):
    """A tailwater whose data directory lies there."""

    def __init__(self, small, upstream, **more):
        super().__init__(upstream, **more)
        self.small = small
        text = self.config.read_text().replace(str(self.data), str(small.place / "data"))
        self.config.write_text(text.replace("[content]", '[content]\nmin_free = "0 B"\nmax_size = "8 MB"'))
        self.data = small.outside / "data"

    def start(self, wait=True):
        self.log = open(self.home / "server.log", "ab")
        self.process = subprocess.Popen([*self.small.enter, BINARY, "serve", "--config", str(self.config)], stdout=self.log, stderr=self.log)
        if wait:
            wait_for("readyz", lambda: self.process.poll() is None and fetch(self.admin + "/readyz"), 60)
        return self

    def run(self, *arguments, timeout=600):
        done = subprocess.run([*self.small.enter, BINARY, *arguments, "--config", str(self.config)], capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    def readiness(self):
        return fetch(self.admin + "/readyz").decode()

    def until(self, start):
        wait_for(f"readyz {start!r}", lambda: self.readiness().startswith(start), 30)


def status_of(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, len(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, 0


def agents(server, count=3):
    done = subprocess.run([BINARY, "simulate", "clients", "--server", server.url, "--count", str(count), "--seed", str(uuid.uuid4().int % 2**31), "--json"], capture_output=True, text=True, timeout=120)
    return done.returncode, (done.stdout + done.stderr)[-300:]


def served(name, server, file, check):
    code, said = agents(server)
    check(f"{name}: new computers register and scan", code == 0, said if code else "")
    got = status_of(server.url + file)
    check(f"{name}: a held file is served", got[0] == 200 and got[1] > 0, got)


def group(server, name):
    code, out, err = server.run("groups", "create", name)
    return code, out + err


def groups(server):
    return json.dumps(server.api("/groups"))


def kept(server):
    """A file that is held whole."""
    for row in server.api("/revisions")["revisions"]:
        for sha1 in row["files"]:
            name = f"/Content/{sha1.upper()[38:]}/{sha1.upper()}.cab"
            if status_of(server.url + name)[0] == 200:
                return name
    raise RuntimeError("no file")


def trouble(name, server, file, reason, check):
    server.until("read only: ")
    check(f"{name}: readyz is 200 and says why", reason in server.readiness(), server.readiness().strip())
    served(name, server, file, check)
    code, said = group(server, f"refused {name}")
    check(f"{name}: a decision is refused with the reason", code == 1 and "cannot be written" in said, said.strip()[-200:])
    disk = server.api("/status")["disk"]
    check(f"{name}: status names the next step", disk["writable"] is False and disk["next_step"], disk)
    check(f"{name}: metrics tell", b"data_directory_writable 0" in fetch(server.admin + "/metrics"))


def room(name, server, file, check):
    server.until("ready")
    served(name, server, file, check)
    code, said = group(server, f"made {name}")
    check(f"{name}: decisions are taken again, by themselves", code == 0 and f"made {name}" in groups(server), said.strip()[-200:])


def run(check):
    port = free_port()
    office = subprocess.Popen([BINARY, "simulate", "upstream", "--listen", f"127.0.0.1:{port}", "--updates", "60", "--mean-size", "20 kB", "--definitions", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    small = Small("40m")
    server = Server(small, f"http://127.0.0.1:{port}")
    try:
        wait_for("the upstream", lambda: status_of(f"http://127.0.0.1:{port}/")[0], 30)
        server.start()
        code, out, err = server.run("sync")
        check("a synchronisation on a small disk", code == 0, err[-200:])
        server.approve_all()
        file = kept(server)
        served("with room", server, file, check)
        small.fill()
        trouble("full", server, file, "no space", check)
        for way in ("kill", "stop"):
            getattr(server, way)()
            server.start()
            trouble(f"started full after {way}", server, file, "no space", check)
        check("the log says it once a change", (server.home / "server.log").read_text().count("the data directory cannot be written") <= 6)
        code, out, err = server.run("sync")
        check("a synchronisation on a full disk ends with an error and not the server", code != 0 and server.process.poll() is None, err.strip()[-200:])
        small.free()
        room("room again", server, file, check)
        code, out, err = server.run("sync")
        check("a synchronisation works again", code == 0, err[-200:])
        server.kill()
        server.start()
        check("after a kill: what was said to be made is there", "made room again" in groups(server) and "refused" not in groups(server))
        server.until("ready")
        # filled while it is down, so that its start is the first to meet it; then room without a restart, and a restart
        for turn in range(3):
            server.kill()
            small.fill()
            server.start()
            trouble(f"first met at start {turn}", server, file, "no space", check)
            small.free()
            room(f"room after start {turn}", server, file, check)
        # files that are open for writing keep a mount from becoming read-only, so that happens between two starts
        for way in ("kill", "stop"):
            getattr(server, way)()
            small.remount("ro")
            server.start()
            trouble(f"read-only after {way}", server, file, "read-only", check)
            small.remount("rw")
            room(f"writable again after {way}", server, file, check)
        server.stop()
        code, out, err = server.run("store", "rebuild", "--json")
        made = json.loads(out) if code == 0 else {}
        check("store rebuild on command", code == 0 and made["revisions"] > 0, out + err[-200:])
        server.start()
        check("and nothing is missing", "made writable again after stop" in groups(server) and status_of(server.url + file)[0] == 200)
        aside = [str(p.relative_to(server.data)) for p in server.data.rglob("damaged-*") if "damaged-index" in p.name]
        check("no index was given up but by that command", len(aside) == 2, aside)
    finally:
        server.stop()
        print((server.home / "server.log").read_text()[-3000:] if os.environ.get("TAILWATER_KEEP") else "", end="")
        office.kill()
        office.wait()
        small.close()
