"""A daemon in memory, and a way to type commands at it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidEvent,
    InvalidTransition,
    NotFound,
    Timeout,
)
from greenroom.runtime import calls
from greenroom.runtime.cli.run import run
from greenroom.runtime.cli.session import Session

Data = dict[str, Any]

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def id_of(number: int) -> str:
    return f"0193c0de-0000-7000-8000-{number:012}"


def instance(number: int, status: str = "waiting", **given: Any) -> Data:
    return {
        "id": id_of(number), "workflow": "order", "version": 2, "kind": "steps",
        "key": str(number), "namespace": "", "status": status, "outcome": None, "waits": [],
        "state": {"order_id": str(number), "n": 2}, "result": None, "error": None,
        "attributes": {}, "created": "2026-11-20T11:57:00Z", "updated": "2026-11-20T11:59:30Z",
        "parent": None, "forked_from": None, **given,
    }  # fmt: skip


def entry(seq: int, kind: str, **given: Any) -> Data:
    return {
        "seq": seq, "pos": 100 + seq, "at": f"2026-11-20T11:57:0{seq}.250Z", "kind": kind,
        "op": None, "attempt": None, "by": None, "data": None, **given,
    }  # fmt: skip


REFUSED = {"code": "step_failed", "message": "no route to bank", "details": {"type": "OSError"}}

WAIT = {
    "kind": "event", "op": "wait_paid", "since": "2026-11-20T11:59:30Z",
    "due": "2026-11-22T12:00:00Z", "name": None, "type": "order.paid",
    "where": {"data.order_id": "7"}, "ask": None, "child": None, "attempt": None, "error": None,
}  # fmt: skip


class FakeDaemon:
    """Answers with what the socket would answer. Parameters are checked by the real table of
    methods, so a command that sends a wrong one fails here as well."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Data]] = []
        self.posted: list[Data] = []
        self.page_size = 200
        self.instances = [
            instance(7, waits=[WAIT], attributes={"customer": "alice"}),
            instance(8, "failed", error=REFUSED),
            instance(9, "failed", error=REFUSED),
            instance(
                10, "completed", key=None, workflow="welcome", outcome="ok", result={"mails": 2}
            ),
        ]
        self.entries = [
            entry(1, "InstanceStarted", by="uid:1000/anna", data={"input": {"n": 2}}),
            entry(2, "StepStarted", op="reserve", attempt=1),
            entry(3, "StepFailed", op="reserve", attempt=1, data={"error": REFUSED}),
            entry(4, "StepCompleted", op="reserve", attempt=2, data={"output": {"r": "r-77"}}),
        ]

    # -- what a backend does ----------------------------------------------------------------

    def call(self, method: str, **params: Any) -> Any:
        table = calls.CALLS | calls.STREAMS
        if method != "ping":
            calls.read(method, table[method].params, params)
        self.log.append((method, params))
        return getattr(self, f"do_{method.replace('.', '_')}")(**params)

    def post(self, event: Data) -> Data:
        if not event.get("type"):
            raise InvalidEvent("type must be a non-empty string", path="$.type")
        self.posted.append(event)
        matched = []
        if event["type"] == "order.created":
            key = event["data"].get("order_id")
            matched = [{"workflow": "order", "instance": id_of(7), "key": key, "action": "started"}]
        return {
            "id": event.get("id") or "e-1", "accepted": True, "duplicate": False,
            "matched_total": len(matched), "matched": matched,
        }  # fmt: skip

    def post_many(self, events: Iterable[Data]) -> Iterator[Data]:
        for event in events:
            try:
                yield self.post(event)
            except GreenroomError as error:
                yield {"error": error.as_data()}

    def watch(self, **params: Any) -> Iterator[Data]:
        self.log.append(("watch", params))
        return iter(self.entries)

    def tail(self, **params: Any) -> Iterator[Data]:
        self.log.append(("tail", params))
        return iter(self.do_events_list()["items"])

    def close(self) -> None:
        self.log.append(("close", {}))

    # -- methods ----------------------------------------------------------------------------

    def _find(self, ref: str) -> Data:
        for one in self.instances:
            if ref in (one["id"], f"{one['workflow']}/{one['key']}") or (
                len(ref) >= 8 and one["id"].startswith(ref)
            ):
                return one
        raise NotFound(f"there is no instance {ref}", instance=ref)

    def do_ping(self) -> Data:
        return {"pong": True}

    def do_start(self, workflow: str, **params: Any) -> Data:
        if workflow not in ("order", "welcome"):
            raise NotFound(
                f'there is no workflow "{workflow}"; did you mean order?', workflow=workflow
            )
        key = params.get("key")
        return {
            "instance": id_of(int(key or 7)), "key": key, "status": "running", "created": True
        }  # fmt: skip

    def do_send(self, instance: str, event: Data) -> Data:
        one = self._find(instance)
        live = one["status"] not in ("completed", "cancelled")
        return {"id": event.get("id", "e-2"), "delivered": int(live),
                "matched": event["type"] == "order.paid"}  # fmt: skip

    def _verb(self, instance: str, allowed: tuple[str, ...], status: str, verb: str) -> Data:
        one = self._find(instance)
        if one["status"] not in allowed:
            raise InvalidTransition(
                f"cannot {verb} {one['workflow']}/{one['key']}: it is {one['status']}"
            )
        one["status"] = status
        return {"instance": one["id"], "status": status, "pending": None}

    def do_pause(self, instance: str, **params: Any) -> Data:
        return self._verb(instance, ("waiting", "running"), "paused", "pause")

    def do_resume(self, instance: str, **params: Any) -> Data:
        return self._verb(instance, ("paused", "failed"), "running", "resume")

    def do_cancel(self, instance: str, **params: Any) -> Data:
        return self._verb(instance, ("waiting", "failed", "paused"), "cancelled", "cancel")

    def do_skip(self, instance: str, op: str, **params: Any) -> Data:
        return self._verb(instance, ("failed",), "running", f"skip {op} of")

    def do_restart(self, instance: str, **params: Any) -> Data:
        one = self._find(instance)
        return {"instance": id_of(77), "forked_from": one["id"], "status": "running"}

    do_fork = do_restart

    def do_result(self, instance: str, timeout: str | None = None) -> Data:
        one = self._find(instance)
        if one["status"] in ("waiting", "running"):
            raise Timeout(f"order/{one['key']} is still {one['status']} after {timeout}")
        names = ("status", "outcome", "result", "error")
        return {"instance": one["id"], **{name: one[name] for name in names}}

    def do_get(self, instance: str) -> Data:
        return self._find(instance)

    def do_why(self, instance: str) -> Data:
        self._find(instance)
        text = "order/7 waits for the event order.paid\n  since 11:59:30, due in 2 d"
        return {"text": text, "facts": [{"text": text, "data": {}}]}

    def do_list(self, q: str = "", limit: int = 50, cursor: str | None = None) -> Data:
        found = self.instances
        if "status:failed" in q.split():
            found = [one for one in found if one["status"] == "failed"]
        if "key:404" in q.split():
            found = []
        begin = int(cursor or 0)
        end = begin + min(limit, self.page_size)
        following = str(end) if end < len(found) else None
        return {"items": found[begin:end], "cursor": following, "total": len(found)}

    def do_history(self, instance: str, after: int = 0, **params: Any) -> Data:
        self._find(instance)
        return {"items": [e for e in self.entries if e["seq"] > after], "cursor": None,
                "total": None}  # fmt: skip

    def do_state(self, instance: str, seq: int) -> Data:
        return {"seq": seq, "state": {"order_id": "7"}}

    def do_definitions_list(self) -> list[Data]:
        return [self.do_definitions_get("order")]

    def do_definitions_get(self, name: str, version: int | None = None) -> Data:
        if name != "order":
            raise NotFound(f'there is no workflow "{name}"; did you mean order?')
        return {
            "name": "order", "kind": "steps", "version": 2, "release": True, "enabled": True,
            "hash": "3f2a", "source": "app.py:18", "steps": ["reserve", "charge"],
            "triggers": [{"type": "order.created", "where": None}],
        }  # fmt: skip

    def do_schedules_list(self) -> list[Data]:
        return [
            {"id": "report", "workflow": "report", "rule": "0 20 * * 5 Europe/Paris",
             "next": "2026-11-20T19:00:00Z", "paused": False, "last": None},
            {"id": "sweep", "workflow": "sweep", "rule": "5 minutes", "next": None,
             "paused": True, "last": "2026-11-20T11:55:00Z"},
        ]  # fmt: skip

    def do_schedules_next(self, name: str, count: int = 10) -> list[str]:
        return [f"2026-11-{20 + 7 * n}T19:00:00Z" for n in range(count)]

    def do_events_try(self, subscriptions: list[Data], **params: Any) -> list[Data]:
        return [
            {"workflow": one.get("workflow"), "on": one["on"], "where": one.get("where"),
             "looked_at": 30, "matched": 1, "first": [{"id": "e-1", "pos": 41, "key": "7"}],
             "failed": [{"criterion": "where  ::data.country ==", "events": 29}]}
            for one in subscriptions
        ]  # fmt: skip

    def do_events_replay(self, into: str, dry_run: bool = False, **params: Any) -> Data:
        return {
            "workflow": into, "looked_at": 30, "matched": 9, "started": 7, "known": 2,
            "refused": 0, "dry_run": dry_run,
        }  # fmt: skip

    def do_events_held(self, **params: Any) -> list[Data]:
        return [
            {"workflow": "export", "key": None, "kind": "batch", "events": [41, 42],
             "since": "2026-11-20T11:57:00Z", "due": "2026-11-20T12:00:10Z"}
        ]  # fmt: skip

    def do_events_dead(self, **params: Any) -> list[Data]:
        return [
            {"instance": "0193c0de", "workflow": "order", "key": "7", "pos": 41, "event": "e-1",
             "type": "order.paid", "at": "2026-11-20T11:57:00Z", "reason": "inbox_full"}
        ]  # fmt: skip

    def do_events_redrive(self, **params: Any) -> Data:
        return {"delivered": 1, "dropped": 0, "left": 2}

    def do_schedules_preview(self, **params: Any) -> list[Data]:
        at = "2026-11-20T19:00:00Z"
        return [
            {"nominal": at, "at": at, "what": "on time", "why": None},
            {"nominal": at, "at": None, "what": "skipped", "why": "missed, catch_up one"},
        ][: params["count"]]

    def do_schedules_backfill(
        self, name: str, start: str, end: str | None = None, dry_run: bool = False
    ) -> Data:
        found = {"schedule": name, "times": 7, "started": 5, "known": 2, "queued": 0}
        return {**found, "dry_run": dry_run}

    def do_schedules_pause(self, name: str) -> Data:
        return {"id": name, "paused": True}

    def do_events_list(self, **params: Any) -> Data:
        item = {
            "pos": 41, "id": "e-1", "type": "order.created", "source": "/shop", "subject": None,
            "time": None, "data": {"order_id": "7"}, "accepted": "2026-11-20T11:57:00Z",
            "by": "uid:1000/anna", "extra": {},
        }  # fmt: skip
        return {"items": [item], "cursor": None, "total": 1}

    def do_events_get(self, id: str) -> Data:
        found: Data = self.do_events_list()["items"][0]
        return found

    def do_events_explain(self, id: str, workflow: str | None = None) -> list[Data]:
        text = "order: listens to order.created, this is order.create; did you mean order.created?"
        return [{"text": text, "data": {}}]

    def do_info(self) -> Data:
        return {
            "version": "0.1.0", "pid": 4121, "data": ".greenroom", "epoch": 3,
            "started": "2026-11-20T10:00:00Z",
            "instances": {"running": 0, "waiting": 1200, "failed": 2}, "durability": "full",
            "definitions": 2, "asks": 1, "timers": 1200, "head": 9001, "python": "3.11.7",
            "sqlite": "3.40.1",
        }  # fmt: skip

    def do_doctor(self, deep: bool = False) -> list[Data]:
        return [
            {"level": "ok", "check": "store", "text": "9,001 entries read", "details": {}},
            {"level": "warning", "check": "disk", "text": "2 GiB left", "details": {}},
        ]

    def do_backup(self, path: str) -> Data:
        return {"path": path, "bytes": 81_920}


class Result(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def cli(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """Types a command. Standard output is a pipe; `-o table` asks for what a terminal gets."""
    for name in ("GREENROOM_SERVER", "GREENROOM_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def type_in(*args: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        session = Session(connect=lambda server, data: daemon, now=lambda: NOW)
        code = run(args, session)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return type_in
