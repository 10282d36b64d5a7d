"""Mutants of the rows of classes with `handle()`: Z1 to Z15, each caught by a test of its name."""

from __future__ import annotations

from typing import Final

from greenroom.actors import decide
from greenroom.actors.decide import Kernel
from greenroom.actors.machine import Machine
from greenroom.definitions import declare, engines, programs
from greenroom.definitions.engines import Environment
from greenroom.runtime.finder import Finder
from tests.mutants.registry import Mutant, rewrite

ROWS: Final = "tests/runtime/test_zenaton.py::test_"
BRANCHES: Final = "tests/runtime/test_zenaton_branches.py::test_"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "a-class-needs-no-handle", "Z1",
        rewrite(declare._class_program, "handle is Workflow.handle", "False"),
        (ROWS + "z1_a_class_without_handle_is_refused",),
    ),
    Mutant(
        "what-is-dispatched-is-not-checked", "Z2",
        rewrite(programs.workflow_input, 'encode(value, f"{type(subject).__name__}.{name}")', "pass"),
        (ROWS + "z2_an_attribute_that_cannot_be_stored_is_refused_at_dispatch_by_name",),
    ),
    Mutant(
        "nobody-is-warned", "Z3",
        rewrite(declare.compile_definition, "check_program(functions, title, body.cls, options.get(\"strict\", False))", "pass"),
        ("tests/definitions/test_purity.py::test_z3_what_a_replay_would_not_find_alike_is_warned_of",
         "tests/definitions/test_purity.py::test_z3_a_strict_program_is_refused_with_all_it_does"),
    ),
    Mutant(
        "a-live-machine-is-made-anew", "Z4",
        rewrite(Kernel.ensure_machine, "self.machine is None or self.machine.broken", "True"),
        (BRANCHES + "z4_handle_runs_again_only_to_be_brought_back",),
    ),
    Mutant(
        "an-environment-needs-no-name", "Z5",
        rewrite(Environment.__init__, "not 0 < len(app_env) <= NAME_MAX", "False"),
        (ROWS + "z5_an_environment_needs_a_name",),
    ),
    Mutant(
        "anything-is-an-id", "Z6",
        rewrite(programs.workflow_key, "if isinstance(key, bool) or not isinstance(key, str | int) or not str(key):", "if False:"),
        (ROWS + "z6_what_is_no_id_is_refused",),
    ),
    Mutant(
        "nothing-found-is-an-error", "Z7",
        rewrite(Finder.find, "return None", "raise"),
        (ROWS + "z7_nothing_found_is_none_for_find_and_not_found_for_the_rest",),
    ),
    Mutant(
        "a-running-one-is-resumed", "Z8",
        rewrite(Kernel._resume, 'if status_of(p) == "running":', "if False:"),
        (BRANCHES + "z8_resume_of_a_running_one_is_refused_and_of_a_paused_or_failed_one_goes_on",),
    ),
    Mutant(
        "a-completed-one-is-killed", "Z9",
        rewrite(Kernel._cancel, "if p.end is not None:", "if False:"),
        (ROWS + "z9_kill_twice_is_ok_and_of_a_completed_one_refused",),
    ),
    Mutant(
        "kill-pauses", "Z10",
        rewrite(Finder.kill, "self._engine.cancel(", "self._engine.pause("),
        (BRANCHES + "z10_the_verbs_of_the_interface_are_those_of_the_code",
         "tests/seeds/test_003.py::test_z9_kill"),
    ),
    Mutant(
        "hidden-attributes-are-kept", "Z11",
        rewrite(engines.properties, 'if not name.startswith("_")', "if True"),
        (ROWS + "z11_a_deleted_attribute_is_removed_and_a_hidden_one_is_never_kept",),
    ),
    Mutant(
        "what-is-found-has-no-properties", "Z12",
        rewrite(Finder.find, "vars(thing).update(found.state)", "pass"),
        (ROWS + "z12_find_gives_an_object_of_the_class_with_the_properties",),
    ),
    Mutant(
        "a-task-gives-nothing", "Z13",
        rewrite(Machine._cause, "self._feed(cause.key, cause.value, None)", "self._feed(cause.key, None, None)"),
        (BRANCHES + "z13_the_result_of_a_task_becomes_a_property",),
    ),
    Mutant(
        "a-rule-for-errors-is-not-asked", "Z14",
        rewrite(decide._retry_delay, "if m.after_s is not None:", "if False:"),
        ("tests/runtime/test_engine_steps.py::test_a_task_names_the_delay_of_its_errors",
         ROWS + "z14_an_error_of_a_task_fails_and_resume_tries_it_again"),
    ),
    Mutant(
        "nobody-is-told-of-events", "Z15",
        rewrite(Kernel._offer, "self._handles_events", "False"),
        (ROWS + "z15_an_error_in_on_event_fails_the_instance",),
    ),
)  # fmt: skip
