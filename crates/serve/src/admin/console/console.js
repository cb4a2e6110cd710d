"use strict";
// The console: reads and changes everything through /api/v1, with the token that the administrator gave.
// Text from documents and computers only ever becomes text nodes, never markup.

const main = document.getElementById("main");
const dialog = document.getElementById("dialog");
let timer = 0;
let page = 0;
// the newest drawing begun, and the newest ended: the same while none is on its way
let drawing = 0, drawn = 0;

const token = () => sessionStorage.getItem("tailwater-token");

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function say(text, bad = false) {
  const message = document.getElementById("message");
  message.textContent = text;
  message.className = bad ? "bad" : "";
  clearTimeout(say.timer);
  if (text) say.timer = setTimeout(() => say(""), bad ? 15000 : 5000);
}

async function api(path, method = "GET", body = undefined) {
  const headers = { Authorization: "Bearer " + token() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch("/api/v1" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) {
    sessionStorage.removeItem("tailwater-token");
    signIn("That token was not accepted.");
    throw new Error("signed out");
  }
  const result = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(result?.error?.message ?? answer.statusText);
  return result;
}

const act = (work) => async (event) => {
  event?.preventDefault();
  try { await work(event); } catch (error) { if (error.message !== "signed out") say(error.message, true); }
};

function bytes(count) {
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (count >= size) return (count / size).toFixed(1) + " " + unit;
  return (count ?? 0) + " B";
}
function rate(bits) {
  for (const [unit, size] of [["Gbit/s", 1e9], ["Mbit/s", 1e6], ["kbit/s", 1e3]])
    if (bits >= size) return (bits / size).toFixed(1) + " " + unit;
  return (bits ?? 0) + " bit/s";
}
const time = (text) => (text ? new Date(text).toLocaleString() : "never");
const card = (label, value, more = "") => make("div", { className: "card" }, make("span", {}, label), make("b", {}, String(value)), make("span", {}, more));
const tag = (text, kind = "") => make("span", { className: "tag " + kind }, text);

function table(heads, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, heads.map((head) => make("th", {}, head)))),
    make("tbody", {}, rows.length ? rows : make("tr", {}, make("td", { colSpan: heads.length, className: "faint" }, "Nothing here yet."))));
}
const cell = (value, properties = {}) => make("td", properties, value instanceof Node ? value : String(value ?? ""));
const field = (label, control) => make("label", {}, label, control);

function signIn(why = "") {
  clearInterval(timer);
  drawing += 1;
  document.getElementById("nav").hidden = true;
  const input = make("input", { type: "password", required: true, autocomplete: "current-password", size: 50 });
  main.replaceChildren(make("form", { onsubmit: act(async () => {
    sessionStorage.setItem("tailwater-token", input.value.trim());
    await api("/status");
    show();
  }) },
    make("h2", {}, "Sign in"),
    make("p", {}, "The token is the line in the file admin-token of the server's data directory. It is kept until this tab is closed."),
    why ? make("p", { className: "bad" }, why) : null,
    make("div", { className: "row" }, field("Token", input), make("button", {}, "Sign in"))));
  input.focus();
}

async function statusPage() {
  const [status, link, ledger] = await Promise.all([api("/status"), api("/bandwidth"), api("/bandwidth/ledger?by=day")]);
  const input = make("input", { value: link.rate, size: 14 });
  const until = make("input", { size: 16, placeholder: "06:00" });
  const change = act(async () => {
    await api("/bandwidth", "PUT", until.value ? { rate: input.value, until: until.value } : { rate: input.value });
    say("The rate is changed."); await draw();
  });
  const back = act(async () => { await api("/bandwidth", "DELETE"); say("The calendar holds again."); await draw(); });
  const why = { exception: "set by an administrator", base: "as configured" }[link.because] ?? "by the calendar";
  const next = link.until ? `${why} until ${time(link.until)}, then ${link.then}` : why;
  const last = status.last_sync;
  return [
    ...status.warnings.map((text) => make("p", { className: "bad", role: "alert" }, text)),
    make("div", { className: "cards" },
      card("Upstream", status.upstream, last ? `${last.outcome}, ${time(last.ended_at)}${status.sync.next ? `; next ${time(status.sync.next)}` : ""}` : "never synchronised"),
      card("Catalog", `${status.catalog.updates} updates`, `${status.catalog.revisions} revisions, ${status.catalog.approved} approved, ${status.catalog.declined} declined`),
      card("Content cached", bytes(status.content.held), `${status.content.files} files, ${status.content.verified} verified; fetch = ${status.content.fetch}`),
      card("Link now", rate(link.bits_per_second), `of ${link.rate}; ${bytes(link.received_today)} received today, ${bytes(link.received_month)} this month`),
      card("Saved", bytes(status.ledger.avoided), status.ledger.since ? `of ${bytes(status.ledger.served)} served did not cross the link again, since ${status.ledger.since}` : "nothing was served yet"),
      card("Computers", status.computers, `server ${status.version}, up since ${time(status.started_at)}`)),
    make("h2", {}, "Rate of the link"),
    make("form", { className: "row", onsubmit: change }, field("Everything taken from upstream, metadata included", input), field("Until (optional)", until), make("button", {}, "Change now"),
      link.because === "exception" ? make("button", { type: "button", className: "quiet", onclick: back }, "Back to the calendar") : null),
    make("p", { className: "faint" }, `${link.rate}, ${next}.`),
    link.windows.length ? table(["Days", "From", "To", "Rate", "Time zone"], link.windows.map((w) => make("tr", {}, cell(w.days), cell(w.from), cell(w.to), cell(w.rate), cell(w.time_zone)))) : null,
    link.budget ? make("h2", {}, "Budget") : null,
    link.budget ? make("p", { className: "faint" }, { open: "Everything may be fetched.", urgent: `Spent but for its reserve: only ${link.budget.urgent.join(", ")} until ${time(link.budget.until)}.`, spent: `Spent: nothing is fetched until ${time(link.budget.until)}; what is cached is served.` }[link.budget.standing]) : null,
    link.budget ? table(["", "Budget", "Spent", "Left", "Left for what is urgent", "Begins anew", "Ends at this pace"], [["Today", link.budget.daily], ["This month", link.budget.monthly]].filter(([, b]) => b).map(([name, b]) => make("tr", {}, cell(name), cell(bytes(b.limit)), cell(bytes(b.spent)), cell(bytes(b.left)), cell(bytes(b.left_for_urgent)), cell(time(b.renews_at)), cell({ ends: time(b.ends_at), lasts: "it lasts", spent: "it is spent", reserve_only: "only its reserve is left" }[b.forecast] ?? "not known yet")))) : null,
    make("h2", {}, "Ledger of the last 31 days"),
    make("p", { className: "faint" }, `Of ${bytes(ledger.total.served)} served, ${bytes(ledger.total.avoided)} did not cross the link again; ${bytes(ledger.ahead)} are cached that nobody was served yet.`),
    table(["Day", "Received", "Payload", "Wasted", "Served", "Fetched", "Avoided"], ledger.rows.map((r) => make("tr", {}, cell(r.name), ...["received", "payload", "wasted", "served", "fetched", "avoided"].map((k) => cell(bytes(r[k])))))),
    make("h2", {}, "By purpose"),
    table(["Purpose", "Received", "Sent"], link.by_class.map((c) => make("tr", {}, cell(c.class), cell(bytes(c.received)), cell(bytes(c.sent))))),
    status.sources.length < 2 && status.sources.every((s) => s.state !== "down") ? null : table(["Source of payloads", "Cost", "State", "Received"], status.sources.map((s) => make("tr", {},
      cell(s.source), cell(s.cost ?? ""), cell(s.state === "down" ? `down, asked again in ${s.retry_seconds} s: ${s.trouble}` : s.state), cell(bytes(s.received))))),
    make("h2", {}, "Workers"),
    table(["Worker", "Running"], status.workers.map((w) => make("tr", {}, cell(w.name), cell(w.running))))];
}

async function syncPage() {
  const [sync, history, categories] = await Promise.all([api("/sync"), api("/sync/history"), api("/categories")]);
  const start = act(async () => { await api("/sync", "POST", {}); say("Synchronisation started."); await draw(); });
  const cancel = act(async () => { await api("/sync", "DELETE"); say("Synchronisation stops; what was stored is kept."); await draw(); });
  const progress = sync.progress;
  return [
    make("div", { className: "row" },
      make("button", { onclick: start, disabled: sync.running }, "Synchronise now"),
      make("button", { onclick: cancel, disabled: !sync.running, className: "quiet" }, "Cancel")),
    sync.running && progress
      ? make("div", {}, make("p", {}, progress.text), make("progress", progress.total ? { max: progress.total, value: progress.done } : {}))
      : make("p", { className: "faint" }, sync.next ? `Next by schedule: ${time(sync.next)}` : "Only on demand."),
    make("h2", {}, "History"),
    table(["Started", "Ended", "Outcome", "New", "Withdrawn", "Received", ""], history.syncs.map((s) => make("tr", {},
      cell(time(s.started_at)), cell(time(s.ended_at)), cell(tag(s.outcome, s.outcome === "complete" ? "good" : "bad")),
      cell(s.stored, { className: "number" }), cell(s.withdrawn, { className: "number" }), cell(bytes(s.received), { className: "number" }), cell(s.message)))),
    make("h2", {}, "Products and classifications"),
    ...(categories.chosen ? [...categories.chosen.warnings.map((text) => make("p", { className: "bad" }, text)), ...categories.chosen.notes.map((text) => make("p", { className: "faint" }, text))] : []),
    table(["Name", "Kind", "Synchronised"], categories.categories.map((c) => make("tr", {}, cell(c.name, { title: c.id }), cell(c.kind), cell(c.selected ? "yes" : "no"))))];
}

const filters = { text: "", state: "", classification: "", product: "", kb: "" };
const PAGE = 50;

async function updatesPage() {
  const query = new URLSearchParams({ limit: PAGE, offset: page * PAGE });
  for (const [key, value] of Object.entries(filters)) if (value) query.set(key, value);
  const [answer, categories, status] = await Promise.all([api("/updates?" + query), api("/categories"), api("/status")]);
  const own = status.mode !== "replica";
  const choice = (key, options) => {
    const select = make("select", {}, make("option", { value: "" }, "all"), options.map(([value, text]) => make("option", { value }, text)));
    select.value = filters[key];
    select.addEventListener("change", act(async () => { filters[key] = select.value; page = 0; await draw(); }));
    return select;
  };
  const of = (kind) => categories.categories.filter((c) => c.kind === kind).map((c) => [c.id, c.name]);
  const text = make("input", { value: filters.text, placeholder: "phrase of the title, GUID, KB, product" });
  const kb = make("input", { value: filters.kb, size: 10, placeholder: "KB number" });
  const picked = new Set();
  const chosen = () => { if (!picked.size) throw new Error("Pick updates first."); return [...picked]; };
  const turn = (by) => act(async () => { page += by; await draw(); });
  return [
    make("form", { className: "row", onsubmit: act(async () => { filters.text = text.value; filters.kb = kb.value; page = 0; await draw(); }) },
      field("Text", text), field("KB", kb), field("State", choice("state", [["unapproved", "not approved"], ["approved", "approved"], ["declined", "declined"], ["held", "held here"], ["withheld", "withheld"]])),
      field("Classification", choice("classification", of("classification"))), field("Product", choice("product", of("product"))), make("button", {}, "Filter")),
    own ? null : make("p", { className: "faint" }, `Approvals and declines come from ${status.upstream} and are changed there; here, updates can be held back.`),
    make("div", { className: "row" },
      own ? make("button", { onclick: act(async () => approveDialog(chosen())) }, "Approve…") : null,
      own ? make("button", { className: "quiet", onclick: act(async () => declineDialog(chosen())) }, "Decline…") : null,
      own ? make("button", { className: "quiet", onclick: act(async () => decideDialog("undecline", "no longer declined", "Remove the decline of", "They can be approved again.", chosen())) }, "Remove decline…") : null,
      own ? make("button", { className: "quiet", onclick: act(async () => unapproveDialog(chosen())) }, "Remove approvals…") : null,
      make("button", { className: "quiet", onclick: act(async () => holdDialog(chosen())) }, "Hold back…"),
      make("button", { className: "quiet", onclick: act(async () => decideDialog("release", "no longer held", "Release", "What was approved is in force again.", chosen())) }, "Release…")),
    table(["", "Title", "KB", "Classification", "State", "Approved for"], answer.updates.map((u) => {
      const box = make("input", { type: "checkbox", ariaLabel: "pick " + u.title, disabled: !u.approvable, onchange: () => (box.checked ? picked.add(u.update_id) : picked.delete(u.update_id)) });
      return make("tr", {}, cell(box), cell(u.title, { className: "open", onclick: act(async () => updateDialog(u.update_id)) }), cell(u.kb.join(", ")), cell(u.classification),
        cell(tag(u.state, u.state === "approved" ? "good" : u.state === "declined" ? "bad" : "")),
        cell(u.approvals.map((a) => a.group + (a.action === "install" ? "" : ` (${actionName(a)})`)).join(", ")));
    })),
    make("div", { className: "row" },
      make("button", { className: "quiet", disabled: page === 0, onclick: turn(-1) }, "Back"),
      make("span", { className: "faint" }, `${answer.total ? page * PAGE + 1 : 0}-${Math.min(answer.total, (page + 1) * PAGE)} of ${answer.total}`),
      make("button", { className: "quiet", disabled: (page + 1) * PAGE >= answer.total, onclick: turn(1) }, "Next"))];
}

const actionName = (approval) => approval.action.replaceAll("_", " ");

function open(...children) {
  dialog.replaceChildren(...children);
  if (!dialog.open) dialog.showModal();
}
const close = () => make("button", { type: "button", className: "quiet", onclick: () => dialog.close() }, "Close");

// Groups to choose from, in the order of the tree, each with those that it lies in.
function groupChoice(groups, none = null) {
  const paths = new Map();
  const option = (g) => {
    const above = paths.get(g.parent_id);
    paths.set(g.group_id, g.depth > 0 ? (above ? above + " › " : "") + g.name : "");
    return make("option", { value: g.group_id }, paths.get(g.group_id) || g.name);
  };
  return make("select", {}, none === null ? null : make("option", { value: "" }, none), groups.map(option));
}

// What is to be known before a decision; the same for each kind of warning is said once in full.
function warningsOf(answer) {
  const kinds = new Map();
  for (const w of answer.warnings) kinds.set(w.code, [...(kinds.get(w.code) ?? []), w]);
  return [
    ...[...kinds].flatMap(([, all]) => [
      ...all.slice(0, 5).map((w) => make("p", { className: "bad" }, w.title ? `${w.title} ${w.message}` : w.message[0].toUpperCase() + w.message.slice(1))),
      all.length > 5 ? make("p", { className: "bad" }, `… and ${all.length - 5} more like it.`) : null]),
    ...answer.failed.slice(0, 5).map((f) => make("p", { className: "bad" }, `Cannot be changed: ${f.error}`)),
    answer.failed.length > 5 ? make("p", { className: "bad" }, `… and ${answer.failed.length - 5} more cannot be changed.`) : null].filter(Boolean);
}

const outcome = (answer, word) => say(`${answer.count} ${word}.` + (answer.failed.length ? ` Not changed: ${answer.failed.map((f) => f.error).join("; ")}` : ""), answer.failed.length > 0);

// Shows what a decision would do, and does it when that is meant. `more` gives further controls and fields of the request.
async function decideDialog(verb, word, title, text, updates, more = { controls: [], fields: () => ({}) }) {
  const known = make("div", {}, make("p", { className: "faint" }, "One moment…"));
  const button = make("button", { disabled: true }, title);
  const look = act(async () => {
    const answer = await api("/updates/" + verb, "POST", { updates, ...more.fields(), dry_run: true });
    known.replaceChildren(make("p", {}, `Changes ${answer.count} of ${updates.length} update(s).`), ...warningsOf(answer));
    button.disabled = !answer.count;
  });
  for (const control of more.controls) control.addEventListener("change", look);
  open(make("form", { onsubmit: act(async () => {
    const answer = await api("/updates/" + verb, "POST", { updates, ...more.fields() });
    dialog.close();
    outcome(answer, word);
    await draw();
  }) }, make("h2", {}, `${title} ${updates.length} update(s)?`), make("p", {}, text),
    more.controls.length ? make("div", { className: "row" }, more.controls) : null, known,
    make("div", { className: "row" }, button, close())));
  await look();
}

async function approveDialog(updates) {
  const { groups } = await api("/groups");
  const group = groupChoice(groups);
  const action = make("select", {}, [["install", "install"], ["uninstall", "uninstall"], ["not_approved", "not approved for this group"]].map(([value, text]) => make("option", { value }, text)));
  const deadline = make("input", { type: "datetime-local" });
  const accept = make("input", { type: "checkbox" });
  const license = make("div", { hidden: true });
  const known = make("div", {}, make("p", { className: "faint" }, "Weighing what this moves over the link…"));
  const request = () => {
    const body = { updates, group: group.value, action: action.value, accept_license: accept.checked };
    if (deadline.value) body.deadline = new Date(deadline.value).toISOString();
    return body;
  };
  const weigh = act(async () => {
    const answer = await api("/updates/approve", "POST", { ...request(), dry_run: true });
    const others = { ...answer, warnings: answer.warnings.filter((w) => w.code !== "license") };
    known.replaceChildren(...warningsOf(others), ...(action.value === "install" ? costOf(answer) : []));
    license.hidden = !answer.licenses.length;
    accept.required = !!answer.licenses.length;
    license.replaceChildren(make("label", {}, accept, ` I accept the license terms of ${answer.licenses.map((l) => l.title).slice(0, 5).join("; ")}${answer.licenses.length > 5 ? ` and ${answer.licenses.length - 5} more` : ""}, for all computers.`));
  });
  for (const control of [group, action, deadline]) control.addEventListener("change", weigh);
  if (updates.length) weigh();
  open(make("form", { onsubmit: act(async () => {
    const answer = await api("/updates/approve", "POST", request());
    dialog.close();
    outcome(answer, action.value === "not_approved" ? "not approved" : "approved");
    await draw();
  }) }, make("h2", {}, `Approve ${updates.length} update(s)`),
    make("div", { className: "row" }, field("Group", group), field("Action", action), field("Deadline (optional)", deadline)),
    known, license,
    make("div", { className: "row" }, make("button", {}, "Approve"), close())));
}

async function unapproveDialog(updates) {
  const { groups } = await api("/groups");
  const group = groupChoice(groups, "all groups");
  group.ariaLabel = "Group";
  await decideDialog("unapprove", "no longer approved", "Remove approvals", "What is approved for a group above stays in force for the groups below it.", updates,
    { controls: [group], fields: () => (group.value ? { group: group.value } : {}) });
}

// What an approval would move, in words.
function costOf({ cost, budget }) {
  const bound = cost.is_upper_bound ? "at most " : "";
  const until = !cost.left ? "" : cost.ends.unlimited ? "; no rate is set" : cost.ends.at ? `; there by ${time(cost.ends.at)} at the calendar's rates` : "; more than three months at the calendar's rates";
  const knows = { learned: (c) => `${bytes(c.needed)}, as of earlier releases`, takes_nothing: () => "nothing, as of earlier releases", unknown: () => "nothing learned yet: any of it" };
  const replaced = cost.updates.filter((u) => u.replaced_by).length;
  const classes = cost.updates.length === 1 && !replaced ? cost.updates[0].classes : [];
  return [
    make("p", {}, `Moves ${bound}${bytes(cost.left)} of ${bytes(cost.whole)} over the link${until}. ${bytes(cost.held)} of what is needed is cached already.`),
    replaced ? make("p", {}, `${replaced} of them: an approved update replaces it here, and computers take that one.`) : "",
    budget ? make("p", { className: budget.is_enough ? "" : "bad" }, `Left of the budget until ${time(budget.renews_at)}: ${bytes(budget.left)}${budget.is_enough ? "" : ", which is not enough"}.`) : "",
    classes.length ? table(["Class of computers", "Here", "Takes"], classes.map((c) => make("tr", {}, cell(c.class), cell(c.computers || "", { className: "number" }), cell(knows[c.knowledge](c))))) : "",
  ];
}

const declineDialog = (updates) => decideDialog("decline", "declined", "Decline", "Their approvals end, and no computer is offered them.", updates);

async function holdDialog(updates) {
  const until = make("input", { type: "datetime-local" });
  const reason = make("input", { maxLength: 1000 });
  open(make("form", { onsubmit: act(async () => {
    const body = { updates, reason: reason.value };
    if (until.value) body.until = new Date(until.value).toISOString();
    const answer = await api("/updates/hold", "POST", body);
    dialog.close();
    outcome(answer, "held back");
    await draw();
  }) }, make("h2", {}, `Hold ${updates.length} update(s) back here?`), make("p", {}, "No computer of this site is offered them for installation, whatever was approved, until the time or until they are released."),
    make("div", { className: "row" }, field("Until (optional)", until), field("Reason", reason)),
    make("div", { className: "row" }, make("button", {}, "Hold back"), close())));
}

async function updateDialog(id, from = 0) {
  const u = await api(`/updates/${encodeURIComponent(id)}?limit=${ROWS}&offset=${from}`);
  open(make("h2", {}, u.title), make("p", { className: "faint" }, `${u.update_id}, revision ${u.revision}, ${u.update_type}`),
    make("p", {}, [u.classification, ...u.products].filter(Boolean).join(" · ")),
    make("h2", {}, "Computers"), make("p", {}, `needed ${u.computers.needed}, installed ${u.computers.installed}, failed ${u.computers.failed}`),
    pager(from, u.statuses.length, u.statuses_total, (next) => updateDialog(id, next)),
    u.statuses.length ? table(["Computer", "State", "Result"], u.statuses.map((s) => make("tr", {}, cell(s.name, { title: s.computer_id }), cell(tag(s.state, s.state === "failed" ? "bad" : s.state === "installed" ? "good" : "")), cell(s.result ?? "")))) : "",
    u.traffic ? make("p", {}, `Over the link since it was approved: ${bytes(u.traffic.crossed)}; foreseen ${u.traffic.is_upper_bound ? "at most " : ""}${bytes(u.traffic.foreseen)} of ${bytes(u.traffic.whole)}`) : "",
    ...u.withheld.map((one) => make("p", {}, `Withheld: ${one.message}${one.title && one.update_id !== u.update_id ? ` (${one.title})` : ""}${one.detail ? `; last time: ${one.detail}` : ""}`)),
    u.hold ? make("p", {}, `Held back here ${u.hold.until ? "until " + time(u.hold.until) : "for good"} by ${u.hold.by}${u.hold.reason ? ": " + u.hold.reason : ""}`) : "",
    u.license.required ? make("p", { className: u.license.accepted ? "" : "bad" }, u.license.accepted ? `Has license terms, accepted${u.license.terms.map((t) => t.accepted_by).filter(Boolean).map((by) => " by " + by)[0] ?? ""}.` : "Has license terms; whoever approves it accepts them for all computers.") : "",
    make("h2", {}, "Approvals"),
    table(["Group", "Action", "Deadline", "By", "When"], u.approvals.map((a) => make("tr", {}, cell(a.group), cell(actionName(a)), cell(a.deadline ? time(a.deadline) : "none"), cell(a.made_by), cell(time(a.made_at))))),
    make("h2", {}, "Files, those of bundled updates too"),
    table(["Name", "Size", "Held"], u.files.map((f) => make("tr", {}, cell(f.name, { title: f.sha1 }), cell(bytes(f.size), { className: "number" }), cell(f.state === "verified" ? "verified" : bytes(f.held))))),
    close());
}

async function groupsPage() {
  const [{ groups }, status] = await Promise.all([api("/groups"), api("/status")]);
  const own = status.mode !== "replica";
  const name = make("input", { required: true });
  const parent = groupChoice(groups.filter((g) => g.name !== "Unassigned Computers"));
  const button = (text, work) => make("button", { className: "quiet", onclick: act(work) }, text);
  return [
    !own ? make("p", { className: "faint" }, `Groups come from ${status.upstream}.`) : make("form", { className: "row", onsubmit: act(async () => { await api("/groups", "POST", { name: name.value, parent: parent.value }); await draw(); }) },
      field("New group", name), field("Below", parent), make("button", {}, "Create")),
    table(["Group", "Computers, those below too", ""], groups.map((g) => make("tr", {}, cell("\u2003".repeat(g.depth) + g.name, { title: g.group_id }), cell(g.computers, { className: "number" }),
      g.fixed || !own ? cell("") : make("td", {}, button("Rename or move…", async () => changeGroupDialog(g, groups)), button("Remove…", async () => removeGroupDialog(g))))))];
}

// A group can lie below any but those that lie in it.
function changeGroupDialog(group, groups) {
  const inside = new Set([group.group_id]);
  for (const g of groups) if (inside.has(g.parent_id)) inside.add(g.group_id);
  const name = make("input", { value: group.name, required: true, maxLength: 255 });
  const parent = groupChoice(groups.filter((g) => !inside.has(g.group_id) && g.name !== "Unassigned Computers"));
  parent.value = group.parent_id;
  open(make("form", { onsubmit: act(async () => {
    const answer = await api("/groups/" + group.group_id, "PATCH", { name: name.value, parent: parent.value });
    dialog.close();
    say(answer.warnings.map((w) => w.message).join(" ") || "Changed.", answer.warnings.length > 0);
    await draw();
  }) }, make("h2", {}, group.name), make("p", {}, "Its computers get what is approved for it and for the groups above it."),
    make("div", { className: "row" }, field("Name", name), field("Below", parent)),
    make("div", { className: "row" }, make("button", {}, "Change"), close())));
}

async function removeGroupDialog(group) {
  const path = "/groups/" + group.group_id;
  const gone = await api(path + "?dry_run=true", "DELETE");
  open(make("form", { onsubmit: act(async () => {
    await api(path, "DELETE");
    dialog.close();
    say(`${group.name} is removed.`);
    await draw();
  }) }, make("h2", {}, `Remove ${group.name}?`),
    gone.groups.length > 1 ? make("p", { className: "bad" }, `Groups below it go too: ${gone.groups.slice(1).map((g) => g.name).join(", ")}.`) : null,
    make("p", {}, `${gone.approvals} approvals end. ${gone.computers.total} computers leave it, ${gone.computers.unassigned} of them become unassigned.`),
    make("div", { className: "row" }, make("button", {}, "Remove"), close())));
}

// rows of long lists in one view
const ROWS = 200;

// what leads to the other pages of a long list; `go` is given where the next one begins
const pager = (offset, shown, total, go) => total <= shown && !offset ? "" : make("div", { className: "row" },
  make("button", { type: "button", className: "quiet", disabled: !offset, onclick: act(async () => go(Math.max(0, offset - ROWS))) }, "Earlier"),
  make("span", { className: "faint" }, `${shown ? offset + 1 : offset} to ${offset + shown} of ${total}`),
  make("button", { type: "button", className: "quiet", disabled: offset + shown >= total, onclick: act(async () => go(offset + ROWS)) }, "Later"));

let computersFrom = 0;

async function computersPage() {
  const { computers, total } = await api(`/computers?limit=${ROWS}&offset=${computersFrom}`);
  return [pager(computersFrom, computers.length, total, async (from) => { computersFrom = from; await draw(); }), table(["Computer", "Groups", "System", "Last contact", "Needed", "Installed", "Failed", "Via"], computers.map((c) => make("tr", {},
    cell(c.same_name ? `${c.name} (one of ${c.same_name + 1}: ${c.computer_id})` : c.name, { className: "open", onclick: act(async () => computerDialog(c.computer_id)) }), cell(c.groups.join(", ")), cell(c.os), cell(time(c.last_contact)),
    cell(c.needed, { className: "number" }), cell(c.installed, { className: "number" }), cell(c.failed, { className: "number" + (c.failed ? " bad" : "") }), cell(via(c)))))];
}

// the servers between this one and what a row is about
const via = (row) => row.via.map((server) => server.name).join(" > ");

let serversFrom = 0;

// under what a server is shut out, and who else is with it
const shutOut = (r) => {
  const known = r.shut_out ? [...r.shut_out.names, ...r.shut_out.addresses, ...r.shut_out.certificates.map((c) => `certificate ${c.name || c.public_key_sha256}`), r.shut_out.tokens ? `${r.shut_out.tokens} tokens` : ""].filter(Boolean) : [];
  open(make("h2", {}, `${r.name} is shut out`), make("p", {}, "Whoever comes with one of these is shut out too, under whatever identity:"), make("ul", {}, known.map((k) => make("li", {}, k))),
    r.also_shut_out.length ? make("p", {}, `Shut out with it: ${r.also_shut_out.map((s) => s.name || s.server_id).join(", ")}`) : "",
    r.shared_addresses.length ? make("p", {}, `Others come from ${r.shared_addresses.join(", ")} too: newcomers from there are not shut out by it.`) : "", close());
};

async function serversPage() {
  const { policy, servers, invited, refused, total } = await api(`/downstreams?limit=${ROWS}&offset=${serversFrom}`);
  const name = make("input", { required: true, placeholder: "branch.example, or an identity" });
  const allow = async (server) => {
    const made = await api("/downstreams/allow", "POST", { server });
    open(make("h2", {}, `${made.name || made.server_id} may synchronise`), make("p", {}, "For upstream.token of a Tailwater; it is not shown again:"), make("pre", {}, made.token), close());
    await draw();
  };
  const decide = (server, state) => state === "revoked"
    ? make("button", { className: "quiet", onclick: act(async () => allow(server)) }, "Allow")
    : make("button", { className: "quiet", onclick: act(async () => { if (confirm(`Shut ${server} out?`)) { shutOut(await api("/downstreams/revoke", "POST", { server })); await draw(); } }) }, "Revoke");
  const lacks = (l) => l.revisions === null ? (l.behind ? "behind" : "") : l.revisions ? `${l.revisions} revisions` : "nothing";
  return [
    make("form", { className: "row", onsubmit: act(async () => allow(name.value)) }, field("Let a server in", name), make("button", {}, "Allow"), make("span", { className: "faint" }, `policy: ${policy}`)),
    pager(serversFrom, servers.length, total, async (from) => { serversFrom = from; await draw(); }),
    table(["Server", "State", "Via", "Computers", "Last took", "Metadata", "Content", "Lacks", ""], servers.map((s) => make("tr", {},
      cell(s.name, { title: s.server_id }), cell(tag(s.state, s.state === "revoked" ? "bad" : "")), cell(via(s)), cell(s.computers, { className: "number" }), cell(time(s.took.at)),
      cell(bytes(s.took.metadata_bytes)), cell(bytes(s.took.content_bytes)), cell(lacks(s.lacks)), cell(s.direct ? decide(s.server_id, s.state) : "")))),
    ...(invited.length ? [make("h2", {}, "Allowed, not come yet"), table(["Name", "Since", ""], invited.map((i) => make("tr", {}, cell(i.name), cell(time(i.at)), cell(decide(i.name, "invited")))))] : []),
    ...(refused.length ? [make("h2", {}, "Refused"), table(["Server", "Last", "Times", "Why", ""], refused.map((r) => make("tr", {}, cell(r.name, { title: r.server_id }), cell(time(r.at)), cell(r.times, { className: "number" }), cell(r.reason), cell(decide(r.server_id, "revoked")))))] : [])];
}

async function computerDialog(id, from = 0) {
  const [c, { groups }] = await Promise.all([api(`/computers/${encodeURIComponent(id)}?limit=${ROWS}&offset=${from}`), api("/groups")]);
  const group = groupChoice(groups.filter((g) => g.name !== "All Computers"));
  open(make("h2", {}, c.name), make("p", { className: "faint" }, c.computer_id),
    c.certificate ? make("p", {}, `Client certificate: ${c.certificate}`) : "", c.range ? make("p", { className: "faint" }, `Called from ${c.range}`) : "",
    c.identity_changes.length ? make("div", {}, make("h2", {}, "It was not always what it says it is"), table(["When", "What", "Before", "After", "From", "Times"], c.identity_changes.map((i) => make("tr", {}, cell(time(i.at)), cell(i.kind), cell(i.before), cell(i.after), cell(i.from ?? ""), cell(i.times, { className: "number" }))))) : "",
    table(["", ""], Object.entries(c.facts ?? {}).map(([key, value]) => make("tr", {}, cell(key), cell(value)))),
    make("div", { className: "row" }, field("Group", group), make("button", { type: "button", onclick: act(async () => {
      await api(`/computers/${encodeURIComponent(id)}/group`, "PUT", { group: group.value });
      dialog.close(); say("Moved."); await draw();
    }) }, "Move")),
    make("h2", {}, "What it reported"),
    pager(from, c.updates.length, c.updates_total, (next) => computerDialog(id, next)),
    table(["Update", "State", "Since"], c.updates.map((u) => make("tr", {}, cell(u.title || u.update_id, { title: u.update_id }), cell(tag(u.state, u.state === "failed" ? "bad" : u.state === "installed" ? "good" : "")), cell(time(u.since))))),
    make("h2", {}, "Last events"),
    table(["When", "Event", "Update", "Result"], c.events.map((e) => make("tr", {}, cell(time(e.at)), cell(e.event), cell(e.title || e.update_id || ""), cell(e.result)))),
    close());
}

async function contentPage() {
  const [content, { transfers }, needs] = await Promise.all([api("/content"), api("/transfers"), api("/content/learned")]);
  return [
    make("div", { className: "cards" },
      card("Cached", bytes(content.usage.held), `of at most ${content.max_size}`),
      card("Files", content.usage.files, `${content.usage.verified} verified, ${content.usage.partial} partial`),
      card("Room", content.usage.full ? "none left" : "enough", `${bytes(content.usage.dropped)} dropped since start to make room`)),
    make("div", { className: "row" },
      make("button", { onclick: act(async () => { await api("/content/verify", "POST", {}); say("Verification runs."); await draw(); }) }, "Verify what is cached"),
      make("button", { className: "quiet", onclick: act(async () => { const r = await api("/content/collect", "POST", {}); say(`${r.files} files dropped.`); await draw(); }) }, "Drop what no update names")),
    make("h2", {}, "Transfers"),
    table(["File", "Here", "Size", "Class", "State", ""], transfers.map((t) => make("tr", {}, cell(t.name, { title: t.sha1 }), cell(bytes(t.held), { className: "number" }), cell(bytes(t.size), { className: "number" }), cell(t.class), cell(t.state),
      cell(make("button", { className: "quiet", onclick: act(async () => { await api("/transfers/" + t.sha1, "PUT", { paused: t.state !== "paused" }); await draw(); }) }, t.state === "paused" ? "Resume" : "Pause"),
        make("button", { className: "quiet", disabled: t.class === "interactive", onclick: act(async () => { await api("/transfers/" + t.sha1, "PUT", { class: "interactive" }); await draw(); }) }, "Expedite"),
        make("button", { className: "quiet", onclick: act(async () => { await api("/transfers/" + t.sha1, "DELETE"); await draw(); }) }, "Cancel"))))),
    make("h2", {}, "What computers here use"),
    make("p", {}, needs.ahead.files ? `${content.fetch === "learned" ? "Fetched ahead" : "With fetch = \"learned\" would be fetched ahead"}: ${needs.ahead.files} files, ${bytes(needs.ahead.bytes)}, ${needs.ahead.quiet_at ? `from ${time(needs.ahead.quiet_at)}` : "now"}` : "Nothing is to be fetched ahead."),
    table(["Class of computers", "Release", "Files", "Of the next release"], needs.learned.flatMap((c) => c.lineages.slice(0, 20).map((l) => make("tr", {}, cell(c.class), cell(l.title), cell(l.files.length, { className: "number", title: l.files.map((f) => f.name).join("\n") }), cell(bytes(l.bytes), { className: "number" }))))),
    make("h2", {}, "Files"),
    table(["File", "Held", "Size", "State", "Last used"], content.files.map((f) => make("tr", {}, cell(f.names[0] ?? f.sha1, { title: f.sha1 }), cell(bytes(f.held), { className: "number" }), cell(bytes(f.size), { className: "number" }), cell(tag(f.state, f.state === "verified" ? "good" : "")), cell(time(f.last_use)))))];
}

const pages = { status: [statusPage, 2], sync: [syncPage, 2], updates: [updatesPage, 0], groups: [groupsPage, 0], computers: [computersPage, 0], servers: [serversPage, 0], content: [contentPage, 5] };

const here = () => (location.hash.slice(1) in pages ? location.hash.slice(1) : "status");
// an open dialog or a field being written in is not drawn over
const busy = () => dialog.open || document.hidden || document.activeElement?.tagName === "INPUT";

// Only the newest drawing reaches the page: answers of one before it, of another page or of an older filter, come too late.
async function draw(unasked = false) {
  const turn = ++drawing;
  try {
    const parts = await pages[here()][0]();
    if (turn === drawing && !(unasked && busy())) main.replaceChildren(...parts.filter(Boolean));
  } catch (error) {
    if (turn === drawing) throw error;
  } finally {
    drawn = Math.max(drawn, turn);
  }
}

function show() {
  document.getElementById("nav").hidden = false;
  clearInterval(timer);
  for (const link of document.querySelectorAll("nav a")) link.classList.toggle("here", link.hash === "#" + here());
  // what belongs to another page cannot be used while this one comes
  main.replaceChildren(make("p", { className: "faint" }, "One moment…"));
  act(() => draw())();
  const seconds = pages[here()][1];
  if (seconds) timer = setInterval(() => { if (drawn === drawing && !busy()) act(() => draw(true))(); }, seconds * 1000);
}

document.getElementById("leave").addEventListener("click", () => { sessionStorage.removeItem("tailwater-token"); signIn(); });
window.addEventListener("hashchange", () => { page = 0; if (token()) show(); });
if (token()) show(); else signIn();
