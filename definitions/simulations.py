"""`simulate`: the order of a flow's handlers for a list of events, without effects.

    simulate(access, ["approve"], input={"target": "prod-db"}, services={"pagerduty.is_on_call": False})

The author's handlers run, so that one sees where hooks lead; nothing is delivered, no strategy is
run, no service is called: what services would give is said beforehand. There is no engine and no
journal, and time passes by naming the event it brings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from greenroom.definitions.errors import InvalidRequest, StepFailed
from greenroom.definitions.events import Event
from greenroom.definitions.flowruns import FlowRun, Runner
from greenroom.definitions.flows import Flow, FlowDesk
from greenroom.definitions.ops import CURRENT, Finished, Op, Select
from greenroom.definitions.services import RECORDER
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, encode_decode

Given = str | tuple[str, str] | Mapping[str, Any]


class _Stage:
    """Stands where the machine stands: it drives the program of one request."""

    instance = "simulation"
    fiber = None
    providers: Mapping[str, Any] = {}
    is_test = False

    def __init__(self, flow: Flow, services: Mapping[str, Any], out: Callable[[str], None]) -> None:
        self.now = 0
        self.lines: list[str] = []
        self.open: dict[str, tuple[Select, Op]] = {}
        self._desk = FlowDesk(flow)
        self._services = services
        self._out = out

    def say(self, line: str) -> None:
        self.lines.append(line)
        self._out(line)

    # what a select asks of the machine

    def hold(self, select: Select, op: Op) -> None:
        if op.kind == "ask" and op.key not in self.open:
            self.say(f"ask {op.key}")
        self.open[str(op.key)] = (select, op)

    def release(self, key: str) -> None:
        self.open.pop(key, None)

    # what a handler calls

    def remembered(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        return make()

    def outcome(self, name: str, args: Json, make: Callable[[], Any]) -> Json:
        self.say(f"  {name}")
        if name == "get_identity":
            return make()
        if name in self._services:
            given = self._services[name]
            return encode_decode(given(**args) if callable(given) else given, name)[1]
        if name.endswith((".send_message", ".deliver")):
            return None
        raise InvalidRequest(
            f"the handlers call {name}, and nobody has said what it gives",
            hint=f'simulate(..., services={{"{name}": ...}})',
        )

    # driving

    def drive(self, run: FlowRun, runner: Runner, events: deque[Given]) -> None:
        routine = runner.to_end()
        value: Any = None
        error: Exception | None = None
        state = ""
        try:
            while True:
                wanted: Any = routine.throw(error) if error is not None else routine.send(value)
                value = error = None
                if isinstance(wanted, Select):
                    if run.state != state:
                        state = run.state
                        self.say(f"= {state}")
                    while not wanted.ready:
                        if not events:
                            routine.close()
                            return
                        self._happen(run, events.popleft())
                    value = wanted.ready.popleft()
                    continue
                try:
                    value = self._call(wanted)
                except Exception as raised:
                    self.say(f"! {wanted.name}: {type(raised).__name__}: {raised}")
                    error = StepFailed(str(raised), type=type(raised).__name__)
        except StopIteration as stop:
            ended: Finished = stop.value
            self.say(f"= ended {ended.outcome}")
        except StepFailed:
            self.say("= failed")

    def _call(self, op: Op) -> Any:
        assert op.target is not None
        if op.name == "deliver":
            for place in op.args["to"]:
                name = place.get("name") or ", ".join(place.get("members", ()))
                self.say(f"deliver {place['service']} {place['kind']} {name}")
            return {"delivered": ["all"], "failed": []}
        self.say(op.name)
        if op.name.startswith("strategy."):
            return None
        return encode_decode(op.target.func(**encode_decode(op.args)[1]), op.name)[1]

    def _happen(self, run: FlowRun, given: Given) -> None:
        """Brings an event: an answer or message of a person, or the time it is due."""
        name, by, data = _read(given)
        self.say(f"> {name}" + (f" by {by}" if by else ""))
        due = self.open.get(f"{name}.due")
        if by is None and due is not None:
            self.now = max(self.now, due[1].until or 0)
            del self.open[f"{name}.due"]
            due[0].ready.append((f"{name}.due", None))
            return
        actor = by or "somebody"
        if name in ("submit", "prompt") and "prompt" in self.open:
            select, _ = self.open.pop("prompt")
            flow = self._desk.flow
            select.ready.append(("prompt", flow.form.read(data, flow.open_fields())))
            return
        waiting = self.open.get(name)
        if waiting is None:
            can = sorted({key.removesuffix(".due") for key in self.open if key != "approval"})
            raise InvalidRequest(
                f"in the state {run.state} there is no {name}{did_you_mean(name, can)}; there is: "
                f"{', '.join(can) or 'nothing'}"
            )
        said = self._desk.sent(vars(run), Event(type=name, data=data), actor)
        del self.open[name]
        waiting[0].ready.append((name, said))


def _read(given: Given) -> tuple[str, str | None, dict[str, Json]]:
    if isinstance(given, str):
        return given, None, {}
    if isinstance(given, tuple):
        return given[0], given[1], {}
    data = dict(given)
    return str(data.pop("event")), data.pop("by", None), data


def simulate(
    flow: Flow,
    events: Iterable[Given] = (),
    *,
    input: Mapping[str, Json] | None = None,
    by: str = "requester",
    services: Mapping[str, Any] | None = None,
    out: Callable[[str], None] = print,
) -> list[str]:
    """Prints the handlers a request would call, in order, and gives the lines.

    `events` are names (`"approve"`), `(name, who)`, or maps `{"event": "approve", "by": "bob",
    "reason": "ok"}`; one that only time brings, or that names nobody and is due, happens because its
    time has come. `services` says what services give: `{"okta.users_in_group": ["ann"]}`, or
    functions. A line `= state` is a state reached, `> event` an event, an indented one a call of a
    service, `!` a handler that failed.
    """
    stage = _Stage(flow, services or {}, out)
    run = FlowRun()
    vars(run).update(encode_decode(flow.opened(input or {}, by), "the input")[1])
    run.begin()
    driven = CURRENT.set(stage)
    recording = RECORDER.set(stage)
    try:
        stage.drive(run, Runner(flow, run), deque(events))
    finally:
        RECORDER.reset(recording)
        CURRENT.reset(driven)
    return stage.lines


__all__ = ["simulate"]
