"""`where`: which events a trigger or a wait is for.

Three ways to write it: a JMESPath text that must give `true`, a condition, or a map of paths to
values that must all be equal. All three are compiled to one thing with a test, an explanation and
the equalities an index can use: an event meets the subscriptions with the same keys by one seek,
and only those are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import islice, product
from typing import Final

from greenroom.definitions.conditions import Condition, compile_condition
from greenroom.definitions.errors import ExpressionError, InvalidDefinition, Problem
from greenroom.definitions.evaluation import Meter
from greenroom.definitions.expressions import (
    BUDGET_CONDITION,
    Conjunct,
    Expression,
    compile_expression,
)
from greenroom.definitions.facets import Facets, Range, scalar
from greenroom.definitions.findings import Finding
from greenroom.definitions.paths import MISSING, Path, parse_path, path_problem, path_text, walk
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.values import Json, copy, decode, encode, equal

KEYS_MAX: Final = 32
WHERE_BYTES_MAX: Final = 1 << 16
EQUALITIES_MAX: Final = 8
"""More would only make the keys of an index longer; the test asks for all anyway."""

Equalities = tuple[tuple[str, Json], ...]


class Where:
    """A compiled `where`. `source` is the JSON it was compiled from, to be stored.

    What an index needs to know of it is worked out when somebody asks: a wait that is met is tested
    once and then gone.
    """

    def __init__(
        self,
        source: Json,
        matches: Callable[[Json], bool],
        explain: Callable[[Json], list[Finding]],
        facets: Callable[[], Facets],
        first: Callable[[Json], Finding | None] | None = None,
    ) -> None:
        self.source = source
        self.matches = matches
        """Whether an event, as a whole, matches. Never raises."""
        self.explain = explain
        """Each check with what it saw; all are `ok` exactly when a map or text matches."""
        self._find_facets = facets
        self._first = first

    def __repr__(self) -> str:
        return f"Where({self.source!r})"

    def first_failure(self, event: dict[str, Json]) -> Finding | None:
        """The first check that made it false, None if it matches."""
        if self._first is not None:
            return self._first(event)
        if self.matches(event):
            return None
        return next((finding for finding in self.explain(event) if not finding.ok), None)

    # -- for an index ----------------------------------------------------------------------

    @cached_property
    def _facets(self) -> Facets:
        return self._find_facets()

    @cached_property
    def _places(self) -> tuple[tuple[str, ...], list[Key]]:
        return _keys(dict(self.equalities), self._facets)

    @cached_property
    def equalities(self) -> Equalities:
        """The pairs of paths that can have one value only."""
        return tuple(sorted(self._facets.equalities().items())[:EQUALITIES_MAX])

    @property
    def paths(self) -> tuple[str, ...]:
        """Sorted: those whose values an event must have under one of the `keys` to match. They are
        the shape an index files this under, the keys are its places within the shape."""
        return self._places[0]

    @property
    def keys(self) -> list[Key]:
        return self._places[1]

    @cached_property
    def hashes(self) -> tuple[int, ...]:
        """The keys as the store knows them: 1 to 32."""
        return tuple(map(key_hash, self.keys))

    @property
    def prefixes(self) -> dict[str, str]:
        """With `ranges`: they narrow it further in memory."""
        return self._facets.prefixes

    @property
    def ranges(self) -> dict[str, Range]:
        return self._facets.ranges


Key = tuple[Json, ...]


def _keys(equal: dict[str, Json], facets: Facets) -> tuple[tuple[str, ...], list[Key]]:
    """The shape and the keys: all equalities, and of the paths with several values those with the
    fewest, as long as there are at most 32 keys."""
    several = [(len(v), path) for path, v in facets.members.items() if len(v) > 1]
    if not several:  # sorted as they are
        return tuple(equal), [tuple(equal.values())]
    choices: dict[str, tuple[Json, ...]] = {path: (value,) for path, value in equal.items()}
    count = 1
    for many, path in sorted(several):
        if count * many <= KEYS_MAX and len(choices) < EQUALITIES_MAX:
            choices[path] = facets.members[path]
            count *= many
    paths = tuple(sorted(choices))
    return paths, list(product(*(choices[path] for path in paths)))


def compile_where(where: Json) -> Where:
    """`where` as it was written: None (everything), text, a condition or a map.

    Raises `InvalidDefinition` with every problem, `ExpressionError` for text that is not an
    expression, `InvalidInput` for values that are not JSON.
    """
    return compile_stored(encode(where, "where", WHERE_BYTES_MAX))


@lru_cache(maxsize=8192)
def compile_stored(raw: bytes) -> Where:
    """`where` as it is stored: the JSON that `encode` makes of it."""
    source = decode(raw)
    if source is None:
        return Where(None, lambda event: True, lambda event: [], Facets)
    if isinstance(source, str):
        return _of_text(source)
    if isinstance(source, dict) and "criteria" in source:
        condition = compile_condition(source, "$.where")
        return _of_condition(condition)
    if isinstance(source, dict):
        return _of_map(source)
    raise InvalidDefinition(
        "where is not valid",
        [Problem("$.where", "must be an expression, a condition or a map of paths to values")],
    )


# -- an expression -----------------------------------------------------------------------------


def _of_text(source: str) -> Where:
    expression = compile_expression(source.removeprefix(PREFIX))
    parts = expression.conjuncts()

    def matches(event: Json) -> bool:
        try:
            return expression.search(event, BUDGET_CONDITION) is True
        except ExpressionError:
            return False

    def explain(event: Json) -> list[Finding]:
        whole = _whole(expression, event)
        if len(parts) == 1 and parts[0].path is None:
            return [whole]
        found = [_part(at, part, event) for at, part in enumerate(parts) if part.path]
        # What the parts do not tell, the whole does.
        told = len(found) == len(parts) and all(one.ok for one in found) is whole.ok
        return found if told else [*found, whole]

    return Where(source, matches, explain, expression.facets)


def _whole(expression: Expression, event: Json) -> Finding:
    seen, error = None, None
    try:
        seen = copy(expression.search(event, BUDGET_CONDITION))
    except ExpressionError as caught:
        error = caught.message
    return Finding(
        path="where",
        attribute=PREFIX + expression.text,
        operator="is",
        ok=seen is True,
        seen=seen,
        expected=True,
        error=error,
    )


def _part(at: int, part: Conjunct, event: Json) -> Finding:
    """A comparison of a path with a constant: neither can raise nor cost."""
    meter = Meter(BUDGET_CONDITION)
    return Finding(
        path=f"where[{at}]",
        attribute=PREFIX + part.text,
        operator=part.operator,
        ok=part.run(event, meter) is True,
        seen=copy(part.look(event)),
        expected=copy(part.constant),
    )


# -- a condition -------------------------------------------------------------------------------


def _of_condition(condition: Condition) -> Where:
    return Where(
        condition.source,
        condition.holds,
        condition.explain,
        condition.facets,
        condition.first_failure,
    )


# -- a map -------------------------------------------------------------------------------------


def _of_map(source: dict[str, Json]) -> Where:
    pairs = list(zip(_paths(tuple(source)), source.values(), strict=True))

    def matches(event: Json) -> bool:
        for path, wanted in pairs:  # noqa: SIM110  once an event: a generator costs more than this
            if not _holds(event, path, wanted):
                return False
        return True

    def explain(event: Json) -> list[Finding]:
        return [
            Finding(
                path="where",
                attribute=PREFIX + text,
                operator="==",
                ok=_holds(event, path, wanted),
                seen=copy(_seen(event, path)),
                expected=copy(wanted),
                error="nothing is there" if walk(event, path) is MISSING else None,
            )
            for text, (path, wanted) in zip(source, pairs, strict=True)
        ]

    def facets() -> Facets:
        found = Facets()
        for path, wanted in pairs:
            if scalar(wanted):
                found.equal(path_text(path), wanted)
        return found

    return Where(source, matches, explain, facets)


@lru_cache(maxsize=1024)
def _paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    """The paths of a map: many waits have the same, each with values of its own."""
    problems = [
        Problem(f"$.where[{text!r}]", problem)
        for text in texts
        if (problem := path_problem(text)) is not None
    ]
    if problems:
        raise InvalidDefinition("where is not valid", problems)
    return tuple(map(parse_path, texts))


def _seen(event: Json, path: Path) -> Json:
    seen = walk(event, path)
    return None if seen is MISSING else seen


def _holds(event: Json, path: Path, wanted: Json) -> bool:
    """Equal, or in the list. What is missing equals nothing, not even null."""
    seen = walk(event, path)
    if seen is MISSING:
        return False
    if equal(seen, wanted):
        return True
    return isinstance(seen, list) and any(equal(item, wanted) for item in seen)


# -- keys --------------------------------------------------------------------------------------


def event_keys(event: dict[str, Json], paths: tuple[str, ...]) -> list[tuple[Json, ...]]:
    """The keys an event has for a shape: one value for each path.

    A list counts as each of its elements, so an event can have several keys, at most 32; see
    `keys_overflow`. Only text, numbers and booleans are keys; without one for a path the event
    has no key and meets no subscription of the shape.
    """
    if not paths:
        return [()]
    choices = [_choices(event, path) for path in paths]
    if all(len(one) == 1 for one in choices):
        return [tuple(one[0] for one in choices)]
    return list(islice(product(*choices), KEYS_MAX)) if all(choices) else []


def event_hashes(event: dict[str, Json], paths: tuple[str, ...]) -> list[int] | None:
    """The hashes of an event's keys; None where it has more keys than are tried one by one."""
    keys = event_keys(event, paths)
    if len(keys) == 1:
        return [key_hash(keys[0])]
    if keys and keys_overflow(event, paths):
        return None
    return list(dict.fromkeys(map(key_hash, keys)))


def keys_overflow(event: dict[str, Json], paths: tuple[str, ...]) -> bool:
    """Whether the event has more keys than `event_keys` gives."""
    count = 1
    for path in paths:
        count *= len(_choices(event, path))
    return count > KEYS_MAX


def _choices(event: dict[str, Json], path: str) -> list[Json]:
    """The distinct scalars at the path; one more than the limit is enough to know."""
    seen = walk(event, _parsed(path))
    if not isinstance(seen, list):
        return [seen] if isinstance(seen, str | int | float) else []
    distinct: dict[tuple[bool, Json], Json] = {}
    for item in seen:
        if isinstance(item, str | int | float):
            distinct.setdefault((isinstance(item, bool), item), item)
            if len(distinct) > KEYS_MAX:
                break
    return list(distinct.values())


_parsed = lru_cache(maxsize=4096)(parse_path)


def key_hash(values: tuple[Json, ...]) -> int:
    """A signed 64-bit hash of a key, the same in every process and release.

    Typed as JSON is: `1` and `1.0` are one number, `true` is not 1, `"1"` is neither.
    """
    raw = b"".join(_typed(value) for value in values)
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big", signed=True)


def _typed(value: Json) -> bytes:
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"s%d:%b" % (len(text), text)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return b"n%b;" % repr(value).encode()
