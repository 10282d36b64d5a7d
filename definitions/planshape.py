"""The stored form of a plan: enough to draw it, and to follow it with the functions of today.

An instance keeps the plan of its version for life. The store has its shape; each node is bound by
its fixed key to the node that today's code has there, or is left empty, which parks who comes to it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Lane, Node, Plan, prefix_inside


class NodeShape(msgspec.Struct):
    """What is unset is left out: a plan without structure has the shape it had in release 0.1."""

    key: str
    name: str
    kind: str = "call"
    guards: list[str] = []
    mode: str | None = None
    retry: Json = None
    lanes: list[LaneShape] | UnsetType = UNSET
    undo: str | UnsetType = UNSET
    inline: bool | UnsetType = UNSET
    restart: bool | UnsetType = UNSET


class LaneShape(msgspec.Struct):
    name: str
    nodes: list[NodeShape]
    guard: str | UnsetType = UNSET


class PlanShape(msgspec.Struct, frozen=True):
    """What the store keeps of a plan."""

    nodes: list[NodeShape]


def plan_shape(plan: Plan) -> PlanShape:
    return PlanShape([_node_shape(node) for node in plan.nodes])


def _node_shape(node: Node) -> NodeShape:
    target = node.target
    return NodeShape(
        node.key,
        node.name,
        node.kind,
        [guard.name for guard in node.guards],
        target.mode if target else None,
        msgspec.to_builtins(target.retry) if target and target.retry else None,
        [_lane_shape(lane) for lane in node.lanes] or UNSET,
        node.undo.name if node.undo else UNSET,
        node.inline or UNSET,
        node.restart or UNSET,
    )


def _lane_shape(lane: Lane) -> LaneShape:
    return LaneShape(
        lane.name,
        [_node_shape(node) for node in lane.nodes],
        lane.guard.name if lane.guard else UNSET,
    )


def bind(shape: PlanShape, today: Plan) -> Plan:
    """The plan of an older version with the functions of today."""
    return Plan.of(tuple(_bound(node, "", today) for node in shape.nodes))


def _bound(shape: NodeShape, prefix: str, today: Plan) -> Node:
    fixed = prefix + shape.key
    place = today.places.get(fixed)
    found = place.node if place is not None and place.node.kind == shape.kind else None
    kind: Any = shape.kind
    node = found if found is not None else Node(shape.key, shape.name, kind)
    if not shape.lanes:
        return msgspec.structs.replace(node, name=shape.name)
    inline = shape.inline is True
    inner = prefix_inside(kind, fixed, prefix if inline else None)
    lanes = tuple(
        Lane(
            lane.name,
            tuple(_bound(one, inner, today) for one in lane.nodes),
            next((now.guard for now in node.lanes if now.name == lane.name), None),
        )
        for lane in shape.lanes
    )
    return msgspec.structs.replace(
        node, name=shape.name, lanes=lanes, inline=inline, restart=shape.restart is True
    )
