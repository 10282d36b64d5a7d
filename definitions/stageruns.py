"""One run through a stage graph: a program over the graph, driven like any other.

The run walks: a stage is an op (a script, hook or job that is run, a form that is asked), its
outcome says what the data is and where it goes on. Several targets are one child run each, with
data of their own; where these can come together again, in a stage with `join`, the run that parted
waits for them and goes on there, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from greenroom.definitions.errors import InvalidInput, StepFailed
from greenroom.definitions.events import MOVE
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.ops import CURRENT, Finished, Op, Select
from greenroom.definitions.stagegraphs import Stage, StageGraph
from greenroom.definitions.stages import Malformed, check_hand_over
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Ask, Target

HOOK: Final = "greenroom.stage.hook/"
"""What the event of a request to a hook stage is called, with its path."""
MOVED_BY: Final = "moved_by"
"""The attribute in which the engine says who moved a run; nobody outside can set it."""
JOINED: Final = "joined"
"""The outcome of a run that ended where others come to meet it."""
TRAIL_MAX: Final = 100


class Works(Protocol):
    """What stages do, as whoever has the folder knows it."""

    def script(self, stage: Stage) -> Target:
        """Runs the file of a script, hook or job with `stage data assignee title request`."""
        ...

    def form(self, stage: Stage) -> Target:
        """The form that the file of a stage is."""
        ...

    def notify(self, stage: Stage) -> Target:
        """Tells an assignee that a form waits."""
        ...


class StageRun:
    """The state of one run: what everybody may see of it."""

    stage: str
    """Where it is."""
    data: dict[str, Json]
    assignee: str | None
    title: str | None

    def begin(self) -> None:
        """What is not given at the start."""
        self.data = getattr(self, "data", None) or {}
        self.assignee = getattr(self, "assignee", None)
        self.title = getattr(self, "title", None)
        self.join: str | None = getattr(self, "join", None)
        """The stage at which those who parted with it meet again."""
        self.parted = 0
        """How many runs it has parted into, while it waits for them or once it has ended so."""
        self.trail: list[Json] = getattr(self, "trail", [])
        """The stages it has been at."""
        self.response: Json = None
        """What the last hook stage answered, with its op."""
        self.request: Json = getattr(self, "request", None)
        self.answer: Json = getattr(self, "answer", None)


class Move(Struct, frozen=True):
    """Where a run goes on, and with what."""

    stage: str
    data: dict[str, Json]
    assignee: str | None = None


class Ending(Struct, frozen=True):
    """How a stage ended: `finished`, `failed`, `expired`, or `moved` by somebody."""

    on: str
    moves: list[Move] | None = None
    """Where it said it goes on; None: along all its transitions."""


class Walker:
    """Walks one run to its end."""

    def __init__(self, graph: StageGraph, works: Works, workflow: str, run: StageRun) -> None:
        self.graph = graph
        self.works = works
        self.workflow = workflow
        self.run = run
        self.select = Select()
        self.counts: Counter[str] = Counter()
        self.partings = 0

    async def to_end(self) -> Finished:
        run = self.run
        while True:
            stage = self.graph.stages.get(run.stage)
            if stage is None:
                raise InvalidInput(f"{self.workflow} has no stage {run.stage!r} any more")
            ending = await self._take(stage)
            run.trail = [*run.trail, {"stage": stage.path, "on": ending.on}][-TRAIL_MAX:]
            moves = self._moves(stage, ending)
            run.answer = run.request = None
            if not moves:
                return Finished(copy(run.data), _OUTCOMES.get(ending.on, ending.on))
            going: Move | None = moves[0]
            if len(moves) > 1 or stage.kind == "iterator":
                going = await self._part(moves)
            if going is None:
                return Finished(copy(run.data), "ok")
            run.data = going.data
            if going.stage == run.join:
                return Finished({"at": going.stage, "data": copy(run.data)}, JOINED)
            run.stage, run.assignee = going.stage, going.assignee

    # -- one stage ---------------------------------------------------------------------------------

    async def _take(self, stage: Stage) -> Ending:
        """Runs a stage to its end and takes what it gives."""
        self.counts[stage.path] += 1
        key = f"{stage.path}#{self.counts[stage.path]}"
        if stage.kind == "condition":
            return Ending("finished")
        if stage.kind == "iterator":
            return Ending("finished", self._each(stage))
        if stage.kind == "form":
            return await self._form(stage, key)
        if stage.kind == "hook" and self.run.request is None:
            waited = await self._request(stage, key)
            if waited is not None:
                return waited
        return await self._script(stage, key)

    async def _script(self, stage: Stage, key: str) -> Ending:
        run = self.run
        given: dict[str, Json] = {
            "stage": stage.path, "data": run.data, "assignee": run.assignee, "title": run.title,
        }  # fmt: skip
        if run.request is not None:
            given["request"] = run.request
        op = Op("call", stage.path, given, target=self.works.script(stage), key=key)
        try:
            said = await op
        except StepFailed as error:
            if stage.kind == "hook":
                run.response = {"op": key, "status": 500}
            if not self.graph.outgoing(stage.path, "failed"):
                raise
            failure: Json = {"stage": stage.path, "type": error.type, "message": error.message}
            run.data = {**run.data, "error": failure}
            return Ending("failed")
        if stage.kind == "hook":
            answer = said.get("response") if isinstance(said, dict) else None
            run.response = {"op": key, **(answer or {"status": 200, "body": None})}
        return self._said(said)

    def _said(self, said: Json) -> Ending:
        """Takes the data of a stage that has ended, and where it wants to go on."""
        run = self.run
        if not isinstance(said, dict):  # somebody skipped it by hand and gave nothing that fits
            said = {}
        run.data = said.get("data", run.data)
        run.title = said.get("title", run.title)
        wanted = said.get("next")
        if wanted is None:
            return Ending("finished")
        moves = [Move(one["stage"], one["data"], one.get("assignee")) for one in wanted]
        return Ending("finished", moves)

    def _each(self, stage: Stage) -> list[Move]:
        """An iterator: one move for each item, along each of its transitions."""
        items = self.run.data.get(stage.items)
        if not isinstance(items, list):
            raise InvalidInput(
                f"{stage.path} goes through {stage.items!r}, which is no list here: {items!r}"[:300]
            )
        rest = {name: value for name, value in self.run.data.items() if name != stage.items}
        return [
            self._move(target.target, {**rest, stage.item: item})
            for item in items
            for target in self.graph.outgoing(stage.path)
        ]

    def _move(self, target: str, data: dict[str, Json]) -> Move:
        return Move(target, copy(data), self.graph.stages[target].assignee or self.run.assignee)

    # -- a form ------------------------------------------------------------------------------------

    async def _form(self, stage: Stage, key: str) -> Ending:
        run, select = self.run, self.select
        if run.answer is not None:  # it was filled in before there was a run
            return self._said(run.answer)
        run.assignee = run.assignee or stage.assignee
        timers = {f"{key}.remind{n + 1}": s for n, s in enumerate(stage.reminders)}
        timers |= {f"{key}.escalate{n + 1}": s for n, (s, _) in enumerate(stage.escalate)}
        if stage.timeout_s is not None:
            timers[f"{key}.timeout"] = stage.timeout_s
        self._ask(stage, key)
        for name, after_s in timers.items():
            select.open(Op("sleep", "sleep", due_s=after_s, key=name))
        self._listen(key)
        await self._tell(stage, key, f"{key}.notify", 0)
        while True:
            got, value = await select
            timers.pop(got, None)
            if got.startswith(f"{key}.remind"):
                number = int(got.removeprefix(f"{key}.remind"))
                await self._tell(stage, key, f"{got}.notify", number)
                continue
            if got.startswith(f"{key}.escalate"):
                number = int(got.removeprefix(f"{key}.escalate"))
                run.assignee = stage.escalate[number - 1][1]
                select.close(key)
                self._ask(stage, key)
                await self._tell(stage, key, f"{got}.notify", 0)
                continue
            if got not in (key, f"{key}.move", f"{key}.timeout"):
                continue  # of a stage before
            moved = self._moved(stage, value) if got == f"{key}.move" else None
            if got == f"{key}.move" and moved is None:
                self._listen(key)
                continue
            for name in (key, f"{key}.move", *timers):
                select.close(name, forget=True)
            if moved is not None:
                return moved
            return Ending("expired") if got == f"{key}.timeout" else self._said(value)

    def _ask(self, stage: Stage, key: str) -> None:
        run = self.run
        title = run.title or stage.title or stage.path
        question = Ask("form", title, None, run.assignee, enforce=stage.enforce_assignee)
        given: Json = {
            "stage": stage.path, "data": run.data, "assignee": run.assignee, "title": run.title,
        }  # fmt: skip
        op = Op("ask", stage.path, given, target=self.works.form(stage), ask=question, key=key)
        self.select.open(op)

    def _listen(self, key: str) -> None:
        self.select.open(Op("wait", MOVE, key=f"{key}.move", where=_BY_ENGINE, since="now"))

    def _moved(self, stage: Stage, event: Any) -> Ending | None:
        """Somebody moves the run; None where no transition leads there."""
        target = (event.data or {}).get("stage")
        if target not in self.graph.targets(stage.path):
            return None
        return Ending("moved", [self._move(target, self.run.data)])

    async def _tell(self, stage: Stage, key: str, op: str, reminder: int) -> None:
        """Tells the assignee, once however often this is replayed; nobody waits for it."""
        run = self.run
        if run.assignee is None:
            return
        given: Json = {
            "assignee": run.assignee, "ask": f"{self.select.instance}.{key}", "stage": stage.path,
            "title": run.title or stage.title or stage.path, "reminder": reminder,
        }  # fmt: skip
        target = self.works.notify(stage)
        await Op("dispatch", "notify", given, target=target, key=op, lenient=True)

    # -- a hook in the middle ----------------------------------------------------------------------

    async def _request(self, stage: Stage, key: str) -> Ending | None:
        """Waits for the request to a hook stage; gives an ending where none comes."""
        select = self.select
        waits = {f"{key}.request", f"{key}.move"}
        select.open(
            Op("wait", f"{HOOK}{stage.path}", key=f"{key}.request", where=self._where(stage),
               since="now")
        )  # fmt: skip
        self._listen(key)
        if stage.timeout_s is not None:
            waits.add(f"{key}.timeout")
            select.open(Op("sleep", "sleep", due_s=stage.timeout_s, key=f"{key}.timeout"))
        while True:
            got, value = await select
            if got not in waits:
                continue  # of a stage before
            moved = self._moved(stage, value) if got == f"{key}.move" else None
            if got == f"{key}.move" and moved is None:
                self._listen(key)
                continue
            for name in sorted(waits):
                select.close(name, forget=True)
            if moved is not None:
                return moved
            if got == f"{key}.timeout":
                return Ending("expired")
            self.run.request = value.data
            return None

    def _where(self, stage: Stage) -> Where:
        wanted: dict[str, Json] = {MOVED_BY: "hook"}
        for mine, theirs in stage.match.pairs:
            wanted[f"data.{theirs}"] = _at(self.run.data, mine)
        return compile_where(wanted)

    # -- where it goes on --------------------------------------------------------------------------

    def _moves(self, stage: Stage, ending: Ending) -> list[Move]:
        if ending.moves is not None:
            return ending.moves
        found = self._followed(stage.path, ending.on)
        moves = [self._move(target, self.run.data) for target in found]
        for move in moves:
            self._check(move)
        return moves

    def _check(self, move: Move) -> None:
        try:
            check_hand_over(self.graph.stages[move.stage], move.data)
        except Malformed as error:
            raise InvalidInput(error.message, **error.details) from None

    def _followed(self, path: str, on: str) -> list[str]:
        """The targets of the transitions that are followed: those without a condition, those whose
        condition holds, and the one otherwise if none did."""
        data = self.run.data
        going = self.graph.outgoing(path, on)
        held = [t for t in going if t.when is not None and t.when.matches(data)]
        found = [
            t.target
            for t in going
            if t in held or (t.when is None and not t.otherwise) or (t.otherwise and not held)
        ]
        return list(dict.fromkeys(found))

    async def _part(self, moves: list[Move]) -> Move | None:
        """One child a target. Gives where this run goes on, if its children meet again."""
        run = self.run
        self.partings += 1
        run.parted = len(moves)
        meeting = self.graph.meeting(move.stage for move in moves)
        waiting: dict[str, int] = {}
        here: dict[int, dict[str, Json]] = {}
        for number, move in enumerate(moves):
            if move.stage == meeting:
                here[number] = move.data  # it need not go anywhere
                continue
            meets = meeting is not None and self.graph.reaches(move.stage, meeting)
            key = f"part{self.partings}.{number}"
            given: dict[str, Json] = {
                "stage": move.stage, "data": move.data, "assignee": move.assignee,
                "title": run.title, "join": meeting if meets else None, "trail": run.trail,
            }  # fmt: skip
            options: Json = {
                "input": given, "key": None, "detach": not meets,
                "version": CURRENT.get().definition.version,
            }  # fmt: skip
            op = Op("child", self.workflow, options, key=key)
            if meets:
                waiting[key] = number
                self.select.open(op)
            else:
                await op
        if meeting is None:
            return None
        met = await self._meet(self.graph.stages[meeting], waiting, here)
        if not met:
            return None
        run.parted = 0
        stage = self.graph.stages[meeting]
        data = dict(run.data)
        for number in sorted(met):
            data |= met[number]
        data[stage.into] = [met[number] for number in sorted(met)]
        return Move(meeting, data, stage.assignee or run.assignee)

    async def _meet(
        self, stage: Stage, waiting: dict[str, int], met: dict[int, dict[str, Json]]
    ) -> dict[int, dict[str, Json]]:
        """Waits for the children: for all of them, or until one has come."""
        while waiting and not (stage.join == "any" and met):
            key, value = await self.select
            number = waiting.pop(key, None)
            if number is not None and isinstance(value, dict) and value.get("at") == stage.path:
                met[number] = value["data"]
        for key in waiting:
            self.select.close(key, forget=True)
        return met


_OUTCOMES: Final = {"finished": "ok", "moved": "ok"}
_BY_ENGINE: Final = compile_where(f"{MOVED_BY} != null")


def _at(data: Mapping[str, Json], path: str) -> Json:
    found: Any = data
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
