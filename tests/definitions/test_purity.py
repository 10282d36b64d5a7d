"""The determinism guard (Z3): a warning with file and line when a program is registered, an error
when it is strict, nothing for what is fine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from greenroom import DeterminismWarning, InvalidDefinition, workflow
from greenroom.definitions.declare import compile_definition, definition_of
from tests.definitions import impure

SOURCE = Path(impure.__file__).read_text().splitlines()


def line_of(text: str) -> int:
    (found,) = [number for number, line in enumerate(SOURCE, 1) if text in line]
    return found


@pytest.mark.parametrize(
    ("subject", "what", "instead"),
    [
        (impure.by_module, "time.time()", "now()"),
        (impure.by_name, "time.time()", "now()"),
        (impure.sleeps, "time.sleep()", "sleep(...)"),
        (impure.by_alias, "datetime.datetime.now()", "now()"),
        (impure.by_class, "datetime.datetime.utcnow()", "now()"),
        (impure.today, "datetime.date.today()", "now()"),
        (impure.random_module, "random.random()", "random()"),
        (impure.random_name, "random.randint()", "random()"),
        (impure.uuid4, "uuid.uuid4()", "uuid()"),
        (impure.opens, "open()", "task"),
        (impure.asks, "input()", "task"),
        (impure.reads, "pathlib.Path().read_text()", "task"),
        (impure.environment, "os.environ", "task"),
        (impure.imports_inside, "requests.get()", "task"),
        (impure.asyncio_sleep, "asyncio", "greenroom's"),
        (impure.asyncio_gather, "asyncio", "greenroom's"),
        (impure.set_order, "the order of a set", "sorted"),
        (impure.through_helper, "(through helper()) uses time.time()", "now()"),
        (impure.in_a_branch, "time.time()", "now()"),
        (impure.ByMethod, "(through stamp()) uses time.time()", "now()"),
        (impure.InHandler, "time.time()", "now()"),
        (impure.PlainHandle, "time.time()", "now()"),
    ],
)
def test_z3_what_a_replay_would_not_find_alike_is_warned_of(
    subject: Any, what: str, instead: str
) -> None:
    with pytest.warns(DeterminismWarning) as warned:
        compile_definition(subject)
    (found,) = warned
    assert what in str(found.message)
    assert instead in str(found.message)
    assert found.filename == impure.__file__


def test_z3_the_warning_names_the_line() -> None:
    with pytest.warns(DeterminismWarning) as warned:
        definition_of(impure.InHandler)
    assert warned[0].lineno == line_of("self.at = time.time()")
    with pytest.warns(DeterminismWarning) as warned:
        compile_definition(impure.through_helper)
    assert warned[0].lineno == line_of("return deeper() + time.time()")


def test_helpers_are_followed_one_call_deep() -> None:
    with pytest.warns(DeterminismWarning) as warned:
        compile_definition(impure.through_helper)
    assert not any("monotonic" in str(found.message) for found in warned)


@pytest.mark.parametrize(
    "subject",
    [impure.uses_ops, impure.calls_a_task, impure.pure_parts, impure.sorted_set, impure.Stamp],
)
def test_z3_what_is_fine_is_not_warned_of(subject: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        definition_of(subject) if isinstance(subject, type) else compile_definition(subject)


def test_a_name_of_the_function_itself_is_not_the_module() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_definition(impure.shadows)


def test_z3_a_strict_program_is_refused_with_all_it_does() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        workflow(strict=True)(impure.PlainHandle)
    (problem,) = refused.value.problems
    assert problem.where == f"{impure.__file__}:{line_of('class PlainHandle') + 2}"
    assert "time.time()" in problem.message


def test_code_without_a_source_is_let_through() -> None:
    space: dict[str, Any] = {}
    exec("import time\nasync def made(n): return time.time()", space)  # noqa: S102
    assert compile_definition(space["made"]).name == "made"
