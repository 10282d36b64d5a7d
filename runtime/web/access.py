"""Who asks over HTTP, and what they may.

A *scope* is a word, for `publish`, `start` and `answer` with the event types, workflows or
assignees it is limited to:
`publish:order.*` lets events of these types be posted, `publish` any. `admin` is everything.
Which scope a route needs stands in the table of routes; here is only whether a caller holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from greenroom.definitions.errors import InvalidRequest, NotAuthenticated, NotPermitted
from greenroom.definitions.suggest import did_you_mean

SCOPES: Final = {
    "publish": "post events (publish:order.* only these types)",
    "start": "start instances (start:order only this workflow)",
    "read": "look at everything",
    "answer": "answer open questions (answer:noc only those assigned to noc)",
    "control": "pause, resume, cancel, skip, restart, fork, send; pause and trigger schedules",
    "define": "push definitions",
    "promote": "release definitions",
    "admin": "everything, API keys and backups too",
}

LIMITED: Final = frozenset({"publish", "start", "answer"})
"""Scopes that may be limited to a subject."""

Way = Literal["peer", "key", "oidc", "session", "open", "host", "none"]


class Caller(msgspec.Struct, frozen=True):
    """Who asks. `by` is recorded with what they do; `way` is how they proved it."""

    by: str | None
    scopes: tuple[str, ...]
    way: Way
    session: str = ""
    """The id of the browser's session; CSRF tokens are bound to it."""
    groups: tuple[str, ...] = ()
    """Those an identity provider says they belong to."""

    def may(self, scope: str, subject: str | None = None) -> bool:
        """Whether they hold a scope; `subject` is the event type, workflow or assignee in question, None:
        whether they hold it for any."""
        return any(_allows(held, scope, subject) for held in self.scopes)

    def is_limited(self, scope: str) -> bool:
        """Whether they hold the scope for some subjects only."""
        return not any(held in (scope, "admin", f"{scope}:*") for held in self.scopes)

    def must(self, scope: str, subject: str | None = None) -> None:
        """Raises `NotAuthenticated` or `NotPermitted`. Nothing was looked up before: the answer is
        the same whether what they ask about exists or not."""
        if self.may(scope, subject):
            return
        if self.way == "none":
            raise NotAuthenticated(
                "this needs an API key",
                hint="make one:  greenroom key create NAME --scope read\n"
                "then send:  Authorization: Bearer KEY   (greenroom's clients: GREENROOM_KEY=KEY)",
            )
        wanted = f"{scope}:{subject}" if subject is not None and scope in LIMITED else scope
        raise NotPermitted(
            f"this needs the scope {wanted}; {self.by or 'this caller'} has "
            f"{' '.join(self.scopes) or 'none'}",
            scope=wanted,
        )


NOBODY: Final = Caller(None, (), "none")


def _allows(held: str, scope: str, subject: str | None) -> bool:
    word, _, limit = held.partition(":")
    if word == "admin":
        return True
    if word != scope:
        return False
    if not limit or subject is None:
        return True
    if limit.endswith("*"):
        return subject.startswith(limit[:-1])
    return subject == limit


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """The scopes as they are kept. Raises `InvalidRequest` for unknown ones."""
    found: list[str] = []
    for scope in scopes:
        word, mark, limit = scope.partition(":")
        if word not in SCOPES:
            known = ", ".join(SCOPES)
            raise InvalidRequest(
                f'there is no scope "{word[:80]}"{did_you_mean(word, list(SCOPES))}',
                hint=f"scopes are {known}",
            )
        if mark and (word not in LIMITED or not limit or "*" in limit[:-1]):
            raise InvalidRequest(
                f'"{scope[:80]}" is not a scope: only publish, start and answer are limited, by a '
                "name or a beginning of one (publish:order.*)"
            )
        if scope not in found:
            found.append(scope)
    if not found:
        raise InvalidRequest("a key needs a scope", hint=f"scopes are {', '.join(SCOPES)}")
    return tuple(found)


def known_scopes(words: Sequence[str]) -> tuple[str, ...]:
    """Those of somebody else's words that are scopes of ours; the others mean nothing here."""
    kept: list[str] = []
    for word in words:
        try:
            kept += check_scopes([word])
        except InvalidRequest:
            continue
    return tuple(dict.fromkeys(kept))
