"""Test runs: instances started with `test=True`, of whatever kind.

They live in a namespace of their own, and so do the resources they save and the data they keep: a
step of one finds none of the real objects and changes none. They tell nobody, their questions are in
nobody's list, and when an engine is opened they are gone with what they saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from greenroom.actors.ports import Listed, ListInstances, Prune

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

TEST: Final = "test"
"""The namespace of test runs that were given no other."""
PAGE: Final = 200


async def erase(engine: Engine) -> None:
    """Takes the test runs of the time before away, before anything is recovered. What else
    somebody keeps in a namespace of this name stays."""
    call, cursor = engine.journal.call, None
    terms = [("namespace", ":", TEST, False)]
    while True:
        page: Listed = await call(
            ListInstances(terms, PAGE, cursor, engine.clock.now(), total=False)
        )
        tests = tuple(row.n for row in page.rows if row.test)
        if tests:
            await call(Prune(0, only=tests, resources=True))
        cursor = page.cursor
        if cursor is None:
            return
