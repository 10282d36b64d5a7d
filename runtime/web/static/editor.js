// The editor of a stage graph. What it changes is the document of `stages.json`, and of that only
// what was touched: keys it does not know stay where they are. Plain SVG, no library.
const editor = document.getElementById("editor");
const graph = JSON.parse(editor.dataset.graph);
const files = JSON.parse(editor.dataset.files);
const root = document.body.dataset.root;
const canvas = document.getElementById("canvas");
const options = document.getElementById("options");
const NS = "http://www.w3.org/2000/svg";
const W = 168, H = 56, GRID = 10;

const doc = graph.document;
doc.stages ??= [];
doc.transitions ??= [];
let etag = graph.etag;
let chosen = null; // {stage} or {edge}
let linking = null; // the path a transition is drawn from
let aimed = null;
const loose = new Map(); // stages of files that stages.json does not name (yet)
for (const one of graph.stages)
  if (!one.declared) loose.set(one.path, { path: one.path, kind: one.kind, file: one.file });

const all = () => [...doc.stages, ...loose.values()];
const find = (path) => all().find((one) => one.path === path);

/** A stage of a file becomes one of the graph as soon as something is done with it. */
function declare(path) {
  if (loose.has(path)) { doc.stages.push(loose.get(path)); loose.delete(path); }
  return find(path);
}

// -- where things stand ---------------------------------------------------------------------------

const placed = new Map();

function place() {
  const depth = new Map();
  const into = new Map(all().map((one) => [one.path, 0]));
  for (const edge of doc.transitions) if (edge.from !== edge.to) into.set(edge.to, (into.get(edge.to) ?? 0) + 1);
  let line = all().filter((one) => !into.get(one.path)).map((one) => one.path);
  for (let level = 0; line.length && level < 60; level++) {
    const next = [];
    for (const path of line) {
      if (depth.has(path)) continue;
      depth.set(path, level);
      for (const edge of doc.transitions) if (edge.from === path) next.push(edge.to);
    }
    line = next;
  }
  const rows = new Map();
  for (const one of all()) {
    if (Number.isFinite(one.x) && Number.isFinite(one.y)) { placed.set(one.path, [one.x, one.y]); continue; }
    if (placed.has(one.path)) continue;
    const level = depth.get(one.path) ?? 0;
    const row = rows.get(level) ?? 0;
    rows.set(level, row + 1);
    placed.set(one.path, [30 + level * (W + 70), 30 + row * (H + 40)]);
  }
}

function put(path, x, y) {
  const at = [Math.max(0, Math.round(x / GRID) * GRID), Math.max(0, Math.round(y / GRID) * GRID)];
  placed.set(path, at);
  [declare(path).x, find(path).y] = at;
}

// -- drawing --------------------------------------------------------------------------------------

const svg = document.createElementNS(NS, "svg");
canvas.append(svg);

function make(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function way(from, to) {
  if (Math.abs(to[0] - from[0]) < W && to !== from) { // one above the other
    const down = to[1] > from[1];
    const [x1, y1, x2, y2] = [from[0] + W / 2, from[1] + (down ? H : 0), to[0] + W / 2, to[1] + (down ? -7 : H + 7)];
    return `M ${x1} ${y1} C ${x1} ${(y1 + y2) / 2}, ${x2} ${(y1 + y2) / 2}, ${x2} ${y2}`;
  }
  const [x1, y1] = [from[0] + W, from[1] + H / 2], [x2, y2] = [to[0], to[1] + H / 2];
  const bend = Math.max(30, Math.abs(x2 - x1) / 2);
  return `M ${x1} ${y1} C ${x1 + bend} ${y1}, ${x2 - bend} ${y2}, ${x2 - 7} ${y2}`;
}

function draw() {
  place();
  const focused = document.activeElement?.dataset?.path;
  svg.replaceChildren();
  let right = 600, bottom = 380;
  const defs = make("defs", {});
  const tip = make("marker", { id: "tip", viewBox: "0 0 8 8", refX: 4, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
  tip.append(make("path", { d: "M0 0 L8 4 L0 8 z", class: "tip" }));
  defs.append(tip);
  svg.append(defs);
  doc.transitions.forEach((edge, n) => {
    const from = placed.get(edge.from), to = placed.get(edge.to);
    if (!from || !to) return;
    const d = way(from, to);
    const mark = chosen?.edge === n ? " chosen" : "";
    svg.append(make("path", { d, class: `edge${mark}`, "marker-end": "url(#tip)" }));
    const hit = make("path", { d, class: "edge hit", tabindex: 0, role: "button", "aria-label": `transition from ${edge.from} to ${edge.to}` });
    hit.dataset.edge = n;
    svg.append(hit);
    const words = [edge.on && edge.on !== "finished" ? edge.on : "", edge.when ? "if" : edge.otherwise ? "else" : ""].filter(Boolean).join(" ");
    if (words) svg.append(make("text", { x: (from[0] + W + to[0]) / 2, y: (from[1] + to[1] + H) / 2 - 6, class: "edge-text", "text-anchor": "middle" }, words));
  });
  for (const one of all()) {
    const [x, y] = placed.get(one.path);
    right = Math.max(right, x + W + 60);
    bottom = Math.max(bottom, y + H + 60);
    const kinds = [chosen?.stage === one.path && "chosen", aimed === one.path && "aimed", loose.has(one.path) && "loose"].filter(Boolean);
    const g = make("g", { class: ["stage", one.kind, ...kinds].join(" "), transform: `translate(${x} ${y})`, tabindex: 0, role: "button", "aria-label": `${one.kind} ${one.title || one.path}${loose.has(one.path) ? ", not connected" : ""}` });
    g.dataset.path = one.path;
    g.append(make("rect", { width: W, height: H, rx: 8 }));
    g.append(make("text", { x: 12, y: 24 }, cut(one.title || one.path)));
    g.append(make("text", { x: 12, y: 43, class: "kind" }, one.assignee ? `${one.kind} · ${cut(one.assignee, 16)}` : one.kind));
    svg.append(g);
  }
  svg.setAttribute("width", right);
  svg.setAttribute("height", bottom);
  if (focused) node(focused)?.focus({ preventScroll: true });
}

/** Shows what is chosen without drawing anew: a node that is replaced under the mouse is never clicked. */
function mark() {
  for (const one of svg.querySelectorAll(".stage")) one.classList.toggle("chosen", chosen?.stage === one.dataset.path);
  for (const one of svg.querySelectorAll(".edge.hit")) one.previousSibling.classList.toggle("chosen", chosen?.edge === Number(one.dataset.edge));
}

const cut = (text, length = 21) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const node = (path) => svg.querySelector(`[data-path="${CSS.escape(path)}"]`);

// -- saying ---------------------------------------------------------------------------------------

const told = document.getElementById("told");
const state = document.getElementById("state");
let unsaved = false;

function say(text, bad = false) {
  told.textContent = text;
  told.hidden = !text;
  told.classList.toggle("bad", bad);
}

function changed() {
  unsaved = true;
  state.textContent = "not saved";
  draw();
}

window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

async function send(method, fields) {
  const form = new FormData();
  form.set("csrf", document.body.dataset.csrf);
  for (const [name, value] of Object.entries(fields)) if (value !== null) form.set(name, value);
  const answer = await fetch(`${root}/do/${method}`, { method: "POST", body: form, headers: { Accept: "application/json" } });
  return answer.json();
}

async function save(force = false) {
  const reply = await send("stages.save", { workflow: graph.name, "document:json": JSON.stringify(doc), etag: force ? null : etag });
  if (reply.ok) {
    etag = reply.reply.etag;
    unsaved = false;
    state.textContent = reply.reply.deployed ? "as deployed" : "saved, not deployed";
    say(reply.reply.problem ?? "", Boolean(reply.reply.problem));
    return true;
  }
  say(reply.text, true);
  if (reply.code === "id_conflict") {
    for (const [label, act] of [["Load the file's", () => { unsaved = false; location.reload(); }], ["Overwrite it", () => save(true)]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", act);
      told.append(" ", button);
    }
  }
  return false;
}

async function deploy() {
  if (unsaved && !(await save())) return;
  const reply = await send("stages.deploy", { what: graph.name });
  say(reply.ok ? `deployed as v${reply.reply.version}` : reply.text, !reply.ok);
  if (reply.ok) state.textContent = "as deployed";
}

document.getElementById("save").addEventListener("click", () => save());
document.getElementById("deploy").addEventListener("click", deploy);

// -- changing -------------------------------------------------------------------------------------

function add(kind, x, y) {
  let n = 1;
  while (find(n === 1 ? kind : `${kind}-${n}`)) n++;
  const path = n === 1 ? kind : `${kind}-${n}`;
  const one = { path, kind, title: `New ${kind}` };
  if (kind === "job") one.schedule = { every: "day", at: "09:00" };
  doc.stages.push(one);
  put(path, x, y);
  choose({ stage: path });
  changed();
  node(path).focus();
}

function link(from, to) {
  linking = aimed = null;
  if (doc.transitions.some((edge) => edge.from === from && edge.to === to)) { say("there is such a transition"); draw(); return; }
  if (find(to).kind === "job") { say("a job begins by the clock: nothing leads to it", true); draw(); return; }
  declare(from); declare(to);
  doc.transitions.push(from === to ? { from, to, loop: true } : { from, to });
  say("");
  choose({ stage: from });
  changed();
}

function remove() {
  if (chosen?.edge !== undefined) doc.transitions.splice(chosen.edge, 1);
  else if (chosen?.stage) {
    const path = chosen.stage;
    doc.stages = doc.stages.filter((one) => one.path !== path);
    doc.transitions = doc.transitions.filter((edge) => edge.from !== path && edge.to !== path);
    loose.delete(path);
  }
  choose(null);
  options.hidden = true;
  changed();
}

function choose(what) {
  chosen = what;
}

// -- options --------------------------------------------------------------------------------------

const TEXTS = { title: "Title", path: "Path", file: "File", assignee: "Assignee" };

function field(name, label, value, type = "text") {
  const box = document.createElement("label");
  box.textContent = label;
  const input = document.createElement(type === "json" ? "textarea" : "input");
  input.name = name;
  input.value = value ?? "";
  if (type === "json") input.rows = 4;
  if (name === "file") input.setAttribute("list", "files");
  box.append(input);
  options.append(box);
  return input;
}

function open() {
  options.replaceChildren();
  options.hidden = false;
  const head = document.createElement("h2");
  if (chosen?.stage) {
    const one = declare(chosen.stage);
    head.textContent = one.title || one.path;
    options.append(head);
    const list = document.createElement("datalist");
    list.id = "files";
    for (const file of files) list.append(new Option(file));
    options.append(list);
    for (const [name, label] of Object.entries(TEXTS)) {
      if (name === "file" && ["condition", "iterator"].includes(one.kind)) continue;
      field(name, label, one[name]);
    }
    if (one.kind === "job") field("schedule", "Schedule", JSON.stringify(one.schedule ?? {}), "json");
    const known = ["path", "kind", "title", "file", "assignee", "schedule", "x", "y"];
    const rest = Object.fromEntries(Object.entries(one).filter(([key]) => !known.includes(key)));
    field("rest", "Everything else (JSON)", Object.keys(rest).length ? JSON.stringify(rest, null, 2) : "", "json");
    if (one.file) {
      const at = document.createElement("code");
      at.textContent = `${graph.folder}/${one.file}`;
      options.append(at);
    }
  } else if (chosen?.edge !== undefined) {
    const edge = doc.transitions[chosen.edge];
    head.textContent = `${edge.from} → ${edge.to}`;
    options.append(head);
    field("on", "When it has (finished, failed, expired)", edge.on ?? "finished");
    field("when", "And if (condition, JSON)", edge.when ? JSON.stringify(edge.when) : "", "json");
  } else { options.hidden = true; return; }
  const row = document.createElement("div");
  row.className = "row";
  for (const [label, act] of [["Done", null], ["Remove", remove]]) {
    const button = document.createElement("button");
    button.textContent = label;
    button.type = act ? "button" : "submit";
    if (act) { button.className = "danger"; button.addEventListener("click", act); }
    row.append(button);
  }
  options.append(row);
  options.querySelector("input,textarea").focus();
  options.querySelector("input,textarea").select();
}

options.addEventListener("submit", (event) => {
  event.preventDefault();
  const values = Object.fromEntries(new FormData(options));
  try {
    if (chosen.stage) apply(find(chosen.stage), values);
    else {
      const edge = doc.transitions[chosen.edge];
      if (values.on && values.on !== "finished") edge.on = values.on; else delete edge.on;
      if (values.when.trim()) edge.when = JSON.parse(values.when); else delete edge.when;
    }
  } catch (error) { say(error.message, true); return; }
  options.hidden = true;
  say("");
  changed();
  if (chosen.stage) node(chosen.stage)?.focus();
});

function apply(one, values) {
  const path = values.path.trim();
  if (path !== one.path && doc.stages.some((other) => other.path === path)) throw new Error(`there is a stage ${path}`);
  const rest = values.rest.trim() ? JSON.parse(values.rest) : {};
  const schedule = values.schedule === undefined ? undefined : JSON.parse(values.schedule || "{}");
  const known = ["path", "kind", "title", "file", "assignee", "schedule", "x", "y"];
  for (const key of Object.keys(one)) if (!known.includes(key) && !(key in rest)) delete one[key];
  Object.assign(one, rest);
  for (const name of ["title", "file", "assignee"]) {
    const text = (values[name] ?? "").trim();
    if (text) one[name] = text; else delete one[name];
  }
  if (schedule !== undefined) one.schedule = schedule;
  for (const [key, twin] of loose) // the file has its stage now
    if (key === path || twin.file === one.file) { loose.delete(key); placed.delete(key); }
  if (path !== one.path) {
    for (const edge of doc.transitions) {
      if (edge.from === one.path) edge.from = path;
      if (edge.to === one.path) edge.to = path;
    }
    placed.set(path, placed.get(one.path));
    placed.delete(one.path);
    one.path = path;
    chosen = { stage: path };
  }
}

// -- the mouse ------------------------------------------------------------------------------------

const spot = (event) => {
  const box = svg.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const pathAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest(".stage")?.dataset.path;
let drag = null;

svg.addEventListener("pointerdown", (event) => {
  const path = event.target.closest(".stage")?.dataset.path;
  const edge = event.target.dataset.edge;
  if (linking) {
    if (path) link(linking, path); else { linking = null; say(""); draw(); }
    event.preventDefault();
    return;
  }
  choose(path ? { stage: path } : edge !== undefined ? { edge: Number(edge) } : null);
  if (path) {
    const [x, y] = spot(event), [px, py] = placed.get(path);
    drag = { path, dx: x - px, dy: y - py, moved: false };
  }
  mark();
  if (path) { node(path).focus({ preventScroll: true }); event.preventDefault(); }
});

window.addEventListener("pointermove", (event) => {
  if (linking) {
    const over = pathAt(event) ?? null;
    if (over !== aimed) { aimed = over; draw(); }
  } else if (drag?.path) {
    const [x, y] = spot(event);
    const [px, py] = placed.get(drag.path);
    if (!drag.moved && Math.abs(x - drag.dx - px) + Math.abs(y - drag.dy - py) < 4) return;
    drag.moved = true;
    put(drag.path, x - drag.dx, y - drag.dy);
    changed();
  }
});

window.addEventListener("pointerup", (event) => {
  if (drag?.kind) {
    const box = canvas.getBoundingClientRect();
    const inside = event.clientX > box.left && event.clientX < box.right && event.clientY > box.top && event.clientY < box.bottom;
    const [x, y] = spot(event);
    if (inside) add(drag.kind, x - W / 2, y - H / 2);
  }
  drag = null;
});

svg.addEventListener("dblclick", (event) => {
  if (event.target.closest(".stage") || event.target.dataset.edge !== undefined) open();
});

for (const button of document.querySelectorAll(".palette button")) {
  button.addEventListener("pointerdown", () => { drag = { kind: button.dataset.kind }; });
  button.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); add(button.dataset.kind, 40 + (all().length % 5) * 30, 40 + all().length * 20); }
  });
}

// -- the keyboard ---------------------------------------------------------------------------------

const STEPS = { ArrowLeft: [-GRID, 0], ArrowRight: [GRID, 0], ArrowUp: [0, -GRID], ArrowDown: [0, GRID] };

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); save(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input,textarea,select,button,a")) return;
  const here = document.activeElement?.dataset?.path;
  const edge = document.activeElement?.dataset?.edge;
  if (here) choose({ stage: here });
  if (edge !== undefined) choose({ edge: Number(edge) });
  if (linking) {
    if (event.key === "Escape") { linking = aimed = null; say(""); draw(); }
    if (event.key === "Enter" && here && here !== linking) { event.preventDefault(); link(linking, here); }
    return;
  }
  if (event.key in STEPS && here) {
    event.preventDefault();
    const [x, y] = placed.get(here), [dx, dy] = STEPS[event.key];
    put(here, x + dx, y + dy);
    changed();
  } else if (event.key.toLowerCase() === "t" && chosen?.stage) {
    event.preventDefault();
    linking = chosen.stage;
    say(`to which stage from ${linking}? click it, or Tab to it and press Enter; Esc gives up`);
  } else if (event.key === "Enter" && chosen) { event.preventDefault(); open(); }
  else if (event.key === "Delete" && chosen) { event.preventDefault(); remove(); }
  else if (event.key === "Escape") { options.hidden = true; choose(null); draw(); }
});

draw();
