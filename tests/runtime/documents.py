"""A kind of document for tests of what is done with documents: a line of steps by name.

{"name": "welcome", "on": "user.created", "steps": ["greet", "ask"], "enabled": true}
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from greenroom import ask_step, begin, done, step, workflow
from greenroom.definitions.declare import definition_of
from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.workflow import Definition, data_hash


@step("greet")
async def greet() -> dict[str, object]:
    return {"greeted": True}


@step("thank")
async def thank() -> dict[str, object]:
    return {"thanked": True}


STEPS: dict[str, Any] = {"greet": greet, "thank": thank, "ask": ask_step("Go on?", key="ask")}


def read(document: Any, place: str) -> Definition:
    given = json.loads(document) if isinstance(document, str) else document
    problems = [
        Problem(f"$.steps[{i}]", f"there is no step {name}", place)
        for i, name in enumerate(given.get("steps", []))
        if name not in STEPS
    ]
    if "name" not in given:
        problems.append(Problem("$.name", "a workflow needs a name", place))
    if problems:
        raise InvalidDefinition(place, problems)
    counted = {name: given[name] for name in given if name not in ("enabled", "description")}

    def line() -> Any:
        found = begin
        for name in given["steps"]:
            found = found >> STEPS[name]
        return found >> done

    options = {name: given[name] for name in ("on", "where", "key", "schedule") if name in given}
    made = definition_of(workflow(name=given["name"], **options)(line))
    return dataclasses.replace(
        made, hash=data_hash(counted), source=place, enabled=given.get("enabled")
    )
