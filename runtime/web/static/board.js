// Cards are dragged between columns; a drop is a transition, and one that is not allowed goes back.
const root = document.body.dataset.root;
const told = document.getElementById("told");

function say(text) {
  told.textContent = text;
  told.hidden = !text;
}

async function moved(event) {
  const from = event.from.closest(".column"), to = event.to.closest(".column");
  to.classList.remove("refused");
  if (from === to) return;
  const back = () => event.from.insertBefore(event.item, event.from.children[event.oldIndex] ?? null);
  const allowed = JSON.parse(from.dataset.targets);
  const stage = to.dataset.stage;
  if (!allowed.includes(stage)) {
    back();
    say(`from ${from.dataset.stage} a run goes to ${allowed.join(", ") || "nowhere"}, not to ${stage}`);
    return;
  }
  const form = new FormData();
  form.set("csrf", document.body.dataset.csrf);
  form.set("instance", event.item.dataset.instance);
  form.set("stage", stage);
  const answer = await fetch(`${root}/do/stages.move`, { method: "POST", body: form, headers: { Accept: "application/json" } });
  const reply = await answer.json();
  if (!reply.ok) back();
  say(reply.ok ? "" : reply.text);
}

function make() {
  for (const list of document.querySelectorAll(".cards")) {
    if (list.dataset.sortable) continue;
    list.dataset.sortable = "1";
    window.Sortable.create(list, {
      group: "board", animation: 0, draggable: "[data-movable='1']", filter: "a,summary,button", preventOnFilter: false,
      forceFallback: true, onEnd: moved,
    });
  }
}
make();
document.addEventListener("htmx:after:swap", make);
