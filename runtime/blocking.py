"""The verbs of the blocking client: those of `clientverbs`, carried out at once.

A verb is a coroutine that does nothing but ask. Where asking blocks, it never waits for anything
else, so it runs to its end in one go and needs no loop: `blocking` does that and keeps the types of
the verb. A test holds that every verb has its line here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from greenroom.runtime import clientverbs as verbs

V = TypeVar("V")
P = ParamSpec("P")
T = TypeVar("T")


class Blocking(Generic[V]):
    """Verbs that are carried out by `_asking`, whose `ask` blocks."""

    def __init__(self, asking: V) -> None:
        self._asking = asking


def blocking(
    verb: Callable[Concatenate[V, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking[V], P], T]:
    """The verb as a method that returns when it is done."""

    @functools.wraps(verb)
    def call(self: Blocking[V], /, *args: P.args, **kwargs: P.kwargs) -> T:
        coroutine = verb(self._asking, *args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as done:
            found: T = done.value
            return found
        coroutine.close()
        raise AssertionError(f"{verb.__qualname__} waits for more than an answer")

    return call


class BlockingVerbs(Blocking[verbs.Verbs]):
    start = blocking(verbs.Verbs.start)
    send = blocking(verbs.Verbs.send)
    ingest = blocking(verbs.Verbs.ingest)
    answer = blocking(verbs.Verbs.answer)
    progress = blocking(verbs.Verbs.progress)
    pause = blocking(verbs.Verbs.pause)
    resume = blocking(verbs.Verbs.resume)
    cancel = blocking(verbs.Verbs.cancel)
    many = blocking(verbs.Verbs.many)
    skip = blocking(verbs.Verbs.skip)
    edit = blocking(verbs.Verbs.edit)
    migrate = blocking(verbs.Verbs.migrate)
    restart = blocking(verbs.Verbs.restart)
    fork = blocking(verbs.Verbs.fork)
    result = blocking(verbs.Verbs.result)
    outcome = blocking(verbs.Verbs.outcome)
    get = blocking(verbs.Verbs.get)
    diff = blocking(verbs.Verbs.diff)
    why = blocking(verbs.Verbs.why)
    list = blocking(verbs.Verbs.list)
    history = blocking(verbs.Verbs.history)
    state_at = blocking(verbs.Verbs.state_at)
    ping = blocking(verbs.Verbs.ping)
    info = blocking(verbs.Verbs.info)
    check_replay = blocking(verbs.Verbs.check_replay)
    doctor = blocking(verbs.Verbs.doctor)
    prune = blocking(verbs.Verbs.prune)
    backup = blocking(verbs.Verbs.backup)


class Definitions(Blocking[verbs.Definitions]):
    list = blocking(verbs.Definitions.list)
    get = blocking(verbs.Definitions.get)
    validate = blocking(verbs.Definitions.validate)
    push = blocking(verbs.Definitions.push)
    promote = blocking(verbs.Definitions.promote)
    revoke = blocking(verbs.Definitions.revoke)
    check = blocking(verbs.Definitions.check)
    rollback = blocking(verbs.Definitions.rollback)
    enable = blocking(verbs.Definitions.enable)
    disable = blocking(verbs.Definitions.disable)
    diff = blocking(verbs.Definitions.diff)
    delete = blocking(verbs.Definitions.delete)
    sync = blocking(verbs.Definitions.sync)


class Schedules(Blocking[verbs.Schedules]):
    list = blocking(verbs.Schedules.list)
    next = blocking(verbs.Schedules.next)
    pause = blocking(verbs.Schedules.pause)
    resume = blocking(verbs.Schedules.resume)
    trigger = blocking(verbs.Schedules.trigger)
    preview = blocking(verbs.Schedules.preview)
    backfill = blocking(verbs.Schedules.backfill)


class Events(Blocking[verbs.Events]):
    list = blocking(verbs.Events.list)
    get = blocking(verbs.Events.get)
    explain = blocking(verbs.Events.explain)
    resend = blocking(verbs.Events.resend)
    try_ = blocking(verbs.Events.try_)
    replay = blocking(verbs.Events.replay)
    dead = blocking(verbs.Events.dead)
    held = blocking(verbs.Events.held)
    redrive = blocking(verbs.Events.redrive)


class Asks(Blocking[verbs.Asks]):
    list = blocking(verbs.Asks.list)
    get = blocking(verbs.Asks.get)
    draft = blocking(verbs.Asks.draft)


class Resources(Blocking[verbs.Resources]):
    list = blocking(verbs.Resources.list)
    get = blocking(verbs.Resources.get)
    products = blocking(verbs.Resources.products)
    history = blocking(verbs.Resources.history)


class Stages(Blocking[verbs.Stages]):
    list = blocking(verbs.Stages.list)
    graph = blocking(verbs.Stages.graph)
    save = blocking(verbs.Stages.save)
    open_file = blocking(verbs.Stages.open_file)
    code = blocking(verbs.Stages.code)
    validate = blocking(verbs.Stages.validate)
    deploy = blocking(verbs.Stages.deploy)
    board = blocking(verbs.Stages.board)
    move = blocking(verbs.Stages.move)
    logs = blocking(verbs.Stages.logs)


class Keys(Blocking[verbs.Keys]):
    create = blocking(verbs.Keys.create)
    list = blocking(verbs.Keys.list)
    revoke = blocking(verbs.Keys.revoke)


class Connectors(Blocking[verbs.Connectors]):
    list = blocking(verbs.Connectors.list)
    show = blocking(verbs.Connectors.show)
    check = blocking(verbs.Connectors.check)
    call = blocking(verbs.Connectors.call)


class Secrets(Blocking[verbs.Secrets]):
    list = blocking(verbs.Secrets.list)
    check = blocking(verbs.Secrets.check)
