"""Mutants of workflow documents: reading, lowering, kept data, trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from greenroom.actors import failures, planned, retrace
from greenroom.actors.walk import Walk
from greenroom.definitions import (
    analysis,
    connectordocs,
    coreparameters,
    documents,
    functions,
    lowering,
    names,
    openings,
    parameters,
    patterns,
    shapes,
    trying,
    yamltext,
)
from greenroom.definitions.actions import ActionReader
from greenroom.definitions.located import Located
from greenroom.definitions.parameters import Resolved
from greenroom.definitions.roots import Scope
from greenroom.runtime import folders, keptdata, reloading, remarks, trust
from greenroom.runtime.attempts import Attempts
from greenroom.runtime.keptdata import KeptData
from greenroom.runtime.layers.looking import Looking
from greenroom.runtime.paces import Line
from greenroom.runtime.releases import Definitions
from greenroom.runtime.slots import Slots
from tests.mutants.registry import Mutant, rewrite

READ: Final = "tests/definitions/test_documents.py"
RUN: Final = "tests/runtime/test_documents.py"
TRY: Final = "tests/definitions/test_trying.py"
SEED: Final = "tests/seeds/test_004.py"
KEPT: Final = "tests/runtime/test_keptdata.py"
HOSTILE: Final = "tests/runtime/test_hostile.py"
SECURITY: Final = "tests/runtime/test_rows_of_security.py"
AGAIN: Final = "tests/runtime/test_reloading.py"


def mutant(name: str, row: str, plant: Callable[[], None], *tests: str) -> Mutant:
    return Mutant(name, row, plant, tests)


MUTANTS: Final = (
    mutant("document-takes-any-version", "F1", rewrite(shapes._check, "and type(value) is type(schema[\"const\"])", ""), READ),
    mutant("document-places-are-lost", "F4", rewrite(Located.placed, "if problem.where is not None:", "if True:"), READ),
    mutant("document-keys-twice", "F4", rewrite(Located.note_key, "if path in self._keys:", "if False:"), READ),
    mutant("document-yaml-anchors", "F4", rewrite(yamltext._Builder._value, "isinstance(event, yaml.AliasEvent) or getattr(event, \"anchor\", None)", "False"), READ),
    mutant("document-false-condition-skips", "F6", rewrite(lowering._guards, "condition.on_fail)", "\"skip\")"), RUN),
    mutant("document-schedule-with-condition", "F9", rewrite(documents._Reader.source, "if \"condition\" in data:", "if False:"), READ),
    mutant("document-body-alone", "F10", rewrite(coreparameters._check_body, "if one in given and other not in given:", "if False:"), READ),
    mutant("document-orders-are-places", "F12", rewrite(ActionReader.actions, "key=lambda one: one.order", "key=lambda one: 0"), READ),
    mutant("document-constants-unchecked", "F15", rewrite(ActionReader._check_parameters, "if service is not None:", "if False:"), SEED),
    mutant("document-values-unchecked", "F15", rewrite(parameters.resolve, "if not action.parameters.constant:", "if False:"), f"{RUN}::test_F15_what_expressions_give_a_core_action_is_judged_by_its_schema"),
    mutant("document-chance-is-drawn-alike", "F16", rewrite(functions._random_string, "instant.draw(64)", "b\"x\" * 64"), RUN),
    mutant("document-transform-over-the-state", "F18", rewrite(lowering._after, "seen if own else response", "seen"), RUN, SEED),
    mutant("document-state-keeps-what-was-replaced", "F21", rewrite(Scope.change, "(*(name for name in before if name not in after), *drop)", "()"), RUN, SEED),
    mutant("document-callback-is-late", "F22", rewrite(lowering._called_back, "early=True", "early=False"), RUN),
    mutant("document-on-error-is-for-nobody", "on_error", rewrite(ActionReader._action, "retry = self.retry", "pass"), f"{RUN}::test_on_error_of_the_workflow_is_for_actions_that_say_nothing"),
    mutant("slots-are-endless", "F23", rewrite(Slots._admit, "len(lane.holders) >= rule.limit", "False"), RUN),
    mutant("slots-are-forgotten", "F23", rewrite(Slots.recover, "await self.follow(definition)", "pass"), RUN),
    mutant("slots-are-never-free", "F23", rewrite(Slots.watch, "if p.ended:", "if False:"), RUN),
    mutant("slots-know-no-priority", "F23", rewrite(Line.add, "(place, id)", "((0, place[1]), id)"), RUN),
    mutant("document-hash-with-descriptions", "F24", rewrite(documents._bare, "if key != \"description\"", ""), READ),
    mutant("document-start-asks-nobody", "F26", rewrite(openings.opening_of, "not source.condition.holds(input)", "False"), RUN),
    mutant("document-item-is-the-state", "Iterator", rewrite(Scope.see, "if self.depth == 0:", "if True:"), RUN),
    mutant("document-stray-arguments", "Call", rewrite(Resolved.arguments, "parameters.get(\"arguments\", {})", "source"), RUN),
    mutant("data-counts-without-a-guard", "Data", rewrite(KeptData._count, "(_UNCHANGED, (scope, key, version))", ""), KEPT),
    mutant("data-forgets-what-is-on-its-way", "Data", rewrite(KeptData._on_its_way, "if found is None or", "if True or"), KEPT),
    mutant("document-works-for-ever", "D", rewrite(Walk._spend, "if work > WORK_MAX:", "if False:"), HOSTILE + "::test_iterators_in_each_other_are_stopped_by_their_work"),
    mutant("document-expressions-are-free", "D", rewrite(Walk._spend, "self.work + instants.work()", "self.work"), HOSTILE + "::test_expressions_of_a_turn_are_paid_together"),
    mutant("document-state-has-no-size", "D40", rewrite(Walk.check_size, "if size > VALUE_BYTES_MAX:", "if False:"), SECURITY + "::test_D40_a_state_is_not_replaced_by_what_is_too_large"),
    mutant("document-has-any-number-of-actions", "D", rewrite(ActionReader.actions, "if self._count > ACTIONS_IN_ALL_MAX:", "if False:"), HOSTILE + "::test_a_document_has_so_many_actions_in_all_and_so_many_values"),
    mutant("patterns-of-code-run-on-re", "D", rewrite(patterns._parts, "or one.pattern is None", "or True"), "tests/definitions/test_forms.py::test_D_a_pattern_that_can_be_made_slow_is_refused_where_it_is_written"),
    mutant("namespaces-are-anything", "D", rewrite(names.check_namespace, "not name.isprintable()", "False"), HOSTILE + "::test_a_namespace_is_a_short_printable_name"),
    mutant("names-walk-up", "D", rewrite(names.name_problem, "if name in _STEPS:", "if False:"), HOSTILE + "::test_a_workflow_is_called_what_an_address_and_a_terminal_can_have"),
    mutant("backups-go-anywhere", "D", rewrite(Looking.backup, "Path(path) if is_owner else own_place(self.journal, path)", "Path(path)"), HOSTILE + "::test_whoever_comes_over_the_network_copies_the_store_to_its_own_folder_alone"),
    mutant("files-of-others-are-run", "D36", rewrite(trust.check_file, "mode & 0o002 or", "False and"), SECURITY + "::test_D36_a_file_that_others_can_write_is_not_run"),
    mutant("written-secrets-are-shown", "F8", rewrite(connectordocs._Reader.secret, "return SCHEME + name", "return value"), "tests/definitions/test_connectors.py::test_F8_a_secret_that_is_written_out_as_in_the_original_works_and_is_shown_nowhere"),
    mutant("data-fills-the-disk", "Data", rewrite(KeptData._is_crowded, "if not found.crowded:", "if True:"), KEPT),
    mutant("data-is-measured-before-alone", "Data", rewrite(KeptData._write, "ctx.statements.append((_FITS, (scope, VALUES_MAX, BYTES_MAX, TOTAL_MAX)))", "pass"), KEPT),
    mutant("data-past-its-time-fills", "Data", rewrite(keptdata.measure_data, "if crowded:", "if False:"), KEPT),
    mutant("data-crosses-namespaces", "Data", rewrite(Attempts._context, "p.namespace", "\"\""), RUN),
    mutant("data-lives-for-ever", "Data", rewrite(KeptData._write, "ctx.at + round(ttl_s * 1000)", "1 << 62"), RUN),
    mutant("circles-of-one-are-missed", "cycles", rewrite(analysis._circles, "elif following in line:", "elif following in line[:-1]:"), READ),
    mutant("trial-takes-the-last-branch", "try", rewrite(trying._Follower._branch, "for branch in action.branches:", "for branch in action.branches[::-1]:"), TRY),
    mutant("reload-takes-what-is-right", "reload", rewrite(reloading.reload, "if problems:", "if False:"), AGAIN),
    mutant("undo-changes-the-state", "compensate", rewrite(Walk._absorb, "if merges(self.definition, key):", "if True:"), f"{RUN}::test_what_takes_back_may_respond_with_anything_and_changes_no_state"),
    mutant("undo-must-give-an-object", "compensate", rewrite(planned.merges, "return node is None or (node.after is None and node.kind == \"call\")", "return True"), f"{RUN}::test_what_takes_back_may_respond_with_anything_and_changes_no_state"),
    mutant("values-of-core-actions-unchecked", "F15", rewrite(parameters._problems, "return given_problems(", "return [] or (lambda *_: [])("), f"{RUN}::test_F15_what_expressions_give_a_core_action_is_judged_by_its_schema"),
    mutant("hints-are-lost", "hint", rewrite(failures.failure_of, "details[\"hint\"] = error.hint[:HINT_CHARACTERS_MAX]", "pass"), f"{RUN}::test_the_hint_of_an_error_is_kept_with_the_failure"),
    mutant("pushed-circles-are-missed", "cycles", rewrite(remarks._started_by, "left = list(_names(starts(mine), by_type))", "left = []"), "tests/runtime/test_versions_documents.py::test_a_push_says_what_is_odd_also_with_the_workflows_of_others"),
    mutant("gate-sees-no-event", "gate", rewrite(retrace._Walk.verdict, "if found.verdict == \"same\" and self.otherwise", "if False"), "tests/runtime/test_versions_documents.py::test_the_gate_sees_that_another_event_is_emitted"),
    mutant("gate-sees-no-state-of-who-waits", "gate", rewrite(retrace._Walk._still_open, "if not names:", "if True:"), "tests/runtime/test_versions_documents.py::test_the_gate_sees_what_those_that_still_wait_would_wait_for_and_have"),
    mutant("slips-are-told-twice", "F12", rewrite(shapes._check_object, "and not is_mistyped(name, value, known)", ""), f"{READ}::test_all_problems_are_told_at_once_with_file_line_column_and_path"),
    mutant("folders-below-are-missed", "folders", rewrite(folders.documents, "yield from documents(path)", "pass"), "tests/runtime/test_loading.py::test_documents_are_found_at_any_depth_and_python_only_in_the_folder_itself"),
    mutant("dry-run-deletes", "V1.9", rewrite(Definitions.delete, "if dry_run:", "if False:"), "tests/runtime/test_versions_documents.py::test_a_dry_run_of_rollback_and_delete_says_what_and_does_nothing"),
)  # fmt: skip
