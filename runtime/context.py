"""`ctx`: what a step may ask about the attempt it is."""

from __future__ import annotations

from typing import Any

from greenroom.definitions.errors import InvalidRequest
from greenroom.definitions.events import Event
from greenroom.definitions.workflow import Mode
from greenroom.runtime.loggers import logger


class StepContext:
    """Given to a step that has a parameter named `ctx`.

    `idempotency_key` is the same in every attempt of the op: hand it to whatever you call, since
    an at-least-once step may run again after a crash. At most as many steps as may be in flight
    (256 unless configured) run again. `at` is when the attempt began, in milliseconds.
    """

    __slots__ = (
        "_log",
        "at",
        "attempt",
        "event",
        "instance",
        "key",
        "mode",
        "namespace",
        "op",
        "statements",
        "version",
        "workflow",
    )

    def __init__(
        self,
        instance: str,
        workflow: str,
        key: str | None,
        op: str,
        attempt: int,
        event: Event | None,
        mode: Mode,
        at: int = 0,
        namespace: str = "",
        version: int = 0,
    ) -> None:
        self.instance = instance
        self.workflow = workflow
        self.key = key
        self.op = op
        self.attempt = attempt
        self.event = event
        self.mode = mode
        self.at = at
        self.namespace = namespace
        self.version = version
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self._log: Any = None

    @property
    def idempotency_key(self) -> str:
        return f"{self.instance}/{self.op}"

    @property
    def log(self) -> Any:
        """A structlog logger with instance, op and attempt bound."""
        if self._log is None:
            self._log = logger("greenroom.step").bind(
                instance=self.instance, workflow=self.workflow, op=self.op, attempt=self.attempt
            )
        return self._log

    def sql(self, statement: str, parameters: tuple[Any, ...] | list[Any] = ()) -> None:
        """Hands over a statement to be applied in the very transaction that records this step's
        result: exactly once. For steps with `mode="transactional"`; the tables live in the
        store's file and must not begin with `greenroom_` or be the store's own."""
        if self.mode != "transactional":
            raise InvalidRequest(
                f"ctx.sql needs a transactional step, {self.op} is {self.mode}",
                hint='decorate it with @step(..., mode="transactional")',
            )
        self.statements.append((statement, tuple(parameters)))
