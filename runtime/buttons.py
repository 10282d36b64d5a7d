"""The buttons of requests in Slack: what is clicked there comes in over a signed hook.

An engine with flows answers `POST /hooks/slack/buttons`: the request URL of the app's interactivity.
Slack signs what it sends; who clicked is the id that Slack gives. Who that is, the flow says: by its
`users` (`{"ann": {"slack": "U123"}}`), its `get_identity`, or the mail address Slack has of them. A
name that people give themselves in Slack proves nothing. Whether they may decide is asked as for any
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec

from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.definitions.signatures import Headers, Signature
from greenroom.definitions.values import Json
from greenroom.runtime.web.hooks import HookRequest, HookResponse

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

PATH: Final = "slack/buttons"
_RULE: Final = Signature(scheme="slack")


class SlackButtons:
    """A hook for what Slack sends when a button is clicked. `secrets` are the names of the app's
    signing secrets, several where one is being replaced."""

    def __init__(self, engine: Engine, secrets: Sequence[str]) -> None:
        self._engine = engine
        self._secrets = secrets

    async def __call__(self, request: HookRequest) -> HookResponse:
        """Raises `SignatureInvalid`, `InvalidRequest`; a refusal is told to whoever clicked."""
        store = self._engine.connections.secrets
        secrets = [(await store.get(name)).reveal() for name in self._secrets]
        now_s = self._engine.clock.now() / 1000
        _RULE.verify(Headers(request.headers), request.body, secrets, now_s)
        payload = _payload(request.body)
        action, person, channel = _click(payload)
        ask, id = str(action["value"]), str(person["id"])
        answer: dict[str, Json] = {
            "event": action["action_id"],
            "channel": {"type": "slack", "identifier": channel.get("name") or channel.get("id")},
        }
        try:
            name = await self._engine.whois(ask, "slack", id)
            await self._engine.answer(ask, answer, by=f"slack:{id}/{name}")
        except GreenroomError as refused:
            return _told("\n".join([refused.message, *([refused.hint] if refused.hint else [])]))
        return _told(f"{action['action_id']} by {name}")


def _payload(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(parse_qs(body.decode("utf-8"))["payload"][0])
    except (UnicodeDecodeError, KeyError, msgspec.DecodeError):
        raise InvalidRequest("this is no click: its form has no payload in JSON") from None
    if not isinstance(found, dict):
        raise InvalidRequest("this is no click: its payload is no object")
    return found


def _click(payload: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    actions, person = payload.get("actions"), payload.get("user")
    channel = payload.get("channel")
    action = actions[0] if isinstance(actions, list) and actions else None
    if (
        not isinstance(action, dict)
        or not isinstance(person, dict)
        or not isinstance(person.get("id"), str)
        or action.get("action_id") not in ("approve", "deny")
        or not isinstance(action.get("value"), str)
    ):
        raise InvalidRequest("this is no click on a request")
    return action, person, channel if isinstance(channel, dict) else {}


def _told(text: str) -> HookResponse:
    """Said to whoever clicked, and nobody else."""
    return HookResponse(
        200, {"response_type": "ephemeral", "replace_original": False, "text": text}
    )
