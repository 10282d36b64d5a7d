"""Connectors written as documents: the shape of flexli-engine's, with what it left out.

    {"type": "Slack", "name": "Slack", "schema_version": 1,
     "config": {"host": "slack.com", "base_path": "api", "credentials": {...}},
     "events": [{"type": "message", "schema": {...}}],
     "actions": [{"type": "PostMessage", "method": "post", "path": "chat.postMessage",
                  "body": {"text": "::text"}, "parameters": {"properties": {...}}}]}

All problems are reported at once, each with its JSON path. A connector decides where requests go
and which secrets they carry, so its documents are an operator's: they are read from files, never
taken from the network.

A secret is given by its name. One that is written out, as in the original's documents, works with a
warning: it becomes a secret of the connector's own, with a name, and is held beside the connector,
which shows the name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from greenroom.definitions.connectors import (
    REDIRECTS_MAX,
    Action,
    Connector,
    check_header,
    read_host,
    read_timeout,
)
from greenroom.definitions.credentials import KINDS, SCHEME, Credentials, secret_name
from greenroom.definitions.errors import (
    GreenroomError,
    InvalidDefinition,
    Problem,
)
from greenroom.definitions.evaluation import weigh
from greenroom.definitions.located import DOCUMENT_BYTES_MAX, Located, located, read_located
from greenroom.definitions.networks import parse_allowed
from greenroom.definitions.rates import parse_rate
from greenroom.definitions.requests import RequestTemplate, compile_request
from greenroom.definitions.schemas import Schema, compile_schema
from greenroom.definitions.signatures import signature_from
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, encode_decode
from greenroom.definitions.workflow import data_hash

ACTIONS_MAX: Final = 200
EVENTS_MAX: Final = 200
BYTES_MAX: Final = DOCUMENT_BYTES_MAX
WEIGHT_MAX: Final = BYTES_MAX // 2
"""Nodes, and texts by eight: what weighs more is longer than it may be, and is not even encoded."""
PROBLEMS_MAX: Final = 100

_TOP: Final = (
    "$schema", "id", "type", "name", "description", "schema_version", "config", "events", "actions",
)  # fmt: skip
_CONFIG: Final = (
    "host", "scheme", "base_path", "default_headers", "credentials", "allow", "grants",
    "redirects", "timeout", "rate_limit", "idempotency_header", "events",
)  # fmt: skip
_EVENTS: Final = ("signature", "type_keypath", "default_schema", "auth")
_EVENT: Final = ("type", "name", "description", "schema")
_ACTION: Final = (
    "type", "name", "description", "method", "path", "headers", "query", "body", "parameters",
    "response", "idempotent", "timeout",
)  # fmt: skip


def is_connector_document(data: Json) -> bool:
    """Whether a JSON object is a connector by its shape: it has a `config`, and it starts on
    nothing by itself. What has neither is a workflow or none of ours."""
    return (
        isinstance(data, dict)
        and isinstance(data.get("config"), dict)
        and "source" not in data
        and ("type" in data or "id" in data)
    )


def compile_connector(
    data: Json, source: str | None = None, *, cls: type[Connector] = Connector
) -> Connector:
    """The connector of a document; `source` is where it came from. Raises `InvalidDefinition` with
    everything wrong in it."""
    if weigh(data, WEIGHT_MAX) > WEIGHT_MAX:
        problem = Problem("$", f"the document has more than {BYTES_MAX:,} bytes", source)
        raise InvalidDefinition("the connector is not valid", [problem])
    plain = encode_decode(located(data, source or "").data)[1]
    return _Reader(located(plain, source or ""), source).connector(cls)


def read_connector(
    text: str | bytes, label: str, *, cls: type[Connector] = Connector
) -> Connector | None:
    """The connector of a text, JSON or YAML by the name of its file; None where the document is
    something else by its shape. Problems have their `file:line:column`."""
    found = read_located(text, label)
    if not is_connector_document(found.data):
        return None
    return _Reader(found, label).connector(cls)


class _Reader:
    """Collects problems while it reads."""

    def __init__(self, found: Located, source: str | None) -> None:
        self.found = found
        self.source = source
        self.problems: list[Problem] = list(found.problems)
        self.warnings: list[Problem] = []
        self.id = ""
        self.written: dict[str, str] = {}
        """Secrets that are written out: value by name."""

    # -- small things --------------------------------------------------------------------------

    def wrong(self, path: str, message: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(self.found.placed(Problem(path, message)))

    def keys(self, data: Any, known: Collection[str], path: str) -> dict[str, Any]:
        """The object at a place, unknown keys reported."""
        if not isinstance(data, dict):
            self.wrong(path, f"must be an object, got {_kind(data)}")
            return {}
        for key in data:
            if key not in known and len(self.problems) < PROBLEMS_MAX:
                self.wrong(f"{path}.{key}", f"unknown key{did_you_mean(key, known)}")
        return data

    def text(self, data: dict[str, Any], key: str, path: str, need: bool = False) -> str | None:
        value = data.get(key)
        if value is None:
            if need:
                self.wrong(f"{path}.{key}", "is missing")
            return None
        if not isinstance(value, str) or (need and not value):
            self.wrong(f"{path}.{key}", f"must be text, got {_kind(value)}")
            return None
        return value

    def items(self, data: dict[str, Any], key: str, path: str, limit: int) -> list[Any]:
        value = data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(f"{path}.{key}", f"must be a list, got {_kind(value)}")
            return []
        if len(value) > limit:
            self.wrong(f"{path}.{key}", f"has {len(value)} items, {limit} are allowed")
        return value[:limit]

    def checked(self, path: str, make: Callable[..., Any], *args: Any) -> Any:
        """What `make(*args)` gives; None, and its problems noted, when it raises."""
        try:
            return make(*args)
        except InvalidDefinition as error:
            for problem in error.problems:
                self.wrong(problem.path or path, problem.message)
            if not error.problems:
                self.wrong(path, error.message + (f" ({error.hint})" if error.hint else ""))
        except GreenroomError as error:
            self.wrong(path, error.message)
        return None

    def schema(self, data: dict[str, Any], key: str, path: str) -> Schema | None:
        if data.get(key) is None:
            return None
        where = f"{path}.{key}"
        found: Schema | None = self.checked(where, compile_schema, data[key], where)
        return found

    # -- the document --------------------------------------------------------------------------

    def connector(self, cls: type[Connector]) -> Connector:
        data = self.keys(self.found.data, _TOP, "$")
        version = data.get("schema_version")
        if version != 1 or isinstance(version, bool) or not isinstance(version, int):
            self.wrong("$.schema_version", f"must be 1, got {version!r}")
        type = self.text(data, "type", "$", need=True)
        name = self.text(data, "name", "$")
        id = self.text(data, "id", "$") or type
        self.id = id or ""
        config = self.config(data.get("config", {}))
        actions = [
            self.action(item, f"$.actions[{at}]")
            for at, item in enumerate(self.items(data, "actions", "$", ACTIONS_MAX))
        ]
        declared = config.get("events", {})
        default = self.schema(declared, "default_schema", "$.config.events")
        events = [
            self.event(item, f"$.events[{at}]", default)
            for at, item in enumerate(self.items(data, "events", "$", EVENTS_MAX))
        ]
        self.twice([one["type"] for one in actions if one], "$.actions")
        self.twice([one[0] for one in events if one], "$.events")
        connector: Connector | None = None
        if not self.problems:
            connector = self.checked("$", self.made, cls, id, type, name, data, config)
        if self.problems or connector is None:
            raise InvalidDefinition("the connector is not valid", self.problems)
        for action in filter(None, actions):
            self.checked("$.actions", _add_action, connector, action)
        for event in filter(None, events):
            self.checked("$.events", _add_event, connector, *event)
        connector.written, connector.warnings = self.written, tuple(self.warnings)
        if self.problems:
            raise InvalidDefinition("the connector is not valid", self.problems)
        return connector

    def made(
        self,
        cls: type[Connector],
        id: str | None,
        type: str | None,
        name: str | None,
        data: dict[str, Any],
        config: dict[str, Any],
    ) -> Connector:
        declared = config.get("events", {})
        host = config.get("host")
        if host is not None and config.get("scheme"):
            host = f"{config['scheme']}://{host}"
        return cls(
            id or "",
            type=type,
            name=name,
            description=data.get("description"),
            host=host,
            base_path=config.get("base_path") or "",
            default_headers=config.get("default_headers"),
            credentials=config.get("credentials"),
            allow=config.get("allow") or (),
            grants=config.get("grants") or (),
            redirects=config.get("redirects") or 0,
            timeout=config.get("timeout"),
            rate_limit=config.get("rate_limit"),
            idempotency_header=config.get("idempotency_header", "Idempotency-Key"),
            signature=_signature(declared),
            type_path=declared.get("type_keypath") or "type",
            source=self.source,
        )

    def twice(self, names: list[str], path: str) -> None:
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                self.wrong(path, f'"{name}" is there {names.count(name)} times')

    # -- config ----------------------------------------------------------------------------------

    def config(self, config: Any) -> dict[str, Any]:
        """The config with its credentials read; what is wrong is left out of it."""
        path = "$.config"
        data = dict(self.keys(config, _CONFIG, path))
        self.host(data, path)
        self.text(data, "base_path", path)
        headers = self.keys(data.get("default_headers") or {}, _Any(), f"{path}.default_headers")
        for header, value in headers.items():
            place = f"{path}.default_headers.{header}"
            self.checked(place, check_header, header, value)
            if isinstance(value, str) and value.startswith(SCHEME):
                self.checked(place, secret_name, value)
        data["credentials"] = self.credentials(data.get("credentials"))
        for at, one in enumerate(self.items(data, "allow", path, 100)):
            self.checked(f"{path}.allow[{at}]", _allowed, one)
        for at, one in enumerate(self.items(data, "grants", path, 100)):
            self.checked(f"{path}.grants[{at}]", _granted, one)
        redirects = data.get("redirects", 0)
        if isinstance(redirects, bool) or redirects not in range(REDIRECTS_MAX + 1):
            self.wrong(f"{path}.redirects", f"must be 0 to {REDIRECTS_MAX}, got {redirects!r}")
        if data.get("timeout") is not None:
            self.checked(f"{path}.timeout", read_timeout, data["timeout"])
        if data.get("rate_limit") is not None:
            self.checked(f"{path}.rate_limit", parse_rate, data["rate_limit"])
        if data.get("idempotency_header") is not None:
            header = data["idempotency_header"]
            self.checked(f"{path}.idempotency_header", check_header, header, "")
        declared = self.keys(data.get("events") or {}, _EVENTS, f"{path}.events")
        self.checked(f"{path}.events", _signature_of, declared)
        self.text(declared, "type_keypath", f"{path}.events")
        data["events"] = declared
        return data

    def host(self, data: dict[str, Any], path: str) -> None:
        host = self.text(data, "host", path)
        scheme = data.get("scheme")
        if scheme not in (None, "http", "https"):
            self.wrong(f"{path}.scheme", f"must be http or https, got {scheme!r}")
        if host is None:
            return
        if "{{" in host:
            self.wrong(f"{path}.host", "is still a placeholder")
            return
        if scheme is not None and "://" in host:
            self.wrong(f"{path}.host", "names a scheme, and so does $.config.scheme")
            return
        self.checked(f"{path}.host", read_host, host)

    def credentials(self, given: Any) -> Credentials | None:
        path = "$.config.credentials"
        if given is None:
            return None
        if not isinstance(given, dict):
            self.wrong(path, f"must be an object, got {_kind(given)}")
            return None
        kind = KINDS.get(str(given.get("type")))
        if kind is None:
            self.wrong(
                f"{path}.type",
                f"must be one of {', '.join(KINDS)}, got {given.get('type')!r}"
                f"{did_you_mean(str(given.get('type')), KINDS)}",
            )
            return None
        before = len(self.problems)
        names = kind.__struct_fields__
        data = self.keys(given, ("type", *names), path)
        values: dict[str, Any] = {}
        defaults = len(kind.__struct_defaults__)
        for at, name in enumerate(names):
            required = at < len(names) - defaults
            if name == "basic_auth":
                value: Any = data.get(name, True)
                if not isinstance(value, bool):
                    self.wrong(f"{path}.{name}", f"must be true or false, got {_kind(value)}")
            elif name in ("headers", "body"):
                value = {
                    k: str(v) for k, v in self.keys(data.get(name) or {}, _Any(), path).items()
                }
            else:
                value = self.text(data, name, path, need=required)
            if name in _SECRET and isinstance(value, str):
                value = self.secret(value, name, f"{path}.{name}")
            if value is not None:
                values[name] = value
        if len(self.problems) > before:
            return None
        return kind(**values)

    def secret(self, value: str, field: str, path: str) -> str:
        """The reference to a secret, made here for one that is written out."""
        if value.startswith(SCHEME):
            self.checked(path, secret_name, value)
            return value
        if not value:
            self.wrong(path, "must not be empty")
            return value
        word = self.id.replace(" ", "_")[:40]
        mark = "" if word == self.id else "_" + data_hash(self.id)[:6]  # no other has this name
        name = f"{word}_{field}{mark}"
        self.written[name] = value
        message = (
            f'is written out: anybody who may read this file has it; write "{SCHEME}{name}" and keep '
            "the value where secrets are kept"
        )
        self.warnings.append(self.found.placed(Problem(path, message)))
        return SCHEME + name

    # -- events and actions ----------------------------------------------------------------------

    def event(
        self, item: Any, path: str, default: Schema | None
    ) -> tuple[str, Schema | None, str | None, str | None] | None:
        data = self.keys(item, _EVENT, path)
        type = self.text(data, "type", path, need=True)
        schema = self.schema(data, "schema", path) or default
        name, description = self.text(data, "name", path), self.text(data, "description", path)
        return None if type is None else (type, schema, name, description)

    def action(self, item: Any, path: str) -> dict[str, Any] | None:
        data = self.keys(item, _ACTION, path)
        type = self.text(data, "type", path, need=True)
        schema = self.schema(data, "parameters", path)
        response = self.schema(data, "response", path)
        names = schema.properties() if schema is not None else []
        request: RequestTemplate | None = self.checked(path, compile_request, data, names, path)
        timeout = data.get("timeout")
        timeout_s = None
        if timeout is not None:
            timeout_s = self.checked(f"{path}.timeout", read_timeout, timeout)
        idempotent = data.get("idempotent")
        if idempotent is not None and not isinstance(idempotent, bool):
            self.wrong(f"{path}.idempotent", f"must be true or false, got {_kind(idempotent)}")
        name, description = self.text(data, "name", path), self.text(data, "description", path)
        if type is None or request is None:
            return None
        return {
            "type": type,
            "schema": schema,
            "response": response,
            "request": request,
            "idempotent": request.idempotent if idempotent is None else idempotent,
            "timeout_s": timeout_s,
            "name": name,
            "description": description,
        }


_SECRET: Final = frozenset({"bearer_token", "api_key", "password", "client_secret"})


class _Any:
    """Every key is known."""

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def _signature(declared: dict[str, Any]) -> Json:
    """The signature of a config; the original's `auth: BasicAuth` is the scheme basic."""
    given = declared.get("signature")
    auth = declared.get("auth")
    if given is None and auth is not None:
        if auth == "BasicAuth":
            return {"scheme": "basic", "username": "greenroom"}
        raise InvalidDefinition(f'auth is "BasicAuth", got {auth!r}; write signature instead')
    return given


def _signature_of(declared: dict[str, Any]) -> None:
    signature_from(_signature(declared), "connector")


def _allowed(value: Any) -> None:
    parse_allowed(_text(value))


def _granted(value: Any) -> None:
    secret_name(_reference(_text(value)))


def _add_action(connector: Connector, parts: dict[str, Any]) -> None:
    connector.add(Action(connector, **parts))


def _add_event(
    connector: Connector,
    type: str,
    schema: Schema | None,
    name: str | None,
    description: str | None,
) -> None:
    source = None if schema is None else schema.source
    connector.event(type, schema=source, name=name, description=description)


def _reference(name: str) -> str:
    return name if name.startswith(SCHEME) else SCHEME + name


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidDefinition(f"must be text, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "that")
