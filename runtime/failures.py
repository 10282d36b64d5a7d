"""What fails, and which failures are one.

A failure has a *fingerprint*: its message without what differs from one instance to the next. So a
thousand rows that have no price are one failure, on the page that shows it and for the verb that
retries them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from greenroom.runtime import shapes
from greenroom.runtime.filters import Term

_VARIES: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|\"[^\"]*\"")
FINGERPRINT_MAX: Final = 300


class Failure(NamedTuple):
    """One failure of an instance. `due` is when it is tried again by itself, None: never."""

    step: str
    error: shapes.Problem
    due: str | None


class Group(msgspec.Struct):
    """Failures that are one: same workflow, status, step, kind and fingerprint. `due` is the next
    attempt of one of them."""

    workflow: str
    status: str
    step: str
    kind: str
    message: str
    instances: list[shapes.Instance]
    due: str | None = None

    @property
    def q(self) -> str:
        """The filter that finds them, beside their message (`like`)."""
        terms = [Term("status", ":", self.status), Term("workflow", ":", self.workflow)]
        if self.step:
            terms.append(Term("step", ":", self.step))
        return " ".join(map(str, terms))


def fingerprint(message: str) -> str:
    """A message without numbers, ids and quoted texts."""
    return _VARIES.sub("…", message)[:FINGERPRINT_MAX]


def failures_of(one: shapes.Instance) -> list[Failure]:
    """The failure that stopped an instance, or those of the steps it will try again."""
    if one.status in ("failed", "paused") and one.error is not None:
        step = one.error.details.get("step") or one.error.details.get("op") or ""
        return [Failure(str(step), one.error, None)]
    return [
        Failure(wait.name or wait.op, wait.error, wait.due)
        for wait in one.waits
        if wait.kind == "retry" and wait.error is not None
    ]


def is_like(one: shapes.Instance, message: str) -> bool:
    """Whether an instance fails as a message says."""
    wanted = fingerprint(message)
    return any(fingerprint(found.error.message) == wanted for found in failures_of(one))


def grouped(found: Sequence[shapes.Instance]) -> list[Group]:
    """The groups of what fails; the largest first."""
    groups: dict[tuple[str, str, str, str, str], Group] = {}
    for one in found:
        for step, error, due in failures_of(one):
            kind = str(error.details.get("type") or error.code)
            key = (one.workflow, one.status, step, kind, fingerprint(error.message))
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group(*key[:4], error.message, [])
            group.instances.append(one)
            group.due = min(filter(None, (group.due, due)), default=None)
    return sorted(groups.values(), key=lambda group: -len(group.instances))
