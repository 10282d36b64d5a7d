"""Named places where a test lets the process die as by `kill -9`.

`GREENROOM_CRASH_AT=journal.commit:2` ends the process the second time that place is passed. Unset
(always, outside of tests) a point costs one call of an empty function, and they stand only where
something happens once a group.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "GREENROOM_CRASH_AT"
EXIT_CODE: Final = 137


def _pass(name: str) -> None:
    """Nothing is to crash."""


def _countdown(target: str) -> Callable[[str], None]:
    wanted, _, times = target.partition(":")
    left = int(times or 1)

    def crash_point(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os._exit(EXIT_CODE)

    return crash_point


_target = os.environ.get(VARIABLE)
crash_point: Final[Callable[[str], None]] = _countdown(_target) if _target else _pass
