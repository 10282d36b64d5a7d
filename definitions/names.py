"""What workflows and namespaces may be called.

Names stand in addresses, in files of logs and on terminals, so they are one printable line, without
what an address would take apart or walk up by.
"""

from __future__ import annotations

from typing import Final

from greenroom.definitions.errors import InvalidRequest
from greenroom.definitions.events import NAME_MAX

_STEPS: Final = (".", "..")


def name_problem(name: object) -> str | None:
    """What is wrong with the name of a workflow; None if nothing is."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX:
        return f"must be text of 1 to {NAME_MAX} characters"
    if "/" in name:
        return 'must not have a "/"'
    if name in _STEPS:
        return f'must not be "{name}": an address cannot have it'
    if not name.isprintable() or not name.strip():
        return "must be printable characters"
    return None


def check_namespace(name: object) -> None:
    """Raises `InvalidRequest`; "" is the one that is meant where none is given."""
    if name == "":
        return
    if not isinstance(name, str) or len(name) > NAME_MAX or not name.isprintable():
        shown = f"{name!r:.80}" if not isinstance(name, str) else f"one of {len(name):,} characters"
        raise InvalidRequest(
            f"a namespace is a name of at most {NAME_MAX} printable characters, got {shown}"
        )
