// What makes the pages live and quick; all of them work without it.
const body = document.body;
const root = body.dataset.root;
const skew = Number(body.dataset.now) - Date.now();
const $$ = (query, from = document) => [...from.querySelectorAll(query)];

// -- live: parts that name a topic are fetched again when something happened to it ----------------

const dirty = new Set();
let timer = null;

function touched(change) {
  for (const part of $$("[data-live]")) {
    const [kind, id] = part.dataset.live.split(":");
    const names = change.instances ?? [];
    if (change.more || (kind === "instances" && names.length) || (kind === "events" && change.events)
        || (kind === "instance" && names.includes(id))) dirty.add(part);
  }
  if (dirty.size && timer === null && !document.hidden) timer = setTimeout(refresh, 150);
}

function refresh() {
  timer = null;
  for (const part of dirty) {
    const inside = part.contains(document.activeElement) && document.activeElement.matches("input,textarea,select");
    if (inside || part.querySelector("details.request[open]")) continue; // not under somebody's hands
    dirty.delete(part);
    if (part.isConnected) window.htmx.trigger(part, "refresh");
  }
  if (dirty.size) timer = setTimeout(refresh, 1500);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden && dirty.size) refresh(); });

function heard(message) {
  if ("live" in message) {
    const mark = document.getElementById("live");
    if (mark) { mark.classList.toggle("on", message.live); mark.textContent = message.live ? "live" : "not live"; }
  }
  if (message.change) touched(message.change);
}

function listen() {
  document.getElementById("live")?.removeAttribute("hidden");
  const url = new URL(`${root}/live`, location.href).href;
  if (window.SharedWorker) {
    const worker = new SharedWorker(`${root}/static/feed.js`, "greenroom");
    worker.port.onmessage = (event) => heard(event.data);
    worker.port.start();
    worker.port.postMessage({ url });
    window.addEventListener("pagehide", () => worker.port.postMessage({ bye: true }));
  } else if (window.EventSource) {
    const source = new EventSource(url);
    source.onopen = () => heard({ live: true });
    source.onerror = () => heard({ live: false });
    source.addEventListener("change", (event) => heard({ change: JSON.parse(event.data) }));
    window.addEventListener("pagehide", () => source.close());
  } else {
    setInterval(() => touched({ more: true }), 5000);
  }
}
if (document.querySelector("[data-live]")) listen();

// -- time: what is left is counted down -----------------------------------------------------------

function left(ms) {
  const s = Math.abs(ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const parts = [];
  let rest = Math.round(s);
  for (const [size, name] of units) {
    if (rest >= size || (size === 1 && !parts.length)) { parts.push(`${Math.floor(rest / size)} ${name}`); rest %= size; }
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

function count() {
  const now = Date.now() + skew;
  for (const one of $$("time[data-until]")) {
    const ms = Number(one.dataset.until) - now;
    const text = ms > 0 ? `in ${left(ms)}` : `overdue by ${left(ms)}`;
    if (one.textContent !== text) one.textContent = text;
  }
}
setInterval(count, 250);

// -- requests: the server spells the form as it is filled in now, as it would carry it out ----------

const asking = new WeakMap();

async function spell(lines) {
  const data = new FormData(lines.closest("form"));
  data.set("show", lines.dataset.press);
  const turn = (asking.get(lines) ?? 0) + 1; // an answer that is overtaken is dropped
  asking.set(lines, turn);
  const answer = await fetch(lines.dataset.place, { method: "POST", body: data, headers: { "HX-Request": "true" } });
  const text = await answer.text();
  if (asking.get(lines) === turn) lines.innerHTML = text;
}

const waiting = new WeakMap();

function spellAll(form) {
  const open = $$("details.request[open] .lines", form);
  clearTimeout(waiting.get(form));
  if (open.length) waiting.set(form, setTimeout(() => open.forEach(spell), 120));
}

document.addEventListener("toggle", (event) => {
  const form = event.target.matches?.("details.request") ? event.target.closest("form") : null;
  if (form && event.target.open) spellAll(form);
}, true);

for (const kind of ["input", "change"])
  document.addEventListener(kind, (event) => {
    const form = event.target.form;
    if (form) spellAll(form);
    if (event.target.id === "seq") {
      const shown = document.getElementById("seq-shown");
      if (shown) shown.textContent = event.target.value;
    }
  });

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("button.copy");
  if (copy) {
    await navigator.clipboard?.writeText(copy.previousElementSibling.textContent);
    copy.textContent = "copied";
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-choose-all]"))
    for (const box of $$("td input[type=checkbox]")) box.checked = event.target.checked;
}, true); // before the request is spelled

// -- keys -----------------------------------------------------------------------------------------

let going = false;
let at = -1;

function move(step) {
  const rows = $$("tr[data-row]");
  if (!rows.length) return;
  rows[at]?.classList.remove("at");
  at = Math.max(0, Math.min(rows.length - 1, at + step));
  rows[at].classList.add("at");
  rows[at].scrollIntoView({ block: "nearest" });
}

const open = (id) => { const box = document.getElementById(id); if (box && !box.open) box.showModal(); };
document.getElementById("help-open")?.addEventListener("click", () => open("help"));
document.getElementById("palette-open")?.addEventListener("click", () => open("palette"));

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k") { event.preventDefault(); open("palette"); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input,textarea,select")) return;
  if (going) {
    going = false;
    const link = document.querySelector(`nav a[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  const row = document.querySelector("tr.at");
  switch (event.key) {
    case "?": open("help"); break;
    case "g": going = true; setTimeout(() => { going = false; }, 1500); break;
    case "/": { const box = document.querySelector("[data-filter], input[type=search]"); if (box) { event.preventDefault(); box.focus(); } break; }
    case "j": move(1); break;
    case "k": move(-1); break;
    case "x": { const box = row?.querySelector("input[type=checkbox]"); if (box) box.checked = !box.checked; break; }
    case "Enter": if (row && !event.target.closest("a,button,summary")) row.querySelector("a")?.click(); break;
  }
});
