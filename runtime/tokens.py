"""Tokens: what an outside party shows to answer a callback.

A token names its instance and proves that it came from us: `<instance><HMAC-SHA256 of instance and
op key>`, base64url. The op key carries the round of its group, so a callback that was begun anew
has another token, and a step that runs again after a crash hands out the same one. Nothing of it
is stored: with the secret it is computed again.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Final

from greenroom.definitions.errors import NotPermitted, StoreDamaged
from greenroom.runtime.secrets import Unreadable, read_private

SECRET_BYTES: Final = 32
TOKEN_CHARACTERS: Final = 64
_MAC_FROM: Final = 16


class Secret:
    """The one secret of an installation; what is made of it for one purpose is of no use for
    another."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def derive(self, purpose: str) -> bytes:
        return hmac.digest(self._value, purpose.encode(), hashlib.sha256)

    def token(self, instance: str, op: str) -> str:
        """The token of a question. 64 characters, safe in a URL."""
        mac = hmac.digest(self.derive("callback"), f"{instance}\n{op}".encode(), hashlib.sha256)
        return urlsafe_b64encode(_bytes_of(instance) + mac).decode()

    def is_token(self, token: str, instance: str, op: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(token.encode(), self.token(instance, op).encode())

    def __repr__(self) -> str:
        return "Secret(...)"


def instance_in(text: str) -> str | None:
    """The instance a token names; None for what is no token."""
    if len(text) != TOKEN_CHARACTERS:
        return None
    try:
        raw = urlsafe_b64decode(text)
        return str(uuid.UUID(bytes=raw[:_MAC_FROM]))
    except (ValueError, binascii.Error):  # what is no base64 is left out, so it may be short
        return None


def _bytes_of(instance: str) -> bytes:
    try:
        return uuid.UUID(instance).bytes
    except ValueError:  # ids of tests
        return hashlib.blake2b(instance.encode(), digest_size=_MAC_FROM).digest()


def kept_in(path: Path) -> Secret:
    """The secret in a file of its own (0600), made when it is not there.

    Raises `StoreDamaged` for a file that holds something else: tokens that are on their way would
    not be known any more. Raises `NotPermitted` for one that others can read, or a link.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(SECRET_BYTES).hex().encode())
        file.flush()
        os.fsync(file.fileno())
    return _read(path)


def _read(path: Path) -> Secret:
    try:
        value = bytes.fromhex((read_private(path) or "").strip())
    except Unreadable as error:
        raise NotPermitted(
            str(error),
            hint="who can read or change it can answer callbacks and log in as anybody",
            path=str(path),
        ) from None
    except ValueError:
        value = b""
    if len(value) != SECRET_BYTES:
        raise StoreDamaged(
            f"{path} does not hold a key of {SECRET_BYTES} bytes",
            hint="bring it back from a backup; without it, callbacks on their way are not known",
            path=str(path),
        )
    return Secret(value)


def fresh() -> Secret:
    """A secret for as long as the process lives."""
    return Secret(secrets.token_bytes(SECRET_BYTES))
