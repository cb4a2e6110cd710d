"""Agents that fetch content the way Delivery Optimization does, many at once."""
import hashlib, http.client, random, threading, time


def fetch_ranges(port, path, ranges, sink=None, errors=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    for start, end in ranges:
        for attempt in (0, 1, 2):
            try:
                connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}", "User-Agent": "Microsoft-Delivery-Optimization/10.1", "Content-Length": "0"})
                answer = connection.getresponse()
                data = answer.read()
                if answer.status == 206 and len(data) == end - start:
                    if sink is not None:
                        sink(start, data)
                    break
                reason = f"{answer.status} with {len(data)} of {end - start} bytes"
            except (OSError, http.client.HTTPException) as error:
                reason = repr(error)
            connection.close()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            time.sleep(0.5)
        else:
            if errors is not None:
                errors.append(reason)
    connection.close()


def many(count, work):
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def shuffled(size, seed, step=1 << 20):
    ranges = [(at, min(at + step, size)) for at in range(0, size, step)]
    random.Random(seed).shuffle(ranges)
    return ranges


def unaligned(size, seed, count, step=1 << 20):
    dice = random.Random(seed)
    return [(at, at + step) for at in (dice.randrange(0, size - step) for _ in range(count))]


def distinct(ranges):
    total, reach = 0, 0
    for start, end in sorted(ranges):
        total += max(0, end - max(start, reach))
        reach = max(reach, end)
    return total
