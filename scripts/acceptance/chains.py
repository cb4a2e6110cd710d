"""Chains of servers: replicas that do what their upstream decided, and content that crosses each hop once."""
import hashlib, json, pathlib, random, re, time, urllib.error

import clients
from world import Tailwater, Upstream, fetch, wait_for

ALL, UNASSIGNED = "a0a08746-4dbe-4a37-9adf-9e7652c0b421", "b73ca6ed-5727-47f3-84de-015e03f6a88a"
LANGUAGES = ("en", "de", "ja", "fr", "ar", "zh-cn", "ru", "cs", "it", "es", "ko", "pt-br", "zh-tw", "nl", "pl", "sv")
ACTIONS = ("install", "uninstall", "detect", "block")


def updates(tw):
    return tw.rows("/updates?limit=1000", "updates")


def groups(tw):
    """{id: (name, parent)}"""
    return {g["group_id"]: (g["name"], g["parent_id"]) for g in tw.api("/groups")["groups"]}


def decisions(tw):
    """Approvals of deployable updates by their lasting identity, and what is declined."""
    rows = updates(tw)
    approvals = {a["approval_id"]: (u["update_id"], a["group_id"], a["action"], a["deadline"]) for u in rows for a in u["approvals"]}
    return approvals, {u["update_id"] for u in rows if u["declined"]}


def decided_by(up, tw):
    """The same of the simulator, as far as this tailwater has the updates."""
    told, known = up.catalog(), {u["update_id"] for u in updates(tw)}
    when = lambda text: None if text.startswith("9999") else text.rstrip("Z") + "Z"
    approvals = {d["guid"]: (d["update"], d["group"], ACTIONS[d["action"]], when(d["deadline"])) for d in told["deployments"] if d["update"] in known}
    parents = lambda g: None if g["id"] == ALL else g["parent"]
    return approvals, set(told["hidden"]) & known, {g["id"]: (g["name"], parents(g)) for g in told["groups"]}


def equal(name, tw, up, check):
    approvals, declined = decisions(tw)
    wanted, hidden, named = decided_by(up, tw)
    odd = {k for k in set(approvals) | set(wanted) if approvals.get(k) != wanted.get(k)}
    detail = f"{len(approvals)} approvals, {len(declined)} declined, {len(named)} groups; differ: {len(odd)} {[(approvals.get(k), wanted.get(k)) for k in sorted(odd)[:1]]}"
    return check(name, not odd and declined == hidden and groups(tw) == named, detail)


def offers(tw, number, group=None):
    """What an agent is told: {update: (action, deadline)}; with a group, after it was put there."""
    agent = clients.RawAgent(tw.port, number=number)
    if group:
        list(agent.scan())
        tw.api(f"/computers/{agent.id}/group", "PUT", {"group": group})
        agent = clients.RawAgent(tw.port, number=number)
    list(agent.scan())
    return agent.offers


def refusals(tw, url, check):
    """Everything that upstream decides is refused with its name; what is this site's own is not."""
    some = next(u for u in updates(tw) if u["approvable"])["update_id"]
    pilot = next(i for i, (name, _) in groups(tw).items() if i not in (ALL, UNASSIGNED))
    before = (decisions(tw), groups(tw))
    asked = [("POST", "/updates/approve", {"updates": [some], "group": ALL}), ("POST", "/updates/unapprove", {"updates": [some], "group": ALL}), ("POST", "/updates/decline", {"updates": [some]}), ("POST", "/updates/undecline", {"updates": [some]}),
             ("POST", "/groups", {"name": "Mine"}), ("PATCH", "/groups/" + pilot, {"name": "Mine"}), ("DELETE", "/groups/" + pilot, None)]
    for method, path, body in asked:
        try:
            tw.api(path, method, body)
            status, text = 200, ""
        except urllib.error.HTTPError as error:
            status, text = error.code, json.loads(error.read())["error"]["message"]
        check(f"replica: {method} {path.replace(pilot, '…')} is refused", status == 409 and url in text and "updates hold" in text, f"{status} {text[:120]}")
    code, out, err = tw.run("updates", "approve", "--accept-license", some, "--group", "All Computers")
    check("replica: the command says the same, exit 1", code == 1 and url in err and "updates hold" in err, f"exit {code} {err.strip()[-160:]}")
    check("replica: nothing changed", (decisions(tw), groups(tw)) == before)


def holding(tw, check):
    """An update is held back, for good and for a time."""
    some = next(u for u in updates(tw) if u["state"] == "approved" and any(a["group_id"] == ALL and a["action"] == "install" for a in u["approvals"]) and not u["superseded"])["update_id"]
    offered = lambda: offers(tw, 77).get(some, ("nothing", ""))[0]
    before = offered()
    code = tw.run("updates", "hold", some, "--reason", "breaks the scanners")[0]
    listed = tw.json("updates", "list", "--state", "held")["updates"]
    check("a held update is offered to nobody", code == 0 and before == "Install" and offered() == "PreDeploymentCheck" and [u["update_id"] for u in listed] == [some], f"exit {code}, {before}")
    tw.restart()
    check("and after a restart", offered() == "PreDeploymentCheck")
    tw.run("updates", "release", some)
    check("and is offered again when it is let go", offered() == "Install")
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
    tw.run("updates", "hold", some, "--until", until)
    check("held for a time", offered() == "PreDeploymentCheck", until)
    wait_for("the hold's end", lambda: offered() == "Install", 20)
    check("and by itself offered again", True)


def replica(folder, check):
    with Upstream("--catalog", folder) as up, Tailwater(up.url, mode="replica", languages=LANGUAGES) as tw:
        tw.start()
        code, out, err = tw.run("sync")
        check("a replica synchronises", code == 0, f"exit {code}")
        equal("groups, approvals, deadlines and declines are upstream's", tw, up, check)
        up.reset()
        code = tw.run("sync")[0]
        counters = up.counters()
        check("nothing new: no documents, one GetDeployments", code == 0 and counters["updates_sent"] == 0 and counters["operations"].get("GetDeployments") == 1, counters["operations"])
        before = {g: offers(tw, 10 + n, g) for n, g in enumerate(list(groups(tw))[2:])}
        check("agents of each group are offered what is approved for it", all(any(a == "Install" for a, _ in o.values()) for o in before.values()), {g[:8]: sum(a == "Install" for a, _ in o.values()) for g, o in before.items()})
        refusals(tw, up.url, check)
        for op, n in (("deploy", 20), ("undeploy", 10), ("hide", 5)):
            up.mutate(op=op, n=n)
        up.reset()
        code = tw.run("sync")[0]
        check("after changes: synchronises without documents", code == 0 and up.counters()["updates_sent"] == 0, f"exit {code}")
        equal("and is equal again", tw, up, check)
        holding(tw, check)
        up.mutate(op="server-id")
        up.reset()
        code = tw.run("sync")[0]
        check("upstream became another: nothing fetched again", code == 0 and up.counters()["updates_sent"] == 0, f"exit {code}")
        equal("and is equal still", tw, up, check)
        modes(tw, up, check)
        interrupted(tw, up, check)


def modes(tw, up, check):
    """Changing the mode keeps what is held and asks for no documents."""
    revisions = tw.api("/revisions?documents=true")["revisions"]
    some = next(u for u in updates(tw) if u["approvable"] and u["state"] == "unapproved")["update_id"]
    up.reset()
    tw.change('mode = "replica"', 'mode = "autonomous"')
    tw.restart()
    check("autonomous: decides itself", tw.run("updates", "approve", "--accept-license", some, "--group", "All Computers")[0] == 0 and tw.run("groups", "create", "Mine")[0] == 0)
    code = tw.run("sync")[0]
    operations = up.counters()["operations"]
    check("autonomous: synchronises without documents or deployments", code == 0 and not {"GetUpdateData", "GetDeployments"} & set(operations), operations)
    check("autonomous: keeps its own decisions", any(u["update_id"] == some and u["state"] == "approved" for u in updates(tw)) and any(n == "Mine" for n, _ in groups(tw).values()))
    tw.change('mode = "autonomous"', 'mode = "replica"')
    tw.restart()
    code = tw.run("sync")[0]
    operations = up.counters()["operations"]
    check("replica again: synchronises without documents", code == 0 and "GetUpdateData" not in operations, operations)
    equal("replica again: upstream's decisions, and none of its own", tw, up, check)
    check("every revision is what it was", tw.api("/revisions?documents=true")["revisions"] == revisions, len(revisions))


def interrupted(tw, up, check):
    """kill -9 at any moment of taking decisions over: before or after, never between."""
    dice, halves = random.Random(5), 0
    for _ in range(6):
        before = decided_by(up, tw)[:2]
        for op, n in (("deploy", 150), ("undeploy", 140), ("hide", 20)):
            up.mutate(op=op, n=n)
        after = decided_by(up, tw)[:2]
        fetch(tw.admin + "/api/v1/sync", "POST", b"{}", {"Authorization": "Bearer " + tw.token(), "Content-Type": "application/json"})
        time.sleep(dice.uniform(0, 0.6))
        tw.kill()
        tw.start()
        halves += decisions(tw) not in (before, after)
        code = tw.run("sync")[0]
        halves += code != 0 or decisions(tw) != after
    check("killed six times while decisions are taken over: all or nothing, then all", halves == 0, f"{halves} halves")


def documents_of(folder):
    """SHA-256 of each document as upstream has it: {(update, revision): hash}."""
    out = {}
    for path in (pathlib.Path(folder) / "docs").iterdir():
        # neither the declaration nor white space around a document is part of it
        text = re.sub(rb"\A<\?xml[^>]*\?>", b"", path.read_bytes()).strip()
        found = re.search(rb'UpdateIdentity UpdateID="([0-9A-Fa-f-]{36})" RevisionNumber="(\d+)"', text)
        out[(found.group(1).decode().lower(), int(found.group(2)))] = hashlib.sha256(text).hexdigest().upper()
    return out


def held(tw):
    rows = tw.api("/revisions?documents=true")["revisions"]
    return {(r["update_id"], r["revision"]): r["document_sha256"] for r in rows}


def chain(folder, check, way):
    """`way` is how servers of one kind speak: "off" is MS-WSUSSS, "sync" their own way."""
    like = dict(mode="replica", languages=LANGUAGES, tailwater=way)
    with Upstream("--catalog", folder) as up, Tailwater(up.url, languages=LANGUAGES) as head, Tailwater(head.url, **like) as region, Tailwater(region.url, **like) as branch:
        levels = (head, region, branch)
        for name, tw in zip(("second", "third", "fourth"), levels):
            tw.start()
            code, out, err = tw.run("sync")
            check(f"the {name} level synchronises", code == 0, f"exit {code}" + (err.strip()[-200:] if code else ""))
        stored = [held(tw) for tw in levels]
        there = documents_of(folder)
        newest = {(r["id"], r["rev"]) for r in up.catalog()["revisions"] if r["latest"]}
        check("second level: every revision, document for document", set(stored[0]) == newest and all(there[k] == v for k, v in stored[0].items()), f"{len(stored[0])} of {len(newest)}, {sum(there.get(k) != v for k, v in stored[0].items())} documents differ")
        check("third and fourth level: the same by update, revision and document hash", stored[0] == stored[1] == stored[2], [len(s) for s in stored])
        decided(head, region, branch, check)
        content(up, levels, check)
        if way != "off":
            followed(head, region, branch, check)


def decided(head, region, branch, check):
    """What the second level decides reaches agents of the fourth."""
    head.run("groups", "create", "Pilot & <Büro>")
    pilot = next(i for i, (name, _) in groups(head).items() if name.startswith("Pilot"))
    some = [u["update_id"] for u in updates(head) if u["approvable"] and not u["superseded"]][:6]
    head.run("updates", "approve", "--accept-license", *some[:2], "--group", "All Computers")
    head.run("updates", "approve", "--accept-license", *some[2:4], "--group", pilot, "--deadline", "2031-01-01T00:00:00Z")
    head.run("updates", "decline", some[4])
    began = time.monotonic()
    codes = [tw.run("sync")[0] for tw in (region, branch)]
    check("the decisions travel down", codes == [0, 0], f"{codes}, {time.monotonic() - began:.1f} s")
    told = [(decisions(tw), groups(tw)) for tw in (head, region, branch)]
    check("groups, approvals (by identity), deadlines and declines are equal at each level", told[0] == told[1] == told[2], [len(t[0][0]) for t in told])
    everybody, inside = offers(branch, 1), offers(branch, 2, pilot)
    install = lambda told: sorted(u for u, (action, _) in told.items() if action == "Install")
    check("agents of the fourth level are offered what the second approved for all", install(everybody) == sorted(some[:2]), len(install(everybody)))
    check("and those of a group what it approved for that, with its deadline", install(inside) == sorted(some[:4]) and all(inside[u][1].startswith("2031-01-01") for u in some[2:4]), len(install(inside)))
    check("what it declined is told to nobody", some[4] not in everybody)
    region.run("updates", "hold", some[0])
    branch.run("sync")
    check("what the third holds back is not offered at the fourth", install(offers(branch, 1)) == sorted(some[1:2]))
    region.run("updates", "release", some[0])
    head.run("updates", "unapprove", some[1])
    codes = [tw.run("sync")[0] for tw in (region, branch)]
    check("taken back at the second, gone at the fourth; let go at the third, back at the fourth", install(offers(branch, 1)) == sorted(some[:1]), codes)


def followed(head, region, branch, check):
    """Nobody starts a synchronisation: the approval travels by itself."""
    for tw in (region, branch):
        tw.change('tailwater = "sync"', 'tailwater = "follow"')
        tw.restart()
    some = [u["update_id"] for u in updates(head) if u["approvable"] and u["state"] == "unapproved" and not u["superseded"]][-1]
    began = time.monotonic()
    head.run("updates", "approve", "--accept-license", some, "--group", "All Computers")
    wait_for("the approval at the last level", lambda: offers(branch, 1).get(some, ("", ""))[0] == "Install", 120)
    took = time.monotonic() - began
    check("an approval at the second level is offered at the fourth within a minute, by itself", took < 60, f"{took:.1f} s")


def content(up, levels, check):
    """A file asked for at the end is fetched once by each level."""
    rows = [u for u in updates(levels[-1]) if u["approvable"] and not u["superseded"] and not u["declined"]][:10]
    # an agent's miss is fetched for what is approved only; decisions travel down before it
    levels[0].approve(*(u["update_id"] for u in rows))
    codes = [tw.run("sync")[0] for tw in levels[1:]]
    check("what is asked for at the end was approved at the second level", codes == [0] * len(codes), codes)
    files = {f["sha1"]: f for u in rows for f in levels[-1].api("/updates/" + u["update_id"])["files"]}.values()
    files = sorted(files, key=lambda f: -f["size"])[:8]
    up.reset()
    before = [tw.api("/status")["served"]["bytes"] for tw in levels]
    wrong = 0
    for f in files:
        extension = f["name"].rsplit(".", 1)[-1]
        data = fetch(f"{levels[-1].url}/Content/{f['sha1'][-2:]}/{f['sha1']}.{extension}", timeout=120)
        wrong += hashlib.sha1(data).hexdigest().upper() != f["sha1"]
    total = sum(f["size"] for f in files)
    crossed = [up.counters()["content"]["bytes"]] + [tw.api("/status")["served"]["bytes"] - b for tw, b in zip(levels, before)]
    check("content asked for at the end is right", wrong == 0, f"{len(files)} files, {total} bytes")
    check("and crosses each hop once", all(total <= c <= total * 1.02 for c in crossed), f"{total} asked, {crossed} crossed")
    again = [up.counters()["content"]["bytes"]] + [tw.api("/status")["served"]["bytes"] for tw in levels[:-1]]
    for f in files:
        extension = f["name"].rsplit(".", 1)[-1]
        fetch(f"{levels[-1].url}/Content/{f['sha1'][-2:]}/{f['sha1']}.{extension}", timeout=120)
    after = [up.counters()["content"]["bytes"]] + [tw.api("/status")["served"]["bytes"] for tw in levels[:-1]]
    check("asked for again it crosses none", again == after, f"{again} {after}")
