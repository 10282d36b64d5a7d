"""What a trigger has collected for one key, and what becomes of it: pure.

A state is durable before an event counts as routed; its events are named by their places in the
journal. Offering an event again changes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from greenroom.definitions.collecting import WAITING_MAX, Collect

BYTES_MAX: Final = 512 << 10
"""A batch this large is not waited for any more: the input of an instance has a limit."""


class Member(msgspec.Struct, frozen=True):
    slot: int
    pos: int
    at: int


class Collected(msgspec.Struct, omit_defaults=True):
    """`members` are the events that wait, oldest first; `passed` the latest starts of a throttle
    (slot unused); `going` what starts just now and is not known to be durable. `due` is when to
    look again."""

    namespace: str
    workflow: str
    nth: int
    """Which of the workflow's collecting triggers."""
    key: str | None
    opened: int
    due: int
    members: list[Member] = []
    passed: list[Member] = []
    going: list[list[Member]] = []
    bytes: int = 0

    @property
    def empty(self) -> bool:
        return not (self.members or self.passed or self.going)


def offer(rule: Collect, held: Collected, member: Member, size: int, now: int) -> str:
    """Takes an event into the state. Gives `held`, `started` (it starts an instance at once) or
    `refused`."""
    if any(one.pos == member.pos for one in held.passed):
        return "started"
    if any(one.pos == member.pos for ones in (held.members, *held.going) for one in ones):
        return "held"
    match rule.kind:
        case "throttle":
            return _throttled(rule, held, member, now)
        case "debounce":
            held.members = [member]
            held.due = now + rule.span_ms
            if rule.most_ms is not None:
                held.due = min(held.due, held.opened + rule.most_ms)
        case "batch":
            held.members = [*held.members, member]
            held.bytes += size
            full = len(held.members) >= rule.limit or held.bytes >= BYTES_MAX
            held.due = now if full else held.opened + rule.span_ms
        case "all":
            kept = [one for one in held.members if one.slot != member.slot]
            held.members = [*(one for one in kept if one.at > now - rule.span_ms), member]
            whole = len(held.members) == rule.limit
            held.due = now if whole else min(one.at for one in held.members) + rule.span_ms
        case "unless":
            if member.slot == 1:
                held.members = []
            elif not held.members:
                held.members = [member]
                held.due = now + rule.span_ms
    return "held"


def _throttled(rule: Collect, held: Collected, member: Member, now: int) -> str:
    held.passed = [one for one in held.passed if one.at > now - rule.span_ms]
    if not held.members and len(held.passed) < rule.limit:
        held.passed = [*held.passed, member]
        held.due = held.passed[0].at + rule.span_ms
        return "started"
    if len(held.members) >= WAITING_MAX:
        return "refused"
    held.members = [*held.members, member]
    held.due = held.passed[0].at + rule.span_ms if held.passed else now
    return "held"


def ripen(rule: Collect, held: Collected, now: int) -> None:
    """Moves what starts instances now to `going`, a list for each; the rest waits until `due`."""
    held.going = [*held.going, *_ripe(rule, held, now)]


def _ripe(rule: Collect, held: Collected, now: int) -> list[list[Member]]:
    match rule.kind:
        case "throttle":
            held.passed = [one for one in held.passed if one.at > now - rule.span_ms]
            room = rule.limit - len(held.passed)
            going, held.members = held.members[:room], held.members[room:]
            held.passed = [*held.passed, *(Member(0, one.pos, now) for one in going)]
            if held.passed:
                held.due = held.passed[0].at + rule.span_ms
            return [[one] for one in going]
        case "all":
            if len(held.members) < rule.limit:
                held.members = [one for one in held.members if one.at > now - rule.span_ms]
                if held.members:
                    held.due = min(one.at for one in held.members) + rule.span_ms
                return []
            going = sorted(held.members, key=lambda one: one.slot)
        case _:
            if held.due > now:
                return []
            going = held.members
    held.members, held.bytes = [], 0
    return [going] if going else []
