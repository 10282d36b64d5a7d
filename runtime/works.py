"""What the actions of documents do in the world: connectors, the log, kept data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.actions import Action
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import NoEngine
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Target
from greenroom.runtime import keptdata

if TYPE_CHECKING:
    from greenroom.runtime.context import StepContext
    from greenroom.runtime.engine import Engine

LEVELS: Final = ("debug", "info", "warning", "error")


class EngineWorks:
    """The work of actions as an engine does it; a trial has works of its own."""

    def work(self, action: Action) -> Target:
        if action.service is not None:
            service = action.service

            async def perform(parameters: dict[str, Json], ctx: StepContext) -> Json:
                return await service.perform(parameters, ctx.idempotency_key)

            return Target(action.title, perform, None, True, retry=service.retry)
        if action.kind == "Data":
            return Target(
                action.title, _data, None, True, mode="transactional", retry=keptdata.RETRY
            )
        return Target(action.title, _log, None, True)


async def _log(parameters: dict[str, Json], ctx: StepContext) -> Json:
    text = parameters.get("text")
    if not isinstance(text, str):
        raise ParameterInvalid(f"text must be text, got {type(text).__name__}")
    level = parameters.get("level", "info")
    more: dict[str, Any] = {"data": parameters["data"]} if "data" in parameters else {}
    getattr(ctx.log, level)(text, **more)
    return text


async def _data(parameters: dict[str, Json], ctx: StepContext) -> Json:
    engine = ENGINE.get()
    if engine is None:
        raise NoEngine("the Data action needs an open engine")
    return await cast("Engine", engine).data.act(parameters, ctx)
