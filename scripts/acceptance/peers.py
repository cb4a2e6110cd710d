"""Between two tailwaters: what the short way costs beside MS-WSUSSS, outages in the middle, and how fast news travel."""
import os, socket, threading, time

import chains, clients
from world import Relay, Tailwater, Upstream, fetch, wait_for


class PlainRelay(Relay):
    """Hides the paths of tailwaters, so that the child takes the upstream for a WSUS."""

    def _pump(self, source, sink, down):
        if down:
            return super()._pump(source, sink, down)
        try:
            while data := source.recv(16384):
                if data.split(b" ", 2)[1:2] and data.split(b" ", 2)[1].lower().startswith(b"/tailwater"):
                    source.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                else:
                    sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def moved(tw):
    """Bytes that crossed this server's link, both ways."""
    link = tw.api("/bandwidth")
    return link["received"] + link["sent"]


def cost(tw, work):
    before = moved(tw)
    work()
    return moved(tw) - before


def bytes_of_both_ways(folder, check):
    """4: first synchronisation, no change, 100 revisions changed: each on the same catalogue at the same time."""
    with Upstream("--catalog", folder) as up, Tailwater(up.url, languages=chains.LANGUAGES) as head:
        head.start()
        assert head.run("sync")[0] == 0
        short, plain = Relay(head.port), PlainRelay(head.port)
        with Tailwater(short.url, languages=chains.LANGUAGES) as near, Tailwater(plain.url, languages=chains.LANGUAGES) as far:
            def both(what):
                out = []
                for tw in (near, far):
                    def sync():
                        code, _, err = tw.run("sync")
                        assert code == 0, err[-300:]
                    out.append(cost(tw, sync))
                print(f"{what}: {out[0]} bytes between tailwaters, {out[1]} bytes over MS-WSUSSS with xpress and cabinets, {100 * out[0] / out[1]:.1f} %", flush=True)
                return out
            near.start(), far.start()
            ours, theirs = both(f"first synchronisation of {len(chains.held(head))} revisions")
            check("first synchronisation: at most 15 % of MS-WSUSSS", ours <= 0.15 * theirs, f"{ours} of {theirs}")
            check("what arrived is equal both ways", chains.held(near) == chains.held(far) == chains.held(head))
            ours, theirs = both("no change")
            check("a round without a change: at most 2 KB", ours <= 2048, f"{ours} bytes, MS-WSUSSS {theirs}")
            up.mutate(op="revise", n=100)
            assert head.run("sync")[0] == 0
            ours, theirs = both("100 revisions changed")
            check("100 revisions changed: at most 25 % of MS-WSUSSS", ours <= 0.25 * theirs, f"{ours} of {theirs}")
            check("what arrived is equal again", chains.held(near) == chains.held(far) == chains.held(head))


def news_travel(folder, check):
    """5: an approval at the root is offered at depth 4 in under 60 s, without anybody asking for a synchronisation."""
    with Upstream("--catalog", folder) as up, Tailwater(up.url) as one, Tailwater(one.url, mode="replica") as two, \
            Tailwater(two.url, mode="replica") as three, Tailwater(three.url, mode="replica") as four:
        for tw in (one, two, three, four):
            tw.start()
            assert tw.run("sync")[0] == 0
        first = min(moved(tw) for tw in (three, four))
        told = chains.offers(four, 1)
        candidates = [u["update_id"] for u in chains.updates(one) if u["approvable"] and told.get(u["update_id"], ("",))[0] == "PreDeploymentCheck"]
        some, other = candidates[:2]
        before = told[some][0]
        one.run("updates", "approve", "--accept-license", some, "--group", "All Computers")
        began = time.monotonic()
        wait_for("the approval at depth 4", lambda: chains.offers(four, 1).get(some, ("", ""))[0] == "Install", 60)
        check("an approval at the root is offered at depth 4 in under 60 s", before != "Install" and time.monotonic() - began < 60, f"{time.monotonic() - began:.1f} s, before: {before}")
        outage(one, two, three, four, some, other, first, check)


def outage(one, two, three, four, some, other, first, check):
    """3: the middle is killed, things change meanwhile, it comes back: the leaf serves throughout and catches up by itself."""
    two.kill()
    one.run("updates", "unapprove", some)
    one.run("updates", "approve", "--accept-license", other, "--group", "All Computers")
    served = 0
    for n in range(20):
        served += chains.offers(four, 1).get(some, ("", ""))[0] == "Install"
        time.sleep(float(os.environ.get("TAILWATER_OUTAGE_SECONDS", "20")) / 20)
    check("the leaf serves what it holds while the middle is gone", served == 20, f"{served} of 20 scans")
    before = [moved(tw) for tw in (three, four)]
    held = len(chains.held(four))
    two.start()
    wait_for("the leaf to catch up", lambda: chains.offers(four, 1).get(other, ("", ""))[0] == "Install", 180)
    again = [moved(tw) - b for tw, b in zip((three, four), before)]
    check("it catches up by itself and sends under 1 % again", chains.offers(four, 1).get(some, ("", ""))[0] != "Install" and max(again) < 0.01 * first, f"{again} bytes after {first} of the first synchronisation of {held} revisions")
