"""The options of `@workflow`, once: for the decorator, its types, and the compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from greenroom.definitions.collecting import On, Part
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import OnError


class Options(TypedDict, total=False):
    """What each means is told by `workflow`."""

    name: str | None
    version: int | None
    target: str | None

    on: str | Sequence[Part] | On | None
    where: Json
    key: Json
    transform: Json
    debounce: Any
    throttle: Any
    batch: Any
    schedule: Any

    attributes: Mapping[str, str] | None
    concurrency: Any
    rate: Any
    timeout: Any
    retention: Any
    tags: Sequence[str] | None
    enabled: bool | None

    initial_input_form: Any
    only_if: Any
    classify: Callable[[Any], str | None] | None
    on_failure: Literal["compensate", "park"]
    on_error: OnError | None
    wait_for_dispatched: bool | None
    strict: bool


def check_names(given: Iterable[str]) -> None:
    """Raises `TypeError`, as a call does that names an argument nobody has."""
    for name in given:
        if name not in Options.__annotations__:
            near = did_you_mean(name, Options.__annotations__)
            raise TypeError(f"workflow() has no option {name!r}{near}")
