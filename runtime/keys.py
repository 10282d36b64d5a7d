"""API keys: what a program shows over HTTP to say who it is.

A key is `gr_<id>_<secret>`, 32 random bytes of secret, seen once when it is made. Kept are its id
and the SHA-256 of the whole: with that much chance in it a slow hash would protect nothing more. All
keys are one document in the store, beside the data they give access to: a copy of the store knows
them, and so does every daemon on it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.ports import GetMeta, SetMeta
from greenroom.actors.rows import rfc3339
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidRequest, NotFound
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.people import is_name
from greenroom.runtime import shapes
from greenroom.runtime.web.access import check_scopes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

KEYS_MAX: Final = 1_000
FRESH_MS: Final = 10_000
"""A key that another daemon on the store revoked is refused after so long at the latest."""
USED_MS: Final = 60_000
"""How exact the time of the last use is kept."""
FORGET_MS: Final = 7 * 86_400_000
"""So long a revoked key is still listed."""

_KEPT: Final = "api_keys"
_USES: Final = "api_key_uses"
"""Apart from the keys: noting a use never writes over what another daemon revoked."""
_FORM: Final = re.compile(r"gr_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class Key(msgspec.Struct):
    """A key as it is kept. Times are ms since the epoch."""

    id: str
    name: str
    scopes: list[str]
    hash: str
    created: int
    by: str | None = None
    expires: int | None = None
    used: int | None = None
    revoked: int | None = None

    def shown(self) -> shapes.ApiKey:
        return shapes.ApiKey(
            self.id, self.name, self.scopes, rfc3339(self.created), self.by,
            None if self.expires is None else rfc3339(self.expires),
            None if self.used is None else rfc3339(self.used), self.revoked is not None,
        )  # fmt: skip


class Keys:
    """`engine.keys`."""

    def __init__(
        self, engine: Engine, token_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._engine = engine
        self._token_bytes = token_bytes
        self._keys: dict[str, Key] = {}
        self._read_at: int | None = None
        self._changing = asyncio.Lock()

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires: str | float | None = None,
        by: str | None = None,
    ) -> shapes.NewApiKey:
        """Makes a key; `expires` is how long it is good for (`"90 days"`), for ever by default."""
        if not is_name(name):
            raise InvalidRequest(
                f'a key\'s name has 1 to {NAME_MAX} characters, printable ones, and no " via "'
            )
        kept = list(check_scopes(scopes))
        now = self._engine.clock.now()
        until = None if expires is None else now + round(seconds(expires, "expires") * 1000)
        async with self._changing:
            await self._read()
            if len(self._keys) >= KEYS_MAX:
                raise InvalidRequest(f"there are {KEYS_MAX:,} keys; revoke some")
            id = self._token_bytes(6).hex()
            text = f"gr_{id}_{_text(self._token_bytes(32))}"
            self._keys[id] = Key(id, name, kept, _hash(text), now, by, until)
            await self._save()
        return shapes.NewApiKey(id, name, kept, text, None if until is None else rfc3339(until))

    async def list(self) -> list[shapes.ApiKey]:
        """Every key, newest first; revoked ones too, for a week."""
        async with self._changing:
            await self._read()
        found = sorted(self._keys.values(), key=lambda key: (key.created, key.id), reverse=True)
        return [key.shown() for key in found]

    async def revoke(self, id: str) -> shapes.ApiKey:
        """Refuses the key from now on; `id` is its id or name."""
        async with self._changing:
            await self._read()
            key = self._keys.get(id)
            if key is None:
                named = [k for k in self._keys.values() if k.name == id and k.revoked is None]
                if len(named) != 1:
                    raise NotFound(
                        f"there {'are several keys named' if named else 'is no key'} {id[:80]}",
                        hint="greenroom key ls",
                        key=id,
                    )
                key = named[0]
            key.revoked = self._engine.clock.now()
            await self._save()
        return key.shown()

    # -- for the HTTP face -----------------------------------------------------------------------

    async def verify(self, text: str) -> Key | None:
        """The key with this text, if it is good now."""
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        key = await self.good(found[1])
        if key is None or not hmac.compare_digest(key.hash, _hash(text)):
            return None
        self._used(key)
        return key

    async def good(self, id: str) -> Key | None:
        """The key with this id, unless it is revoked or expired."""
        now = self._engine.clock.now()
        if self._read_at is None or not 0 <= now - self._read_at < FRESH_MS:
            async with self._changing:
                await self._read()
        key = self._keys.get(id)
        if (
            key is None
            or key.revoked is not None
            or (key.expires is not None and key.expires <= now)
        ):
            return None
        return key

    async def _read(self) -> None:
        kept = await self._engine.journal.call(GetMeta(_KEPT))
        rows = msgspec.json.decode(kept, type=list[Key]) if kept else []
        noted = await self._engine.journal.call(GetMeta(_USES)) if kept else None
        used = msgspec.json.decode(noted, type=dict[str, int]) if noted else {}
        for row in rows:
            here = self._keys.get(row.id)
            times = (used.get(row.id), here.used if here is not None else None)
            row.used = max((time for time in times if time is not None), default=None)
        self._keys = {row.id: row for row in rows}
        self._read_at = self._engine.clock.now()

    async def _save(self) -> None:
        old = self._engine.clock.now() - FORGET_MS
        for key in list(self._keys.values()):
            if key.revoked is not None and key.revoked < old:
                del self._keys[key.id]
        rows = [msgspec.structs.replace(key, used=None) for key in self._keys.values()]
        await self._engine.journal.call(SetMeta(_KEPT, msgspec.json.encode(rows).decode()))

    def _used(self, key: Key) -> None:
        """Notes the use in memory, and in the store when it is a minute behind."""
        now = self._engine.clock.now()
        if key.used is not None and now - key.used < USED_MS:
            return
        key.used = now
        if self._engine.state == "open":
            used = {key.id: key.used for key in self._keys.values() if key.used is not None}
            self._engine.journal.submit(
                SetMeta(_USES, msgspec.json.encode(used).decode()), _nothing
            )


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _nothing(_: Any) -> None:
    return None
