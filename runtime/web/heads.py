"""The headers of a request by name, read once; of several with one name the first counts."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

Heads = dict[bytes, bytes]

HEADS: Final = "greenroom.heads"
"""Where they are in the scope, once the request has come past the guard."""


def read(scope: Scope) -> Heads:
    found: Heads = dict(reversed(scope["headers"]))
    scope[HEADS] = found
    return found


def heads_of(scope: Scope) -> Heads:
    found: Heads = scope[HEADS]
    return found


def media_type(heads: Heads) -> str:
    """What the body is, without its parameters; empty where nothing is said."""
    kind = heads.get(b"content-type", b"").decode("latin-1")
    return kind.partition(";")[0].strip().lower()
