"""Who sent an event: signatures over the raw bytes of a body, and how old it is.

The schemes that services use, one interface. Nothing of a body is read before its signature is
good; digests are compared in constant time; a moment that is signed must be near (five minutes
unless told). Secrets come as arguments, several where one is being replaced by another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from greenroom.definitions.credentials import SCHEME, secret_name
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, Rejected
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json

TOLERANCE_S: Final = 300.0


class SignatureInvalid(Rejected):
    """An event is not signed as its connector demands, or was signed too long ago."""

    http_status = 401


class Headers:
    """The headers of a request, names in any case."""

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(str(name).lower(), []).append(str(value).strip())

    def get(self, name: str) -> str | None:
        """The one value of a header. Raises `SignatureInvalid` for one that is there twice: two
        readers would choose differently."""
        found = self._values.get(name.lower(), [])
        if len(found) > 1:
            raise SignatureInvalid(f"the header {name} is there {len(found)} times")
        return found[0] if found else None

    def need(self, *names: str) -> str:
        for name in names:
            found = self.get(name)
            if found:
                return found
        raise SignatureInvalid(f"the header {names[0]} is missing")


class Proof(msgspec.Struct, frozen=True):
    """What a good signature says of an event: `id` is its name where the headers gave one,
    `digest` is the same for the same signed bytes and no others, `type` what the headers call it."""

    digest: str
    id: str | None = None
    type: str | None = None
    at_s: float | None = None


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """How the events of a connector are signed. `secret` are the names of the secrets that count;
    `dedupe` says what makes two events one: `id` (the sender's) or `body`."""

    scheme: str
    secret: tuple[str, ...] = ()
    username: str | None = None
    tolerance_s: float = TOLERANCE_S
    dedupe: str = "id"

    def secrets(self) -> tuple[str, ...]:
        return self.secret

    def as_data(self) -> dict[str, Json]:
        return {
            "scheme": self.scheme,
            "secrets": list(self.secret),
            "tolerance_s": self.tolerance_s,
            "dedupe": self.dedupe,
        }

    def verify(self, headers: Headers, body: bytes, secrets: list[str], now_s: float) -> Proof:
        """Raises `SignatureInvalid`; its text says what is wrong and never what would be right."""
        proof = SCHEMES[self.scheme](self, headers, body, secrets)
        if proof.at_s is not None and abs(now_s - proof.at_s) > self.tolerance_s:
            raise SignatureInvalid(
                f"the event was signed {abs(now_s - proof.at_s):,.0f} s "
                f"{'ago' if proof.at_s < now_s else 'ahead'}, {self.tolerance_s:g} s are allowed",
                hint="check the clocks of both sides",
            )
        return proof


def signature_from(data: Json, connector_id: str) -> Signature:
    """From `{"scheme", "secret", "tolerance", "dedupe"}`; without anything the scheme of seed 004
    with a secret of the connector's own. Raises `InvalidDefinition`."""
    if data is None:
        own = re.sub(r"[^A-Za-z0-9_.-]", "_", connector_id)
        return Signature(scheme="flexli", secret=(f"{own}_signing_key",))
    if isinstance(data, str):
        data = {"scheme": data}
    if not isinstance(data, dict):
        raise InvalidDefinition(f"a signature is an object with a scheme, got {data!r}")
    for key in data:
        if key not in _KEYS:
            raise InvalidDefinition(f'unknown key "{key}" in a signature{did_you_mean(key, _KEYS)}')
    scheme = data.get("scheme")
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise InvalidDefinition(
            f"the scheme of a signature is one of {', '.join(SCHEMES)}, got {scheme!r}"
            f"{did_you_mean(str(scheme), SCHEMES)}"
        )
    given = data.get("secret")
    references = given if isinstance(given, list) else [] if given is None else [given]
    if scheme == "none":
        if references:
            raise InvalidDefinition("events with the scheme none have no secret")
    elif not references:
        own = re.sub(r"[^A-Za-z0-9_.-]", "_", connector_id)
        references = [f"{SCHEME}{own}_signing_key"]
    if scheme == "basic" and not isinstance(data.get("username"), str):
        raise InvalidDefinition("the scheme basic needs a username")
    if data.get("dedupe", "id") not in ("id", "body"):
        raise InvalidDefinition(f'dedupe is "id" or "body", got {data["dedupe"]!r}')
    try:
        tolerance_s = seconds(data.get("tolerance", TOLERANCE_S), "tolerance")
    except GreenroomError as error:
        raise InvalidDefinition(error.message) from None
    return Signature(
        scheme=scheme,
        secret=tuple(map(secret_name, references)),
        username=data.get("username"),
        tolerance_s=tolerance_s,
        dedupe=data.get("dedupe", "id"),
    )


_KEYS: Final = ("scheme", "secret", "username", "tolerance", "dedupe")


# -- the schemes -----------------------------------------------------------------------------------


def _standard(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """Standard Webhooks: `v1,<base64>` over `id.timestamp.body`, several parted by spaces."""
    id = headers.need("webhook-id", "svix-id")
    stamp = headers.need("webhook-timestamp", "svix-timestamp")
    given = headers.need("webhook-signature", "svix-signature").split()
    at_s = _moment(stamp)
    signed = f"{id}.{stamp}.".encode() + body
    keys = [_standard_key(secret) for secret in secrets]
    good = [base64.b64encode(_digest(key, signed)).decode() for key in keys]
    _one_of([word.partition(",")[2] for word in given if word.startswith("v1,")], good)
    return Proof(_name(signed), id, None, at_s)


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()


def _flexli(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """Seed 004: `sha256v1:<hex>` over `timestamp:body`."""
    stamp = headers.need("flexli-timestamp", "greenroom-timestamp")
    given = headers.need("flexli-signature", "greenroom-signature")
    at_s = _moment(stamp)
    signed = stamp.encode() + b":" + body
    version, _, digest = given.partition(":")
    if version != "sha256v1":
        raise SignatureInvalid('the signature must begin with "sha256v1:"')
    _one_of([digest], [_digest(s.encode(), signed).hex() for s in secrets])
    return Proof(_name(signed), None, None, at_s)


def _github(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """GitHub: `sha256=<hex>` over the body. Neither a moment nor the delivery's id is signed."""
    given = headers.need("x-hub-signature-256")
    if not given.startswith("sha256="):
        raise SignatureInvalid('the signature must begin with "sha256="')
    good = [_digest(s.encode(), body).hex() for s in secrets]
    _one_of([given.removeprefix("sha256=")], good)
    return Proof(_name(body), headers.get("x-github-delivery"), headers.get("x-github-event"))


def _stripe(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """Stripe: `t=<seconds>,v1=<hex>` over `timestamp.body`, several v1 while a secret changes."""
    pairs = [part.partition("=") for part in headers.need("stripe-signature").split(",")]
    stamps = [value.strip() for name, _, value in pairs if name.strip() == "t"]
    if len(stamps) != 1:
        raise SignatureInvalid("the header stripe-signature must have one t=")
    at_s = _moment(stamps[0])
    signed = stamps[0].encode() + b"." + body
    good = [_digest(s.encode(), signed).hex() for s in secrets]
    _one_of([value.strip() for name, _, value in pairs if name.strip() == "v1"], good)
    return Proof(_name(signed), None, None, at_s)


def _slack(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """Slack: `v0=<hex>` over `v0:timestamp:body`."""
    stamp = headers.need("x-slack-request-timestamp")
    given = headers.need("x-slack-signature")
    at_s = _moment(stamp)
    signed = f"v0:{stamp}:".encode() + body
    if not given.startswith("v0="):
        raise SignatureInvalid('the signature must begin with "v0="')
    _one_of([given.removeprefix("v0=")], [_digest(s.encode(), signed).hex() for s in secrets])
    return Proof(_name(signed), None, None, at_s)


def _pagerduty(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """PagerDuty: `v1=<hex>` over the body, several parted by commas. No moment is signed."""
    given = [part.strip() for part in headers.need("x-pagerduty-signature").split(",")]
    good = [_digest(s.encode(), body).hex() for s in secrets]
    _one_of([part.removeprefix("v1=") for part in given if part.startswith("v1=")], good)
    return Proof(_name(body))


def _basic(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """A user and a password with each request: says who, not that the body is theirs."""
    kind, _, given = headers.need("authorization").partition(" ")
    if kind.lower() != "basic":
        raise SignatureInvalid("the header authorization must be of the kind Basic")
    good = [base64.b64encode(f"{rule.username}:{s}".encode()).decode() for s in secrets]
    _one_of([given.strip()], good)
    return Proof(_name(body))


def _none(rule: Signature, headers: Headers, body: bytes, secrets: list[str]) -> Proof:
    """Nobody signs; whoever reaches the entry may send."""
    return Proof(_name(body))


Scheme = Callable[[Signature, Headers, bytes, list[str]], Proof]

SCHEMES: Final[dict[str, Scheme]] = {
    "standard": _standard,
    "flexli": _flexli,
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
    "pagerduty": _pagerduty,
    "basic": _basic,
    "none": _none,
}


def sign_standard(secret: str, id: str, at_s: int, body: bytes) -> str:
    """The header `webhook-signature` for a body that is to be sent or tried out."""
    signed = f"{id}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(_digest(_standard_key(secret), signed)).decode()


def _digest(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, "sha256")


def _name(signed: bytes) -> str:
    return hashlib.sha256(signed).hexdigest()


def _moment(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise SignatureInvalid("the moment of a signature must be seconds since 1970")
    return float(text)


def _one_of(given: list[str], good: list[str]) -> None:
    """One of the signatures given is one of those that would be right. All are compared."""
    if not good:
        raise SignatureInvalid("there is no secret to check the signature with")
    matches = False
    for one in given[:16]:
        for right in good:
            matches |= hmac.compare_digest(one.encode(), right.encode())
    if not matches:
        raise SignatureInvalid("the signature does not fit the body")
