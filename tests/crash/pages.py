"""A process that answers a form of three pages, as far as it is told, and then waits to be killed.

`python pages.py STORE GIVEN`: GIVEN pages are sent; 3 is the whole answer.
`python pages.py STORE draft GIVEN`: one page more than the draft has is kept as a draft.
`python pages.py STORE callback`: somebody is called, and says how far they are.
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
    callback_step,
    done,
    inputstep,
    step,
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


@step("Call")
def call(callback_token: str, outside: str) -> None:
    """Hands the token to somebody outside: a file beside the store."""
    with open(outside, "a") as file:
        file.write(callback_token + "\n")


@workflow(key="::data.key")
def called() -> Any:
    return begin >> callback_step("Outside", call) >> done


async def draft(store: str, given: int) -> None:
    async with Engine.open(store, workflows=[paged]) as engine:
        if not (await engine.list()).items:
            await engine.start("paged", {"key": "k"})
        kept = (await engine.asks.get("paged/k", by="ann")).draft or []
        await engine.asks.draft("paged/k", [*kept, PAGES[given]], by="ann")
        print("kept", len(kept) + 1, flush=True)  # noqa: T201
        await asyncio.Event().wait()


async def callback(store: str) -> None:
    outside = store + ".outside"
    async with Engine.open(store, workflows=[called]) as engine:
        if not (await engine.list()).items:
            await engine.start("called", {"key": "k", "outside": outside})
        while not (tokens := _lines(outside)):
            await asyncio.sleep(0.01)
        await engine.progress(tokens[-1], {"times": len(tokens)})
        print("called", tokens[-1], flush=True)  # noqa: T201
        await asyncio.Event().wait()


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().split()
    except FileNotFoundError:
        return []


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
    match sys.argv[2:]:
        case ["draft", number]:
            asyncio.run(draft(sys.argv[1], int(number)))
        case ["callback"]:
            asyncio.run(callback(sys.argv[1]))
        case [number]:
            asyncio.run(main(sys.argv[1], int(number)))
