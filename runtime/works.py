"""What the actions of documents do in the world: connectors, the log, kept data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.actions import Action
from greenroom.definitions.connectors import Action as Service
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import NoEngine
from greenroom.definitions.grants import CONNECTOR, SECRET, secrets_in
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
                _check_grants(service, parameters, ctx)
                return await service.perform(parameters, ctx.idempotency_key)

            return Target(action.title, perform, None, True, retry=service.retry)
        if action.kind == "Data":
            return Target(
                action.title, _data, None, True, mode="transactional", retry=keptdata.RETRY
            )
        return Target(action.title, _log, None, True)


def _check_grants(service: Service, parameters: dict[str, Json], ctx: StepContext) -> None:
    """The connector, and secrets the parameters name now that they are values. Raises
    `NotGranted`."""
    uses = [CONNECTOR + service.connector.id]
    uses += [SECRET + name for name in sorted(secrets_in(parameters))]
    _engine(f"the action {service.full_name}").grants.check(ctx.workflow, ctx.version, uses)


def _engine(what: str) -> Engine:
    found = ENGINE.get()
    if found is None:
        raise NoEngine(f"{what} needs an open engine")
    return cast("Engine", found)


async def _log(parameters: dict[str, Json], ctx: StepContext) -> Json:
    text = parameters.get("text")
    if not isinstance(text, str):
        raise ParameterInvalid(f"text must be text, got {type(text).__name__}")
    level = parameters.get("level", "info")
    more: dict[str, Any] = {"data": parameters["data"]} if "data" in parameters else {}
    getattr(ctx.log, level)(text, **more)
    return text


async def _data(parameters: dict[str, Json], ctx: StepContext) -> Json:
    return await _engine("the Data action").data.act(parameters, ctx)
