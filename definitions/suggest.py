"""`did you mean`: the nearest known word, as the end of a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

LOOKED_AT: Final = 80
"""Characters of a word that are compared: it may come from anybody, and nearness costs time."""


def near(word: str, known: Iterable[str]) -> str | None:
    """The nearest known word, or None where none is near."""
    found = get_close_matches(word[:LOOKED_AT], list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "order"?`, or nothing where no word is near."""
    found = near(word, known)
    return "" if found is None else f'; did you mean "{found}"?'
