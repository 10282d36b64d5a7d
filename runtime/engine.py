"""`Engine`: the facade. Its verbs are in `layers`, each over one concern.

    async with Engine.open("app.db", workflows=[order]) as engine:
        instance = await engine.start("order", {"order_id": "7"}, key="7")

Every face (socket, command line, sync facade, HTTP) calls the verbs here. A verb that returned is
on disk; one that raised a `Rejected` stored nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from greenroom.definitions.connectors import PERFORMER
from greenroom.definitions.engines import ENGINE, ENVIRONMENT
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.ops import named_version
from greenroom.definitions.programs import Workflow, workflow_input, workflow_key
from greenroom.definitions.tasks import Task
from greenroom.definitions.values import Json
from greenroom.runtime.facade import ScheduleHandle
from greenroom.runtime.finder import Finder
from greenroom.runtime.layers.core import VERSION
from greenroom.runtime.layers.results import Results
from greenroom.runtime.layers.starting import InstanceHandle

__all__ = ["VERSION", "Engine", "InstanceHandle"]


class Engine(Results):
    """An open store and everything that runs on it. Make it with `Engine.open`."""

    @classmethod
    def open(
        cls,
        target: str | Path | None = None,
        *,
        workflows: Sequence[object] = (),
        **options: Any,
    ) -> Engine:
        """An engine on a file of its own (`"app.db"`), a data directory (`"dir/"`, default
        `GREENROOM_DATA` or `.greenroom/`) or in memory (`":memory:"`). Use it with `async with`.

        Options: `connectors` (objects, documents, files or folders of them), `network` (what
        they may reach), `namespace`, `in_flight` (steps at once, 256), `threads` (for plain functions, 32),
        `accept_truncation` (go on although the end of the journal is damaged), `passive` (look and
        use verbs, but run nothing), `promote=False` (changed workflows are registered, new
        instances go on with the version released before), `sync=False` (the store's definitions are
        followed and not changed; `definitions.sync()` does it), `forms_twice` (run each form a second
        time and refuse one that is not pure; for tests), `teams` (`{"finance": ["ann", ...]}`:
        who a question for `team:finance` is for), `enforce_assignee` (nobody but the assignee may
        answer any question), `public_url` (where people reach its pages, for the links in messages),
        `clock`, `log`.
        """
        return cls(target, workflows, **options)

    @staticmethod
    def sync(
        target: str | Path | None = None, *, workflows: Sequence[object] = (), **options: Any
    ) -> Any:
        """The same engine for code that is not async: `with Engine.sync("app.db") as engine:`."""
        from greenroom.runtime.sync import SyncEngine  # noqa: PLC0415  it imports this module

        return SyncEngine(target, workflows=workflows, **options)

    async def __aenter__(self) -> Self:
        await self._open()
        self._token = ENGINE.set(self)
        self._performer = PERFORMER.set(self.connections)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._token is not None:
            ENGINE.reset(self._token)
            self._token = None
        if self._performer is not None:
            PERFORMER.reset(self._performer)
            self._performer = None
        await self.close()

    def asgi(self, **rules: Any) -> Any:
        """The engine's HTTP face as an ASGI application, to be mounted in one of yours under any
        prefix: `app.mount("/greenroom", engine.asgi())`. Needs the extra `web`.

        Everybody needs an API key, unless `identify=` says who a request is of (a function of the
        request that gives a name, a `Caller`, or None), or `open=True` lets everybody in who
        reaches it. `hosts=("name",)` are the names it is known by, by default any: that is for your
        application to check. `pages=[...]` adds pages.
        """
        from greenroom.runtime.web.mount import mounted  # noqa: PLC0415  it needs an extra

        return mounted(self, rules)

    async def dispatch(self, job: Workflow | Task) -> InstanceHandle:
        """Starts an instance of a workflow class from an object of it; of a task, an instance that
        runs it alone."""
        self._know_task(job)
        key = workflow_key(job) if isinstance(job, Workflow) else None
        version = None
        if isinstance(job, Workflow):  # `Flow_v1(...)` is version 1, whatever is released
            version = named_version(type(job).__name__)[1]
        return await self.start(
            type(job), workflow_input(job), key=key, version=version, namespace=ENVIRONMENT.get()
        )

    async def schedule(self, job: Workflow | Task, rule: str) -> ScheduleHandle:
        """Starts an instance like `job` at each time of a rule; one more call changes nothing."""
        if not isinstance(rule, str) or not rule.strip():
            raise InvalidInput(f"a schedule is a cron expression or a rate, got {rule!r}")
        spec: Json = rule
        if len(rule.split()) == 6:  # as Zenaton takes them, where seconds stand in front
            spec = {"cron": rule, "seconds": "first"}
        self._know_task(job)
        name = self.registry.current(type(job)).name
        key = workflow_key(job) if isinstance(job, Workflow) else None
        start = {"input": workflow_input(job), "key": key, "namespace": ENVIRONMENT.get()}
        return ScheduleHandle(self, await self.schedules.make(name, spec, start))

    def _know_task(self, job: Workflow | Task) -> None:
        if isinstance(job, Task) and type(job).__name__ not in self.registry.names():
            self.register(type(job))

    def where_id(self, workflow: str, key: str) -> Finder:
        return Finder(self, workflow, key, ENVIRONMENT.get())
