"""Conditions: up to ten criteria of up to ten typed attributes, each group `and` or `or`.

A condition never raises once it is compiled and remembers nothing between evaluations: data of
the wrong type does not match. `ne` is exactly "not `eq`", so it holds for what is missing. A list
matches when any of its elements does (`ne`: when none equals). What an expression cannot compute
(a type error, too much work) makes its attribute false whatever the operator, and `explain` says
why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, Literal

from greenroom.definitions.errors import ExpressionError, InvalidDefinition, Problem
from greenroom.definitions.evaluation import Meter, OverBudget
from greenroom.definitions.expressions import (
    BUDGET_CONDITION,
    Expression,
    compile_expression,
    field_path,
    is_expression,
)
from greenroom.definitions.facets import Facets
from greenroom.definitions.findings import Finding
from greenroom.definitions.operands import OPERANDS, Operand
from greenroom.definitions.paths import MISSING
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.values import Json, copy

GROUP_MAX: Final = 10
OnFail = Literal["fail", "skip", "stop"]
ON_FAIL: Final[tuple[OnFail, ...]] = ("fail", "skip", "stop")
JOINS: Final = ("and", "or")


class Attribute:
    """One comparison."""

    __slots__ = ("_compare", "_constant", "_expected", "_look", "operator", "path", "text", "type")

    def __init__(self, path: str, kind: str, look: Expression, operator: str, value: Json) -> None:
        operand = OPERANDS[kind]
        self.path = path
        self.text = PREFIX + look.text
        self.type = kind
        self.operator = operator
        self._look = look
        self._compare = operand.operators["eq" if operator == "ne" else operator]
        self._constant = copy(value)
        self._expected: Expression | None = None
        if is_expression(value):
            self._expected = compile_expression(value[len(PREFIX) :])

    def holds(self, source: Json, meter: Meter) -> bool:
        try:
            return self._test(self._look.search(source, meter), self._right(source, meter), meter)
        except (ExpressionError, OverBudget):
            return False

    def finding(self, source: Json, meter: Meter) -> Finding:
        seen = expected = None
        ok, error = False, None
        try:
            seen = self._look.search(source, meter)
            expected = self._right(source, meter)
            ok = self._test(seen, expected, meter)
        except ExpressionError as caught:
            error = caught.message
        except OverBudget:
            error = f"the list is too long for the budget of {meter.budget:,}"
        return Finding(
            path=self.path,
            attribute=self.text,
            operator=self.operator,
            ok=ok,
            seen=copy(seen),
            expected=copy(expected),
            error=error,
        )

    @property
    def value(self) -> Json:
        """What it is compared with; of an expression nothing is known."""
        return self._constant

    @property
    def is_constant(self) -> bool:
        return self._expected is None

    def equality(self) -> tuple[str, Json] | None:
        """The path and constant of an `eq` that an index can answer."""
        if self.operator != "eq" or self._expected or self.type not in _INDEXED:
            return None
        path = field_path(self._look.path)
        return (path, self._constant) if path else None

    def add_facet(self, found: Facets) -> None:
        """What an index can use of this comparison, which must hold."""
        pair = self.equality()
        if pair is not None:
            found.equal(*pair)
            return
        path = None if self._expected else field_path(self._look.path)
        if path is None:
            return
        if self.operator == "starts_with":
            found.begins(path, self._constant)
        elif self.type == "Number" and self.operator in _SIGNS:
            found.within(path, _SIGNS[self.operator], self._constant)

    def _right(self, source: Json, meter: Meter) -> Json:
        return self._expected.search(source, meter) if self._expected else self._constant

    def _test(self, seen: Json, expected: Json, meter: Meter) -> bool:
        found = self._any(seen, expected, meter)
        return not found if self.operator == "ne" else found

    def _any(self, seen: Json, expected: Json, meter: Meter) -> bool:
        read, compare = OPERANDS[self.type].read, self._compare
        right = read(expected)
        if right is MISSING:
            return False
        if not isinstance(seen, list):
            left = read(seen)
            return left is not MISSING and compare(left, right)
        meter.spend(1 + (len(seen) >> 3))
        return any(left is not MISSING and compare(left, right) for left in map(read, seen))


_INDEXED: Final = ("String", "Number", "Boolean")
_SIGNS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _among(attributes: list[Attribute], found: Facets) -> None:
    """Alternatives that all say what one path equals."""
    pairs = [attribute.equality() for attribute in attributes]
    named = [pair for pair in pairs if pair is not None]
    if len(named) == len(pairs) and len({path for path, _ in named}) == 1:
        found.among(named[0][0], [value for _, value in named])


class Criterion:
    """A group of attributes."""

    __slots__ = ("attributes", "either")

    def __init__(self, attributes: list[Attribute], either: bool) -> None:
        self.attributes = attributes
        self.either = either

    def holds(self, source: Json, meter: Meter) -> bool:
        join = any if self.either else all
        return join(attribute.holds(source, meter) for attribute in self.attributes)


class Condition:
    """A compiled condition; `source` is the definition it was compiled from."""

    __slots__ = ("criteria", "either", "on_fail", "source")

    def __init__(
        self, criteria: list[Criterion], either: bool, on_fail: OnFail, source: Json
    ) -> None:
        self.criteria = criteria
        self.either = either
        self.on_fail = on_fail
        self.source = source

    def holds(self, source: Json, budget: int = BUDGET_CONDITION) -> bool:
        """Whether the condition is true for the data. Never raises."""
        meter = Meter(budget)
        join = any if self.either else all
        return join(criterion.holds(source, meter) for criterion in self.criteria)

    def explain(self, source: Json, budget: int = BUDGET_CONDITION) -> list[Finding]:
        """Every attribute with what it saw, also those `holds` need not look at."""
        return [finding for _, findings in self._walk(source, budget) for finding in findings]

    def first_failure(self, source: Json, budget: int = BUDGET_CONDITION) -> Finding | None:
        """The first attribute that made the condition false, None if it holds."""
        if self.holds(source, budget):
            return None
        for ok, findings in self._walk(source, budget):
            if not ok:
                return next((finding for finding in findings if not finding.ok), None)
        return None

    def facets(self) -> Facets:
        """What must hold of the data whenever the condition does.

        `eq`, `starts_with` and comparisons of String, Number and Boolean attributes on plain field
        paths with constants; where there are alternatives, only if all are `eq` on one path.
        """
        found = Facets()
        if self.either and len(self.criteria) > 1:
            if all(len(one.attributes) == 1 for one in self.criteria):
                _among([one.attributes[0] for one in self.criteria], found)
            return found
        for criterion in self.criteria:
            if criterion.either and len(criterion.attributes) > 1:
                _among(criterion.attributes, found)
                continue
            for attribute in criterion.attributes:
                attribute.add_facet(found)
        return found

    def equalities(self) -> dict[str, Json]:
        """`{path: constant}` that must hold whenever the condition does; of two for one path the
        first."""
        return self.facets().equalities()

    def _walk(self, source: Json, budget: int) -> Iterator[tuple[bool, list[Finding]]]:
        """What `holds` looks at is paid from the same budget in the same order, so that the two
        agree; each of the rest has one of its own."""
        meter = Meter(budget)
        decided = False
        for criterion in self.criteria:
            findings: list[Finding] = []
            settled = decided
            for attribute in criterion.attributes:
                finding = attribute.finding(source, Meter(budget) if settled else meter)
                findings.append(finding)
                settled = settled or finding.ok is criterion.either
            join = any if criterion.either else all
            ok = join(finding.ok for finding in findings)
            decided = decided or ok is self.either
            yield ok, findings


# -- compiling ---------------------------------------------------------------------------------


def compile_condition(data: Json, path: str = "$") -> Condition:
    """A condition from its JSON. Raises `InvalidDefinition` with every problem in it."""
    check = _Check()
    condition = check.condition(data, path)
    if check.problems or condition is None:
        raise InvalidDefinition("the condition is not valid", check.problems)
    return condition


class _Check:
    """Builds what it can and collects the problems on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def condition(self, data: Json, path: str) -> Condition | None:
        if not self._object(data, path, ("operator", "criteria", "on_fail")):
            return None
        either = self._choice(data, "operator", path, JOINS, "and") == "or"
        on_fail = self._choice(data, "on_fail", path, ON_FAIL, "fail")
        criteria = [
            self._criterion(item, f"{path}.criteria[{at}]", f"criteria[{at}]")
            for at, item in enumerate(self._group(data, "criteria", path))
        ]
        kept: OnFail = next((one for one in ON_FAIL if one == on_fail), "fail")
        return Condition([one for one in criteria if one], either, kept, copy(data))

    def _criterion(self, data: Json, path: str, short: str) -> Criterion | None:
        if not self._object(data, path, ("operator", "attributes")):
            return None
        either = self._choice(data, "operator", path, JOINS, "and") == "or"
        attributes = [
            self._attribute(item, f"{path}.attributes[{at}]", f"{short}.attributes[{at}]")
            for at, item in enumerate(self._group(data, "attributes", path))
        ]
        return Criterion([one for one in attributes if one], either)

    def _attribute(self, data: Json, path: str, short: str) -> Attribute | None:
        if not self._object(data, path, ("type", "attribute", "operator", "value")):
            return None
        before = len(self.problems)
        kind = self._choice(data, "type", path, OPERANDS, None)
        operand = OPERANDS.get(kind)
        operators = operand.operators if operand else _ALL_OPERATORS
        operator = self._choice(data, "operator", path, operators, None, f" for {kind}")
        look = self._look(data, path)
        self._value(data, path, kind, operand)
        if len(self.problems) > before or look is None:
            return None
        return Attribute(short, kind, look, operator, data["value"])

    def _look(self, data: dict[str, Json], path: str) -> Expression | None:
        attribute = data.get("attribute")
        if isinstance(attribute, str):
            if is_expression(attribute):
                return self._expression(attribute, f"{path}.attribute")
            self._add(f"{path}.attribute", f'must be an expression; did you mean "::{attribute}"?')
        else:
            self._add(f"{path}.attribute", 'must be an expression such as "::user.plan"')
        return None

    def _value(self, data: dict[str, Json], path: str, kind: str, operand: Operand | None) -> None:
        if "value" not in data:
            self._add(f"{path}.value", "is missing")
        elif is_expression(data["value"]):
            self._expression(data["value"], f"{path}.value")
        elif operand and operand.read(data["value"]) is MISSING:
            shown = repr(data["value"])[:60]
            self._add(f"{path}.value", f"{shown} is not a {kind}: write {operand.form}")

    def _expression(self, text: str, path: str) -> Expression | None:
        try:
            return compile_expression(text[len(PREFIX) :])
        except ExpressionError as error:
            self._add(path, error.message)
            return None

    def _object(self, data: Json, path: str, keys: tuple[str, ...]) -> bool:
        if not isinstance(data, dict):
            self._add(path, "must be an object")
            return False
        for key in data:
            if key not in keys:
                self._add(path, f'unknown key "{key}"{did_you_mean(str(key), keys)}')
        return True

    def _group(self, data: dict[str, Json], key: str, path: str) -> list[Any]:
        items = data.get(key)
        if not isinstance(items, list) or not items:
            self._add(f"{path}.{key}", f"must be a list of 1 to {GROUP_MAX}")
            return []
        if len(items) > GROUP_MAX:
            self._add(f"{path}.{key}", f"has {len(items)} items, the limit is {GROUP_MAX}")
        return items[:GROUP_MAX]

    def _choice(
        self,
        data: dict[str, Json],
        key: str,
        path: str,
        choices: Collection[str],
        default: str | None,
        where: str = "",
    ) -> str:
        value = data.get(key, default)
        if isinstance(value, str) and value in choices:
            return value
        wanted = ", ".join(choices)
        if key not in data:
            self._add(f"{path}.{key}", f"is missing; it is one of: {wanted}")
        else:
            self._add(f"{path}.{key}", f'"{value}" is not one of: {wanted}{where}'[:300])
        return ""

    def _add(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


_ALL_OPERATORS: Final = tuple(
    dict.fromkeys(name for operand in OPERANDS.values() for name in operand.operators)
)
