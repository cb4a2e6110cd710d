"""Roll-ups through two levels, what they cost, and servers that are not let in."""
import json, subprocess, time

import peers
from world import BINARY, PROBES, PYTHON, Tailwater, Upstream, fetch, wait_for

BUDGET = 1000


def told(tw, seconds=600):
    """Synchronises and waits until the upstream was told after it."""
    before = (tw.api("/status")["last_rollup"] or {}).get("at")
    code, _, err = tw.run("sync")
    assert code == 0, err[-300:]
    return wait_for("roll-up", lambda: (last := tw.api("/status")["last_rollup"]) and last["at"] != before and last, seconds)


def agents(tw, count):
    done = subprocess.run([BINARY, "simulate", "clients", "--server", tw.url, "--count", str(count), "--json"], capture_output=True, text=True, timeout=3600)
    return json.loads(done.stdout)


def rows(tw, query=""):
    return {c["computer_id"]: c for c in tw.rows("/computers?" + query, "computers")}


def two_levels(folder, count, check):
    """7: every computer of the last server is seen at the top with what it has; bytes of both hops on a slow link."""
    with Upstream("--catalog", folder) as up, Tailwater(up.url, extra="") as head, Tailwater(head.url) as region, Tailwater(region.url) as branch:
        for tw, name in ((head, "head"), (region, "region"), (branch, "branch")):
            tw.change("schedule = []", f'schedule = []\naccount_name = "{name}.example"')
            tw.start()
        assert head.run("sync")[0] == 0
        told(region), told(branch)
        report = agents(branch, count)
        check(f"{count} agents reported to the branch", report["agents_done"] == count, str(report["failures"])[:200])
        for tw in (region, branch):
            tw.api("/bandwidth", "PUT", {"rate": "64 kbit/s"})
        for tw, name in ((branch, "branch to region"), (region, "region to head")):
            before, began = peers.moved(tw), time.monotonic()
            last = told(tw, 3600)
            moved = peers.moved(tw) - before
            check(f"{name}: under 1 KB a computer, all its states included", moved / count < BUDGET, f"{moved / count:.0f} bytes a computer, {moved} in all (at 64 kbit/s {moved * 8 / 64000:.0f} s), in {time.monotonic() - began:.0f} s, {last}")
            check(f"{name}: complete", last["computers"] >= count and last["statuses"] >= count, str(last))
        seen, known = rows(head, "whose=below"), rows(branch)
        same = [c for c in known if c in seen and all(seen[c][f] == known[c][f] for f in ("name", "os", "needed", "installed", "failed", "groups"))]
        check("the head office sees each computer as the branch knows it", len(same) == len(known) == len(seen) == count, f"{len(same)} of {len(known)}, {len(seen)} seen")
        via = {tuple(s["name"] for s in c["via"]) for c in seen.values()}
        check("and through which servers it came", via == {("region.example", "branch.example")}, str(via))
        check("they are no agents of the head office", not rows(head, "whose=ours"))
        before = peers.moved(region)
        assert region.run("sync")[0] == 0
        time.sleep(1)
        check("nothing new: nothing is told", peers.moved(region) - before < 5000, f"{peers.moved(region) - before} bytes with the synchronisation")


def towards_wsus(folder, count, check):
    """The same towards a server that knows nothing but MS-WSUSSS, and refuses batches over its limits."""
    with Upstream("--catalog", folder) as up, Tailwater(up.url) as region, Tailwater(region.url) as branch:
        region.start(), branch.start()
        told(region), told(branch)
        assert agents(branch, count)["agents_done"] == count
        told(branch)
        region.kill()
        region.start()
        up.reset()
        told(region)
        seen, counters = json.loads(fetch(up.url + "/_rollup")), up.counters()
        check("fake_uss got every computer and its states", len(seen["computers"]) == len(seen["status"]) == count, f"{len(seen['computers'])}, {len(seen['status'])}")
        check("no batch was refused", not counters.get("faults"), str(counters.get("faults")))
        check("both servers are told, the lower one under the upper", len(seen["dss"]) == 2 and any(s["parent"] in seen["dss"] for s in seen["dss"].values()), str({k: v["parent"] for k, v in seen["dss"].items()}))


def enrolment(folder, check):
    """8: who is not enrolled or was revoked is refused by the specified fault; the log says who and why."""
    with Upstream("--catalog", folder) as up, Tailwater(up.url, extra='[downstream]\npolicy = "enrolled"\n') as head:
        head.start()
        assert head.run("sync")[0] == 0

        def probe():
            done = subprocess.run([PYTHON, str(PROBES / "dss_probe.py"), "--server", head.url, "--no-negative"], capture_output=True, text=True)
            return done.stdout

        out = probe()
        check("an un-enrolled server gets InvalidParameters for its accountGuid", "InvalidParameters" in out and "accountGuid" in out, [l for l in out.splitlines() if "GetAuthorizationCookie" in l][:2])
        log = (head.home / "server.log").read_text()
        check("the log says who and why", "refused a downstream server" in log and "dss-probe.example.test" in log and "not enrolled" in log)
        head.json("downstreams", "allow", "dss-probe.example.test")
        out = probe()
        check("once allowed it synchronises", "\nFAIL" not in out, [l for l in out.splitlines() if l.startswith("FAIL")][:4])
        with Tailwater(head.url) as child:
            token = head.json("downstreams", "allow", "branch.example", "--require-token")["token"]
            child.change("schedule = []", f'schedule = []\naccount_name = "branch.example"\ntoken = "{token}"')
            child.start()
            check("a tailwater with its token synchronises", child.run("sync")[0] == 0)
            head.json("downstreams", "revoke", "branch.example")
            code, _, err = child.run("sync")
            check("revoked, it is refused although its cookie is still good", code == 1 and "downstreams allow" in err, err.strip()[-200:])
            check("and the log says so", "revoked by an administrator" in (head.home / "server.log").read_text())
            check("it goes on serving its own agents", agents(child, 3)["agents_done"] == 3)
        check("the others do not notice", "\nFAIL" not in probe())
