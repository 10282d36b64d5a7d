"""Destinations: where a request is delivered, and in what order when nobody answers.

A destination belongs to a service (`slack.channel("#ops")`), which delivers to it. What a reducer
gives is a *route*: stages that are tried one after the other, each delivered to all at once.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.people import username_of, usernames_of
from greenroom.definitions.values import Json

GROUP_MAX: Final = 7
"""As many people as a group message of Slack takes beside the one who sends it."""

Duration = str | float | datetime.timedelta
Kind = Literal["user", "channel", "group"]


class Destination(Struct, frozen=True, omit_defaults=True):
    """One place a request goes to.

    `allow_self`: whether whoever asked may decide there. None means only where the destination is
    nobody but the one who asked. `timeout_s` is how long it has for an answer; None is for ever.
    """

    service: str
    kind: Kind
    name: str = ""
    members: tuple[str, ...] = ()
    allow_self: bool | None = None
    timeout_s: float | None = None

    def people(self) -> tuple[str, ...] | None:
        """Who is asked; None for a channel, where it may be anybody."""
        if self.kind == "channel":
            return None
        return (self.name,) if self.kind == "user" else self.members

    def lets_self(self, user: str) -> bool:
        """Whether `user`, who asked, may decide here."""
        return self.allow_self if self.allow_self is not None else self.people() == (user,)

    def __str__(self) -> str:
        return f"{self.service} {self.kind} {self.name or ', '.join(self.members)}"


class Fallback(Struct, frozen=True):
    """Destinations tried in order. A stage that cannot be delivered hands on to the next unless
    told otherwise; one that is not answered in time only if told so."""

    stages: tuple[Destination, ...]
    on_failure: bool = True
    on_timeout: bool = False


class Notification:
    """One stage of a list that `get_request_notifications` gives: places that are told at once, and
    how long they have before the next stage is told."""

    def __init__(self, destinations: Any, timeout: Duration | None = None) -> None:
        limit = _limit(timeout)
        self.stage = tuple(
            one if limit is None else msgspec.structs.replace(one, timeout_s=limit)
            for one in route_of(destinations).so_far(0)
        )

    def __repr__(self) -> str:
        return f"Notification([{', '.join(map(str, self.stage))}])"


class Route(Struct, frozen=True, omit_defaults=True):
    """Where a request goes: stages in order, each of destinations that are told at once."""

    stages: tuple[tuple[Destination, ...], ...] = ()
    on_failure: bool = True
    on_timeout: bool = False

    def timeout_s(self, stage: int) -> float | None:
        """How long a stage has: the longest of its destinations; for ever if one of them has."""
        if not 0 <= stage < len(self.stages):
            return None
        limits = [one.timeout_s for one in self.stages[stage]]
        return None if None in limits else max(limit for limit in limits if limit is not None)

    def has_after(self, stage: int) -> bool:
        return stage + 1 < len(self.stages)

    def so_far(self, stage: int) -> tuple[Destination, ...]:
        """All destinations up to a stage: an answer from an earlier one still counts."""
        return tuple(one for found in self.stages[: stage + 1] for one in found)

    def as_data(self) -> Json:
        return msgspec.to_builtins(self)


def user(
    service: str,
    person: Any,
    *,
    allow_self: bool | None = None,
    timeout: Duration | None = None,
) -> Destination:
    """One person, in a direct message."""
    name = username_of(person, f"the user of {service}.user()")
    return Destination(service, "user", name, (), allow_self, _limit(timeout))


def channel(
    service: str, name: str, *, allow_self: bool | None = None, timeout: Duration | None = None
) -> Destination:
    """A channel that anybody in it may answer from."""
    if not isinstance(name, str) or not name.strip("# ") or len(name) > NAME_MAX:
        raise InvalidInput(f"{service}.channel() needs the name of a channel, got {name!r}")
    return Destination(service, "channel", name, (), allow_self, _limit(timeout))


def group(
    service: str,
    people: Any,
    *,
    allow_self: bool | None = None,
    timeout: Duration | None = None,
) -> Destination:
    """Up to seven people in one conversation."""
    members = usernames_of(people, f"the users of {service}.group()")
    if not 1 <= len(members) <= GROUP_MAX:
        raise InvalidInput(
            f"{service}.group() takes 1 to {GROUP_MAX} users, got {len(members)}",
            hint="use a channel for more" if members else None,
        )
    return Destination(service, "group", "", members, allow_self, _limit(timeout))


def fallback(
    *stages: Destination,
    continue_on_delivery_failure: bool = True,
    continue_on_timeout: bool = False,
) -> Fallback:
    """Destinations that are tried one after the other."""
    if not stages or not all(isinstance(stage, Destination) for stage in stages):
        raise InvalidInput(f"fallback() takes destinations in order, got {stages!r}")
    return Fallback(stages, continue_on_delivery_failure, continue_on_timeout)


def _limit(timeout: Duration | None) -> float | None:
    if timeout is None:
        return None
    limit = seconds(timeout, "timeout")
    if not limit > 0:
        raise InvalidInput(f"the timeout of a destination must be longer than 0, got {timeout!r}")
    return limit


def route_of(given: Any) -> Route:
    """What a routing reducer gave, as a route: a destination, several at once, or a fallback.
    Raises `InvalidInput`."""
    if isinstance(given, Fallback):
        return Route(tuple((one,) for one in given.stages), given.on_failure, given.on_timeout)
    found: Sequence[Any]
    if isinstance(given, Destination):
        found = [given]
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes | dict):
        found = list(given)
    else:
        found = []
    if found and all(isinstance(one, Notification) for one in found):
        stages = tuple(one.stage for one in found)
        timed = any(one.timeout_s is not None for stage in stages for one in stage)
        return Route(stages, on_timeout=timed)
    if not found or not all(isinstance(one, Destination) for one in found):
        raise InvalidInput(
            f"a destination is needed, got {type(given).__name__}",
            hint='give slack.user(...), slack.channel("#name"), slack.group([...]) or a list of them',
        )
    return Route((tuple(found),))


def route_from(data: Json) -> Route:
    """A route as the journal keeps it."""
    return msgspec.convert(data, Route)
