"""Loggers with bound fields that go through the standard library.

An application that embeds the engine decides for itself where `greenroom...` loggers write; the
daemon sends them to stderr (`runtime.logs`). structlog is imported when the first line is logged.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

_TAKEN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Names of a log record that a field may not overwrite."""


def logger(name: str) -> Any:
    """A structlog logger on the standard logger `name`."""
    import structlog  # noqa: PLC0415  start-up time: most commands log nothing

    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _to_record(
    _: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """The fields as `extra` of a record; one with a taken name gets an underscore."""
    text = str(event.pop("event", ""))
    kwargs: dict[str, Any] = {}
    for name in ("exc_info", "stack_info", "stacklevel"):
        if name in event:
            kwargs[name] = event.pop(name)
    kwargs["extra"] = {f"{k}_" if k in _TAKEN else k: v for k, v in event.items()}
    return (text,), kwargs


class LazyLogger:
    """A logger that is made when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._made: Any = None

    def __getattr__(self, method: str) -> Any:
        if self._made is None:
            self._made = logger(self._name)
        return getattr(self._made, method)
