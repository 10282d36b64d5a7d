"""What workflows written as documents may use: approved at a release, kept in the store, asked at each
call.

Whoever releases a version approves what it uses beyond what its workflow was *granted* before; what
files bring is its owner's own, and approved as it is released. So a version that nobody has ever
released calls no connector, whoever starts it. A grant stays until it is revoked, and so does a
version that was released once: it goes on, and can be rolled back to.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.ports import GetMeta, SetMeta
from greenroom.definitions.errors import InvalidRequest, NotGranted
from greenroom.definitions.grants import missing, needs_approval
from greenroom.definitions.suggest import did_you_mean

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

_KEPT: Final = "definitions.grants"
"""Meta: the name of a workflow -> `Held`."""

Approval = tuple[str, int, Iterable[str]]
"""A version that is released: name, number, and what it uses."""


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What a workflow was granted, and its versions that were approved; only of those that need it."""

    grants: frozenset[str] = frozenset()
    versions: frozenset[int] = frozenset()


NOTHING: Final = Held()


class Grants:
    """One for an engine. What is asked is in memory; a change counts when it is on disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[str, Held] = {}
        self._next: dict[str, Held] = {}
        """As it will be when all changes on their way are stored."""

    async def read(self) -> None:
        """At the start of an engine."""
        kept = await self._engine.journal.call(GetMeta(_KEPT))
        self._held = msgspec.json.decode(kept, type=dict[str, Held]) if kept else {}
        self._next = dict(self._held)

    def of(self, name: str) -> list[str]:
        """What a workflow was granted."""
        return sorted(self._held.get(name, NOTHING).grants)

    def missing(self, name: str, uses: Iterable[str], given: Collection[str] = ()) -> list[str]:
        """What of these uses nobody has approved, `given` counted in."""
        return missing(uses, self._held.get(name, NOTHING).grants | set(given))

    def check(self, name: str, version: int, uses: Iterable[str]) -> None:
        """At a call of an instance: raises `NotGranted` for what nobody has approved."""
        held = self._held.get(name, NOTHING)
        lacking = missing(uses, held.grants)
        if not lacking and version in held.versions:
            return
        what = f"was not granted {', '.join(lacking)}" if lacking else "was never released"
        raise NotGranted(
            f"{name} v{version} {what}; nothing was sent",
            hint=f"whoever may release it approves it:  {_command(name, version, lacking)}",
            missing=lacking,
            workflow=name,
        )

    # -- changing ------------------------------------------------------------------------------

    async def approve(self, *given: Approval) -> None:
        """Grants what versions use, where it needs a grant, as they are released."""
        added = [self._add(*one) for one in given]
        if any(added):
            await self._save()

    def approve_soon(self, name: str, version: int, uses: Iterable[str]) -> None:
        """`approve` by code of the engine's own process, which says so again at each start."""
        if self._add(name, version, uses):
            self._held = dict(self._next)
            self._engine.journal.submit(SetMeta(_KEPT, self._text()), _nothing)

    async def revoke(self, name: str, grants: Collection[str]) -> None:
        """Takes grants back."""
        held = self._next.get(name, NOTHING)
        self._next[name] = Held(held.grants - frozenset(grants), held.versions)
        await self._save()

    async def forget(self, name: str, versions: Collection[int] | None = None) -> None:
        """Of a workflow that was deleted, or of some of its versions: the next that has the name
        or the number was granted nothing."""
        held = self._next.get(name)
        if held is None:
            return
        del self._next[name]
        if versions is not None:
            self._next[name] = Held(held.grants, held.versions - frozenset(versions))
        await self._save()

    def _add(self, name: str, version: int, uses: Iterable[str]) -> bool:
        needed = frozenset(filter(needs_approval, uses))
        held = self._next.get(name, NOTHING)
        if not needed or (needed <= held.grants and version in held.versions):
            return False
        self._next[name] = Held(held.grants | needed, held.versions | {version})
        return True

    async def _save(self) -> None:
        after = dict(self._next)
        try:
            await self._engine.journal.call(SetMeta(_KEPT, self._text()))
        except BaseException:
            self._next = dict(self._held)
            raise
        self._held = after

    def _text(self) -> str:
        plain: dict[str, Any] = {
            name: [sorted(held.grants), sorted(held.versions)] for name, held in self._next.items()
        }
        return msgspec.json.encode(plain).decode()


def read_grants(given: Sequence[str], uses: Iterable[str], who: str) -> list[str]:
    """What somebody approves, each of which the version does use: nothing is granted for later.
    Raises `InvalidRequest`."""
    needed = [use for use in uses if needs_approval(use)]
    for one in given:
        if one not in needed:
            raise InvalidRequest(
                f"{who} does not use {str(one)[:80]!r}{did_you_mean(str(one), needed)}",
                hint=f"it uses {', '.join(needed) or 'nothing that needs a grant'}",
            )
    return list(given)


def refusal(name: str, version: int | None, lacking: Sequence[str]) -> NotGranted:
    """What a release is refused with: the exact list, and how it is approved. Without a version it
    is of what is being pushed."""
    who = name if version is None else f"{name} v{version}"
    line = _options(lacking) if version is None else _command(name, version, lacking)
    return NotGranted(
        f"{who} uses what {name} was not granted: {', '.join(lacking)}",
        hint=f"look at it, then approve it:  {line}",
        missing=list(lacking),
        workflow=name,
    )


def _command(name: str, version: int, lacking: Iterable[str]) -> str:
    line = shlex.join(("greenroom", "def", "promote", name, "--version", str(version)))
    return f"{line} {_options(lacking)}".rstrip()


def _options(lacking: Iterable[str]) -> str:
    return shlex.join(word for one in lacking for word in ("--grant", one))


def _nothing(result: Any) -> None:
    return None
