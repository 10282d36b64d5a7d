"""What a step returned, made data: the resources in it become what is saved with its outcome."""

from __future__ import annotations

import uuid
from typing import Any, Final

from greenroom.actors.ports import ResourceSave
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.resources import Resource, changes_of, resources_in, row_of
from greenroom.definitions.values import encode

_IDS: Final = uuid.UUID("6b1f2f5e-0a52-5a0b-9c0e-2f6f3f0a7d11")
"""The name space of the ids of new resources."""


def new_resource_id(instance: str, op: str, name: str) -> uuid.UUID:
    """The id of a resource that a step makes for a parameter: the same in every attempt, so that
    what an attempt told the world before a crash still fits."""
    return uuid.uuid5(_IDS, f"{instance}/{op}/{name}")


def saves_in(value: Any, step: str, op: str, attempt: int) -> list[ResourceSave]:
    """The resources anywhere in a returned value that differ from the store.

    Raises `InvalidInput` where one resource is there twice and not the same.
    """
    found: dict[uuid.UUID, Resource] = {}
    for one in resources_in(value):
        known = found.setdefault(one.id, one)
        if known is not one and known != one:
            raise InvalidInput(
                f"{step} returned the resource {one.id} twice, and not the same",
                hint="change the object that the step was given, and return that one",
                resource=str(one.id),
            )
    saves = []
    for one in found.values():
        changes = changes_of(one)
        if changes:
            saves.append(ResourceSave(row_of(one), encode(changes), op, attempt))
    return saves
