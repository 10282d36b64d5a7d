"""Mutants of the kernel's rules, by the numbers they have in `tests/actors/test_rules.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from greenroom.actors import (
    asking,
    cell,
    children,
    decide,
    effects,
    failures,
    machine,
    progress,
    recheck,
    replay,
)
from greenroom.actors.decide import Kernel
from greenroom.actors.instance import Instance
from greenroom.actors.machine import Machine
from greenroom.actors.rows import AppendBuilder
from tests.mutants.registry import Mutant, replace, rewrite

RULES: Final = "tests/actors/test_rules.py"
LAWS: Final = "tests/laws/test_laws.py"
SCOPES: Final = "tests/runtime/test_scopes.py"
BRANCHES: Final = "tests/runtime/test_zenaton_branches.py"
REPLAYS: Final = "tests/runtime/test_replays.py"


def rule(number: str) -> tuple[str, ...]:
    return (RULES, "-k", f"test_{number.lower()}_")


def mutant(name: str, number: str, plant: Callable[[], None], *tests: str) -> Mutant:
    return Mutant(name, number, plant, tests or rule(number))


MUTANTS: Final = (
    mutant("kernel-entry-without-requests", "K2", rewrite(Kernel._concluded, "requests=tuple(requests),\n        closes", "requests=(),\n        closes")),
    mutant("replay-compares-no-names", "K3", rewrite(replay.compare, "(ours.key, ours.kind, ours.name) != (theirs.key, theirs.kind, theirs.name)", "ours.key != theirs.key")),
    mutant("replay-takes-fewer-ops", "K3", rewrite(replay.compare, "if len(asked) < len(recorded):", "if False:")),
    mutant("replay-takes-more-ops", "K3", rewrite(replay.compare, "if len(asked) > len(recorded):", "if False:"), LAWS, RULES),
    mutant("decide-does-not-fold", "K4", rewrite(Kernel.decide, "evolve(self.progress, entry, self.epoch)", "pass")),
    mutant("pause-needs-the-machine", "K5", rewrite(Kernel._pause, "if p.paused:", "self._replayed(())\n    if p.paused:")),
    mutant("gather-starts-backwards", "K6", rewrite(Machine._gather, "for index, request, op in ready:", "for index, request, op in ready[::-1]:"), RULES, LAWS),
    mutant("scheduler-is-a-stack", "K6", rewrite(Machine._drain, "self.queue.popleft()", "self.queue.pop()"), RULES, LAWS),
    mutant("drain-keeps-an-old-queue", "K6", rewrite(Machine._drain, "while self.queue:  # looked up each time: giving a branch up makes another queue\n        branch, value, error = self.queue.popleft()", "queue = self.queue\n    while queue:\n        branch, value, error = queue.popleft()"), RULES, LAWS),
    mutant("requests-are-not-started", "K8", rewrite(progress._effects, '"started" if kind in CALLS else "open"', '"open"')),
    mutant("emit-waits-for-an-outcome", "K9", rewrite(Machine._ask, 'if op.kind == "emit":', 'if op.kind == "emitted":')),
    mutant("dead-turns-keep-requests", "K9", rewrite(Kernel._turn, "self.drop_machine()\n        end = Died(death.failure, death.causes, death.view)", "cause = msgspec.structs.replace(cause, requests=tuple(self.machine.turn.requests)) if self.machine else cause\n        self.drop_machine()\n        end = Died(death.failure, death.causes, death.view)")),
    mutant("due-by-another-clock", "K10", rewrite(asking.request_of, "due = now +", "due = 1_800_000_000_000 +")),
    mutant("chance-ignores-the-instance", "K10", rewrite(Machine._value, 'f"{self.seed}/{branch.prefix}/{branch.draws}"', 'f"{branch.prefix}/{branch.draws}"')),
    mutant("chance-ignores-the-draw", "K10", rewrite(Machine._value, "branch.draws += 1", "branch.draws = 1")),
    mutant("generation-not-in-the-key", "K12", rewrite(Machine.__init__, 'f"{gen}/" if gen > 1 else ""', '""')),
    mutant("attempts-begin-anew", "K13", rewrite(Kernel._concluded, "if attempts and requests:", "if False:")),
    mutant("zombies-are-believed", "K13", rewrite(Kernel._outcome, "op.attempt != m.attempt or ", "")),
    mutant("retry-keeps-the-attempt", "K13", rewrite(Kernel._due, "attempt=op.attempt + 1", "attempt=op.attempt"), LAWS),
    mutant("child-id-without-attempt", "K14", rewrite(children.child_id, "#{attempt}", "")),
    mutant("once-runs-twice", "K15", rewrite(Kernel._recover, "(doubts if once else lost)", "lost")),
    mutant("recover-does-nothing", "K15", rewrite(Kernel._recover, "op.epoch < self.epoch", "False")),
    mutant("lost-keeps-the-attempt", "K15", rewrite(progress.evolve, "op.attempt += 1", "pass")),
    mutant("poison-starts-once-more", "K15", rewrite(progress.evolve, '"ready" if p.parked or dead else "started"', '"ready" if p.parked else "started"')),
    mutant("poison-never", "K15", replace(decide, "LOST_MAX", 1_000)),
    mutant("clean-stops-are-deaths", "K15", rewrite(Kernel._recover, "and not p.ended and m.counted", "and not p.ended"), RULES, LAWS),
    mutant("given-up-is-still-owed", "K16", rewrite(effects.touched, "found.extend(entry.closes)", "pass")),
    mutant("parking-touches-nothing", "K16", rewrite(effects.touches_all, "type(entry.end) is Died", "False"), LAWS),
    mutant("held-outcomes-are-dropped", "K17", rewrite(Kernel._settled, "return [msgspec.structs.replace(cause, held=True)]", "return []")),
    mutant("held-is-applied-at-its-place", "K17", rewrite(replay._follow, 'isinstance(entry.end, Died) or getattr(entry, "held", False)', "isinstance(entry.end, Died)")),
    mutant("held-is-applied-backwards", "K17", rewrite(Machine._apply_all, "for cause in held:", "for cause in list(held)[::-1]:")),
    mutant("paused-goes-on", "K18", rewrite(Kernel._settled, "if p.parked:", "if p.failure is not None:"), *rule("k17")),
    mutant("paused-timers-fire", "K18", rewrite(Kernel._due, "or p.parked or", "or")),
    mutant("paused-takes-events", "K18", rewrite(Kernel._offer, "if p.ended or p.parked or", "if p.ended or")),
    mutant("paused-lost-calls-start", "K18", rewrite(progress.evolve, '"ready" if p.parked or dead else "started"', '"started"')),
    mutant("ready-never-starts", "K18", rewrite(progress._start_ready, 'if op.status == "ready":', "if False:")),
    mutant("cancelling-is-paused", "K18", rewrite(Kernel._pause, "if p.cancelling:", "if False:")),
    mutant("a-dead-cause-is-forgotten", "K20", rewrite(progress._hold, "p.held.append(entry)", "pass")),
    mutant("view-is-lost", "K20", rewrite(Machine._raised, "self._view()", "None")),
    mutant("blame-outlives-the-await", "K21", rewrite(Machine._resume, "if answered:\n                continue\n            branch.blame.clear()", "if answered:\n                continue")),
    mutant("gather-blames-the-first", "K21", rewrite(Machine._gathered, "set().union(*frame.blames.values()) if frame.blames else set()", "next(iter(frame.blames.values()), set())")),
    mutant("nobody-is-to-blame", "K21", rewrite(Machine._raised, "blame = set(branch.blame)", "blame = set()"), LAWS),
    mutant("trial-gives-up-on-the-second", "K22", rewrite(Kernel._trial, "if new and not fallback:", "if False:")),
    mutant("void-is-forgotten-on-replay", "K22", rewrite(replay.voided, "found.update(last.pop(key) for key in entry.void if key in last)", "pass"), LAWS, RULES),
    mutant("all-failures-can-be-taken-back", "K23", rewrite(replay._left_out, "if entry.requests or entry.closes:", "if False:")),
    mutant("voided-state-steers-on", "K23", rewrite(replay._left_out, 'return entry.delta is not None or getattr(entry, "held", False)', "return False")),
    mutant("no-fallback-without-void", "K23", rewrite(Kernel._trial, "if void - set(fixed) and not fallback and not self.is_plan:", "if False:"), RULES, LAWS),
    mutant("asked-again-as-it-was", "K24", rewrite(Machine.request_again, "return self._request(op, key, branch_of(waiter).since)", "return None")),
    mutant("delta-against-the-machine", "K25", rewrite(Kernel._apply, "active.rebase(p.state)", "pass")),
    mutant("skip-forgets-what-is-held", "K26", rewrite(progress._skipped, "_go_on(p, entry.void, entry.at, epoch)", "_drop_held(p, entry.void)\n        p.failure, p.causes, p.view = None, (), None\n        p.held.clear()")),
    mutant("skip-of-doubt-keeps-the-cause", "K26", rewrite(progress._skipped, "if key != entry.key", "if key not in entry.void")),
    mutant("skip-of-anything-that-failed", "K26", rewrite(Kernel._skip, "m.key in p.causes and ", "")),
    mutant("gather-raises-the-first-in-time", "K27", rewrite(Machine._gathered, "min(frame.errors, default=None)", "next(iter(frame.errors), None)")),
    mutant("fail-fast-waits", "K27", rewrite(Machine._settle, 'frame.mode == "cancel" and error is not None', "False")),
    mutant("decided-goes-on-twice", "K27", rewrite(Machine._settle, "and not frame.gathered", "")),
    mutant("given-up-stays-open", "K27", rewrite(Machine._close, "self.turn.closes.append(key)", "pass")),
    mutant("a-timeout-ends-nothing", "scopes", rewrite(Machine._feed, "self._cancel_branch(waiter.branch, waiter)", "pass"), SCOPES),
    mutant("a-timeout-takes-what-others-cancel", "scopes", rewrite(Machine._cancel_branch, "block.overruled = True", "pass"), SCOPES, LAWS),
    mutant("a-timeout-that-was-left-stays-armed", "scopes", rewrite(Machine._leave_limit, "self._close(limit.key)", "pass"), SCOPES),
    mutant("a-timeout-blames-nobody", "scopes", rewrite(Machine._leave_limit, "branch.blame.add(limit.key)", "pass"), SCOPES),
    mutant("time-over-is-not-taken-back", "scopes", rewrite(progress.is_taken_back, "OpFailed | TimerFired", "OpFailed"), SCOPES),
    mutant("a-failed-member-leaves-its-block-alone", "scopes", rewrite(Machine._settle, "if group is not None and not group.leaving:", "if False:"), SCOPES),
    mutant("a-failed-block-leaves-its-members-alone", "scopes", rewrite(Machine._leave_group, "self._give_up(group)", "pass"), SCOPES),
    mutant("a-scope-is-left-before-its-members", "scopes", rewrite(Machine._leave_group, "if group.pending or group.gathered:", "if group.gathered:"), SCOPES),
    mutant("abandoned-children-are-cancelled", "scopes", rewrite(children.outlives, 'or request.args.get("on_cancel") == "abandon"', ""), SCOPES),
    mutant("a-failed-child-is-not-told", "scopes", rewrite(AppendBuilder.failure_to_parent, "or not p.tells", "or p.tells"), SCOPES),
    mutant("what-came-meanwhile-is-sorted-by-kind", "K19", rewrite(Instance.catch_up, "while over and over[0][0] < item.at:", "while False:"), BRANCHES),
    mutant("an-error-that-pauses-is-a-failure", "Z14", rewrite(progress.status_of, '"paused" if p.pauses and p.failure.kind not in PARKED else "failed"', '"failed"'), BRANCHES),
    mutant("changed-code-pauses", "Z14", rewrite(progress.status_of, "p.pauses and p.failure.kind not in PARKED", "p.pauses"), BRANCHES),
    mutant("dispatches-are-not-waited-for", "6.2", rewrite(Machine._conclude, "self.definition.wait_for_dispatched", "False"), BRANCHES),
    mutant("a-replay-is-not-followed-to-its-line", "C", rewrite(failures.place_in, "frames.insert(0, routine.cr_frame)", "frames.append(routine.cr_frame)"), REPLAYS),
    mutant("generations-of-the-past-are-not-replayed", "C", rewrite(recheck._generations, "zip(opens, [*opens[1:], len(entries)], strict=True)", "zip(opens[-1:], [len(entries)], strict=True)"), REPLAYS),
    mutant("what-is-given-up-is-not-compared", "K23", rewrite(replay.compare, "sorted(turn.closes) != sorted(entry.closes)", "False")),
    mutant("gone-is-performed", "K28", rewrite(asking.gone, "request.attempt, True", "request.attempt, False")),
    mutant("gone-is-not-compared", "K28", rewrite(Machine._close, "self.turn.requests[place] = gone(request)", "del self.turn.requests[place]")),
    mutant("handlers-begin-after-the-end", "K29", rewrite(Kernel._offer, "and not p.over", "")),
    mutant("the-end-leaves-handlers-behind", "K29", rewrite(Machine._conclude, "if not self.over or self.handlers:", "if not self.over:")),
    mutant("an-event-is-taken-twice", "K30", rewrite(Kernel._offer, "or m.iq in p.taken", "")),
    mutant("an-event-is-handled-twice", "K30", rewrite(Kernel._offer, "and m.iq > p.seen", ""), RULES, LAWS),
    mutant("where-is-not-asked", "K30", rewrite(Kernel.taker, "match.where is None or compile_where(match.where).matches(m.event)", "True")),
    mutant("the-newest-wait-takes", "K30", rewrite(Kernel.taker, "self._waiting(m.event)", "reversed(list(self._waiting(m.event)))")),
    mutant("a-handler-waits-for-its-own-event", "K31", rewrite(Kernel.taker, "m.pos is not None and m.pos <= match.since", "False")),
    mutant("a-handler-waits-for-its-own-event-now", "K31", rewrite(Kernel.taker, " or (m.pos is not None and m.pos <= match.own)", "")),
    mutant("late-events-are-taken", "K32", rewrite(Kernel.taker, "op.due is not None and m.at > op.due", "False")),
    mutant("timers-fire-early", "K32", rewrite(Kernel._due, " or now < m.due", ""), f"{RULES}::test_a_timer_never_fires_early_or_for_another_due_time"),
    mutant("timers-of-another-due-time-fire", "K32", rewrite(Kernel._due, "op.due != m.due", "False"), f"{RULES}::test_a_timer_never_fires_early_or_for_another_due_time"),
    mutant("cancel-drops-what-was-held", "K33", rewrite(Kernel._cancel, "drained = p.paused", "drained = False")),
    mutant("cancel-leaves-ops-open", "K33", rewrite(progress._effects, "for key in entry.closes:", "for key in ():")),
    mutant("cancel-forgets-other-generations", "K33", rewrite(Kernel._left_by_generations_before, 'op.request.kind == "dispatch"', "False")),
    mutant("cancel-handlers-first", "K33", rewrite(Machine._cancel, "[*branches, *self.handlers]", "[*self.handlers, *branches]")),
    mutant("swallowed-cancel-completes", "K34", rewrite(Machine._conclude, "if self.cancelling:", "if False:")),
    mutant("cancel-waits-for-ever", "K35", rewrite(Kernel._cancel, "(p.cancelling and p.failure is not None)", "False")),
    mutant("cancel-stuck-on-changed-code", "K35", rewrite(Kernel._cancel, "except CodeChanged:", "except ZeroDivisionError:")),
    mutant("dead-cancel-loses-what-it-drained", "K35", rewrite(progress._cancelled, "if not entry.drained:", "if True:")),
    mutant("changed-code-loses-the-message", "K36", rewrite(Kernel._turn, "end = Died(self._changed_failure(changed))\n        return [msgspec.structs.replace(cause, end=end)]", "return []")),
    mutant("state-is-not-checked", "K37", rewrite(Kernel._replayed, "if attributes is not None and not void:", "if False:")),
    mutant("values-do-not-make-the-round-trip", "K38", rewrite(asking.request_of, 'args = encode_decode(args, f"the arguments of {op.name}")[1]', "pass")),
    mutant("delta-drops-nothing", "K39", rewrite(Machine._delta, "if name not in attributes", "if False")),
    mutant("delta-has-everything", "K39", rewrite(Machine._delta, "if self.encoded.get(name) != raw:", "if True:")),
    mutant("generations-without-end", "K40", rewrite(Machine._continue, "if not self.waited:", "if False:")),
    mutant("next-generation-sees-events-again", "K40", rewrite(progress._started, "p.gen, p.input, p.over = entry.gen, entry.input, False", "p.gen, p.input, p.over, p.seen = entry.gen, entry.input, False, 0")),
    mutant("doubt-is-resumed", "K41", rewrite(Kernel._reopen, "if doubts and not m.run_again:", "if False:")),
    mutant("asked-again-is-compared", "K41", rewrite(replay.compare, "if r.key not in open_before", "")),
    mutant("the-loop-can-be-seen", "K42", rewrite(cell.run_in_cell, "asyncio.events._set_running_loop(None)", "pass")),
    mutant("one-context-for-all", "K42", rewrite(cell.run_in_cell, "return context.run(func)", "return func()")),
    mutant("decimals-are-shared", "K42", rewrite(Machine.__init__, "self.context.run(decimal.setcontext, decimal.getcontext().copy())", "pass")),
    mutant("machines-are-left-to-the-collector", "K43", rewrite(Kernel.drop_machine, "machine.close()", "pass")),
    mutant("trials-are-left-to-the-collector", "K43", rewrite(Kernel._drop_tried, "tried.close()", "pass")),
    mutant("a-turn-without-limit", "K45", replace(machine, "REQUESTS_PER_TURN_MAX", 10**9), *rule("k45")),
    mutant("a-history-without-limit", "K45", rewrite(Kernel._check_history, "if size >= HISTORY_MAX:", "if False:")),
    mutant("a-blink-ends-a-chain", "K45", rewrite(progress.hops_after, "entry.at - op.since >= REST_MS", "True"), "tests/runtime/test_hostile.py::test_a_loop_that_hardly_sleeps_stops"),
    mutant("events-in-a-circle", "K45", rewrite(Kernel._check_hops, "if hops >= HOPS_MAX:", "if False:")),
    mutant("ended-is-failed-by-a-crash", "K15", rewrite(Kernel._recover, "if p.ended:  # nobody waits for it any more", "if False:"), RULES),
    mutant("ended-dispatches-are-not-tried-again", "K9", rewrite(effects.effect_of, '(p.ended and kind != "dispatch")', "p.ended"), RULES),
    mutant("closed-keys-forget-their-attempt", "K13", rewrite(progress._close, "if op is not None and keep_attempt:", "if False:")),
)  # fmt: skip
