"""Logs of the daemon: one JSON object a line, or text for people on a terminal.

All modules log through the standard library, so an application that embeds the engine sees
ordinary loggers named `greenroom...` and decides for itself. Only the daemon calls `setup`, once;
only then structlog is imported. Ids are bound for a stretch of work with `bound`, and no value
known as a secret or standing under a secret's name gets out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog

MASK: Final = "***"
SECRET_CHARACTERS_MIN: Final = 4
"""Shorter values are not hidden: masking every `a` would hide the log, not the secret."""

_SECRET_NAME: Final = re.compile(
    r"passw|secret|token|api_?key|authorization|cookie|credential|private_?key|signature",
    re.IGNORECASE,
)

Format = Literal["auto", "json", "console"]


class Secrets:
    """Values that must not appear in a log, whatever they stand under."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.hide(*values)

    def hide(self, *values: str) -> None:
        new = {value for value in values if len(value) >= SECRET_CHARACTERS_MIN} - self._values
        if new:
            self._values |= new
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

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


def setup(
    format: Format = "auto",
    level: str = "INFO",
    stream: TextIO | None = None,
    hide: Iterable[str] = (),
) -> logging.Handler:
    """Sends all logs to `stream` (stderr) as JSON or text; a second call replaces the first."""
    out = stream or sys.stderr
    secrets.hide(*hide)
    as_text = format == "console" or (format == "auto" and out.isatty())
    first: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_text:
        render = structlog.dev.ConsoleRenderer(
            colors=out.isatty(),
            timestamp_key="at",
            exception_formatter=structlog.dev.plain_traceback,  # the pretty one shows locals
        )
        last += [secrets, render, _without_secrets]
    else:
        last += [structlog.processors.format_exc_info, secrets, _as_json]
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=first, processors=last)
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    structlog.configure(  # loggers of structlog's own go the same way, never to stdout
        processors=[*first, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return handler


def bound(**ids: Any) -> AbstractContextManager[None]:
    """Puts ids on every line logged inside, in this task and those it starts."""
    return structlog.contextvars.bound_contextvars(**ids)


def _without_secrets(logger: Any, method: str, text: Any) -> Any:
    """Traces are rendered last, so the text is looked through as a whole."""
    return secrets.masked(text)


def _as_json(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    ordered = {key: event.pop(key) for key in ("at", "level", "logger", "event") if key in event}
    return msgspec.json.encode({**ordered, **event}, enc_hook=str).decode()
