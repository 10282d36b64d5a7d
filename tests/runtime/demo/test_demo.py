"""The demo: it runs, leaves nothing behind, and its count finds what it looks for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from greenroom.runtime.demo import count, director, processes
from greenroom.runtime.demo.bank import Bank
from greenroom.runtime.places import SOCKET_PATH_BYTES_MAX

ROOT = Path(__file__).parents[3]
SHOWN = ("orders.py", "bank.py", "count.py", "events.ndjson")

Line = dict[str, Any]


@pytest.mark.slow
@pytest.mark.crash
def test_the_demo_tells_the_truth_twice_in_a_row_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "greenroom.runtime.main", "demo", "-o", "json"]
    for _ in range(2):
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        report = json.loads(ran.stdout)
        assert report["true"]
        assert (report["lost"], report["doubled"], report["problems"]) == ([], [], [])
        assert report["instances"] == {"completed": 180}
        assert report["running_at_kill"] > 0
        assert sum(report["waiting_at_kill"].values()) > 0
        assert report["retries"] > 0
        assert report["recovered"] > 0
        assert report["run_again"] > 0
        assert report["refused"] > 0
        assert report["seconds"] < 30
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", SHOWN)
def test_the_examples_show_the_files_that_run(name: str) -> None:
    shown = ROOT / "examples/orders" / name
    assert shown.read_bytes() == (processes.HERE / name).read_bytes()


def test_the_witnesses_do_not_know_greenroom() -> None:
    for name in ("bank.py", "count.py"):
        text = (processes.HERE / name).read_text(encoding="utf-8")
        assert "import greenroom" not in text
        assert "from greenroom" not in text


# -- the count ----------------------------------------------------------------------------------

EVENTS: list[Line] = [
    {"type": "order.created", "data": {"order_id": "1", "total": 1000}},
    {"type": "order.created", "data": {"order_id": "2", "total": 0}},
    {"type": "parcel.sent", "data": {"order_id": "1"}},
]


def booked(what: str, cents: int, key: str = "k") -> Line:
    return {
        "order_id": "1",
        "what": what,
        "cents": cents,
        "key": f"{key}/{what}",
        "result": "booked",
    }


PAID = [booked("deposit", 100), booked("rest", 900), booked("carrier", 490)]


def test_what_is_paid_exactly_is_neither_lost_nor_doubled() -> None:
    refused = {**PAID[0], "result": "refused"}
    found = count.count(EVENTS, [*PAID, refused])
    assert (found["owed"], found["booked"], found["refused"]) == (3, 3, 1)
    assert (found["lost"], found["doubled"], found["wrong"]) == ([], [], [])


def test_a_missing_payment_is_lost() -> None:
    assert count.count(EVENTS, PAID[:2])["lost"] == ["1/carrier"]


def test_a_second_payment_under_another_key_is_doubled() -> None:
    assert count.count(EVENTS, [*PAID, booked("rest", 900, "other")])["doubled"] == ["1/rest"]


@pytest.mark.parametrize(
    "payment",
    [booked("rest", 901), {**booked("rest", 900), "order_id": "2"}],
    ids=["a wrong sum", "an order that costs nothing"],
)
def test_what_nobody_owed_is_wrong(payment: Line) -> None:
    assert count.count(EVENTS, [*PAID, payment])["wrong"] == [payment["order_id"]]


def test_the_script_fails_when_something_is_lost(tmp_path: Path) -> None:
    (tmp_path / "bank.ndjson").write_text("".join(json.dumps(line) + "\n" for line in PAID[:1]))
    events = tmp_path / "events.ndjson"
    events.write_text("".join(json.dumps(line) + "\n" for line in EVENTS))
    ran = processes.count(events, tmp_path)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["lost"] == ["1/carrier", "1/rest"]


# -- the bank -----------------------------------------------------------------------------------


def payments() -> Callable[[str], Line]:
    return lambda key: {"key": key, "order_id": "1", "what": "rest", "cents": 5}


def test_the_bank_books_a_key_once_and_gives_the_first_receipt_again() -> None:
    bank = Bank(StringIO())
    answers = [bank.request(payments()("k"))[0] for _ in range(3)]
    receipts = [answer["receipt"] for answer in answers if "receipt" in answer]
    assert len(set(receipts)) == 1
    lines = [json.loads(line) for line in bank.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    results = [line["result"] for line in lines]
    assert results.count("booked") == 1
    assert bank.refused == results.count("refused") > 0


def test_the_bank_is_moody_in_every_way_the_events_can_meet() -> None:
    bank = Bank(StringIO())
    given = set()
    for event in count.lines(str(director.EVENTS)):
        for what in ("deposit", "rest", "carrier"):
            payment = {"key": f"{event['id']}/{what}", "order_id": event["data"].get("order_id")}
            answer, told = bank.request({**payment, "what": what, "cents": 1})
            given.add(("receipt" in answer, told))
    assert given == {(True, True), (False, True), (True, False)}


# -- the director -------------------------------------------------------------------------------


def test_the_folder_has_a_short_path_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with director.scratch() as folder:
        assert len(os.fsencode(processes.socket_of(folder))) <= SOCKET_PATH_BYTES_MAX
        assert folder.is_dir()
    assert not folder.exists()
    assert list(long.iterdir()) == []


def test_a_child_that_does_not_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(processes.DemoFailed, match="the bank did not start\n  no such luck"):
        processes.Child("bank", command, tmp_path / "log", {})


def test_the_events_are_what_the_table_says() -> None:
    events = count.lines(str(director.EVENTS))
    assert len(events) == 420
    assert len({event["id"] for event in events}) == 410


@pytest.mark.slow
async def test_an_interrupted_demo_takes_its_processes_along(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "greenroom.runtime.main", "demo", "-o", "table",
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert demo.stdout is not None
    pids: list[int] = []
    while len(pids) < 2:
        words = (await demo.stdout.readline()).decode().split()
        if words[:1] in (["bank"], ["daemon"]):
            pids.append(int(words[2].rstrip(",")))
    demo.terminate()
    await demo.communicate()
    assert demo.returncode == 130
    assert list(tmp_path.iterdir()) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
