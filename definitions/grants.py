"""What a document uses of the world, and what of it somebody has to approve.

Whoever writes a document is not trusted with services and secrets. What it uses is read off the
document itself, so there is no second list to keep; each use is one text:

    connector:slack      calls its actions, or starts on its events
    secret:hook          names `secret://hook` in a parameter
    event:*              emits, or waits for, a type that is computed when it runs
    event:order.done     emits, or listens to, events of this type
    step:reserve         calls a step that code has put on offer
    workflow:order       starts another workflow

The first three are approved by whoever releases a version of the workflow: they are its *grants*.
The others are shown and need nobody: what they reach stands in the document as it was read, and
code has put it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from greenroom.definitions.credentials import SCHEME, is_secret_name
from greenroom.definitions.expressions import is_expression
from greenroom.definitions.values import Json, texts_in

if TYPE_CHECKING:  # start-up time: an engine asks of grants, and may have no document
    from greenroom.definitions.actions import Action
    from greenroom.definitions.documents import Document

ANY_EVENT: Final = "event:*"
CONNECTOR: Final = "connector:"
SECRET: Final = "secret:"

_EVENTS: Final = ("CustomEvent", "WaitForEvent")


def uses_of(document: Document) -> tuple[str, ...]:
    """All that a document uses, each once, sorted."""
    found: set[str] = set()
    if document.source is not None:
        service = document.source.connector
        if service is not None:
            found.add(CONNECTOR + service)
        if document.source.event_type is not None:
            found.add("event:" + document.source.event_type)
    for action in document.all_actions():
        found.update(_uses(action))
        if action.undo is not None:
            found.update(_uses(action.undo))
    return tuple(sorted(found))


def _uses(action: Action) -> Iterable[str]:
    if action.service is not None:
        yield CONNECTOR + action.service.connector.id
        for name in secrets_in(action.given):
            yield SECRET + name
    if action.kind in _EVENTS:
        type = action.given.get("event_type")
        constant = isinstance(type, str) and not is_expression(type) and "{" not in type
        yield f"event:{type}" if constant else ANY_EVENT
    elif action.kind == "Call":
        yield f"step:{action.given.get('step')}"
    elif action.kind == "RunWorkflow":
        yield f"workflow:{action.given.get('workflow_id')}"


def secrets_in(value: Json) -> set[str]:
    """The secrets that a value names: `{"hook"}` of `{"headers": {"X-Key": "secret://hook"}}`."""
    named = (text.removeprefix(SCHEME) for text in texts_in(value) if text.startswith(SCHEME))
    return set(filter(is_secret_name, named))


def needs_approval(use: str) -> bool:
    return use == ANY_EVENT or use.startswith((CONNECTOR, SECRET))


def missing(uses: Iterable[str], grants: Collection[str]) -> list[str]:
    """The uses that nobody has approved."""
    return [use for use in uses if needs_approval(use) and use not in grants]
