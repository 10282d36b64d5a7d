"""Events: what is refused, and where it says so."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.definitions.errors import InvalidEvent
from greenroom.definitions.events import Event, check_event, event_from


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({}, "$.type"),
        ({"type": ""}, "$.type"),
        ({"type": "a", "payload": 1}, "$.payload"),
        ({"type": "a", "id": 7}, "$.id"),
        ({"type": "a", "time": "soon"}, "$.time"),
        ({"type": "a" * 257}, "$.type"),
        ({"type": "a", "deep": {}}, "$.deep"),
        ([], "$"),
    ],
)
def test_a_wrong_attribute_is_named(data: Any, path: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        event_from(data)
    assert caught.value.details["path"] == path


def test_what_is_no_object_is_told_how_an_event_looks() -> None:
    for given, type in [("order.paid", "order.paid"), ("", "order.created"), (7, "order.created")]:
        with pytest.raises(InvalidEvent, match="must be an object, got") as caught:
            event_from(given)
        assert caught.value.hint == f'at least its type:  {{"type":"{type}"}}'


def test_an_event_made_in_python_follows_the_same_rules() -> None:
    with pytest.raises(InvalidEvent):
        check_event(Event(type="a", time="soon"))
    assert check_event(Event(type="a", time="2026-11-23T12:00:00Z")).type == "a"
