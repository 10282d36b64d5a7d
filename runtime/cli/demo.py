"""`greenroom demo`: one order from begin to end, in this process, nothing kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from greenroom.runtime.cli import sentences, words
from greenroom.runtime.cli.backend import call_engine, plain
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session


@command("demo", example="greenroom demo")
def demo(session: Session) -> None:
    """Watch a workflow fail, retry, sleep, wait and end, in 3 seconds."""
    from greenroom.runtime.cli.demo_app import demo as order  # noqa: PLC0415  start-up time
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  start-up time

    with (
        tempfile.TemporaryDirectory(prefix="greenroom-demo-") as folder,
        Engine.sync(Path(folder) / "data", workflows=[order]) as engine,
    ):
        placed = _post(session, engine, "demo.ordered", {"order_id": "7", "n": 2})
        _post(session, engine, "demo.shipped", {"order_id": "7"})
        instance = placed["matched"][0]["instance"]
        session.stream(map(plain, engine.watch(instance)), sentences.entry)
        outcome = call_engine(engine, "result", {"instance": instance})
    if session.format == "table":
        session.show(outcome, lambda: _said(outcome))


def _post(session: Session, engine: Any, type: str, data: Any) -> Any:
    reply = call_engine(engine, "post", {"event": {"type": type, "data": data}})
    if session.format == "table":
        session.show(reply, lambda: words.posted(reply))
    return reply


def _said(outcome: Any) -> str:
    result = words.compact(outcome["result"])
    return f"demo/7 {sentences.ended(outcome)}\n  {result}\n\nyour own:  greenroom new hello"


COMMANDS: Final = {"demo": demo}
