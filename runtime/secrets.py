"""Where secrets are kept, and how a name becomes a value: at the last moment, and for no longer.

`secret://slack` is looked for, in this order, in the environment (`GREENROOM_SECRET_SLACK`), among
the credentials systemd gave the service, in a file of mode 0600 (`secrets/slack` in the data
directory, or what `GREENROOM_SECRETS` names), in the keyring if one is installed, and last among
those a connector's document has written out. A value is a `Secret`: it has no text of its own, and
no encoder takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib
import os
import re
import stat
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from greenroom.definitions.actionerrors import SecretMissing
from greenroom.definitions.credentials import is_secret_name
from greenroom.runtime import masking

PREFIX: Final = "GREENROOM_SECRET_"
SHORT: Final = 8
SIZE_MAX: Final = 64 * 1024
SERVICE: Final = "greenroom"
"""The service under which the keyring keeps them."""


class Secret:
    """A value that shows itself to nobody who does not ask with `reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        masking.secrets.hide_spellings(value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


class SecretInfo(msgspec.Struct):
    """What may be said of a secret: never its value."""

    name: str
    found: bool
    source: str | None = None
    problem: str | None = None
    used_by: list[str] = []


class Unreadable(Exception):
    """It is there and may not be used; the text says why."""


_TAKEN: Final[dict[str, str]] = {}


def take_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Takes the secrets out of the environment, for this process alone: what it starts inherits
    none. For a process that is ours: the daemon."""
    for name in [name for name in environ if name.startswith(PREFIX)]:
        _TAKEN[name] = environ.pop(name)


class SecretStore:
    """The places, in order. Each is asked anew for each request, so a changed secret counts."""

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._lent: dict[str, str] = {}

    def lend(self, values: Mapping[str, str]) -> None:
        """Takes secrets that a connector's document has written out: they count where there is no
        other of the name."""
        self._lent.update(values)
        for value in values.values():
            masking.secrets.hide_spellings(value)

    # -- one -----------------------------------------------------------------------------------

    async def get(self, name: str) -> Secret:
        """Raises `SecretMissing`."""
        value, _ = await self._find(name)
        return Secret(value)

    async def look(self, name: str) -> SecretInfo:
        """Whether it is there and where; its value is not handed out."""
        try:
            value, source = await self._find(name)
        except SecretMissing as error:
            return SecretInfo(name, False, None, error.message)
        problem = None if len(value) >= SHORT else f"it has fewer than {SHORT} characters"
        return SecretInfo(name, True, source, problem)

    def is_there(self, name: str) -> bool:
        """The same in short, for code that no event loop waits for: a keyring may take a while."""
        with contextlib.suppress(SecretMissing):
            return self._near(name) is not None or _from_keyring(name) is not None
        return False

    def _near(self, name: str) -> tuple[str, str] | None:
        """What is found without waiting, and where."""
        if not is_secret_name(name):
            raise SecretMissing(f"{name[:80]!r} names no secret")
        for source, read in self._sources():
            try:
                value = read(name)
            except Unreadable as error:
                raise SecretMissing(f"the secret {name} cannot be used: {error}") from None
            if value is not None:
                return value, source
        return None

    async def _find(self, name: str) -> tuple[str, str]:
        near = self._near(name)
        if near is not None:
            return near
        value = await asyncio.to_thread(_from_keyring, name)
        if value is not None:
            return value, "keyring"
        if name in self._lent:
            return self._lent[name], "document"
        raise SecretMissing(
            f"there is no secret {name}",
            hint=f"set {env_name(name)}, or put it into {self._place() / name} (mode 0600)",
            secret=name,
        )

    def _sources(self) -> list[tuple[str, Callable[[str], str | None]]]:
        return [
            ("env", _from_env),
            ("systemd", _from_systemd),
            ("file", self._from_file),
        ]

    # -- all -----------------------------------------------------------------------------------

    def hide(self) -> None:
        """Hides all that can be listed, before anybody has used them."""
        for name in self.names():
            for _, read in self._sources():
                with contextlib.suppress(Unreadable):
                    value = read(name)
                    if value is not None:
                        masking.secrets.hide_spellings(value)

    def names(self) -> list[str]:
        """The names that can be listed; a keyring does not list."""
        found: set[str] = set()
        for name in {**_TAKEN, **os.environ}:
            if name.startswith(PREFIX):
                found.add(name.removeprefix(PREFIX).lower())
        for folder in (os.environ.get("CREDENTIALS_DIRECTORY"), str(self._place())):
            with contextlib.suppress(OSError):  # whoever asks for one of them is told
                if folder and Path(folder).is_dir():
                    names = [one.name for one in Path(folder).iterdir()]
                    found.update(name for name in names if is_secret_name(name))
        with contextlib.suppress(OSError, Unreadable):
            if self._place().is_file():
                found.update(_table(self._place()))
        return sorted(found)

    # -- files ---------------------------------------------------------------------------------

    def _place(self) -> Path:
        named = os.environ.get("GREENROOM_SECRETS")
        return Path(named) if named else (self._data or Path(".greenroom")) / "secrets"

    def _from_file(self, name: str) -> str | None:
        place = self._place()
        try:
            is_folder, is_file = place.is_dir(), place.is_file()
        except OSError as error:
            raise Unreadable(f"{place}: {error.strerror}") from None
        if is_folder:
            return read_private(place / name)
        return _table(place).get(name) if is_file else None


def env_name(name: str) -> str:
    """`slack-bot.token` -> `GREENROOM_SECRET_SLACK_BOT_TOKEN`."""
    return PREFIX + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _from_env(name: str) -> str | None:
    key = env_name(name)
    return os.environ.get(key) or _TAKEN.get(key) or None


def _from_systemd(name: str) -> str | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    return read_private(Path(folder) / name, private=False)  # systemd sees to their modes


def read_private(path: Path, *, private: bool = True) -> str | None:
    """The text of a file that only its owner may read; None if there is none.

    Raises `Unreadable` for a link, another owner, a mode that lets others in, or what is no text.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        what = "it is a link" if path.is_symlink() else error.strerror
        raise Unreadable(f"{path}: {what}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Unreadable(f"{path} is not a file")
    with open(fd, "rb") as file:
        about = os.fstat(file.fileno())
        if private and about.st_uid not in (os.geteuid(), 0):
            raise Unreadable(f"{path} belongs to another user")
        if private and about.st_mode & 0o077:
            mode = stat.S_IMODE(about.st_mode)
            raise Unreadable(f"{path} has the mode {mode:04o}: chmod 600 {path}")
        raw = file.read(SIZE_MAX + 1)
    if len(raw) > SIZE_MAX:
        raise Unreadable(f"{path} is longer than {SIZE_MAX:,} bytes")
    try:
        return raw.decode().rstrip("\r\n") or None
    except UnicodeDecodeError:
        raise Unreadable(f"{path} is not text") from None


def _table(path: Path) -> dict[str, str]:
    """One file with all: TOML, `name = "value"`."""
    import tomllib  # noqa: PLC0415  start-up time

    text = read_private(path) or ""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at .*\)", str(error))
        raise Unreadable(f"{path} is not TOML {where[0] if where else ''}".rstrip()) from None
    return {name: value for name, value in table.items() if isinstance(value, str)}


def _from_keyring(name: str) -> str | None:
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found = keyring.get_password(SERVICE, name)
    except Exception:  # no backend, no session, no answer: it is not there
        return None
    return found if isinstance(found, str) and found else None
