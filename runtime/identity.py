"""Who may answer a question.

An assignee is a label: anybody may answer and what is journaled says who did. Where a question, or
the engine, enforces it, only the assignee may: the person named, or a member of the team.

`by` is what a face says of the caller. `ann` is a name given in Python; `ann via uid:1000/bo` a name
given by a local program or an API key, which answer for what they say; `ann via oidc:bo` one that
somebody who signed in would like to be taken for, who is `bo` all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

TEAM: Final = "team:"
_TRUSTED: Final = ("uid:", "key:")


def person(by: str | None) -> str | None:
    """The person a caller acts for."""
    if by is None:
        return None
    said, via, caller = by.rpartition(" via ")
    if not via or caller.startswith(_TRUSTED):
        return said or caller
    return caller


def may_answer(by: str | None, assignee: str, teams: Mapping[str, Sequence[str]]) -> bool:
    """Whether the caller is the assignee, or belongs to the team that is."""
    who = person(by)
    if who is None:
        return False
    names = {who, who.partition(":")[2]} - {""}  # `oidc:ann` is ann
    wanted = assignee.removeprefix("user:")
    if wanted.startswith(TEAM):
        return bool(names.intersection(teams.get(wanted.removeprefix(TEAM), ())))
    return wanted in names
