// The sidebar of what is chosen: its options, the code of its file, and a test run from it on. What is
// typed is taken as soon as its field is left; what the fields do not know is kept as JSON.
const FILED = ["form", "hook", "job", "script"];
const DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const text = (value) => (value === undefined ? "" : typeof value === "string" ? value : null);
const comma = (value) => value.split(",").map((one) => one.trim()).filter(Boolean);

/** A field: `get` gives the text of a value, null where the field cannot show it; `set` the value. */
const field = (key, label, more = {}) => ({ key, label, get: text, set: (value) => value.trim() || undefined, ...more });
const choice = (key, label, choices, more = {}) => field(key, label, { choices, ...more });
const flag = (key, label, normal, more = {}) => field(key, label, {
  flag: true,
  get: (value = normal) => (typeof value === "boolean" ? value : null),
  set: (value) => (value === normal ? undefined : value),
  ...more,
});

const STAGE = [
  field("title", "Title"),
  field("path", "Path", { hint: "its name in stages.json, in addresses and for next_stage" }),
  field("file", "File", { kinds: FILED, list: "files" }),
  field("assignee", "Assignee", { kinds: ["form"], list: "people", placeholder: "nobody in particular" }),
  flag("enforce_assignee", "The assignee alone may answer", false, { kinds: ["form"] }),
  field("access", "Who may open it", {
    kinds: ["form"], list: "roles", placeholder: "whoever is signed in", hint: "public, or roles and teams with commas",
    get: (value) => (value === undefined || value === "public" ? value ?? "" : Array.isArray(value) ? value.join(", ") : Array.isArray(value.roles) ? value.roles.join(", ") : null),
    set: (value) => (value.trim() === "" ? undefined : value.trim() === "public" ? "public" : { roles: comma(value) }),
  }),
  field("reminders", "Reminders", {
    kinds: ["form"], placeholder: "1 day, 3 days",
    get: (value = []) => (Array.isArray(value) ? value.join(", ") : null),
    set: (value) => (comma(value).length ? comma(value) : undefined),
  }),
  field("timeout", "Gives up after", { kinds: ["form", "hook", "script"], placeholder: "never" }),
  choice("auth", "Who may call it", { "": "an API key", signature: "a signature", none: "anybody" }, { kinds: ["hook"], get: (value) => (value === "key" ? "" : text(value)) }),
  choice("schedule.every", "Every", ["hour", "day", "week", "month", "cron"], { kinds: ["job"] }),
  field("schedule.on", "On", { kinds: ["job"], list: "days", placeholder: "monday, or a day of the month" }),
  field("schedule.at", "At", { kinds: ["job"], placeholder: "09:00" }),
  field("schedule.timezone", "Time zone", { kinds: ["job"], placeholder: "UTC" }),
  field("schedule.cron", "Cron", { kinds: ["job"], placeholder: "0 9 * * 1-5" }),
  field("retry", "Attempts", {
    kinds: ["script", "job"], placeholder: "1", number: true,
    get: (value) => (value === undefined ? "" : Number.isInteger(value) ? String(value) : null),
    set: (value) => (value.trim() ? Number(value) : undefined),
  }),
  field("items", "The list it goes through", { kinds: ["iterator"], placeholder: "items" }),
  field("item", "What each is called", { kinds: ["iterator"], placeholder: "item" }),
  choice("join", "Runs that parted", { "": "come each for itself", all: "meet here, all of them", any: "the first goes on" }, { kinds: ["form", "hook", "script", "condition", "iterator"] }),
  flag("initial", "A run may begin here", false, { kinds: ["form", "hook", "script"] }),
  flag("enabled", "Switched on", true, { kinds: ["form", "hook", "job"] }),
];
const EDGE = [
  choice("on", "When its stage has", { "": "finished", failed: "failed", expired: "expired" }, { get: (value) => (value === "finished" ? "" : text(value)) }),
  field("when", "And if", {
    long: true, placeholder: "total > `100`", hint: "JMESPath over the data, or a condition as JSON",
    get: (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 1)),
    set: (value) => (value.trim().startsWith("{") ? JSON.parse(value) : value.trim() || undefined),
  }),
  flag("otherwise", "Otherwise: no other condition held", false),
];
const OWN = { stage: ["path", "kind", "x", "y"], edge: ["from", "to", "loop"] };

function make(name, given = {}, ...inside) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...inside.filter((one) => one !== null && one !== undefined));
  return node;
}

function sign(kind) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `sign kind-${kind}`);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#k-${kind}`);
  svg.append(use);
  return svg;
}

/** The parts of a schedule that have fields; null where it is something else. */
function parts(value) {
  if (value === undefined) return {};
  if (typeof value === "string") return { every: "cron", cron: value };
  const keys = Object.keys(value);
  if (!keys.every((key) => ["every", "on", "at", "timezone", "cron"].includes(key))) return null;
  if (value.on !== undefined && typeof value.on === "object" && !Array.isArray(value.on)) return null;
  return { ...value, every: value.every ?? "cron", on: Array.isArray(value.on) ? value.on.join(", ") : value.on === undefined ? undefined : String(value.on) };
}

function schedule(values, before) {
  const cron = values["schedule.cron"]?.trim(), timezone = values["schedule.timezone"]?.trim() || undefined;
  if (values["schedule.every"] === "cron") {
    if (typeof before === "string" && !timezone) return cron;
    return timezone ? { cron, timezone } : { cron };
  }
  const days = comma(values["schedule.on"] ?? "").map((one) => (/^\d+$/.test(one) ? Number(one) : one));
  const on = ["week", "month"].includes(values["schedule.every"]) && days.length ? (days.length > 1 ? days : days[0]) : undefined;
  const at = values["schedule.every"] === "hour" ? undefined : values["schedule.at"]?.trim() || undefined;
  return JSON.parse(JSON.stringify({ every: values["schedule.every"], on, at, timezone }));
}

export class Panel {
  constructor(graph, box, tools) {
    Object.assign(this, { graph, box, tools });
    this.tab = "options";
    this.tests = new Map(); // what was typed to test a stage with
    box.addEventListener("submit", (event) => { event.preventDefault(); if (this.commit()) this.close(); });
    box.addEventListener("change", (event) => { if (this.tab === "options" && event.target.name) this.commit(); });
    box.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); this.close(); } });
  }

  get open() { return !this.box.hidden; }
  get subject() {
    const { stage, edge } = this.shown ?? {};
    return stage !== undefined ? this.graph.find(stage) : this.graph.edges[edge];
  }

  show(tab = this.tab, focus = true) {
    this.shown = this.graph.chosen;
    if (!this.shown || !this.subject) { this.close(); return; }
    const isStage = this.shown.stage !== undefined;
    this.tab = isStage ? tab : "options";
    if (this.tab === "code" && !FILED.includes(this.subject.kind)) this.tab = "options";
    this.box.hidden = false;
    this.box.replaceChildren(...(isStage ? this.head() : [this.title(`${this.subject.from} → ${this.subject.to}`)]), this[this.tab]());
    if (focus) {
      const first = this.box.querySelector(".body input, .body textarea, .body select, .body button");
      first?.focus();
      if (first?.select) first.select();
    }
  }

  close() {
    if (this.box.hidden) return;
    const { stage } = this.shown ?? {};
    this.box.hidden = true;
    this.shown = null;
    this.tools.closed(stage);
  }

  title(words, kind) {
    return make("header", {}, kind ? sign(kind) : null, make("h2", {}, words), make("button", { type: "button", class: "bare", "aria-label": "close the options", onclick: () => { if (this.commit()) this.close(); } }, "✕"));
  }

  head() {
    const one = this.subject;
    const tabs = make("div", { class: "tabs", role: "tablist" });
    for (const [name, label] of [["options", "Options"], ["code", "Code"], ["test", "Test"]]) {
      if (name === "code" && !FILED.includes(one.kind)) continue;
      tabs.append(make("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-selected": name === this.tab ? "true" : "false", "aria-controls": "tab-body", onclick: () => { if (this.commit()) this.show(name); } }, label));
    }
    return [this.title(one.title || one.path, one.kind), tabs];
  }

  body(...inside) { return make("div", { class: "body", id: "tab-body", role: this.shown.stage === undefined ? undefined : "tabpanel", "aria-labelledby": this.shown.stage === undefined ? undefined : `tab-${this.tab}` }, ...inside); }

  // -- options ------------------------------------------------------------------------------------

  fields() {
    const one = this.subject, isStage = this.shown.stage !== undefined;
    const split = one.kind === "job" ? parts(one.schedule) : {};
    const found = [];
    for (const spec of isStage ? STAGE : EDGE) {
      if (spec.kinds && !spec.kinds.includes(one.kind)) continue;
      const [key, part] = spec.key.split(".");
      if (part && split === null) continue; // a schedule the fields cannot show
      const value = spec.get(part ? split[part] : one[key]);
      if (value !== null) found.push({ ...spec, value });
    }
    return found;
  }

  options() {
    const writable = this.tools.writable;
    const fields = this.fields();
    const rows = fields.map((spec) => this.row(spec));
    const rest = this.rest(fields);
    const json = make("textarea", { name: "rest", rows: Math.min(10, Math.max(2, rest.split("\n").length)), spellcheck: "false", placeholder: "{}" });
    json.value = rest;
    const more = make("details", { open: Boolean(rest) }, make("summary", {}, "More, as JSON"), make("label", {}, make("span", { class: "hidden" }, "Everything else"), json));
    const lists = [["files", this.tools.files], ["people", this.tools.people], ["roles", ["public", ...this.tools.roles]], ["days", DAYS]]
      .map(([id, values]) => make("datalist", { id }, ...values.map((value) => new Option(value))));
    const deeds = make("div", { class: "row" });
    if (writable) deeds.append(make("button", {}, "Done"), make("button", { type: "button", class: "danger", onclick: () => this.tools.remove() }, "Remove"));
    this.wrong = make("p", { class: "bad", role: "alert", hidden: true });
    const body = this.body(this.wrong, ...rows, more, ...lists, deeds);
    if (!writable) for (const one of body.querySelectorAll("input,select,textarea")) one.disabled = true;
    this.days(body);
    return body;
  }

  row(spec) {
    let input;
    if (spec.flag) {
      input = make("input", { type: "checkbox", name: spec.key });
      input.checked = spec.value;
      return make("label", { class: "check" }, input, spec.label);
    }
    if (spec.choices) {
      const pairs = Array.isArray(spec.choices) ? spec.choices.map((one) => [one, one]) : Object.entries(spec.choices);
      input = make("select", { name: spec.key }, ...pairs.map(([value, label]) => new Option(label, value)));
    } else if (spec.long) input = make("textarea", { name: spec.key, rows: 3, spellcheck: "false", placeholder: spec.placeholder });
    else input = make("input", { name: spec.key, list: spec.list, placeholder: spec.placeholder, type: spec.number ? "number" : "text", min: spec.number ? 1 : undefined, autocomplete: "off", spellcheck: "false" });
    input.value = spec.value;
    if (spec.key === "file") input.placeholder = fileOf(this.subject.path);
    if (spec.hint) input.setAttribute("aria-describedby", `hint-${spec.key}`);
    return make("div", { "data-field": spec.key }, make("label", {}, spec.label, input), spec.hint ? make("small", { id: `hint-${spec.key}` }, spec.hint) : null);
  }

  /** Of a schedule only what goes with how often it is. */
  days(body) {
    const every = body.querySelector("[name='schedule.every']");
    if (!every) return;
    const fit = () => {
      const shown = { on: ["week", "month"], at: ["day", "week", "month"], cron: ["cron"] };
      for (const [name, values] of Object.entries(shown)) body.querySelector(`[data-field='schedule.${name}']`).hidden = !values.includes(every.value);
    };
    every.addEventListener("change", fit);
    fit();
  }

  rest(fields) {
    const known = [...OWN[this.shown.stage !== undefined ? "stage" : "edge"], ...fields.map((spec) => spec.key.split(".")[0])];
    const left = Object.entries(this.subject).filter(([key]) => !known.includes(key));
    return left.length ? JSON.stringify(Object.fromEntries(left), null, 2) : "";
  }

  /** Takes what is typed; false where it cannot be, and says why. */
  commit() {
    if (!this.open || this.tab !== "options" || !this.subject || !this.tools.writable) return true;
    const fields = this.fields();
    const values = Object.fromEntries(new FormData(this.box));
    for (const spec of fields) if (spec.flag) values[spec.key] = this.box.elements[spec.key].checked;
    try {
      this.take(fields, values);
      this.wrong.hidden = true;
      return true;
    } catch (error) {
      this.wrong.textContent = error.message;
      this.wrong.hidden = false;
      this.wrong.scrollIntoView({ block: "nearest" });
      return false;
    }
  }

  take(fields, values) {
    const { graph, subject } = this;
    const isStage = this.shown.stage !== undefined;
    const path = isStage ? values.path.trim() : null;
    if (isStage && path !== subject.path && graph.doc.stages.some((one) => one.path === path)) throw new Error(`there is a stage ${path}`);
    const next = structuredClone(subject);
    const given = values.rest.trim() ? JSON.parse(values.rest) : {};
    for (const key of Object.keys(this.rest(fields) ? JSON.parse(this.rest(fields)) : {})) if (!(key in given)) delete next[key];
    Object.assign(next, given);
    for (const spec of fields) {
      if (spec.key === "path" || spec.key.includes(".")) continue;
      const was = spec.get(next[spec.key]), is = values[spec.key];
      if (is === was) continue; // as it is written, whichever way
      const value = spec.set(is);
      if (value === undefined) delete next[spec.key]; else next[spec.key] = value;
    }
    if (fields.some((spec) => spec.key === "schedule.every")) {
      const split = parts(next.schedule);
      if (fields.some((spec) => spec.key.includes(".") && (split[spec.key.split(".")[1]] ?? "") !== values[spec.key])) next.schedule = schedule(values, next.schedule);
    }
    if (path === subject.path || !isStage) { if (JSON.stringify(next) === JSON.stringify(subject)) return; }
    graph.change(() => {
      const one = isStage ? graph.declare(subject.path) : subject;
      for (const key of Object.keys(one)) if (!(key in next)) delete one[key];
      Object.assign(one, next, isStage ? { path: one.path } : {});
      for (const [key, twin] of graph.loose) // the file has its stage now
        if (key === path || twin.file === one.file) graph.loose.delete(key);
      if (isStage && path !== one.path) graph.rename(one, path);
      this.shown = graph.chosen = isStage ? { stage: path } : this.shown;
    });
    const head = this.box.querySelector("header h2");
    if (isStage) head.textContent = next.title || path;
  }

  // -- code ---------------------------------------------------------------------------------------

  code() {
    const one = this.subject, { tools } = this;
    const place = `${tools.folder}/${one.file || fileOf(one.path)}`;
    const body = this.body(make("p", { class: "quiet" }, "…"));
    const show = (path, code, note) => {
      const copy = make("button", { type: "button", class: "bare", onclick: async () => { await navigator.clipboard?.writeText(path); copy.textContent = "copied"; } }, "copy path");
      const row = make("div", { class: "row" });
      if (!note && tools.writable) {
        const told = make("span", { class: "quiet", role: "status" });
        row.append(
          make("button", { type: "button", title: "in VISUAL or EDITOR", onclick: async () => { const reply = await tools.send("stages.open", { workflow: this.graph.info.name, stage: one.path }); told.textContent = !reply.ok ? reply.text : reply.reply.opened ? "opened" : "set VISUAL to an editor with a window, or use the path"; } }, "Open file"),
          make("a", { class: "button", href: `vscode://file${path}` }, "VS Code"), told,
        );
      }
      body.replaceChildren(
        make("p", { class: "place" }, make("code", { title: path }, path.split("/").pop()), copy), row.childElementCount ? row : "",
        note ? make("p", { class: "quiet" }, note) : "", make("pre", { class: "code", tabindex: 0 }, ...coloured(code)),
      );
    };
    if (this.graph.info.stages.some((known) => known.path === one.path && known.file === (one.file || fileOf(one.path))))
      tools.ask(`stages/${encodeURIComponent(this.graph.info.name)}/code?stage=${encodeURIComponent(one.path)}`).then((reply) => {
        if (!reply.ok) body.replaceChildren(make("p", { class: "bad" }, reply.text));
        else show(reply.reply.path, reply.reply.text ?? tools.starters[one.kind], reply.reply.text === null ? "This is what the file begins with, once you save." : "");
      });
    else show(place, tools.starters[one.kind], "This is what the file begins with, once you save; one that is there already stays as it is.");
    return body;
  }

  // -- a test run ---------------------------------------------------------------------------------

  test() {
    const one = this.subject, { tools, graph } = this;
    const data = make("textarea", { name: "data", rows: 5, spellcheck: "false" });
    data.value = this.tests.get(one.path) ?? "{}";
    data.addEventListener("input", () => this.tests.set(one.path, data.value));
    const said = make("div", { class: "followed", role: "log", "aria-label": "the test run" });
    const label = one.kind === "hook" && !graph.edges.some((edge) => edge.to === one.path) ? "The body of the request (JSON)" : "The data it is handed (JSON)";
    const run = make("button", { type: "button", class: "main", onclick: () => this.run(one.path, data.value, said) }, "Run a test");
    return this.body(
      make("p", { class: "quiet" }, "It begins here and goes on to the next steps. Nobody is told, and it is gone when the daemon starts again."),
      make("label", {}, label, data), make("div", { class: "row" }, run, make("a", { class: "button", href: `${tools.root}/board?workflow=${encodeURIComponent(graph.info.name)}&test=1` }, "All test runs")), said,
    );
  }

  async run(stage, typed, said) {
    const { tools, graph } = this, workflow = graph.info.name;
    const line = (words, name = "", ...more) => said.append(make("p", { class: name }, words, ...more));
    said.replaceChildren();
    try { JSON.parse(typed); } catch (error) { line(error.message, "bad"); return; }
    if (tools.writable && !(await tools.ready())) { line("it could not be saved and deployed", "bad"); return; }
    const started = await tools.send("start", { workflow, stage, "input:json": typed, "test:json": "true" });
    if (!started.ok) { line(started.text, "bad"); return; }
    const id = started.reply.instance;
    line("begun: ", "quiet", make("a", { href: `${tools.root}/i/${id}` }, `…${id.slice(-6)}`));
    const shown = new Set();
    for (let turn = 0; turn < 240 && said.isConnected; turn++) {
      const [logs, at] = await Promise.all([
        tools.send("stages.logs", { workflow, "test:json": "true", "limit:json": "100" }),
        tools.ask(`instances/${id}`),
      ]);
      if (!logs.ok || !at.ok) { line((logs.ok ? at : logs).text, "bad"); return; }
      for (const one of logs.reply.items.reverse()) {
        if (shown.has(one.place) || one.at < at.reply.created) continue;
        shown.add(one.place);
        line(`${one.stage} ${one.ended}`, one.ended === "failed" ? "bad" : "good");
        for (const words of [one.output, one.error]) if (words) said.append(make("pre", {}, words.trimEnd()));
      }
      const { status, waits, error } = at.reply;
      const ask = waits.find((one) => one.ask)?.ask;
      if (status === "waiting" && ask) { line("it waits for a person: ", "", make("a", { href: `${tools.root}/asks/${encodeURIComponent(ask)}` }, "answer the form")); return; }
      if (["completed", "cancelled", "failed", "paused"].includes(status)) { line(error ? `${status}: ${error.message}` : status, status === "failed" ? "bad" : "good"); return; }
      await new Promise((done) => setTimeout(done, turn < 10 ? 150 : 1000));
    }
  }
}

const fileOf = (path) => `${path.replace(/[/.-]/g, "_")}.py`;

/** Python with its comments, texts and words told apart. */
function coloured(code) {
  const found = [];
  const rule = /(#[^\n]*)|("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\b(def|class|return|if|elif|else|for|while|in|not|and|or|import|from|as|with|try|except|finally|raise|yield|await|async|lambda|None|True|False|pass|is)\b/g;
  let at = 0;
  for (const match of code.matchAll(rule)) {
    found.push(code.slice(at, match.index), make("span", { class: match[1] ? "c" : match[2] ? "s" : "w" }, match[0]));
    at = match.index + match[0].length;
  }
  return [...found, code.slice(at)];
}
