"""A document tried out: every action followed with what its expressions see, nothing sent.

The same conditions, parameters and transforms as in a run, with responses somebody gives (or
none). So an author sees what would be sent, which branch would be taken and what the state
becomes, and a case kept beside the document says what must come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from greenroom.definitions import instants
from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.actions import CALLBACK_NAMES, Action
from greenroom.definitions.conditions import Condition
from greenroom.definitions.documents import Document, document_from
from greenroom.definitions.errors import ExpressionError, GreenroomError
from greenroom.definitions.expressions import compile_expression, is_expression, path_in
from greenroom.definitions.findings import Finding
from greenroom.definitions.instants import Instant
from greenroom.definitions.openings import started_with
from greenroom.definitions.parameters import emitted_by, resolve
from greenroom.definitions.roots import ROOT, unwrapped, wrapped
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.transforms import Transform, apply_effect
from greenroom.definitions.values import Json, copy

RAISES: Final = "$raise"
"""A response of one key with this name is a failure: its value is the message."""

STEPS_MAX: Final = 10_000


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """One expression with its value, or why it has none."""

    path: str
    expression: str
    value: Json = None
    error: str | None = None

    def __str__(self) -> str:
        shown = self.error or msgspec.json.encode(self.value).decode()
        return f"{self.path}  {self.expression} = {shown}"


class Tried(msgspec.Struct, omit_defaults=True):
    """One action. `outcome` is done, skipped, stopped or failed; `given` says that the response
    came from outside the trial, `unknown` that nobody gave one."""

    key: str
    title: str
    path: str
    outcome: str = "done"
    condition: list[Finding] = []
    expressions: list[Seen] = []
    parameters: Json = None
    response: Json = None
    given: bool = False
    unknown: bool = False
    error: str | None = None
    changed: dict[str, Json] = {}
    """What its transform wrote, by key path; `::` is the whole state."""


class Trial(msgspec.Struct, omit_defaults=True):
    """What would happen. `status` is completed, failed or refused (nothing starts)."""

    status: str
    outcome: str | None = None
    state: Json = None
    error: str | None = None
    source: list[Finding] = []
    expressions: list[Seen] = []
    actions: list[Tried] = []
    events: list[dict[str, Json]] = []
    unused: list[str] = []
    """Responses that were given for actions that did not come to pass."""


class _Stopped(Exception):
    pass


class _Failed(Exception):
    pass


def try_document(
    document: Document,
    input: Json,
    responses: Mapping[str, Json] | None = None,
    *,
    at: int = 0,
    raw: bool = False,
) -> Trial:
    """Follows a document from an input. `responses` are by the key of an action: its order, inside
    others `3.1`, of an item `3[0].1` (or `3[].1` for all); a failure is `{"$raise": "text"}`.

    `at` is the time the trial takes place, in milliseconds. `raw`: the input is the state, the
    source is not asked.
    """
    with instants.at(Instant(at, "trial")):
        return _Follower(document, responses or {}).follow(copy(input), raw)


def explain(
    definition: Document | dict[str, Json],
    input: Json,
    responses: Mapping[str, Json] | None = None,
    *,
    at: int = 0,
) -> list[Seen]:
    """Every expression of a workflow document with the value it has for an input, in the order in
    which they are evaluated. What comes after a response nobody gave sees null for it. Raises
    `InvalidDefinition` for a document that is not valid."""
    document = document_from(definition) if isinstance(definition, dict) else definition
    trial = try_document(document, input, responses, at=at)
    found = list(trial.expressions)
    for tried in trial.actions:
        found += tried.expressions
    return found


class _Follower:
    def __init__(self, document: Document, responses: Mapping[str, Json]) -> None:
        self.document = document
        self.responses = dict(responses)
        self.used: set[str] = set()
        self.trial = Trial("completed")
        self.kept: dict[tuple[str, str], Json] = {}

    def follow(self, input: Json, raw: bool) -> Trial:
        trial = self.trial
        try:
            state = self._start(input, raw)
            if trial.status == "completed":
                self._tell_of_itself(input, state)
                trial.state = self._line(self.document.actions, state, "", "")
                trial.outcome = "ok"
        except _Stopped as stopped:
            trial.state, trial.outcome = stopped.args[0], "stopped"
        except _Failed as failed:
            trial.state, trial.status = failed.args[0], "failed"
            trial.error = failed.args[1]
        trial.unused = [key for key in self.responses if key not in self.used]
        return trial

    def _tell_of_itself(self, input: Json, state: Json) -> None:
        """What the workflow says of an instance: its key reads the input, all else the first state."""
        data = self.document.data
        of_state = {name: data.get(name) for name in ("attributes", "concurrency", "rate")}
        self.trial.expressions += _values({"key": data.get("key")}, input, "$")
        self.trial.expressions += _values(of_state, state, "$")

    def _start(self, input: Json, raw: bool) -> Json:
        source, trial = self.document.source, self.trial
        if source is None or raw:
            return unwrapped(wrapped(input))
        if source.condition is not None:
            trial.expressions += _of_condition(source.condition, input, f"{source.path}.condition")
            trial.source = source.condition.explain(input)
            if not source.condition.holds(input):
                trial.status = "refused"
                blamed = source.condition.first_failure(input)
                trial.error = f"the condition of the source does not hold: {blamed}"
                return input
        if source.transform is None:
            return unwrapped(wrapped(input))
        trial.expressions += _values(source.transform.source, input, f"{source.path}.transform")
        try:
            return started_with(source.transform, input)
        except GreenroomError as error:
            trial.status, trial.error = "refused", error.message
            return input

    def _line(self, actions: tuple[Action, ...], state: Json, prefix: str, inner: str) -> Json:
        for action in actions:
            state = self._action(action, state, f"{prefix}{inner}{action.order}")
        return state

    def _action(self, action: Action, state: Json, key: str) -> Json:
        tried = Tried(key, action.title, action.path)
        if len(self.trial.actions) >= STEPS_MAX:
            raise _Failed(state, f"more than {STEPS_MAX:,} actions")
        self.trial.actions.append(tried)
        if action.condition is not None:
            tried.condition = action.condition.explain(state)
            tried.expressions += _of_condition(action.condition, state, f"{action.path}.condition")
            if not action.condition.holds(state):
                return self._not_held(action.condition, tried, state)
        try:
            return self._work(action, tried, state, key)
        except GreenroomError as error:
            return self._fail(action, tried, state, error.message)

    def _not_held(self, condition: Condition, tried: Tried, state: Json) -> Json:
        match condition.on_fail:
            case "skip":
                tried.outcome = "skipped"
                return state
            case "stop":
                tried.outcome = "stopped"
                raise _Stopped(state)
        return self._failed(tried, state, f"the condition of {tried.key} does not hold")

    def _failed(self, tried: Tried, state: Json, message: str) -> Json:
        tried.outcome, tried.error = "failed", message
        raise _Failed(state, f"action {tried.key} ({tried.title}): {message}")

    def _fail(self, action: Action, tried: Tried, state: Json, message: str) -> Json:
        """A failure that on_error may turn into something else."""
        if action.on_fail == "skip":
            tried.outcome, tried.error = "skipped", message
            return state
        if action.on_fail == "stop":
            tried.outcome, tried.error = "stopped", message
            raise _Stopped(state)
        return self._failed(tried, state, message)

    def _work(self, action: Action, tried: Tried, state: Json, key: str) -> Json:
        variables_path = f"{action.path}.variables"
        tried.expressions += _values(action.variables.source, state, variables_path)
        tried.expressions += _values(action.parameters.source, state, f"{action.path}.parameters")
        more = dict(zip(CALLBACK_NAMES, ("/callbacks/TOKEN", "TOKEN"), strict=True))
        parameters, variables = resolve(action, state, more if action.calls_back else None)
        tried.parameters = parameters
        if action.kind == "Branch":
            return self._branch(action, tried, state, key)
        response = (
            self._items(action, parameters["array_path"], key)
            if action.kind == "Iterator"
            else self._response(action, tried, parameters, state, key)
        )
        tried.response = response
        if isinstance(response, dict) and set(response) == {RAISES}:
            return self._fail(action, tried, state, str(response[RAISES]))
        if response is None and action.given.get("on_timeout") == "fail":
            return self._fail(action, tried, state, "the time is over")
        return self._transformed(action.transform, tried, state, response, variables)

    def _transformed(
        self,
        transform: Transform | None,
        tried: Tried,
        state: Json,
        response: Json,
        variables: dict[str, Json],
    ) -> Json:
        if transform is None:
            return state
        tried.expressions += _values(transform.source, response, f"{tried.path}.transform")
        effect = transform.effect(state, response, variables)
        tried.changed = {ROOT: effect.value} if effect.replace else dict(effect.set)
        return apply_effect(state, effect)

    def _branch(self, action: Action, tried: Tried, state: Json, key: str) -> Json:
        for branch in action.branches:
            if branch.condition is not None:
                path = f"{branch.path}.condition"
                tried.expressions += _of_condition(branch.condition, state, path)
            if branch.condition is None or branch.condition.holds(state):
                tried.response = branch.order
                return self._line(branch.actions, state, f"{key}.", f"{branch.order}-")
        tried.outcome = "skipped"
        return state

    def _items(self, action: Action, items: Json, key: str) -> Json:
        if not isinstance(items, list):
            raise ParameterInvalid(f"array_path must give a list, got {type(items).__name__}")
        policy = action.given.get("on_item_error", "fail")
        found: list[Json] = []
        for at, item in enumerate(items):
            try:
                found.append(self._line(action.actions, item, f"{key}[{at}].", ""))
            except _Failed as failed:
                if policy == "fail":
                    raise
                if policy == "collect":
                    found.append({"error": {"message": failed.args[1]}})
        return found

    def _response(
        self, action: Action, tried: Tried, parameters: dict[str, Json], state: Json, key: str
    ) -> Json:
        for name in (key, _of_all(key)):
            if name in self.responses:
                self.used.add(name)
                tried.given = True
                return copy(self.responses[name])
        match action.kind:
            case "Transform":
                return state
            case "CustomEvent":
                event = emitted_by(action, parameters)
                self.trial.events.append(event)
                return event
            case "Log":
                return parameters.get("text")
            case "Wait":
                return None
            case "Data":
                return self._data(parameters)
        tried.unknown = True
        return None

    def _data(self, parameters: dict[str, Json]) -> Json:
        scope, key = str(parameters.get("scope", "workflow")), str(parameters["key"])
        match parameters["operation"]:
            case "write":
                self.kept[scope, key] = parameters.get("value")
            case "delete":
                self.kept.pop((scope, key), None)
            case "query":
                return [
                    {"key": name, "value": value}
                    for (where, name), value in sorted(self.kept.items(), key=lambda one: one[0])
                    if where == scope and name.startswith(key)
                ]
            case "increment" | "decrement":
                sign = 1 if parameters["operation"] == "increment" else -1
                before = self.kept.get((scope, key), 0)
                if type(before) is not int or type(parameters.get("value", 1)) is not int:
                    raise ParameterInvalid(f"{key} cannot be counted")
                self.kept[scope, key] = before + sign * parameters.get("value", 1)
        return self.kept.get((scope, key))


def _of_all(key: str) -> str:
    """`3[0].1` as `3[].1`."""
    parts = key.split("[")
    return parts[0] + "".join("[" + part[part.index("]") :] for part in parts[1:])


def _of_condition(condition: Condition, source: Json, path: str) -> list[Seen]:
    return _values(condition.source, source, path)


def _values(value: Json, source: Json, path: str) -> list[Seen]:
    return [_seen(place, text, source) for place, text in _expressions(value, path)]


def _expressions(value: Json, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _expressions(item, path_in(path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _expressions(item, f"{path}[{at}]")
    elif is_expression(value):
        yield path, value


def _seen(path: str, text: str, source: Json) -> Seen:
    try:
        return Seen(path, text, copy(compile_expression(text[len(PREFIX) :]).search(source)))
    except ExpressionError as error:
        return Seen(path, text, error=error.message)


# -- cases -------------------------------------------------------------------------------------


def differences(trial: Trial, expected: Mapping[str, Any]) -> list[str]:
    """How a trial differs from what a case expects; empty when it does not.

    `status outcome error state` as they are (`error` is a part of the message), `includes` a part
    of the state, `done skipped` keys of actions, `sent` parameters by key, `events` in order.
    """
    found: list[str] = []
    for name in ("status", "outcome", "state"):
        actual = getattr(trial, name)
        if name in expected and actual != expected[name]:
            found.append(f"{name}: expected {_shown(expected[name])}, got {_shown(actual)}")
    if "error" in expected and str(expected["error"]) not in (trial.error or ""):
        found.append(f"error: expected {expected['error']!r} in {trial.error!r}")
    if "includes" in expected:
        _part("state", trial.state, expected["includes"], found)
    for name in ("done", "skipped"):
        if name in expected:
            actual = [one.key for one in trial.actions if one.outcome == name]
            wanted = [str(one) for one in expected[name]]
            if actual != wanted:
                found.append(f"{name}: expected {_shown(wanted)}, got {_shown(actual)}")
    for key, wanted in dict(expected.get("sent", {})).items():
        sent = next((one.parameters for one in trial.actions if one.key == key), None)
        _part(f"sent {key}", sent, wanted, found)
    if "events" in expected:
        wanted = expected["events"]
        if len(wanted) != len(trial.events):
            found.append(f"events: expected {len(wanted)}, got {len(trial.events)}")
        else:
            for at, (event, part) in enumerate(zip(trial.events, wanted, strict=True)):
                _part(f"events[{at}]", event, part, found)
    return found


EXPECTS: Final = (
    "status", "outcome", "error", "state", "includes", "done", "skipped", "sent", "events",
)  # fmt: skip


def _part(place: str, actual: Json, wanted: Json, found: list[str]) -> None:
    """Objects may have more than is expected, everything else is the same."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        for key, item in wanted.items():
            if key not in actual:
                found.append(f"{place}.{key}: expected {_shown(item)}, nothing is there")
            else:
                _part(f"{place}.{key}", actual[key], item, found)
    elif actual != wanted or type(actual) is not type(wanted):
        found.append(f"{place}: expected {_shown(wanted)}, got {_shown(actual)}")


def _shown(value: Json) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else text[:199] + "…"
