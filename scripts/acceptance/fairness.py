"""Who gets how much of the link: an agent before what can wait, agents as equals however much they ask for.

Every agent has an address of its own on the loopback. Counted is what agents received, and at the upstream's sockets.
"""
import http.client, socket, statistics, tempfile, threading, time

import documents
from world import Relay, Tailwater, Upstream, wait_for

PIECE = 65536


class Agent:
    """A client with an address of its own that counts what it receives."""

    def __init__(self, port, number):
        self.port, self.source, self.got, self.stop = port, (f"127.0.1.{number}", 0), 0, threading.Event()

    def take(self, path, start=0, end=None):
        """One request; the seconds until its first piece was there, and until its end."""
        began, first, here = time.monotonic(), None, 0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300, source_address=self.source)
        try:
            headers = {"Range": f"bytes={start}-{end - 1}"} if end is not None else {}
            connection.request("GET", path, headers={"User-Agent": "Microsoft-Delivery-Optimization/10.1", **headers})
            answer = connection.getresponse()
            while not self.stop.is_set() and (data := answer.read1(16384)):
                self.got += len(data)
                here += len(data)
                if first is None and here >= min(PIECE, (end or PIECE) - start):
                    first = time.monotonic() - began
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        return first, time.monotonic() - began


def place(f):
    return f"/Content/{f['hex'][-2:]}/{f['hex']}.cab"


def median_speed(times):
    return PIECE * 8 / statistics.median(times)


def priority(check, pieces=20):
    """What an agent waits for, on a link of 4 Mbit/s full of background work."""
    with tempfile.TemporaryDirectory() as folder:
        files = documents.site(folder, [200_000_000, 200_000_000] + [2_000_000] * (2 * pieces + 4))
        with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up:
            relay = Relay(up.port)
            with Tailwater(relay.url, rate="4 Mbit/s") as tw:
                tw.start()
                check("sync", tw.run("sync")[0] == 0)
                tw.approve_all()
                cold = iter(files[2:])

                def first_pieces(number):
                    times = []
                    for n in range(pieces):
                        agent = Agent(tw.port, 1 + n % 8)
                        times.append(agent.take(place(next(cold)), 0, PIECE)[0])
                        time.sleep(0.15)
                    return times

                def long_ranges(count):
                    return [Agent(tw.port, 20).take(place(next(cold)), 0, 1 << 20) for _ in range(count)]

                time.sleep(1)
                idle, idle_long = first_pieces(1), long_ranges(2)
                code, _, err = tw.run("content", "fetch", documents.update(0), "--no-wait")
                code2, _, err2 = tw.run("content", "fetch", documents.update(1), "--no-wait")
                check("background work begins", code == 0 and code2 == 0, (err + err2).strip()[-200:])
                wait_for("a full link", lambda: tw.api("/bandwidth")["bits_per_second"] > 3.5e6, 30)
                time.sleep(3)
                rows = relay.sample(3)
                full = (rows[-1][1] - rows[0][1]) * 8 / rows[-1][0]
                check("the background fills the link", full >= 0.95 * 4e6, f"{full / 4e6:.3f} of 4 Mbit/s")
                loaded, loaded_long = first_pieces(2), long_ranges(2)
                share = median_speed(loaded) / median_speed(idle)
                show = lambda times: f"median {statistics.median(times) * 1000:.0f} ms, most {max(times) * 1000:.0f} ms"
                check("an agent's first piece comes at 80 % of its speed on an idle link or more", share >= 0.8, f"{100 * share:.0f} %: idle {show(idle)}, loaded {show(loaded)}")
                share = sum(t for _, t in idle_long) / sum(t for _, t in loaded_long)
                check("a range of 1 MiB comes at 80 % of its speed or more", share >= 0.8, f"{100 * share:.0f} %")
                before = {row["class"]: row["received"] for row in tw.api("/bandwidth")["by_class"]}["normal"]
                began = time.monotonic()
                time.sleep(2)
                middle = {row["class"]: row["received"] for row in tw.api("/bandwidth")["by_class"]}["normal"]
                at = time.monotonic()
                time.sleep(3)
                after = {row["class"]: row["received"] for row in tw.api("/bandwidth")["by_class"]}["normal"]
                speed = (after - middle) * 8 / (time.monotonic() - at)
                soon = (middle - before) * 8 / (at - began)
                check("the background has its full speed within 2 s after it", speed >= 0.95 * 4e6, f"{speed / 4e6:.3f} of 4 Mbit/s; in the first 2 s {soon / 4e6:.3f}")


def shares(tw, files, plan, seconds, settle=4):
    """What each agent got in `seconds`; plan: for each agent a list of (file, start, end) that it asks for at once."""
    agents = [Agent(tw.port, 1 + n) for n in range(len(plan))]

    for agent, asks in zip(agents, plan):
        for f, start, end in asks:
            threading.Thread(target=agent.take, args=(place(f), start, end), daemon=True).start()
    time.sleep(settle)
    before = [agent.got for agent in agents]
    time.sleep(seconds)
    got = [agent.got - b for agent, b in zip(agents, before)]
    for agent in agents:
        agent.stop.set()
    # what was asked for is fetched to the end of its window
    wait_for("an idle link", lambda: tw.api("/bandwidth")["bits_per_second"] < 50_000, 120)
    return [100 * g / max(1, sum(got)) for g in got], sum(got) * 8 / seconds


def fairness(check, seconds=30):
    """Eight agents on eight files, one with fifty requests; and one with ten files against three."""
    with tempfile.TemporaryDirectory() as folder:
        files = documents.site(folder, [80_000_000] * 8 + [20_000_000] * 20)
        with Upstream("--docs", f"{folder}/docs", "--content", f"{folder}/content") as up:
            with Tailwater(up.url, rate="8 Mbit/s") as tw:
                tw.start()
                check("sync", tw.run("sync")[0] == 0)
                tw.approve_all()
                text = lambda parts, total: " ".join(f"{p:.1f}" for p in parts) + f" % of {total / 1e6:.2f} Mbit/s"
                fifty = [(files[0], n << 20, (n + 1) << 20) for n in range(50)]
                parts, total = shares(tw, files, [fifty] + [[(f, 0, None)] for f in files[1:8]], seconds)
                check("8 agents on 8 files, one with 50 requests at once: each 12.5 % ± 2.5", all(10 <= p <= 15 for p in parts), text(parts, total))
                ten = [(f, 0, None) for f in files[8:18]]
                parts, total = shares(tw, files, [ten] + [[(f, 0, None)] for f in files[18:21]], seconds)
                check("an agent with 10 files against 3 with one each: each 25 % ± 5", all(20 <= p <= 30 for p in parts), text(parts, total))
                tw.run("bandwidth", "set", "--rate", "2 Mbit/s")
                twelve = [[(f, 10_000_000, 20_000_000)] for f in files[8:18]] + [[(f, 10_000_000, 20_000_000)] for f in files[21:23]]
                # a turn is half a megabyte here: enough of them, so that one more or less does not count
                parts, total = shares(tw, files, twelve, max(seconds, 75))
                check("12 agents on a link for 4 transfers: each 8.3 % ± 2.5", all(5.8 <= p <= 10.8 for p in parts), text(parts, total))
