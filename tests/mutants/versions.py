"""Mutants of versions and changes by hand (W15, features 1.9, `edit`, `migrate`, the gate)."""

from __future__ import annotations

from typing import Final

from greenroom.actors import edits, progress, replay, retrace
from greenroom.actors.decide import Kernel
from greenroom.actors.machine import Machine
from greenroom.definitions import grants
from greenroom.definitions.gates import Gate
from greenroom.runtime import memory_read, recordings, sqlite_keep, views, works
from greenroom.runtime.directory import Directory
from greenroom.runtime.grants import Grants
from greenroom.runtime.registry import Registry
from greenroom.runtime.releases import Definitions
from tests.mutants.registry import Mutant, both, rewrite

HERE: Final = "tests/runtime/"
VERSIONS: Final = HERE + "test_versions.py::"
STEERING: Final = HERE + "test_steering.py::"
GRANTS: Final = HERE + "test_grants.py::"
GATES: Final = HERE + "test_gates.py::"
RECORDINGS: Final = HERE + "test_recordings.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "a-start-stores-what-it-should-follow", "W15",
        rewrite(Definitions.settle, "if sync:\n        await", "if True:\n        await"),
        (VERSIONS + "test_W15_without_sync_the_store_is_followed_and_the_difference_shown",),
    ),
    Mutant(
        "a-restart-undoes-a-rollback", "V1.9",
        rewrite(Definitions._store_loaded, "known.hash != definition.hash", "True"),
        (VERSIONS + "test_a_rollback_holds_over_a_restart_until_the_code_changes",),
    ),
    Mutant(
        "pushed-is-released", "V1.9",
        rewrite(Definitions.store, "release=release", "release=True"),
        (VERSIONS + "test_the_counter_moves_only_on_change_and_only_promote_releases",),
    ),
    Mutant(
        "a-first-version-needs-no-grant", "D32",
        rewrite(Definitions.store, "(first and not lacking)", "first"),
        (GRANTS + "test_a_first_version_that_uses_a_service_is_released_by_nobody_but_a_promoter",),
    ),
    Mutant(
        "a-release-approves-unasked", "D32",
        rewrite(Definitions._check_grants, "if lacking:", "if False:"),
        (GRANTS + "test_a_version_that_uses_more_is_refused_with_what_is_new",),
    ),
    Mutant(
        "unreleased-versions-are-granted", "D32",
        rewrite(Grants.check, "not lacking and version in held.versions", "not lacking"),
        (GRANTS + "test_a_version_that_nobody_released_uses_nothing_though_its_workflow_may",),
    ),
    Mutant(
        "data-names-secrets", "D32",
        rewrite(works._check_grants, "sorted(secrets_in(parameters))", "()"),
        (GRANTS + "test_D32_a_secret_that_data_names_is_not_looked_up_unless_it_was_granted",),
    ),
    Mutant(
        "grants-outlive-their-workflow", "D32",
        rewrite(Grants.forget, "if held is None:", "if True:"),
        (GRANTS + "test_grants_outlive_a_restart_and_end_with_the_workflow",),
    ),
    Mutant(
        "what-takes-back-is-not-looked-at", "D32",
        rewrite(grants.uses_of, "if action.undo is not None:", "if False:"),
        (GRANTS + "test_what_a_document_uses_is_read_off_it",),
    ),
    Mutant(
        "a-version-is-released-without-its-code", "V1.9",
        rewrite(Definitions._release, "self._check_runs(row)\n", "pass\n"),
        (VERSIONS + "test_a_version_is_released_only_where_its_code_is",),
    ),
    Mutant(
        "the-release-is-deleted", "V1.9",
        rewrite(Definitions.delete, "len(chosen) < len(rows) and", "False and"),
        (VERSIONS + "test_rules_of_deleting",),
    ),
    Mutant(
        "live-versions-are-deleted", "V1.9",
        rewrite(Definitions.delete, "if live is not None:", "if False:"),
        (VERSIONS + "test_rules_of_deleting",),
    ),
    Mutant(
        "a-new-version-is-switched-on", "V1.9",
        both(
            rewrite(
                memory_read.MemoryKeeper.save_definition,
                "enabled=all(r.enabled for r in rows)", "enabled=True",
            ),
            rewrite(
                sqlite_keep.Keeper.save_definition,
                "enabled = all(row.enabled for row in rows)", "enabled = True",
            ),
        ),
        (VERSIONS + "test_disabled_stops_triggers_and_not_what_runs",),
    ),
    Mutant(
        "an-old-document-is-read-as-the-new-one", "V1.9",
        rewrite(
            Registry.version,
            "return self._of_document(row)\n",
            "return self.find(name)\n",
        ),
        (VERSIONS + "test_pushed_documents_survive_a_restart_without_any_file",),
    ),
    Mutant(
        "what-is-gone-goes-on", "W15",
        rewrite(Kernel._check_there, "if self.definition.gone:", "if False:"),
        (STEERING + "test_W15_an_instance_of_a_workflow_that_is_gone_can_be_read_and_cancelled",),
    ),
    Mutant(
        "an-edit-is-not-replayed", "edit",
        rewrite(replay._follow, "            machine.edit(entry.delta)\n", ""),
        (STEERING + "test_an_edit_of_a_class_stays_true_after_replay",),
    ),
    Mutant(
        "an-edit-does-not-reach-the-object", "edit",
        rewrite(Machine.edit, "held[name], self.encoded", "_, self.encoded"),
        (STEERING + "test_an_edit_of_a_class_stays_true_after_replay",),
    ),
    Mutant(
        "a-dead-view-hides-an-edit", "edit",
        rewrite(progress._edited, "if p.view and", "if False and"),
        (STEERING + "test_an_edit_of_a_failed_class_is_there_when_it_is_resumed",),
    ),
    Mutant(
        "a-move-asks-for-no-steps", "migrate",
        rewrite(edits.not_followed, "    if missing:", "    if False:"),
        (STEERING + "test_a_move_names_the_steps_that_are_missing",),
    ),
    Mutant(
        "a-refused-child-is-told-to-nobody", "detach",
        rewrite(
            Directory._child_created,
            "if detached is not None:", "if False and detached:",
        ),
        (STEERING + "test_a_detached_child_whose_key_is_taken_is_in_the_history",),
    ),
    Mutant(
        "nobody-cancelled-it", "by",
        rewrite(views._end, "entry.by if isinstance(entry, e.CancelRequested) else None", "None"),
        (STEERING + "test_who_did_it_is_in_the_history_of_every_verb",),
    ),
    Mutant(
        "only-if-is-not-asked", "only_if",
        rewrite(Gate.check, "    if why is not None:", "    if False:"),
        (GATES + "test_a_start_is_refused_with_the_reason_and_nothing_is_stored",),
    ),
    Mutant(
        "the-gate-lets-all-through", "gate",
        rewrite(recordings.refuse, "> allow:", "> 1:"),
        (RECORDINGS + "test_the_gate_counts_who_ends_the_same_and_says_who_does_not",),
    ),
    Mutant(
        "an-answer-to-another-call-is-taken", "gate",
        rewrite(
            retrace._Walk._known,
            "self.kernel.is_plan or asked.name == request.name", "True",
        ),
        (RECORDINGS + "test_programs_are_followed_too",),
    ),
)  # fmt: skip
