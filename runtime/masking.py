"""Hiding secrets in whatever leaves the process: logs, errors, responses that repeat a request.

Whoever reads a secret hides it here; from then on the value, and the spellings it takes on its way
(base64 of a user and a password, percent-encoded, inside JSON), are replaced wherever they show.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
SECRET_CHARACTERS_MIN: Final = 4
"""Shorter values are not hidden: masking every `a` would hide the log, not the secret."""
DATA_CHARACTERS_MIN: Final = 8
"""In data, which goes on being used, only values that do not stand there by chance are hidden."""

_SECRET_NAME: Final = re.compile(
    r"passw|secret|token|api_?key|authorization|cookie|credential|private_?key|signature",
    re.IGNORECASE,
)


def _any_of(values: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, values))) if values else None


def spellings(value: str) -> set[str]:
    """A value as it is, and as it looks in a URL, in JSON and in base64."""
    if len(value) < SECRET_CHARACTERS_MIN:
        return set()
    raw = value.encode("utf-8", "surrogatepass")
    text = raw.decode("utf-8", "replace")
    return {
        value, quote(text, safe=""), quote(text), quote_plus(text), json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(),
    }  # fmt: skip


class Secrets:
    """Values that must not appear in a log, whatever they stand under."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._in_data: re.Pattern[str] | None = None
        self.hide(*values)

    def hide(self, *values: str) -> None:
        new = {value for value in values if len(value) >= SECRET_CHARACTERS_MIN} - self._values
        if new:
            self._values |= new
            self._compile()

    def forget(self, *values: str) -> None:
        """For tokens that are replaced again and again: one that is out of use hides nothing."""
        if self._values & set(values):
            self._values -= set(values)
            self._compile()

    def _compile(self) -> None:
        longest_first = sorted(self._values, key=len, reverse=True)
        self._pattern = _any_of(longest_first)
        self._in_data = _any_of([v for v in longest_first if len(v) >= DATA_CHARACTERS_MIN])

    def hide_spellings(self, value: str) -> None:
        """Hides a value and what it looks like in a URL, in JSON and in base64."""
        self.hide(*spellings(value))

    def hidden(self, value: Any) -> Any:
        """Data without secrets in its texts; what only stands under a secret's name is left."""
        if self._in_data is None:
            return value
        if isinstance(value, str):
            return self._in_data.sub(MASK, value)
        if isinstance(value, dict):
            return {self.hidden(key): self.hidden(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hidden(item) for item in value]
        return value

    def masked(self, value: Any, name: str = "") -> Any:
        """The value without secrets; containers are copied."""
        if name and value is not None and _SECRET_NAME.search(name):
            return MASK
        if isinstance(value, str):
            return self._pattern.sub(MASK, value) if self._pattern else value
        if isinstance(value, dict):
            return {key: self.masked(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(item) for item in value]
        return value

    def __call__(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """As a processor of structlog."""
        for key, value in event.items():
            if not key.startswith("_"):
                event[key] = self.masked(value, key)
        return event


secrets: Final = Secrets()
"""Those of this process: whoever reads a secret hides it here."""
