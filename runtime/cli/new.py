"""`greenroom new`: a project that runs as it is."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
import msgspec

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.cli import newstages
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session

APP: Final = '''\
"""Two workflows: a list of steps, and a program that waits for an event."""

from greenroom import State, begin, done, retrystep, sleep, step, wait, workflow


@step("Reserve stock")
async def reserve(order_id: str, sku: str, n: int = 1) -> State:
    """Arguments come from the state by name; what is returned is merged into it."""
    return {"reservation": f"{n} x {sku} for {order_id}"}


@retrystep("Charge card", delay="2s", backoff=2, max_delay="5m")
async def charge(order_id: str) -> State:
    """A failure is tried again after 2, 4, 8 ... seconds, across restarts."""
    return {"receipt": f"paid-{order_id}"}


@workflow(on="order.created", key="::data.order_id")
def order():
    return begin >> reserve >> charge >> done


@step("Write mail")
async def mail(name: str, text: str) -> State:
    return {"mail": f"To {name}: {text}"}


@workflow(on="user.created", key="::data.name")
async def welcome(name: str):
    """Plain Python: after a crash it goes on behind the last step that was done."""
    await mail(name=name, text="welcome")
    activated = await wait("user.activated", where={"data.name": name}, timeout="3 days")
    if activated is None:
        await mail(name=name, text="we miss you")
        return {"name": name, "active": False}
    await sleep("10s")
    await mail(name=name, text="well done")
    return {"name": name, "active": True}
'''

TEST: Final = '''\
"""The `engine` fixture keeps its store in memory and its clock in its hand: days pass at once."""

import pytest

from app import order, welcome


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_an_order_is_reserved_and_charged(engine):
    engine.register(order)
    instance = await engine.start("order", {"order_id": "7", "sku": "A1", "n": 2})
    await engine.until_idle()
    found = await engine.get(instance.id)
    assert found.status == "completed"
    assert found.state["reservation"] == "2 x A1 for 7"
    assert found.state["receipt"] == "paid-7"


@pytest.mark.anyio
async def test_who_does_not_activate_for_three_days_is_missed(engine):
    engine.register(welcome)
    instance = await engine.start("welcome", {"name": "bob"})
    await engine.until_idle()
    await engine.advance("3 days")
    assert (await engine.get(instance.id)).result == {"name": "bob", "active": False}
'''

GREET: Final = """\
{
  "$schema": "../.vscode/workflow.schema.json",
  "schema_version": 1,
  "name": "greet",
  "source": {
    "type": "Core:CustomEvent",
    "parameters": {"event_type": "user.created"},
    "condition": {
      "criteria": [
        {
          "attributes": [
            {"type": "String", "attribute": "::plan", "operator": "eq", "value": "pro"}
          ]
        }
      ]
    }
  },
  "actions": [
    {
      "type": "Core:Log",
      "order": 1,
      "parameters": {"text": "Hello, {name}!"},
      "variables": {"name": "::name"},
      "transform": {"greeted": true}
    }
  ]
}
"""

GREET_TEST: Final = """\
{
  "cases": [
    {
      "name": "who pays is greeted",
      "input": {"name": "bob", "plan": "pro"},
      "expect": {
        "status": "completed",
        "sent": {"1": {"text": "Hello, bob!"}},
        "includes": {"greeted": true}
      }
    },
    {
      "name": "nobody else is",
      "input": {"name": "eve", "plan": "free"},
      "expect": {"status": "refused"}
    }
  ]
}
"""

VSCODE: Final = """\
{
  "json.schemas": [
    {"fileMatch": ["/definitions/**/*.json", "!/definitions/**/*.test.json"], "url": "./.vscode/workflow.schema.json"}
  ],
  "yaml.schemas": {"./.vscode/workflow.schema.json": ["definitions/**/*.yaml", "definitions/**/*.yml"]}
}
"""

README: Final = """\
# {name}

```console
$ greenroom dev                                    # runs app.py, keeps its state in .greenroom/
$ greenroom post order.created order_id=7 sku=A1 n:=2
$ greenroom show order/7
$ greenroom post user.created name=bob
$ greenroom watch welcome/bob                      # in a second terminal:
$ greenroom post user.activated name=bob
$ pytest
$ greenroom post user.created name=ann plan=pro    # starts definitions/greet.json too
$ greenroom def try definitions/greet.json -i '{"name": "ann", "plan": "pro"}' --explain
$ greenroom def test definitions
```

`definitions/` holds workflows written as JSON; VS Code completes and checks them as you type. After a
connector is added, `greenroom schema definitions > .vscode/workflow.schema.json` teaches it its parameters.

Stop `greenroom dev`, even with `kill -9`, while `welcome/bob` waits or sleeps; start it again, and
it goes on.
"""

PROJECT: Final = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["greenroom"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

FILES: Final[dict[str, str | None]] = {
    "app.py": APP,
    "tests/test_app.py": TEST,
    "definitions/greet.json": GREET,
    "definitions/greet.test.json": GREET_TEST,
    ".vscode/settings.json": VSCODE,
    ".vscode/workflow.schema.json": None,
    "README.md": README,
    "pyproject.toml": PROJECT,
    ".gitignore": ".greenroom/\n__pycache__/\n",
}


@command(
    "new",
    example="greenroom new hello && cd hello && greenroom dev\ngreenroom new --template stages leave",
)
@click.argument("name")
@click.option(
    "--template", type=click.Choice(["workflows", "stages"]), default="workflows",
    help="workflows (steps, a program, a document), or stages (forms and scripts, drawn as a graph).",
)  # fmt: skip
def new(session: Session, name: str, template: str) -> None:
    """Write a small project that runs as it is, with its tests."""
    folder = Path(name)
    files = newstages.FILES if template == "stages" else FILES
    named = newstages.NAMED if template == "stages" else _NAMED

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(
            f"{name} is there already", hint="choose another name, or an empty folder", path=name
        )
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            text = _schema()
        elif path in named:
            text = text.replace("{name}", folder.resolve().name)
        target.write_text(text, encoding="utf-8")
    written = {"path": str(folder), "files": list(files)}
    session.show(written, lambda: _said(name, files), prose=True)


def _schema() -> str:
    from greenroom.runtime.checking import editor_schema  # noqa: PLC0415  start-up time

    return msgspec.json.format(msgspec.json.encode(editor_schema()), indent=2).decode() + "\n"


_NAMED: Final = ("README.md", "pyproject.toml")


def _said(name: str, files: Iterable[str]) -> str:
    go = f"next:  cd {shlex.quote(name)} && greenroom dev"
    return "\n".join([f"{name}/", *(f"  {path}" for path in files), "", go])


COMMANDS: Final = {"new": new}
