"""A nightly job as a plain script: blocking calls, no daemon, and it can be stopped anywhere.

    python examples/script/nightly.py [FILE]

Each night is one instance, named by its date. Run again after a crash, the script goes on behind
the last file that was done; run again after it is through, it does nothing.
"""

from __future__ import annotations

import datetime
import sys
from typing import Any

from greenroom import Engine, retrystep, step, workflow


@step("List the files")
def files() -> list[str]:
    return ["a.csv", "b.csv", "c.csv"]


@retrystep("Import a file", delay="1s", max_attempts=3)
def load(name: str) -> int:
    print("importing", name)
    return len(name)


@workflow
async def nightly(date: str) -> dict[str, Any]:
    rows = 0
    for name in await files():  # type: ignore[misc]  # in a program every step is awaited
        rows += await load(name)  # type: ignore[misc]
    return {"date": date, "rows": rows}


def main(file: str, date: str) -> None:
    with Engine.sync(file, workflows=[nightly]) as engine:
        instance = engine.start("nightly", {"date": date}, key=date, request_id=f"nightly-{date}")
        print(engine.result(instance.id))


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "nightly.db",
        sys.argv[2] if len(sys.argv) > 2 else datetime.date.today().isoformat(),
    )
