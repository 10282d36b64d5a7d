"""Connectors: what a service can be asked to do, and the events it sends.

    slack = Connector("slack", host="slack.com", credentials=BearerToken("secret://slack"))

    @slack.action("PostMessage", params=Message)
    async def post_message(message: Message, http: Http) -> dict: ...

    await slack.call("PostMessage", {"channel": "#ops", "text": "hello"})

The same can be written as a document (`connectordocs`). Inside a program a call is a
journaled op, elsewhere it is made at once. How requests are made is the business of the runtime:
it is a `Performer`, found in a context variable that every open engine sets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar

import msgspec

from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.attempts import ATTEMPT
from greenroom.definitions.credentials import SCHEME, Credentials, as_data, secret_name
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition, NoEngine, NotFound, Problem
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.injection import converter, location
from greenroom.definitions.networks import Allowed, parse_allowed, split_host
from greenroom.definitions.ops import CURRENT, Op, asked
from greenroom.definitions.rates import Rate, parse_rate
from greenroom.definitions.requests import RequestTemplate
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.schemas import Schema, compile_schema
from greenroom.definitions.signatures import Signature, signature_from
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, encode_decode
from greenroom.definitions.workflow import Target, data_hash

F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S: Final = 30.0
TIMEOUT_MAX_S: Final = 600.0
REDIRECTS_MAX: Final = 3

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}", re.ASCII)
_TYPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)

GIVEN: Final = frozenset({"http", "ctx"})
"""Parameters of an action's function that the runtime gives."""

SAFE_RETRIES: Final = RetryPolicy(
    delay_s=1.0, max_delay_s=60.0, max_attempts=3, retry_on=("429", "5xx", "timeout", "transport")
)
CAREFUL_RETRIES: Final = RetryPolicy(
    delay_s=1.0, max_delay_s=60.0, max_attempts=3, retry_on=("429", "unsent")
)
"""What is tried again by itself: anything that passes, of an action that may be repeated; of any
other only what surely did nothing."""


class Performer(Protocol):
    """Who makes requests."""

    async def perform(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        """Carries an action out. `key` is the same for each attempt of one op."""
        ...

    def perform_blocking(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        """The same from a thread that runs no event loop."""
        ...


PERFORMER: Final[ContextVar[Performer | None]] = ContextVar("greenroom_performer", default=None)


class EventType(msgspec.Struct, frozen=True):
    """An event a service sends. `schema` is what its data must be."""

    type: str
    schema: Schema | None = None
    name: str | None = None
    description: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """How a service is reached. `host` is a name with an optional port; `allow` are inside
    addresses and ports it may lead to; `grants` are the secrets its callers may name in
    parameters."""

    host: str | None = None
    scheme: str = "https"
    base_path: str = ""
    default_headers: Mapping[str, str] = {}
    credentials: Credentials | None = None
    allow: tuple[Allowed, ...] = ()
    grants: frozenset[str] = frozenset()
    redirects: int = 0
    timeout_s: float = TIMEOUT_S
    rate: Rate | None = None
    idempotency_header: str | None = "Idempotency-Key"


class Action:
    """One thing a connector can do. Called, it does it: `await post_message(text="hello")`.

    `run` is an author's function, `request` the request of a document; exactly one is there.
    """

    def __init__(
        self,
        connector: Connector,
        type: str,
        *,
        schema: Schema | None = None,
        convert: Callable[[Any], Any] | None = None,
        response: Schema | None = None,
        run: Callable[..., Any] | None = None,
        request: RequestTemplate | None = None,
        idempotent: bool = False,
        timeout_s: float | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        self.connector = connector
        self.type = type
        self.name = name or type
        self.description = description
        self.schema = schema
        self.convert = convert
        self.response = response
        self.run = run
        self.request = request
        self.idempotent = idempotent
        self.timeout_s = timeout_s
        self.takes = _takes(run) if run is not None else frozenset()
        """Which of `GIVEN` the function asks for."""
        self.target = Target(
            f"{connector.id}.{type}",
            self._attempt,
            None,
            True,
            retry=SAFE_RETRIES if idempotent else CAREFUL_RETRIES,
        )

    @property
    def full_name(self) -> str:
        """`slack.PostMessage`: what the journal calls it."""
        return self.target.name

    @property
    def retry(self) -> RetryPolicy:
        """What is tried again unless whoever calls says otherwise."""
        assert self.target.retry is not None
        return self.target.retry

    def problems(self, params: Json, path: str = "$", *, constants: bool = False) -> list[Problem]:
        """What is wrong with parameters; with `constants`, of a definition's text, in which
        expressions and formats are not judged."""
        if not isinstance(params, dict):
            return [Problem(path, f"parameters must be an object, got {type(params).__name__}")]
        if self.schema is None:
            return []
        check = self.schema.problems_of_constants if constants else self.schema.problems
        return check(params, path)

    def check(self, params: Json) -> None:
        """Raises `ParameterInvalid`."""
        found = self.problems(params, "$.parameters")
        if found:
            first = found[0]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise ParameterInvalid(
                f"{self.full_name}: {first.path} {first.message}{more}; nothing was sent",
                problems=[problem.as_data() for problem in found],
                action=self.full_name,
            )

    async def perform(self, params: dict[str, Json], key: str | None = None) -> Json:
        """Does it, here and now; gives the response. What an op's function awaits.

        `key` is the idempotency key, the same for each attempt; inside a step it is made of the
        step's unless given. Raises `ParameterInvalid` and what the request raises:
        `ResponseFailed`, `TransportFailed`, `AddressRefused`.
        """
        return await self.connector.performer(self).perform(self, params, self._key(params, key))

    def perform_blocking(self, params: dict[str, Json], key: str | None = None) -> Json:
        """`perform` for plain functions, in a thread of their own."""
        return self.connector.performer(self).perform_blocking(self, params, self._key(params, key))

    def _key(self, params: Json, given: str | None) -> str | None:
        if given is not None or (place := ATTEMPT.get()) is None:
            return given
        return place.key_for(self.full_name, encode_decode(params, "the parameters")[1])

    async def _attempt(self, **arguments: Any) -> Json:
        context = arguments.pop("_context", None)
        return await self.perform(arguments, None if context is None else context.id)

    def __call__(self, params: dict[str, Json] | None = None, /, **more: Json) -> Any:
        return self.connector.call(self.type, params, **more)

    def as_data(self) -> dict[str, Json]:
        """As faces show it."""
        return {
            "type": self.type,
            "name": self.name,
            "description": self.description,
            "idempotent": self.idempotent,
            "parameters": None if self.schema is None else self.schema.source,
            "response": None if self.response is None else self.response.source,
        }

    def __repr__(self) -> str:
        return f"<action {self.full_name}>"


class Connector:
    """A service. `id` is what workflows call it by (`connector_id`)."""

    def __init__(
        self,
        id: str,
        *,
        type: str | None = None,
        name: str | None = None,
        description: str | None = None,
        host: str | None = None,
        base_path: str = "",
        default_headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        allow: Sequence[str] = (),
        grants: Sequence[str] = (),
        redirects: int = 0,
        timeout: str | float | None = None,
        rate_limit: Json = None,
        idempotency_header: str | None = "Idempotency-Key",
        signature: Json = None,
        type_path: str = "type",
        source: str | None = None,
    ) -> None:
        """`rate_limit` is `"5/s"` or `{"rate": 5, "per": "1s", "burst": 10}`. `signature` says how
        events are signed: `{"scheme": "github", "secret": "secret://hook"}`. `type_path` is where
        the body of an event names its type. Raises `InvalidDefinition`."""
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise InvalidDefinition(
                f"a connector's id has letters, digits, spaces, _ . - and 64 characters, got {id!r}"
            )
        if not 0 <= redirects <= REDIRECTS_MAX:
            raise InvalidDefinition(f"redirects must be 0 to {REDIRECTS_MAX}, got {redirects!r}")
        if credentials is not None:
            credentials.secrets()  # refuses values where names belong
            if host is None:
                raise InvalidDefinition(f"{id}: credentials need a host that they are for")
        self.written: Mapping[str, str] = {}
        """Secrets that its document has written out, by the names it knows them by: shown nowhere."""
        self.warnings: tuple[Problem, ...] = ()
        """What is odd about its document."""
        self.id = id
        self.type = type or id
        self.name = name or self.type
        self.description = description
        self.source = source or _caller()
        scheme, host = read_host(host)
        for header, value in (default_headers or {}).items():
            if value.startswith(SCHEME):
                secret_name(value)
            check_header(header, value)
        self.config = Config(
            host=host,
            scheme=scheme,
            base_path=base_path.strip("/"),
            default_headers=dict(default_headers or {}),
            credentials=credentials,
            allow=(*map(parse_allowed, allow), *_own_host(host)),
            grants=frozenset(secret_name(one) if "://" in one else one for one in grants),
            redirects=redirects,
            timeout_s=read_timeout(timeout) or TIMEOUT_S,
            rate=None if rate_limit is None else parse_rate(rate_limit),
            idempotency_header=idempotency_header,
        )
        self.signature: Signature = signature_from(signature, self.id)
        self.type_path = type_path
        self.actions: dict[str, Action] = {}
        self.events: dict[str, EventType] = {}

    # -- declaring -----------------------------------------------------------------------------

    def action(
        self,
        type: str,
        *,
        params: Any = None,
        response: Json = None,
        idempotent: bool = False,
        timeout: str | float | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> Callable[[Callable[..., Any]], Action]:
        """Declares an action carried out by a function.

        `params` is a type (Struct, dataclass, TypedDict) or a JSON Schema; the function's first
        parameter gets the parameters as it. `http` and `ctx`, if it has such parameters, are the
        connector's HTTP caller and the attempt. `idempotent` says it may be repeated.
        """

        def decorate(func: Callable[..., Any]) -> Action:
            where = location(func)
            schema, convert = _params(params, f"{self.id}.{type}", where)
            if "http" in _takes(func) and not inspect.iscoroutinefunction(func):
                raise InvalidDefinition(
                    f"{func.__name__} takes http, so it must be `async def`   {where}"
                )
            return self.add(
                Action(
                    self,
                    type,
                    schema=schema,
                    convert=convert,
                    response=None if response is None else compile_schema(response),
                    run=func,
                    idempotent=idempotent,
                    timeout_s=read_timeout(timeout),
                    name=name,
                    description=description or inspect.getdoc(func),
                )
            )

        return decorate

    def add(self, action: Action) -> Action:
        """Takes an action in. Raises `InvalidDefinition` for a second one of its type."""
        if not isinstance(action.type, str) or not _TYPE.fullmatch(action.type):
            raise InvalidDefinition(
                f"{self.id}: an action's type has letters, digits, _ . : -, got {action.type!r}"
            )
        if action.type in self.actions:
            raise InvalidDefinition(f"{self.id} has two actions of type {action.type}")
        self.actions[action.type] = action
        return action

    def event(
        self,
        type: str,
        *,
        schema: Any = None,
        name: str | None = None,
        description: str | None = None,
    ) -> EventType:
        """Declares an event the service sends; `schema` is a type or a JSON Schema."""
        if not isinstance(type, str) or not 0 < len(type) <= NAME_MAX:
            raise InvalidDefinition(f"{self.id}: an event's type must be text, got {type!r}")
        if type in self.events:
            raise InvalidDefinition(f"{self.id} has two events of type {type}")
        found, _ = _params(schema, f"{self.id}.{type}", self.source)
        self.events[type] = EventType(type, found, name, description)
        return self.events[type]

    # -- using ---------------------------------------------------------------------------------

    def find(self, type: str) -> Action:
        """The action of a type. Raises `NotFound`."""
        found = self.actions.get(type)
        if found is None:
            raise NotFound(
                f"{self.id} has no action {type!r}{did_you_mean(str(type), self.actions)}",
                connector=self.id,
                action=type,
                known=sorted(self.actions),
            )
        return found

    def call(
        self,
        type: str,
        params: dict[str, Json] | None = None,
        /,
        *,
        key: str | None = None,
        **more: Json,
    ) -> Any:
        """In a program: an op, journaled with its parameters and its response. Elsewhere: the
        request itself, to be awaited; `key` is its idempotency key, in a step made of the step's
        unless given. Parameters are given as an object, by name, or both."""
        action = self.find(type)
        given = {**(params or {}), **more}
        if CURRENT.get() is not None:
            return asked(Op("call", action.full_name, given, target=action.target, key=key))
        return action.perform(given, key)

    def call_sync(
        self,
        type: str,
        params: dict[str, Json] | None = None,
        /,
        *,
        key: str | None = None,
        **more: Json,
    ) -> Json:
        """`call` for plain functions: waits for the response."""
        return self.find(type).perform_blocking({**(params or {}), **more}, key)

    def performer(self, what: object) -> Performer:
        """Who makes the requests here. Raises `NoEngine`."""
        found = PERFORMER.get() or self.alone()
        if found is None:
            raise NoEngine(
                f"{what!r} needs an open engine and there is none in this context",
                hint="call it inside `async with Engine.open(..., connectors=[...]):`",
            )
        return found

    def alone(self) -> Performer | None:
        """Who makes requests where no engine is open."""
        return None

    # -- looking -------------------------------------------------------------------------------

    def secrets(self) -> list[str]:
        """The names of all secrets it may use, sorted."""
        found = set(self.config.grants)
        if self.config.credentials is not None:
            found.update(self.config.credentials.secrets())
        for value in self.config.default_headers.values():
            if value.startswith(SCHEME):
                found.add(secret_name(value))
        if self.events:
            found.update(self.signature.secrets())
        return sorted(found)

    def event_type(self, type: str) -> str:
        """What an event of a declared type is called once it is accepted: `github.push`.

        Raises `NotFound`.
        """
        if type not in self.events:
            raise NotFound(
                f"{self.id} declares no event {type!r}{did_you_mean(str(type), self.events)}",
                connector=self.id,
                known=sorted(self.events),
            )
        return f"{self.id}.{type}"

    @property
    def event_source(self) -> str:
        """The `source` of its events."""
        return f"/connectors/{self.id}"

    def as_data(self) -> dict[str, Json]:
        """As faces and exports show it: names of secrets, no values."""
        config = self.config
        return {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "description": self.description,
            "source": self.source,
            "host": config.host,
            "credentials": as_data(config.credentials),
            "secrets": self.secrets(),
            "rate_limit": None if config.rate is None else config.rate.as_data(),
            "signature": self.signature.as_data() if self.events else None,
            "events": [
                {"type": one.type, "schema": None if one.schema is None else one.schema.source}
                for one in self.events.values()
            ],
            "actions": [one.as_data() for one in self.actions.values()],
        }

    def hash(self) -> str:
        """Changes when what it declares does."""
        return data_hash({**self.as_data(), "source": None})

    def __repr__(self) -> str:
        return f"<connector {self.id}>"


class Connectors:
    """The connectors of an engine, by what workflows call them."""

    def __init__(self, connectors: Iterable[Connector] = ()) -> None:
        self._known: dict[str, Connector] = {}
        self.shipped: Mapping[str, Callable[[], Connector]] = {}
        """Made when somebody asks for one that was not given."""
        for connector in connectors:
            self.add(connector)

    def add(self, connector: Connector) -> None:
        """Raises `InvalidDefinition` when another one has the id."""
        known = self._known.get(connector.id)
        if known is not None and known.source != connector.source:
            raise InvalidDefinition(
                f'two connectors have the id "{connector.id}": {known.source} and {connector.source}',
                hint='give one of them another:  "id": "..."',
            )
        self._known[connector.id] = connector

    def get(self, connector_id: str) -> Connector:
        """By id; else by type or by name, in any case, where one alone has it. A shipped one is
        made when it is first asked for. Raises `NotFound`."""
        found = self._known.get(connector_id)
        if found is not None:
            return found
        word = str(connector_id).casefold()
        for names in (
            lambda one: (one.id.casefold(),),
            lambda one: (one.type.casefold(), one.name.casefold()),
        ):
            near = [one for one in self._known.values() if word in names(one)]
            if len(near) == 1:
                return near[0]
        make = self.shipped.get(word)
        if make is not None:
            made = make()
            self._known[made.id] = made
            return made
        known = sorted({*self._known, *self.shipped})
        raise NotFound(
            f"there is no connector {str(connector_id)[:80]!r}"
            f"{did_you_mean(str(connector_id), known)}",
            hint="give it to the engine: connectors=[...], or a document in a folder that is served",
            connector=connector_id,
            known=known,
        )

    def resolve(self, connector_id: str, type: str) -> Action:
        """The action a definition names. Its `target` runs it with the parameters as arguments;
        `problems` judges parameters; `perform` carries it out. Raises `NotFound`."""
        return self.get(connector_id).find(type)

    def event_type(self, connector_id: str, type: str) -> str:
        """The type that accepted events of a connector have, for a trigger on them."""
        return self.get(connector_id).event_type(type)

    def __iter__(self) -> Iterator[Connector]:
        return iter(sorted(self._known.values(), key=lambda one: one.id))

    def __len__(self) -> int:
        return len(self._known)


# -- reading what authors write ------------------------------------------------------------------

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS: Final = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


def check_header(name: str, value: str) -> None:
    """Raises `InvalidDefinition` for a header that breaks a request or takes it over."""
    if not isinstance(name, str) or not _HEADER.fullmatch(name):
        raise InvalidDefinition(f"{str(name)[:80]!r} is no name of a header")
    if name.lower() in _OURS:
        raise InvalidDefinition(f"the header {name} is set by whoever sends the request")
    if not isinstance(value, str) or any(
        (ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value
    ):
        raise InvalidDefinition(f"the value of the header {name} must be one line of text")


def read_host(text: str | None) -> tuple[str, str | None]:
    """Scheme and `host[:port]`. Plain http only where it was written, or to this machine."""
    if text is None:
        return "https", None
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "", text
    rest = rest.rstrip("/")
    name, _ = split_host(rest)
    if scheme not in ("", "http", "https") or not name or re.search(r"[/\s@?#\\]", rest):
        raise InvalidDefinition(
            f"{text!r} is no host", hint="write api.example.org, with a port if it needs one"
        )
    return scheme or ("http" if is_loopback(name) else "https"), rest


def is_loopback(name: str) -> bool:
    """A host that says itself that it is this machine."""
    return (
        name == "localhost" or name == "::1" or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None
    )


def _own_host(host: str | None) -> list[Allowed]:
    """A connector's host was written by an operator: its port is meant, and so is this machine
    where it is named as such. Any other inside address needs `allow`."""
    if host is None:
        return []
    name, port = split_host(host)
    return (
        [parse_allowed(host)]
        if is_loopback(name)
        else [Allowed(name.lower(), port=port, inside=False)]
    )


def read_timeout(value: str | float | None) -> float | None:
    if value is None:
        return None
    found = seconds(value, "timeout")
    if not 0 < found <= TIMEOUT_MAX_S:
        raise InvalidDefinition(f"a timeout is up to {TIMEOUT_MAX_S:g} s, got {value!r}")
    return found


def _takes(func: Callable[..., Any]) -> frozenset[str]:
    return GIVEN & set(inspect.signature(func).parameters)


def _params(
    params: Any, name: str, where: str
) -> tuple[Schema | None, Callable[[Any], Any] | None]:
    """The schema of what a type or a JSON Schema describes, and how to convert to the type."""
    if params is None:
        return None, None
    if isinstance(params, dict):
        return compile_schema(params), None
    convert = converter(params, name, where)
    (top,), parts = msgspec.json.schema_components([params], ref_template="#/$defs/{name}")
    source: dict[str, Json] = dict(top)
    if set(source) == {"$ref"}:
        source = dict(parts.pop(source["$ref"].rpartition("/")[2]))
    if source.get("type") == "object" and "properties" in source:
        source.setdefault("additionalProperties", False)
    if parts:
        source["$defs"] = dict(parts)
    return compile_schema(source), convert


def _caller() -> str:
    """`file.py:12` of who declares a connector."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("greenroom."):
        frame = frame.f_back
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
