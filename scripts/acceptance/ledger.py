"""Budgets and the ledger of bytes."""
import http.client, json, os, pathlib, random, struct, tempfile, threading, time

import clients, documents
from world import Relay, Tailwater, Upstream, fetch, wait_for

PIECE = 64 * 1024


def zone_with_midnight_at(folder, moment):
    """A time zone of our own, in a folder for TZDIR, whose day ends at that second: a TZif file with only a rule."""
    east = -int(moment) % 86400
    hours, minutes, seconds = east // 3600, east // 60 % 60, east % 60
    header = b"TZif2" + bytes(15) + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    kind = struct.pack(">iBB", east, 0, 0) + b"TST\0"
    place = pathlib.Path(folder) / "Test"
    place.mkdir(exist_ok=True)
    (place / "Midnight").write_bytes(header + kind + header + kind + f"\n<TST>-{hours:02}:{minutes:02}:{seconds:02}\n".encode())
    return "Test/Midnight"


class Pullers:
    """Agents that ask for files in pieces until they are told to stop; counts refusals."""

    def __init__(self, tailwater, files, per_file=1):
        self.stop_now, self.refused, self.got, self.retry_after = threading.Event(), 0, 0, []
        self.tailwater, self.threads = tailwater, []
        for number, f in enumerate(files * per_file):
            thread = threading.Thread(target=self.pull, args=(f, number), daemon=True)
            thread.start()
            self.threads.append(thread)

    def pull(self, f, number):
        path = f"/Content/{f['hex'][-2:]}/{f['hex']}.cab"
        for start, end in clients.shuffled(f["size"], f"{f['hex']} {number}", 1 << 18):
            if self.stop_now.is_set():
                return
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.tailwater.port, timeout=30)
                connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}"})
                answer = connection.getresponse()
                data = answer.read()
                if answer.status == 206:
                    self.got += len(data)
                else:
                    self.refused += 1
                    self.retry_after.append((answer.status, answer.getheader("Retry-After"), data[:120]))
                    self.stop_now.wait(0.3)
                connection.close()
            except (OSError, http.client.HTTPException):
                self.stop_now.wait(0.3)

    def stop(self):
        self.stop_now.set()
        for thread in self.threads:
            thread.join(40)


class Watch:
    """Samples what the upstream's sockets had acknowledged, and how many were open."""

    def __init__(self, relay):
        self.relay, self.rows, self.most_open, self.going = relay, [], 0, True
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while self.going:
            with self.relay.lock:
                self.most_open = max(self.most_open, len(self.relay.open))
            self.rows.append((time.time(), self.relay.acked()))
            time.sleep(0.02)

    def at(self, moment):
        """Bytes acknowledged up to then."""
        return max((n for t, n in self.rows if t <= moment), default=0)


def budget(folder, check):
    """7: a day's budget over kill -9, restarts and midnight, limited and unlimited, counted at the upstream's sockets."""
    limit = 12_000_000
    files = documents.site(folder, [12_000_000] * 4)
    with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up:
        relay = Relay(up.port)
        with Tailwater(relay.url, rate="8 Mbit/s") as tw:
            midnight = int(time.time()) + int(os.environ.get("TAILWATER_BUDGET_SECONDS", "60"))
            os.environ["TZDIR"] = folder
            zone = zone_with_midnight_at(folder, midnight)
            tw.change('rate = "8 Mbit/s"', f'rate = "8 Mbit/s"\ntime_zone = "{zone}"\n[bandwidth.budget]\ndaily = "{limit} B"\nmonthly = "1 GB"\nreserve = "25 %"\nurgent = ["interactive", "metadata"]')
            watch = Watch(relay)
            tw.start()
            check("sync", tw.run("sync")[0] == 0)
            tw.approve_all()
            pullers = Pullers(tw, files, 2)
            for wait in (2, 2.5, 1.5):
                time.sleep(wait)
                tw.kill()
                counted = relay.acked()
                tw.start()
                spent = tw.api("/bandwidth")["budget"]["daily"]
                check("kill -9: nothing is forgotten, at most a block and what was granted counts too much", counted <= spent["spent"] <= counted + 2_000_000, f"crossed {counted}, counted {spent['spent']}")
            wait_for("the budget is spent", lambda: tw.api("/bandwidth")["budget"]["standing"] == "spent", 40)
            tw.restart()
            time.sleep(2)
            check("a restart gives nothing back", tw.api("/bandwidth")["budget"]["standing"] == "spent")
            late = pullers.retry_after[-1:]
            check("agents are told: 503 with Retry-After", bool(late) and late[0][0] == 503 and 1 <= int(late[0][1] or 0) <= 3600 and b"budget" in late[0][2], late)
            code, out, _ = tw.run("status")
            check("status says it", code == 0 and "Today" in out and "budget is spent" in out, [line for line in out.splitlines() if "Today" in line or "budget" in line])
            time.sleep(max(0, midnight - time.time() - 1))
            pullers.stop()
            tw.run("bandwidth", "set", "--rate", "unlimited")
            # transfers run when the day ends: what is left of its budget does not pass into the next
            pullers = Pullers(tw, files, 2)
            time.sleep(max(0, midnight + 3 - time.time()))
            first, slack = watch.at(midnight), PIECE * watch.most_open
            check("day 1: never more than the budget and a piece for each transfer", first <= limit + slack, f"{first} of {limit}, at most {watch.most_open} connections")
            check("day 1: the budget can be used", first >= 0.8 * limit, f"{first} of {limit} after three kills")
            wait_for("the second day's is spent", lambda: tw.api("/bandwidth")["budget"]["standing"] == "spent", 60)
            time.sleep(2)
            second = relay.acked() - first
            check("day 2, unlimited: the same", 0.95 * limit <= second <= limit + slack, f"{second} of {limit}")
            reading = tw.api("/bandwidth")["budget"]
            check("the month is the sum of its days", first + second <= reading["monthly"]["spent"] <= first + second + 3_000_000, f"{reading['monthly']['spent']} for {first + second}")
            pullers.stop()
            watch.going = False


def ledger(folder, check):
    """9: the ledger against the upstream's sockets over a mixed time: metadata, agents, aborts, ahead, a kill, other upstreams' heads."""
    seconds = int(os.environ.get("TAILWATER_LEDGER_SECONDS", "40"))
    *files, spoiled = documents.site(folder, [3_000_000, 9_000_000, 20_000_000, 30_000_000, 700_000, 40_000, 2_000_000])
    with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up:
        relay = Relay(up.port)
        with Tailwater(relay.url, rate="16 Mbit/s") as tw:
            tw.start()
            check("sync", tw.run("sync")[0] == 0)
            tw.approve_all()
            for rule in (dict(kind="drop", bytes=90_000, after=3, count=25), dict(kind="short", cut=1000, after=10, count=5), dict(kind="corrupt", after=40, count=1), dict(kind="norange", after=20, count=2)):
                up.inject(match="/Content/", **rule)
            total = lambda by="day", more=(): tw.json("bandwidth", "ledger", "--by", by, *more)
            end, got, lock, dice = time.monotonic() + seconds, [0], threading.Lock(), random.Random(7)

            def agent(number):
                dice = random.Random(number)
                while time.monotonic() < end:
                    f = dice.choice(files)
                    path = f"/Content/{f['hex'][-2:]}/{f['hex']}.cab"
                    start = dice.randrange(0, f["size"])
                    stop = min(f["size"], start + dice.choice([1, 5_000, 300_000, 1 << 20]))
                    connection = http.client.HTTPConnection("127.0.0.1", tw.port, timeout=20)
                    try:
                        whole = dice.random() < 0.2
                        headers = {} if whole else {"Range": f"bytes={start}-{stop - 1}"}
                        if not whole and dice.random() < 0.2 and stop < f["size"] - 10:
                            headers = {"Range": f"bytes={start}-{stop - 1},{stop + 5}-{stop + 9}"}
                        connection.request("GET", path, headers=headers)
                        answer = connection.getresponse()
                        if whole and dice.random() < 0.5:
                            with lock:
                                got[0] += len(answer.read(min(f["size"], 500_000)))
                        else:
                            data = answer.read()
                            with lock:
                                got[0] += sum(int(b) - int(a) + 1 for a, b in ((start, stop - 1), (stop + 5, stop + 9))) if b"--" == data[:2] and answer.getheader("Content-Type", "").startswith("multipart") else len(data)
                    except (OSError, http.client.HTTPException):
                        pass
                    finally:
                        connection.close()

            threads = [threading.Thread(target=agent, args=(n,), daemon=True) for n in range(6)]
            for thread in threads:
                thread.start()
            # one that no agent reads comes damaged the first time
            up.inject(match=f"/Content/{spoiled['hex'][-2:]}/{spoiled['hex']}", kind="corrupt", count=1)
            tw.run("content", "fetch", documents.update(6), "--no-wait")
            tw.run("content", "fetch", "--approved")
            tw.run("sync")
            for thread in threads:
                thread.join(seconds + 60)
            wait_for("transfers end", lambda: not tw.api("/transfers")["transfers"], 120)
            time.sleep(3)
            crossed, answer = relay.crossed(), total()
            t = answer["total"]
            # segments that came twice are known for the whole machine only, and agents use the same one here
            check("received agrees with the upstream's sockets: -0.5 to +1 %", 0.995 * crossed <= t["received"] <= 1.01 * crossed, f"{t['received']} of {crossed}, {100 * t['received'] / crossed - 100:+.3f} %")
            check("avoided + fetched = served", t["avoided"] + t["fetched"] == t["served"] and t["served"] > 0, t)
            check("payload = fetched + wasted + ahead", t["payload"] == t["fetched"] + t["wasted"] + answer["ahead"], answer["ahead"])
            check("what came damaged and was dropped unread is wasted", spoiled["size"] <= t["wasted"] < t["payload"], t["wasted"])
            check("payload is received, and the most of it", t["payload"] <= t["received"] <= 1.05 * t["payload"], f"{t['payload']} of {t['received']}")
            check("served is what agents read, and what was on its way to those who left", t["served"] >= got[0] > 0, f"{t['served']} sent, {got[0]} read")
            for by, names in (("class", ("received", "payload", "wasted")), ("file", ("payload", "wasted", "served", "fetched")), ("source", ("payload", "wasted")), ("client", ("served", "fetched")), ("hour", ("received", "served")), ("month", ("received", "served"))):
                rows = total(by)["rows"]
                sums = {name: sum(row[name] for row in rows) for name in names}
                check(f"by {by}: the rows add up to the total", all(sums[name] == t[name] for name in names), f"{len(rows)} rows")
            code, out, _ = tw.run("bandwidth", "ledger", "--by", "file", "--csv")
            rows = [line.split(",") for line in out.splitlines()]
            check("CSV says the same", code == 0 and rows[0][0] == "file" and rows[-1][2] == str(t["received"]) and len({len(row) for row in rows}) == 1, rows[-1])
            metrics = fetch(tw.admin + "/metrics").decode()
            check("metrics say the same", f"tailwater_ledger_served_bytes_total {t['served']}" in metrics and f"tailwater_ledger_avoided_bytes_total {t['avoided']}" in metrics)
            tw.restart()
            again = total()
            check("a restart keeps it", again["total"]["served"] == t["served"] and again["total"]["received"] >= t["received"] and again["ahead"] == answer["ahead"], again["total"])
            lost = Pullers(tw, files[:2])
            time.sleep(4)
            tw.kill()
            lost.stop_now.set()
            tw.start()
            after = total()["total"]
            check("kill -9 loses seconds of it, and nothing before", after["served"] >= t["served"] and after["avoided"] + after["fetched"] == after["served"], f"{after['served'] - t['served']} of {lost.got} entered")
            size = sum(p.stat().st_size for p in (tw.data / "ledger").iterdir())
            check("it is small", size < 1_000_000, f"{size} bytes")
