"""Mutants of resources: rows W11 to W14, C15 and C21."""

from __future__ import annotations

from typing import Final

from greenroom.actors.instance import Instance
from greenroom.definitions import injection, resources
from greenroom.definitions.injection import Injector
from greenroom.runtime import saves
from greenroom.runtime.attempts import Attempts
from greenroom.runtime.memory_resources import MemoryResources
from greenroom.runtime.sqlite_resources import Resources
from tests.mutants.registry import Mutant, both, rewrite

PURE: Final = "tests/definitions/test_resources.py::"
LIVE: Final = "tests/runtime/test_resources.py::"
STORE: Final = "tests/runtime/store/test_resources.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "an-unknown-id-is-made-anew",
        "W11",
        rewrite(
            Injector._loaded,
            "        raise ResourceNotFound(",
            "        return wanted.kinds[0]()\n        raise ResourceNotFound(",
        ),
        (LIVE + "test_w11_an_unknown_id_fails_as_resource_not_found",),
    ),
    Mutant(
        "a-dict-without-an-id-is-a-new-one",
        "W11",
        rewrite(
            Injector._ids,
            "        if id is None:",
            "        if id is None and not isinstance(item, dict):",
        ),
        (LIVE + "test_w11_a_dict_without_an_id_fails",),
    ),
    Mutant(
        "what-is-asked-for-is-saved",
        "W12",
        rewrite(
            Attempts._finished,
            "        statements = call.saves\n",
            "        from greenroom.runtime.saves import saves_in\n"
            "        statements = call.saves or saves_in(list(call.arguments.values()), '', call.key, 1)\n",
        ),
        (LIVE + "test_w12_requested_and_not_returned_is_not_saved",),
    ),
    Mutant(
        "only-the-top-of-a-result-is-saved",
        "W12",
        rewrite(
            saves.saves_in,
            "in resources_in(value):",
            "in [v for v in value.values() if hasattr(v, '_base')]:",
        ),
        (LIVE + "test_w12_new_and_changed_ones_are_saved_wherever_they_are_in_the_result",),
    ),
    Mutant(
        "the-last-one-wins",
        "W12",
        both(
            rewrite(Resources.refusal, "if found != (", "if False and found != ("),
            rewrite(
                MemoryResources.refusal,
                "    if row.version != save.row.version - 1 or",
                "    if",
            ),
        ),
        (STORE + "test_w12_another_version_than_was_read_refuses_the_whole_turn",),
    ),
    Mutant(
        "a-failed-result-saves-all-the-same",
        "W12",
        rewrite(
            Instance._take,
            "and entries and type(entries[0]) is OpCompleted:",
            "and entries:",
        ),
        (LIVE + "test_w12_a_result_that_cannot_be_recorded_saves_nothing",),
    ),
    Mutant(
        "each-attempt-makes-another",
        "W13",
        rewrite(
            saves.new_resource_id,
            'return uuid.uuid5(_IDS, f"{instance}/{op}/{name}")',
            "return uuid.uuid4()",
        ),
        (LIVE + "test_w13_a_new_one_has_the_same_id_in_every_attempt",),
    ),
    Mutant(
        "two-new-ones-in-a-step",
        "C15",
        rewrite(Injector._check_new, "    if len(new) > 1:", "    if len(new) > 2:"),
        (
            PURE + "test_w13_two_new_ones_in_one_step_are_refused_before_either_is_made",
            LIVE + "test_w13_two_new_ones_in_one_step_are_refused",
        ),
    ),
    Mutant(
        "other-types-are-plain-values",
        "W14",
        rewrite(
            injection.wanted_of,
            '    raise InvalidDefinition(\n        f"{what}: {_text(annotation)} cannot be loaded',
            "    return None\n    raise InvalidDefinition(\n"
            '        f"{what}: {_text(annotation)} cannot be loaded',
        ),
        (PURE + "test_w14_other_types_are_not_supported_and_refused_when_the_step_is_declared",),
    ),
    Mutant(
        "a-variant-for-any-status",
        "W14",
        rewrite(
            resources._may_be,
            "    if kind.__lifecycle__ and row.status not in kind.__lifecycle__:",
            "    if False:",
        ),
        (PURE + "test_w14_an_object_is_loaded_as_the_class_of_its_product_and_status",),
    ),
    Mutant(
        "resources-are-saved-beside-the-turn",
        "C21",
        rewrite(
            Instance._take,
            "batch.append.resources = [one for one in extras if type(one) is ResourceSave]",
            "pass",
        ),
        (LIVE + "test_c21_a_crash_before_or_after_the_commit_saves_once",),
    ),
    Mutant(
        "a-step-that-was-given-up-is-run",
        "C21",
        rewrite(
            Attempts._fetch,
            "if instance.dead or instance.running.get(key) != attempt or self._directory.stopping:",
            "if False:",
        ),
        (LIVE + "test_c21_an_instance_cancelled_while_its_resources_are_read_never_runs_the_step",),
    ),
)
