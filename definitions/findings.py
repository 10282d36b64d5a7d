"""One line of an answer to "why did this not match?"."""

from __future__ import annotations

from typing import Any

import msgspec

from greenroom.definitions.values import Json


class Finding(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One check with what it saw.

    `path` is the place in the definition (`criteria[0].attributes[0]`), `attribute` what was
    looked at as its author wrote it, `error` why it could not be looked at.
    """

    path: str
    attribute: str
    operator: str
    ok: bool
    seen: Json = None
    expected: Json = None
    error: str | None = None

    def __str__(self) -> str:
        seen = self.error if self.error else f"= {_short(self.seen)}"
        return f"{self.path}  {self.attribute} {seen}  {self.operator}  {_short(self.expected)}"

    def as_data(self) -> dict[str, Any]:
        """For the faces: every key is there."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


SHOWN_MAX = 120


def _short(value: Json) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
