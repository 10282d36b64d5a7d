"""The interpreter behind expressions: JMESPath's tree turned into closures, with a budget.

jmespath's own interpreter has no limits: 143 characters of nested lists cost seconds and hundreds
of megabytes. Here every node visited, every element produced and every argument a function must
read is paid from a meter, so an expression from a stranger costs milliseconds at most. A plain
path (`a.b[0].c`) cannot grow, pays nothing, and becomes one loop: ten times faster than the
original.

Equality is JSON's all the way down (`[1]` is not `[true]`), which is the one deliberate
difference in the results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from greenroom.definitions.instants import INSTANT
from greenroom.definitions.values import Json, copy, equal

Node = dict[str, Any]


class OverBudget(Exception):
    """The meter is empty."""


class WrongType(Exception):
    """A function got a value of a type it does not take, or one it cannot compute with."""


class BadTree(Exception):
    """The tree parses but can never run: an unknown function, a wrong number of arguments."""


class Meter:
    """What an evaluation may still spend. One meter can serve several evaluations; all of an instant
    are counted together too."""

    __slots__ = ("budget", "left")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.left = budget
        instant = INSTANT.get()
        if instant is not None:
            instant.meters.append(self)

    def spend(self, units: int) -> None:
        """Raises `OverBudget` when there is less left than that."""
        self.left -= units
        if self.left < 0:
            raise OverBudget


Run = Callable[[Json, Meter], Json]
Step = str | int


def weigh(value: Json, limit: int) -> int:
    """The size of a value as a tree, counted up to about `limit`: nodes, and text by eight.

    Shared parts count every time they would be written, hence the walk and its limit.
    """
    total, stack = 0, [value]
    while stack:
        item = stack.pop()
        total += 1
        kind = type(item)
        if kind is str:
            total += len(item) >> 3
        elif kind is list:
            total += len(item) >> 3
            if total <= limit:
                stack.extend(item)
        elif kind is dict:
            total += len(item) >> 3
            if total <= limit:
                stack.extend(item.values())
        if total > limit:
            return total
    return total


def is_false(value: Json) -> bool:
    """JMESPath's idea: null, false and whatever is empty; zero is true."""
    return value is None or value is False or (not value and isinstance(value, str | list | dict))


def same(left: Json, right: Json, meter: Meter) -> bool:
    """JSON equality, paid for when it must walk."""
    if isinstance(left, dict | list) and isinstance(right, dict | list):
        meter.spend(weigh(left, meter.left))
    return equal(left, right)


# -- paths -------------------------------------------------------------------------------------


def path_of(node: Node) -> tuple[Step, ...] | None:
    """The steps of a plain chain of fields and indexes, or None."""
    match node["type"]:
        case "field" | "index":
            return (node["value"],)
        case "current" | "identity":
            return ()
        case "subexpression" | "index_expression":
            steps: tuple[Step, ...] = ()
            for child in node["children"]:
                more = path_of(child)
                if more is None:
                    return None
                steps += more
            return steps
    return None


def path_runner(steps: tuple[Step, ...]) -> Callable[[Json], Json]:
    """The chain as one function."""
    if not steps:
        return lambda value: value
    if len(steps) == 1 and isinstance(steps[0], str):
        only = steps[0]
        return lambda value: value.get(only) if isinstance(value, dict) else None
    if all(isinstance(step, str) for step in steps):

        def fields(value: Json) -> Json:
            for name in steps:
                if not isinstance(value, dict):
                    return None
                value = value.get(name)
            return value

        return fields

    def mixed(value: Json) -> Json:
        for step in steps:
            if isinstance(step, str):
                if not isinstance(value, dict):
                    return None
                value = value.get(step)
            else:
                value = _at(value, step)
        return value

    return mixed


def _at(value: Json, index: int) -> Json:
    if not isinstance(value, list):
        return None
    try:
        return value[index]
    except IndexError:
        return None


# -- the other nodes ---------------------------------------------------------------------------


def runner(node: Node, call: Callable[[Node], Run]) -> Run:
    """The node as a function of a value and a meter; `call` makes those of function calls."""
    steps = path_of(node)
    if steps is not None:
        follow = path_runner(steps)

        def path(value: Json, meter: Meter) -> Json:
            meter.spend(1)
            return follow(value)

        return path
    kind = node["type"]
    if kind == "function_expression":
        return call(node)
    if kind == "literal":
        return _literal(node["value"])
    if kind == "slice":
        return _slice(slice(*node["children"]))
    runs = [runner(child, call) for child in node["children"]]
    match kind:
        case "comparator":
            return _comparator(node["value"], *runs)
        case "or_expression" | "and_expression":
            return _logic(kind == "or_expression", *runs)
        case "not_expression":
            return _not(*runs)
        case "subexpression" | "index_expression" | "pipe":
            return _chain(runs)
        case "projection" | "value_projection":
            return _projection(*runs, of_values=kind == "value_projection")
        case "filter_projection":
            return _filter(*runs)
        case "flatten":
            return _flatten(*runs)
        case "multi_select_list":
            return _select_list(runs)
        case "multi_select_dict":
            return _select_dict([child["value"] for child in node["children"]], runs)
        case "key_val_pair":
            return runs[0]
        case "expref":
            raise BadTree("& belongs before an argument of map, sort_by, min_by or max_by")
    raise BadTree(f"no such node: {kind}")


def _literal(constant: Json) -> Run:
    if not isinstance(constant, dict | list):
        return lambda value, meter: constant
    weight = weigh(constant, 1 << 20)

    def literal(value: Json, meter: Meter) -> Json:
        meter.spend(weight)
        return copy(constant)  # whoever gets it may change it

    return literal


def _slice(part: slice) -> Run:
    def cut(value: Json, meter: Meter) -> Json:
        if not isinstance(value, list):
            return None
        meter.spend(1 + (len(value) >> 3))
        return value[part]

    return cut


_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
}


def _comparator(operator: str, left: Run, right: Run) -> Run:
    if operator in ("eq", "ne"):
        wanted = operator == "eq"

        def equality(value: Json, meter: Meter) -> Json:
            meter.spend(1)
            return same(left(value, meter), right(value, meter), meter) is wanted

        return equality
    compare = _ORDER[operator]

    def order(value: Json, meter: Meter) -> Json:
        meter.spend(1)
        a, b = left(value, meter), right(value, meter)
        if isinstance(a, str | int | float) and isinstance(b, str | int | float):
            if isinstance(a, bool) or isinstance(b, bool):
                return None
            if isinstance(a, str) is isinstance(b, str):
                return compare(a, b)
        return None

    return order


def _logic(is_or: bool, left: Run, right: Run) -> Run:
    def logic(value: Json, meter: Meter) -> Json:
        meter.spend(1)
        first = left(value, meter)
        return right(value, meter) if is_false(first) is is_or else first

    return logic


def _not(inner: Run) -> Run:
    def negate(value: Json, meter: Meter) -> Json:
        meter.spend(1)
        return is_false(inner(value, meter))

    return negate


def _chain(runs: list[Run]) -> Run:
    def chain(value: Json, meter: Meter) -> Json:
        meter.spend(1)
        for run in runs:
            value = run(value, meter)
        return value

    return chain


def _projection(source: Run, each: Run, *, of_values: bool) -> Run:
    def project(value: Json, meter: Meter) -> Json:
        base = source(value, meter)
        if of_values:
            if not isinstance(base, dict):
                return None
            base = list(base.values())
        elif not isinstance(base, list):
            return None
        meter.spend(1 + (len(base) >> 3))
        found = []
        for element in base:
            item = each(element, meter)
            if item is not None:
                found.append(item)
        return found

    return project


def _filter(source: Run, each: Run, test: Run) -> Run:
    def select(value: Json, meter: Meter) -> Json:
        base = source(value, meter)
        if not isinstance(base, list):
            return None
        meter.spend(1 + (len(base) >> 3))
        found = []
        for element in base:
            if not is_false(test(element, meter)):
                item = each(element, meter)
                if item is not None:
                    found.append(item)
        return found

    return select


def _flatten(source: Run) -> Run:
    def flatten(value: Json, meter: Meter) -> Json:
        base = source(value, meter)
        if not isinstance(base, list):
            return None
        flat: list[Json] = []
        for element in base:
            if isinstance(element, list):
                meter.spend(1 + (len(element) >> 3))
                flat.extend(element)
            else:
                flat.append(element)
        meter.spend(1 + (len(base) >> 3))
        return flat

    return flatten


def _select_list(runs: list[Run]) -> Run:
    def select(value: Json, meter: Meter) -> Json:
        meter.spend(1 + len(runs))
        return None if value is None else [run(value, meter) for run in runs]

    return select


def _select_dict(names: list[str], runs: list[Run]) -> Run:
    pairs = list(zip(names, runs, strict=True))

    def select(value: Json, meter: Meter) -> Json:
        meter.spend(1 + len(pairs))
        return None if value is None else {name: run(value, meter) for name, run in pairs}

    return select
