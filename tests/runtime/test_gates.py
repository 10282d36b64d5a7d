"""`only_if`: what may start. `classify`: what failures are called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import (
    ConditionFailed,
    InstanceFailed,
    InvalidDefinition,
    begin,
    child,
    done,
    retrystep,
    step,
    workflow,
)
from tests.runtime.kits import MemoryEngine


def in_stock(sku: str, n: int = 1) -> bool | str:
    if sku == "odd":
        raise KeyError(sku)
    return n < 10 or f"{n} of {sku} are too many"


@workflow(on="order.created", key="::data.id", only_if=in_stock)
async def order(sku: str, n: int = 1) -> str:
    return f"{n} {sku}"


@workflow(only_if="data.total > `0`")
async def bill(total: int) -> int:
    return total


@workflow
async def shop(n: int) -> Any:
    return await child(order, {"sku": "a", "n": n})


class Unavailable(Exception):
    pass


def named(error: Exception) -> str | None:
    if isinstance(error, Unavailable):
        return "api_unavailable"
    if isinstance(error, ZeroDivisionError):
        raise TypeError("never divide")
    return "No Label" if isinstance(error, KeyError) else None


@step("call")
async def call(how: str = "") -> dict[str, Any]:
    raise {"down": Unavailable, "zero": ZeroDivisionError, "key": KeyError}.get(how, ValueError)(
        "x"
    )


@retrystep("again", delay="1m")
async def again() -> dict[str, Any]:
    raise Unavailable("down")


@workflow(classify=named)
def calls() -> Any:
    return begin >> call >> done


@workflow(classify=named)
def retries() -> Any:
    return begin >> again >> done


@workflow(classify=named)
async def program(how: str) -> None:
    await call(how)


@pytest.fixture
async def kit() -> AsyncIterator[MemoryEngine]:
    async with MemoryEngine(order, bill, shop, calls, retries, program) as engine:
        yield engine


async def test_a_start_is_refused_with_the_reason_and_nothing_is_stored(kit: MemoryEngine) -> None:
    head = (await kit.info()).head
    for input, why in (
        ({"sku": "a", "n": 10}, "10 of a are too many"),
        ({"sku": "odd"}, "in_stock raised KeyError"),
    ):
        with pytest.raises(ConditionFailed, match=why):
            await kit.start("order", input)
    with pytest.raises(ConditionFailed, match="total"):
        await kit.start("bill", {"total": 0})
    assert (await kit.info()).head == head
    assert await (await kit.start("order", {"sku": "a"})).result() == "1 a"
    assert await (await kit.start("bill", {"total": 1})).result() == 1


async def test_an_event_a_parent_and_a_restart_are_asked_too(kit: MemoryEngine) -> None:
    accepted = await kit.post({"type": "order.created", "data": {"id": "1", "sku": "a", "n": 99}})
    (match,) = accepted.matched
    assert (match.action, match.code, match.key) == ("refused", "condition_failed", "1")
    said = (await kit.events.explain(accepted.id)).text
    assert "order may not start: 99 of a are too many" in said
    await kit.definitions.disable("order")
    quiet = await kit.post({"type": "order.created", "data": {"id": "2", "sku": "a"}})
    assert quiet.matched == []
    assert "it is disabled" in (await kit.events.explain(quiet.id)).text
    await kit.definitions.enable("order")
    parent = await kit.start("shop", {"n": 99})
    with pytest.raises(InstanceFailed, match="may not start: 99 of a"):
        await parent.result()
    fine = await kit.start("order", {"sku": "a"})
    with pytest.raises(ConditionFailed):
        await kit.fork(fine.id, input={"sku": "a", "n": 10})


async def test_only_if_cannot_wait_and_its_change_is_a_new_version() -> None:
    async def slow() -> bool:
        return True

    with pytest.raises(InvalidDefinition, match="plain function"):
        workflow(only_if=slow)(lambda: begin >> done)

    def hash_of(condition: Any) -> str:
        def line() -> Any:
            return begin >> call >> done

        found: Any = workflow(name="line", only_if=condition)(line)
        return str(found.__greenroom__.hash)

    assert len({hash_of(c) for c in (None, "data.a", "data.b", "data.b", in_stock)}) == 4


async def test_failures_have_the_label_of_the_workflow(kit: MemoryEngine) -> None:
    down = await kit.start("calls", {"how": "down"})
    other = await kit.start("calls", {"how": ""})
    code = await kit.start("program", {"how": "down"})
    await kit.until_idle()
    found = {item.id for item in (await kit.list("error:api_unavailable")).items}
    assert found == {down.id, code.id}
    for id in found:
        error = (await kit.get(id)).error
        assert (error.code, error.details["kind"]) == ("step_failed", "api_unavailable")
    every = {item.id for item in (await kit.list("error:step_failed")).items}
    assert every == {down.id, code.id, other.id}
    assert "kind" not in (await kit.get(other.id)).error.details
    await kit.crash()
    assert len((await kit.list("error:api_unavailable")).items) == 2


async def test_a_label_is_there_while_it_is_retried(kit: MemoryEngine) -> None:
    handle = await kit.start("retries", {})
    await kit.quiet()
    (wait,) = (await kit.get(handle.id)).waits
    assert wait.error is not None and wait.error.details["kind"] == "api_unavailable"


@pytest.mark.parametrize(("how", "said"), [("zero", "never divide"), ("key", "not a label")])
async def test_a_classifier_that_is_wrong_hides_no_failure(
    kit: MemoryEngine, how: str, said: str
) -> None:
    handle = await kit.start("calls", {"how": how})
    await kit.until_idle()
    error = (await kit.get(handle.id)).error
    assert error.code == "step_failed" and said in str(error.details["classify"])
