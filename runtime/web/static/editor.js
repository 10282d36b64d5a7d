// The editor of a stage graph: palette, canvas and sidebar, by mouse, finger and keyboard. Plain SVG,
// no library.
import { Drawing } from "./editor-drawing.js";
import { GRID, Graph, H, W } from "./editor-graph.js";
import { Panel } from "./editor-options.js";

const $ = (id) => document.getElementById(id);
const editor = $("editor");
const given = JSON.parse(editor.dataset.given);
const root = document.body.dataset.root;
const graph = new Graph(JSON.parse(editor.dataset.graph));
const drawing = new Drawing(graph, $("canvas"));
const svg = drawing.svg;
const writable = given.writable;

// -- saying ---------------------------------------------------------------------------------------

function say(text, bad = false, ...buttons) {
  const told = $("told");
  told.replaceChildren(text);
  told.hidden = !text;
  told.classList.toggle("bad", bad);
  for (const [label, act] of buttons) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", act);
    told.append(" ", button);
  }
}

function tell() {
  const { version, deployed } = graph.info;
  const state = $("state");
  state.textContent = !writable ? "read-only here: edit under greenroom dev" : graph.unsaved ? "not saved" : deployed ? `as deployed, v${version}` : "saved, not deployed";
  state.dataset.is = !writable ? "off" : graph.unsaved ? "unsaved" : deployed ? "deployed" : "saved";
  $("undo").disabled = !graph.past.length || !writable;
  $("redo").disabled = !graph.future.length || !writable;
  $("save").disabled = !writable || !graph.unsaved;
  spell();
}

/** Something is looked up over the API, as any program does it. */
async function ask(path) {
  try {
    const answer = await fetch(`${root}/v1/${path}`, { headers: { Accept: "application/json" } });
    const found = await answer.json();
    return answer.ok ? { ok: true, reply: found } : { ok: false, text: found.detail, code: found.code };
  } catch {
    return { ok: false, text: "the daemon does not answer", code: "unreachable" };
  }
}
const name = encodeURIComponent(graph.info.name);

function filled(fields) {
  const form = new FormData();
  form.set("csrf", document.body.dataset.csrf);
  for (const [name, value] of Object.entries(fields)) if (value !== null) form.set(name, value);
  return form;
}

/** Something is done. A reply has `ok`, and `reply` or `text` and `code`. */
async function send(method, fields) {
  const form = filled(fields);
  try {
    const answer = await fetch(`${root}/do/${method}`, { method: "POST", body: form, headers: { Accept: "application/json" } });
    return await answer.json();
  } catch {
    return { ok: false, text: "the daemon does not answer", code: "unreachable" };
  }
}

const saving = (force = false) => ({ workflow: graph.info.name, "document:json": JSON.stringify(graph.doc), etag: force ? null : graph.info.etag });
const deploying = () => ({ what: graph.info.name });

/** The requests that the buttons would send now, as the server spells them. */
async function spell() {
  if (!$("requests").open) return;
  for (const [method, fields] of [["stages.save", saving()], ["stages.deploy", deploying()]]) {
    const answer = await fetch(`${root}/do/${method}`, { method: "POST", body: filled({ ...fields, show: "1" }), headers: { "HX-Request": "true" } }).catch(() => null);
    if (answer?.ok) $(`as-${method}`).innerHTML = await answer.text();
  }
}
$("requests").addEventListener("toggle", spell);

// -- saving and deploying -------------------------------------------------------------------------

function took(info) {
  graph.info = info;
  graph.saved = JSON.stringify(graph.doc);
  say(info.problem ?? "", Boolean(info.problem));
  tell();
}

async function save(force = false) {
  if (!panel.commit()) return false;
  const reply = await send("stages.save", saving(force));
  if (reply.ok) { took(reply.reply); return true; }
  if (reply.code === "id_conflict") say(reply.text, true, ["Load the file's", reload], ["Overwrite it", () => save(true)]);
  else say(reply.text, true);
  return false;
}

async function deploy() {
  if (!panel.commit() || (writable && graph.unsaved && !(await save()))) return false;
  const reply = await send("stages.deploy", deploying());
  if (!reply.ok) { say(reply.text, true); return false; }
  Object.assign(graph.info, { version: reply.reply.version, deployed: true });
  tell();
  say(`deployed as v${reply.reply.version}`);
  return true;
}

/** What runs is what is drawn. */
async function ready() {
  if (graph.unsaved && !(await save())) return false;
  return graph.info.deployed || deploy();
}

async function reload() {
  const reply = await ask(`stages/${name}`);
  if (!reply.ok) { say(reply.text, true); return; }
  graph.load(reply.reply);
  panel.close();
  say(reply.reply.problem ?? "", Boolean(reply.reply.problem));
  drawing.draw();
  tell();
}

/** Looks whether the file, or what is deployed, is another one by now: somebody else writes it too. */
async function look() {
  if (document.hidden || !writable) return;
  const reply = await ask("stages");
  const now = reply.ok && reply.reply.find((one) => one.name === graph.info.name);
  if (!now) return;
  if (now.etag !== graph.info.etag) {
    if (!graph.unsaved && !panel.open) { await reload(); if (!graph.info.problem) say("stages.json was changed on disk: this is how it is now"); }
    else if (looked !== now.etag) say("stages.json was changed on disk meanwhile", true, ["Load the file's", reload]);
    looked = now.etag;
  } else if (now.version !== graph.info.version || !graph.info.deployed) {
    const fresh = await ask(`stages/${name}`);
    if (!fresh.ok) return;
    graph.info = fresh.reply;
    tell();
  }
}
let looked = graph.info.etag;

// -- the sidebar ----------------------------------------------------------------------------------

const panel = new Panel(graph, $("options"), {
  ...given, root, ask, send, ready,
  remove: () => { graph.remove(); panel.close(); },
  closed: (stage) => { drawing.mark(); (stage !== undefined ? drawing.node(stage) : svg.querySelector(".edge.hit"))?.focus({ preventScroll: true }); place(); },
});

function choose(what) {
  graph.chosen = what;
  drawing.mark();
  place();
}

/** The small bar beside what is chosen. */
function place() {
  const bar = $("bar"), { stage, edge } = graph.chosen ?? {};
  const one = stage !== undefined ? drawing.node(stage) : edge !== undefined ? svg.querySelector(`[data-edge="${edge}"]`) : null;
  bar.hidden = !one || linking !== null || Boolean(drag?.moved);
  if (bar.hidden) return;
  $("bar-link").hidden = stage === undefined || !writable;
  $("bar-remove").hidden = !writable;
  let x, y;
  if (stage !== undefined) [x, y] = graph.placed.get(stage);
  else { const middle = one.getPointAtLength(one.getTotalLength() / 2); [x, y] = [middle.x - 60, middle.y + 4]; }
  bar.style.left = `${Math.max(4, x)}px`;
  bar.style.top = `${stage !== undefined ? y + H + 6 : y + 12}px`;
}

graph.addEventListener("change", () => { drawing.draw(); place(); tell(); if (panel.open && !panel.subject) panel.close(); });

// -- drawing transitions --------------------------------------------------------------------------

let linking = null; // the path a transition is drawn from
let drag = null;

function begin(from) {
  linking = from;
  canvas.classList.add("linking");
  place();
  say(`to which stage from ${from}? Click it, or Tab to it and press Enter; Esc gives up`);
}

function end(to = null) {
  const from = linking;
  linking = null;
  canvas.classList.remove("linking");
  drawing.stretch(null);
  drawing.mark();
  say("");
  if (to === null) { place(); return; }
  const refusal = graph.refusal(from, to);
  if (refusal) { say(refusal, true); place(); return; }
  graph.link(from, to);
  choose({ stage: from });
}

// -- the mouse ------------------------------------------------------------------------------------

const canvas = $("canvas");
const pathAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest(".stage")?.dataset.path ?? null;

function aim(event) {
  const over = pathAt(event);
  drawing.stretch(linking, drawing.spot(event));
  drawing.mark(over, over !== null && graph.refusal(linking, over) !== null);
}

svg.addEventListener("pointerdown", (event) => {
  const path = event.target.closest(".stage")?.dataset.path;
  if (linking) { event.preventDefault(); end(path ?? null); return; }
  if (!panel.commit()) { event.preventDefault(); return; }
  if (path && writable && event.target.classList.contains("handle")) {
    choose({ stage: path });
    begin(path);
    drag = { linking: true };
    event.preventDefault();
    return;
  }
  const edge = event.target.dataset.edge ?? event.target.closest("[data-of]")?.dataset.of;
  choose(path ? { stage: path } : edge !== undefined ? { edge: Number(edge) } : null);
  if (panel.open) { if (graph.chosen) panel.show(panel.tab, false); else panel.close(); }
  if (!path) return;
  const [x, y] = drawing.spot(event), [px, py] = graph.placed.get(path);
  drag = { path, dx: x - px, dy: y - py, moved: false };
  drawing.node(path).focus({ preventScroll: true });
  event.preventDefault();
});

window.addEventListener("pointermove", (event) => {
  if (drag?.kind) { ghost(event); return; }
  if (linking) { aim(event); return; }
  if (!drag?.path || !writable) return;
  const [x, y] = drawing.spot(event), [px, py] = graph.placed.get(drag.path);
  if (!drag.moved && Math.abs(x - drag.dx - px) + Math.abs(y - drag.dy - py) < 4) return;
  drag.moved = true;
  graph.change(() => graph.put(drag.path, x - drag.dx, y - drag.dy), drag);
});

window.addEventListener("pointerup", (event) => {
  const was = drag;
  drag = null;
  if (was?.linking) { const over = pathAt(event); if (over !== linking) end(over); }
  if (was?.moved) place();
  if (!was?.kind) return;
  $("ghost").hidden = true;
  const box = canvas.getBoundingClientRect();
  const inside = event.clientX > box.left && event.clientX < box.right && event.clientY > box.top && event.clientY < box.bottom;
  if (inside) { const [x, y] = drawing.spot(event); added(was.kind, x - W / 2, y - H / 2); }
});
window.addEventListener("pointercancel", () => { drag = null; $("ghost").hidden = true; if (linking) end(); });

svg.addEventListener("dblclick", (event) => {
  if (event.target.closest(".stage") || event.target.dataset.edge !== undefined || event.target.closest("[data-of]")) panel.show("options");
});

/** What is dragged from the palette, under the mouse. */
function ghost(event) {
  const box = $("ghost");
  box.hidden = false;
  box.textContent = drag.label;
  box.className = `ghost kind-${drag.kind}`;
  box.style.left = `${event.clientX - W / 2}px`;
  box.style.top = `${event.clientY - H / 2}px`;
}

function added(kind, x, y) {
  const path = graph.add(kind, x, y);
  choose({ stage: path });
  drawing.node(path).focus({ preventScroll: true });
}

for (const button of document.querySelectorAll(".palette button")) {
  const { kind } = button.dataset;
  button.addEventListener("pointerdown", (event) => { drag = { kind, label: button.textContent.trim() }; button.releasePointerCapture?.(event.pointerId); });
  button.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    const { stage } = graph.chosen ?? {};
    const [x, y] = stage !== undefined ? graph.placed.get(stage) : [30 - W - 88, 30];
    let row = y;
    while ([...graph.placed.values()].some(([a, b]) => Math.abs(a - x - W - 88) < W && Math.abs(b - row) < H)) row += H + 46;
    added(kind, x + W + 88, row);
  });
}

// -- buttons and keys -----------------------------------------------------------------------------

$("save").addEventListener("click", () => save());
$("deploy").addEventListener("click", deploy);
$("undo").addEventListener("click", () => graph.undo());
$("redo").addEventListener("click", () => graph.redo());
$("tidy").addEventListener("click", () => graph.tidy());
$("bar-link").addEventListener("click", () => begin(graph.chosen.stage));
$("bar-open").addEventListener("click", () => panel.show("options"));
$("bar-remove").addEventListener("click", () => { graph.remove(); panel.close(); });
window.addEventListener("beforeunload", (event) => { if (graph.unsaved) event.preventDefault(); });
window.addEventListener("resize", () => drawing.draw());
window.addEventListener("focus", look);
setInterval(look, 2000);

const STEPS = { ArrowLeft: [-GRID, 0], ArrowRight: [GRID, 0], ArrowUp: [0, -GRID], ArrowDown: [0, GRID] };

document.addEventListener("keydown", (event) => {
  const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (control && key === "s") { event.preventDefault(); if (writable) save(); return; }
  if (event.target.matches("input,textarea,select")) return;
  if (control && key === "z") { event.preventDefault(); if (event.shiftKey) graph.redo(); else graph.undo(); return; }
  if (control && key === "y") { event.preventDefault(); graph.redo(); return; }
  if (control || event.altKey || event.target.matches("button,a,summary")) return;
  const { path, edge } = document.activeElement?.dataset ?? {};
  if (linking) {
    if (event.key === "Escape") end();
    else if (event.key === "Enter" && path && path !== linking) { event.preventDefault(); end(path); }
    return;
  }
  if (path) choose({ stage: path });
  else if (edge !== undefined) choose({ edge: Number(edge) });
  if (event.key === "Enter" && graph.chosen) { event.preventDefault(); panel.show("options"); }
  else if (event.key === "Escape") { panel.close(); choose(null); }
  else if (!writable) return;
  else if (event.key in STEPS && path) {
    event.preventDefault();
    const [x, y] = graph.placed.get(path), [dx, dy] = STEPS[event.key];
    graph.change(() => graph.put(path, x + dx, y + dy), `arrows ${path}`);
  } else if (key === "t" && graph.chosen?.stage !== undefined) { event.preventDefault(); begin(graph.chosen.stage); }
  else if ((event.key === "Delete" || event.key === "Backspace") && graph.chosen) { event.preventDefault(); graph.remove(); panel.close(); }
});

drawing.draw();
tell();
