"""From exceptions to failures, as the journal keeps them, with the line of the author's they come from."""

from __future__ import annotations

import asyncio
import os
import traceback
from pathlib import Path
from typing import Any, Final

from greenroom.actors.entries import Failure
from greenroom.actors.fiber import Fiber
from greenroom.definitions.actionerrors import ActionFailed, ParameterInvalid
from greenroom.definitions.errors import (
    CodeChanged,
    GreenroomError,
    StepFailed,
    Timeout,
)
from greenroom.definitions.values import Json

HINT_CHARACTERS_MAX: Final = 1_000


def details_of(error: GreenroomError, *, plain: bool = False) -> dict[str, Json]:
    """What a failure keeps of an error of ours: its details (the `plain` ones only) and its hint."""
    kept = {
        key: value
        for key, value in error.details.items()
        if not plain or isinstance(value, str | int)
    }
    return {**kept, "hint": error.hint[:HINT_CHARACTERS_MAX]} if error.hint else kept


def failure_of(error: BaseException, kind: Any = "raised") -> Failure:
    """An exception as the journal keeps it: names and texts, no live objects."""
    if isinstance(error, StepFailed):
        op = error.details.get("op")
        cause = error.details.get("cause")  # what an author's retry rule was asked about
        details: dict[str, Json] = {"cause": cause} if isinstance(cause, dict) else {}
        if isinstance(label := error.details.get("kind"), str):
            details["kind"] = label
        if error.hint:
            details["hint"] = error.hint
        return Failure(
            error.type, error.message, details=details, op=op if isinstance(op, str) else None
        )
    if isinstance(error, Timeout):
        return Failure("Timeout", error.message, "timeout", where=place_of(error))
    if isinstance(error, CodeChanged):
        return Failure("CodeChanged", error.message, "code_changed", error.details)
    try:
        text = str(error)
    except Exception:  # an author's __str__ may do anything
        text = "(its text cannot be made)"
    details = {}
    if isinstance(error, ActionFailed | ParameterInvalid):
        details = details_of(error)
    elif isinstance(error, GreenroomError) and error.hint:
        details["hint"] = error.hint[:HINT_CHARACTERS_MAX]
    if isinstance(output := getattr(error, "__greenroom_output__", None), str):
        details["output"] = output  # what the file of a stage had printed
    return Failure(type(error).__name__, text, kind, details, where=place_of(error))


_NOT_THEIRS: Final = (
    str(Path(__file__).parent.parent) + os.sep,
    str(Path(__file__).resolve().parent.parent / "runtime"),
    str(Path(__file__).resolve().parent.parent / "actors"),
    str(Path(__file__).resolve().parent.parent / "definitions"),
    str(Path(asyncio.__file__).parent.parent) + os.sep,
    "<frozen",
)
"""Where our own code and the standard library live, also when they are reached over a link."""


def place_of(error: BaseException) -> str | None:
    """`file.py:12` of the innermost frame that is neither ours nor the standard library's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_NOT_THEIRS) and "site-packages" not in frame.filename:
            return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    return None


def place_in(routine: Any) -> str:
    """`file.py:12` of the author's code a suspended routine is in, the innermost."""
    frames: list[Any] = []
    if type(routine) is Fiber:
        frame = routine.frame
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
    else:
        while hasattr(routine, "cr_frame"):
            if routine.cr_frame is not None:
                frames.insert(0, routine.cr_frame)
            routine = routine.cr_await
    for frame in frames:
        file = frame.f_code.co_filename
        if not file.startswith(_NOT_THEIRS) and "site-packages" not in file:
            return f"{file.rsplit('/', 1)[-1]}:{frame.f_lineno}"
    return "?"
