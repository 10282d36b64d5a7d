"""How an action fails. Retry policies name failures by what they are: `429`, `5xx`, `timeout`,
`transport`, `unsent`; the name of the class counts too.

Messages and details never hold a secret: whoever raises these has masked what a service said.
"""

from __future__ import annotations

from typing import Any, ClassVar

from greenroom.definitions.errors import GreenroomError, Rejected


class ParameterInvalid(Rejected):
    """The parameters of an action do not fit its schema; `details.problems` lists everything."""

    http_status = 422
    exit_code = 2
    final: ClassVar[bool] = True


class RequestInvalid(Rejected):
    """The parameters make a request that cannot be sent; nothing was."""

    http_status = 422
    exit_code = 2
    final: ClassVar[bool] = True


class ActionFailed(GreenroomError):
    """A service, or the way to it, failed an action."""

    http_status = 502

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        retry_names: tuple[str, ...] = (),
        retry_after_s: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, hint=hint, **details)
        self.retry_names = retry_names
        """What a policy's `retry_on` may call this."""
        self.retry_after_s = retry_after_s
        """When the service asked to be asked again."""


class ResponseFailed(ActionFailed):
    """The service answered that it did not work; `details` has `status` and the begin of `body`."""


class ResponseInvalid(ActionFailed):
    """The service's answer cannot be used: too large, cut, not what it says it is."""


class TransportFailed(ActionFailed):
    """No answer came: no connection, a time-out, a connection that broke. `details.sent` says
    whether the service may have got the request."""


class SecretMissing(ActionFailed):
    """A secret that a connector needs is not there, or may not be read."""

    http_status = 500


def status_names(status: int) -> tuple[str, ...]:
    """What `retry_on` may call a status: `503` is `503` and `5xx`."""
    return (str(status), f"{status // 100}xx")
