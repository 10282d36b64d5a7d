"""Transforms: how the response of an action changes the state.

A transform maps key paths of the state to values, which may hold expressions over the response.
All right sides are found first, then all writes happen, so the order of the keys never matters.
What is journaled is the effect, `{path: value}` at the leaves, never the rule: a replay does not
merge again.

An object written onto an object is merged into it, at any depth; everything else replaces what is
there, null included (it is a value, not a delete). The one special form, `{"::": "::"}`, makes the
whole response the state.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from greenroom.definitions.errors import InvalidDefinition, Problem, StepError
from greenroom.definitions.evaluation import Meter
from greenroom.definitions.expressions import (
    BUDGET_TRANSFORM,
    Value,
    Variables,
    compile_value,
    path_in,
)
from greenroom.definitions.paths import Path, parse_path, path_problem, path_text
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.values import Json, copy

WHOLE: Final = PREFIX
KEYS_MAX: Final = 1000


class TransformError(StepError):
    """A transform cannot be applied to this state; `details.path` names the place."""


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transform did: `replace` the whole state by `value`, or `set` and `delete` places.

    Keys are key paths; what `set` gives a place is all it holds afterwards, merged already.
    """

    set: dict[str, Json] = {}
    delete: tuple[str, ...] = ()
    replace: bool = False
    value: Json = None

    def __bool__(self) -> bool:
        return self.replace or bool(self.set) or bool(self.delete)


class Transform:
    """A compiled transform. `source` is the mapping it was compiled from."""

    __slots__ = ("_remove", "_whole", "_writes", "source", "warnings")

    def __init__(
        self,
        source: dict[str, Json],
        writes: list[tuple[Path, Value]],
        remove: list[Path],
        whole: bool,
        warnings: list[Problem],
    ) -> None:
        self.source = source
        self.warnings = warnings
        self._writes = writes
        self._remove = remove
        self._whole = whole

    def effect(
        self,
        state: Json,
        response: Json,
        variables: Variables | None = None,
        budget: int = BUDGET_TRANSFORM,
    ) -> Effect:
        """What applying this would do, sharing nothing with its arguments.

        Raises `ExpressionError` and, when a path leads through a list of the state,
        `TransformError`.
        """
        if self._whole:
            return Effect(replace=True, value=copy(response))
        meter = Meter(budget)
        found = [(path, value.evaluate(response, meter, variables)) for path, value in self._writes]
        for path in (*(path for path, _ in found), *self._remove):
            _check_way(state, path)
        written: dict[str, Json] = {}
        for path, new in found:
            _leaves(path, _at(state, path), new, written)
        removed = tuple(path_text(path) for path in self._remove if _holds(state, path))
        return Effect(set=written, delete=removed)

    def apply(
        self,
        state: Json,
        response: Json,
        variables: Variables | None = None,
        budget: int = BUDGET_TRANSFORM,
    ) -> Json:
        """The new state; the old one stays as it is. Raises as `effect` does."""
        return apply_effect(state, self.effect(state, response, variables, budget))


# -- effects -----------------------------------------------------------------------------------


def apply_effect(state: Json, effect: Effect) -> Json:
    """The state after an effect, a fresh value; total, so that a journal can always be read."""
    if effect.replace:
        return copy(effect.value)
    if not effect:
        return copy(state)
    root = copy(state) if isinstance(state, dict) else {}
    for text, value in effect.set.items():
        *way, last = parse_path(text)
        _object_at(root, way)[last] = copy(value)
    for text in effect.delete:
        path = parse_path(text)
        if _holds(root, path):
            _object_at(root, path[:-1]).pop(path[-1])
    return root


def merge(old: Json, new: Json) -> Json:
    """Objects deep, everything else replaced; a fresh value."""
    return _merged(old, copy(new))


def _merged(old: Json, new: Json) -> Json:
    """`new` is ours to keep, `old` is not."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged = copy(old)
    for key, value in new.items():
        merged[key] = _merged(old.get(key), value)
    return merged


def _leaves(path: Path, old: Json, new: Json, written: dict[str, Json]) -> None:
    """The places that change when `new` is merged into `old` at the path."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        written[path_text(path)] = new
        return
    inner = {key: (*path, key) for key in new}
    if any(path_problem(path_text(place)) for place in inner.values()):  # no text for such a key
        written[path_text(path)] = _merged(old, new)
        return
    for key, place in inner.items():
        _leaves(place, old.get(key), new[key], written)


def _object_at(root: dict[str, Json], way: Collection[str]) -> dict[str, Json]:
    """The object at the end of the way, made where something else is."""
    for segment in way:
        inner = root.get(segment)
        if not isinstance(inner, dict):
            inner = root[segment] = {}
        root = inner
    return root


def _at(state: Json, path: Path) -> Json:
    for segment in path:
        if not isinstance(state, dict):
            return None
        state = state.get(segment)
    return state


def _holds(state: Json, path: Path) -> bool:
    parent = _at(state, path[:-1])
    return isinstance(parent, dict) and path[-1] in parent


def _check_way(state: Json, path: Path) -> None:
    """Scalars on the way give way to objects; a list is data somebody wants to keep."""
    for at, segment in enumerate(path):
        if isinstance(state, list):
            place = path_text(path[:at]) or "the state"
            raise TransformError(
                f"the transform writes {path_text(path)}, but {place} is a list",
                hint="write the whole list, or keep objects there",
                path=path_text(path),
            )
        if not isinstance(state, dict):
            return
        state = state.get(segment)


# -- compiling ---------------------------------------------------------------------------------


def compile_transform(
    mapping: Json,
    remove: Collection[str] = (),
    names: Collection[str] = (),
    path: str = "$",
) -> Transform:
    """A transform from its JSON: key paths to values, and a list of key paths to remove.

    `names` are the variables strings may be formatted with. Raises `InvalidDefinition` with every
    problem: bad paths, reserved keys, paths that lead through one another, bad expressions.
    """
    if not isinstance(mapping, dict):
        raise InvalidDefinition("not a transform", [Problem(path, "must be an object")])
    problems: list[Problem] = []
    warnings: list[Problem] = []
    if len(mapping) + len(remove) > KEYS_MAX:
        problems.append(Problem(path, f"has more than {KEYS_MAX} keys"))
        raise InvalidDefinition("the transform is not valid", problems)
    whole = WHOLE in mapping
    if whole:
        _check_whole(mapping, remove, path, problems, warnings)
    writes: list[tuple[Path, Value]] = []
    for text, value in mapping.items():
        place = path_in(path, str(text))
        target = None if text == WHOLE else _target(text, place, problems)
        try:
            compiled = compile_value(value, names, place)
            warnings.extend(compiled.warnings)
            if target:
                writes.append((target, compiled))
        except InvalidDefinition as error:
            problems.extend(error.problems)
    gone = [_target(text, f"{path}.remove[{at}]", problems) for at, text in enumerate(remove)]
    removed = [target for target in gone if target]
    problems.extend(_overlaps([*(target for target, _ in writes), *removed], path))
    if problems:
        raise InvalidDefinition("the transform is not valid", problems)
    return Transform(copy(mapping), writes, removed, whole, warnings)


def _check_whole(
    mapping: dict[str, Json],
    remove: Collection[str],
    path: str,
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    if mapping[WHOLE] != WHOLE:
        problems.append(Problem(path_in(path, WHOLE), 'the key "::" takes the value "::" only'))
    elif len(mapping) > 1 or remove:
        warnings.append(Problem(path, 'other updates are ignored beside {"::": "::"}'))


def _target(text: Json, place: str, problems: list[Problem]) -> Path | None:
    problem = path_problem(text) if isinstance(text, str) else "must be a key path"
    if problem is None:
        target = parse_path(text)
        if not any(segment.startswith("__") for segment in target):
            return target
        problem = "keys that start with two underscores are reserved"
    problems.append(Problem(place, problem))
    return None


def _overlaps(paths: list[Path], path: str) -> list[Problem]:
    """Sorted, a path stands right behind its prefixes' kin, so neighbours tell."""
    found: list[Problem] = []
    holders: list[Path] = []
    for target in sorted(paths):
        while holders and target[: len(holders[-1])] != holders[-1]:
            holders.pop()
        if holders:
            outer, inner = path_text(holders[-1]), path_text(target)
            why = (
                f"{inner} is written twice"
                if outer == inner
                else f"{inner} lies inside {outer}, which is written too: the order would decide"
            )
            found.append(Problem(path, why))
        holders.append(target)
    return found
