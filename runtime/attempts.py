"""Attempts: from an op that is owed to a call of the executor, and from its end back to the instance.

What the function is given is made here, afresh for each attempt: its arguments from the state, the
resources it asks for, `ctx`. What is wrong before it is called is an outcome too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.decide import SUSPECT, Kernel
from greenroom.actors.entries import Failure
from greenroom.actors.failures import details_of
from greenroom.actors.instance import Instance
from greenroom.actors.messages import Outcome, Park, attempt_id
from greenroom.actors.ports import GetResources, SetMeta
from greenroom.actors.progress import Progress
from greenroom.actors.replay import Changed
from greenroom.definitions.errors import EngineDied, EngineStopping, GreenroomError
from greenroom.definitions.events import Event
from greenroom.definitions.resources import Stored
from greenroom.definitions.tasks import TaskContext
from greenroom.definitions.values import copy
from greenroom.definitions.workflow import Definition
from greenroom.runtime.context import StepContext
from greenroom.runtime.executor import Call
from greenroom.runtime.saves import new_resource_id

if TYPE_CHECKING:
    from greenroom.runtime.directory import Directory

ALONE: Final = "alone"
"""Under this name the store has the attempt that was last run alone."""
_EVENT_FIELDS: Final = frozenset({"type", "id", "source", "subject", "time", "data"})


class Attempts:
    """The part of the directory that has the code of workflows run."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def run(
        self,
        instance: Instance,
        key: str,
        attempt: int,
        resources: dict[str, Stored] | None = None,
    ) -> None:
        """Starts an attempt. What is wrong before the function is called is an outcome too.

        `resources` are those it asks for; they are read first, afresh before each attempt."""
        if self._directory.passive:
            return
        kernel = instance.kernel
        p = kernel.progress
        op = p.ops[key]
        try:
            target = kernel.target_of(key)
            if target is None:
                raise KeyError(key)
        except Changed as changed:
            instance.tell(Park(kernel._changed_failure(changed)))
            return
        except KeyError:
            failure = Failure(
                "CodeChanged",
                f"{p.workflow} has no code for the op {key} ({op.request.name}) any more",
                "code_changed",
                {"journal": [key], "code": kernel.definition.steps()},
            )
            instance.tell(Park(failure))
            return
        if kernel.is_plan:
            source = kernel.source_of(key) if p.frames else p.state
        else:
            source = op.request.args or {}
        context = None
        arguments: dict[str, Any]
        try:
            if target.injector is None:
                task = TaskContext(
                    f"{p.id}/{key}", op.failed + 1, p.id, p.workflow, key, attempt,
                    p.test, op.resumed, tuple(p.recorded.get(key, ())),
                )  # fmt: skip
                arguments = {**copy(source), "_context": task}
            else:
                if target.injector.resources and resources is None:
                    self._fetch(instance, key, attempt, target.injector.resource_ids(source))
                    return
                virtual: dict[str, Any] = {}
                if target.injector.virtual:
                    context = self._context(p, key, attempt, target.mode)
                    virtual = self._virtual(p, kernel.definition, context)
                if "." in key:  # in a scope
                    virtual = {**virtual, **self._callback(kernel, key)}
                if resources is None:  # the hot path
                    arguments = target.injector.arguments(source, virtual)
                else:
                    arguments = target.injector.arguments(
                        source, virtual, resources, lambda name: new_resource_id(p.id, key, name)
                    )
        except GreenroomError as error:
            self._never_run(instance, key, attempt, error)
            return
        self._directory.executor.submit(
            Call(
                instance.n,
                instance.id,
                key,
                attempt,
                target,
                arguments,
                source,
                self._finished,
                context,
                op.lost >= SUSPECT,
                kernel,
            )
        )

    def note_alone(self, call: Call, go: Callable[[], None]) -> None:
        """Keeps which attempt is run alone, before it is: if the process dies, it was that one and
        none of those that wait for their turn."""
        value = attempt_id(call.instance, call.key, call.attempt)
        self._directory.submit(SetMeta(ALONE, value), lambda result: go())

    def _fetch(self, instance: Instance, key: str, attempt: int, ids: list[str]) -> None:
        """Reads the resources an attempt asks for, and starts it."""

        def fetched(result: Any) -> None:
            if instance.dead or instance.running.get(key) != attempt or self._directory.stopping:
                return
            if isinstance(result, EngineDied | EngineStopping):
                return
            if isinstance(result, GreenroomError):
                self._never_run(instance, key, attempt, result)
            else:
                self.run(instance, key, attempt, {row.id: row for row in result})

        if ids:
            self._directory.submit(GetResources(ids, instance.kernel.progress.namespace), fetched)
        else:
            fetched([])

    def _never_run(self, instance: Instance, key: str, attempt: int, error: GreenroomError) -> None:
        """The attempt fails before its function is called; no other would do better."""
        kind = type(error).__name__
        failure = Failure(kind, error.message, details=details_of(error), op=key)
        instance.finished(Outcome(key, attempt, error=failure, final=True, kinds=(kind,)))

    def _callback(self, kernel: Kernel, key: str) -> dict[str, str]:
        """What a step of a callback is given: its token, and its route by the name it chose."""
        callback = kernel.callback_of(key)
        if callback is None:
            return {}
        op, route_key = callback
        token = self._directory.secret.token(kernel.progress.id, op)
        return {"callback_token": token, route_key: f"/callbacks/{token}"}

    def _finished(self, call: Call, outcome: Outcome) -> None:
        """An attempt has ended. Its instance may have left memory meanwhile."""
        statements: Any = ()
        if outcome.error is None:
            statements = call.saves
            if call.context is not None:
                statements = [*call.context.statements, *call.saves]
        directory = self._directory
        instance = directory.active.get(call.n)
        if instance is not None:
            instance.finished(outcome, statements)
        else:
            directory.unsaved.setdefault(call.n, []).append((outcome, statements))
            directory.activate(call.n, lambda instance: None)

    def _context(self, p: Progress, key: str, attempt: int, mode: Any) -> StepContext:
        event = (
            Event(**{k: v for k, v in p.event.items() if k in _EVENT_FIELDS}) if p.event else None
        )
        return StepContext(
            p.id,
            p.workflow,
            p.key,
            key,
            attempt,
            event,
            mode,
            self._directory.clock.now(),
            p.namespace,
            p.version,
        )

    def _virtual(self, p: Progress, definition: Definition, context: StepContext) -> dict[str, Any]:
        return {
            "ctx": context,
            "event": context.event,
            "run": p.id,
            "process_id": p.id,
            "reporter": None,
            "workflow_name": p.workflow,
            "workflow_target": definition.target or definition.kind,
        }
