"""What a program written for the Zenaton SDK imports, under the names it knows.

    from zenaton.abstracts.workflow import Workflow     ->  from greenroom.zenaton import Workflow
    from zenaton.query.builder import Builder           ->  from greenroom.zenaton import Builder

Everything else of that program stays as it is. Most names are those of `greenroom` itself; here is
what only the SDK has.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.definitions.engines import Environment, current_engine
from greenroom.definitions.errors import GreenroomError, InvalidInput, NotFound, Unavailable
from greenroom.definitions.ops import workflow_name
from greenroom.definitions.programs import Workflow

Client = Environment
"""`Client(app_id, api_token, app_env)`: the environment is a namespace."""

ExternalError: Final = GreenroomError
"""The code that calls is at fault."""
InternalError: Final = Unavailable
InvalidArgumentError: Final = InvalidInput
UnknownWorkflowError: Final = NotFound


class Builder:
    """`Builder(WelcomeFlow).where_id(x).pause()`: what `WelcomeFlow.where_id(x)` is short for."""

    def __init__(self, class_: type) -> None:
        if not isinstance(class_, type) or not issubclass(class_, Workflow):
            raise InvalidInput(f"a Builder needs a class of Workflow, got {class_!r}")
        self._class = class_

    def where_id(self, id: str | int) -> Any:
        name = workflow_name(self._class)
        return current_engine(f"Builder({name}).where_id()").where_id(name, str(id))
