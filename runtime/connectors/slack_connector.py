"""`slack`: messages and people, by the Web API and by incoming webhooks.

Secrets: `slack_token` (a bot's, `xoxb-...`), `slack_webhook` (the path or URL of an incoming
webhook), `slack_signing_secret` (events).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.definitions.actionerrors import RequestInvalid, ResponseFailed
from greenroom.definitions.credentials import BearerToken, secret_name
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connections import ActionContext
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.connectors.http import Http
from greenroom.runtime.connectors.shipped import SOURCE

_BLOCKS: Final[dict[str, Json]] = {"type": "array", "maxItems": 50, "items": {"type": "object"}}

POST: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {
        "webhook_path": {"type": "string", "minLength": 1},
        "body": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "maxLength": 40_000},
                "blocks": _BLOCKS,
                "channel": {"type": "string", "minLength": 1},
                "thread_ts": {"type": "string"},
            },
            "anyOf": [{"required": ["text"]}, {"required": ["blocks"]}],
        },
    },
    "required": ["body"],
    "additionalProperties": False,
}


class Message(msgspec.Struct, omit_defaults=True):
    """To a channel (id or `#name`), or to people by their ids: one gets a direct message, several a
    group's."""

    text: str
    channel: str | None = None
    users: list[str] = []
    blocks: list[dict[str, Any]] | None = None
    thread_ts: str | None = None


class Change(msgspec.Struct, omit_defaults=True):
    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]] | None = None


class Person(msgspec.Struct):
    email: str


class Member(msgspec.Struct):
    id: str


class People(msgspec.Struct):
    users: list[str]


PASSING: Final = frozenset(
    {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}
)
"""Errors of the Web API that go away."""


def slack_connector(
    id: str = "slack",
    *,
    token: str = "secret://slack_token",
    webhook: str = "secret://slack_webhook",
    signing_secret: str = "secret://slack_signing_secret",
    host: str = "slack.com",
    hooks_host: str = "hooks.slack.com",
    rate_limit: Json = None,
) -> Connector:
    """Slack, with the secrets of a workspace."""
    hook = secret_name(webhook)
    connector = Connector(
        id,
        type="Slack",
        name="Slack",
        description="Messages and people",
        host=host,
        base_path="api",
        credentials=BearerToken(token),
        grants=[hook],
        rate_limit=rate_limit,
        idempotency_header=None,
        signature={"scheme": "slack", "secret": signing_secret},
        source=SOURCE,
    )
    hooks = Connector(
        f"{id}-webhooks",
        host=hooks_host,
        base_path="services",
        rate_limit=rate_limit,
        idempotency_header=None,
        source=SOURCE,
    )
    for type in ("app_mention", "message", "reaction_added", "member_joined_channel"):
        connector.event(type)

    @hooks.action("Post")
    async def post_hook(params: dict[str, Any], http: Http) -> Json:
        response = await http.post(params["path"], json=params["body"])
        return {"ok": True, "text": response.content.decode("utf-8", "replace")}

    @connector.action("PostMessage", params=POST)
    async def post_message(params: dict[str, Any], http: Http, ctx: ActionContext) -> Json:
        """Posts a message: to an incoming webhook, or by the Web API where `body` has a channel."""
        body = params["body"]
        if "channel" in body and "webhook_path" not in params:
            return await _api(http, "chat.postMessage", body)
        path = params.get("webhook_path") or await ctx.secret(hook)
        path = path.partition("/services/")[2] or path
        return await hooks.find("Post").perform({"path": path, "body": body}, ctx.idempotency_key)

    @connector.action("SendMessage", params=Message)
    async def send_message(message: Message, http: Http) -> Json:
        """Sends a message to a channel or to people; gives `{channel, ts}`."""
        channel = message.channel
        if (channel is None) == (not message.users):
            raise RequestInvalid("a message goes to a channel or to users, one of them")
        if channel is None:
            channel = await _opened(http, message.users)
        body = {**msgspec.to_builtins(message), "channel": channel}
        body.pop("users", None)
        found = await _api(http, "chat.postMessage", body)
        return {"channel": found.get("channel"), "ts": found.get("ts")}

    @connector.action("UpdateMessage", params=Change, idempotent=True)
    async def update_message(change: Change, http: Http) -> Json:
        """Changes a message that was sent."""
        found = await _api(http, "chat.update", msgspec.to_builtins(change))
        return {"channel": found.get("channel"), "ts": found.get("ts")}

    @connector.action("OpenConversation", params=People, idempotent=True)
    async def open_conversation(people: People, http: Http) -> Json:
        """The channel of a direct message to one or several people."""
        return {"channel": await _opened(http, people.users)}

    @connector.action("FindUser", params=Person, idempotent=True)
    async def find_user(person: Person, http: Http) -> Json:
        """A person by mail address: `{id, name, email}`, or `{}`."""
        try:
            found = await _api(http, "users.lookupByEmail", {"email": person.email}, form=True)
        except ResponseFailed as error:
            if error.details.get("error") == "users_not_found":
                return {}
            raise
        return _person(found)

    @connector.action("GetUser", params=Member, idempotent=True)
    async def get_user(member: Member, http: Http) -> Json:
        """A person by id: `{id, name, email}`; no address without the scope `users:read.email`."""
        return _person(await _api(http, "users.info", {"user": member.id}, form=True))

    return connector


def _person(found: dict[str, Any]) -> Json:
    user = found.get("user") or {}
    profile = user.get("profile") or {}
    return {
        "id": user.get("id"),
        "name": user.get("real_name") or user.get("name"),
        "email": profile.get("email"),
    }


async def _opened(http: Http, users: list[str]) -> str:
    found = await _api(http, "conversations.open", {"users": ",".join(users)}, form=True)
    channel = (found.get("channel") or {}).get("id")
    if not isinstance(channel, str):
        raise ResponseFailed("Slack gave no channel for these users", status=200)
    return channel


async def _api(http: Http, method: str, body: dict[str, Any], *, form: bool = False) -> Any:
    """A method of the Web API, which says `ok: false` with status 200."""
    given: dict[str, Any] = {"form": body} if form else {"json": body}
    headers = {} if form else {"Content-Type": "application/json; charset=utf-8"}
    response = await http.post(method, headers=headers, **given)
    found = response.json()
    if not isinstance(found, dict) or found.get("ok") is not True:
        error = str(found.get("error") if isinstance(found, dict) else found)[:200]
        names = ("429",) if error == "ratelimited" else ("5xx",) if error in PASSING else ("4xx",)
        raise ResponseFailed(
            f"Slack refused {method}: {error}", retry_names=names, status=200, error=error
        )
    return found
