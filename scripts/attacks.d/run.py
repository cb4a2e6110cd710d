"""Runs attacks one after the other: for each a server of its own, an honest agent beside it, and figures before, during and after."""
import argparse, json, os, shutil, sys, time

import doors, poison  # noqa: F401  (they add their attacks)
import flood
from agent import Agent, Child
from flood import ATTACKS
from world import BINARY, SHORT, Honest, Server, Upstream, discard, fresh, free_port, raise_descriptors, size, wait_for

# what must hold beside every attack, and ten seconds after its end
SCAN_MS, MEMORY_MB, AFTER_S = 200, 512, 10
# what a machine may be slower than the goal, as a multiple of the same scans before the attack
SLOWER = 4
# what may stay: memory that the allocator keeps for the next one
KEPT_MB = 64


class Field:
    """What an attack is given."""

    def __init__(self, server, upstream):
        self.server, self.upstream, self.also, self.checks, self.notes = server, upstream, [], [], []

    def check(self, name, held, detail=""):
        self.checks.append((name, bool(held), str(detail)))
        return held

    def attempt(self, name, work, seconds=None):
        """Checks that something can be done, and within so many seconds."""
        began = time.monotonic()
        try:
            trouble = None if work() is not False else "refused"
        except Exception as error:  # whatever it is, it was not done
            trouble = f"{type(error).__name__}: {error}"[:160]
        took = time.monotonic() - began
        return self.check(name, trouble is None and (seconds is None or took < seconds), trouble or f"{took:.1f} s")

    def note(self, text):
        self.notes.append(text)

    def payload_path(self):
        """The largest payload that is offered."""
        return max(poison.files_of(self.server, 12), key=lambda file: file[1])[0]

    def numbers(self, child):
        """How far the catalog has come, as it tells tailwaters."""
        from world import ask
        status, _, text = ask(self.server.port, "GET", "/tailwater/v1/changes?updates=0&wait=0", headers={"Tailwater-Cookie": child.data})
        assert status == 200, status
        return text.decode("latin-1").split()[0]


def base(upstream):
    """A folder that was synchronised once; every attack begins with a copy."""
    home = fresh()
    server = Server(home, upstream.port).start()
    code, _, error = server.run("sync")
    assert code == 0, error[-300:]
    server.stop()
    return home


def one(attack, template, upstream):
    home = fresh()
    shutil.copytree(template / "data", home / "data")
    (home / "data" / "lock").unlink(missing_ok=True)
    extra = attack.get("extra", "")
    extra = extra(home) if callable(extra) else extra
    if extra is None:
        discard(home)
        return {"name": attack["name"], "skipped": "needs the command openssl"}
    server = Server(home, upstream.port, extra, descriptors=attack.get("descriptors"))
    honest = None
    try:
        server.start()
        honest = Honest(server)
        field = Field(server, upstream.port)
        began = time.monotonic()
        time.sleep(size(3, 1.5))
        before = honest.between(began, time.monotonic())
        memory, files = server.resident(), server.open_files()
        server.reset_peak()
        process, start = server.process, time.monotonic()
        trouble = None
        try:
            attack["run"](field)
        except Exception as error:  # an attack that breaks off is a failure of its own
            trouble = f"{type(error).__name__}: {error}"[:300]
        # an attack that is over at once is watched for as long as scans need to tell
        time.sleep(max(0, 2 - (time.monotonic() - start)))
        end = time.monotonic()
        if trouble:
            field.check("the attack could be run", False, trouble)
        restarted = server.process is not process
        field.check("the server lives", server.alive())
        during = honest.between(start, end)
        peak = server.peak() if server.alive() else 0
        bound = max(SCAN_MS, SLOWER * before[1])
        if not restarted:
            field.check(f"scans keep their p99 under {SCAN_MS} ms", during[2] > 0 and during[1] < bound, f"p50 {during[0]:.0f}, p99 {during[1]:.0f} ms over {during[2]} scans (before: {before[0]:.0f} and {before[1]:.0f})")
            field.check("every scan is answered", not during[3], f"{len(during[3])} of {during[2]}: {during[3][:2]}" if during[3] else "")
        field.check(f"the server stays under {MEMORY_MB} MB", peak < MEMORY_MB, f"{memory:.0f} MB before, at most {peak:.0f}")
        settled = {}
        def calm():
            settled.update(memory=server.resident(), files=server.open_files())
            return settled["memory"] <= memory + KEPT_MB and settled["files"] <= files + 16
        try:
            wait_for("calm", calm, AFTER_S)
            back = True
        except (TimeoutError, OSError):
            back = False
        field.check(f"memory and descriptors are back within {AFTER_S} s", back, f"{settled.get('memory', 0):.0f} MB, {settled.get('files', 0)} descriptors (before: {memory:.0f}, {files})")
        again = time.monotonic()
        time.sleep(size(2, 1))
        after = honest.between(again, time.monotonic())
        field.check("scans are as before", after[2] > 0 and not after[3] and after[1] < bound, f"p50 {after[0]:.0f}, p99 {after[1]:.0f} ms; {after[3][:1]}")
        return {"name": attack["name"], "checks": field.checks, "notes": field.notes, "seconds": round(end - start, 1), "peak_mb": round(peak), "p99_ms": round(during[1], 1) if during[2] else None, "after_mb": round(settled.get("memory", 0))}
    finally:
        if honest:
            honest.stop()
        server.stop()
        if not os.environ.get("TAILWATER_KEEP"):
            discard(home)


def tried(attack, template, upstream):
    try:
        return one(attack, template, upstream)
    except Exception as error:  # the next attacks are run all the same
        return {"name": attack["name"], "checks": [("the attack could be begun", False, f"{type(error).__name__}: {error}"[:300])], "notes": [], "seconds": 0}


def is_lost(result):
    return any(not held for _, held, _ in result.get("checks", []))


def main():
    parser = argparse.ArgumentParser(prog="scripts/attacks", description="Attacks the real binary on loopback, with an honest agent beside every attack. TAILWATER_SHORT=1: the short form.", epilog="examples: scripts/attacks --list; scripts/attacks --only bombs --only smuggling; TAILWATER_SHORT=1 scripts/attacks")
    parser.add_argument("--list", action="store_true", help="name the attacks and end")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this one; may be given several times")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    if given.list:
        for attack in ATTACKS:
            print(f"{attack['name']:22} {attack['what']}{' (not in the short form)' if attack.get('long') else ''}")
        return 0
    names = {attack["name"] for attack in ATTACKS}
    if unknown := [name for name in given.only or [] if name not in names]:
        print(f"there is no attack {', '.join(unknown)}; scripts/attacks --list names them", file=sys.stderr)
        return 2
    if not os.path.exists(BINARY):
        print(f"{BINARY} is not there: cargo build --release, or TAILWATER_BINARY=…", file=sys.stderr)
        return 2
    raise_descriptors()
    upstream, template, results = Upstream(size(300, 120)), None, []
    try:
        template = base(upstream)
        for attack in ATTACKS:
            if attack["name"] not in given.only if given.only else SHORT and attack.get("long"):
                continue
            result = tried(attack, template, upstream)
            if SHORT and is_lost(result):
                # a machine that is busy with other things may miss a bound of time once
                print(f"{attack['name']}: missed {[name for name, held, _ in result['checks'] if not held]}; once more", flush=True)
                result = tried(attack, template, upstream)
            results.append(result)
            if "skipped" in result:
                print(f"SKIP {attack['name']}: {result['skipped']}", flush=True)
                continue
            print(f"{attack['name']}: {attack['what']} ({result['seconds']} s{'; ' + '; '.join(result['notes']) if result['notes'] else ''})", flush=True)
            for name, held, detail in result["checks"]:
                print(f"  {'PASS' if held else 'FAIL'} {name}{f'  [{detail}]' if detail else ''}", flush=True)
    finally:
        upstream.stop()
        if template:
            discard(template)
        if given.json:
            with open(given.json, "w") as out:
                json.dump(results, out, indent=1)
    failed = [result["name"] for result in results if is_lost(result)]
    print(f"{len(results) - len(failed)} attacks withstood, {len(failed)} not{': ' + ', '.join(failed) if failed else ''}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
