"""Logs of the daemon: one JSON object a line, or text for people on a terminal.

All modules log through the standard library, so an application that embeds the engine sees
ordinary loggers named `greenroom...` and decides for itself. Only the daemon calls `setup`, once;
only then structlog is imported. Ids are bound for a stretch of work with `bound`, and no value
known as a secret or standing under a secret's name gets out.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TextIO

import msgspec
import structlog

from greenroom.runtime.cli.words import visible
from greenroom.runtime.masking import secrets

Format = Literal["auto", "json", "console"]


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
        last += [_visible, secrets, render, _without_secrets]
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


def _visible(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """What a step logs may come from anywhere: on a terminal it is text and nothing else, and it
    does not begin a line as if it were another one."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = visible(value).replace("\n", "\n  ")
    return event


def _without_secrets(logger: Any, method: str, text: Any) -> Any:
    """Traces are rendered last, so the text is looked through as a whole."""
    return secrets.masked(text)


def _as_json(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    ordered = {key: event.pop(key) for key in ("at", "level", "logger", "event") if key in event}
    return msgspec.json.encode({**ordered, **event}, enc_hook=str).decode()
