"""What starts an instance of a document: the trigger of its source, and a direct start.

A source reads the data of an event. Its condition becomes one on the whole event, which the index of
the router and a later explanation know how to read. A direct start is as strict as the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from greenroom.definitions.documents import Source
from greenroom.definitions.errors import ConditionFailed
from greenroom.definitions.evaluation import Meter
from greenroom.definitions.expressions import (
    Value,
    compile_expression,
    is_expression,
    steps_text,
)
from greenroom.definitions.matching import compile_where
from greenroom.definitions.roots import wrapped
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.transforms import Transform
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Trigger


def trigger_of(name: str, source: Source, key: Value | None) -> Trigger:
    """The trigger of a source. Its condition, transform and key read the data of the event."""
    condition = None if source.condition is None else over_data(source.condition.source)
    return Trigger(
        source.event_type,
        compile_where(condition),
        None if key is None else key.through(_data_of),
        _input_of(source.transform),
        schedule=source.schedule,
        schedule_id=None if source.schedule is None else name,
        collect=source.collect,
    )


def over_data(condition: dict[str, Json]) -> dict[str, Json]:
    """A condition on the data of an event as one on the event, which an index and a later
    explanation know how to read."""
    criteria = [
        {
            **criterion,
            "attributes": [
                {**one, "attribute": _in_data(one["attribute"]), "value": _in_data(one["value"])}
                for one in criterion["attributes"]
            ],
        }
        for criterion in condition["criteria"]
    ]
    return {**condition, "criteria": criteria}


def _in_data(value: Json) -> Json:
    if not is_expression(value):
        return value
    expression = compile_expression(value[len(PREFIX) :])
    if expression.path is None:
        return f"{PREFIX}data | ({expression.text})"
    return f"{PREFIX}data" + (f".{steps_text(expression.path)}" if expression.path else "")


def _data_of(event: Json) -> Json:
    return event.get("data")


def _input_of(transform: Transform | None) -> Value:
    def make(event: Json, meter: Meter, variables: Mapping[str, Json]) -> Json:
        data = event.get("data")
        return wrapped(data if transform is None else started_with(transform, data))

    return Value(None if transform is None else transform.source, make, [])


def started_with(transform: Transform | None, data: Json) -> Json:
    """The first state an input gives."""
    return data if transform is None else transform.apply({}, data)


def opening_of(source: Source | None) -> Callable[[Json], dict[str, Json]]:
    """A direct start is as strict as the source, and changes the input as it does."""

    def opening(input: Json) -> dict[str, Json]:
        if source is None:
            return wrapped(input)
        if source.condition is not None and not source.condition.holds(input):
            blamed = source.condition.first_failure(input)
            raise ConditionFailed(
                f"the condition of the source does not hold: {blamed}",
                hint="give another input; raw=True starts without asking",
                finding=None if blamed is None else blamed.as_data(),
            )
        return wrapped(started_with(source.transform, input))

    return opening
