"""Hooks of stage graphs: `POST /hooks/PATH` starts a run at a hook stage, or wakes one that waits.

The caller is looked at first, as the stage says (`"auth"`: an API key, a signature over the raw
bytes, or nobody); then the run is made or found, and the answer is what the stage's file sent, once
it has run.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.instance import Instance
from greenroom.actors.ports import Append, Appended, InstanceRow, ListStanding, Standing
from greenroom.definitions.errors import (
    InvalidInput,
    InvalidTransition,
    NotAuthenticated,
    NotFound,
    NotPermitted,
)
from greenroom.definitions.events import Event
from greenroom.definitions.matching import compile_where
from greenroom.definitions.signatures import Headers
from greenroom.definitions.stagegraphs import Stage
from greenroom.definitions.stageruns import HOOK, MOVED_BY
from greenroom.definitions.stageworkflows import BY_HOOK, STAGE
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition
from greenroom.runtime.stages import graph_in
from greenroom.runtime.web.hooks import HookHandler, HookRequest, HookResponse

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

PATIENCE_S: Final = 25.0
"""How long a caller is kept until its stage has run; then it is told that it was accepted."""
PAGE: Final = 200
METHODS: Final = ("POST", "GET", "PUT", "PATCH", "DELETE")


class LockFailed(InvalidTransition):
    """The run that a request was for went on without it."""


class StageHooks:
    """Finds the hook stage of a path, in the released versions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, path: str) -> tuple[HookHandler, tuple[str, ...]] | None:
        for definition in self._engine.stages._released():
            for own in (path, path.removeprefix(f"{definition.name}/")):
                stage = graph_in(definition).stages.get(own)
                if stage is None or stage.kind != "hook":
                    continue
                if not stage.enabled or not self._engine.registry.is_enabled(definition.name):
                    continue
                return StageHook(self._engine, definition, stage), METHODS
        return None


class StageHook:
    """Answers the requests to one hook stage."""

    def __init__(self, engine: Engine, definition: Definition, stage: Stage) -> None:
        self._engine = engine
        self._definition = definition
        self._stage = stage

    async def __call__(self, request: HookRequest) -> HookResponse:
        """Raises `NotAuthenticated`, `NotPermitted`, `SignatureInvalid`; `NotFound` where no run
        waits, `InvalidInput` where several do and one was meant, `LockFailed`."""
        engine, stage = self._engine, self._stage
        engine._check_open()
        by = await self._caller(request)
        said: Json = {
            "body": _body(request.body), "query": dict(request.query), "method": request.method,
            "headers": {
                name: value for name, value in request.headers.items() if name not in _SECRET
            },
        }  # fmt: skip
        graph = graph_in(self._definition)
        begins = any(one.path == stage.path for one in graph.initial())
        waiting = [] if begins and not stage.initial else await self._waiting(said)
        if begins and not waiting:
            return await self._begin(said, by)
        if not waiting:
            raise NotFound(f"no run of {graph.name} waits at {stage.path} for this")
        if len(waiting) > 1 and stage.match.which == "one":
            raise InvalidInput(
                f"{len(waiting)} runs of {graph.name} wait at {stage.path} for this",
                hint='say in stages.json which is meant: "match": {"on": {...}, "which": "oldest"}',
            )
        chosen = waiting if stage.match.which == "all" else waiting[:1]
        answers = [await self._wake(row, said) for row in chosen]
        return answers[0]

    # -- who it is ---------------------------------------------------------------------------------

    async def _caller(self, request: HookRequest) -> str | None:
        stage, engine = self._stage, self._engine
        if stage.auth == "none":
            return None
        if stage.auth == "signature":
            rule = stage.signature
            assert rule is not None
            store = engine.connections.secrets
            secrets = [(await store.get(name)).reveal() for name in rule.secrets()]
            rule.verify(Headers(request.headers), request.body, secrets, engine.clock.now() / 1000)
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        text = given.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        key = await engine.keys.verify(text)
        if key is None:
            raise NotAuthenticated(
                f"the hook {stage.path} needs an API key",
                hint="Authorization: Bearer KEY  (greenroom key create)",
            )
        name = self._definition.name
        if not any(
            held in ("admin", "hooks", "start", "start:*", f"start:{name}") for held in key.scopes
        ):
            raise NotPermitted(f"this key may not start {name}", needs=f"start:{name}")
        return f"key:{key.id}/{key.name}"

    # -- the run -----------------------------------------------------------------------------------

    async def _begin(self, said: Json, by: str | None) -> HookResponse:
        engine = self._engine
        input: dict[str, Json] = {"stage": self._stage.path, "data": {}, "request": said}
        handle = await engine._create(
            self._definition, input, key=None, namespace=engine.namespace, due=None, test=False,
            request_id=None, by=by,
        )  # fmt: skip
        return await self._answer(handle.id, f"{self._stage.path}#1")

    async def _waiting(self, said: Json) -> list[InstanceRow]:
        """The runs that wait at this stage for such a request, the oldest first."""
        stage, call = self._stage, self._engine.journal.call
        type = f"{HOOK}{stage.path}"
        event = {"type": type, "data": said, MOVED_BY: "hook"}
        enough = {"oldest": 1, "one": 2}.get(stage.match.which)
        found: list[InstanceRow] = []
        after = 0
        while True:
            page: Standing = await call(
                ListStanding(
                    self._definition.name, STAGE, stage.path, [("step", ":", type, False)], PAGE,
                    after, now=self._engine.clock.now(),
                )
            )  # fmt: skip
            for row in page.rows:
                waits = [w for w in msgspec.json.decode(row.waits) if w.get("type") == type]
                if any(compile_where(wait.get("where")).matches(event) for wait in waits):
                    found.append(row)
                    if len(found) == enough:
                        return found
            if not page.more:
                return found
            after = page.rows[-1].n

    async def _wake(self, row: InstanceRow, said: Json) -> HookResponse:
        engine = self._engine
        p = await engine._progress(row.n)
        wait = next((key for key in p.ops if key.endswith(".request")), None)
        if wait is None:
            raise LockFailed(f"{row.id} has gone on meanwhile", instance=row.id)
        event = Event(type=f"{HOOK}{self._stage.path}", data=said)
        sent = await engine.send(row.id, event, by=BY_HOOK)
        if not sent.matched:
            raise LockFailed(f"{row.id} has gone on meanwhile", instance=row.id)
        return await self._answer(row.id, wait.removesuffix(".request"))

    async def _answer(self, id: str, op: str) -> HookResponse:
        """What the stage answers, once it has run."""
        engine = self._engine
        row = await engine._find(id)
        changed = asyncio.Event()

        def stored(instance: Instance, append: Append, result: Appended) -> None:
            if instance.n == row.n:
                changed.set()

        engine.directory.watchers.append(stored)
        engine.at_end[changed.set] = None
        booking = engine.clock.call_later(round(PATIENCE_S * 1000), changed.set)
        until = engine.clock.now() + round(PATIENCE_S * 1000)
        try:
            while True:
                changed.clear()
                p = await engine._progress(row.n)
                response = p.state.get("response")
                if isinstance(response, dict) and response.get("op") == op:
                    return _response(response, id)
                if p.failure is not None or p.end in ("completed", "cancelled"):
                    return HookResponse(500, {"error": "the hook failed", "instance": id})
                if engine.clock.now() >= until or engine.state != "open":
                    return HookResponse(202, {"accepted": True, "instance": id})
                await changed.wait()
        finally:
            booking.cancel()
            engine.directory.watchers.remove(stored)
            engine.at_end.pop(changed.set, None)


_SECRET: Final = frozenset({"authorization", "cookie", "x-api-key"})
"""Headers that are no business of a stage: what is kept of a request can be read by many."""


def _response(response: dict[str, Any], id: str) -> HookResponse:
    status = int(response.get("status", 200))
    body = response.get("body")
    if body is None and status == 200:
        body = {"accepted": True, "instance": id}
    if body is None and status == 500:
        body = {"error": "the hook failed", "instance": id}
    return HookResponse(
        status, msgspec.Raw(msgspec.json.encode(body)) if isinstance(body, str) else body
    )


def _body(raw: bytes) -> Json:
    """JSON where it is JSON, else text."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", "replace")
