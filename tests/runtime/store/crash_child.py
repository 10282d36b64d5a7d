"""Run by test_crashes.py as a process of its own: stores works and prints what was acknowledged."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
import zlib
from pathlib import Path

from greenroom.actors import ports
from greenroom.definitions.errors import EngineDied
from greenroom.definitions.events import Event
from greenroom.runtime.journal import Journal
from greenroom.runtime.sqlite import SqliteStore

AT = 1_700_000_000_000
INSTANCES = 8


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def row(text: str) -> ports.Row:
    payload = f'{{"text":"{text * 20}"}}'.encode()
    return ports.Row("OpCompleted", AT, payload, zlib.crc32(payload))


def create(n: int) -> ports.Create:
    fields = ports.InstanceRow(n, f"id-{n}", "", "order", 1, "steps", None, "running", AT, AT)
    return ports.Create(row=fields, first=ports.Append(n=n, iseq=1, rows=[row("started")]))


async def main(folder: Path, groups: int) -> int:
    store = SqliteStore(folder / "a.db")
    journal = Journal(store)
    opened = await journal.open()
    heads = {}
    for n in range(1, INSTANCES + 1):
        if (await journal.call(create(n))).created:
            say(f"row {n} 1")
    for loaded in await journal.call(ports.Load(list(range(1, INSTANCES + 1)))):
        heads[loaded.row.n] = loaded.head
    await asyncio.gather(*(work(journal, n, heads[n], groups, opened.epoch) for n in heads))
    await journal.close()
    return 0


async def work(journal: Journal, n: int, head: int, groups: int, epoch: int) -> None:
    for k in range(groups):
        head += 1
        await journal.call(ports.Append(n=n, iseq=head, rows=[row(f"turn {head} ")]))
        say(f"row {n} {head}")
        id = f"e-{epoch}-{n}-{k}"
        event = Event(type="paid", id=id, source="/shop", data={"n": n})
        await journal.call(ports.Post(row=ports.EventRow("", event, AT, None, 1)))
        say(f"event {id}")
        if n == 1 and k % 3 == 0:
            await journal.call(ports.SaveSnapshot(n, head, b"snap", zlib.crc32(b"snap")))
            await journal.call(ports.Prune(0))
            await journal._checkpoint()


if __name__ == "__main__":
    if os.environ.get("GREENROOM_MUTANT"):
        importlib.import_module("tests.mutants.plant")
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=int, default=50)
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(main(given.folder, given.groups)))
    except EngineDied as error:
        say(f"died {error}")
        os._exit(74)
