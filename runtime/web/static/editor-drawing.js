// The graph as SVG. A node that is replaced under the mouse is never clicked, so what is only chosen
// or aimed at is marked on what is there.
import { H, W } from "./editor-graph.js";

const NS = "http://www.w3.org/2000/svg";
const TEXT = 20;

function make(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const cut = (text, length = TEXT) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** The second line of a stage: what matters about one of its kind. */
export function about(one) {
  const words = [one.kind];
  const { schedule } = one;
  if (schedule) words.splice(0, 1, typeof schedule === "string" ? schedule : schedule.cron ?? [schedule.every && `every ${schedule.every}`, schedule.at].filter(Boolean).join(", "));
  else if (one.kind === "iterator") words.push(`each of ${one.items || "items"}`);
  else if (one.assignee) words.push(one.assignee);
  else if (one.join) words.push(`join ${one.join}`);
  return cut(words.join(" · "), 21);
}

/** What stands on a transition: how its stage ended, and whether there is a condition. */
export function words(edge) {
  const found = [];
  if (edge.on && edge.on !== "finished") found.push(edge.on);
  if (edge.when) found.push(typeof edge.when === "string" ? `if ${cut(edge.when, 22)}` : "if …");
  else if (edge.otherwise) found.push("otherwise");
  return found.join(" · ");
}

export class Drawing {
  constructor(graph, canvas) {
    this.graph = graph;
    this.canvas = canvas;
    this.svg = make("svg", { "aria-label": "stages and transitions" });
    canvas.append(this.svg);
  }

  node(path) { return this.svg.querySelector(`[data-path="${CSS.escape(path)}"]`); }

  /** Where the mouse is on the drawing. */
  spot(event) {
    const box = this.svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  draw() {
    const { graph, svg } = this;
    const { path: stage, edge } = document.activeElement?.dataset ?? {};
    svg.replaceChildren(this.tips());
    let right = this.canvas.clientWidth - 2, bottom = this.canvas.clientHeight - 2;
    graph.edges.forEach((one, n) => this.edge(one, n));
    this.band = svg.appendChild(make("path", { class: "edge band", "marker-end": "url(#tip-chosen)" }));
    this.band.style.display = "none";
    for (const one of graph.stages) {
      const [x, y] = graph.placed.get(one.path);
      right = Math.max(right, x + W + 40);
      bottom = Math.max(bottom, y + H + 40);
      svg.append(this.stage(one, x, y));
    }
    svg.setAttribute("width", right);
    svg.setAttribute("height", bottom);
    this.mark();
    if (stage) this.node(stage)?.focus({ preventScroll: true });
    else if (edge !== undefined) svg.querySelector(`[data-edge="${edge}"]`)?.focus({ preventScroll: true });
  }

  tips() {
    const defs = make("defs", {});
    for (const name of ["tip", "tip-chosen"]) {
      const tip = make("marker", { id: name, viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
      tip.append(make("path", { d: "M0 0 L8 4 L0 8 z", class: name }));
      defs.append(tip);
    }
    return defs;
  }

  stage(one, x, y) {
    const loose = this.graph.isLoose(one.path);
    const title = one.title || one.path;
    const g = make("g", { class: `stage kind-${one.kind}${loose ? " loose" : ""}`, transform: `translate(${x} ${y})`, tabindex: 0, role: "button", "aria-label": `${cut(title, 18)} ${about(one)}, ${one.kind} ${title}${loose ? ", not connected" : ""}` });
    g.dataset.path = one.path;
    g.append(make("rect", { class: "card", width: W, height: H, rx: 10 }));
    g.append(make("rect", { class: "tile", x: 10, y: 13, width: 32, height: 32, rx: 8 }));
    g.append(make("use", { href: `#k-${one.kind}`, x: 16, y: 19, width: 20, height: 20, class: "sign" }));
    g.append(make("text", { x: 52, y: 26 }, `${cut(title, 18)} `)); // read aloud as two words
    g.append(make("text", { x: 52, y: 43, class: "kind" }, about(one)));
    g.append(make("circle", { class: "handle", cx: W, cy: H / 2, r: 6 }));
    return g;
  }

  edge(one, n) {
    const { placed, edges } = this.graph;
    const from = placed.get(one.from), to = placed.get(one.to);
    if (!from || !to) return;
    const twins = edges.slice(0, n).filter((other) => other.from === one.from && other.to === one.to).length;
    const d = way(from, to, twins * 18);
    this.svg.append(make("path", { d, class: "edge", "marker-end": "url(#tip)" }));
    const said = words(one);
    const hit = make("path", { d, class: "edge hit", tabindex: 0, role: "button", "aria-label": `transition from ${one.from} to ${one.to}${said ? `, ${said}` : ""}` });
    hit.dataset.edge = n;
    this.svg.append(hit);
    if (!said) return;
    const middle = hit.getPointAtLength(hit.getTotalLength() / 2);
    const width = said.length * 6.1 + 14;
    const gap = to[0] - from[0] - W, level = Math.abs(to[1] - from[1]) < H;
    const y = level && gap >= 0 && gap < width ? Math.min(from[1], to[1]) - 22 : middle.y - 9; // no room: above
    const chip = make("g", { class: `chip-on${one.on === "failed" || one.on === "expired" ? " off" : ""}`, transform: `translate(${middle.x - width / 2} ${y})` });
    chip.append(make("rect", { width, height: 18, rx: 9 }), make("text", { x: width / 2, y: 13, "text-anchor": "middle" }, said));
    chip.dataset.of = n;
    this.svg.append(chip);
  }

  /** Shows what is chosen, and aimed at, without drawing anew. */
  mark(aimed = null, refused = false) {
    const chosen = this.graph.chosen ?? {};
    for (const one of this.svg.querySelectorAll(".stage")) {
      one.classList.toggle("chosen", chosen.stage === one.dataset.path);
      one.classList.toggle("aimed", aimed === one.dataset.path && !refused);
      one.classList.toggle("refused", aimed === one.dataset.path && refused);
    }
    for (const one of this.svg.querySelectorAll(".edge.hit")) {
      const line = one.previousSibling, is = chosen.edge === Number(one.dataset.edge);
      line.classList.toggle("chosen", is);
      line.setAttribute("marker-end", is ? "url(#tip-chosen)" : "url(#tip)");
    }
  }

  /** The line that follows the mouse while a transition is drawn. */
  stretch(from, spot) {
    this.band.style.display = from ? "" : "none";
    if (from) this.band.setAttribute("d", way(this.graph.placed.get(from), [spot[0] + 7, spot[1] - H / 2], 0));
  }
}

function way(from, to, aside) {
  const [x1, y1] = [from[0] + W, from[1] + H / 2 + aside], [x2, y2] = [to[0] - 5, to[1] + H / 2 + aside];
  if (from[0] === to[0] && from[1] === to[1]) { // to itself: over the top
    return `M ${from[0] + W - 50} ${from[1]} c 0 -46, -70 -46, -70 -6`;
  }
  if (to[0] >= from[0] + W - 10) {
    const bend = Math.max(28, (x2 - x1) / 2);
    return `M ${x1} ${y1} C ${x1 + bend} ${y1}, ${x2 - bend} ${y2}, ${x2} ${y2}`;
  }
  if (Math.abs(to[0] - from[0]) < W && Math.abs(to[1] - from[1]) > H) { // one above the other
    const down = to[1] > from[1], x = from[0] + W / 2 + aside, x3 = to[0] + W / 2 + aside;
    const [a, b] = [from[1] + (down ? H : 0), to[1] + (down ? -5 : H + 5)];
    return `M ${x} ${a} C ${x} ${(a + b) / 2}, ${x3} ${(a + b) / 2}, ${x3} ${b}`;
  }
  const low = Math.max(from[1], to[1]) + H + 40 + aside; // back: below both
  const [a, b] = [from[0] + W / 2, to[0] + W / 2];
  return `M ${a} ${from[1] + H} C ${a} ${low}, ${b} ${low}, ${b} ${to[1] + H + 5}`;
}
