"""The branches of a program: who runs in a machine, and what they wait for together."""

from __future__ import annotations

from typing import Any

from greenroom.definitions.ops import Gather, Member, Select, Settle


class Branch:
    """One coroutine: main, a handler, an argument of a gather or a member of a scope. `on` is the
    key, frame or member it is suspended on; `blame` the failed ops thrown into it since it last
    suspended; `blocks` the `timeout` and `scope` blocks it is in, the innermost last."""

    __slots__ = (
        "blame", "blocks", "count", "done", "draws", "frame", "handler", "on", "prefix", "routine", "since",
        "slot",
    )  # fmt: skip

    def __init__(
        self,
        prefix: str,
        routine: Any,
        frame: Frame | None = None,
        slot: int = 0,
        since: int | None = None,
        handler: bool = False,
    ) -> None:
        self.prefix = prefix
        self.routine = routine
        self.frame = frame
        self.slot = slot
        self.since = since
        self.handler = handler
        self.count = 0
        self.draws = 0
        self.on: str | Frame | Member | Select | None = None
        self.blame: set[str] = set()
        self.blocks: tuple[Limit | Group, ...] = ()
        self.done = False


class Limit:
    """A `timeout` block: when the timer `key` fires, its branch is cancelled where it is. `overruled`
    says that somebody else has cancelled the branch: then it is not for this block to end that."""

    __slots__ = ("branch", "due_s", "fired", "key", "overruled")

    def __init__(self, branch: Branch, key: str, due_s: float) -> None:
        self.branch = branch
        self.key = key
        self.due_s = due_s
        self.fired = False
        self.overruled = False


class Frame:
    """A gather that waits for its arguments. `members` are op keys or branches by index; `timer` is
    the index of the one that ends the others when the time is over."""

    __slots__ = (
        "blames", "branch", "cancelled", "errors", "gathered", "left", "members", "mode", "pending",
        "quiet", "results", "timer",
    )  # fmt: skip

    def __init__(self, branch: Branch, gather: Gather) -> None:
        self.branch = branch
        self.mode = gather.mode
        self.quiet = gather.return_exceptions
        self.timer = None if gather.due_s is None else len(gather.items)
        size = len(gather.items) + (gather.due_s is not None)
        self.results: list[Any] = [None] * size
        self.errors: dict[int, BaseException] = {}
        self.blames: dict[int, set[str]] = {}
        self.members: list[str | Branch | None] = [None] * size
        self.pending = size
        self.left: int | None = None
        """Index that decided a race or a fail-fast; the others are being given up."""
        self.cancelled = False
        self.gathered = False
        """The branch goes on; told once, though giving members up settles them in between."""


class Group(Frame):
    """A `scope` block: a gather whose members are added one by one while its branch runs on. The
    branch waits for it only where it leaves the block."""

    __slots__ = ("base", "body", "body_blame", "given_up", "handles", "leaving", "overruled")

    def __init__(self, branch: Branch, mode: Settle, base: str) -> None:
        super().__init__(branch, Gather((), mode))
        self.base = base
        self.handles: list[Member] = []
        self.leaving = False
        self.body: BaseException | None = None
        """What the block itself raised."""
        self.body_blame: set[str] = set()
        self.given_up = False
        """The members were given up because the block itself failed."""
        self.overruled = False


def branch_of(waiter: Branch | tuple[Frame, int] | Limit | Select) -> Branch:
    """The branch that goes on when an op ends."""
    if isinstance(waiter, Branch):
        return waiter
    if isinstance(waiter, Select):
        found: Branch = waiter.branch or waiter.home
        return found
    return waiter.branch if isinstance(waiter, Limit) else waiter[0].branch
