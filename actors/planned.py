"""What a plan says of an op, by its key."""

from __future__ import annotations

from greenroom.actors.frames import UNDONE, seen_from
from greenroom.actors.progress import Progress
from greenroom.actors.spots import UNDO, fixed, locate
from greenroom.definitions.injection import VIRTUAL
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Node, Target


def node_of(definition: Definition, key: str) -> Node | None:
    """The node of an op; None where the plan has no such place."""
    places = definition.plan.places
    place = places.get(key) or places.get(fixed(key))
    return None if place is None else place.node


def target_in(definition: Definition, key: str) -> Target | None:
    """The function an op of a plan runs, or the form of a question."""
    place = definition.plan.places.get(key)
    if place is not None:  # the hot path
        return place.node.target
    if key.startswith(UNDO):
        return undo_of(definition, key.removeprefix(UNDO))
    node = node_of(definition, key)
    return None if node is None else node.target


def undo_of(definition: Definition, key: str) -> Target | None:
    node = node_of(definition, key)
    return None if node is None else node.undo


def view_of(definition: Definition, p: Progress, key: str) -> dict[str, Json]:
    """The state that the code of an op sees. Not a copy."""
    if not p.frames:
        return p.state
    if key.startswith(UNDO):
        names = p.frames.get(UNDONE, {}).get(key.removeprefix(UNDO))
        return {**p.state, **names} if isinstance(names, dict) else p.state
    spot = locate(definition.plan, key)
    if spot is None or not spot.lanes:
        return p.state
    return seen_from(p.state, [p.frames.get(lane, {}) for lane in spot.lanes])


def callback_around(definition: Definition, key: str) -> tuple[str, str] | None:
    """The question of the callback an op belongs to, and the name its steps are given the route
    under."""
    spot = locate(definition.plan, key)
    scope = spot.scope if spot is not None else None
    if spot is None or scope is None:
        return None
    for node in spot.place.line:
        if node.ask is not None and node.ask.early:
            return spot.prefix + node.key, node.ask.route_key
    return None


def merges(definition: Definition, key: str) -> bool:
    """Whether the outcome of an op is merged as it is, and must be a dict for that."""
    place = definition.plan.places.get(key)
    if place is not None and place.plain:  # the hot path
        return True
    node = node_of(
        definition, key.removeprefix(UNDO)
    )  # who says what a step changes says it of both
    return node is None or (node.after is None and node.kind == "call")


def result_problem(value: Json) -> str | None:
    """Why a step's result cannot be merged; None when it can."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return f"a step must return a dict or None, got {type(value).__name__}"
    if not VIRTUAL.isdisjoint(value):
        reserved = sorted(VIRTUAL.intersection(value))
        return f'a step may not return "{reserved[0]}": the name belongs to the engine'
    return None
