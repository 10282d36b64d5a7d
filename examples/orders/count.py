"""Counts from outside: what the orders should have cost against what the bank's file says.

    python count.py EVENTS BANKFILE

Standard library only: this script knows nothing of greenroom, so that it cannot believe what
greenroom believes. It prints one JSON line; the exit code is 0 if nothing is lost or doubled.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any


def lines(path: str) -> list[dict[str, Any]]:
    text = Path(path).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def count(events: list[dict[str, Any]], bank: list[dict[str, Any]]) -> dict[str, Any]:
    """An order with a total costs a deposit, the rest, and the carrier, each exactly once and each
    the right sum."""
    owed: dict[tuple[str, str], int] = {}
    for event in events:
        if event["type"] == "order.created" and event["data"]["total"] > 0:
            order, total = event["data"]["order_id"], event["data"]["total"]
            owed[order, "deposit"] = total // 10
            owed[order, "rest"] = total - total // 10
            owed[order, "carrier"] = 490
    booked = [line for line in bank if line["result"] == "booked"]
    times = Counter((line["order_id"], line["what"]) for line in booked)
    wrong = [line for line in booked if owed.get((line["order_id"], line["what"])) != line["cents"]]
    return {
        "owed": len(owed),
        "booked": len(booked),
        "cents_owed": sum(owed.values()),
        "cents_booked": sum(line["cents"] for line in booked),
        "refused": sum(line["result"] == "refused" for line in bank),
        "lost": sorted("/".join(key) for key in owed if not times[key]),
        "doubled": sorted("/".join(key) for key, number in times.items() if number > 1),
        "wrong": sorted(line["order_id"] for line in wrong),
    }


if __name__ == "__main__":
    found = count(lines(sys.argv[1]), lines(sys.argv[2]))
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or found["doubled"] or found["wrong"] else 0)
