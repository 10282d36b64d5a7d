"""What can be told when a workflow is declared is told then, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.definitions.declare import compile_definition, definition_of, workflow
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.ops import sleep
from greenroom.definitions.programs import Workflow
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.steps import StepList, begin, conditional, done, step


@step
def one() -> None: ...


async def program() -> None:
    await sleep(1)


def plan() -> Any:
    return begin >> one >> done


def generator() -> Any:
    yield one


async def stream() -> Any:
    yield one


def needs(x: int) -> Any:
    return begin >> one


def nothing() -> Any:
    return None


class NoHandle: ...


class Bare(Workflow): ...


@pytest.mark.parametrize(
    ("subject", "options", "text"),
    [
        (one, {}, "is a step"),
        (generator, {}, "must be a coroutine function"),
        (stream, {}, "."),
        (needs, {}, "plain function with arguments"),
        (nothing, {}, "must return a step list"),
        (NoHandle, {}, "has no handle"),
        (Bare, {}, "has no handle"),
        (5, {"name": "five"}, "must be a coroutine function"),
        (program, {"name": "a/b"}, "must not have a"),
        (program, {"name": "n" * 1000}, "characters"),
        (program, {"version": 0}, "whole number"),
        (program, {"version": True}, "whole number"),
        (program, {"version": "1"}, "whole number"),
        (program, {"where": "a"}, "needs on="),
        (program, {"on": ""}, "event type"),
        (program, {"on": 5}, "event type"),
        (program, {"schedule": {"cron": "never"}}, "."),
    ],
)
def test_a_bad_definition_is_refused(subject: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidDefinition, match=text):
        compile_definition(subject, **options)


def test_the_hash_is_that_of_the_code_and_of_its_options() -> None:
    first = compile_definition(program)
    assert first.hash == compile_definition(program).hash
    assert first.hash != compile_definition(program, on="e").hash
    assert (
        compile_definition(plan).hash
        != compile_definition(lambda: begin >> one >> one, name="plan").hash
    )


def test_a_declared_function_stays_callable_and_is_found_again() -> None:
    declared = workflow(program)
    assert definition_of(declared).name == "program"
    with pytest.raises(InvalidDefinition, match="not a workflow"):
        definition_of(program)
    with pytest.raises(InvalidDefinition, match="no name"):
        definition_of(begin >> one)


def test_steps_in_a_line_are_associative_and_begin_is_nothing() -> None:
    assert begin >> (one >> one) == (begin >> one) >> one
    assert (begin >> one >> done) == StepList.of(one)


def test_w7_a_list_is_looked_at_like_any_list() -> None:
    steps = begin >> one >> conditional(lambda state: True)(one) >> done
    assert [(line.name, line.key) for line in steps] == [(one.name, one.key)] * 2
    assert steps[1:] == StepList((steps[1],))
    assert (steps[0].step, len(steps[:0])) == (one, 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "sometimes"}, "mode must be one of"),
        ({"mode": "at_most_once", "retry": RetryPolicy()}, "exclude each other"),
        ({"executor": "cloud"}, "executor must be"),
        ({"name": " "}, "must be text"),
    ],
)
def test_a_bad_step_is_refused_where_it_is_decorated(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidDefinition, match=text):
        step(options.pop("name", "x"), **options)(lambda: None)


def test_things_that_are_no_steps_are_refused() -> None:
    for bad in (5, print, lambda: None):
        with pytest.raises(InvalidDefinition, match="is not a step"):
            begin >> bad
    with pytest.raises(InvalidDefinition):
        step(one)
    with pytest.raises(InvalidDefinition, match="generator"):
        step(generator)
    with pytest.raises(InvalidDefinition, match="needs a function or a condition"):
        conditional(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidDefinition, match="has no steps"):
        conditional(lambda state: True)()


def test_w7_what_is_put_into_a_list_by_mistake_is_told_what_to_write() -> None:
    async def made() -> None: ...

    for bad, said, hint in [
        ({}, r"\{\} is not a step", "without calling it"),
        (made(), "made is not a step", "without calling it"),
        ([one, one], "is not a step", "join steps with >>"),
        (conditional(lambda s: True), "has no steps yet", "conditional(predicate)(step)"),
        (workflow(plan), "plan is a workflow and no step", "that both use"),
    ]:
        with pytest.raises(InvalidDefinition, match=said) as caught:
            begin >> bad
        assert caught.value.hint is not None and hint in caught.value.hint
    with pytest.raises(InvalidDefinition, match="plan is a workflow and cannot be a step"):
        step("x")(workflow(plan))
    with pytest.raises(InvalidDefinition, match="asks a predicate, <step"):
        conditional(one)  # type: ignore[arg-type]


def test_w1_steps_of_lambdas_have_the_keys_of_their_labels() -> None:
    first: Any = step("Lay the cable")(lambda: {"laid": True})
    second: Any = step("Test it")(lambda: {"tested": True})
    assert (first.key, second.key) == ("lay_the_cable", "test_it")
    assert len(begin >> first >> second) == 2


def test_a_key_that_is_meant_as_an_expression_is_not_taken_for_a_text() -> None:
    with pytest.raises(InvalidDefinition, match="is that very text") as caught:
        compile_definition(plan, on="e", key="data.id")
    assert caught.value.hint is not None and 'key="::data.id"' in caught.value.hint
    assert compile_definition(plan, on="e", key="only-one").key_for({"data": {}}) == "only-one"


def test_z1_a_handle_is_given_nothing_but_self() -> None:
    class Wants(Workflow):
        async def handle(self, order_id: str, n: int = 1) -> None:  # type: ignore[override]
            ...

    with pytest.raises(InvalidDefinition, match=r"Wants\.handle takes order_id") as caught:
        compile_definition(Wants)
    assert caught.value.hint is not None and "__init__" in caught.value.hint

    class Has(Workflow):
        async def handle(self, n: int = 1, *rest: Any, **more: Any) -> None: ...

    assert compile_definition(Has).name == "Has"


def test_two_steps_with_one_key_are_refused() -> None:
    def same(name: str) -> Any:
        def one() -> None: ...

        return step(name)(one)

    with pytest.raises(InvalidDefinition, match='two steps have the key "one"'):
        (begin >> same("a") >> same("b")).plan()


def test_an_option_that_nobody_has_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="no option 'concurency'; did you mean \"concurrency\""):
        workflow(concurency=1)  # type: ignore[call-overload]
