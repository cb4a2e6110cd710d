"""Rates towards agents and downstream servers, measured at the clients' sockets."""
import http.client, threading, time


def pull(tw, address, f, connections, counts, stop):
    """Takes a file over and over from a loopback address of its own."""
    def one():
        while not stop.is_set():
            try:
                connection = http.client.HTTPConnection("127.0.0.1", tw.port, timeout=20, source_address=(address, 0))
                connection.request("GET", f"/Content/{f['hex'][-2:]}/{f['hex']}.cab")
                answer = connection.getresponse()
                while not stop.is_set() and (data := answer.read1(65536)):
                    counts[address] += len(data)
                connection.close()
            except OSError:
                time.sleep(0.05)
    threads = [threading.Thread(target=one, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    return threads


def measure(tw, f, clients, seconds):
    """Mbit/s of each client, after two seconds; and of all in the fullest second."""
    counts, stop = {address: 0 for address, _ in clients}, threading.Event()
    threads = [t for address, connections in clients for t in pull(tw, address, f, connections, counts, stop)]
    time.sleep(2)
    first, began, rows = dict(counts), time.monotonic(), []
    while time.monotonic() - began < seconds:
        rows.append((time.monotonic(), sum(counts.values())))
        time.sleep(0.05)
    took = time.monotonic() - began
    last = dict(counts)
    stop.set()
    for thread in threads:
        thread.join(5)
    fullest = 0
    for t, n in rows:
        later = next(((u, m) for u, m in rows if u >= t + 1), None)
        if later:
            fullest = max(fullest, (later[1] - n) * 8e-6 / (later[0] - t))
    return {a: (last[a] - first[a]) * 8e-6 / took for a in counts}, fullest


def run(tw, f, check, seconds):
    """`tw` holds `f` whole; its rates: 20 Mbit/s in all, 8 for one, 10 for a subnet."""
    clients = [("127.0.1.1", 6), ("127.0.1.2", 1), ("127.0.2.1", 2), ("127.0.3.1", 1)]
    rates, fullest = measure(tw, f, clients, seconds)
    total = sum(rates.values())
    shown = ", ".join(f"{a} {r:.2f}" for a, r in rates.items())
    check("to all of them: 93-100 % of 20 Mbit/s, no second above 105 %", 18.6 <= total <= 20.0 and fullest <= 21.0, f"{total:.2f}, highest {fullest:.2f} Mbit/s")
    # the four share 20 alike while the subnet of the first two may have 10
    check("clients share alike, whatever connections they open", max(rates.values()) <= 1.08 * min(rates.values()), shown)
    rates, _ = measure(tw, f, [("127.0.1.1", 8)], seconds)
    check("one client has its own limit", 7.4 <= rates["127.0.1.1"] <= 8.0, f"{rates['127.0.1.1']:.2f} of 8 Mbit/s")
    rates, _ = measure(tw, f, [("127.0.1.1", 3), ("127.0.1.2", 1), ("127.0.1.3", 1)], seconds)
    total = sum(rates.values())
    check("a subnet has its own limit, and its clients share it", 9.3 <= total <= 10.0 and max(rates.values()) <= 1.08 * min(rates.values()), ", ".join(f"{a} {r:.2f}" for a, r in rates.items()))
    status = tw.json("bandwidth", "show")["downstream"]
    check("bandwidth show says so", status["rate"] == "20 Mbit/s" and status["sent"] > 0, status)
