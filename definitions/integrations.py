"""`slack`, `pagerduty`, `okta`, `email`: services as handlers call them.

    if pagerduty.is_on_call(event.user, schedule_name="prod_on_call_schedule"):
        return slack.user(event.user)

Places (`slack.channel("#ops")`) are plain values. Everything else is a call, carried out by a
provider and recorded (see `services`). Without a provider, messages go to the log.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.definitions import destinations
from greenroom.definitions.destinations import Destination, Duration, Fallback, route_of
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.flows import identity
from greenroom.definitions.people import User, username_of, usernames_of
from greenroom.definitions.services import called
from greenroom.definitions.values import Json


class Messages:
    """Messages to people, over one service."""

    name: str

    def user(
        self,
        person: Any,
        *,
        allow_self: bool | None = None,
        timeout: Duration | None = None,
    ) -> Destination:
        """A message to one person alone."""
        return destinations.user(self.name, person, allow_self=allow_self, timeout=timeout)

    def group(
        self,
        people: Any,
        *,
        allow_self: bool | None = None,
        timeout: Duration | None = None,
    ) -> Destination:
        """A message to one to seven people at once."""
        return destinations.group(self.name, people, allow_self=allow_self, timeout=timeout)

    def send_message(self, destination: Any, message: str) -> Json:
        """Sends a text to a place or a person, once however often the handler is run again."""
        return _message(self.name, destination, message)


class Slack(Messages):
    """Places in Slack, and messages to them."""

    name: Final = "slack"

    def channel(
        self, name: str, *, allow_self: bool | None = None, timeout: Duration | None = None
    ) -> Destination:
        """A channel; anybody in it may decide, whoever asked only with `allow_self=True`."""
        return destinations.channel(self.name, name, allow_self=allow_self, timeout=timeout)

    def fallback(
        self,
        *stages: Destination,
        continue_on_delivery_failure: bool = True,
        continue_on_timeout: bool = False,
    ) -> Fallback:
        """Places tried one after the other: when one cannot be reached, and with
        `continue_on_timeout=True` also when it has not answered in its `timeout`."""
        return destinations.fallback(
            *stages,
            continue_on_delivery_failure=continue_on_delivery_failure,
            continue_on_timeout=continue_on_timeout,
        )


class Email(Messages):
    """Mail, over an SMTP outlet, with a link to the request."""

    name: Final = "email"


class PagerDuty:
    """Who is on call."""

    name: Final = "pagerduty"

    def is_on_call(
        self, person: Any, schedule_name: str | None = None, schedule_id: str | None = None
    ) -> bool:
        """Whether a person is on call now, on one schedule or on any."""
        return bool(
            called(
                self.name,
                "is_on_call",
                {
                    "user": identity(person, self.name),
                    "schedule_name": schedule_name,
                    "schedule_id": schedule_id,
                },
            )
        )

    def users_on_call(
        self, schedule_name: str | None = None, schedule_id: str | None = None
    ) -> list[str]:
        """The people on call now."""
        arguments = {"schedule_name": schedule_name, "schedule_id": schedule_id}
        return list(usernames_of(called(self.name, "users_on_call", arguments), "those on call"))


class Okta:
    """Groups and who is in them."""

    name: Final = "okta"

    def users_in_group(self, group_id: str) -> list[str]:
        """The people in a group."""
        found = called(self.name, "users_in_group", {"group_id": group_id})
        return list(usernames_of(found, f"the users of the group {group_id}"))

    def is_user_in_group(self, person: Any, group_id: str) -> bool:
        """Whether a person is in a group."""
        return username_of(person) in self.users_in_group(group_id)


def _message(service: str, destination: Any, message: str) -> Json:
    if not isinstance(message, str) or not message:
        raise InvalidInput(f"{service}.send_message() needs a text, got {message!r}")
    if isinstance(destination, User):
        destination = destinations.user(service, destination)
    sent: Json = None
    for place in route_of(destination).so_far(0):
        sent = called(place.service, "send_message", {"to": place, "message": message})
    return sent


slack: Final = Slack()
email: Final = Email()
pagerduty: Final = PagerDuty()
okta: Final = Okta()
