"""The HTTP caller of a connector: what its actions make their requests with.

It puts together a host's address and base path, default headers, credentials and the idempotency
key, follows redirects only where it was told to, and turns whatever a service does into a
`Response` or an error that a retry policy can read.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec

from greenroom.actors.ports import Clock
from greenroom.definitions.actionerrors import (
    RequestInvalid,
    ResponseFailed,
    TransportFailed,
    status_names,
)
from greenroom.definitions.connectors import Config, check_header
from greenroom.definitions.credentials import SCHEME, secret_name
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.requests import SAFE, Request, clean_path
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.authority import Authority
from greenroom.runtime.connectors.wire import Response, Wire, library
from greenroom.runtime.secrets import SecretStore

if TYPE_CHECKING:
    import httpx2

BODY_SHOWN: Final = 2_000
AGENT: Final = "greenroom"
RETRY_AFTER_MAX_S: Final = 86_400.0


class Http:
    """Requests of one attempt. `key` goes with each that may change something."""

    def __init__(
        self,
        config: Config,
        wire: Wire,
        authority: Authority,
        secrets: SecretStore,
        clock: Clock,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._config = config
        self._wire = wire
        self._authority = authority
        self._secrets = secrets
        self._clock = clock
        self._key = key
        self._timeout_s = timeout_s or config.timeout_s

    # -- for authors ---------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Json | msgspec.UnsetType = msgspec.UNSET,
        form: Mapping[str, str] | None = None,
        content: bytes | str | None = None,
        check: bool = True,
    ) -> Response:
        """One request below the base path; a whole URL must lead to the same host.

        Raises `ResponseFailed` for anything but a 2xx, unless `check=False`; `TransportFailed` when
        no answer came.
        """
        made = dict(headers or {})
        raw = content.encode() if isinstance(content, str) else content
        if form is not None:
            raw = urlencode(dict(form)).encode()
            made.setdefault("Content-Type", "application/x-www-form-urlencoded")
        pairs = [
            (name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in (query or {}).items()
            if value is not None
        ]
        asked = Request(
            method=method.upper(), path=path, headers=made, query=pairs, body=json, content=raw
        )
        return await self.send(asked, check=check)

    async def get(self, path: str = "", **options: Any) -> Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str = "", **options: Any) -> Response:
        return await self.request("POST", path, **options)

    # -- the request ---------------------------------------------------------------------------

    async def send(self, asked: Request, *, check: bool = True) -> Response:
        """Carries a request out. See `request`."""
        url = self._url(asked.path, asked.query)
        headers, content = await self._parts(asked)
        response = await self._with_redirects(asked.method, url, headers, content)
        if check and not response.ok:
            raise self.failure(response)
        return response

    def failure(self, response: Response, message: str | None = None) -> ResponseFailed:
        """The error of an answer that says it did not work."""
        body = response.content[:BODY_SHOWN].decode("utf-8", "replace")
        said = message or f"the service answered {response.status}"
        if message is None and 300 <= response.status < 400:
            said += f", a redirect to {_shown(response.header('location'))}; redirects are off"
        return ResponseFailed(
            said,
            retry_names=status_names(response.status),
            retry_after_s=self._retry_after(response),
            status=response.status,
            body=body,  # looked through for secrets, like any error, where it leaves
        )

    def _url(self, path: str, query: list[tuple[str, str]]) -> httpx2.URL:
        host = self._config.host
        if "://" in path:
            url = _parsed(path)
            if host is not None and _origin(url) != _origin(self._base()):
                raise RequestInvalid(
                    f"{_origin_text(url)} is not the host of this connector, {host}"
                )
        elif host is None:
            raise RequestInvalid("this connector has no host: give a whole URL")
        else:
            parts = [part for part in (self._config.base_path, clean_path(path)) if part]
            url = self._base().copy_with(raw_path=("/" + "/".join(parts)).encode("ascii"))
        if query:
            text = urlencode(query, quote_via=quote)
            before = url.raw_path.decode("ascii")
            joint = "&" if "?" in before else "?"
            url = url.copy_with(raw_path=f"{before}{joint}{text}".encode("ascii"))
        return url

    def _base(self) -> httpx2.URL:
        return _parsed(f"{self._config.scheme}://{self._config.host}")

    async def _parts(self, asked: Request) -> tuple[dict[str, str], bytes]:
        """Headers, without credentials, and the body."""
        headers = {"Accept": "application/json, */*;q=0.5", "User-Agent": AGENT}
        for name, value in self._config.default_headers.items():
            if value.startswith(SCHEME):
                value = (await self._secrets.get(secret_name(value))).reveal()
            _put(headers, name, value)
        for name, value in asked.headers.items():
            _put(headers, name, value)
        for name, value in headers.items():
            try:
                check_header(name, value)
            except InvalidDefinition as error:
                raise RequestInvalid(error.message) from None
        content = b"" if asked.content is None else asked.content
        if asked.body is not msgspec.UNSET:
            content = _encoded(asked.body, headers)
        if self._key is not None and self._config.idempotency_header and asked.method not in SAFE:
            _put(headers, self._config.idempotency_header, self._key)
        if content or asked.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(content))
        headers["Accept-Encoding"] = "gzip, deflate"
        return headers, content

    async def _with_redirects(
        self, method: str, url: httpx2.URL, headers: dict[str, str], content: bytes
    ) -> Response:
        home = _origin(url)
        for left in range(self._config.redirects, -1, -1):
            response = await self._authorised(method, url, headers, content, _origin(url) == home)
            location = response.header("location")
            if response.status not in (301, 302, 303, 307, 308) or not location or left == 0:
                return response
            target = _parsed(str(url.join(location)))
            if url.scheme == "https" and target.scheme != "https":
                raise TransportFailed(
                    f"{url.host} leads away from https, to {_origin_text(target)}", sent=True
                )
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, content = ("HEAD" if method == "HEAD" else "GET"), b""
                headers = _without(headers, "content-type", "content-length")
            if _origin(target) != home:
                headers = self._bare(headers)
            url = target
        raise AssertionError("the last answer was given back")

    def _bare(self, headers: dict[str, str]) -> dict[str, str]:
        """What another host may see: nothing a connector was given for its own."""
        kept = ("accept", "accept-encoding", "content-length", "content-type", "user-agent")
        return {name: value for name, value in headers.items() if name.lower() in kept}

    async def _authorised(
        self, method: str, url: httpx2.URL, headers: dict[str, str], content: bytes, ours: bool
    ) -> Response:
        """One exchange with credentials, at the host they are for; once more with fresh ones when
        those kept are not taken any more."""
        for again in (True, False):
            shown = await self._authority.headers() if ours else {}
            response = await self._exchange(method, url, _joined(url, headers, shown), content)
            if response.status != 401 or not again or not ours:
                return response
            if not await self._authority.refused(shown):
                return response
        return response

    async def _exchange(
        self, method: str, url: httpx2.URL, headers: dict[str, str], content: bytes
    ) -> Response:
        return await self._wire.send(
            method, url, headers.items(), content, timeout_s=self._timeout_s
        )

    def _retry_after(self, response: Response) -> float | None:
        if response.status not in (429, 503) and not 300 <= response.status < 400:
            return None
        return retry_after_s(response.header("retry-after"), self._clock.now() / 1000)


def retry_after_s(text: str | None, now_s: float) -> float | None:
    """`Retry-After` in seconds from now: a number, or a date. None for what is neither."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), RETRY_AFTER_MAX_S)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  start-up time

    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return min(max(0.0, when.timestamp() - now_s), RETRY_AFTER_MAX_S)


# -- pieces ----------------------------------------------------------------------------------------


def _parsed(text: str) -> httpx2.URL:
    client = library("httpx2")
    try:
        url: httpx2.URL = client.URL(text)
    except (client.InvalidURL, UnicodeError, ValueError):
        raise RequestInvalid(f"{text[:80]!r} is no URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise RequestInvalid(f"only http and https URLs can be asked, got {text[:80]!r}")
    if any(c in url.host for c in "% \\"):
        raise RequestInvalid(f"{text[:80]!r} names no host")
    if url.userinfo:
        raise RequestInvalid("a URL may not carry a user and a password")
    return url


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or (443 if url.scheme == "https" else 80)


def _origin_text(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def _shown(location: str | None) -> str:
    """A location without its query, which may hold anything."""
    return (location or "nowhere").partition("?")[0][:200]


def _put(headers: dict[str, str], name: str, value: str) -> None:
    """Sets a header in place of one that is spelled otherwise."""
    for known in list(headers):
        if known.lower() == name.lower():
            del headers[known]
    headers[name] = value


def _without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in names}


def _joined(url: httpx2.URL, headers: dict[str, str], shown: dict[str, str]) -> dict[str, str]:
    """The headers as they are sent. Credentials win: nobody who calls an action takes their place."""
    made = {"Host": url.netloc.decode("ascii"), **headers}
    for name, value in shown.items():
        _put(made, name, value)
    return made


def _encoded(body: Json, headers: dict[str, str]) -> bytes:
    """A body in the type its header names; JSON unless told."""
    kind = next((v for k, v in headers.items() if k.lower() == "content-type"), None)
    if kind is None:
        headers["Content-Type"] = "application/json"
        kind = "application/json"
    kind = kind.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and isinstance(body, dict):
        pairs = [(k, _text(v)) for k, v in body.items() if v is not None]
        return urlencode(pairs).encode()
    if isinstance(body, str) and kind != "application/json" and not kind.endswith("+json"):
        return body.encode()
    return msgspec.json.encode(body)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
