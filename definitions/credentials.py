"""Credentials of connectors, by reference: the secret itself is in no definition.

`secret://name` stands wherever a secret belongs. It is resolved when a request is made, by the
runtime, and what it resolves to is in no state, journal, log or error.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.values import Json

SCHEME: Final = "secret://"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def is_secret_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name


def secret_name(reference: str) -> str:
    """`secret://slack` -> `slack`. Raises `InvalidDefinition` for what is no reference."""
    name = reference.removeprefix(SCHEME) if isinstance(reference, str) else ""
    if not isinstance(reference, str) or not reference.startswith(SCHEME):
        raise InvalidDefinition(
            "a secret is given by its name, never as it is",
            hint="write secret://NAME and put the value where secrets are kept: "
            "GREENROOM_SECRET_NAME, a file of mode 0600, a systemd credential, the keyring",
        )
    if not is_secret_name(name):
        raise InvalidDefinition(
            f"{reference[:80]!r} names no secret: letters, digits, _ . - and at most 64 of them"
        )
    return name


class Secret:
    """A secret by its name, where a value would be kept: `self.hook = Secret("hook")`.

    In a state, a journal and on every face it is its reference, `secret://hook`, and that is what
    code finds in its place when it goes on; a parameter of a connector's action that names it is
    given the value when the request is made, where the connector grants it. It knows no value.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = secret_name(SCHEME + name.removeprefix(SCHEME))

    def model_dump(self, *, mode: str = "json") -> str:
        """How it is stored (`definitions.values` asks for it by this name)."""
        return str(self)

    def __str__(self) -> str:
        return SCHEME + self.name

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Secret | str) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


class BearerToken(msgspec.Struct, frozen=True, tag=True):
    """`Authorization: Bearer <token>`."""

    bearer_token: str

    def secrets(self) -> tuple[str, ...]:
        return (secret_name(self.bearer_token),)


class ApiKey(msgspec.Struct, frozen=True, tag=True):
    """A header of its own, or a scheme of `Authorization`: `prefix` is put before the key."""

    api_key: str
    api_key_header: str = "X-API-Key"
    prefix: str = ""

    def secrets(self) -> tuple[str, ...]:
        return (secret_name(self.api_key),)


class Basic(msgspec.Struct, frozen=True, tag=True):
    """`Authorization: Basic ...`; the user's name is no secret, but may be a reference too."""

    username: str
    password: str

    def secrets(self) -> tuple[str, ...]:
        names = (secret_name(self.password),)
        return (secret_name(self.username), *names) if _is_reference(self.username) else names


class OAuth2Client(msgspec.Struct, frozen=True, tag=True):
    """Client credentials: a token is fetched from `token_url`, kept for its life and shared by all
    requests. `basic_auth` says whether id and secret go in a header or in the form."""

    client_id: str
    client_secret: str
    token_url: str
    basic_auth: bool = True
    scope: str | None = None
    audience: str | None = None
    headers: dict[str, str] = {}
    body: dict[str, str] = {}

    def secrets(self) -> tuple[str, ...]:
        names = (secret_name(self.client_secret),)
        return (secret_name(self.client_id), *names) if _is_reference(self.client_id) else names


Credentials = BearerToken | ApiKey | Basic | OAuth2Client

KINDS: Final[dict[str, type[Credentials]]] = {
    kind.__name__: kind for kind in (BearerToken, ApiKey, Basic, OAuth2Client)
}


def _is_reference(text: str) -> bool:
    return isinstance(text, str) and text.startswith(SCHEME)


def as_data(credentials: Credentials | None) -> Json:
    """As exports and faces show them: references, never values."""
    return None if credentials is None else msgspec.to_builtins(credentials)
