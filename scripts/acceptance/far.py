"""The rate on a link whose upstream is far away: the link of polite.py, wider than our rate, with longer delays.

The windows of a few connections must hold what is on the way, or the rate is not used; and what was on its way must not
come in bursts: ten seconds are judged, single ones are told. They are counted where packets leave the upstream's side. Needs root, ip and /dev/net/tun.
"""
import os, statistics, subprocess, tempfile, time

WIDE = 60e6
# rate in Mbit/s, round trip in ms, files at once
CASES = [(2, 150, 4), (2, 150, 1), (2, 600, 4), (2, 600, 1), (8, 150, 1), (8, 300, 4), (8, 600, 4), (20, 150, 4)]


def cases():
    """TAILWATER_FAR="2/600/1 8/150/4": others than those above."""
    named = os.environ.get("TAILWATER_FAR")
    return [tuple(float(part) if at < 2 else int(part) for at, part in enumerate(case.split("/"))) for case in named.split()] if named else CASES


def far(check):
    import polite
    if lacks := polite.missing():
        print(f"SKIP far: needs {lacks}")
        return
    seconds = int(os.environ.get("TAILWATER_SECONDS", "40"))
    for rate, delay, files in cases():
        one(check, polite, rate, delay, files, seconds)


def one(check, polite, rate, delay, files, seconds):
    from world import PROBES, PYTHON, Tailwater, fetch, wait_for
    import documents
    os.environ.update(LINK_RATE=str(WIDE), LINK_DELAY=str(delay / 1000))
    running, processes, home = polite.Link(), [], open("/proc/thread-self/ns/net")
    try:
        with tempfile.TemporaryDirectory() as folder:
            documents.site(folder, [100_000_000 // files + 20_000_000] * files)
            upstream = [PYTHON, str(PROBES / "fake_uss.py"), "--bind", polite.THERE, "--port", str(polite.OURS), "--docs", f"{folder}/docs", "--content", f"{folder}/content"]
            processes.append(subprocess.Popen(["ip", "netns", "exec", polite.FAR, *upstream], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            polite.enter(polite.NEAR)
            url = f"http://{polite.THERE}:{polite.OURS}"
            wait_for("the upstream", lambda: fetch(url + "/_counters"), 30)
            with Tailwater(url) as tw:
                tw.start()
                assert tw.run("sync")[0] == 0
                assert tw.run("bandwidth", "set", "--rate", f"{rate} Mbit/s")[0] == 0
                for n in range(files):
                    code, _, err = tw.run("content", "fetch", documents.update(n), "--no-wait")
                    assert code == 0, err
                start = time.monotonic() + 6
                time.sleep(6 + seconds)
                judge(check, running.span(start, start + seconds), rate, f"{rate:g} Mbit/s, {delay:g} ms, {files} file{'s' * (files > 1)}")
    finally:
        polite.enter(home)
        for process in processes:
            process.kill()
            process.wait()
        running.close()


def judge(check, rows, rate, name):
    """A row is a twentieth of a second: when, and in its fourth place the bytes of ours that left so far. Heads count."""
    share = lambda a, b: (b[3] - a[3]) * 8 / (b[0] - a[0]) / (rate * 1e6)
    mean = share(rows[0], rows[-1])
    each, tens = ([share(rows[n], rows[n + width]) for n in range(len(rows) - width)] for width in (20, 200))
    if os.environ.get("TAILWATER_TRACE"):
        print("  KiB in each twentieth of a second:", *(round((after[3] - row[3]) / 1024) for row, after in zip(rows, rows[1:])))
    # packets have heads of 52 bytes that no socket counts: 3.6 % of full ones
    check(f"{name}: at least 95 % of the rate", mean >= 0.95, f"mean {100 * mean:.1f} % with the packets' heads, seconds from {100 * min(each):.0f} to {100 * max(each):.0f} %, median {100 * statistics.median(each):.0f}")
    check(f"{name}: no ten seconds above 105 %", max(tens) / 1.036 <= 1.05, f"{100 * max(tens) / 1.036:.1f} % without the heads; the highest second {100 * max(each) / 1.036:.1f} %")
