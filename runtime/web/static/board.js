// Cards are dragged between columns; a drop is a transition. Where a card may go is shown while it is
// dragged, and why it may not when it is let go elsewhere.
const root = document.body.dataset.root;
const told = document.getElementById("told");
let refused = null; // the column under the mouse that does not take the card

function say(text) {
  told.textContent = text;
  told.hidden = !text;
}

const column = (list) => list.closest(".column");
const targets = (from) => JSON.parse(from.dataset.targets);
const title = (stage) => document.querySelector(`[data-stage="${CSS.escape(stage)}"]`)?.dataset.title ?? stage;

function begun(event) {
  say("");
  refused = null;
  const from = column(event.from), allowed = targets(from);
  document.getElementById("board").classList.add("dragging");
  for (const one of document.querySelectorAll(".column")) {
    const may = allowed.includes(one.dataset.stage);
    one.classList.toggle("may", may);
    one.classList.toggle("may-not", !may && one.dataset.stage !== from.dataset.stage);
  }
}

/** Whether the card may stand there; the place it began is always good. */
function over(event) {
  const from = column(event.from), to = column(event.to);
  const may = from.dataset.stage === to.dataset.stage || targets(from).includes(to.dataset.stage);
  refused = may ? null : to;
  return may;
}

async function ended(event) {
  document.getElementById("board").classList.remove("dragging");
  for (const one of document.querySelectorAll(".may, .may-not")) one.classList.remove("may", "may-not");
  const from = column(event.from), to = refused ?? column(event.to), stage = to.dataset.stage;
  refused = null;
  if (from.dataset.stage === stage) { back(event); return; }
  const allowed = targets(from);
  if (!allowed.includes(stage)) {
    back(event);
    say(`from ${from.dataset.title} a run goes to ${allowed.map(title).join(", ") || "nowhere"}, not to ${to.dataset.title}`);
    return;
  }
  const form = new FormData();
  form.set("csrf", document.body.dataset.csrf);
  form.set("instance", event.item.dataset.instance);
  form.set("stage", stage);
  try {
    const answer = await fetch(`${root}/do/stages.move`, { method: "POST", body: form, headers: { Accept: "application/json" } });
    const reply = await answer.json();
    if (!reply.ok) back(event);
    say(reply.ok ? "" : reply.text);
  } catch {
    back(event);
    say("the daemon does not answer: nothing was moved");
  }
}

const back = (event) => event.from.insertBefore(event.item, event.from.children[event.oldIndex] ?? null);

function make() {
  for (const list of document.querySelectorAll(".cards")) {
    if (list.dataset.sortable) continue;
    list.dataset.sortable = "1";
    window.Sortable.create(list, {
      group: "board", animation: 0, draggable: ".card", filter: "a,summary,button,.stays", preventOnFilter: false,
      forceFallback: true, fallbackTolerance: 4, onStart: begun, onMove: over, onEnd: ended,
      onFilter: (event) => { if (event.target.matches?.(".stays")) say(`this card stays for now: ${event.target.dataset.stays}`); },
    });
  }
}
make();
document.addEventListener("htmx:after:swap", make);
