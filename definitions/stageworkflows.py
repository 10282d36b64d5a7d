"""A stage graph as a workflow: its program, its triggers, and who people come past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import InvalidInput, NotPermitted
from greenroom.definitions.events import MOVE, Event
from greenroom.definitions.expressions import compile_value
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import Finished
from greenroom.definitions.people import GROUP, GROUPS, VIA, actor_of
from greenroom.definitions.stagegraphs import Stage, StageGraph
from greenroom.definitions.stageruns import HOOK, MOVED_BY, StageRun, Walker, Works
from greenroom.definitions.stages import InvalidNextStage, check_hand_over
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Program, Target, Trigger, check_name

KIND: Final = "stages"
STAGE: Final = "stage"
"""The search attribute that says where a live run stands."""
BY_HOOK: Final = "the hook of a stage"
"""Who sends the request to a waiting hook stage; nobody outside is called so, faces say how they
know a caller."""
TEAM: Final = "team:"


def stage_workflow(graph: StageGraph, works: Works, hash: str, source: str) -> Definition:
    """The definition of a graph whose stages do what `works` says."""
    check_name(graph.name, source)
    cls = type("StageRun", (StageRun,), {"__module__": __name__})

    async def walk(run: StageRun) -> Finished:
        run.begin()
        return await Walker(graph, works, graph.name, run).to_end()

    triggers = tuple(
        Trigger(
            None, compile_where(None), None, compile_value({"stage": stage.path, "data": {}}),
            stage.schedule, f"{graph.name}/{stage.path}",
        )
        for stage in graph.stages.values()
        if stage.schedule is not None and stage.enabled
    )  # fmt: skip
    return Definition(
        graph.name, None, KIND, Program(walk, None, cls, False), triggers, hash, source,
        enabled=graph.enabled, desk=StageDesk(graph, works), standing=standing,
        **graph.limits.fields(_begun_with),
    )  # fmt: skip


def standing(state: Mapping[str, Json]) -> dict[str, Json]:
    """Where a run stands, for lists and the board. One that has parted stands where its parts do."""
    return {STAGE: None if state.get("parted") else state.get("stage")}


def _begun_with(input: Json) -> Json:
    """What the expressions of limits read: the data a run begins with, with the answers to its first
    form where they came with the start; `request` is that of a hook."""
    answer = input.get("answer") or {}
    request = {"request": input["request"]} if input.get("request") is not None else {}
    return request | (input.get("data") or {}) | (answer.get("data") or {})


class StageDesk:
    """What people come past: where a run may begin and go, and who may fill in a form."""

    knows_people = False
    """Whether an assignee may answer is asked as for any question; roles are asked here too."""

    def __init__(self, graph: StageGraph, works: Works) -> None:
        self.graph = graph
        self.works = works
        self.teams: Mapping[str, tuple[str, ...]] = graph.teams
        """Those of the engine, once it has this graph."""

    def started(
        self, input: dict[str, Json], form: Any, by: str | None, stage: str | None = None
    ) -> dict[str, Json]:
        """The input of a run: what was given is the data it begins with."""
        begins = self.graph.first(stage)
        if not begins.enabled:
            raise InvalidInput(f"{self.graph.name}: the stage {begins.path} is switched off")
        self.check(begins, by)
        check_hand_over(begins, input)
        return {"stage": begins.path, "data": input}

    def form(self, path: str) -> Target:
        """The form of a stage."""
        return self.works.form(self.graph.stages[path])

    def answered(self, state: Mapping[str, Json], op: str, data: Json, by: str | None) -> Json:
        raise InvalidInput(f"{self.graph.name} asks with forms alone")

    def submitted(self, state: Mapping[str, Json], by: str | None) -> None:
        """Raises `NotPermitted` where the stage's form is for others."""
        stage = self.graph.stages.get(str(state.get("stage")))
        if stage is not None:
            self.check(stage, by)

    def sent(self, state: Mapping[str, Json], event: Event, by: str | None) -> Event:
        """An event for a run. Raises `InvalidNextStage`, `NotPermitted`."""
        extra = {name: value for name, value in event.extra.items() if name != MOVED_BY}
        if event.type.startswith(HOOK):
            if by != BY_HOOK:
                raise NotPermitted("a request to a hook comes over HTTP, at /hooks/")
            extra[MOVED_BY] = "hook"
        elif event.type == MOVE:
            self.may_move(state, (event.data or {}).get("stage"))
            extra[MOVED_BY] = by or "somebody"
        return msgspec.structs.replace(event, extra=extra)

    def may_move(self, state: Mapping[str, Json], target: Any) -> None:
        """Raises `InvalidNextStage` where no transition leads there from where the run is."""
        path = str(state.get("stage"))
        allowed = self.graph.targets(path)
        if target not in allowed:
            raise InvalidNextStage(
                f"no transition leads from {path} to {target!r}"
                f"{did_you_mean(str(target), allowed)}",
                hint=f"{path} leads to: {', '.join(allowed) or 'nowhere'}",
                target=target, allowed=allowed,
            )  # fmt: skip

    def may_skip(self, op: str) -> bool:
        return True

    def whois(self, state: Mapping[str, Json], service: str, id: str) -> str | None:
        return None

    def hand_over(self, state: Mapping[str, Json], target: str) -> dict[str, Json]:
        """What a run brings to a stage it is moved to."""
        assignee = self.graph.stages[target].assignee or state.get("assignee")
        return {"stage": target, "data": state.get("data") or {}, "assignee": assignee}

    def schema(self) -> dict[str, Any]:
        return {}

    def check(self, stage: Stage, by: str | None) -> None:
        """Raises `NotPermitted` where the caller has none of the roles a stage is for."""
        if not self.may(stage, by):
            raise NotPermitted(
                f"{stage.title or stage.path} is for {', '.join(stage.access.roles)}, not for "
                f"{by or 'somebody unknown'}",
                hint="say who does it:  by=...",
                stage=stage.path,
            )

    def may(self, stage: Stage, by: str | None) -> bool:
        """Whether the caller has one of the roles a stage is for. Where there are none, whether
        somebody must be known at all is for the face that knows them."""
        if stage.access.public or not stage.access.roles:
            return True
        if by is None:
            return False
        actor = actor_of(by)
        trusted = by.rpartition(VIA)[2].startswith(("uid:", "key:"))
        spoken = actor.spoken_for if actor.spoken_for is not None and not trusted else None
        names = {spoken or actor.username, by}  # who signed in is who they are
        names = {name for name in names if not name.startswith(GROUP)}  # nobody is called so
        names |= {f"{GROUP}{group}" for group in GROUPS.get()}
        return any(not names.isdisjoint(self._people(role)) for role in stage.access.roles)

    def _people(self, role: str) -> set[str]:
        found: set[str] = {role} if role.startswith(GROUP) else set(self.teams.get(role, ()))
        for one in self.graph.roles.get(role, ()):
            name = one.removeprefix(TEAM)
            found |= set(self.teams.get(name, ())) if name != one else {one}
        return found
