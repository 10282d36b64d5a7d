"""What handlers written for Sym's SDK import, under the names they know.

    from sym.sdk.annotations import hook, reducer                        ->  from greenroom.sym import ...
    from sym.sdk.request_permission import PermissionLevel, RequestPermission
    from sym.sdk.notifications import Notification

Everything else of the handlers stays as it is, but for `event.user`: here it is whoever asked, on
every event, and `event.actor` is who did this one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from greenroom.definitions import handlers, permissions
from greenroom.definitions.destinations import Notification
from greenroom.definitions.errors import GreenroomError, InvalidInput
from greenroom.definitions.flowevents import HANDLED
from greenroom.definitions.people import usernames_of
from greenroom.definitions.values import Json

F = TypeVar("F", bound=Callable[..., Any])

SymException: Final = GreenroomError
"""What a call of a service raises."""


class PermissionLevel(StrEnum):
    """Groups of people, as `Flow(roles=...)` names them."""

    ADMIN = "admin"
    MEMBER = "member"
    ALL_USERS = "all_users"


class RequestPermission(permissions.RequestPermission):
    """Who may decide a request. `webapp_view` is checked and kept for whoever reads the handler:
    who may look at requests is a matter of the daemon's keys and sign-in, for all flows alike."""

    def __init__(
        self, webapp_view: Any, approve_deny: Any = "admin", allow_self_approval: bool = False
    ) -> None:
        super().__init__(_plain(approve_deny), allow_self_approval=allow_self_approval)
        if isinstance(webapp_view, str):
            permissions.RequestPermission(_plain(webapp_view))
        else:
            usernames_of(webapp_view, "webapp_view")
        self.webapp_view = webapp_view


def _plain(rule: Any) -> Any:
    return str(rule) if isinstance(rule, PermissionLevel) else rule


class FieldOption(NamedTuple):
    """One of the options that a prefetch gives."""

    value: str
    label: str


def prefetch(field_name: str) -> Callable[[F], F]:
    """`@prefetch(field_name="region")`: marks what gives the options of a field."""
    return handlers.prefetch(field_name)


def get_step_output(event_name: str | None = None) -> Json:
    """What the strategy has returned for an event, the current one unless named."""
    event = HANDLED.get()
    if event is None:
        raise InvalidInput("get_step_output() has a meaning only in a handler")
    return event.get_step_output(event_name or event.name)


__all__ = [
    "FieldOption", "Notification", "PermissionLevel", "RequestPermission", "SymException",
    "get_step_output", "prefetch",
]  # fmt: skip
