"""Class workflows, row by row (Z1-Z15): what the users of Zenaton know, and none of the mistakes
its library had. Tests run on the async and, where it matters, on the plain form of `handle`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from greenroom import (
    AlreadyRunning,
    Client,
    CodeChanged,
    Engine,
    Event,
    InstanceFailed,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    InvalidTransition,
    NoEngine,
    NotFound,
    Parallel,
    Secret,
    StepFailed,
    Task,
    Version,
    Wait,
    Workflow,
    Zenatonable,
    child,
    workflow,
)
from greenroom.definitions.declare import definition_of
from greenroom.definitions.engines import ENVIRONMENT
from greenroom.runtime.loading import workflows_in
from greenroom.runtime.secrets import Secret as Revealed
from greenroom.testing import TestEngine

RUNS: list[Any] = []
BROKEN: set[str] = set()
ZENATON: Any = Client
"""With three arguments it is Zenaton's."""


@pytest.fixture(autouse=True)
def forget() -> None:
    RUNS.clear()
    BROKEN.clear()


@pytest.fixture
async def engine(anyio_backend: str) -> AsyncIterator[TestEngine]:
    async with TestEngine(Welcome, PlainWelcome) as opened:
        yield opened


# -- what is run -------------------------------------------------------------------------------


class UserActivated:
    def __init__(self, by: str) -> None:
        self.by = by


class ActivatedByAdmin(UserActivated):
    pass


class Mail(Task):
    def __init__(self, to: str, text: str = "welcome") -> None:
        self.to = to
        self.text = text

    async def handle(self) -> str:
        RUNS.append(("mail", self.to))
        if "mail" in BROKEN:
            raise ConnectionError("no mail today")
        return f"{self.text} {self.to}"


class PlainMail(Task, Zenatonable):
    def __init__(self, to: str) -> None:
        self.to = to

    def handle(self) -> str:
        RUNS.append(("mail", self.to))
        return f"welcome {self.to}"


class Welcome(Workflow):
    def __init__(self, email: str, wait: bool = True) -> None:
        self.email = email
        self.wait = wait

    def id(self) -> str:
        return self.email

    async def handle(self) -> str:
        self.sent = await Mail(self.email).execute()
        if self.wait:
            self.event = None
            event = await Wait(UserActivated).execute()
            self.event = event.by
        return "done"

    async def on_event(self, event: Any) -> None:
        self.last = event.name


EMPTY: Any = Welcome
"""Called without arguments, which a type checker does not like."""


class PlainWelcome(Workflow, Zenatonable):
    def __init__(self, email: str) -> None:
        self.email = email

    def id(self) -> str:
        return self.email

    def handle(self) -> str:
        self.sent = PlainMail(self.email).execute()
        event = Wait("Go").days(3).execute()
        self.went = event is not None
        return "done"


async def fails(engine: TestEngine, instance: Any) -> Any:
    """The error of an instance that has failed."""
    await engine.until_idle()
    found = await engine.get(instance.id)
    assert found.status == "failed"
    return found.error


# -- Z1, Z2: classes, dispatch, execute ---------------------------------------------------------


def test_z1_a_class_without_handle_is_refused() -> None:
    class Empty(Workflow):
        pass

    class Odd(Workflow):
        handle = 7  # type: ignore[assignment]

    for cls in (Empty, Odd):
        with pytest.raises(InvalidDefinition, match="has no handle"):
            definition_of(cls)


async def test_z1_start_by_name_takes_the_properties_and_does_not_call_init(
    engine: TestEngine,
) -> None:
    handle = await engine.start("Welcome", {"email": "bob", "wait": False, "more": 1})
    assert await handle.result() == "done"
    assert (await engine.get(handle.id)).state["more"] == 1


async def test_z2_dispatch_outside_starts_an_instance_and_gives_its_handle(
    engine: TestEngine,
) -> None:
    handle = await Welcome("bob", wait=False).dispatch()
    assert handle.key == "bob"
    assert await handle.result() == "done"


async def test_z2_execute_outside_runs_in_this_process(engine: TestEngine) -> None:
    assert await Mail("bob").execute() == "welcome bob"
    assert PlainMail("bob").execute() == "welcome bob"
    assert (await engine.list()).total == 0


async def test_z2_an_attribute_that_cannot_be_stored_is_refused_at_dispatch_by_name(
    engine: TestEngine,
) -> None:
    with pytest.raises(InvalidInput, match=r"Welcome\.wait"):
        await Welcome("bob", wait=object()).dispatch()  # type: ignore[arg-type]
    assert (await engine.list()).total == 0


def test_z2_without_an_engine_dispatch_says_what_to_do() -> None:
    with pytest.raises(NoEngine):
        Welcome("bob").dispatch()
    with pytest.raises(NoEngine):
        Mail("bob").dispatch()


async def test_z2_a_task_dispatched_outside_is_an_instance_of_its_own(engine: TestEngine) -> None:
    handle = await Mail("bob").dispatch()
    assert await handle.result() == "welcome bob"
    found = await engine.get(handle.id)
    assert (found.workflow, found.state) == ("Mail", {"to": "bob", "text": "welcome"})


async def test_z2_a_dispatched_task_survives_a_restart_that_nobody_told_of_it(
    tmp_path: Path,
) -> None:
    BROKEN.add("mail")
    async with Engine.open(tmp_path / "a.db"):
        handle = await Mail("bob").dispatch()
        with pytest.raises(InstanceFailed):
            await handle.result(timeout="5s")
    BROKEN.clear()
    async with Engine.open(tmp_path / "a.db") as engine:
        await engine.resume(handle.id)
        assert await engine.result(handle.id, timeout="5s") == "welcome bob"


def test_zenatonable_goes_on_either_side_of_the_base() -> None:
    class First(Zenatonable, Task):
        def handle(self) -> int:
            return 1

    class Neither(Zenatonable):
        pass

    assert First().execute() == 1
    with pytest.raises(InvalidDefinition, match="neither a Workflow nor a Task"):
        Neither().dispatch()


async def test_where_id_and_dispatch_in_a_workflow_are_refused_as_effects() -> None:
    class Looks(Workflow):
        async def handle(self) -> None:
            await Welcome.where_id("bob").pause()

    async with TestEngine(Looks) as engine:
        error = await fails(engine, await Looks().dispatch())
        assert "acts on other instances" in error.message


# -- Z5: the environment ------------------------------------------------------------------------


async def test_z5_the_environment_is_the_namespace_of_what_follows(engine: TestEngine) -> None:
    token = ENVIRONMENT.set(None)
    try:
        ZENATON("app", "secret", "production")
        handle = await Welcome("bob").dispatch()
        assert (await engine.get(handle.id)).namespace == "production"
        assert (await Welcome.where_id("bob").find()).email == "bob"
        ZENATON(app_id="app", api_token="secret", app_env="staging")
        assert await Welcome.where_id("bob").find() is None
        with pytest.raises(NotFound):
            await Welcome.where_id("bob").pause()
        second = await Welcome("bob").dispatch()
        assert second.id != handle.id
    finally:
        ENVIRONMENT.reset(token)


def test_z5_an_environment_needs_a_name() -> None:
    with pytest.raises(InvalidInput):
        ZENATON("app", "secret", "")


# -- Z6: ids ------------------------------------------------------------------------------------


def named(value: Any) -> Workflow:
    class Named(Workflow):
        def id(self) -> Any:
            return value

        async def handle(self) -> None:
            await Wait("never").execute()

    made: Workflow = Named()
    return made


@pytest.mark.parametrize("value", ["", "x" * 257, 1.5, True, ["a"], {"a": 1}, b"a"])
async def test_z6_what_is_no_id_is_refused(value: Any) -> None:
    subject = named(value)
    async with TestEngine(type(subject)) as engine:
        with pytest.raises(InvalidInput, match=r"id\(\)"):
            await subject.dispatch()
        assert (await engine.list()).total == 0


@pytest.mark.parametrize(
    ("value", "key"), [("a", "a"), (7, "7"), (0, "0"), ("x" * 256, "x" * 256), (None, None)]
)
async def test_z6_text_and_whole_numbers_are_ids_and_none_is_no_id(value: Any, key: Any) -> None:
    subject = named(value)
    async with TestEngine(type(subject)):
        assert (await subject.dispatch()).key == key


async def test_z6_two_live_instances_cannot_have_one_id_and_an_ended_one_gives_it_back(
    engine: TestEngine,
) -> None:
    first = await Welcome("bob").dispatch()
    with pytest.raises(AlreadyRunning) as refused:
        await Welcome("bob").dispatch()
    assert refused.value.details["instance"] == first.id
    await Welcome.where_id("bob").kill()
    second = await Welcome("bob").dispatch()
    assert second.id != first.id


async def test_z6_a_start_by_name_has_the_id_its_properties_give(engine: TestEngine) -> None:
    handle = await engine.start("Welcome", {"email": "bob", "wait": True})
    assert handle.key == "bob"
    with pytest.raises(InvalidInput, match="id"):
        await engine.start("Welcome", {"wait": True})


async def test_z6_an_input_that_is_not_the_attributes_is_refused_with_what_it_has() -> None:
    """As by `greenroom start Welcome user:='{"email": ...}'`, after the arguments of __init__."""

    class Greets(Workflow):
        def __init__(self, user: Any) -> None:
            self.email = user["email"]

        def id(self) -> str:
            return str(self.email)

        async def handle(self) -> None: ...

    async with TestEngine(Greets) as engine:
        with pytest.raises(InvalidInput, match="no attribute 'email'") as refused:
            await engine.start("Greets", {"user": {"email": "bob"}})
        assert "not what __init__ takes; here they are: user" in str(refused.value.hint)
        assert (await engine.start("Greets", {"email": "bob"})).key == "bob"


async def test_z6_an_event_starts_an_instance_with_its_id() -> None:
    @workflow(on="user.created")
    class FromEvent(Workflow):
        def id(self) -> str:
            return self.email  # type: ignore[attr-defined, no-any-return]

        async def handle(self) -> None:
            await Wait("never").execute()

    async with TestEngine(FromEvent) as engine:
        accepted = await engine.post(Event(type="user.created", data={"email": "bob"}))
        again = await engine.post(Event(type="user.created", data={"email": "bob"}))
        assert [match.key for match in accepted.matched] == ["bob"]
        assert [match.code for match in again.matched] == ["already_running"]


# -- Z7: where_id -------------------------------------------------------------------------------


async def test_z7_where_id_works_on_the_class_and_on_an_object_without_arguments(
    engine: TestEngine,
) -> None:
    await Welcome("bob").dispatch()
    await engine.until_idle()
    assert (await EMPTY().where_id("bob").pause()).status == "paused"
    assert (await Welcome.where_id("bob").resume()).status == "waiting"


def test_c27_a_class_called_without_its_arguments_can_look_and_nothing_else() -> None:
    with pytest.raises(InvalidRequest, match="without its arguments"):
        EMPTY().dispatch()
    with pytest.raises(TypeError):
        Welcome(wait=True)  # type: ignore[call-arg]


def test_an_object_of_a_workflow_can_be_copied_and_pickled() -> None:
    made = Welcome("bob")
    for twin in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert type(twin) is Welcome
        assert vars(twin) == {"email": "bob", "wait": True}


async def test_z7_nothing_found_is_none_for_find_and_not_found_for_the_rest(
    engine: TestEngine,
) -> None:
    finder = Welcome.where_id("nobody")
    assert await finder.find() is None
    for verb in (finder.pause, finder.resume, finder.kill):
        with pytest.raises(NotFound):
            await verb()
    with pytest.raises(NotFound):
        await finder.send_event("Go")


async def test_z7_several_with_one_id_mean_the_live_one_else_the_latest(
    engine: TestEngine,
) -> None:
    first = await Welcome("bob").dispatch()
    await engine.until_idle()
    await Welcome.where_id("bob").kill()
    await engine.advance("1s")
    second = await Welcome("bob").dispatch()
    await engine.until_idle()
    assert (await Welcome.where_id("bob").find())._id == second.id
    await Welcome.where_id("bob").kill()
    assert (await Welcome.where_id("bob").find())._id == second.id != first.id


# -- Z8, Z9, Z14: resume, kill, errors ----------------------------------------------------------


async def test_z8_resume_of_a_waiting_one_is_refused_without_effect(engine: TestEngine) -> None:
    await Welcome("bob").dispatch()
    await engine.until_idle()
    with pytest.raises(Exception, match="carries no data"):
        await Welcome.where_id("bob").resume()


async def test_z9_kill_twice_is_ok_and_of_a_completed_one_refused(engine: TestEngine) -> None:
    await Welcome("bob").dispatch()
    await engine.until_idle()
    assert (await Welcome.where_id("bob").kill()).status == "cancelled"
    assert (await Welcome.where_id("bob").kill()).status == "cancelled"
    await Welcome("eve", wait=False).dispatch()
    await engine.until_idle()
    with pytest.raises(InvalidTransition):
        await Welcome.where_id("eve").kill()


async def test_z14_an_error_of_a_task_fails_and_resume_tries_it_again(engine: TestEngine) -> None:
    BROKEN.add("mail")
    handle = await Welcome("bob", wait=False).dispatch()
    error = await fails(engine, handle)
    assert "no mail today" in error.message
    BROKEN.clear()
    await Welcome.where_id("bob").resume()
    assert await handle.result() == "done"


# -- Z11, Z12, Z13: properties ------------------------------------------------------------------


async def test_z11_properties_come_from_init_handle_and_on_event(engine: TestEngine) -> None:
    handle = await Welcome("bob").dispatch()
    await engine.until_idle()
    assert (await engine.get(handle.id)).state == {
        "email": "bob", "wait": True, "sent": "welcome bob", "event": None,
    }  # fmt: skip
    await Welcome.where_id("bob").send_event(UserActivated("admin"))
    assert await handle.result() == "done"
    state = (await engine.get(handle.id)).state
    assert (state["event"], state["last"]) == ("admin", "UserActivated")


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), {1: 2}, lambda: 0, 1 << 70],
    ids=["object", "nan", "key", "code", "wide"],
)
async def test_z11_an_attribute_that_cannot_be_stored_fails_naming_it(value: Any) -> None:
    class Sets(Workflow):
        async def handle(self) -> None:
            self.odd = value
            await Wait("never").execute()

    async with TestEngine(Sets) as engine:
        error = await fails(engine, await Sets().dispatch())
        assert "self.odd" in error.message


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"b", "a"}, None), ((1, 2), [1, 2]),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "2026-01-01T00:00:00Z"),
    ],
)  # fmt: skip
async def test_z11_plain_data_of_other_types_is_kept_as_json(value: Any, kept: Any) -> None:
    class Sets(Workflow):
        async def handle(self) -> None:
            self.odd = value

    async with TestEngine(Sets) as engine:
        handle = await Sets().dispatch()
        await handle.result()
        found = (await engine.get(handle.id)).state["odd"]
        assert found == kept if kept is not None else sorted(found) == ["a", "b"]


async def test_z12_an_attribute_that_is_a_secret_is_kept_as_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_HOOK", "hunter2hunter2")

    class Holds(Workflow):
        def __init__(self) -> None:
            self.hook = Secret("hook")

        async def handle(self) -> str:
            await Wait("go").execute()
            self.same = self.hook == Secret("hook")
            return str(self.hook)

    async with TestEngine(Holds) as engine:
        handle = await Holds().dispatch()
        await engine.until_idle()
        assert (await engine.get(handle.id)).state == {"hook": "secret://hook"}
        page = await engine.history(handle.id, path="hook")
        assert [line.data["value"] for line in page.items] == ["secret://hook"]
        await engine.crash()  # what comes back has the reference in its place
        await engine.post({"type": "go"})
        await engine.until_idle()
        found = await engine.get(handle.id)
        assert (found.result, found.state["same"]) == ("secret://hook", True)
        assert "hunter2" not in str((await engine.history(handle.id)).items)


async def test_z12_the_value_of_a_secret_is_refused_by_the_name_of_its_attribute() -> None:
    class Holds(Workflow):
        async def handle(self) -> None:
            self.odd = Revealed("hunter2hunter2")

    async with TestEngine(Holds) as engine:
        handle = await Holds().dispatch()
        error = await fails(engine, handle)
        assert "self.odd" in error.message
        assert "hunter2" not in str((await engine.history(handle.id)).items)


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65])
def test_z12_what_names_no_secret_is_refused(name: str) -> None:
    with pytest.raises(InvalidDefinition):
        Secret(name)


async def test_z11_an_attribute_that_refers_to_itself_fails() -> None:
    class Sets(Workflow):
        async def handle(self) -> None:
            self.ring: list[Any] = []
            self.ring.append(self.ring)

    async with TestEngine(Sets) as engine:
        assert "self.ring" in (await fails(engine, await Sets().dispatch())).message


async def test_z11_a_deleted_attribute_is_removed_and_a_hidden_one_is_never_kept() -> None:
    class Drops(Workflow):
        async def handle(self) -> None:
            self.a, self.b, self._c = 1, 2, 3
            await Wait().seconds(1).execute()
            del self.a
            await Wait("never").execute()

    async with TestEngine(Drops) as engine:
        handle = await Drops().dispatch()
        await engine.until_idle()
        assert (await engine.get(handle.id)).state == {"a": 1, "b": 2}
        await engine.advance("2s")
        assert (await engine.get(handle.id)).state == {"b": 2}
        await engine.crash()
        assert (await engine.get(handle.id)).state == {"b": 2}


async def test_z12_all_values_of_a_property_through_the_steps() -> None:
    class Counts(Workflow):
        async def handle(self) -> None:
            for self.n in range(3):
                await Mail(str(self.n)).execute()

    async with TestEngine(Counts) as engine:
        handle = await Counts().dispatch()
        await handle.result()
        items = (await engine.history(handle.id, path="n")).items
        values = [list(item.data.values()) for item in items]
        assert len(items) == 3, values


async def test_z12_the_attributes_of_a_task_are_the_arguments_of_its_op(engine: TestEngine) -> None:
    handle = await Welcome("bob", wait=False).dispatch()
    await handle.result()
    (begun,) = [
        entry for entry in (await engine.history(handle.id)).items if entry.kind == "StepStarted"
    ]
    assert {"to": "bob", "text": "welcome"} in begun.data.values()


async def test_z12_find_gives_an_object_of_the_class_with_the_properties(
    engine: TestEngine,
) -> None:
    await PlainWelcome("bob").dispatch()
    await engine.until_idle()
    found = await PlainWelcome.where_id("bob").find()
    assert isinstance(found, PlainWelcome)
    assert (found.email, found.sent, found.id()) == ("bob", "welcome bob", "bob")
    assert vars(found)["_status"] == "waiting"


# -- Z15: events --------------------------------------------------------------------------------


async def test_z15_on_event_and_waits_are_given_objects_of_the_known_class(
    engine: TestEngine,
) -> None:
    handle = await Welcome("bob").dispatch()
    await engine.until_idle()
    sent = await Welcome.where_id("bob").send_event(ActivatedByAdmin("root"))
    assert (sent.delivered, sent.matched) == (1, True)
    assert await handle.result() == "done"
    state = (await engine.get(handle.id)).state
    assert (state["event"], state["last"]) == ("root", "ActivatedByAdmin")


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (UserActivated("x"), "UserActivated"),
        (ActivatedByAdmin("x"), "ActivatedByAdmin"),
        ("UserActivated", "UserActivated"),
        (Event(type="UserActivated", data={"by": "x"}), "UserActivated"),
        ("Other", None),
    ],
)
async def test_z15_a_wait_for_a_class_takes_the_events_of_its_subclasses(
    sent: Any, taken: str | None
) -> None:
    class Waits(Workflow):
        async def handle(self) -> Any:
            event = await Wait(UserActivated).days(1).execute()
            return None if event is None else [isinstance(event, UserActivated), event.name]

        def id(self) -> str:
            return "one"

    async with TestEngine(Waits) as engine:
        handle = await Waits().dispatch()
        await engine.until_idle()
        await Waits.where_id("one").send_event(sent)
        await engine.crash()
        await engine.advance("2d")
        assert await engine.result(handle.id) == (None if taken is None else [True, taken])


async def test_z15_an_unknown_event_stays_in_the_mailbox(engine: TestEngine) -> None:
    handle = await PlainWelcome("bob").dispatch()
    await engine.until_idle()
    sent = await PlainWelcome.where_id("bob").send_event("Unheard", {"a": 1})
    assert (sent.delivered, sent.matched) == (1, False)
    await engine.advance("4d")
    assert (await engine.get(handle.id)).state["went"] is False


async def test_z15_an_event_sent_before_its_wait_is_kept(engine: TestEngine) -> None:
    handle = await PlainWelcome("bob").dispatch()
    await PlainWelcome.where_id("bob").send_event("Go")
    await engine.until_idle()
    assert (await engine.get(handle.id)).state["went"] is True


async def test_z15_an_event_to_a_finished_instance_does_nothing(engine: TestEngine) -> None:
    await (await Welcome("bob", wait=False).dispatch()).result()
    assert (await Welcome.where_id("bob").send_event("Go")).delivered == 0


async def test_z15_one_event_id_is_delivered_once(engine: TestEngine) -> None:
    class Counts(Workflow):
        n = 0

        async def handle(self) -> int:
            await Wait("end").execute()
            return self.n

        async def on_event(self, event: Any) -> None:
            self.n = self.n + 1

        def id(self) -> int:
            return 1

    engine.register(Counts)
    handle = await Counts().dispatch()
    await engine.until_idle()
    for _ in range(3):
        await Counts.where_id(1).send_event("tick", id="t-1")
    await Counts.where_id(1).send_event("end")
    assert await handle.result() == 2


async def test_z15_an_error_in_on_event_fails_the_instance() -> None:
    class Refuses(Workflow):
        async def handle(self) -> None:
            await Wait("never").execute()

        async def on_event(self, event: Any) -> None:
            raise ValueError("not that one")

        def id(self) -> str:
            return "one"

    async with TestEngine(Refuses) as engine:
        handle = await Refuses().dispatch()
        await engine.until_idle()
        await Refuses.where_id("one").send_event("x")
        assert "not that one" in (await fails(engine, handle)).message


# -- retries, limits, contexts ------------------------------------------------------------------


class Flaky(Task):
    def __init__(self, rule: Any, fails: int = 99) -> None:
        self.rule = rule
        self.fails = fails

    async def handle(self) -> int:
        context = self.get_context()
        RUNS.append((context.retry_index, context.id))
        if context.retry_index <= self.fails:
            raise ConnectionError("not yet")
        return context.retry_index

    def on_error_retry_delay(self, error: Exception) -> Any:
        assert isinstance(error, ConnectionError)
        RUNS.append(("asked", self.get_context().retry_index))
        if self.rule == "raise":
            raise KeyError("rule")
        if self.rule == "index":
            return 60 * self.get_context().retry_index
        return self.rule


@workflow
async def flaky(rule: Any, fails: int) -> Any:
    return await Flaky(rule, fails).execute()


async def test_retry_a_positive_whole_number_is_the_delay_and_the_index_rises_from_1() -> None:
    async with TestEngine(flaky) as engine:
        handle = await engine.start(flaky, {"rule": "index", "fails": 2})
        await engine.until_idle()
        start = engine.now
        (wait,) = (await engine.get(handle.id)).waits
        assert (wait.kind, wait.due) == (
            "retry",
            (start + datetime.timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        )
        await engine.advance("1m")
        await engine.crash()
        await engine.advance("2m")
        assert await engine.result(handle.id) == 3
        assert [run[0] for run in RUNS if run[0] != "asked"] == [1, 2, 3]
        assert [run[1] for run in RUNS if run[0] == "asked"] == [1, 2]
        assert {run[1] for run in RUNS if run[0] != "asked"} == {f"{handle.id}/1"}


@pytest.mark.parametrize("rule", [None, False, 0, "", []])
async def test_retry_a_falsy_rule_gives_up(rule: Any) -> None:
    async with TestEngine(flaky) as engine:
        handle = await engine.start(flaky, {"rule": rule, "fails": 99})
        assert (await fails(engine, handle)).message == "not yet"
        assert len(RUNS) == 2


@pytest.mark.parametrize("rule", [-1, 1.5, True, "10", [1]])
async def test_retry_any_other_rule_is_the_error_with_the_first_one_chained(rule: Any) -> None:
    async with TestEngine(flaky) as engine:
        handle = await engine.start(flaky, {"rule": rule, "fails": 99})
        error = await fails(engine, handle)
        assert "on_error_retry_delay must give whole seconds" in error.message
        assert error.details["cause"] == {"type": "ConnectionError", "message": "not yet"}


async def test_retry_a_rule_that_raises_is_the_error_with_the_first_one_chained() -> None:
    async with TestEngine(flaky) as engine:
        handle = await engine.start(flaky, {"rule": "raise", "fails": 99})
        error = await fails(engine, handle)
        assert "rule" in error.message
        assert error.details["cause"]["message"] == "not yet"


async def test_retry_the_index_begins_at_1_again_after_a_person_resumed() -> None:
    async with TestEngine(flaky) as engine:
        handle = await engine.start(flaky, {"rule": False, "fails": 99})
        await fails(engine, handle)
        await engine.resume(handle.id)
        await engine.until_idle()
        assert [run[0] for run in RUNS if run[0] != "asked"] == [1, 1]


def test_bug_get_context_before_there_is_one_is_empty() -> None:
    context = Mail("bob").get_context()
    assert (context.id, context.retry_index) == (None, 1)
    assert Welcome("bob").get_context().id is None


async def test_get_context_of_a_workflow_is_its_instance() -> None:
    class Knows(Workflow):
        async def handle(self) -> Any:
            return self.get_context().id

    async with TestEngine(Knows):
        handle = await Knows().dispatch()
        assert await handle.result() == handle.id


class Slow(Task):
    max_processing_time: ClassVar[Any] = 0.02

    async def handle(self) -> None:
        await asyncio.Event().wait()


class SlowByMethod(Task):
    def __init__(self, limit: float) -> None:
        self.limit = limit

    def max_processing_time(self) -> float:
        return self.limit

    async def handle(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("task", [Slow(), SlowByMethod(0.02)])
async def test_max_processing_time_fails_the_attempt(task: Task) -> None:
    class Runs(Workflow):
        async def handle(self) -> str:
            try:
                await task.execute()
            except StepFailed as error:
                return error.type
            return "?"

    async with TestEngine(Runs):
        handle = await Runs().dispatch()
        assert await handle.result() == "Timeout"


@pytest.mark.parametrize("limit", [-1, 0, "5", True])
def test_max_processing_time_is_seconds(limit: Any) -> None:
    class Odd(Task):
        max_processing_time = limit

        def handle(self) -> None: ...

    with pytest.raises(InvalidDefinition, match="max_processing_time"):
        definition_of(Odd)


async def test_a_task_that_changes_its_own_attributes_begins_again_with_its_input() -> None:
    class Grows(Task):
        def __init__(self) -> None:
            self.items: list[int] = []

        async def handle(self) -> list[int]:
            self.items.append(1)
            if self.get_context().retry_index == 1:
                raise OSError("again")
            return self.items

        def on_error_retry_delay(self, error: Exception) -> int:
            assert self.items == []
            return 1

    @workflow
    async def grows() -> Any:
        return await Grows().execute()

    async with TestEngine(grows) as engine:
        handle = await engine.start(grows)
        await engine.advance("2s")
        assert await handle.result() == [1]


# -- dispatch inside, Parallel ------------------------------------------------------------------


class Lenient(Workflow):
    def __init__(self, on_error: str) -> None:
        self.on_error = on_error

    async def handle(self) -> str:
        await Mail("bob").dispatch(self.on_error)  # type: ignore[arg-type]
        await Wait().seconds(5).execute()
        return "done"


async def test_the_failure_of_a_dispatched_task_fails_the_instance() -> None:
    BROKEN.add("mail")
    async with TestEngine(Lenient) as engine:
        assert "no mail" in (await fails(engine, await Lenient("fail").dispatch())).message


async def test_the_failure_of_a_dispatched_task_is_recorded_only_where_it_is_to_be_ignored() -> (
    None
):
    BROKEN.add("mail")
    async with TestEngine(Lenient) as engine:
        handle = await Lenient("ignore").dispatch()
        await engine.until_idle()
        await engine.crash()
        await engine.advance("6s")
        assert await engine.result(handle.id) == "done"
        kinds = [entry.kind for entry in (await engine.history(handle.id)).items]
        assert "StepFailed" in kinds


async def test_dispatch_takes_fail_or_ignore() -> None:
    async with TestEngine(Lenient) as engine:
        assert "on_error" in (await fails(engine, await Lenient("maybe").dispatch())).message


async def test_parallel_gives_results_in_argument_order_and_nothing_for_nothing() -> None:
    @workflow
    async def both() -> Any:
        return [
            await Parallel(Mail("a"), Mail("b")).execute(),
            await Parallel().execute(),
            await Parallel(Mail("c"), Welcome("d", wait=False)).execute(),
        ]

    async with TestEngine(both, Welcome) as engine:
        handle = await engine.start(both)
        assert await handle.result() == [["welcome a", "welcome b"], [], ["welcome c", "done"]]


@pytest.mark.parametrize("job", ["text", None, 7, Mail])
def test_bug_parallel_refuses_what_is_no_job_before_anything_is_scheduled(job: Any) -> None:
    with pytest.raises(InvalidInput, match="tasks and workflows"):
        Parallel(Mail("a"), job)


async def test_bug_parallel_dispatch_finds_what_cannot_be_stored_before_it_schedules_any() -> None:
    @workflow
    async def sends() -> str:
        with contextlib.suppress(InvalidInput):
            await Parallel(Mail("a"), Mail(object())).dispatch()  # type: ignore[arg-type]
        return "done"

    async with TestEngine(sends) as engine:
        handle = await engine.start(sends)
        assert await handle.result() == "done"
        assert RUNS == []


async def test_parallel_one_failing_lets_the_others_end_and_resume_retries_it_alone() -> None:
    class Sometimes(Task):
        def __init__(self, name: str) -> None:
            self.name = name

        async def handle(self) -> str:
            RUNS.append(self.name)
            if self.name in BROKEN:
                raise ValueError(self.name)
            return self.name

    @workflow
    async def three() -> Any:
        return await Parallel(Sometimes("a"), Sometimes("b"), Sometimes("c")).execute()

    BROKEN.add("b")
    async with TestEngine(three) as engine:
        handle = await engine.start(three)
        await fails(engine, handle)
        assert sorted(RUNS) == ["a", "b", "c"]
        BROKEN.clear()
        await engine.resume(handle.id)
        assert await handle.result() == ["a", "b", "c"]
        assert sorted(RUNS) == ["a", "b", "b", "c"]


async def test_parallel_outside_runs_here_and_dispatches_each(engine: TestEngine) -> None:
    assert await Parallel(Mail("a"), PlainMail("b")).execute() == ["welcome a", "welcome b"]
    assert Parallel(PlainMail("a")).execute() == ["welcome a"]
    handles = await Parallel(Mail("c"), Welcome("d", wait=False)).dispatch()
    assert [await handle.result() for handle in handles] == ["welcome c", "done"]


# -- verbs from tasks ---------------------------------------------------------------------------


class Teller(Task, Zenatonable):
    """A plain task that acts on others: its calls wait for their results."""

    def __init__(self, email: str) -> None:
        self.email = email

    def handle(self) -> Any:
        found = Welcome.where_id(self.email).find()
        EMPTY().where_id(self.email).send_event(UserActivated("task"))
        other = Welcome(f"not-{self.email}", wait=False).dispatch()
        return [found.email, other.result()]


class AsyncTeller(Task):
    async def handle(self) -> Any:
        await Welcome.where_id("bob").send_event(UserActivated("task"))
        return (await Welcome.where_id("bob").find()).email


async def test_a_plain_task_acts_on_other_instances_without_await(engine: TestEngine) -> None:
    bob = await Welcome("bob").dispatch()
    await engine.until_idle()
    told = await Teller("bob").dispatch()
    assert await told.result() == ["bob", "done"]
    assert await bob.result() == "done"


async def test_a_coroutine_task_acts_on_other_instances_with_await(engine: TestEngine) -> None:
    bob = await Welcome("bob").dispatch()
    await engine.until_idle()
    assert await (await AsyncTeller().dispatch()).result() == "bob"
    assert await bob.result() == "done"


def test_everything_works_without_await_on_a_blocking_engine(tmp_path: Path) -> None:
    with Engine.sync(tmp_path / "a.db", workflows=[Welcome]):
        handle = Welcome("bob").dispatch()
        assert Welcome.where_id("bob").find().email == "bob"
        Welcome.where_id("bob").send_event(UserActivated("me"))
        assert handle.result(timeout="5s") == "done"
        schedule = Welcome("eve").schedule("0 9 * * *")
        assert len(schedule.next(3)) == 3


# -- schedules ----------------------------------------------------------------------------------


async def test_schedule_starts_an_instance_with_these_properties_at_each_time() -> None:
    async with TestEngine(Welcome) as engine:
        schedule = await Welcome("bob", wait=False).schedule("0 9 * * *")
        await engine.advance("2d")
        page = await engine.list("workflow:Welcome")
        assert [(i.key, i.status) for i in page.items] == [("bob", "completed")] * 2
        assert (await schedule.next(1))[0].endswith("T09:00:00.000Z")


async def test_schedule_of_a_task_runs_it() -> None:
    async with TestEngine() as engine:
        await Mail("bob").schedule("1 hour")
        await engine.advance("3h")
        assert RUNS == [("mail", "bob")] * 3


async def test_schedule_survives_a_crash_and_a_new_registration() -> None:
    async with TestEngine(Welcome) as engine:
        schedule = await Welcome("bob", wait=False).schedule("0 9 * * *")
        await engine.crash()
        engine.register(Welcome)
        await engine.advance("1d")
        assert (await engine.list("workflow:Welcome")).total == 1
        assert [row.id for row in await engine.schedules.list()] == [schedule.id]


async def test_schedule_pauses_resumes_triggers_and_is_deleted() -> None:
    async with TestEngine(Welcome) as engine:
        schedule = await Welcome("bob", wait=False).schedule("0 9 * * *")
        assert (await schedule.pause()).paused
        await engine.advance("2d")
        assert (await engine.list()).total == 0
        await schedule.trigger()
        await engine.until_idle()
        assert (await engine.list()).total == 1
        await schedule.resume()
        await engine.advance("1d")
        assert (await engine.list()).total == 2
        await schedule.delete()
        await engine.advance("2d")
        assert (await engine.list()).total == 2
        with pytest.raises(NotFound):
            await schedule.pause()


async def test_schedule_in_the_code_cannot_be_deleted() -> None:
    @workflow(schedule="0 9 * * *")
    async def nightly() -> None: ...

    async with TestEngine(nightly) as engine:
        (row,) = await engine.schedules.list()
        with pytest.raises(InvalidRequest, match="in the code"):
            await engine.schedules.delete(row.id)


async def test_schedule_of_the_same_again_is_the_same() -> None:
    async with TestEngine(Welcome) as engine:
        first = await Welcome("bob").schedule("0 9 * * *")
        second = await Welcome("bob").schedule("0 9 * * *")
        other = await Welcome("eve").schedule("0 9 * * *")
        assert first.id == second.id != other.id
        assert len(await engine.schedules.list()) == 2


@pytest.mark.parametrize("rule", ["", "  ", None, 7, "every day", "* * *"])
async def test_schedule_of_what_is_no_rule_is_refused(engine: TestEngine, rule: Any) -> None:
    with pytest.raises(InvalidInput):
        await Welcome("bob").schedule(rule)


# -- versions -----------------------------------------------------------------------------------


class StoryV1(Workflow):
    def __init__(self, name: str, times: int = 1) -> None:
        self.name = name
        self.times = times

    def id(self) -> str:
        return self.name

    async def handle(self) -> str:
        await Wait("go").execute()
        return f"one {self.name} {self.times}"


class StoryV2(StoryV1):
    async def handle(self) -> str:
        await Mail(self.name).execute()
        await Wait("go").execute()
        return f"two {self.name} {self.times}"


def story(*implementations: Any) -> type[Version]:
    class Story(Version):
        def versions(self) -> list[type[Workflow]]:
            return list(implementations)

    return Story


async def test_versions_new_instances_use_the_last_and_running_ones_keep_theirs() -> None:
    old = story(StoryV1)
    engine = TestEngine(old)
    async with engine:
        first = await old("a").dispatch()
        await engine.until_idle()
        new = story(StoryV1, StoryV2)
        engine._workflows = [new]
        await engine.crash()
        second = await new("b", times=3).dispatch()
        await engine.until_idle()
        assert [(await engine.get(i.id)).version for i in (first, second)] == [1, 2]
        for name in ("a", "b"):
            await new.where_id(name).send_event("go")
        assert await engine.result(first.id) == "one a 1"
        assert await engine.result(second.id) == "two b 3"


async def test_bug_versions_hand_their_arguments_on_one_by_one() -> None:
    both = story(StoryV1, StoryV2)
    async with TestEngine(both) as engine:
        handle = await both("a", 2).dispatch()
        assert (handle.key, (await engine.get(handle.id)).workflow) == ("a", "Story")
        assert (await engine.get(handle.id)).state == {"name": "a", "times": 2}
        assert isinstance(await both.where_id("a").find(), StoryV2)


async def test_versions_as_a_child_and_without_arguments() -> None:
    both = story(StoryV1, StoryV2)

    @workflow
    async def parent() -> Any:
        return await both("a", 2).execute()

    async with TestEngine(parent, both) as engine:
        handle = await engine.start(parent)
        await engine.until_idle()
        await both().where_id("a").send_event("go")
        assert await handle.result() == "two a 2"
        with pytest.raises(InvalidRequest, match="without its arguments"):
            await both().dispatch()


def test_versions_know_their_first_and_last() -> None:
    both = story(StoryV1, StoryV2)
    assert (both.initial(), both.current()) == (StoryV1, StoryV2)


@pytest.mark.parametrize(
    "listed", [[], None, [Mail], ["StoryV1"], [story(StoryV1)], [StoryV1, StoryV1], StoryV1]
)
def test_versions_must_be_a_list_of_workflow_classes(listed: Any) -> None:
    class Story(Version):
        def versions(self) -> Any:
            return listed

    with pytest.raises(InvalidDefinition, match="versions"):
        definition_of(Story)


async def test_versions_a_change_of_the_code_in_use_is_found() -> None:
    class Changed(StoryV1):
        async def handle(self) -> str:
            await Mail(self.name).execute()
            return "else"

    engine = TestEngine(story(StoryV1))
    async with engine:
        handle = await engine.start("Story", {"name": "a", "times": 1})
        await engine.until_idle()
        engine._workflows = [story(Changed)]
        await engine.crash()
        await engine.send(handle.id, Event(type="go"))
        await engine.until_idle()
        assert (await engine.get(handle.id)).error.code == "code_changed"
        with pytest.raises(CodeChanged):
            await engine.resume(handle.id)


# -- more of 6.4 --------------------------------------------------------------------------------


async def test_an_event_between_two_ops_changes_what_is_done_later() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Gate(Task):
        async def handle(self) -> None:
            await gate

    class Chooses(Workflow):
        def __init__(self) -> None:
            self.state = True

        def id(self) -> str:
            return "one"

        async def handle(self) -> str:
            await Gate().execute()
            return str(await (Mail("b") if self.state else Mail("c")).execute())

        async def on_event(self, event: Any) -> None:
            if isinstance(event, UserActivated):
                self.state = False

    async with TestEngine(Chooses):
        handle = await Chooses().dispatch()
        await Chooses.where_id("one").send_event(UserActivated("x"))
        gate.set_result(None)
        assert await handle.result() == "welcome c"


async def test_a_workflow_that_executes_itself_stops_at_a_depth() -> None:
    class Again(Workflow):
        async def handle(self) -> Any:
            return await child(Again)

    async with TestEngine(Again) as engine:
        await Again().dispatch()
        await engine.until_idle()
        page = await engine.list("status:failed")
        assert page.total == 1
        assert (page.total, (await engine.list()).total) == (1, 33)


def test_versions_are_found_in_a_module() -> None:
    module = ModuleType("told")
    source = (
        "from greenroom import Version, Workflow\n"
        "class One(Workflow):\n"
        "    def handle(self): return 1\n"
        "class Both(Version):\n"
        "    def versions(self): return [One]\n"
    )
    exec(source, vars(module))  # noqa: S102
    assert [definition_of(found).name for found in workflows_in(module)] == ["One", "Both"]


class Trip_v1(Workflow):
    def __init__(self, name: str) -> None:
        self.name = name

    def id(self) -> str:
        return self.name

    async def handle(self) -> str:
        await Wait("go").execute()
        return f"one {self.name}"


class Trip_v3(Trip_v1):
    async def handle(self) -> str:
        await Wait("go").execute()
        return f"three {self.name}"


async def test_versions_may_be_in_the_names_of_classes() -> None:
    engine = TestEngine(Trip_v1)
    async with engine:
        first = await engine.start("Trip", {"name": "a"}, key="a")
        engine._workflows = [Trip_v3, Trip_v1]  # in any order
        await engine.crash()
        second = await engine.start("Trip", {"name": "b"}, key="b")
        third = await Trip_v3("c").dispatch()
        old = await Trip_v1("d").dispatch()
        assert [(await engine.get(i.id)).version for i in (first, second, third, old)] == [
            1, 3, 3, 1,
        ]  # fmt: skip
        for cls, name in ((Trip_v1, "a"), (Trip_v3, "b"), (Trip_v1, "c"), (Trip_v3, "d")):
            await cls.where_id(name).send_event("go")  # either class finds all
        results = [await engine.result(i.id) for i in (first, second, third, old)]
        assert results == ["one a", "three b", "three c", "one d"]


async def test_a_class_declared_under_another_name_is_found_under_it() -> None:
    @workflow(name="other name")
    class Named(Workflow):
        def __init__(self, name: str) -> None:
            self.name = name

        def id(self) -> str:
            return self.name

        async def handle(self) -> str:
            await Wait("go").execute()
            return self.name

    @workflow
    async def parent() -> Any:
        return await Named("child").execute()

    async with TestEngine(Named, parent) as engine:
        await Named("x").dispatch()
        assert (await Named.where_id("x").find()).name == "x"
        instance = await engine.start(parent)
        await engine.until_idle()
        await Named.where_id("child").send_event("go")
        assert await instance.result() == "child"
