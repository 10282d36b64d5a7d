"""Input steps and initial forms on a running engine: rows W3, W4, W5 and the table of 4.4, on both
stores, in step lists and in programs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    AlreadyDecided,
    AlreadyRunning,
    Assignee,
    CodeChanged,
    FormError,
    FormGenerator,
    FormInvalid,
    FormNotComplete,
    FormOverflow,
    FormPage,
    InvalidDefinition,
    InvalidRequest,
    NoSuchAsk,
    Rejected,
    State,
    begin,
    conditional,
    done,
    inject_args,
    inputstep,
    step,
    workflow,
)
from tests.runtime.kits import FileEngine, MemoryEngine

RUNS: list[str] = []


class Form(FormPage):
    ok: bool
    comment: str = ""


class Why(FormPage):
    why: str
    n: int = 0


@inputstep("Approve", assignee=Assignee.NOC, due="2d")
def approve(state: State) -> FormGenerator:
    RUNS.append(threading.current_thread().name)
    user_input = yield Form
    if not user_input.ok:
        reason = yield Why
        return {"ok": False, "why": reason.why, "n": reason.n}
    return {**user_input.model_dump(), "approved_by": "noc", "saw": state.get("order_id")}


@inputstep("Note", key="note")
def note() -> Any:
    return Form


@inputstep("Break")
def breaks(say: str) -> FormGenerator:
    yield Form
    raise LookupError(f"no {say}")


@inputstep("Odd", assignee="team:x")
def odd() -> FormGenerator:
    yield Form(ok=True)
    return {}


@step("After")
def after(state: State) -> State:
    return {"after": sorted(state)}


@workflow
def listed() -> Any:
    return begin >> approve >> after >> done


@workflow
async def program(order_id: str) -> Any:
    answer = await approve({"order_id": order_id})
    return {"answer": answer}


@workflow
def noted() -> Any:
    return begin >> note >> done


@workflow
def broken() -> Any:
    return begin >> breaks >> done


@workflow
def strange() -> Any:
    return begin >> odd >> done


@workflow
def guarded() -> Any:
    return begin >> conditional(lambda state: state["big"])(approve) >> after >> done


class Details(FormPage):
    order_id: str
    total: int


def order_form(workflow_name: str, sku: str = "A1") -> FormGenerator:
    details = yield Details
    if details.total > 100:
        reason = yield Why
        return {**details.model_dump(), "why": reason.why}
    return {**details.model_dump(), "sku": sku, "of": workflow_name}


@workflow(initial_input_form=order_form, key="::data.order_id")
def ordered() -> Any:
    return begin >> after >> done


@workflow(initial_input_form=Details)
async def ordered_program(order_id: str, total: int) -> Any:
    return {"order": order_id, "total": total}


ALL = [listed, program, noted, broken, strange, guarded, ordered, ordered_program]


@pytest.fixture(params=["memory", "file"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    RUNS.clear()
    made = (
        MemoryEngine(*ALL)
        if request.param == "memory"
        else FileEngine(tmp_path / "app.db", *ALL, forms_twice=True)
    )
    async with made:
        yield made


@pytest.fixture(params=["listed", "program"])
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def asked(engine: Any, workflow: str, input: Any = None) -> tuple[Any, Any]:
    """A started instance and its open question."""
    instance = await engine.start(workflow, input if input is not None else {"order_id": "7"})
    await engine.quiet()
    page = await engine.asks.list(f"instance:{instance.id}")
    return instance, page.items[0]


async def unchanged(engine: MemoryEngine, ask: str, data: Any, error: type[Rejected]) -> Rejected:
    """The refusal of an answer, which must not have changed a thing."""
    before = (await engine.info()).head, await engine.get(ask.split(".")[0])
    with pytest.raises(error) as caught:
        await engine.answer(ask, data)
    assert ((await engine.info()).head, await engine.get(ask.split(".")[0])) == before
    return caught.value


# -- W3 ------------------------------------------------------------------------------------------


async def test_w3_the_instance_waits_and_the_function_is_not_run_by_the_engine(
    engine: MemoryEngine, style: str
) -> None:
    instance = await engine.start(style, {"order_id": "7"})
    await engine.quiet()
    assert RUNS == []
    found = await engine.get(instance.id)
    assert (found.status, [wait.kind for wait in found.waits]) == ("waiting", ["form"])
    history = await engine.history(instance.id)
    assert "AskOpened" in [entry.kind for entry in history.items]
    await engine.asks.list()
    assert RUNS
    assert {name.split("_")[0] for name in RUNS} == {"greenroom-form"}


async def test_w3_the_returned_dict_merges_with_its_extra_keys(engine: MemoryEngine) -> None:
    instance, ask = await asked(engine, "listed", {"order_id": "7", "comment": "old", "x": 1})
    reply = await engine.answer(ask.id, {"ok": True, "comment": "fine"}, by="anna")
    assert (reply.ask, reply.instance) == (ask.id, instance.id)
    assert await instance.result() == {
        "order_id": "7", "x": 1, "ok": True, "comment": "fine", "approved_by": "noc", "saw": "7",
        "after": ["approved_by", "comment", "ok", "order_id", "saw", "x"],
    }  # fmt: skip
    history = await engine.history(instance.id)
    answered = next(entry for entry in history.items if entry.kind == "AskAnswered")
    assert answered.by == "anna"


async def test_w3_a_program_takes_the_arguments_of_the_call_and_gets_the_dict(
    engine: MemoryEngine,
) -> None:
    instance, ask = await asked(engine, "program")
    assert ask.title == "Approve"
    await engine.answer(ask.id, [{"ok": "false"}, {"why": "too dear", "n": "20"}])
    assert await instance.result() == {"answer": {"ok": False, "why": "too dear", "n": 20}}


async def test_w3_the_answer_survives_a_crash_and_replays(engine: MemoryEngine, style: str) -> None:
    instance, ask = await asked(engine, style)
    await engine.crash()
    assert (await engine.asks.get(ask.id)).schema == ask.schema
    await unchanged(engine, ask.id, {"ok": False}, FormNotComplete)
    await engine.crash()
    await engine.answer(ask.id, [{"ok": False}, {"why": "x"}])
    await engine.crash()
    found = await engine.result(instance.id)
    assert (found["answer"] if style == "program" else found)["why"] == "x"


async def test_w3_a_form_with_a_side_effect_is_found_in_test_mode(engine: MemoryEngine) -> None:
    count: list[int] = []

    @inputstep("Count")
    def counts() -> FormGenerator:
        count.append(1)
        yield Form
        return {"n": len(count)}

    @workflow
    def counting() -> Any:
        return begin >> counts >> done

    engine.register(counting)
    _, ask = await asked(engine, "counting")
    error = await unchanged(engine, ask.id, {"ok": True}, FormError)
    assert "not pure" in str(error)


async def test_w3_an_instance_started_as_a_test_has_its_forms_run_twice(tmp_path: Path) -> None:
    async with FileEngine(tmp_path / "app.db", listed) as engine:
        for test in (False, True):
            instance = await engine.start("listed", {}, test=test)
            await engine.quiet()
            RUNS.clear()
            await engine.answer(f"{instance.id}.approve", {"ok": True})
            assert len(RUNS) == 1 + test


# -- W4 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (Assignee.NOC, "NOC"), (Assignee.CHANGES, "CHANGES"),
        (Assignee.KLANTSUPPORT, "KLANTSUPPORT"), ("anna@example.org", "anna@example.org"),
        ("team:x", "team:x"), (None, "SYSTEM"), (Assignee.SYSTEM, "SYSTEM"),
    ],
)  # fmt: skip
async def test_w4_the_assignee_is_a_label_on_the_question(given: Any, stored: str) -> None:
    @inputstep("Ask", given)
    def ask_it() -> Any:
        return Form

    @workflow
    def asking() -> Any:
        return begin >> ask_it >> done

    async with MemoryEngine(asking) as engine:
        _, ask = await asked(engine, "asking")
        assert ask.assignee == stored
        assert (await engine.asks.list(f"assignee:{stored}")).items[0].id == ask.id
        assert (await engine.asks.list("assignee:nobody")).items == []


def test_w4_an_assignee_that_is_no_text_is_refused() -> None:
    wrong: Any
    for wrong in (5, "", " "):
        with pytest.raises(InvalidDefinition, match="assignee"):
            inputstep("Ask", assignee=wrong)


# -- W5 ------------------------------------------------------------------------------------------


async def test_w5_yielding_an_object_keeps_the_instance_waiting(
    engine: MemoryEngine, caplog: pytest.LogCaptureFixture
) -> None:
    instance, ask = await asked(engine, "strange")
    assert (ask.schema, ask.pages, ask.assignee) == (None, None, "team:x")
    with caplog.at_level(logging.ERROR, "greenroom.forms"):
        error = await unchanged(engine, ask.id, {"ok": True}, FormError)
    assert "an object of Form instead of the class" in str(error)
    assert "instead of the class" in caplog.text
    assert (await engine.get(instance.id)).status == "waiting"


# -- 4.4, on a running instance --------------------------------------------------------------------


async def test_fewer_pages_change_nothing_and_give_the_next_schema(
    engine: MemoryEngine, style: str
) -> None:
    _, ask = await asked(engine, style)
    assert ask.schema == Form.model_json_schema()
    assert (ask.pages, ask.kind, ask.due) == (1, "form", "2026-01-03T00:00:00.000Z")
    none = await unchanged(engine, ask.id, [], FormNotComplete)
    assert (none.details["page"], none.details["schema"]) == (1, ask.schema)
    error = await unchanged(engine, ask.id, {"ok": False}, FormNotComplete)
    assert (error.details["page"], error.details["schema"]) == (2, Why.model_json_schema())


async def test_an_invalid_page_changes_nothing_and_may_be_answered_again(
    engine: MemoryEngine, style: str
) -> None:
    instance, ask = await asked(engine, style)
    error = await unchanged(engine, ask.id, {"ok": "perhaps", "x": 1}, FormInvalid)
    assert isinstance(error, FormInvalid)
    assert [one["loc"] for one in error.errors] == [["ok"], ["x"]]
    second = await unchanged(engine, ask.id, [{"ok": False}, {"n": "x"}], FormInvalid)
    assert second.details["page"] == 2
    await engine.answer(ask.id, {"ok": True})
    await instance.result()


async def test_too_many_pages_change_nothing(engine: MemoryEngine, style: str) -> None:
    _, ask = await asked(engine, style)
    error = await unchanged(engine, ask.id, [{"ok": True}, {"why": "x"}], FormOverflow)
    assert error.details["remaining"] == 1


@pytest.mark.parametrize("data", [None, 5, "yes", True, [5], [None]])
async def test_an_answer_that_is_no_object_is_an_error_at_the_root(
    engine: MemoryEngine, style: str, data: Any
) -> None:
    _, ask = await asked(engine, style)
    error = await unchanged(engine, ask.id, data, FormInvalid)
    assert error.details["errors"][0]["loc"] == ["__root__"]


async def test_a_form_that_raises_changes_nothing_and_is_logged(
    engine: MemoryEngine, caplog: pytest.LogCaptureFixture
) -> None:
    _, ask = await asked(engine, "broken", {"say": "route"})
    with caplog.at_level(logging.ERROR, "greenroom.forms"):
        error = await unchanged(engine, ask.id, {"ok": True}, FormError)
    assert "LookupError: no route" in str(error)
    assert "Traceback" in caplog.text


async def test_a_form_that_needs_what_the_state_lacks_says_so(engine: MemoryEngine) -> None:
    _, ask = await asked(engine, "broken", {})
    assert ask.schema is None
    error = await unchanged(engine, ask.id, {"ok": True}, FormError)
    assert 'needs "say"' in str(error)


async def test_a_plain_function_that_returns_a_page_answers_with_its_fields(
    engine: MemoryEngine,
) -> None:
    instance, ask = await asked(engine, "noted", {})
    assert ask.op == "note"
    await engine.answer(ask.id, {"ok": 1})
    assert await instance.result() == {"ok": True, "comment": ""}


async def test_a_form_without_pages_takes_no_page_and_one_empty_page(engine: MemoryEngine) -> None:
    @inputstep("Nothing")
    def nothing() -> FormGenerator:
        return {"went": True}
        yield Form

    @workflow
    def empty() -> Any:
        return begin >> nothing >> done

    engine.register(empty)
    answers: list[Any] = [[], [{}], {}]
    for data in answers:
        instance, ask = await asked(engine, "empty", {})
        assert (ask.schema, ask.pages) == (None, 0)
        await engine.answer(ask.id, data)
        assert await instance.result() == {"went": True}


async def test_answering_twice_is_refused(engine: MemoryEngine, style: str) -> None:
    instance, ask = await asked(engine, style)
    await engine.answer(ask.id, {"ok": True}, by="anna")
    with pytest.raises(AlreadyDecided, match="by anna"):
        await engine.answer(ask.id, {"ok": True})
    await instance.result()
    await unchanged(engine, ask.id, {"ok": True}, AlreadyDecided)
    shown = await engine.asks.get(ask.id)
    assert (shown.answered["by"], shown.schema, shown.pages) == ("anna", None, None)


async def test_of_two_racing_answers_the_first_wins(engine: MemoryEngine, style: str) -> None:
    instance, ask = await asked(engine, style)
    answers = [engine.answer(ask.id, {"ok": True, "comment": str(n)}) for n in range(8)]
    found = await asyncio.gather(*answers, return_exceptions=True)
    refused = [one for one in found if isinstance(one, AlreadyDecided | NoSuchAsk)]
    assert len(refused) == 7
    (place,) = [n for n, one in enumerate(found) if not isinstance(one, Exception)]
    result = await instance.result()
    assert (result["answer"] if style == "program" else result)["comment"] == str(place)


async def test_the_second_page_sees_the_state_at_the_time_of_the_look(engine: MemoryEngine) -> None:
    instance, ask = await asked(engine, "guarded", {"big": True, "order_id": "9"})
    await engine.answer(ask.id, {"ok": True})
    assert (await instance.result())["saw"] == "9"
    skipped = await engine.start("guarded", {"big": False})
    assert "ok" not in await skipped.result()


async def test_a_deadline_that_passes_goes_on_without_an_answer(
    engine: MemoryEngine, style: str
) -> None:
    instance, ask = await asked(engine, style)
    await engine.advance("2d")
    result = await instance.result()
    assert result == (
        {"answer": None} if style == "program" else {"order_id": "7", "after": ["order_id"]}
    )
    await unchanged(engine, ask.id, {"ok": True}, NoSuchAsk)


async def test_a_paused_instance_keeps_an_answer_until_it_goes_on(
    engine: MemoryEngine, style: str
) -> None:
    instance, ask = await asked(engine, style)
    await engine.pause(instance.id)
    await unchanged(engine, ask.id, {"ok": False}, FormNotComplete)
    await engine.answer(ask.id, {"ok": True})
    assert (await engine.get(instance.id)).status == "paused"
    await engine.resume(instance.id)
    await instance.result()


async def test_a_question_is_named_by_its_instance_too(engine: MemoryEngine) -> None:
    instance, ask = await asked(engine, "listed")
    for name in (f"{instance.id[:30]}.approve", instance.id, ask.id):
        assert (await engine.asks.get(name)).id == ask.id
    for name in (f"{instance.id}.other", "nothing", "listed/none"):
        with pytest.raises(NoSuchAsk):
            await engine.answer(name, {"ok": True})
    assert (await engine.answer(instance.id, {"ok": True})).ask == ask.id
    assert "greenroom ask answer" not in (await engine.why(instance.id)).text


async def test_a_form_whose_code_is_gone_refuses_the_answer(engine: MemoryEngine) -> None:
    @workflow(name="listed")
    def without() -> Any:
        return begin >> after >> done

    _, ask = await asked(engine, "listed")
    engine.change_code(without)
    await engine.crash()
    assert (await engine.asks.get(ask.id)).schema is None
    await unchanged(engine, ask.id, {"ok": True}, CodeChanged)


async def test_a_look_does_not_wait_for_a_form_that_takes_too_long() -> None:
    gate = threading.Event()

    @inputstep("Slow")
    def slow() -> FormGenerator:
        gate.wait(10)
        yield Form
        return {}

    @workflow
    def slowly() -> Any:
        return begin >> slow >> done

    async with MemoryEngine(slowly) as engine:
        instance = await engine.start("slowly", {})
        await engine.until_idle()
        row = await engine.asks.find(instance.id)
        assert await engine.forms.schema(row, 0.01) == (None, None)
        gate.set()
        await engine.answer(instance.id, {"ok": True})


# -- forms before the start -------------------------------------------------------------------------


async def test_an_initial_form_that_is_not_complete_stores_nothing(engine: MemoryEngine) -> None:
    before = (await engine.info()).head
    for form, error, page in [
        (None, FormNotComplete, 1),
        ([], FormNotComplete, 1),
        ([{"order_id": "7", "total": 500}], FormNotComplete, 2),
        ([{"order_id": 7}], FormInvalid, 1),
        ([{"order_id": "7", "total": 5}, {}], FormOverflow, None),
        ("x", FormInvalid, None),
    ]:
        with pytest.raises(error) as caught:
            await engine.start("ordered", form=form)
        assert caught.value.details.get("page") == page
    assert (await engine.info()).head == before
    assert (await engine.list()).items == []


async def test_what_an_initial_form_returns_joins_the_input(engine: MemoryEngine) -> None:
    instance = await engine.start(
        "ordered", {"sku": "B2", "other": 1}, form={"order_id": "7", "total": "5"}
    )
    assert instance.key == "7"
    assert await instance.result() == {
        "sku": "B2", "other": 1, "order_id": "7", "total": 5, "of": "ordered",
        "after": ["of", "order_id", "other", "sku", "total"],
    }  # fmt: skip
    long = await engine.start("ordered", form=[{"order_id": "8", "total": 500}, {"why": "w"}])
    assert (await long.result())["why"] == "w"


async def test_an_initial_form_of_a_program_gives_its_arguments(engine: MemoryEngine) -> None:
    instance = await engine.start("ordered_program", form=[{"order_id": "7", "total": "20"}])
    assert await instance.result() == {"order": "7", "total": 20}


async def test_the_same_request_with_the_same_form_is_the_same_instance(
    engine: MemoryEngine,
) -> None:
    form = [{"order_id": "7", "total": 5}]
    first = await engine.start("ordered", form=form, request_id="r-1")
    again = await engine.start("ordered", form=form, request_id="r-1")
    assert (again.id, again.created) == (first.id, False)


async def test_a_form_for_a_workflow_without_one_is_refused(engine: MemoryEngine) -> None:
    with pytest.raises(InvalidRequest, match="has no form"):
        await engine.start("noted", form=[{}])
    with pytest.raises(InvalidRequest, match="has no stages"):
        await engine.start("ordered", stage="x")


async def test_an_initial_form_does_not_stand_in_the_way_of_a_key(engine: MemoryEngine) -> None:
    @workflow(initial_input_form=Details, key="::data.order_id")
    def held() -> Any:
        return begin >> approve >> done

    engine.register(held)
    form = [{"order_id": "7", "total": 5}]
    await engine.start("held", form=form)
    with pytest.raises(AlreadyRunning):
        await engine.start("held", form=form)


# -- declaring -------------------------------------------------------------------------------------


def test_an_input_step_outside_a_program_is_the_plain_form_function() -> None:
    assert note() is Form
    assert next(approve({})) is Form
    assert vars(approve)["__name__"] == "approve"
    assert repr(approve) == "<input approve: Approve>"


def test_input_steps_with_one_key_are_refused() -> None:
    @inputstep("Other", key="approve")
    def other() -> Any:
        return Form

    with pytest.raises(InvalidDefinition, match='key "approve"'):

        @workflow
        def twice() -> Any:
            return begin >> approve >> other


async def test_a_form_may_be_asked_twice_in_one_list(engine: MemoryEngine) -> None:
    @workflow
    def again() -> Any:
        return begin >> note >> note >> done

    engine.register(again)
    instance, ask = await asked(engine, "again", {})
    await engine.answer(ask.id, {"ok": True})
    await engine.quiet()
    (second,) = (await engine.asks.list()).items
    assert second.op == "note#2"
    await engine.answer(second.id, {"ok": False})
    assert (await instance.result())["ok"] is False


# -- inject_args -----------------------------------------------------------------------------------


def test_inject_args_gives_the_state_merged_with_what_came_back() -> None:
    @inject_args
    def load(order_id: str, n: int = 2) -> State:
        return {"order_id": order_id.upper(), "n": n}

    assert load({"order_id": "a", "x": 1}) == {"order_id": "A", "n": 2, "x": 1}
    assert load.__name__ == "load"

    @inject_args
    def nothing() -> None: ...

    assert nothing({"x": 1}) == {"x": 1}
    with pytest.raises(Rejected, match='needs "order_id"'):
        load({})
    with pytest.raises(TypeError, match="must return a dict"):
        inject_args(lambda: 5)({})


async def test_inject_args_of_a_coroutine_function_is_awaited_and_can_be_a_step() -> None:
    @inject_args
    async def load(order_id: str) -> State:
        return {"loaded": order_id}

    assert await load({"order_id": "7"}) == {"order_id": "7", "loaded": "7"}

    @step("Load")
    @inject_args
    def plain(order_id: str) -> State:
        return {"loaded": order_id}

    @workflow
    def loading() -> Any:
        return begin >> plain >> done

    async with MemoryEngine(loading) as engine:
        instance = await engine.start("loading", {"order_id": "7"})
        assert await instance.result() == {"order_id": "7", "loaded": "7"}
