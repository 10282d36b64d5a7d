"""A workflow written as a document: read, checked as a whole, compiled.

Whoever writes a document is not trusted with code. All it can do is name event types, actions and
places in the state; its expressions are compiled here, once, and nothing that a run produces is
ever looked at for expressions again. Everything wrong is found at once and told with its place;
what is odd but may be meant is a warning.

    workflow = read_document(Path("welcome.json").read_bytes(), "welcome.json")
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from greenroom.definitions.actions import Action, ActionReader
from greenroom.definitions.catalog import CATALOG, Catalog
from greenroom.definitions.collecting import Collect, on_from
from greenroom.definitions.conditions import Condition, compile_condition
from greenroom.definitions.coreactions import COLLECTING, DEFS, DOCUMENT, SOURCES, core_name
from greenroom.definitions.errors import (
    ExpressionError,
    InvalidDefinition,
    InvalidInput,
    Problem,
)
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.expressions import Value, compile_value, is_expression
from greenroom.definitions.limits import LIMITS, Limits, limits_from
from greenroom.definitions.located import Located, in_order, located, read_located
from greenroom.definitions.names import name_problem
from greenroom.definitions.schedules import Schedule, parse_schedule
from greenroom.definitions.shapes import PROBLEMS_MAX, Problems, TooMany, check_shape
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.transforms import Transform, compile_transform
from greenroom.definitions.values import Json, texts_in
from greenroom.definitions.workflow import data_hash

EXPRESSION_CHARS_MAX: Final = 1 << 16
EXPRESSION_CHARS: Final = 16
"""Of all expressions of a document together, and what each counts beside its text: parsing and
compiling them is what costs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What starts instances of a document. `condition` and `transform` read the data of the event."""

    path: str
    event_type: str | None
    schedule: Schedule | None
    condition: Condition | None
    transform: Transform | None
    collect: Collect | None = None
    """What is awaited before an event starts an instance."""
    connector: str | None = None
    """The id of the connector whose events these are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A compiled document. `data` is what it was compiled from."""

    name: str
    data: dict[str, Json]
    description: str | None
    enabled: bool
    source: Source | None
    key: Value | None
    limits: Limits
    actions: tuple[Action, ...]
    hash: str
    located: Located = dataclasses.field(compare=False, repr=False)
    """The text it was read from, which knows where everything stands."""
    warnings: tuple[Problem, ...] = dataclasses.field(compare=False)

    @property
    def label(self) -> str:
        """The file it was read from, or nothing."""
        return self.located.label

    def all_actions(self) -> list[Action]:
        """Every action, also those inside others, in the order of the document."""
        found: list[Action] = []
        stack = list(reversed(self.actions))
        while stack:
            action = stack.pop()
            found.append(action)
            stack.extend(reversed(action.inner()))
        return found


def read_document(text: str | bytes, label: str = "", catalog: Catalog | None = None) -> Document:
    """The document of a JSON text, or of YAML when the label ends in `.yaml`.

    Raises `InvalidDefinition` with every problem, each as `file:line:col` and JSON path.
    """
    return _read(read_located(text, label), catalog or CATALOG.get() or Catalog())


def document_from(data: Json, label: str = "", catalog: Catalog | None = None) -> Document:
    """The document of a value made in code, or kept in a store."""
    return _read(located(data, label), catalog or CATALOG.get() or Catalog())


def _read(found: Located, catalog: Catalog) -> Document:
    reader = _Reader(found, catalog)
    document = None
    try:
        document = reader.document(found.data)
    except TooMany:
        reader.problems[:] = reader.problems[: PROBLEMS_MAX - 1]
        reader.problems.append(Problem("$", "and more: mend these first"))
    if reader.problems or document is None:
        name = found.data.get("name") if isinstance(found.data, dict) else None
        head = found.label or (
            f'the workflow "{name}"' if isinstance(name, str) else "the document"
        )
        problems = in_order(map(found.placed, reader.problems))
        raise InvalidDefinition(f"{head} is not valid", problems)
    return document


class _Reader:
    def __init__(self, found: Located, catalog: Catalog) -> None:
        self.found = found
        self.catalog = catalog
        self.problems = Problems()
        self.warnings: list[Problem] = []

    def document(self, data: Json) -> Document | None:
        self.problems.take(*self.found.problems)
        check_shape(data, DOCUMENT, "$", self.problems, DEFS)
        if not isinstance(data, dict):
            return None
        if _expression_chars(data) > EXPRESSION_CHARS_MAX:
            self.problems.add(
                "$",
                f"the expressions have more than {EXPRESSION_CHARS_MAX:,} characters altogether",
            )
            return None
        name = data.get("name")
        if isinstance(name, str) and 0 < len(name) <= NAME_MAX and (wrong := name_problem(name)):
            self.problems.add("$.name", wrong)
        source = self.source(data["source"]) if isinstance(data.get("source"), dict) else None
        key = self.value(data.get("key"), "$.key")
        limits = self.limits(data)
        actions: tuple[Action, ...] = ()
        if isinstance(data.get("actions"), list):
            reader = ActionReader(self.problems, self.warnings, self.catalog)
            reader.on_error(data.get("on_error"))
            actions = reader.actions(data["actions"], "$.actions")
        if self.problems:
            return None
        return Document(
            name=str(name),
            data=data,
            description=data.get("description"),
            enabled=data.get("enabled", True),
            source=source,
            key=key,
            limits=limits,
            actions=actions,
            hash=document_hash(data),
            located=self.found,
            warnings=tuple(self.found.placed(one) for one in self.warnings),
        )

    def limits(self, data: dict[str, Json]) -> Limits:
        """What it says about its instances as a crowd. Where the shape is wrong already nothing more
        is said."""
        told = {problem.path for problem in self.problems}
        sound: dict[str, Json] = {
            name: data[name]
            for name in LIMITS
            if name in data and not any(_inside(path, f"$.{name}") for path in told)
        }
        return limits_from(
            sound, lambda place, error: self.problems.add(f"$.{place}", error.message)
        )

    def source(self, data: dict[str, Json]) -> Source | None:
        path = "$.source"
        event_type, schedule, connector = None, None, None
        kind = core_name(data.get("type"))
        condition = self.condition(data, path)
        if condition is not None and "on_fail" in data["condition"]:
            self.warn(f"{path}.condition.on_fail", "is ignored: a false condition starts nothing")
        if kind == "Schedule":
            if "condition" in data:
                self.problems.add(f"{path}.condition", "a schedule has no input to look at")
            schedule = self.schedule(data.get("parameters"), f"{path}.parameters")
        elif kind == "CustomEvent":
            parameters = data.get("parameters", {})
            if check_shape(
                parameters, SOURCES["CustomEvent"], f"{path}.parameters", self.problems, DEFS
            ):
                event_type = parameters["event_type"]
        elif kind is not None:
            self.problems.add(
                f"{path}.type", f'there is no core source "{kind}"{did_you_mean(kind, SOURCES)}'
            )
        elif "connector_id" not in data:
            self.problems.add(
                f"{path}.connector_id",
                "is missing; core sources are Core:CustomEvent and Core:Schedule",
            )
        elif isinstance(data["connector_id"], str) and isinstance(data.get("type"), str):
            event_type = self.catalog.event_type(
                data["connector_id"], data["type"], path, self.problems
            )
            if event_type is not None:
                connector = self.catalog.connectors.get(data["connector_id"]).id
        if kind is not None and "connector_id" in data:
            self.problems.add(f"{path}.connector_id", "a core source has no connector")
        if kind is None and "parameters" in data:
            self.problems.add(f"{path}.parameters", "an event of a connector has no parameters")
        transform = None
        if isinstance(data.get("transform"), dict):
            transform = self.transform(data["transform"], f"{path}.transform")
        collect = self.collect(data, event_type, kind, path)
        return Source(path, event_type, schedule, condition, transform, collect, connector)

    def collect(
        self, data: dict[str, Json], event_type: str | None, kind: str | None, path: str
    ) -> Collect | None:
        given = [name for name in COLLECTING if name in data]
        if not given:
            return None
        if kind == "Schedule":
            self.problems.add(f"{path}.{given[0]}", "has no meaning with a schedule")
            return None
        try:
            found = on_from(event_type or "event", None, *(data.get(name) for name in COLLECTING))
        except (InvalidDefinition, InvalidInput, ExpressionError) as error:
            self.problems.add(f"{path}.{given[0]}", error.message)
            return None
        return found.collect

    def condition(self, data: dict[str, Json], path: str) -> Condition | None:
        if "condition" not in data:
            return None
        try:
            return compile_condition(data["condition"], f"{path}.condition")
        except InvalidDefinition as error:
            self.problems.take(*error.problems)
        return None

    def schedule(self, data: Json, path: str) -> Schedule | None:
        if not isinstance(data, dict):
            self.problems.add(path, 'give {"cron": "0 20 * * 5"} or {"rate": "5 minutes"}')
            return None
        try:
            return parse_schedule(data, path=path)
        except InvalidDefinition as error:
            self.problems.take(*error.problems)
        return None

    def transform(self, data: dict[str, Json], path: str) -> Transform | None:
        try:
            compiled = compile_transform(data, path=path)
        except InvalidDefinition as error:
            self.problems.take(*error.problems)
            return None
        self.warnings.extend(compiled.warnings)
        return compiled

    def value(self, data: Json, path: str) -> Value | None:
        if not is_expression(data):
            return None
        try:
            return compile_value(data, path=path)
        except (ExpressionError, InvalidDefinition, InvalidInput) as error:
            problems = getattr(error, "problems", None) or [Problem(path, error.message)]
            self.problems.take(*problems)
        return None

    def warn(self, path: str, message: str) -> None:
        self.warnings.append(Problem(path, message))


def _inside(path: str, place: str) -> bool:
    return path == place or path.startswith((f"{place}.", f"{place}["))


def _items(data: Json) -> list[tuple[str, Any]]:
    return list(data.items()) if isinstance(data, dict) else []


def _expression_chars(data: Json) -> int:
    return sum(len(text) + EXPRESSION_CHARS for text in texts_in(data) if is_expression(text))


# -- what makes a version ----------------------------------------------------------------------

_NOT_MEANT: Final = ("$schema", "enabled")


def document_hash(data: dict[str, Json]) -> str:
    """The hash of what a document does: without `enabled`, `$schema` and descriptions."""
    body = {key: item for key, item in data.items() if key not in _NOT_MEANT}
    body.pop("description", None)
    if isinstance(body.get("actions"), list):
        body["actions"] = [_bare(action) for action in body["actions"]]
    return data_hash(body)


def _bare(action: Json) -> Json:
    """An action without descriptions, and those inside it."""
    if not isinstance(action, dict):
        return action
    bare = {key: item for key, item in action.items() if key != "description"}
    parameters = bare.get("parameters")
    if core_name(bare.get("type")) in ("Iterator", "Branch") and isinstance(parameters, dict):
        parameters = dict(parameters)
        for name in ("actions", "branches"):
            if isinstance(parameters.get(name), list):
                parameters[name] = [_bare_inner(one) for one in parameters[name]]
        bare["parameters"] = parameters
    return bare


def _bare_inner(one: Json) -> Json:
    if isinstance(one, dict) and isinstance(one.get("actions"), list) and "type" not in one:
        one = {key: item for key, item in one.items() if key != "description"}
        return {**one, "actions": [_bare(action) for action in one["actions"]]}
    return _bare(one)
