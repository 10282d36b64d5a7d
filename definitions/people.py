"""People as template flows know them: a user name, and what else is known of it.

Whoever acts comes over a face as a text (`by=`). Services give people as they like: a text, an
object with `username` or `email`, a map. `username_of` takes all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from msgspec import Struct

from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.events import NAME_MAX

GROUP: Final = "group:"
"""In front of a group of the identity provider, where roles name one."""
GROUPS: Final[ContextVar[tuple[str, ...]]] = ContextVar("greenroom_groups", default=())
"""The groups of whoever asks, as the face that knows them has proved it; of nobody else."""
VIA: Final = " via "
"""Between a name that was only given and who gave it."""
_NAMES = ("username", "email", "id", "name")


class User(Struct, frozen=True, omit_defaults=True):
    """A person. `email` is the user name where that is an address."""

    username: str
    email: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return self.username


def user_named(username: str, known: Mapping[str, Mapping[str, Any]] | None = None) -> User:
    """The user with this name, and what a flow's `users` say of it."""
    facts = (known or {}).get(username, {})
    email = facts.get("email") or (username if "@" in username else None)
    return User(username, email, facts.get("name"))


class Actor(Struct, frozen=True):
    """Who does something over a face. `spoken_for` is who says so, where a name was only given;
    `owner` whether that is the owner of the daemon, at its socket."""

    username: str
    spoken_for: str | None = None
    owner: bool = False


def actor_of(by: str) -> Actor:
    """The person behind what faces record: `uid:1000/anna`, `key:k1/anna`, `oidc:anna`,
    `link:0193c0de/anna`, `slack:U1/anna` and `local:1001/anna` (another user of the machine) are
    anna, `bob via uid:1000/anna` is bob, as anna says. Who speaks stands last: no claim hides it."""
    said, via, speaker = by.rpartition(VIA)
    if via:
        return Actor(said, _plain_name(speaker), speaker.startswith("uid:"))
    return Actor(_plain_name(by), None, by.startswith("uid:"))


def is_name(text: str) -> bool:
    """Whether somebody can be called that: short, printable, and nothing in it that reads as if
    another spoke for them."""
    return 0 < len(text) <= NAME_MAX and text.isprintable() and VIA not in text


def _plain_name(by: str) -> str:
    kind, colon, rest = by.partition(":")
    if not colon or kind not in ("uid", "key", "oidc", "link", "local", "slack"):
        return by
    if kind == "oidc":
        return rest
    return rest.partition("/")[2] or by


def username_of(person: Any, what: str = "a user") -> str:
    """The user name of anything that stands for a person. Raises `InvalidInput`."""
    found = person
    if isinstance(person, Mapping):
        found = next((person[name] for name in _NAMES if person.get(name)), None)
    elif not isinstance(person, str):
        found = next(
            (getattr(person, name) for name in _NAMES if getattr(person, name, None)), None
        )
    if not isinstance(found, str) or not found.strip() or len(found) > NAME_MAX:
        raise InvalidInput(
            f"{what} must be a user name of 1 to {NAME_MAX} characters, got {_short(person)}"
        )
    return found


def usernames_of(people: Any, what: str = "users") -> tuple[str, ...]:
    """User names of several people, each once, in their order."""
    if isinstance(people, str | Mapping) or not isinstance(people, Iterable):
        raise InvalidInput(f"{what} must be a list of users, got {_short(people)}")
    return tuple(dict.fromkeys(username_of(person, f"one of {what}") for person in people))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
