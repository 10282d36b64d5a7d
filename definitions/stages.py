"""What the file of a stage talks to: `get_stage()`, `next_stage(...)`, and the request of a hook.

    from greenroom import get_stage, next_stage

    stage = get_stage()
    stage["full_name"] = f"{stage['first_name']} {stage['last_name']}"
    next_stage([{"assignee": "mark@company.com", "data": {"team": "finance"},
                 "stage": "contract-analysis"}])

A file is run from its top in a namespace of its own. What it does to its run is collected in a
`Scene` and becomes the outcome of one op, so that a stage that fails half-way has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, NoReturn

import msgspec

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidInput,
    InvalidRequest,
    NoEngine,
    TooLarge,
)
from greenroom.definitions.services import recorded
from greenroom.definitions.stagegraphs import Stage, StageGraph
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, copy, encode_decode

TITLE_MAX: Final = 256
_MISSING: Final = object()


class NoStage(NoEngine):
    """`get_stage()` and its like were called outside a stage."""


class InvalidNextStage(InvalidInput):
    """A run was sent where no transition leads: `target`, and the stages that are `allowed`."""


class Malformed(InvalidInput):
    """What `next_stage` was given is not what it takes."""


class TransitionNotSpecified(InvalidInput):
    """`next_stage` was called in a stage that leads nowhere."""


class StageExit(GreenroomError):
    """The file of a stage ended with `sys.exit` and a code other than 0."""


class StageEnded(BaseException):
    """Raised by `next_stage`: the stage is over, and code after the call does not run. It is no
    `Exception`, so that no `except Exception` of an author takes it for an error."""


class HookRequest(msgspec.Struct, frozen=True):
    """The request that a hook stage runs for. `body` is JSON where it was JSON, else text."""

    body: Json
    query: dict[str, str]
    headers: dict[str, str]
    method: str = "POST"


class Scene:
    """One stage of one run while its file is run: what it may see, and what it has said so far."""

    def __init__(
        self,
        graph: StageGraph,
        stage: Stage,
        *,
        data: Mapping[str, Json] | None = None,
        assignee: str | None = None,
        title: str | None = None,
        run: str | None = None,
        request: Json = None,
        test: bool = False,
    ) -> None:
        self.graph = graph
        self.stage = stage
        self.data: dict[str, Json] = copy(dict(data or {}))
        self.assignee = assignee
        self.title = title
        self.run = run
        self.test = test
        self.request = msgspec.convert(request, HookRequest) if request is not None else None
        self.moves: list[dict[str, Json]] | None = None
        """What `next_stage` was given, checked; None: it was not called."""
        self.response: Json = None

    def outcome(self) -> dict[str, Json]:
        """What the op of this stage gives."""
        found: dict[str, Json] = {"data": self.data}
        if self.moves is not None:
            found["next"] = self.moves
        if self.title is not None:
            found["title"] = self.title
        if self.response is not None:
            found["response"] = self.response
        return found


SCENE: Final[ContextVar[Scene | None]] = ContextVar("greenroom_scene", default=None)


def scene(what: str) -> Scene:
    """The scene this code runs in. Raises `NoStage`."""
    found = SCENE.get()
    if found is None:
        raise NoStage(
            f"{what} works in the file of a stage, while the stage runs",
            hint="greenroom stage run FOLDER/STAGE  runs one here",
        )
    return found


class StageData(MutableMapping[str, Any]):
    """`get_stage()`: the data of the run at this stage, as a map.

    A name that is not there reads as None. What is written goes to the stages that follow; a value
    that JSON cannot hold is a `TypeError` at the write. `path`, `title`, `assignee` and `run` (the
    id of the instance) say where it is.
    """

    __slots__ = ("_scene",)

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @property
    def path(self) -> str:
        return self._scene.stage.path

    @property
    def title(self) -> str:
        return self._scene.title or self._scene.stage.title or self._scene.stage.path

    @property
    def assignee(self) -> str | None:
        return self._scene.assignee

    @property
    def run(self) -> str | None:
        return self._scene.run

    @property
    def is_test(self) -> bool:
        return self._scene.test

    @property
    def data(self) -> dict[str, Json]:
        """A copy of all of it."""
        return dict(copy(self._scene.data))

    def __getitem__(self, name: str) -> Any:
        return self._scene.data.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._scene.data

    def get(self, name: str, default: Any = None) -> Any:
        return self._scene.data.get(name, default)

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the names of a stage's data are text, got {name!r}")
        self._scene.data[name] = _json(value, f'stage["{name}"]')

    def __delitem__(self, name: str) -> None:
        del self._scene.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._scene.data))

    def __len__(self) -> int:
        return len(self._scene.data)

    def __repr__(self) -> str:
        return f"<stage {self.path} {self._scene.data!r}>"


def _json(value: Any, what: str) -> Json:
    try:
        return encode_decode(value, what)[1]
    except (InvalidInput, TooLarge) as error:
        raise TypeError(error.message) from None


def get_stage() -> StageData:
    """The stage that runs now and the data it was handed. Raises `NoStage` anywhere else."""
    return StageData(scene("get_stage()"))


def get_request() -> HookRequest:
    """The request that started or woke this hook stage: `body`, `query`, `headers`."""
    found = scene("get_request()").request
    if found is None:
        raise InvalidRequest("get_request() works in the stages of hooks: here is no request")
    return found


def send_json(data: Json, status: int = 200) -> None:
    """What the hook answers, instead of 200 with the run's id. The last call counts."""
    here = scene("send_json()")
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise InvalidInput(f"a status is a number from 200 to 599, got {status!r}")
    here.response = {"status": status, "body": _json(data, "the response")}


def set_title(title: str) -> None:
    """What people call this run: on the board, in mails."""
    here = scene("set_title()")
    if not isinstance(title, str) or not title.strip() or len(title) > TITLE_MAX:
        raise InvalidInput(f"a title is text of 1 to {TITLE_MAX} characters, got {title!r}")
    here.title = title


def once(key: str, make: Callable[[], Any]) -> Json:
    """Carries an effect out once: what `make()` gave is recorded under `key`, and handed back
    however often this stage is run again (a form runs from its top for each answer).

    A crash between the effect and its record carries it out again.
    """
    if not isinstance(key, str) or not 0 < len(key) <= TITLE_MAX or not callable(make):
        raise InvalidInput('once("key", function) needs a key and what gives the value')
    return recorded(f"once.{key}", None, make)


# -- where it goes on ----------------------------------------------------------------------------


def next_stage(
    moves: Any = _MISSING,
    *,
    stage: str | None = None,
    data: Mapping[str, Any] | None = None,
    assignee: str | None = None,
) -> NoReturn:
    """Ends this stage and says where its run goes on: a list of maps with `stage` (a path or a
    title), `data` (laid over the data of this stage) and `assignee`; one map; or keywords.

    One target: the run moves on. Several: one run each, with its own copy of the data. `[]`: it ends
    here. Not called at all, every transition is followed. Where only one leads on, `stage` may be
    left out. Nothing at all happens if one of the targets is wrong: `InvalidNextStage` (no such
    transition), `Malformed`, `TransitionNotSpecified` (this stage leads nowhere).
    """
    here = scene("next_stage()")
    if moves is _MISSING:
        given: Any = [{"stage": stage, "data": data, "assignee": assignee}]
    elif stage is not None or data is not None or assignee is not None:
        raise Malformed("next_stage takes either a list of stages or keywords, not both")
    else:
        given = [moves] if isinstance(moves, Mapping) else moves
    here.moves = checked_moves(here, given)
    raise StageEnded


def checked_moves(here: Scene, given: Any) -> list[dict[str, Json]]:
    """The targets with whole data each, all of them good."""
    path = here.stage.path
    if not isinstance(given, list | tuple):
        raise Malformed(f"next_stage takes a list of maps, got {type(given).__name__}")
    allowed = here.graph.targets(path)
    if given and not allowed:
        raise TransitionNotSpecified(
            f"{path} leads nowhere: next_stage has no transition to follow",
            hint="add one in the editor, or to stages.json",
        )
    found = [_move(here, one, allowed, number) for number, one in enumerate(given)]
    for move in found:
        check_hand_over(here.graph.stages[move["stage"]], move["data"])
    return found


def _move(here: Scene, given: Any, allowed: list[str], number: int) -> dict[str, Json]:
    if not isinstance(given, Mapping):
        raise Malformed(f"next_stage: item {number} must be a map, got {type(given).__name__}")
    for key in given:
        if key not in ("stage", "data", "assignee"):
            guess = did_you_mean(str(key), ("stage", "data", "assignee"))
            raise Malformed(f"next_stage: item {number} has the unknown key {key!r}{guess}")
    data, assignee = given.get("data"), given.get("assignee")
    if data is not None and not isinstance(data, Mapping):
        raise Malformed(f"next_stage: the data of item {number} must be a map, got {data!r}"[:200])
    if assignee is not None and (not isinstance(assignee, str) or not assignee.strip()):
        raise Malformed(f"next_stage: the assignee of item {number} must be text, got {assignee!r}")
    target = _target(here, given.get("stage"), allowed, number)
    stage = here.graph.stages[target]
    try:
        whole = encode_decode({**here.data, **(data or {})}, f"the data for {target}")[1]
    except (InvalidInput, TooLarge) as error:
        raise Malformed(f"next_stage: {error.message}") from None
    return {
        "stage": target, "data": whole, "assignee": assignee or stage.assignee or here.assignee,
    }  # fmt: skip


def _target(here: Scene, name: Any, allowed: list[str], number: int) -> str:
    path = here.stage.path
    if name is None:
        if len(allowed) == 1:
            return allowed[0]
        raise Malformed(
            f"next_stage: item {number} says no stage, and {path} leads to {len(allowed)}",
            hint=f"stage is one of: {', '.join(allowed)}",
        )
    if not isinstance(name, str):
        raise Malformed(f"next_stage: the stage of item {number} must be text, got {name!r}")
    if name in allowed:
        return name
    titled = [target for target in allowed if here.graph.stages[target].title == name]
    if len(titled) == 1:
        return titled[0]
    raise InvalidNextStage(
        f"no transition leads from {path} to {name!r}{did_you_mean(name, allowed)}",
        hint=f"{path} leads to: {', '.join(allowed)}",
        target=name,
        allowed=allowed,
    )


def check_hand_over(stage: Stage, data: Mapping[str, Json]) -> None:
    """Raises `Malformed` where a stage says what its data must be like, and it is not."""
    if stage.schema is None:
        return
    problems = stage.schema.problems(dict(data))
    if problems:
        raise Malformed(
            f"{stage.path} cannot take this data: {problems[0]}",
            problems=[problem.as_data() for problem in problems],
            target=stage.path,
        )
