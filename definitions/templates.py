"""Templates: what a kind of flow does, as a table of events.

A row says in which states an event may happen, what it does by default, the state after it and
the event that follows by itself. Around each default an author's hooks run (`on_*` before it,
`after_*` behind it), and the default asks the author's reducers for what it needs. `approval` is a
table like any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.definitions.errors import GreenroomError, InvalidDefinition, InvalidInput
from greenroom.definitions.handlers import Handler
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, encode_decode

if TYPE_CHECKING:
    from greenroom.definitions.flowruns import FlowContext

NEW: Final = "new"
ENDED: Final = "ended"
IGNORE: Final = "ignore"
CHAIN_MAX: Final = 16
"""Events that hooks may fire one out of the other."""

Default = Callable[["FlowContext"], Awaitable[None]]
Slot = Callable[[Any], Json]
"""Checks what a reducer gave and makes it plain data. Raises `InvalidInput` or `TypeError`."""


class HookResult(GreenroomError):
    """A hook returned what is neither nothing nor a transition of its template."""


class ReducerResult(GreenroomError):
    """A reducer returned nothing, or what its place in the flow cannot take."""


class IllegalTransition(GreenroomError):
    """A hook fired an event that does not lead forward from where it was called."""


class HookRecursion(GreenroomError):
    """Hooks fired the same event again and again."""


class Transition(msgspec.Struct, frozen=True):
    """What a hook returns to steer: the event that happens instead, and what it is fired with."""

    event: str
    values: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class On:
    """One row of a template's table.

    `sources` are the states it may happen in; `default(ctx)` is what it does; `to` the state after
    it (None: the same); `next` the event that follows by itself. `redirects` are the events that
    its `on_*` hook may fire instead, `ignorable` lets the hook refuse it. `people`: a person may
    fire it; `decides`: it answers the open question, and only those who may decide can fire it;
    `quorum`: it happens when as many as the flow needs have fired it.
    """

    sources: Sequence[str]
    default: Default | None = None
    to: str | None = None
    next: str | None = None
    redirects: Sequence[str] = ()
    ignorable: bool = False
    people: bool = False
    decides: bool = False
    quorum: bool = False


class Template:
    """A named table of events; `template.approve(reason=...)` is what a hook returns to fire one.

    `reducers` maps the names of reducers to a check of what they give (a type, or a function that
    makes it plain data); of each group in `required` one must be there. `start` is the event that
    begins a request.
    """

    def __init__(
        self,
        name: str,
        events: Mapping[str, On],
        *,
        reducers: Mapping[str, Any] | None = None,
        required: Sequence[Sequence[str]] = (),
        start: str = "request",
        prompt: str | None = None,
        cleanup: Default | None = None,
    ) -> None:
        self.name = name
        self.events: Final = dict(events)
        self.reducers: Final = {
            slot: _slot(slot, check) for slot, check in (reducers or {}).items()
        }
        self.required: Final = tuple(tuple(group) for group in required)
        self.start = start
        self.prompt = prompt
        """The event that asks for the fields; None where they come with the start."""
        self.cleanup = cleanup
        """What a cancelled request does on its way out."""
        self._check()

    def _check(self) -> None:
        states = {NEW, *(row.to for row in self.events.values() if row.to)}
        wrong: list[str] = []
        wrong += [
            f"there is no event {first!r} to begin with"
            for first in (self.start, self.prompt)
            if first is not None and first not in self.events
        ]
        for name, row in self.events.items():
            if not name.isidentifier() or name == IGNORE or hasattr(type(self), name):
                wrong.append(f"{name!r} cannot be the name of an event")
            wrong += [
                f"{name} happens in {state!r}, where nothing leads to"
                for state in row.sources
                if state not in states
            ]
            wrong += [
                f"{name} leads to the event {other!r}, which there is not"
                for other in (*row.redirects, *([row.next] if row.next else ()))
                if other not in self.events
            ]
        wrong += [
            f"{slot} is required and there is no such reducer"
            for group in self.required
            for slot in group
            if slot not in self.reducers
        ]
        if wrong:
            raise InvalidDefinition(f"the template {self.name}: {'; '.join(wrong)}")

    def __getattr__(self, name: str) -> Callable[..., Transition]:
        events = self.__dict__.get("events", {})
        if name not in events:
            raise AttributeError(
                f"the template {self.__dict__.get('name')} has no event {name!r}"
                f"{did_you_mean(name, events)}"
            )

        def fire(**values: Any) -> Transition:
            return Transition(name, encode_decode(values, f"{name}(...)")[1])

        return fire

    def ignore(self, message: str | None = None) -> Transition:
        """The event does not happen; whoever fired it is told `message`."""
        return Transition(IGNORE, {"message": message})

    def handler_names(self) -> list[str]:
        """All names a handler may have."""
        hooks = [f"{prefix}_{name}" for name in self.events for prefix in ("on", "after")]
        return [*hooks, *self.reducers, "get_identity"]

    def check_handlers(self, handlers: Mapping[str, Handler], where: str) -> None:
        """Raises `InvalidDefinition` for handlers the template does not know or misses."""
        legal = self.handler_names()
        for handler in handlers.values():
            if handler.kind == "prefetch":
                continue
            if handler.name not in legal:
                raise InvalidDefinition(
                    f"{handler.name} is no handler of the template {self.name}"
                    f"{did_you_mean(handler.name, legal)}   {handler.where}",
                    hint=f"its handlers are: {', '.join(legal)}",
                )
        for group in self.required:
            if not any(slot in handlers for slot in group):
                raise InvalidDefinition(
                    f"the template {self.name} needs the reducer {' or '.join(group)}   {where}",
                    hint=f"@reducer\ndef {group[0]}(event): ...",
                )

    def redirected(self, event: str, given: Any) -> dict[str, Json] | None:
        """What an `on_*` hook returned, as plain data; None for nothing. Raises `HookResult` or
        `IllegalTransition`."""
        if given is None:
            return None
        if not isinstance(given, Transition):
            raise HookResult(
                f"on_{event} must return nothing or a transition, got {type(given).__name__} "
                f"{_short(given)}",
                hint=f"return {self.name}'s approve(), deny(...), ignore(...), or nothing",
                hook=f"on_{event}",
            )
        row = self.events[event]
        legal = [*([IGNORE] if row.ignorable else []), *row.redirects, event]
        if given.event not in legal:
            raise IllegalTransition(
                f"on_{event} cannot lead to {given.event}: from there it goes to "
                f"{', '.join(legal)}",
                hook=f"on_{event}", event=given.event,
            )  # fmt: skip
        return {"event": given.event, "values": dict(given.values)}

    def reduced(self, slot: str, given: Any) -> Json:
        """What a reducer returned, as plain data. Raises `ReducerResult`."""
        if given is None:
            raise ReducerResult(f"{slot} returned nothing", reducer=slot)
        try:
            return encode_decode(self.reducers[slot](given), slot)[1]
        except (InvalidInput, TypeError, ValueError) as error:
            raise ReducerResult(f"{slot}: {error}", reducer=slot) from error

    def __repr__(self) -> str:
        return f"<template {self.name}>"


def _slot(name: str, check: Any) -> Slot:
    if not name.startswith("get_"):
        raise InvalidDefinition(f"a reducer is named get_*, got {name!r}")
    if not isinstance(check, type):
        if not callable(check):
            raise InvalidDefinition(f"the check of {name} must be a type or function")
        found: Slot = check
        return found

    def is_type(value: Any) -> Json:
        if not isinstance(value, check):
            raise TypeError(f"must be {check.__name__}, got {type(value).__name__}")
        return value

    return is_type


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
