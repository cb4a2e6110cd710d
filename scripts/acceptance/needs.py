"""Need before bytes, and cost before approval: what crosses the link is what the computers of a site ask for.

Three ways to choose files, none of which knows how the server recognises them: simulated agents that evaluate the rules of each
package, and a plain script of ranged GETs by the lists that the probes' generator of catalogues wrote down for each class.
"""
import datetime, http.client, json, random, subprocess, time

from clients import RawAgent
from world import BINARY, Tailwater, Upstream, fetch, free_port, wait_for


class Stand:
    """`tailwater simulate upstream`, which publishes more when told."""

    def __init__(self, *arguments):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([BINARY, "simulate", "upstream", "--listen", f"127.0.0.1:{self.port}", "--json", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        wait_for("the stand-in", lambda: self.sent() >= 0, 60)

    def sent(self):
        """Bytes of payloads."""
        return json.loads(fetch(self.url + "/_counters"))["content_bytes"]

    def publish(self, definitions=0, updates=0):
        fetch(f"{self.url}/_publish?definitions={definitions}&updates={updates}", "POST", b"")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def run_clients(tw, count=1, kinds=1, *more):
    done = subprocess.run([BINARY, "simulate", "clients", "--server", tw.url, "--count", str(count), "--kinds", str(kinds), "--download", "--json", *more], capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"clients: {done.stderr[-400:]} {done.stdout[-400:]}")
    return json.loads(done.stdout)


def newest(tw, text):
    """GUIDs of the updates whose titles have these words, newest first by version."""
    rows = tw.rows(f"/updates?limit=1000&text={text}", "updates")
    return [row["update_id"] for row in sorted(rows, key=lambda row: row["title"], reverse=True)]


def settled(tw, seconds=120):
    """Waits until nothing is under way or waits to be fetched ahead now."""
    def quiet():
        return not tw.api("/transfers")["transfers"] and not tw.api("/content/learned")["ahead"]["now"]
    wait_for("what is fetched ahead", quiet, seconds)


def size_of(tw, update):
    return sum(row["size"] for row in tw.api(f"/updates/{update}")["files"])


def bundle_of_155(check, size):
    """2: of a bundle of 155 files one class takes a fifth; of the next release exactly that is fetched ahead."""
    with Stand("--updates", 12, "--definitions", 1, "--definition-files", 155, "--definition-size", size) as up, Tailwater(up.url, content='fetch = "learned"') as tw:
        tw.start()
        check("first sync", tw.run("sync")[0] == 0)
        first = newest(tw, "Defender")[0]
        whole = size_of(tw, first)
        check("the release has 155 files", len(tw.api(f"/updates/{first}")["files"]) == 155, f"{whole / 1e6:.1f} MB")
        check("approve it", tw.run("updates", "approve", "--accept-license", first, "--group", "All Computers")[0] == 0)
        time.sleep(1)
        check("nothing was learned: nothing crosses ahead of demand", up.sent() == 0, f"{up.sent()} bytes")
        run_clients(tw, 4, 1)
        crossed = up.sent()
        check("one class of computers: at most 20 % of the bundle crosses", 0 < crossed <= whole * 0.2, f"{crossed / 1e6:.2f} of {whole / 1e6:.1f} MB: {100 * crossed / whole:.1f} %")
        wait_for("what was learned", lambda: tw.api("/content/learned")["learned"], 20)
        time.sleep(5)
        tw.kill()
        tw.start()
        learned = tw.api("/content/learned")["learned"]
        check("what was learned survives kill -9", any("26100" in row["class"] for row in learned), [row["class"] for row in learned])
        for release in range(2, 5):
            up.publish(definitions=1)
            check(f"sync of release {release}", tw.run("sync")[0] == 0)
            update = newest(tw, "Defender")[0]
            before = up.sent()
            tw.run("updates", "approve", "--accept-license", update, "--group", "All Computers")
            wait_for("what is fetched ahead begins", lambda: up.sent() > before, 30)
            settled(tw)
            ahead = up.sent() - before
            report = run_clients(tw, 1, 1)
            used, missed = report["file_bytes"], up.sent() - before - ahead
            apart = abs(ahead - used_of(tw, update, report)) / max(1, used_of(tw, update, report))
            check(f"release {release} is fetched ahead and matches what the class uses within 5 %", apart <= 0.05 and missed <= used * 0.05, f"{ahead / 1e6:.3f} MB ahead, {used / 1e6:.3f} MB used, {missed / 1e6:.3f} MB missed, {100 * apart:.1f} % apart")
        other = run_clients(tw, 4, 4)
        check("other classes still get theirs", other["agents_failed"] == 0 and other["files_wrong"] == 0, f"{other['files']} files")


def used_of(tw, update, report):
    """Bytes that a fresh machine took and that were not held before the release: files it shares with the last one are not new."""
    return report["file_bytes"] - shared_with_earlier(tw, update)


def shared_with_earlier(tw, update):
    """Engine and stub come with several releases; a fresh machine takes them again, and they cross once."""
    releases = newest(tw, "Defender")
    earlier = {row["sha1"] for other in releases[1:] for row in tw.api(f"/updates/{other}")["files"]}
    return sum(row["size"] for row in tw.api(f"/updates/{update}")["files"] if row["sha1"] in earlier and row["state"] == "verified")


class Site:
    """Computers at addresses of their own, which ask for ranges as Delivery Optimization does."""

    def __init__(self, tw):
        self.tw, self.asked = tw, 0

    def scan(self, address):
        number = int(address.rsplit(".", 1)[1])
        for _ in RawAgent(self.tw.port, number=number, source=address, build=26000 + number).scan():
            pass

    def take(self, address, files):
        """Every file in pieces of 1 MiB, shuffled."""
        connection = http.client.HTTPConnection("127.0.0.1", self.tw.port, timeout=120, source_address=(address, 0))
        for sha1, size, extension in files:
            ranges = [(at, min(at + (1 << 20), size)) for at in range(0, size, 1 << 20)]
            random.Random(sha1).shuffle(ranges)
            for start, end in ranges:
                connection.request("GET", f"/Content/{sha1[-2:]}/{sha1}{extension}", headers={"Range": f"bytes={start}-{end - 1}"})
                answer = connection.getresponse()
                assert answer.status == 206 and len(answer.read()) == end - start, answer.status
                self.asked += end - start
        connection.close()


def written_down(check, folder):
    """2, by another generator: it names the files of each class itself, and a script asks for them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    releases = manifest["definitions"]
    with Upstream("--catalog", folder) as up, Tailwater(up.url, content='fetch = "learned"') as tw:
        tw.start()
        check("sync of the probes' catalogue", tw.run("sync")[0] == 0)
        site = Site(tw)
        classes = {"127.0.0.11": "x64-current", "127.0.0.12": "base-40"}
        for address in classes:
            site.scan(address)
        for number, release in enumerate(releases):
            entries = {row["sha1"].upper(): row for row in tw.api(f"/updates/{release['update']}")["files"]}
            needed = {address: release["classes"][name] for address, name in classes.items()}
            wanted = {one for list_ in needed.values() for one in list_}
            held_before = {sha1 for sha1, row in entries.items() if row["state"] == "verified"}
            tw.run("updates", "approve", "--accept-license", release["update"], "--group", "All Computers")
            if number:
                wait_for("files fetched ahead", lambda: any(row["state"] == "verified" for row in tw.api(f"/updates/{release['update']}")["files"]), 30)
                settled(tw)
            now = {row["sha1"].upper() for row in tw.api(f"/updates/{release['update']}")["files"] if row["state"] == "verified"} - held_before
            if number:
                right, ahead, used = sum(entries[s]["size"] for s in now & wanted), sum(entries[s]["size"] for s in now), sum(entries[s]["size"] for s in wanted)
                check(f"release {number} by another generator: fetched ahead within 5 % of its own list", ahead and right >= used * 0.95 and ahead <= used * 1.05, f"{ahead} bytes ahead, {used} listed, {right} in both, of {release['bytes']}")
            else:
                check("release 0: nothing is fetched ahead", not now)
            for address, list_ in needed.items():
                site.take(address, [(sha1, entries[sha1]["size"], "." + entries[sha1]["name"].rsplit(".", 1)[1]) for sha1 in list_])
            time.sleep(2)
        names = [row["class"] for row in tw.api("/content/learned")["learned"]]
        check("each address counts for its own class", len(names) == 2 and any("26011" in n for n in names) and any("26012" in n for n in names), names)


def dry_run(tw, update):
    return tw.json("updates", "approve", update, "--group", "All Computers", "--dry-run")["cost"]


def predictions(check, count, size):
    """10: what `--dry-run` said of releases, against what crossed when their computers had taken what they wanted."""
    ordinary = 60
    with Stand("--updates", ordinary, "--definitions", 1, "--definition-files", 155, "--definition-size", size, "--mean-size", "400 kB") as up, Tailwater(up.url, content='fetch = "demand"', rate="80 Mbit/s") as tw:
        tw.start()
        check("first sync", tw.run("sync")[0] == 0)
        first = newest(tw, "Defender")[0]
        cost = dry_run(tw, first)
        check("where nothing was learned, the whole release is the upper bound and said to be one", cost["is_upper_bound"] and cost["left"] == size_of(tw, first), f"{cost['left']} bytes, classes {cost['updates'][0]['classes']}")
        check("a dry run changes nothing", tw.api(f"/updates/{first}")["state"] != "approved" and tw.api(f"/updates/{first}")["traffic"] is None)
        # what the classes use of one release of each kind
        old = [row["update_id"] for row in rows_of(tw) if row["bundle"] and row["state"] != "expired" and "Defender" not in row["title"]][:8]
        titles = {update: tw.api(f"/updates/{update}") for update in old}
        for update in [first, *old]:
            tw.run("updates", "approve", "--accept-license", update, "--group", "All Computers")
        run_clients(tw, 3, 3)
        time.sleep(3)
        # the next of each
        up.publish(updates=ordinary)
        results, worst = [], 0.0
        for number in range(count - len(old)):
            up.publish(definitions=1)
            tw.run("sync")
            results.append(one(tw, up, newest(tw, "Defender")[0]))
        after = {row["update_id"]: tw.api(f"/updates/{row['update_id']}") for row in rows_of(tw) if row["bundle"] and "Defender" not in row["title"] and row["update_id"] not in titles}
        for update in old:
            heirs = [new for new, row in after.items() if update in row["supersedes"] and row["state"] != "expired" and size_class(row) == size_class(titles[update])]
            if heirs:
                results.append(one(tw, up, heirs[0]))
        for title, foreseen, crossed, shown, bound in results:
            apart = abs(foreseen - crossed) / max(1, crossed)
            worst = max(worst, apart)
            check(f"foreseen within 15 % of what crossed: {title[:60]}", not bound and apart <= 0.15, f"{foreseen} foreseen, {crossed} crossed, {100 * apart:.1f} % apart; `updates show` says {shown}")
        moved = [row for row in results if row[2]]
        check(f"{len(results)} of {count} releases were predicted, {len(moved)} of which moved something", len(results) == count and len(moved) >= count * 0.9, f"worst {100 * worst:.1f} %")
        check("what crossed is told beside what was foreseen", all(abs(shown - crossed) <= crossed * 0.02 for _, _, crossed, shown, _ in results))


def rows_of(tw):
    return tw.rows("/updates?limit=1000", "updates")


def size_class(row):
    """How many files it has: bundles for one architecture and for all alternate in the generator."""
    return len(row["files"])


def one(tw, up, update):
    cost = dry_run(tw, update)
    before = up.sent()
    assert tw.run("updates", "approve", "--accept-license", update, "--group", "All Computers")[0] == 0
    run_clients(tw, 3, 3)
    wait_for("transfers end", lambda: not tw.api("/transfers")["transfers"], 60)
    crossed = up.sent() - before
    time.sleep(1)
    shown = tw.api(f"/updates/{update}")
    return shown["title"], cost["left"], crossed, shown["traffic"]["crossed"], cost["is_upper_bound"]


def express(check):
    """Express payloads come by the ranges that are asked for, under every policy, and never ahead."""
    for policy in ("approved", "all", "learned", "demand"):
        with Stand("--updates", 12, "--definitions", 0, "--mean-size", "4 MB") as up, Tailwater(up.url, content=f'fetch = "{policy}"') as tw:
            tw.start()
            check(f"sync with fetch = {policy}", tw.run("sync")[0] == 0)
            rows = [tw.api(f"/updates/{row['update_id']}") for row in rows_of(tw)]
            chosen = [row for row in rows if any(file["patching"] == "Express" for file in row["files"])][:2]
            for row in chosen:
                tw.run("updates", "approve", "--accept-license", row["update_id"], "--group", "All Computers")
            time.sleep(1)
            wait_for("transfers end", lambda: not tw.api("/transfers")["transfers"], 120)
            files = [file for row in chosen for file in tw.api(f"/updates/{row['update_id']}")["files"]]
            psf = [file for file in files if file["patching"] == "Express"]
            check(f"{policy}: no express payload is fetched ahead", psf and all(file["held"] == 0 for file in psf), f"{len(psf)} of {len(files)} files")
            one, size = psf[0], psf[0]["size"]
            connection = http.client.HTTPConnection("127.0.0.1", tw.port, timeout=60)
            connection.request("GET", f"/Content/{one['sha1'][-2:]}/{one['sha1']}.psf", headers={"Range": "bytes=1000000-1065535"})
            check(f"{policy}: a range of it is answered", len(connection.getresponse().read()) == 65536)
            time.sleep(12)
            held = next(file for file in tw.api(f"/updates/{chosen[0]['update_id']}")["files"] if file["sha1"] == one["sha1"])["held"]
            check(f"{policy}: nothing else of it comes", held <= 4 * 65536, f"{held} of {size} bytes held")


def deadlines(check):
    """What is fetched ahead has an order: the deadline that is tighter for what is left, then what is urgent, then the rest."""
    with Stand("--updates", 120, "--definitions", 0, "--mean-size", "1 MB") as up, Tailwater(up.url, content='fetch = "approved"', rate="closed") as tw:
        tw.run("bandwidth", "show")
        tw.start()
        tw.run("bandwidth", "set", "--rate", "unlimited")
        check("sync", tw.run("sync")[0] == 0)
        tw.run("bandwidth", "set", "--calendar")
        rows = [tw.api(f"/updates/{row['update_id']}") for row in rows_of(tw) if row["state"] != "expired"]
        plain = [row for row in rows if len(row["files"]) == 1 and not any(file["patching"] == "Express" for file in row["files"])]
        kind = lambda row: "urgent" if row["classification"] in ("Security Updates", "Critical Updates") else "rest"
        rest, urgent = [r for r in plain if kind(r) == "rest"], [r for r in plain if kind(r) == "urgent"]
        late, soon = rest[1], rest[2]
        for row, more in ((rest[0], []), (urgent[0], []), (late, ["--deadline", "2030-02-01T00:00:00Z"]), (soon, ["--deadline", "2030-01-01T00:00:00Z"])):
            tw.run("updates", "approve", "--accept-license", row["update_id"], "--group", "All Computers", *more)
        expected = [soon["files"][0]["sha1"], late["files"][0]["sha1"], urgent[0]["files"][0]["sha1"], rest[0]["files"][0]["sha1"]]
        def classes():
            rows = tw.api("/transfers")["transfers"]
            return {row["sha1"]: row["class"] for row in rows} if len(rows) == 4 else None
        found = wait_for("four transfers", classes, 30)
        check("each has the class of its approval", [found.get(sha1) for sha1 in expected] == ["deadline", "deadline", "security", "normal"], [found.get(sha1) for sha1 in expected])


def quiet(check):
    """Outside of the quiet window nothing comes ahead, but for what would miss its deadline; the budget is told beside the cost."""
    now = datetime.datetime.now(datetime.timezone.utc)
    at = lambda hours: (now + datetime.timedelta(hours=hours)).strftime("%H:%M")
    content = f'fetch = "learned"\nquiet = {{ from = "{at(3)}", to = "{at(5)}" }}'
    budget = '\n[bandwidth.budget]\ndaily = "40 MB"\n'
    with Stand("--updates", 6, "--definitions", 1, "--definition-files", 60, "--definition-size", "6 MB") as up, Tailwater(up.url, content=content, extra=budget) as tw:
        tw.change('rate = "unlimited"', 'rate = "unlimited"\ntime_zone = "UTC"')
        tw.start()
        tw.run("sync")
        tw.run("updates", "approve", "--accept-license", newest(tw, "Defender")[0], "--group", "All Computers")
        run_clients(tw, 2, 1)
        wait_for("what was learned", lambda: tw.api("/content/learned")["learned"], 20)
        up.publish(definitions=1)
        tw.run("sync")
        second = newest(tw, "Defender")[0]
        answer = tw.json("updates", "approve", second, "--group", "All Computers", "--dry-run")
        left = answer["budget"]["left"]
        check("the budget is told beside the cost", 0 < left <= 40_000_000 and answer["budget"]["is_enough"], f"{left} left, {answer['cost']['left']} to come")
        before = up.sent()
        tw.run("updates", "approve", "--accept-license", second, "--group", "All Computers")
        time.sleep(3)
        plan = tw.api("/content/learned")["ahead"]
        check("outside of the quiet window nothing comes ahead", up.sent() == before and not plan["now"] and plan["waiting"], f"{len(plan['waiting'])} files wait until {plan['quiet_at']}")
        soon = (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        tw.run("updates", "approve", "--accept-license", second, "--group", "All Computers", "--deadline", soon)
        wait_for("what has a deadline comes", lambda: up.sent() - before >= answer["cost"]["left"], 30)
        check("what would miss its deadline does not wait", up.sent() - before == answer["cost"]["left"], f"{up.sent() - before} bytes")
