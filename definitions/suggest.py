"""`did you mean`: the nearest known word, as the end of a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

LOOKED_AT: Final = 80
"""Characters of a word that are compared: it may come from anybody, and nearness costs time."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "order"?`, or nothing where no word is near."""
    near = get_close_matches(word[:LOOKED_AT], list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
