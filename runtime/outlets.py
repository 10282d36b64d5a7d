"""Outlets: what carries the messages of flows to people, and their questions to services.

An outlet has `deliver(to, notice)` for requests that can be answered and `send_message(to,
message)` for plain texts; what it raises is a failed delivery. Services are reached over their
connectors. Slack and mail need one that was given or set up (a secret `slack_token`, a server in
`GREENROOM_SMTP_HOST`); until then their messages go to the log.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from greenroom.definitions.actionerrors import ActionFailed
from greenroom.definitions.connectors import Connector
from greenroom.definitions.destinations import Destination
from greenroom.definitions.durations import text as duration_text
from greenroom.definitions.flows import IdentityNotFound, identity
from greenroom.definitions.services import LOG, RECORDER
from greenroom.definitions.values import Json
from greenroom.runtime.buttons import PATH, SlackButtons
from greenroom.runtime.links import Links
from greenroom.runtime.loggers import LazyLogger

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

FIELDS_MAX: Final = 10
"""As many fields as a block of Slack takes."""
TEXT_MAX: Final = 2000


class LogOutlet:
    """Writes a line for each message: for development, and as long as there is nothing else."""

    def __init__(self) -> None:
        self._log: Any = LazyLogger("greenroom.outlet")

    def deliver(self, to: Destination, notice: dict[str, Json]) -> None:
        self._log.info(
            "a request waits for a decision", to=str(to), title=notice["title"], ask=notice["ask"]
        )

    def send_message(self, to: Destination, message: str) -> None:
        self._log.info("message", to=str(to), text=message)


class SlackOutlet:
    """Messages over the connector of Slack; a request has a button for each decision."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def deliver(self, to: Destination, notice: dict[str, Json]) -> Json:
        return self._send(to, _headline(notice), slack_blocks(notice))

    def update(self, to: Destination, message: Json, notice: dict[str, Json]) -> Json:
        """Takes the buttons of a message away, and writes how the request has ended there."""
        change = {
            "channel": message["channel"], "ts": message["ts"],
            "text": f"{_headline(notice)}: {_ending(notice)}", "blocks": slack_blocks(notice),
        }  # fmt: skip
        return _perform(self._connector, "UpdateMessage", change)

    def email_of(self, id: str) -> str | None:
        """The mail address Slack has verified for somebody; None where its token may not ask."""
        with contextlib.suppress(ActionFailed):
            return _perform(self._connector, "GetUser", {"id": id}).get("email") or None
        return None

    def send_message(self, to: Destination, message: str) -> Json:
        return self._send(to, message, None)

    def _send(self, to: Destination, text: str, blocks: list[Json] | None) -> Json:
        given: dict[str, Json] = {"text": text}
        people = to.people()
        if people is None:
            given["channel"] = to.name
        else:
            given["users"] = [self._id(person) for person in people]
        if blocks is not None:
            given["blocks"] = blocks
        return _perform(self._connector, "SendMessage", given)

    def _id(self, person: str) -> str:
        """A person's id in Slack: what `get_identity` gives, or found by mail address."""
        name = identity(person, "slack")
        if "@" not in name:
            return name
        found = _perform(self._connector, "FindUser", {"email": name})
        if not found.get("id"):
            raise IdentityNotFound(f"Slack knows nobody with the address {name}")
        return str(found["id"])


class MailOutlet:
    """Messages over the connector of a mail server."""

    def __init__(self, connector: Connector, links: Links) -> None:
        self._connector = connector
        self._links = links

    def deliver(self, to: Destination, notice: dict[str, Json]) -> Json:
        """Where there are pages, everybody is sent a mail of their own with a link of their own."""
        ask, told = str(notice["ask"]), None
        for person in to.people() or ():
            address = identity(person, "email")
            link = self._links.to(ask, person)
            if link is None:
                break
            told = self._mail([address], notice, f"To decide:  {link}")
        else:
            return told
        command = f"To decide:  greenroom ask answer {ask} approved:=true"
        return self._mail(
            [identity(person, "email") for person in to.people() or ()], notice, command
        )

    def _mail(self, people: list[str], notice: dict[str, Json], how: str) -> Json:
        text = "\n".join([_headline(notice), "", *_details(notice), "", how])
        given: dict[str, Json] = {"to": list(people), "subject": str(notice["title"]), "text": text}
        return _perform(self._connector, "SendMail", given)

    def send_message(self, to: Destination, message: str) -> Json:
        return self._send(to, message.partition("\n")[0][:200], message)

    def _send(self, to: Destination, subject: str, text: str) -> Json:
        people = [identity(person, "email") for person in to.people() or ()]
        return _perform(
            self._connector, "SendMail", {"to": people, "subject": subject, "text": text}
        )


class PagerDutyCalls:
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def is_on_call(self, user: str, **schedule: Json) -> bool:
        found = _perform(self._connector, "IsOnCall", {"user": user, **_given(schedule)})
        return bool(found["on_call"])

    def users_on_call(self, **schedule: Json) -> list[str]:
        found = _perform(self._connector, "OnCall", _given(schedule))
        return [str(one.get("email") or one["id"]) for one in found["users"]]


class OktaCalls:
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def users_in_group(self, group_id: str) -> list[str]:
        found = _perform(self._connector, "UsersInGroup", {"group_id": group_id})
        return [str(one.get("email") or one.get("login") or one["id"]) for one in found["users"]]


def providers(engine: Engine) -> dict[str, Any]:
    """Who carries out the calls of services for the flows of an engine. Usually called first from
    the thread of a handler; on the loop it works as well, as it waits for nothing there."""
    log = LogOutlet()
    found: dict[str, Any] = {LOG: log, "slack": log, "email": log}
    found["pagerduty"] = PagerDutyCalls(engine.connectors.get("pagerduty"))
    found["okta"] = OktaCalls(engine.connectors.get("okta"))
    if _is_given(engine, "slack") or engine.connections.secrets.is_there("slack_token"):
        found["slack"] = SlackOutlet(engine.connectors.get("slack"))
    if _is_given(engine, "smtp") or os.environ.get("GREENROOM_SMTP_HOST"):
        found["email"] = MailOutlet(engine.connectors.get("smtp"), engine.links)
    return found


def _is_given(engine: Engine, id: str) -> bool:
    return any(connector.id == id for connector in engine.connectors)


def listen(engine: Engine) -> None:
    """Takes the buttons of requests in Slack. Without the signing secret each click is refused."""
    if PATH not in engine.hooks.paths():
        given = next((one for one in engine.connectors if one.id == "slack"), None)
        names = ("slack_signing_secret",) if given is None else given.signature.secrets()
        engine.hooks.add(PATH, SlackButtons(engine, names))


def _perform(connector: Connector, action: str, params: dict[str, Json]) -> Any:
    recorder = RECORDER.get()
    key = getattr(recorder, "idempotency_key", None)
    return connector.find(action).perform_blocking(params, key)


def _given(arguments: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in arguments.items() if value is not None}


# -- what a request looks like -------------------------------------------------------------------


def _headline(notice: Mapping[str, Json]) -> str:
    number = notice.get("reminder")
    again = f"Reminder {number}: " if number else ""
    return f"{again}{notice['title']}"


def _details(notice: Mapping[str, Json]) -> list[str]:
    lines = [f"flow: {notice['flow']}"]
    if notice.get("target"):
        lines.append(f"target: {notice['target']}")
    if notice.get("duration"):
        lines.append(f"for: {duration_text(notice['duration'])}")
    return [*lines, *(f"{name}: {value}" for name, value in notice["fields"].items())]


def _ending(notice: Mapping[str, Json]) -> str:
    """`approved by bob: for the release`."""
    by, reason = notice.get("by"), notice.get("reason")
    return f"{notice['outcome']}{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"


def slack_blocks(notice: Mapping[str, Json]) -> list[Json]:
    """A request as blocks of Slack, with buttons as long as it is open. What people wrote is plain text there: no mark-up of theirs is
    looked at, so nobody can dress a request up as another."""
    fields = [_plain(line) for line in _details(notice)[:FIELDS_MAX]]
    blocks: list[Json] = [
        {"type": "section", "text": _plain(_headline(notice))},
        {"type": "section", "fields": fields},
    ]
    if notice.get("outcome"):
        return [*blocks, {"type": "context", "elements": [_plain(_ending(notice))]}]
    return [
        *blocks,
        {
            "type": "actions",
            "block_id": "greenroom",
            "elements": [
                _button("approve", "Approve", "primary", notice["ask"]),
                _button("deny", "Deny", "danger", notice["ask"]),
            ],
        },
    ]


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text[:TEXT_MAX], "emoji": False}


def _button(event: str, label: str, style: str, ask: str) -> Json:
    return {
        "type": "button", "action_id": event, "style": style, "text": _plain(label), "value": ask,
    }  # fmt: skip
