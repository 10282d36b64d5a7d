"""docs/limits.md tells the numbers that the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.actors import body, collected, instance, ports, turns, walk
from greenroom.definitions import (
    collecting,
    conditions,
    coreactions,
    destinations,
    events,
    expressions,
    flowruns,
    forms,
    limits,
    located,
    matching,
    questions,
    schedules,
    stagegraphs,
    syntax,
    templates,
    values,
)
from greenroom.runtime import (
    archive,
    directory,
    executor,
    filters,
    keptdata,
    protocol,
    recording,
    secrets,
    sections,
    stagefolders,
)
from greenroom.runtime import schedules as desk
from greenroom.runtime.server import Limits
from greenroom.runtime.web.limits import HttpLimits

PAGE = Path(__file__).parents[2] / "docs/limits.md"
MIB = 1 << 20
DOCUMENT = located.DOCUMENT_BYTES_MAX


def test_the_page_of_http_tells_the_limits_that_hold() -> None:
    limits = HttpLimits()
    page = (PAGE.parent / "http.md").read_text(encoding="utf-8")
    told = " ".join(page.split())
    for words in (
        f"A body has at most {limits.body_bytes // MIB} MiB",
        f"a bulk {limits.bulk_bytes // MIB} MiB and {limits.bulk_events:,} events",
        f"a head {limits.header_bytes >> 10} KiB and {limits.header_lines} lines",
        f"a URL {limits.url_bytes >> 10} KiB",
        f"here within {limits.header_s:g} s, a body within {limits.body_s:g} s",
        f"{limits.connections:,} connections",
        f"{limits.caller_rate:,.0f} requests a second of one caller, {limits.nobody_rate:g} of an",
    ):
        assert words in told
    assert f"One caller has {limits.feeds} feeds at most" in told


@pytest.mark.parametrize(
    ("row", "told", "limit"),
    [
        ("a line on the socket", f"{protocol.LINE_BYTES_MAX // MIB} MiB", protocol.LINE_BYTES_MAX),
        ("live instances of one key", f"{limits.LIVE_MAX:,} at most", limits.LIVE_MAX),
        ("live instances of one key", f"{limits.RATE_MAX:,} at most", limits.RATE_MAX),
        ("a value", f"{values.VALUE_BYTES_MAX // MIB} MiB", values.VALUE_BYTES_MAX),
        ("a value", f"{values.DEPTH_MAX} levels", values.DEPTH_MAX),
        ("id, key", f"{events.NAME_MAX} characters", events.NAME_MAX),
        ("an expression", f"{syntax.LENGTH_MAX:,} characters", syntax.LENGTH_MAX),
        ("an expression", f"{expressions.BUDGET:,} steps", expressions.BUDGET),
        ("an expression", f"{expressions.BUDGET_CONDITION:,})", expressions.BUDGET_CONDITION),
        ("a `where`", f"{matching.KEYS_MAX} keys", matching.KEYS_MAX),
        ("a `where`", f"{matching.WHERE_BYTES_MAX >> 10} KiB", matching.WHERE_BYTES_MAX),
        ("a condition", f"{conditions.GROUP_MAX} criteria", conditions.GROUP_MAX),
        ("drafts of one", f"{sections.DRAFTS_MAX} people", sections.DRAFTS_MAX),
        ("steps running", f"{executor.IN_FLIGHT} (", executor.IN_FLIGHT),
        ("steps running", f"{executor.THREADS} threads", executor.THREADS),
        ("requests a program", f"{turns.REQUESTS_PER_TURN_MAX:,}", turns.REQUESTS_PER_TURN_MAX),
        ("verbs that wait", f"{instance.MAILBOX_MAX}", instance.MAILBOX_MAX),
        ("undelivered events", f"{ports.INBOX_MAX:,}", ports.INBOX_MAX),
        ("matches listed", f"{ports.MATCHES_LISTED}", ports.MATCHES_LISTED),
        ("events that cause", f"{events.HOPS_MAX} hops", events.HOPS_MAX),
        ("history", f"{body.HISTORY_MAX:,}", body.HISTORY_MAX),
        ("history", f"{body.HISTORY_WARN:,}", body.HISTORY_WARN),
        ("people in one message", f" {destinations.GROUP_MAX} ", destinations.GROUP_MAX),
        ("events that hooks", f" {templates.CHAIN_MAX} ", templates.CHAIN_MAX),
        ("calls of services", f"{recording.CALLS_MAX:,}", recording.CALLS_MAX),
        ("lines of the audit", f"{flowruns.AUDIT_MAX}, ", flowruns.AUDIT_MAX),
        ("nominal times", f"{desk.QUEUE_MAX:,} a", desk.QUEUE_MAX),
        ("event types of", f"{collecting.PARTS_MAX} |", collecting.PARTS_MAX),
        ("events of a `batch`", f"{collecting.BATCH_MAX:,}, or", collecting.BATCH_MAX),
        ("events of a `batch`", f"{collected.BYTES_MAX >> 10} KiB", collected.BYTES_MAX),
        ("events that wait for", f"{collecting.WAITING_MAX:,} for", collecting.WAITING_MAX),
        ("stored events looked", f"{archive.LOOKED_AT_MAX:,}", archive.LOOKED_AT_MAX),
        ("schedules missed", f"{schedules.CATCH_UP_MAX:,}", schedules.CATCH_UP_MAX),
        ("a secret", f"{secrets.SIZE_MAX >> 10} KiB", secrets.SIZE_MAX),
        ("instances in memory", f"{directory.IDLE_MAX:,} at once", directory.IDLE_MAX),
        ("a stage folder", f"{stagegraphs.STAGES_MAX} stages", stagegraphs.STAGES_MAX),
        ("a stage folder", f"{stagefolders.FILES_MAX} files", stagefolders.FILES_MAX),
        ("a stage folder", f"{stagefolders.FILE_BYTES_MAX >> 10} KiB", stagefolders.FILE_BYTES_MAX),
        ("a form", f"{forms.PAGES_MAX} pages", forms.PAGES_MAX),
        ("a form", f"{questions.FILE_BYTES_MAX >> 10} KiB", questions.FILE_BYTES_MAX),
        ("a filter", f"{filters.TEXT_MAX:,} characters", filters.TEXT_MAX),
        ("a filter", f"{filters.TERMS_MAX} words", filters.TERMS_MAX),
        ("what Data keeps", f"{keptdata.TTL_S / 86_400:g} days", int(keptdata.TTL_S)),
        ("what Data keeps", f"{keptdata.QUERY_MAX:,} values", keptdata.QUERY_MAX),
        ("a workflow document", f"{located.DOCUMENT_BYTES_MAX >> 10} KiB", DOCUMENT),
        ("a workflow document", f"{located.VALUES_MAX:,} values", located.VALUES_MAX),
        (
            "a workflow document",
            f"{coreactions.ACTIONS_IN_ALL_MAX} in all",
            coreactions.ACTIONS_IN_ALL_MAX,
        ),
        ("what a document works", f"{walk.WORK_MAX:,} steps", walk.WORK_MAX),
        ("what a document works", f"{walk.NODE_WORK} for each", walk.NODE_WORK),
        ("a workflow document", f"{coreactions.ACTIONS_MAX} actions", coreactions.ACTIONS_MAX),
        ("what an Iterator", f"{walk.ITEMS_MAX:,} items", walk.ITEMS_MAX),
        ("connections", f"{Limits().connections:,}", Limits().connections),
        ("connections", f"{Limits().lines_in_flight:,} lines", Limits().lines_in_flight),
        ("connections", f"{Limits().bytes_in_flight // MIB} MiB", Limits().bytes_in_flight),
        ("unread replies", f"{Limits().write_bytes // MIB} MiB", Limits().write_bytes),
    ],
)
def test_a_limit_is_told_as_it_is(row: str, told: str, limit: int) -> None:
    assert limit > 0
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in rows if line.startswith(f"| {row}")]
    assert told in line
