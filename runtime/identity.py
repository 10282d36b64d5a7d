"""Who may answer a question.

An assignee is a label: anybody may answer and what is journaled says who did. Where a question, or
the engine, enforces it, only the assignee may: the person named, or a member of the team.

A name that is only given (`ann via uid:1000/bo`) counts where the owner of the daemon gives it, at
its socket. Over an API key or after a sign-in somebody is who the key or the sign-in says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from greenroom.definitions.people import actor_of

TEAM: Final = "team:"


def person(by: str | None) -> str | None:
    """The person a caller is, or acts for."""
    if by is None:
        return None
    actor = actor_of(by)
    return actor.username if actor.spoken_for is None or actor.owner else actor.spoken_for


def may_answer(by: str | None, assignee: str, teams: Mapping[str, Sequence[str]]) -> bool:
    """Whether the caller is the assignee, or belongs to the team that is."""
    who = person(by)
    wanted = assignee.removeprefix("user:")
    if wanted.startswith(TEAM):
        return who in teams.get(wanted.removeprefix(TEAM), ())
    return who == wanted
