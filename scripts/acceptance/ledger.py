"""Budgets and the ledger of bytes: issue 4, lines 7 and 9."""
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
