"""Telling an assignee that a form waits for them, by e-mail, with a link to it.

It is an op of the run that nobody waits for: tried again for a while when the mail server fails,
never told twice to the same person, and never a reason for the run to fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from greenroom.definitions import destinations
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import NoEngine
from greenroom.definitions.services import LOG, RECORDER, provider_of
from greenroom.definitions.values import Json
from greenroom.runtime.identity import TEAM
from greenroom.runtime.loggers import LazyLogger

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

SERVICE: Final = "email"
_log: Any = LazyLogger("greenroom.stages")


class NotToldYet(Exception):
    """Somebody could not be told; it is tried again."""


def tell_assignee(context: Any, given: dict[str, Json]) -> Json:
    """Tells everybody behind an assignee; gives who was told. `given` is `assignee ask stage title
    reminder`. Raises `NotToldYet`."""
    face = ENGINE.get()
    if face is None or context is None:
        raise NoEngine("an assignee is told by an open engine")
    engine = cast("Engine", face)
    if not _is_theirs(engine, context.instance, given):
        return {"told": []}
    recorder = engine.recorder(context)
    told = [str(call.args["to"]) for call in context.recorded]
    failed: list[str] = []
    token = RECORDER.set(recorder)
    try:
        for person in people_of(engine, str(given["assignee"])):
            if person in told:
                continue
            try:
                _tell(engine, person, given, context.test)
            except Exception as error:
                failed.append(f"{person}: {type(error).__name__}: {error}")
                continue
            recorder.add("told", {"to": person})
            told.append(person)
    finally:
        RECORDER.reset(token)
    if failed:
        raise NotToldYet(f"not told: {'; '.join(failed)}")
    return {"told": told}


def _is_theirs(engine: Engine, instance: str, given: dict[str, Json]) -> bool:
    """Whether the question still waits for this assignee. While the mail server failed it may have
    been answered, or have gone on to others."""
    loaded = engine.directory.active.get(engine.directory.ids.get(instance, -1))
    if loaded is None:
        return True
    ask = loaded.kernel.progress.ops.get(str(given["ask"]).removeprefix(f"{instance}."))
    asked: Any = None if ask is None else ask.request.args
    return isinstance(asked, dict) and asked.get("assignee") == given["assignee"]


def people_of(engine: Engine, assignee: str) -> tuple[str, ...]:
    """The members of a team, or the person. An unknown team is nobody, and said in the log."""
    name = assignee.removeprefix("user:")
    if not name.startswith(TEAM):
        return (name,)
    members = engine.teams.get(name.removeprefix(TEAM))
    if not members:
        _log.warning("nobody is told: there is no such team", assignee=assignee)
        return (name,)
    return tuple(dict.fromkeys(members))


def _tell(engine: Engine, person: str, given: dict[str, Json], test: bool) -> None:
    provider = provider_of(SERVICE)
    if test or "@" not in person or provider is None:
        if not test and "@" not in person:
            _log.warning("no e-mail address: the message goes to the log", assignee=person)
        provider = engine.providers[LOG]
    send = provider["send_message"] if isinstance(provider, dict) else provider.send_message
    send(to=destinations.user(SERVICE, person), message=message(engine, person, given))


def message(engine: Engine, person: str, given: dict[str, Json]) -> str:
    """The first line is the subject."""
    number = given.get("reminder")
    again = f"Reminder {number}: " if number else ""
    return "\n".join([
        f"{again}{given['title']}",
        "",
        f"{given['title']} waits for you.",
        "",
        link(engine, str(given["ask"]), person),
    ])  # fmt: skip


def link(engine: Engine, ask: str, person: str | None = None) -> str:
    """Where a person fills the form in: a page of whoever shows pages, else what to type."""
    if engine.ask_link is not None:
        return engine.ask_link(ask, person)
    if engine.public_url is not None:
        return f"{engine.public_url.rstrip('/')}/asks/{ask}"
    return f"greenroom ask answer {ask}"
