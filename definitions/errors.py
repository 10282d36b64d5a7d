"""Every error a user can meet.

The class says whose fault it is: `DefinitionError` is the author's, `Rejected` the caller's,
`StepError` the step's, `StoreError` the machine's. The `code` of a class is its name in snake
case; it is the same in Python, on the socket, over HTTP and in the command line, and never
changes. Errors carry fields; the text is made from them.
"""

from __future__ import annotations

import datetime
import re
from typing import Any, ClassVar, Final

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def code_of(name: str) -> str:
    """`NotFound` -> `not_found`."""
    return _WORD.sub("_", name).lower()


class GreenroomError(Exception):
    """The root. `message` says what happened with real values, `details` gives it as data,
    `hint` what to do next."""

    code: ClassVar[str] = "greenroom_error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 5
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = code_of(cls.__name__)
        ERRORS[cls.code] = cls

    def __init__(self, message: str = "", *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # what a traceback shows

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details)

    def as_data(self) -> dict[str, Any]:
        """The shape `error` of every face: `{code message details hint?}`."""
        data: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "details": self.details,
        }
        if self.hint:
            data["hint"] = self.hint
        return data


ERRORS: dict[str, type[GreenroomError]] = {}


def _rebuild(
    cls: type[GreenroomError], message: str, hint: str | None, details: dict[str, Any]
) -> GreenroomError:
    return cls(message, hint=hint, **details)


def from_data(data: dict[str, Any]) -> GreenroomError:
    """The exception for an error that came over a wire.

    One whose class this process has not loaded, or does not know, is a `Rejected` that keeps its
    code and its text.
    """
    code = str(data.get("code"))
    cls = ERRORS.get(code)
    details = data.get("details")
    error = (cls or Rejected)(
        str(data.get("message", "")),
        hint=data.get("hint"),
        **(details if isinstance(details, dict) else {}),
    )
    if cls is None and "code" in data:
        error.code = code  # type: ignore[misc]
        error.exit_code = _EXITS.get(code, Rejected.exit_code)  # type: ignore[misc]
    return error


_EXITS: Final = {"parameter_invalid": 2, "request_invalid": 2}
"""Exit codes of classes that most processes never load."""


# -- the author's fault ------------------------------------------------------------------------


class Problem:
    """One finding about a definition: where (a JSON path or file:line) and what."""

    __slots__ = ("message", "path", "where")

    def __init__(self, path: str, message: str, where: str | None = None) -> None:
        self.path = path
        self.message = message
        self.where = where

    def __str__(self) -> str:
        place = "  ".join(p for p in (self.where, self.path) if p)
        return f"{place}   {self.message}" if place else self.message

    def __repr__(self) -> str:
        return f"Problem({self})"

    def as_data(self) -> dict[str, Any]:
        return {"path": self.path, "message": self.message, "where": self.where}


class InvalidDefinition(GreenroomError):
    """A definition is wrong; `problems` lists everything found, not only the first."""

    http_status = 422
    exit_code = 2

    def __init__(
        self,
        message: str = "",
        problems: list[Problem] | list[dict[str, Any]] | None = None,
        *,
        hint: str | None = None,
        **details: Any,
    ) -> None:
        self.problems = [p if isinstance(p, Problem) else Problem(**p) for p in problems or []]
        if self.problems:
            details.setdefault("problems", [p.as_data() for p in self.problems])
            lines = "\n".join(f"  {p}" for p in self.problems)
            if not message or "\n" not in message:  # one that came over a wire has its text
                head = message or "the definition is not valid"
                count = len(self.problems)
                message = f"{head}, {count} problem{'s' if count != 1 else ''}\n{lines}"
        super().__init__(message, hint=hint, **details)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details)


DefinitionError = InvalidDefinition


class ExpressionError(GreenroomError):
    """An expression cannot be compiled, or gave a type error or too much work at run time."""

    http_status = 422
    exit_code = 2


# -- the caller's fault: nothing was stored ----------------------------------------------------


class Rejected(GreenroomError):
    """The request is refused; nothing was stored and nothing will be."""

    http_status = 409
    exit_code = 5


class _Invalid(Rejected):
    http_status = 422
    exit_code = 2


class InvalidEvent(_Invalid):
    """An event has a wrong attribute; `details.path` names it."""


class InvalidInput(_Invalid):
    """A value cannot be stored or does not fit what the workflow takes."""


class InvalidRequest(_Invalid):
    """A request has an unknown method, a wrong parameter or broken syntax."""


class FormInvalid(_Invalid):
    """An answer does not fit the question; `details.errors` lists every field."""

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Every error of the page: `{loc msg type}`."""
        found: list[dict[str, Any]] = self.details.get("errors") or []
        return found


class FormNotComplete(_Invalid):
    """Another page is needed; `details.schema` describes it, `details.page` is its number."""

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = self.details.get("schema") or {}
        return found


class FormOverflow(_Invalid):
    """More pages were given than the form asks for."""


class FormError(Rejected):
    """The form itself is at fault: it raised, asked for what is no page, or is not pure."""

    http_status = 500


class NotFound(Rejected):
    """There is no such workflow, instance, event or schedule."""

    http_status = 404
    exit_code = 3


class NoSuchAsk(NotFound):
    """There is no such open question."""


class ResourceNotFound(NotFound):
    """There is no resource with this id."""


class StaleResource(Rejected):
    """A resource was changed by another step since this one read it; nothing was saved."""


class InvalidTransition(Rejected):
    """The verb is not allowed in the status the instance is in."""


class AlreadyRunning(Rejected):
    """A live instance has this key; `details.instance` is its id."""


class AlreadyDecided(Rejected):
    """The question was answered before."""


class NeedsAnswer(Rejected):
    """`resume` carries no data: the instance waits for an answer, event or time."""


class IdConflict(Rejected):
    """The id was used before with another body."""


class InDoubt(Rejected):
    """Nobody knows whether an at-most-once step has run; a person must say."""


class StillFails(Rejected):
    """A trial of `resume` failed in the same way; nothing was recorded."""


class CodeChanged(Rejected):
    """The code no longer follows the journal; both sides are in `details`."""


class InboxFull(Rejected):
    """The instance holds as many undelivered messages as it may."""


class EventLoop(Rejected):
    """Workflows start each other, more of them each time."""


class ConditionFailed(Rejected):
    """A condition that guards the request is false."""


class TooLarge(Rejected):
    """A value, line or file is over its limit."""

    http_status = 413


class NotPermitted(Rejected):
    """The caller may not do this."""

    http_status = 403


class NotGranted(NotPermitted):
    """A document uses a connector or a secret that nobody has granted to its workflow;
    `details.missing` lists them. Trying again does not help."""

    final: ClassVar[bool] = True


class NotAuthenticated(Rejected):
    """Nobody knows who the caller is: no key or token, or one that is wrong, expired or revoked."""

    http_status = 401


class Locked(Rejected):
    """Another process owns the store."""


# -- not now -----------------------------------------------------------------------------------


class Unavailable(GreenroomError):
    """The request was refused for a reason that passes."""

    http_status = 503
    retryable = True


class Busy(Unavailable):
    """A queue is full; try again."""


class RateLimited(Unavailable):
    """One caller asks more often than one may; `details.after_s` says when to try again."""

    http_status = 429


class ReadOnly(Unavailable):
    """The disk is full; nothing can be stored until there is room."""


class EngineStopping(Unavailable):
    """The engine is shutting down."""


class Timeout(GreenroomError, TimeoutError):
    """The time given is over. Outside, what was asked for may still happen; in a program it has been
    given up."""

    http_status = 504
    exit_code = 6


class Unreachable(GreenroomError):
    """No daemon answers at this address."""

    exit_code = 4


class NoEngine(GreenroomError):
    """A facade call found no open engine in this context."""


# -- the machine's fault -----------------------------------------------------------------------


class StoreError(GreenroomError):
    """The store failed."""


class StaleAppend(StoreError):
    """A turn was decided on top of one that could not be stored; it is dropped with it."""


class StoreDamaged(StoreError):
    """The store is damaged; nothing was deleted or repaired."""

    exit_code = 65


class SchemaTooNew(StoreError):
    """The store was written by a newer version."""

    exit_code = 65


class EngineDied(StoreError):
    """A write to disk failed in a way after which nothing can be trusted; open it again."""

    exit_code = 74


# -- the step's fault --------------------------------------------------------------------------


class StepError(GreenroomError):
    """What a step may raise to steer its retries."""


class Retry(StepError):
    """Try again, after a while (seconds, or `"5m"`) if given, else by the policy."""

    def __init__(
        self,
        message: str = "",
        *,
        after: str | float | datetime.timedelta | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.after = after


class Fatal(StepError):
    """Do not try again, whatever the policy says."""


class StepFailed(GreenroomError):
    """What a program sees when a step failed: always this class, live and replayed.

    `type` is the name of the exception the step raised, `message` its text.
    """

    def __init__(
        self,
        message: str = "",
        *,
        type: str = "Exception",
        hint: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, hint=hint, **details)
        self.type = type

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_step, (self.message, self.type, self.hint, self.details)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def _rebuild_step(message: str, type: str, hint: str | None, details: dict[str, Any]) -> StepFailed:
    return StepFailed(message, type=type, hint=hint, **details)


class InstanceFailed(GreenroomError):
    """`result()` of an instance that is failed; `error` says why."""

    exit_code = 1


class InstanceCancelled(GreenroomError):
    """`result()` of an instance that was cancelled."""

    exit_code = 1
