"""Events with one subject are routed one after another, each to its end, in the order of their places.

There is a line for each (namespace, subject) that has events on their way. An event that is posted
gets its place when its turn has come. One that an instance emits has its place with the turn that
emits it, long before anybody reads it back: so it is *expected* from the moment that turn is on its
way to the store, and goes before the posts that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from greenroom.actors.ports import (
    Append,
    Appended,
    Create,
    Created,
    EventRow,
    Post,
    Posted,
    Route,
    StoredEventRow,
)

Line = tuple[str, str]
"""Namespace and subject."""
Work = Callable[[], None]
_Key = tuple[str, str, str]
"""Scope, source and id of an event."""


class Expected:
    """The turn of an event that is on its way to the store."""

    __slots__ = ("come", "line", "work")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.come = False
        self.work: Work | None = None
        """What its turn does, once that is known."""

    def called(self) -> None:
        self.come = True
        if self.work is not None:
            self.work()

    def does(self, work: Work) -> None:
        self.work = work
        if self.come:
            work()


class Queue:
    __slots__ = ("emitted", "posted")

    def __init__(self) -> None:
        self.emitted: deque[Work] = deque()
        self.posted: deque[Work] = deque()


class Subjects:
    """All lines. Who is called has the turn until it calls `leave`."""

    def __init__(self) -> None:
        self._lines: dict[Line, Queue] = {}
        """Those in which somebody has the turn, with who waits."""
        self._expected: dict[_Key, Expected] = {}
        self._held: list[Work] | None = None

    @property
    def empty(self) -> bool:
        return not (self._lines or self._expected)

    # -- posts ---------------------------------------------------------------------------------

    def post(self, line: Line, work: Work) -> None:
        """Calls `work` when its turn has come."""
        if self._held is not None:
            self._held.append(lambda: self.post(line, work))
            return
        waiting = self._lines.get(line)
        if waiting is None:
            self._lines[line] = Queue()
            work()
        else:
            waiting.posted.append(work)

    def hold(self) -> None:
        """Posts wait until `go_on`: events that were stored before them are not known yet."""
        self._held = []

    def go_on(self) -> None:
        held, self._held = self._held or [], None
        for work in held:
            work()

    # -- what is emitted -----------------------------------------------------------------------

    def expect(self, row: EventRow) -> None:
        """The event is on its way to the store: from now on it has its turn."""
        line = row.scope, row.event.subject or ""
        self._expected[_key(row)] = turn = Expected(line)
        self._enter(line, turn.called)

    def stored(self, row: StoredEventRow, work: Work) -> None:
        """Calls `work` when it is the turn of an event that was read back."""
        turn = self._expected.pop(_key(row), None)
        if turn is None:  # of another process
            self._enter((row.scope, row.event.subject or ""), work)
        else:
            turn.does(work)

    def lost(self, row: EventRow) -> None:
        """It was not stored."""
        turn = self._expected.pop(_key(row), None)
        if turn is not None:
            turn.does(lambda: self.leave(turn.line))

    def _enter(self, line: Line, work: Work) -> None:
        waiting = self._lines.get(line)
        if waiting is None:
            self._lines[line] = Queue()
            work()
        else:
            waiting.emitted.append(work)

    # -- all -----------------------------------------------------------------------------------

    def leave(self, line: Line) -> None:
        """Whoever had the turn has been routed to the end, or given up."""
        waiting = self._lines[line]
        for queue in (waiting.emitted, waiting.posted):
            if queue:
                queue.popleft()()
                return
        del self._lines[line]


def _key(row: EventRow | StoredEventRow) -> _Key:
    return row.scope, row.event.source, row.event.id


# -- which works emit ----------------------------------------------------------------------------

_STARTING: Final = (Post, Route)


def watched(work: Any, subjects: Subjects, done: Callable[[Any], None]) -> Callable[[Any], None]:
    """Expects the events with a subject that a work will store; `done`, that also says so of those
    which were not stored."""
    kind = type(work)
    if (kind is Append and not work.emits) or (kind in _STARTING and not work.starts):
        return done  # the hot paths
    rows = [row for _, row in _emitted(work)]
    if not rows:
        return done
    for row in rows:
        subjects.expect(row)

    def finish(result: Any) -> None:
        done(result)
        for nth, row in _emitted(work):
            if not _stored(result, nth):
                subjects.lost(row)

    return finish


def _emitted(work: Any) -> Iterable[tuple[int, EventRow]]:
    """The events with a subject, each with the number of the turn that emits it."""
    match work:
        case Append():
            appends = [work]
        case Create():
            appends = [work.first]
        case Post() | Route():
            appends = [create.first for create in work.starts]
        case _:
            return
    for nth, append in enumerate(appends):
        for row in append.emits:
            if row.event.subject:
                yield nth, row


def _stored(result: Any, nth: int) -> bool:
    """Whether the events of turn `nth` of a work are in the store, and will be read back."""
    if isinstance(result, Posted):
        fresh = not (result.duplicate or result.conflict) and nth < len(result.started)
        result = result.started[nth] if fresh else None
    if isinstance(result, Created):
        result = result.first
    return isinstance(result, Appended) and bool(result.emitted)
