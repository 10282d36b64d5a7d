"""Services of others as handlers call them: `slack.send_message(...)`, `pagerduty.is_on_call(...)`.

A name such as `slack` is a description: what can be called, with which arguments. Who carries a
call out is a *provider*, an object with a method of each name; programs provide one, tests provide
another. A call made while a handler runs is an op of its own under the handler's: its outcome is
recorded before the handler gets it, and handed back when the handler is run again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

from greenroom.definitions.errors import GreenroomError
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, encode_decode


class NoProvider(GreenroomError):
    """A service was called and nobody was told how to reach it."""


class Recorder(Protocol):
    """Gives the recorded outcome of a call, or makes the call and records it. `providers` are those
    of its engine, by service."""

    is_test: bool
    """Nobody is to be told anything: messages go to the log."""

    @property
    def providers(self) -> Mapping[str, Any]: ...

    def outcome(self, name: str, args: Json, make: Callable[[], Any]) -> Json: ...

    def remembered(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """What was found under a key a while ago, by whichever handler, or is found now."""


class Unrecorded:
    """For calls outside a handler: each is made."""

    is_test = False

    def __init__(
        self,
        providers: Mapping[str, Any],
        remembered: Callable[[tuple[str, ...], Callable[[], Any]], Any],
    ) -> None:
        self.providers = providers
        self.remembered = remembered

    def outcome(self, name: str, args: Json, make: Callable[[], Any]) -> Json:
        return make()


RECORDER: Final[ContextVar[Recorder | None]] = ContextVar("greenroom_recorder", default=None)
"""Of the handler or script that runs in this context."""

TELLING: Final = frozenset({"deliver", "send_message", "update"})
"""Calls that tell somebody something: a test run makes them to the log."""
LOG: Final = "log"

_PROVIDERS: dict[str, Any] = {}


def provide(**providers: Any) -> contextlib.AbstractContextManager[None]:
    """Says who carries out the calls of services: `provide(pagerduty=MyPagerDuty())`.

    A provider is an object with a method for each call, or a map of functions. As a context
    manager it holds for the block alone.
    """
    before = dict(_PROVIDERS)
    _PROVIDERS.update(providers)

    @contextlib.contextmanager
    def until_left() -> Iterator[None]:
        try:
            yield
        finally:
            _PROVIDERS.clear()
            _PROVIDERS.update(before)

    return until_left()


def provider_of(service: str) -> Any:
    """Who carries out the calls of a service: whoever was provided, else the engine's own."""
    recorder = RECORDER.get()
    own = recorder.providers if recorder is not None else {}
    return _PROVIDERS.get(service, own.get(service))


def has_call(service: str, call: str) -> bool:
    """Whether whoever carries out the calls of a service knows this one."""
    provider = provider_of(service)
    return call in provider if isinstance(provider, Mapping) else hasattr(provider, call)


def called(service: str, call: str, arguments: Mapping[str, Any]) -> Json:
    """Carries a call out, recorded where a handler runs. Raises `NoProvider`, or what the provider
    raises."""
    args = encode_decode(dict(arguments), f"the arguments of {service}.{call}")[1]

    def make() -> Any:
        return _function(service, call)(**arguments)

    recorder = RECORDER.get()
    if recorder is None:
        return make()
    return recorder.outcome(f"{service}.{call}", args, make)


def recorded(name: str, args: Json, make: Callable[[], Any]) -> Json:
    """An effect of a handler that is carried out once: `recorded("ticket", None, open_ticket)`."""
    recorder = RECORDER.get()
    return make() if recorder is None else recorder.outcome(name, args, make)


def _function(service: str, call: str) -> Callable[..., Any]:
    provider = provider_of(service)
    recorder = RECORDER.get()
    if recorder is not None and recorder.is_test and call in TELLING:
        provider = recorder.providers.get(LOG)
    if provider is None:
        raise NoProvider(
            f"{service}.{call} was called, and nobody was told how to reach {service}",
            hint=f"integrations.provide({service}=...) with an object that has {call}()",
            service=service,
        )
    found = provider.get(call) if isinstance(provider, Mapping) else getattr(provider, call, None)
    if not callable(found):
        has = [name for name in _names(provider) if not name.startswith("_")]
        raise NoProvider(
            f"the provider of {service} has no {call}{did_you_mean(call, has)}", service=service
        )
    function: Callable[..., Any] = found
    return function


def _names(provider: Any) -> list[str]:
    return [str(name) for name in provider] if isinstance(provider, Mapping) else dir(provider)
