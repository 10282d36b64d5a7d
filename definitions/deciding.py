"""Who decides a request, in whose right, and how many have.

A vote has three names: who gave it, on whose *authority* (their own, or of whom they stand in for)
and by whose *hand* (who showed a key, where a name was only given). None of the three counts twice
in a quorum: not by handing a decision on, and not by speaking for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.definitions.destinations import Destination, route_from
from greenroom.definitions.people import actor_of
from greenroom.definitions.permissions import authorities, may_decide, permission_from
from greenroom.definitions.values import Json

if TYPE_CHECKING:
    from greenroom.definitions.flows import Flow

State = Mapping[str, Any]

CONCERNED_MAX: Final = 50


class Vote(msgspec.Struct, frozen=True):
    """One voice of a quorum, as the state of a request keeps it."""

    actor: str
    authority: str
    hand: str

    def as_data(self) -> Json:
        return msgspec.to_builtins(self)


def hand_of(actor: str, by: str | None) -> str:
    """Who acted, where `actor` is the name that counts. The owner of the daemon is believed: they
    could write its store."""
    said = actor_of(by) if by else None
    return said.spoken_for if said and said.spoken_for and not said.owner else actor


def told(state: State) -> tuple[Destination, ...]:
    """The destinations a request was delivered to."""
    return route_from(state["route"]).so_far(int(state["stage"]))


def refusal(flow: Flow, state: State, event: str, actor: str, hand: str) -> str | None:
    """Why `actor` may not fire an event of a request; None if they may. What does not decide may
    also be done by whoever asked and whoever decided (a revoke)."""
    row = flow.template.events[event]
    if not row.decides and actor in (state["user"], *state["actors"].values()):
        return None
    why = may_decide(
        permission_from(state["permission"]), actor, hand, str(state["user"]), told(state),
        flow.roles, state["delegates"],
    )  # fmt: skip
    if why is None and row.quorum and vote_of(flow, state, actor, hand) is None:
        return f"{actor} has approved this before; others must too"
    return why


def vote_of(flow: Flow, state: State, actor: str, hand: str) -> Vote | None:
    """The vote of somebody who may decide; None where it would count again."""
    given = [msgspec.convert(vote, Vote) for vote in state["votes"]]
    if any(actor == vote.actor or hand == vote.hand for vote in given):
        return None
    spent = {vote.authority for vote in given}
    free = [one for one in _authorities(flow, state, actor) if one not in spent]
    return Vote(actor, free[0], hand) if free else None


def handed_on(flow: Flow, state: State, actor: str, to: str) -> dict[str, list[str]]:
    """The stand-ins of a request once `actor` has handed the decision to another. What was handed to
    `actor` goes on with it: a chain ends at whom it began with."""
    known = {name: list(given) for name, given in state["delegates"].items()}
    known[to] = list(dict.fromkeys([*known.get(to, ()), *_authorities(flow, state, actor)]))
    return known


def is_decided(flow: Flow, state: State) -> bool:
    """Whether enough have approved: as many as the flow needs, or everybody who was asked or a
    stand-in of theirs."""
    votes = [msgspec.convert(vote, Vote) for vote in state["votes"]]
    if flow.needs != "all":
        return len(votes) >= int(flow.needs)
    heard = {vote.authority for vote in votes}
    for vote in votes:
        heard |= set(state["delegates"].get(vote.actor, ()))
    return bool(votes) and _asked(flow, state) <= heard


def concerned(flow: Flow, state: State) -> list[str]:
    """Whose names matter to a request: who asked first, then who may decide. Not more than can be
    looked up while somebody waits; who is left out is nobody that is known, and may not decide."""
    permission = permission_from(state["permission"])
    found = [str(state["user"])]
    for one in told(state):
        found += one.people() or ()
    for people in (permission.people, state["delegates"], *flow.roles.values()):
        found += people
    return list(dict.fromkeys(found))[:CONCERNED_MAX]


def _asked(flow: Flow, state: State) -> set[str]:
    permission = permission_from(state["permission"])
    named = {*permission.people, *flow.roles.get(permission.level or "", ())}
    for stage in route_from(state["route"]).stages:
        for one in stage:
            named |= set(one.people() or ())
    return named - {state["user"]}


def _authorities(flow: Flow, state: State, actor: str) -> list[str]:
    return authorities(
        permission_from(state["permission"]), actor, told(state), flow.roles, state["delegates"]
    )
