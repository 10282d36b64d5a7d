"""Children: how a child is named, and which ones nobody waits for."""

from __future__ import annotations

import hashlib
from typing import Final

from greenroom.actors.entries import Request

DETACHED: Final = 0
"""The attempt a child is told when nobody waits for its outcome."""


def child_id(parent: str, key: str, attempt: int) -> str:
    """K14: the id of a child follows from who asked for it, so it cannot be made twice."""
    digest = hashlib.blake2b(f"{parent}>{key}#{attempt}".encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


def outlives(request: Request) -> bool:
    """Whether a child goes on when its parent is cancelled or gives it up."""
    return is_detached(request) or request.args.get("on_cancel") == "abandon"


def is_detached(request: Request) -> bool:
    return request.kind == "child" and bool(request.args["detach"])
