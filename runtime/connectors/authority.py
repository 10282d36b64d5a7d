"""What a connector shows a service to be let in: headers made from secrets, when they are needed.

A token of OAuth2 is fetched once, whoever asks for it meanwhile waits for the same one, and it is
kept until shortly before it ends.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from greenroom.actors.ports import Clock
from greenroom.definitions.actionerrors import ActionFailed, ResponseInvalid
from greenroom.definitions.credentials import (
    SCHEME,
    ApiKey,
    Basic,
    BearerToken,
    Credentials,
    OAuth2Client,
    secret_name,
)
from greenroom.runtime import masking
from greenroom.runtime.connectors.wire import Response
from greenroom.runtime.secrets import SecretStore

EARLY_S: Final = 30.0
"""A token is renewed this long before it ends, so that none ends on its way."""
LIFE_S: Final = 300.0
"""How long a token is kept whose answer does not say."""
LIFE_MAX_S: Final = 86_400.0

Fetch = Callable[[str, dict[str, str], bytes], Awaitable[Response]]
"""`(url, headers, form)`: a POST outside any action."""


class Authority:
    """The headers of one connector's credentials."""

    def __init__(
        self, credentials: Credentials | None, secrets: SecretStore, clock: Clock, fetch: Fetch
    ) -> None:
        self._credentials = credentials
        self._secrets = secrets
        self._clock = clock
        self._fetch = fetch
        self._token: str | None = None
        self._until = 0.0
        self._old: list[str] = []
        self._fetching: asyncio.Task[str] | None = None

    async def headers(self) -> dict[str, str]:
        """Raises `SecretMissing`, and what fetching a token raises."""
        match self._credentials:
            case None:
                return {}
            case BearerToken():
                token = await self._value(self._credentials.bearer_token)
                return {"Authorization": f"Bearer {token}"}
            case ApiKey():
                key = await self._value(self._credentials.api_key)
                return {self._credentials.api_key_header: f"{self._credentials.prefix}{key}"}
            case Basic():
                return {"Authorization": await self._basic(
                    self._credentials.username, self._credentials.password
                )}  # fmt: skip
            case OAuth2Client():
                return {"Authorization": f"Bearer {await self._fresh()}"}

    async def refused(self, headers: dict[str, str]) -> bool:
        """Told that a service let these headers not in; whether there may be better ones now."""
        if not isinstance(self._credentials, OAuth2Client):
            return False
        if headers.get("Authorization") == f"Bearer {self._token}":
            self._token = None
        return True

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    # -- parts ---------------------------------------------------------------------------------

    async def _value(self, reference: str) -> str:
        if not reference.startswith(SCHEME):
            return reference
        return (await self._secrets.get(secret_name(reference))).reveal()

    async def _basic(self, username: str, password: str) -> str:
        pair = f"{await self._value(username)}:{await self._value(password)}"
        made = base64.b64encode(pair.encode()).decode()
        masking.secrets.hide(made)
        return f"Basic {made}"

    async def _fresh(self) -> str:
        if self._token is not None and self._clock.monotonic() < self._until:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._renew())
            self._fetching.add_done_callback(self._fetched)
        return await asyncio.shield(self._fetching)

    def _fetched(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # looked at: all who waited for it may have left

    async def _renew(self) -> str:
        rule = self._credentials
        assert isinstance(rule, OAuth2Client)
        client, secret = await self._value(rule.client_id), await self._value(rule.client_secret)
        form = {"grant_type": "client_credentials", **rule.body}
        if rule.scope:
            form["scope"] = rule.scope
        if rule.audience:
            form["audience"] = rule.audience
        headers = {"Accept": "application/json", **rule.headers}
        headers = {k: v for k, v in headers.items() if k.lower() != "content-type"}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        if rule.basic_auth:
            # RFC 6749 2.3.1: both are form-encoded before they are joined
            pair = await self._basic(quote(client, safe=""), quote(secret, safe=""))
            headers["Authorization"] = pair
        else:
            form |= {"client_id": client, "client_secret": secret}
        response = await self._fetch(rule.token_url, headers, urlencode(form).encode())
        if not response.ok:
            raise ActionFailed(
                f"no token from {rule.token_url}: it answered {response.status}",
                retry_names=_names(response.status),
                status=response.status,
            )
        return self._kept(response.json(), rule.token_url)

    def _kept(self, answer: Any, url: str) -> str:
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token or not token.isprintable():
            raise ResponseInvalid(f"{url} gave no access_token")
        life = answer.get("expires_in", LIFE_S)
        if isinstance(life, str) and life.isdigit():
            life = int(life)
        if isinstance(life, bool) or not isinstance(life, int | float) or not life > 0:
            life = LIFE_S
        life = min(float(life), LIFE_MAX_S)
        masking.secrets.hide_spellings(token)
        self._old = [*self._old, token]
        for old in self._old[:-3]:  # what came with them may still be on its way
            masking.secrets.forget(*masking.spellings(old))
        self._old = self._old[-3:]
        self._token = token
        self._until = self._clock.monotonic() + max(life - EARLY_S, life / 2)
        return token


def _names(status: int) -> tuple[str, ...]:
    return (str(status), f"{status // 100}xx", "unsent")
