"""Who may decide a request.

Levels hold each other: an admin is a member, a member is one of all users. Admins may always
decide, also where a list does not name them; and where nothing is said, only they may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from greenroom.definitions.destinations import Destination
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.people import usernames_of
from greenroom.definitions.values import Json

Level = Literal["admin", "member", "all_users"]
LEVELS: Final = ("admin", "member", "all_users")


class Permission(Struct, frozen=True, omit_defaults=True):
    """The rule of one request: a level, or the people by name; and about whoever asked."""

    level: Level | None = None
    people: tuple[str, ...] = ()
    allow_self: bool = False
    routed: bool = False
    """It follows from where the request was delivered."""

    def as_data(self) -> Json:
        return msgspec.to_builtins(self)


class RequestPermission:
    """What a `get_permissions` reducer gives: who may approve and deny.

    `approve_deny` is `"admin"`, `"member"`, `"all_users"` or a list of users; left out, only admins
    may. `allow_self_approval` lets whoever asked decide too, if the rule allows them.
    """

    def __init__(self, approve_deny: Any = "admin", *, allow_self_approval: bool = False) -> None:
        level: Level | None = None
        people: tuple[str, ...] = ()
        if isinstance(approve_deny, str):
            if approve_deny not in LEVELS:
                raise InvalidInput(
                    f"approve_deny must be one of {', '.join(LEVELS)} or a list of users, got "
                    f"{approve_deny!r}"
                )
            level = approve_deny  # type: ignore[assignment]
        else:
            people = usernames_of(approve_deny, "approve_deny")
            if not people:
                raise InvalidInput(
                    "approve_deny names nobody",
                    hint='leave it out to let admins decide, or give "member"',
                )
        self.permission = Permission(level, people, bool(allow_self_approval))

    def __repr__(self) -> str:
        return f"RequestPermission({self.permission.level or list(self.permission.people)!r})"


def permission_from(data: Json) -> Permission:
    """A rule as the journal keeps it."""
    return msgspec.convert(data, Permission)


def authorities(
    permission: Permission,
    actor: str,
    told: tuple[Destination, ...],
    roles: Mapping[str, tuple[str, ...]],
    delegates: Mapping[str, Sequence[str]],
) -> list[str]:
    """In whose right `actor` may decide: their own, then that of each they stand in for.

    `told` are the destinations the request was delivered to; `delegates` maps who stands in to
    whom they stand in for.
    """
    names = dict.fromkeys([actor, *delegates.get(actor, ())])
    return [name for name in names if _is_allowed(permission, name, told, roles)]


def may_decide(
    permission: Permission,
    actor: str,
    hand: str,
    requester: str,
    told: tuple[Destination, ...],
    roles: Mapping[str, tuple[str, ...]],
    delegates: Mapping[str, Sequence[str]],
) -> str | None:
    """None where `actor` may decide a request of `requester`, else why not. `hand` is who acts in
    the name of `actor`: whoever asked may not, whatever name they give."""
    if not authorities(permission, actor, told, roles, delegates):
        return f"{actor} may not decide this: {_who_may(permission, told)}"
    lets_self = permission.allow_self or any(one.lets_self(requester) for one in told)
    if requester in (actor, hand) and not lets_self:
        return f"{requester} asked for this and may not decide it"
    return None


def _is_allowed(
    permission: Permission,
    actor: str,
    told: tuple[Destination, ...],
    roles: Mapping[str, tuple[str, ...]],
) -> bool:
    if actor in roles.get("admin", ()):
        return True
    if permission.routed:
        asked = [one.people() for one in told]
        return any(people is None or actor in people for people in asked)
    if permission.level == "all_users":
        return True
    if permission.level == "member":
        return actor in roles.get("member", ())
    return actor in permission.people


def _who_may(permission: Permission, told: tuple[Destination, ...]) -> str:
    if permission.routed:
        return f"it was sent to {'; '.join(map(str, told)) or 'nobody'}"
    if permission.people:
        return f"{', '.join(permission.people)} may"
    return f"{permission.level or 'admin'} may"
