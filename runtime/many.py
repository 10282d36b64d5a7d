"""A verb for many instances at once: all that a filter finds, or those that are named.

The list is made before the first of them is touched, and a refusal of one does not stop the others.
With `dry_run` nothing is touched: the answer says how many there are, and of what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from greenroom.definitions.errors import GreenroomError, InvalidRequest, NotFound
from greenroom.definitions.suggest import did_you_mean
from greenroom.runtime import shapes
from greenroom.runtime.failures import is_like
from greenroom.runtime.filters import parse_filter

MANY_MAX: Final = 10_000
"""Instances one call reaches; the answer says when there are more."""
AT_ONCE: Final = 64
REFUSALS_TOLD: Final = 20
FIRST: Final = 20
"""Instances the answer names."""

_LIVE: Final = "-status:completed -status:cancelled"


class Verb(NamedTuple):
    """`method` of one instance that it stands for; `implied` narrows a filter that names no status to
    those it is meant for; `done` is what was done, in a word."""

    method: str
    implied: str
    done: str


VERBS: Final = {
    "pause": Verb("pause", f"{_LIVE} -status:failed -status:paused", "paused"),
    "resume": Verb("resume", "status:paused", "resumed"),
    "retry": Verb("resume", "status:failed", "retried"),
    "cancel": Verb("cancel", _LIVE, "cancelled"),
}


def narrowed(verb: str, q: str) -> str:
    """The filter a verb goes by."""
    return q if parse_filter(q).of("status") else f"{VERBS[verb].implied} {q}".strip()


async def many(
    engine: Any,
    verb: str,
    q: str | None,
    instances: Sequence[str] | None,
    like: str | None,
    reason: str | None,
    dry_run: bool,
    by: str | None,
) -> shapes.Many:
    """Carries a verb out; what it takes is told at `Engine.many`."""
    if verb not in VERBS:
        raise InvalidRequest(
            f"{verb[:80]!r} is not done to many{did_you_mean(verb, VERBS)}",
            hint=f"verbs: {' '.join(VERBS)}",
        )
    if (q is None) == (instances is None):
        raise InvalidRequest(
            "many takes a filter or a list of instances", hint="q='' are all a verb is meant for"
        )
    missing: Counter[str] = Counter()
    if q is not None:
        found, more = await _found(engine, narrowed(verb, q), like)
    else:
        assert instances is not None
        found = await _named(engine, instances[:MANY_MAX], like, missing)
        more = len(instances) > MANY_MAX
    kinds: Counter[tuple[str, shapes.Status]] = Counter((one.workflow, one.status) for one in found)
    done, refused = 0, missing
    if not dry_run:
        done, refused = await _each(engine, verb, found, reason, by, missing)
    return shapes.Many(
        verb, len(found), done, _refusals(refused), more, dry_run,
        [shapes.Kind(name, status, n) for (name, status), n in sorted(kinds.items())],
        [one.id for one in found[:FIRST]],
    )  # fmt: skip


async def _found(engine: Any, q: str, like: str | None) -> tuple[list[shapes.Instance], bool]:
    found: list[shapes.Instance] = []
    cursor: str | None = None
    while True:
        page = await engine.list(q, limit=1_000, cursor=cursor)
        found += [one for one in page.items if like is None or is_like(one, like)]
        cursor = page.cursor
        if cursor is None or len(found) > MANY_MAX:
            return found[:MANY_MAX], len(found) > MANY_MAX


async def _named(
    engine: Any, names: Sequence[str], like: str | None, missing: Counter[str]
) -> list[shapes.Instance]:
    found: dict[str, shapes.Instance] = {}
    for name in names:
        try:
            one = await engine.get(name)
        except NotFound as error:
            missing[error.message] += 1
            continue
        if like is None or is_like(one, like):
            found[one.id] = one
    return list(found.values())


async def _each(
    engine: Any,
    verb: str,
    found: Sequence[shapes.Instance],
    reason: str | None,
    by: str | None,
    missing: Counter[str],
) -> tuple[int, Counter[str]]:
    """How many took it, and why the others did not."""
    import asyncio  # noqa: PLC0415  the command line knows this table and starts without it

    act = getattr(engine, VERBS[verb].method)
    refused = Counter(missing)
    done = 0

    async def one(id: str) -> None:
        nonlocal done
        try:
            await act(id, reason=reason, by=by)
            done += 1
        except GreenroomError as error:
            refused[error.message.replace(id, "…")] += 1

    for start in range(0, len(found), AT_ONCE):
        await asyncio.gather(*(one(each.id) for each in found[start : start + AT_ONCE]))
    return done, refused


def _refusals(found: Counter[str]) -> list[shapes.Refusal]:
    return [shapes.Refusal(text, n) for text, n in found.most_common(REFUSALS_TOLD)]
