"""A process that answers a form of three pages, as far as it is told, and then waits to be killed.

`python pages.py STORE GIVEN`: GIVEN pages are sent; 3 is the whole answer.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from greenroom import (
    Engine,
    FormGenerator,
    FormNotComplete,
    FormPage,
    begin,
    done,
    inputstep,
    workflow,
)

PAGES: list[dict[str, Any]] = [{"first": "a"}, {"second": 2}, {"third": True}]


class First(FormPage):
    first: str


class Second(FormPage):
    second: int


class Third(FormPage):
    third: bool


@inputstep("Three pages")
def three() -> FormGenerator:
    found: dict[str, Any] = {}
    for page in (First, Second, Third):
        answer = yield page
        found.update(answer.model_dump())
    return found


@workflow(key="::data.key")
def paged() -> Any:
    return begin >> three >> done


async def main(store: str, given: int) -> None:
    async with Engine.open(store, workflows=[paged]) as engine:
        if not (await engine.list()).items:
            await engine.start("paged", {"key": "k"})
        try:
            reply = await engine.answer("paged/k", PAGES[:given])
        except FormNotComplete as wanted:
            print("page", wanted.details["page"], flush=True)  # noqa: T201  read by the test
        else:
            print("answered", reply.ask, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
