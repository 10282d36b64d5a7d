"""Who makes the requests of an engine: for each connector its connections, credentials and rate.

An action passes here on its way out and its response on the way back. Parameters are checked once
more, now that they are values; secrets they were granted are put in at the last moment; whatever
comes back, or goes wrong, is looked through for secrets before anybody stores it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterable
from contextvars import Token
from typing import Any, Self

from greenroom.actors.ports import Clock
from greenroom.definitions.actionerrors import (
    ActionFailed,
    ParameterInvalid,
    ResponseInvalid,
    TransportFailed,
)
from greenroom.definitions.connectors import PERFORMER, Action, Connector, Connectors
from greenroom.definitions.credentials import SCHEME, is_secret_name
from greenroom.definitions.errors import EngineStopping, GreenroomError, NotPermitted, Rejected
from greenroom.definitions.networks import Network
from greenroom.definitions.values import Json, encode_decode
from greenroom.runtime import masking
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.connectors.authority import Authority
from greenroom.runtime.connectors.http import Http
from greenroom.runtime.connectors.limiter import Limiter
from greenroom.runtime.connectors.wire import Resolver, Response, Wire, judged, library, resolve
from greenroom.runtime.secrets import SecretStore


def network_from_environment() -> Network:
    """`GREENROOM_NETWORK_ALLOW` and `GREENROOM_NETWORK_ONLY`: hosts, addresses or networks, parted
    by commas. With `ONLY` nothing else is reached. Raises `InvalidDefinition`."""
    only = os.environ.get("GREENROOM_NETWORK_ONLY")
    return Network.of(
        _words(os.environ.get("GREENROOM_NETWORK_ALLOW")), None if only is None else _words(only)
    )


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


class Line:
    """All that is kept for one connector while the engine is open."""

    def __init__(self, owner: Connections, connector: Connector) -> None:
        config = connector.config
        self.connector = connector
        self.wire = Wire(
            owner.network.with_allowed(*config.allow), resolver=owner.resolver, tls=owner.tls
        )
        self.authority = Authority(config.credentials, owner.secrets, owner.clock, self._fetch)
        self.limiter = None if config.rate is None else Limiter(config.rate, owner.clock)

    async def _fetch(self, url: str, headers: dict[str, str], form: bytes) -> Response:
        target = library("httpx2").URL(url)
        made = {"Host": target.netloc.decode("ascii"), **headers, "Content-Length": str(len(form))}
        return await self.wire.send("POST", target, made.items(), form, timeout_s=30.0)

    async def close(self) -> None:
        if self.limiter is not None:
            self.limiter.close()
        await self.authority.close()
        await self.wire.close()


class Connections:
    """A `Performer`. An engine has one; alone it is `async with Connections([slack]):`."""

    def __init__(
        self,
        connectors: Connectors | Iterable[Connector] = (),
        *,
        clock: Clock | None = None,
        secrets: SecretStore | None = None,
        network: Network | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        self.connectors = (
            connectors if isinstance(connectors, Connectors) else Connectors(connectors)
        )
        self.clock: Clock = clock or SystemClock()
        self.secrets = secrets or SecretStore()
        self.network = network_from_environment() if network is None else network
        for connector in self.connectors:
            self.secrets.lend(connector.written)
        self.resolver = resolver
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        self._lines: dict[Connector, Line] = {}
        self._tls: Any = None
        self._token: Token[Any] | None = None

    async def __aenter__(self) -> Self:
        self.open()
        self._token = PERFORMER.set(self)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._token is not None:
            PERFORMER.reset(self._token)
            self._token = None
        await self.close()

    def open(self) -> None:
        """Takes the running loop as the one requests are made on."""
        self.loop = asyncio.get_running_loop()
        self.secrets.hide()

    async def close(self) -> None:
        self.closed = True
        lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            await line.close()

    def tls(self) -> Any:
        """The settings of TLS, made once: it takes longer than most requests."""
        if self._tls is None:
            self._tls = library("httpx2").create_ssl_context()
        return self._tls

    def line(self, connector: Connector) -> Line:
        if self.closed:
            raise EngineStopping("the engine is stopping")
        found = self._lines.get(connector)
        if found is None:
            found = self._lines[connector] = Line(self, connector)
        return found

    # -- performing ----------------------------------------------------------------------------

    async def perform(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        """See `Performer`. From another loop than the engine's it is handed over."""
        if self.loop is not None and asyncio.get_running_loop() is not self.loop:
            work = asyncio.run_coroutine_threadsafe(self._perform(action, params, key), self.loop)
            return await asyncio.wrap_future(work)
        return await self._perform(action, params, key)

    def perform_blocking(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        """See `Performer`. On the engine's own loop it would wait for itself, so it is refused."""
        assert self.loop is not None
        if _running() is self.loop:
            raise Rejected(
                f"{action.full_name} would block the event loop that has to carry it out",
                hint=f'await it:  await connector.call("{action.type}", ...)',
            )
        return asyncio.run_coroutine_threadsafe(
            self._perform(action, params, key), self.loop
        ).result()

    async def _perform(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        connector = action.connector
        given = encode_decode(params, "the parameters")[1]
        action.check(given)
        line = self.line(connector)
        timeout_s = action.timeout_s or connector.config.timeout_s
        try:
            if line.limiter is not None:
                await line.limiter.turn()
            given = await self._with_secrets(given, connector)
            async with asyncio.timeout(timeout_s) as limit:
                found = await self._run(action, given, key, line, timeout_s)
        except TimeoutError as error:
            if not limit.expired():
                raise _masked(error, action) from None
            raise TransportFailed(
                f"{action.full_name} took longer than {timeout_s:g} s",
                retry_names=("timeout", "transport"),
                sent=True,
            ) from None
        except Exception as error:
            raise _masked(error, action) from None
        back = masking.secrets.hidden(encode_decode(found, f"the answer of {action.full_name}")[1])
        if action.response is not None:
            problems = action.response.problems(back, "$")
            if problems:
                raise ResponseInvalid(
                    f"the answer of {action.full_name} is not what it should be: "
                    f"{problems[0].path} {problems[0].message}",
                    problems=[problem.as_data() for problem in problems],
                )
        return back

    async def _run(
        self, action: Action, params: dict[str, Json], key: str | None, line: Line, timeout_s: float
    ) -> Json:
        http = Http(
            action.connector.config, line.wire, line.authority, self.secrets, self.clock, key,
            timeout_s,
        )  # fmt: skip
        if action.request is not None:
            return (await http.send(action.request.build(params))).body()
        assert action.run is not None
        value: Any = params
        if action.convert is not None:
            value = action.convert(params)
        more: dict[str, Any] = {}
        if "http" in action.takes:
            more["http"] = http
        if "ctx" in action.takes:
            more["ctx"] = ActionContext(key, self, line)
        if inspect.iscoroutinefunction(action.run):
            return await action.run(value, **more)
        found = await asyncio.to_thread(action.run, value, **more)
        return await found if inspect.isawaitable(found) else found

    async def _with_secrets(self, value: Json, connector: Connector) -> Json:
        """The parameters with the secrets the connector grants put in. A text that is such a name
        and was not granted is refused: it must neither be sent nor looked up."""
        if isinstance(value, dict):
            return {k: await self._with_secrets(item, connector) for k, item in value.items()}
        if isinstance(value, list):
            return [await self._with_secrets(item, connector) for item in value]
        if not isinstance(value, str) or not value.startswith(SCHEME):
            return value
        name = value.removeprefix(SCHEME)
        if not is_secret_name(name) or name not in connector.config.grants:
            raise ParameterInvalid(
                f"{connector.id} grants no secret {name[:80]!r} to those who call it",
                hint=f'an operator may:  "grants": ["{name[:80]}"] in its config',
                problems=[],
            )
        return (await self.secrets.get(name)).reveal()


class ActionContext:
    """What an action's function may know of the attempt: `idempotency_key` is the same in each
    attempt of an op, None outside one."""

    __slots__ = ("_line", "_owner", "idempotency_key")

    def __init__(self, key: str | None, owner: Connections, line: Line) -> None:
        self.idempotency_key = key
        self._owner = owner
        self._line = line

    async def secret(self, name: str) -> str:
        """The value of one of the connector's secrets. Raises `SecretMissing`, and `NotPermitted`
        for a secret the connector does not list."""
        known = self._line.connector.secrets()
        if name not in known:
            raise NotPermitted(
                f"{self._line.connector.id} does not list the secret {name!r}",
                hint=f'declare it:  grants=["{name}"]',
            )
        return (await self._owner.secrets.get(name)).reveal()

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, judged like those of any request: for what is not HTTP.
        Connect to one of these. Raises `AddressRefused`."""
        network = self._owner.network.with_allowed(*self._line.connector.config.allow)
        return await judged(network, self._owner.resolver, host, port)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _masked(error: Exception, action: Action) -> Exception:
    """The error as it may be stored and logged."""
    hide: Callable[[Any], Any] = masking.secrets.hidden
    if isinstance(error, GreenroomError):
        error.message = hide(error.message)
        error.args = (error.message,)
        error.details = hide(error.details)
        error.hint = hide(error.hint)
        if notes := getattr(error, "__notes__", None):
            notes[:] = hide(notes)
        return error
    text = str(error)
    if hide(text) == text:
        return error
    return ActionFailed(f"{action.full_name}: {type(error).__name__}: {hide(text)}")
