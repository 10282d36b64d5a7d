"""How the classes of an author find the engine: `WelcomeFlow("bob").dispatch()`.

An open engine is in a context variable. So is the environment a `Client(...)` of Zenaton names: it
is the namespace that `dispatch` and `where_id` mean from then on.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, Protocol

from greenroom.definitions.errors import InvalidInput, InvalidRequest, NoEngine
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.ops import CURRENT


class EngineFace(Protocol):
    """What the facades of classes need of an open engine."""

    def dispatch(self, job: Any) -> Any: ...

    def schedule(self, job: Any, rule: str) -> Any: ...

    def where_id(self, workflow: str, key: str) -> Any: ...

    def recorder(self, context: Any) -> Any: ...


ENGINE: Final[ContextVar[EngineFace | None]] = ContextVar("greenroom_engine", default=None)
ENVIRONMENT: Final[ContextVar[str | None]] = ContextVar("greenroom_environment", default=None)


def current_engine(what: str) -> EngineFace:
    if CURRENT.get() is not None:
        raise InvalidRequest(
            f"{what} acts on other instances, which a workflow may not do itself: it would do it "
            "again at each replay",
            hint="do it in a task",
        )
    engine = ENGINE.get()
    if engine is None:
        raise NoEngine(
            f"{what} needs an open engine and there is none in this context",
            hint="call it inside `async with Engine.open(...):` (or `with Engine.sync(...):`)",
        )
    return engine


def properties(subject: object) -> dict[str, Any]:
    """The public attributes of an object: the state of a workflow, the input of a task."""
    return {name: value for name, value in vars(subject).items() if not name.startswith("_")}


class Environment:
    """What `Client(app_id, api_token, app_env)` of Zenaton becomes: its environment is a namespace.

    The credentials are kept for who asks; nothing here needs them.
    """

    def __init__(self, app_id: str, api_token: str, app_env: str) -> None:
        if not isinstance(app_env, str) or not 0 < len(app_env) <= NAME_MAX:
            raise InvalidInput(f"app_env must be the name of an environment, got {app_env!r}")
        self.app_id = app_id
        self.api_token = api_token
        self.app_env = app_env
        ENVIRONMENT.set(app_env)

    def __repr__(self) -> str:
        return f"<environment {self.app_env}>"
