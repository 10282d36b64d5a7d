"""The actions of a document: read, checked, and with every expression compiled.

One action is a condition, parameters with variables, the work itself, and a transform. What the
work is, is for others: here it is a name and parameters that fit its schema.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.definitions import connectors
from greenroom.definitions.catalog import Catalog
from greenroom.definitions.conditions import Condition, OnFail, compile_condition
from greenroom.definitions.coreactions import (
    ACTION,
    ACTIONS_IN_ALL_MAX,
    COMMON_KEYS,
    CONNECTOR_KEYS,
    CORE_ACTIONS,
    DEFS,
    NESTED_MAX,
    UNDO_KEYS,
    UNDO_KINDS,
    core_name,
)
from greenroom.definitions.coreparameters import FIXED, check_written, duration_at
from greenroom.definitions.errors import InvalidDefinition, InvalidInput, Problem
from greenroom.definitions.expressions import Value, compile_value, is_expression, path_in
from greenroom.definitions.formats import compile_format
from greenroom.definitions.forms import form_target
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.schemapages import page_from_schema
from greenroom.definitions.shapes import Problems, check_shape, is_mistyped
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.transforms import Transform, compile_transform
from greenroom.definitions.values import Json, texts_in
from greenroom.definitions.workflow import Target

CALLBACK_NAMES: Final = ("callback_route", "callback_token")
"""Variables that an action which waits to be called back has without declaring them."""

RETRY: Final = (3.0, 1.5)
"""Seconds before the first retry, and by what they grow, unless `backoff` says otherwise."""
WORKFLOW_RETRY: Final = (30.0, 2.5)
"""The same where the workflow says it for all its actions."""


class Branch(msgspec.Struct, frozen=True):
    """One way of a Branch action."""

    order: int
    path: str
    condition: Condition | None
    actions: tuple[Action, ...]


class Action(msgspec.Struct, frozen=True):
    """One compiled action. `kind` is the core name, or None for an action of a connector."""

    path: str
    order: int
    kind: str | None
    connector: str | None
    type: str
    description: str | None
    condition: Condition | None
    given: dict[str, Json]
    """The parameters as they are written, without nested actions."""
    parameters: Value
    variables: Value
    transform: Transform | None
    retry: RetryPolicy | None
    on_fail: OnFail
    timeout_s: float | None
    wait_for_callback: bool | None
    service: connectors.Action | None
    """The action of the connector, which judges parameters and carries it out."""
    target: Target | None
    """The step of a Call, the form of an Ask."""
    actions: tuple[Action, ...]
    branches: tuple[Branch, ...]
    undo: Action | None = None
    """What takes back what this one has done."""

    @property
    def title(self) -> str:
        """What people see: `slack PostMessage`, `Log`."""
        return self.kind or f"{self.connector} {self.type}"

    @property
    def calls_back(self) -> bool:
        """Whether the response is what somebody posts later, not what the connector gives."""
        return self.kind is None and self.wait_for_callback is True

    def inner(self) -> list[Action]:
        """The actions right inside this one."""
        return [*self.actions, *(one for branch in self.branches for one in branch.actions)]


class ActionReader:
    """Reads actions and adds what is wrong with them."""

    def __init__(self, problems: Problems, warnings: list[Problem], catalog: Catalog) -> None:
        self.problems = problems
        self.warnings = warnings
        self.catalog = catalog
        self.retry: RetryPolicy | None = None
        """What actions do that can be tried again and have no `on_error`."""
        self._depth = 0
        self._count = 0

    def on_error(self, data: Json) -> None:
        """The `on_error` of the whole document."""
        self.retry, _ = self._on_error(data, "$.on_error", WORKFLOW_RETRY)

    def actions(self, data: list[Json], path: str) -> tuple[Action, ...]:
        """The actions of a list by their order."""
        if self._depth > NESTED_MAX:
            self.problems.add(path, f"actions are nested more than {NESTED_MAX} levels deep")
            return ()
        before, self._count = self._count, self._count + len(data)
        if self._count > ACTIONS_IN_ALL_MAX:
            if before <= ACTIONS_IN_ALL_MAX:
                self.problems.add(
                    path,
                    f"there are more than {ACTIONS_IN_ALL_MAX} actions in all; use RunWorkflow",
                )
            return ()
        self._depth += 1
        found = [self._action(item, f"{path}[{at}]") for at, item in enumerate(data)]
        self._depth -= 1
        self._check_orders(data, path)
        return tuple(sorted((one for one in found if one is not None), key=lambda one: one.order))

    def _check_orders(self, data: list[Json], path: str) -> None:
        seen: dict[int, int] = {}
        for at, item in enumerate(data):
            order = item.get("order") if isinstance(item, dict) else None
            if type(order) is not int:
                continue
            if order in seen:
                self.problems.add(
                    f"{path}[{at}].order", f"{order} is the order of {path}[{seen[order]}] too"
                )
            seen.setdefault(order, at)

    def _action(self, data: Json, path: str) -> Action | None:
        before = len(self.problems)
        check_shape(data, ACTION, path, self.problems, DEFS)
        if not isinstance(data, dict):
            return None
        kind = core_name(data.get("type"))
        if kind is not None and kind not in CORE_ACTIONS:
            self.problems.add(
                f"{path}.type",
                f'there is no core action "{kind}"{did_you_mean(kind, CORE_ACTIONS)}',
            )
        service, target = self._work(data, kind, path)
        parameters = data.get("parameters")
        given = dict(parameters) if isinstance(parameters, dict) else {}
        self._check_parameters(kind, given, service, f"{path}.parameters")
        inner = self._inner(kind, given, path)
        if kind == "Ask" and given.get("kind") == "form":
            target = self._form(given, data, f"{path}.parameters")
        variables = self._variables(data.get("variables"), f"{path}.variables")
        names = list(variables.source) if variables is not None else []
        calls_back = kind is None and data.get("wait_for_callback") is True
        given_names = [*names, *CALLBACK_NAMES] if calls_back else names
        open_ = {key: item for key, item in given.items() if kind is None or key not in FIXED}
        compiled = self._value(open_, f"{path}.parameters", given_names)
        condition = self._condition(data, path)
        transform = self._transform(data, path, names)
        retry, on_fail = self._on_error(data.get("on_error"), f"{path}.on_error")
        if kind == "Data" and retry is not None:
            self.problems.add(f"{path}.on_error.max_retries", "Data tries again by itself")
        if "on_error" not in data and self._can_be_tried_again(kind, target):
            retry = self.retry
        if calls_back and on_fail == "skip":
            self.problems.add(f"{path}.on_error.on_fail", "nobody would call back: fail or stop")
        timeout_s = self._timeout(data, path)
        undo = self._undo(data, path) if "compensate" in data else None
        self._check_unused(names, open_, data.get("transform"), f"{path}.variables")
        if len(self.problems) > before or compiled is None or type(data.get("order")) is not int:
            return None
        return Action(
            path=path,
            order=data["order"],
            kind=kind,
            connector=data.get("connector_id"),
            type=data["type"] if kind is None else kind,
            description=data.get("description"),
            condition=condition,
            given={key: item for key, item in given.items() if key not in ("actions", "branches")},
            parameters=compiled,
            variables=variables or compile_value({}),
            transform=transform,
            retry=retry,
            on_fail=on_fail,
            timeout_s=timeout_s,
            wait_for_callback=data.get("wait_for_callback"),
            service=service,
            target=target,
            actions=inner if isinstance(inner, tuple) else (),
            branches=tuple(inner) if isinstance(inner, list) else (),
            undo=undo,
        )

    def _can_be_tried_again(self, kind: str | None, target: Target | None) -> bool:
        """Whether it is an action that takes `on_error`; a step that says it itself knows better."""
        if target is not None and target.retry is not None:
            return False
        if kind == "Data":  # it does so by itself
            return False
        return kind is None or (kind in CORE_ACTIONS and "on_error" in CORE_ACTIONS[kind].keys)

    # -- what does the work --------------------------------------------------------------------

    def _work(
        self, data: dict[str, Json], kind: str | None, path: str
    ) -> tuple[connectors.Action | None, Target | None]:
        """The action of a connector, the step of a Call."""
        if kind is not None and kind not in CORE_ACTIONS:
            return None, None
        keys = (*COMMON_KEYS, *(CORE_ACTIONS[kind].keys if kind else CONNECTOR_KEYS))
        for key in data:
            if key not in keys and key in ACTION["properties"]:
                what = f"Core:{kind}" if kind else "an action of a connector"
                self.problems.add(path_in(path, key), f"has no meaning with {what}")
        if kind is not None:
            if "transform" not in data and kind == "Transform" and "remove" not in data:
                self.problems.add(f"{path}.transform", "is missing")
            return None, self._step(data, kind, path)
        connector, type_ = data.get("connector_id"), data.get("type")
        mistyped = is_mistyped("connector_id", data, ACTION["properties"])
        if connector is None and isinstance(type_, str) and not mistyped:
            near = did_you_mean(type_, CORE_ACTIONS)
            self.problems.add(
                f"{path}.connector_id", f"is missing; core actions are written Core:NAME{near}"
            )
        if not isinstance(connector, str) or not isinstance(type_, str):
            return None, None
        return self.catalog.action(connector, type_, path, self.problems), None

    def _step(self, data: dict[str, Json], kind: str, path: str) -> Target | None:
        parameters = data.get("parameters")
        if kind != "Call" or not isinstance(parameters, dict):
            return None
        name = parameters.get("step")
        if not isinstance(name, str) or not name:
            return None
        return self.catalog.step(name, f"{path}.parameters.step", self.problems)

    def _inner(
        self, kind: str | None, given: dict[str, Json], path: str
    ) -> tuple[Action, ...] | list[Branch]:
        """The actions inside an action."""
        place = f"{path}.parameters"
        if kind == "Iterator" and isinstance(given.get("actions"), list):
            return self.actions(given["actions"], f"{place}.actions")
        if kind == "Branch" and isinstance(given.get("branches"), list):
            self._check_orders(given["branches"], f"{place}.branches")
            found = [
                self._branch(item, f"{place}.branches[{at}]")
                for at, item in enumerate(given["branches"])
            ]
            return sorted((one for one in found if one is not None), key=lambda one: one.order)
        return ()

    def _branch(self, data: Json, path: str) -> Branch | None:
        if not isinstance(data, dict):
            return None
        condition = self._condition(data, path)
        if condition is not None and "on_fail" in data["condition"]:
            self._warn(f"{path}.condition.on_fail", "is ignored: the next branch is asked")
        actions: tuple[Action, ...] = ()
        if isinstance(data.get("actions"), list):
            actions = self.actions(data["actions"], f"{path}.actions")
        order = data.get("order")
        return Branch(order, path, condition, actions) if type(order) is int else None

    def _undo(self, data: dict[str, Json], path: str) -> Action | None:
        written, place = data["compensate"], f"{path}.compensate"
        if not isinstance(written, dict):
            return None
        for key in written:
            if key not in UNDO_KEYS:
                self.problems.add(path_in(place, key), "has no meaning in what takes back")
        kind = core_name(written.get("type"))
        if kind is not None and kind not in UNDO_KINDS:
            names = ", ".join(f"Core:{one}" for one in UNDO_KINDS)
            self.problems.add(f"{place}.type", f"must be an action of a connector, or {names}")
            return None
        kept = {key: item for key, item in written.items() if key in UNDO_KEYS}
        return self._action({**kept, "order": data.get("order", 1)}, place)

    def _form(self, given: dict[str, Json], data: dict[str, Json], path: str) -> Target | None:
        """The form of an Ask: one page with the fields of its schema."""
        schema = given.get("schema")
        if not isinstance(schema, dict):
            self.problems.add(f"{path}.schema", "is missing: a form has fields")
            return None
        title = str(given.get("title") or data.get("description") or "Form")
        page = page_from_schema(title, schema, f"{path}.schema", self.problems)
        return None if page is None else form_target(page, title)

    # -- parameters ----------------------------------------------------------------------------

    def _check_parameters(
        self,
        kind: str | None,
        given: dict[str, Json],
        service: connectors.Action | None,
        path: str,
    ) -> None:
        if kind is None:
            if service is not None:
                self.problems.take(*service.problems(given, path, constants=True))
            return
        check_written(kind, given, path, self.problems)

    # -- the rest of an action -----------------------------------------------------------------

    def _condition(self, data: dict[str, Json], path: str) -> Condition | None:
        if "condition" not in data or data["condition"] == {}:
            return None
        try:
            return compile_condition(data["condition"], f"{path}.condition")
        except InvalidDefinition as error:
            self.problems.take(*error.problems)
        return None

    def _variables(self, data: Json, path: str) -> Value | None:
        if not isinstance(data, dict):
            return None
        for name in data:
            if not (name.isascii() and name.isidentifier()):
                self.problems.add(path_in(path, name), "a variable is named like {name}: a word")
        return self._value(data, path, [])

    def _value(self, data: Json, path: str, names: list[str]) -> Value | None:
        try:
            compiled = compile_value(data, names, path)
        except InvalidDefinition as error:
            self.problems.take(*error.problems)
            return None
        except InvalidInput as error:
            self.problems.add(path, error.message)
            return None
        self.warnings.extend(compiled.warnings)
        return compiled

    def _transform(self, data: dict[str, Json], path: str, names: list[str]) -> Transform | None:
        mapping, remove = data.get("transform", {}), data.get("remove", [])
        if not isinstance(mapping, dict) or not isinstance(remove, list):
            return None
        if not mapping and not remove:
            return None
        try:
            compiled = compile_transform(mapping, remove, names, f"{path}.transform")
        except InvalidDefinition as error:
            self.problems.take(*error.problems)
            return None
        except InvalidInput as error:
            self.problems.add(f"{path}.transform", error.message)
            return None
        self.warnings.extend(compiled.warnings)
        return compiled

    def _on_error(
        self, data: Json, path: str, default: tuple[float, float] = RETRY
    ) -> tuple[RetryPolicy | None, OnFail]:
        if not isinstance(data, dict):
            return None, "fail"
        written = data.get("backoff")
        backoff: dict[str, Any] = written if isinstance(written, dict) else {}
        on_fail: OnFail = data.get("on_fail", "fail")
        retries = data.get("max_retries", 0)
        if not retries:
            for name in ("backoff", "retry_on"):
                if name in data:
                    self.problems.add(f"{path}.{name}", "has no meaning without max_retries")
            return None, on_fail
        wait_s = duration_at(backoff.get("wait", default[0]), f"{path}.backoff.wait", self.problems)
        most_s = duration_at(backoff.get("max", "1h"), f"{path}.backoff.max", self.problems)
        if wait_s is None or most_s is None or type(retries) is not int:
            return None, on_fail
        try:
            retry_on = data.get("retry_on")
            policy = RetryPolicy(
                wait_s,
                float(backoff.get("rate", default[1])),
                max(most_s, wait_s),
                max_attempts=retries + 1,
                retry_on=None if retry_on is None else tuple(map(str, retry_on)),
            )
        except (InvalidDefinition, TypeError, ValueError) as error:
            self.problems.add(path, str(error))
            return None, on_fail
        return policy, on_fail

    def _timeout(self, data: dict[str, Json], path: str) -> float | None:
        found = duration_at(data.get("timeout"), f"{path}.timeout", self.problems)
        if found is not None:
            if found <= 0:
                self.problems.add(f"{path}.timeout", "must be more than 0 seconds")
            return found
        return None

    def _check_unused(
        self, names: list[str], given: dict[str, Json], transform: Json, path: str
    ) -> None:
        used: set[str] = set()
        for text in _texts([given, transform]):
            try:
                used.update(compile_format(text, names).fields)
            except InvalidDefinition:
                continue
        for name in names:
            if name not in used:
                self._warn(path_in(path, name), f"is not used: no text has {{{name}}}")

    def _warn(self, path: str, message: str) -> None:
        self.warnings.append(Problem(path, message))


def _texts(value: Any) -> list[str]:
    return [text for text in texts_in(value) if not is_expression(text)]
