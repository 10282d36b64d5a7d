// What the editor changes: the document of `stages.json`, and of that only what is touched. What it
// does not know stays where it is; where nothing is said of a place, one is found and not written.
export const W = 188, H = 58, GRID = 10;
const STEP_X = W + 88, STEP_Y = H + 46, EDGE = 30;

export class Graph extends EventTarget {
  constructor(data) {
    super();
    this.load(data);
  }

  /** Begins anew with what is on disk. */
  load(data) {
    this.info = data;
    this.doc = structuredClone(data.document);
    this.loose = new Map(); // stages of files that stages.json does not name (yet)
    for (const one of data.stages)
      if (!one.declared) this.loose.set(one.path, { path: one.path, kind: one.kind, file: one.file });
    this.saved = JSON.stringify(this.doc);
    this.past = [];
    this.future = [];
    this.chosen = null; // {stage: path} or {edge: number}
    this.place();
  }

  get stages() { return [...(this.doc.stages ?? []), ...this.loose.values()]; }
  get edges() { return this.doc.transitions ?? []; }
  get unsaved() { return JSON.stringify(this.doc) !== this.saved; }
  find(path) { return this.stages.find((one) => one.path === path); }
  isLoose(path) { return this.loose.has(path); }

  // -- history ------------------------------------------------------------------------------------

  /** Carries out a change that can be taken back; several of one `name` in a row are one. */
  change(act, name = null) {
    if (name === null || name !== this.changing) {
      this.past.push(this.state());
      if (this.past.length > 100) this.past.shift();
    }
    this.changing = name;
    this.future = [];
    const given = act();
    this.place();
    this.dispatchEvent(new Event("change"));
    return given;
  }

  state() { return JSON.stringify([this.doc, [...this.loose], [...this.placed]]); }

  step(from, to) {
    if (!from.length) return;
    to.push(this.state());
    const [doc, loose, placed] = JSON.parse(from.pop());
    this.doc = doc;
    this.loose = new Map(loose);
    this.placed = new Map(placed);
    this.chosen = this.changing = null;
    this.place();
    this.dispatchEvent(new Event("change"));
  }

  undo() { this.step(this.past, this.future); }
  redo() { this.step(this.future, this.past); }

  // -- changes ------------------------------------------------------------------------------------

  /** A stage of a file becomes one of the graph as soon as something is done with it. */
  declare(path) {
    const one = this.loose.get(path);
    if (one) {
      (this.doc.stages ??= []).push(one);
      this.loose.delete(path);
    }
    return this.find(path);
  }

  add(kind, x, y) {
    let path = kind;
    for (let n = 2; this.find(path); n++) path = `${kind}-${n}`;
    this.change(() => {
      const one = { path, kind, title: `New ${kind}` };
      if (kind === "job") one.schedule = { every: "day", at: "09:00" };
      (this.doc.stages ??= []).push(one);
      this.put(path, x, y);
    });
    this.chosen = { stage: path };
    return path;
  }

  /** Why no transition can lead there; null where one can. */
  refusal(from, to) {
    if (this.edges.some((edge) => edge.from === from && edge.to === to)) return "there is such a transition";
    if (this.find(to).kind === "job") return "a job begins by the clock: nothing leads to it";
    return null;
  }

  link(from, to) {
    this.change(() => {
      this.declare(from);
      this.declare(to);
      (this.doc.transitions ??= []).push(from === to ? { from, to, loop: true } : { from, to });
    });
    this.chosen = { edge: this.edges.length - 1 };
  }

  remove() {
    const { stage, edge } = this.chosen ?? {};
    if (stage === undefined && edge === undefined) return;
    this.change(() => {
      if (edge !== undefined) this.doc.transitions.splice(edge, 1);
      else {
        this.doc.stages = (this.doc.stages ?? []).filter((one) => one.path !== stage);
        if (this.doc.transitions) this.doc.transitions = this.edges.filter((one) => one.from !== stage && one.to !== stage);
        this.loose.delete(stage);
      }
    });
    this.chosen = null;
  }

  rename(one, path) {
    for (const edge of this.edges) {
      if (edge.from === one.path) edge.from = path;
      if (edge.to === one.path) edge.to = path;
    }
    this.placed.set(path, this.placed.get(one.path));
    this.placed.delete(one.path);
    one.path = path;
    this.chosen = { stage: path };
  }

  // -- where things stand -------------------------------------------------------------------------

  put(path, x, y) {
    const at = [x, y].map((value) => Math.max(0, Math.round(value / GRID) * GRID));
    this.placed.set(path, at);
    const one = this.declare(path);
    [one.x, one.y] = at;
  }

  /** Finds a place for whatever has none: in columns, as far from the beginning as it takes. */
  place() {
    const before = this.placed ?? new Map();
    this.placed = new Map();
    const rest = [];
    for (const one of this.stages) {
      if (Number.isFinite(one.x) && Number.isFinite(one.y)) this.placed.set(one.path, [one.x, one.y]);
      else if (before.has(one.path) && !this.isLoose(one.path)) this.placed.set(one.path, before.get(one.path));
      else rest.push(one);
    }
    this.layOut(rest);
  }

  layOut(stages) {
    const depth = this.depths();
    const rows = new Map();
    for (const one of stages) {
      const level = depth.get(one.path) ?? 0;
      const parents = this.edges.filter((edge) => edge.to === one.path && this.placed.has(edge.from));
      const beside = parents.length && level ? Math.min(...parents.map((edge) => this.placed.get(edge.from)[1])) : EDGE;
      const at = [EDGE + level * STEP_X, Math.max(beside, rows.get(level) ?? EDGE)];
      while ([...this.placed.values()].some(([x, y]) => Math.abs(x - at[0]) < W + 10 && Math.abs(y - at[1]) < H + 10)) at[1] += STEP_Y;
      rows.set(level, at[1] + STEP_Y);
      this.placed.set(one.path, at);
    }
  }

  /** How many transitions a stage is from a beginning, at most; loops are not gone round. */
  depths() {
    const depth = new Map();
    const into = new Set(this.edges.filter((edge) => edge.from !== edge.to).map((edge) => edge.to));
    const walk = (path, level, way) => {
      if (way.includes(path) || level > 60 || (depth.get(path) ?? -1) >= level) return;
      depth.set(path, level);
      for (const edge of this.edges) if (edge.from === path) walk(edge.to, level + 1, [...way, path]);
    };
    const all = this.stages.map((one) => one.path);
    for (const path of all) if (!into.has(path)) walk(path, 0, []);
    for (const path of all) if (!depth.has(path)) walk(path, 0, []);
    return depth;
  }

  /** Everything in columns again, written. */
  tidy() {
    this.change(() => {
      this.placed = new Map();
      const order = this.depths();
      const sorted = [...this.stages].sort((a, b) => (order.get(a.path) ?? 0) - (order.get(b.path) ?? 0));
      const linked = (one) => this.edges.some((edge) => edge.from === one.path || edge.to === one.path);
      this.layOut([...sorted.filter(linked), ...sorted.filter((one) => !linked(one))]);
      for (const [path, [x, y]] of this.placed) if (!this.isLoose(path)) this.put(path, x, y);
    });
  }
}
