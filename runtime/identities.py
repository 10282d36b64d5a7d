"""Who people are in services, as the flows of an engine have found out.

A flow may ask again and again who somebody is (`get_identity`); what it was told is kept in memory
for an hour, for the thousand of whom it was asked last, so that somebody who gets another account is
known by it before long. What a handler was told is recorded with the handler, and stays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

FRESH_MS: Final = 3_600_000
KEPT_MAX: Final = 1_000

Key = tuple[str, ...]


class Identities:
    """Used from the threads that handlers run in. `now` is ms since the epoch."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._found: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._changing = threading.Lock()

    def remembered(self, key: Key, make: Callable[[], Any]) -> Any:
        """What was found under `key`, or what `make` finds now. Nothing found is not kept."""
        kept = self._found.get(key)
        if kept is not None and self._now() - kept[1] < FRESH_MS:
            return kept[0]
        found = make()
        if found:
            with self._changing:
                self._found[key] = (found, self._now())
                self._found.move_to_end(key)
                if len(self._found) > KEPT_MAX:
                    self._found.popitem(last=False)
        return found
