"""Tokens of an OpenID provider, taken as API keys are (extra `oidc`).

A token is good if it is signed by a key the issuer publishes with an algorithm that uses a key pair
(never `none`, never a shared secret), is of this issuer, for us, and of now. Its scopes are those of
its words that are scopes of ours (claim `scope`: text or a list), its groups those of the claim
`groups`: stages of a graph may be for `group:NAME`.
"""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from greenroom.definitions.errors import InvalidRequest, NotAuthenticated, Unavailable
from greenroom.definitions.people import is_name
from greenroom.runtime.web.access import Caller, known_scopes

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
)  # fmt: skip
LEEWAY_S: Final = 60
KEYS_S: Final = 3_600.0
"""How long the issuer's keys are believed; one that is not among them is looked for again."""
ASK_AGAIN_S: Final = 30.0
DOWN_S: Final = 5.0
"""An issuer that has not answered is not asked again for each token that comes meanwhile."""
ANSWER_BYTES_MAX: Final = 1 << 20
ANSWER_S: Final = 10.0
TOKEN_BYTES_MAX: Final = 16 << 10
GROUPS_MAX: Final = 100
"""Groups of one caller that are heard of: a cookie holds them as well."""

Fetch = Callable[[str], Awaitable[bytes]]


class Oidc(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are taken. `jwks` is where the keys are; by default the issuer says it."""

    issuer: str
    audience: str
    jwks: str | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    scope_claim: str = "scope"
    name_claim: str = "sub"
    groups_claim: str = "groups"


class Provider:
    """Knows callers by their tokens."""

    def __init__(
        self,
        oidc: Oidc,
        *,
        fetch: Fetch | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        wrong = [name for name in oidc.algorithms if name not in ALGORITHMS]
        if wrong:
            raise InvalidRequest(
                f"tokens signed with {wrong[0]} prove nothing: it is no key pair's"
            )
        self.oidc = oidc
        self._fetch = fetch or get
        self._now = now
        self._keys: KeySet | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def caller(self, text: str) -> Caller:
        """Whose token it is. Raises `NotAuthenticated`; what exactly is wrong it does not say."""
        if len(text) > TOKEN_BYTES_MAX or text.count(".") != 2:
            raise _refused()
        keys = await self._current(again_s=KEYS_S)
        claims = self._read(text, keys)
        if claims is None:
            claims = self._read(text, await self._current(again_s=ASK_AGAIN_S))
        if claims is None:
            raise _refused()
        words = claims.get(self.oidc.scope_claim, "")
        scopes = (
            words.split() if isinstance(words, str) else [w for w in words if isinstance(w, str)]
        )
        groups = claims.get(self.oidc.groups_claim)
        named = [one for one in groups if isinstance(one, str)] if isinstance(groups, list) else []
        return Caller(
            f"oidc:{claims[self.oidc.name_claim]}", known_scopes(scopes), "oidc",
            groups=tuple(named[:GROUPS_MAX]),
        )  # fmt: skip

    def _read(self, text: str, keys: KeySet) -> dict[str, Any] | None:
        oidc = self.oidc
        try:
            token = jwt.decode(text, keys, algorithms=list(oidc.algorithms))
            registry = jwt.JWTClaimsRegistry(
                now=int(self._now()),
                leeway=LEEWAY_S,
                iss={"essential": True, "value": oidc.issuer},
                aud={"essential": True, "value": oidc.audience},
                exp={"essential": True},
            )
            registry.validate(token.claims)
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        claims: dict[str, Any] = token.claims
        name = claims.get(oidc.name_claim)
        return claims if isinstance(name, str) and is_name(name) else None

    async def _current(self, again_s: float) -> KeySet:
        """The issuer's keys, asked for again when they are older than that."""
        async with self._asking:
            wait_s = DOWN_S if self._keys is None else again_s
            if self._now() - self._asked_at >= wait_s:
                self._asked_at = self._now()
                self._keys = await self._asked()
        if self._keys is None:
            raise Unavailable(
                f"{self.oidc.issuer} did not answer a moment ago", issuer=self.oidc.issuer
            )
        return self._keys

    async def _asked(self) -> KeySet:
        where = self.oidc.jwks
        try:
            if where is None:
                base = self.oidc.issuer.rstrip("/")
                found = msgspec.json.decode(
                    await self._fetch(f"{base}/.well-known/openid-configuration")
                )
                if found.get("issuer") != self.oidc.issuer:
                    raise ValueError("it says it is another issuer")
                where = str(found["jwks_uri"])
            keys = msgspec.json.decode(await self._fetch(where))
            # a secret among them would make its holder an issuer
            pairs = [key for key in keys["keys"] if key.get("kty") in ("RSA", "EC", "OKP")]
            return KeySet.import_key_set({"keys": pairs})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
            if self._keys is not None:
                return self._keys
            raise Unavailable(
                f"the keys of {self.oidc.issuer} cannot be read: {error}", issuer=self.oidc.issuer
            ) from None


def _refused() -> NotAuthenticated:
    return NotAuthenticated("the token is not good here")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


async def get(url: str) -> bytes:
    """What is at an address of the issuer: https (or this machine), no redirects, bounded."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError(f"{url} is not https")
    return await asyncio.to_thread(_get, url)


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=ANSWER_S) as answer:
        data: bytes = answer.read(ANSWER_BYTES_MAX + 1)
    if len(data) > ANSWER_BYTES_MAX:
        raise ValueError(f"{url} answers with more than {ANSWER_BYTES_MAX:,} bytes")
    return data
