"""The table of methods: parameters, words for what is wrong, and what reaches the engine."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.definitions.errors import GreenroomError, InvalidRequest, NotFound
from greenroom.runtime import calls, shapes


async def test_only_what_was_given_reaches_the_engine(fake_engine: Any) -> None:
    await calls.run(fake_engine, "start", {"workflow": "order", "input": {"n": 1}}, "uid:1/a")
    await calls.run(
        fake_engine, "start", {"workflow": "order", "key": None, "request_id": "r"}, None
    )
    assert fake_engine.log == [
        ("start", "order", {"n": 1}, {"by": "uid:1/a"}),
        ("start", "order", None, {"key": None, "request_id": "r", "by": None}),
    ]


async def test_start_gives_the_shape_of_its_handle(fake_engine: Any) -> None:
    reply = await calls.run(fake_engine, "start", {"workflow": "order", "key": "7"}, None)
    assert reply == shapes.Started("0193-new", "7", "running", True)


async def test_verbs_of_nouns_are_found(fake_engine: Any) -> None:
    assert len(await calls.run(fake_engine, "schedules.next", {"name": "s", "count": 3}, None)) == 3
    assert (await calls.run(fake_engine, "schedules.list", {}, None))[0].id == "s-1"


async def test_looking_does_not_record_who_looked(fake_engine: Any) -> None:
    await calls.run(fake_engine, "get", {"instance": "i"}, "uid:1/a")
    assert fake_engine.log == [("get", "i")]


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("puase", {}, 'unknown method "puase"; did you mean "pause"?'),
        ("xyzzy", {}, 'unknown method "xyzzy"'),
        ("pause", {"instnace": "i"}, 'pause takes no "instnace"; did you mean "instance"?'),
        ("pause", {}, 'pause needs "instance"'),
        ("pause", {"instance": 7}, "expected `str`, got `int` at $.params.instance"),
        ("history", {"instance": "i", "limit": "x"}, "$.params.limit"),
        ("ping", {"loud": True}, 'ping takes no "loud"'),
        ("skip", {"instance": "i"}, 'skip needs "op"'),
    ],
)
async def test_a_wrong_request_says_what_and_how_to_mend_it(
    fake_engine: Any, method: str, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await calls.run(fake_engine, method, params, None)
    assert words in caught.value.message
    assert fake_engine.log == []


async def test_errors_of_the_engine_pass_and_faults_are_wrapped(fake_engine: Any) -> None:
    with pytest.raises(NotFound):
        await calls.run(fake_engine, "get", {"instance": "missing"}, None)
    with pytest.raises(GreenroomError, match="internal error in get: ZeroDivisionError"):
        await calls.run(fake_engine, "get", {"instance": "bug"}, None)


def test_every_method_of_the_table_can_be_read_empty_or_says_what_it_needs() -> None:
    for name, call in (calls.CALLS | calls.STREAMS).items():
        try:
            calls.read(name, call.params, {})
        except InvalidRequest as error:
            assert "needs" in error.message
