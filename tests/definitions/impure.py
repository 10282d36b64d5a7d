# ruff: noqa: ASYNC210, ASYNC230, ASYNC250, ASYNC251, C416, PLC0208, PLC0415, RUF100, T201, TRY203
"""Programs that do what they must not, for the tests of the determinism guard."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random as chance
import time
import uuid
from datetime import datetime
from pathlib import Path
from random import randint
from time import time as clock
from typing import Any

import greenroom


def helper() -> float:
    return deeper() + time.time()


def deeper() -> float:
    return time.monotonic()


async def by_module(n: int) -> Any:
    return time.time()


async def by_name(n: int) -> Any:
    return clock()


async def sleeps(n: int) -> Any:
    time.sleep(1)


async def by_alias(n: int) -> Any:
    return dt.datetime.now(dt.UTC)


async def by_class(n: int) -> Any:
    return datetime.utcnow()  # noqa: DTZ003


async def today(n: int) -> Any:
    return dt.date.today()  # noqa: DTZ011


async def random_module(n: int) -> Any:
    return chance.random()


async def random_name(n: int) -> Any:
    return randint(1, 6)


async def uuid4(n: int) -> Any:
    return str(uuid.uuid4())


async def opens(n: int) -> Any:
    with open("/etc/passwd") as file:
        return file.read()


async def asks(n: int) -> Any:
    return input("name? ")


async def reads(n: int) -> Any:
    return Path("/etc/passwd").read_text()


async def environment(n: int) -> Any:
    return os.environ["HOME"]


async def imports_inside(n: int) -> Any:
    import requests  # type: ignore[import-untyped,import-not-found,unused-ignore]

    return requests.get("https://example.org").text


async def asyncio_sleep(n: int) -> Any:
    await asyncio.sleep(1)


async def asyncio_gather(n: int) -> Any:
    return await asyncio.gather(greenroom.sleep(1))


async def set_order(n: int) -> Any:
    return [x for x in {"a", "b"}]


async def through_helper(n: int) -> Any:
    return helper()


async def in_a_branch(n: int) -> Any:
    async def branch() -> float:
        return time.time()

    return await greenroom.gather(branch())


class ByMethod(greenroom.Workflow):
    async def handle(self) -> Any:
        return self.stamp()

    def stamp(self) -> float:
        return time.time()


class InHandler(greenroom.Workflow):
    async def handle(self) -> None:
        await greenroom.wait("end")

    async def on_event(self, event: Any) -> None:
        self.at = time.time()


class PlainHandle(greenroom.Workflow):
    def handle(self) -> Any:
        return time.time()


# -- these are fine ------------------------------------------------------------------------------


class Stamp(greenroom.Task):
    def handle(self) -> float:
        return time.time()


async def uses_ops(n: int) -> Any:
    print("here", n)
    await greenroom.sleep(1)
    return [await greenroom.now(), await greenroom.random(), await greenroom.uuid()]


async def calls_a_task(n: int) -> Any:
    return await Stamp().execute()


async def shadows(time: Any) -> Any:
    return time.time()


async def pure_parts(n: int) -> Any:
    seeded = chance.Random(7).random()
    path = Path("a") / "b"
    parsed = dt.datetime.fromisoformat("2026-01-01")
    known = uuid.UUID(int=1)
    try:
        return [seeded, path.name, parsed.year, known.hex, os.path.join("a", "b")]
    except asyncio.CancelledError:
        raise


async def sorted_set(n: int) -> Any:
    return [x for x in sorted({"a", "b"})]
