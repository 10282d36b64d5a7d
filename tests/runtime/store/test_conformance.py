"""What every store does with every work."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import (
    InboxFull,
    InvalidEvent,
    InvalidRequest,
    NotFound,
    StaleAppend,
)

AT = 1_700_000_000_000


def one(store: Any, work: Any) -> Any:
    return store.run([work])[0]


def found(result: Any) -> list[int]:
    return [n for n, _, _ in result.items]


def test_rows_come_back_with_their_places(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2), make.append(1, 2, 2)])
    (loaded,) = one(store, ports.Load([1]))
    assert [(row.seq, row.iseq) for row in loaded.rows] == [(1, 1), (3, 2), (4, 3)]
    assert (loaded.head, loaded.start_pos, loaded.damaged) == (3, 1, None)
    journal = one(store, ports.ReadJournal(1, 10))
    assert [(row.n, row.row.seq) for row in journal] == [(2, 2), (1, 3), (1, 4)]


def test_a_row_out_of_count_is_refused_and_its_group_goes_on(store: Any, make: Any) -> None:
    """A turn that was decided on top of one the full disk refused must not end the process."""
    store.run([make.create(1)])
    refused, created = store.run([make.append(1, 9), make.create(2)])
    assert isinstance(refused, StaleAppend) and created.created
    assert store.run([make.append(1, 2)])[0].pos > 0


def test_a_second_live_instance_of_a_key_is_refused_and_a_new_one_after_its_end(
    store: Any, make: Any
) -> None:
    first, second = store.run([make.create(1, key="7"), make.create(2, key="7")])
    assert first.created
    assert (second.created, second.conflict, second.id) == (False, "key", make.id(1))
    _, third = store.run([make.end(1, 2), make.create(3, key="7")])
    assert third.created
    assert one(store, ports.Find("order/7")).n == 3
    store.run([make.end(3, 2)])
    assert one(store, ports.Find("order/7")).n == 3


def test_keys_of_other_workflows_and_namespaces_do_not_meet(store: Any, make: Any) -> None:
    made = store.run([
        make.create(1, key="7"), make.create(2, key="7", workflow="bill"),
        make.create(3, key="7", namespace="test"),
    ])  # fmt: skip
    assert all(result.created for result in made)


def test_a_request_is_carried_out_once(store: Any, make: Any) -> None:
    request = ports.Request("r-1", 5, b'{"a":1}', AT)
    other = ports.Request("r-1", 6, b"{}", AT)
    results = store.run([
        make.create(1, request=request), make.create(2, request=request),
        make.create(3, request=other),
    ])  # fmt: skip
    assert [(r.created, r.conflict) for r in results] == [
        (True, None), (False, "request"), (False, "request_differs")]  # fmt: skip
    assert (results[1].id, results[1].reply) == (make.id(1), b'{"a":1}')
    assert one(store, ports.FindRequest("r-1")) == request


def test_an_event_meets_the_wait_with_its_key_and_no_other(store: Any, make: Any) -> None:
    store.run([
        make.create(n, opened=[make.wait("1", where={"data.order": f"o-{n}"})]) for n in (1, 2, 3)
    ])  # fmt: skip
    posted = one(store, make.post("e-1", data={"order": "o-2"}))
    assert found(posted) == [2]
    assert (posted.matched_total, posted.matched[0].action) == (1, "delivered")
    (loaded,) = one(store, ports.Load([2]))
    assert [item.pos for item in loaded.items] == [posted.pos]
    assert b'"o-2"' in loaded.items[0].payload


def test_an_event_of_the_group_meets_a_wait_of_the_group(store: Any, make: Any) -> None:
    posted, _ = store.run([make.post("e-1"), make.create(1, opened=[make.wait("1")])])
    assert found(posted) == [1]


def test_an_event_is_given_to_an_instance_once_however_many_waits_match(
    store: Any, make: Any
) -> None:
    waits = [make.wait("1"), make.wait("2", where={"data.k": 1}), make.wait("3", where="data.k")]
    store.run([make.create(1, opened=waits)])
    assert found(one(store, make.post("e-1", data={"k": 1}))) == [1]


def test_a_closed_wait_and_an_ended_instance_are_met_no_more(store: Any, make: Any) -> None:
    store.run([make.create(n, opened=[make.wait("1")]) for n in (1, 2, 3)])
    store.run([make.append(1, 2, closed=["1"]), make.end(2, 2)])
    assert found(one(store, make.post("e-1"))) == [3]


def test_a_repeat_gets_the_first_answer_and_another_body_none(store: Any, make: Any) -> None:
    store.run([make.create(1, opened=[make.wait("1")])])
    first, again = store.run([make.post("e-1"), make.post("e-1")])
    assert (again.duplicate, again.pos, again.items) == (True, first.pos, [])
    assert (again.matched, again.matched_total) == (first.matched, 1)
    other = one(store, make.post("e-1", hash=2))
    assert (other.conflict, other.matched) == (True, [])
    assert not one(store, make.post("e-1", source="/elsewhere")).duplicate


def test_starts_are_answered_in_order_and_the_event_is_spent(store: Any, make: Any) -> None:
    store.run([make.create(1, key="7")])
    starts = [
        make.create(2, key="8", opened=[make.wait("1", since=0)]), make.create(3, key="7"),
    ]  # fmt: skip
    posted = one(store, make.post("e-1", starts=starts))
    assert [(m.n, m.action, m.code) for m in posted.matched] == [
        (2, "started", None), (1, "refused", "already_running")]  # fmt: skip
    assert [made.created for made in posted.started] == [True, False]
    assert one(store, make.post("e-1")).matched == posted.matched
    assert one(store, ports.Load([2]))[0].items == []
    assert one(store, ports.EventMatches(posted.pos)) == posted.matched


def test_a_wait_looks_back_to_its_place_and_takes_the_oldest_not_given(
    store: Any, make: Any
) -> None:
    places = [one(store, make.post(f"e-{k}", data={"k": k % 2})).pos for k in range(6)]
    opened = [make.wait("1", where={"data.k": 1}, since=places[1])]
    created = one(store, make.create(1, opened=opened))
    assert [item.pos for item in created.found] == [places[3]]
    opened = [make.wait("2", where={"data.k": 1}, since=0)]
    appended = one(store, make.append(1, 2, opened=opened))
    assert [item.pos for item in appended.found] == [places[1]]
    opened = [make.wait("3", since=0, many=True)]
    appended = one(store, make.append(1, 3, opened=opened))
    assert [item.pos for item in appended.found] == [
        p for p in places if p not in (places[1], places[3])]  # fmt: skip


def test_a_wait_looks_back_to_a_time(store: Any, make: Any) -> None:
    places = [
        one(store, make.post(f"e-{k}", data={"k": 1}, accepted=AT + 1_000 * k)).pos
        for k in range(300)
    ]
    for at, first in ((AT - 5, 0), (AT + 7_000, 7), (AT + 7_001, 8), (AT + 298_500, 299)):
        opened = [make.wait("1", where={"data.k": 1}, since_at=at)]
        made = one(store, make.create(1_000 + first, opened=opened))
        assert [item.pos for item in made.found] == [places[first]]
    assert not one(store, make.create(2, opened=[make.wait("1", since_at=AT + 299_001)])).found


def test_an_event_that_is_stored_for_later_is_routed_by_its_route(store: Any, make: Any) -> None:
    store.run([make.create(1, opened=[make.wait("1")])])
    posted = one(store, make.post("e-1", later=True))
    assert (posted.more, posted.matched, posted.items) == (True, [], [])
    assert [row.pos for row in one(store, ports.UnroutedEvents())] == [posted.pos]
    again = one(store, make.post("e-1", later=True))
    assert (again.duplicate, again.more) == (True, False)
    routed = one(store, ports.Route(pos=posted.pos, starts=[make.create(2)]))
    assert [(m.n, m.action) for m in routed.matched] == [(2, "started"), (1, "delivered")]
    assert one(store, ports.UnroutedEvents()) == []


def test_a_wait_from_now_finds_nothing_from_before(store: Any, make: Any) -> None:
    store.run([make.post("e-1")])
    assert one(store, make.create(1, opened=[make.wait("1", since=None)])).found == []


def test_a_wait_for_one_of_several_values_is_met_by_each_of_them_once(
    store: Any, make: Any
) -> None:
    kinds = ("String", "a"), ("String", "b"), ("Number", 1)
    equal = [{"type": t, "attribute": "::data.k", "operator": "eq", "value": v} for t, v in kinds]
    among = {"criteria": [{"operator": "or", "attributes": equal}]}
    before = [one(store, make.post(f"b-{k}", data={"k": k})).pos for k in ("b", "z", "a")]
    store.run([make.create(n, opened=[make.wait("1", where=among)]) for n in (1, 2)])
    assert found(one(store, make.post("e-1", data={"k": "b"}))) == [1, 2]
    assert found(one(store, make.post("e-2", data={"k": ["b", "a", 1]}))) == [1, 2]
    assert found(one(store, make.post("e-3", data={"k": True}))) == []
    assert len(one(store, ports.WaitsAt("paid", 1 << 40))) == 2
    store.run([make.append(1, 2, closed=["1"]), make.end(2, 2)])
    for number, k in enumerate(["a", "b", 1]):
        assert found(one(store, make.post(f"f-{number}", data={"k": k}))) == []
    opened = [make.wait("1", where=among, since=0, many=True)]
    late = one(store, make.create(3, opened=opened))
    assert [item.pos for item in late.found][:2] == [before[0], before[2]]
    assert len(late.found) == 7
    reopened = [make.wait("1", where={"data.k": "z"})]
    store.run([make.append(3, 2, closed=["1"], opened=reopened)])
    assert found(one(store, make.post("g-1", data={"k": "a"}))) == []
    assert found(one(store, make.post("g-2", data={"k": "z"}))) == [3]


def test_an_event_with_a_long_list_meets_every_key_in_it(store: Any, make: Any) -> None:
    def wait(k: int, since: int | None = None) -> Any:
        return make.wait(str(k), where={"data.tags": k}, since=since)

    store.run([make.create(1, opened=[wait(99)]), make.create(2, opened=[wait(100)])])
    assert found(one(store, make.post("e-1", data={"tags": list(range(100))}))) == [1]
    assert one(store, make.create(3, opened=[wait(77, 0)])).found
    assert not one(store, make.create(4, opened=[wait(177, 0)])).found


def test_a_wide_fan_out_goes_on_under_its_cursor(store: Any, make: Any) -> None:
    many = ports.FAN_OUT_PER_COMMIT + 300
    store.run([make.create(n, opened=[make.wait("1")]) for n in range(1, many + 1)])
    posted = one(store, make.post("e-1"))
    assert posted.more
    assert len(posted.items) == ports.FAN_OUT_PER_COMMIT
    assert len(posted.matched) == ports.MATCHES_LISTED
    late = one(store, make.create(many + 1, opened=[make.wait("1")]))
    assert late.found == []
    assert [event.pos for event in one(store, ports.UnroutedEvents())] == [posted.pos]
    rest = one(store, ports.Route(pos=posted.pos))
    assert (rest.more, rest.matched_total, len(rest.items)) == (False, many, 300)
    assert one(store, ports.UnroutedEvents()) == []
    assert one(store, ports.Route(pos=posted.pos)).items == []


def test_an_emitted_event_is_stored_with_the_turn_and_routed_later(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2, opened=[make.wait("1")])])
    emitted = one(store, make.append(1, 2, emits=[make.event("e-1", checked=False)]))
    assert len(emitted.emitted) == 1
    late = one(store, make.create(3, opened=[make.wait("1", since=0)]))
    assert [item.pos for item in late.found] == emitted.emitted
    routed = one(store, ports.Route(pos=emitted.emitted[0]))
    assert found(routed) == [2]


def test_a_full_inbox_sends_routed_events_to_the_dead_letters(
    store: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite_route", "sqlite_match", "memory"):
        monkeypatch.setattr(f"greenroom.runtime.{module}.INBOX_MAX", 2)
    store.run([make.create(1, opened=[make.wait("1")])])
    posts = store.run([make.post(f"e-{k}") for k in range(4)])
    assert [post.matched[0].code for post in posts] == [None, None, "inbox_full", "inbox_full"]
    assert [dead.pos for dead in one(store, ports.DeadLetters())] == [p.pos for p in posts[2:]]
    assert isinstance(one(store, make.send("s-1", make.id(1))), InboxFull)
    taken = [item.iq for item in one(store, ports.Load([1]))[0].items]
    store.run([make.append(1, 2, taken=taken)])
    assert one(store, make.send("s-1", make.id(1))).matched_total == 1


def test_send_reaches_one_live_instance_whatever_it_waits_for(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2), make.end(2, 2)])
    sent = one(store, make.send("s-1", make.id(1)))
    assert [(n, id) for n, id, _ in sent.items] == [(1, make.id(1))]
    assert one(store, make.send("s-1", make.id(1))).duplicate
    assert one(store, make.send("s-2", make.id(2))).matched_total == 0
    assert isinstance(one(store, make.send("s-3", make.id(9))), NotFound)


def test_an_event_that_cannot_be_stored_harms_nobody_else(store: Any, make: Any) -> None:
    bad, good = store.run([make.post("e-1", data="\ud800"), make.post("e-2")])
    assert isinstance(bad, InvalidEvent)
    assert good.pos == 1


def test_an_instance_is_told_unless_it_has_ended(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2), make.create(3), make.end(3, 2)])
    item = ports.InboxRow("outcome", b'{"x":1}', AT)
    told = one(store, make.append(1, 2, tell=[(make.id(k), item) for k in (2, 3, 9)])).told
    assert [(n, got.payload) for n, _, got in told] == [(2, b'{"x":1}')]
    assert one(store, ports.BusyInstances()) == [1, 2]


def test_a_child_is_made_in_the_turn_of_its_parent(store: Any, make: Any) -> None:
    store.run([make.create(1)])
    twice = [make.create(2, parent=make.id(1)), make.create(2, parent=make.id(1))]
    made = one(store, make.append(1, 2, creates=twice)).created
    assert [child.created for child in made] == [True, False]
    assert one(store, ports.Find(make.id(2))).parent == make.id(1)


def test_kept_items_stay_and_wake_nobody(store: Any, make: Any) -> None:
    store.run([make.create(1, busy=False, opened=[make.wait("1")])])
    item = one(store, make.post("e-1")).items[0][2]
    assert one(store, ports.BusyInstances()) == [1]
    store.run([ports.Keep(1, [item.iq])])
    assert one(store, ports.BusyInstances()) == []
    assert [i.state for i in one(store, ports.Load([1]))[0].items] == ["kept"]


def test_ending_drops_what_an_instance_waited_for(store: Any, make: Any) -> None:
    ask = ports.AskRow("a-1", "1", "form", "Ok?", b"{}", "anna", None)
    turn = {"opened": [make.wait("1")], "timers": [("1", AT)], "asks": [ask]}
    store.run([make.create(1, **turn), make.post("e-1"), ports.SaveSnapshot(1, 1, b"s", 1)])
    store.run([make.end(1, 2)])
    assert one(store, ports.DueTimers(AT)) == []
    assert one(store, ports.ListAsks()) == []
    assert one(store, ports.Load([1]))[0].items == []
    counts = one(store, ports.Counts())
    assert (counts.timers, counts.asks, counts.instances["completed"]) == (0, 0, 1)


def test_a_question_says_which_version_of_a_workflow_asks(store: Any, make: Any) -> None:
    ask = ports.AskRow("a-1", "1", "form", "Ok?", b"{}", "anna", None)
    store.run([make.create(1, asks=[ask])])
    row = one(store, ports.Find(make.id(1)))
    [seen] = one(store, ports.ListAsks())
    assert (seen.workflow, seen.version) == (row.workflow, row.version)
    store.run([make.append(1, 2, version=7)])
    assert [view.version for view in one(store, ports.ListAsks(id="a-1"))] == [7]


def test_timers_and_schedules_come_in_due_order(store: Any, make: Any) -> None:
    store.run([
        make.create(1, timers=[("a", AT + 3), ("b", AT + 1)]), make.create(2, timers=[("a", AT)]),
        ports.SaveSchedule("s", "order", b"1", 0, AT + 2),
    ])  # fmt: skip
    due = one(store, ports.DueTimers(AT + 3))
    assert [(d.n, d.op) for d in due] == [(2, "a"), (1, "b"), (0, "s"), (1, "a")]
    rest = one(store, ports.DueTimers(AT + 3, after=(due[1].due, due[1].n, due[1].op)))
    assert rest == due[2:]
    store.run([make.append(1, 2, untimed=["b"], timers=[("a", AT + 9)])])
    assert [d.n for d in one(store, ports.DueTimers(AT + 3))] == [2, 0]


def test_a_tick_moves_its_schedule_even_when_its_event_is_known(store: Any, make: Any) -> None:
    store.run([ports.SaveSchedule("s", "order", b"1", 0, AT)])
    store.run([make.post("tick-1"), make.post("tick-1", tick=("s", AT, AT + 60))])
    (row,) = one(store, ports.ListSchedules())
    assert (row.last, row.due) == (AT, AT + 60)
    assert one(store, ports.SaveSchedule("s", "order", b"1", 0, AT)).due == AT + 60
    assert one(store, ports.SaveSchedule("s", "order", b"2", 0, AT)).due == AT


def test_a_definition_gets_a_version_only_when_it_is_new(store: Any) -> None:
    def save(hash: str, *, release: bool = True) -> Any:
        return one(store, ports.SaveDefinition("order", "steps", hash, b"{}", AT, release=release))

    assert [save(h).version for h in ("x", "x", "y", "x")] == [1, 1, 2, 1]
    rows = one(store, ports.ListDefinitions("order"))
    assert [(row.version, row.release) for row in rows] == [(1, True), (2, False)]
    assert save("z", release=False).release is False
    one(store, ports.ChangeDefinition("order", 3, release=True))
    rows = one(store, ports.ListDefinitions())
    assert [row.version for row in rows if row.release] == [3]


def test_a_new_version_of_what_is_switched_off_is_off_and_a_replaced_one_stays_released(
    store: Any,
) -> None:
    def save(hash: str, version: int | None = None) -> Any:
        work = ports.SaveDefinition("order", "steps", hash, b"{}", AT, None, version, False)
        return one(store, work)

    save("x")
    one(store, ports.ChangeDefinition("order", 1, release=True))
    one(store, ports.ChangeDefinition("order", None, enabled=False))
    assert (save("y").enabled, save("x2", 1).release) == (False, True)


def test_an_instance_may_follow_another_version(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2), make.append(1, 2, version=7)])
    store.run([make.append(2, 2, version=3)])
    (row,) = [row for row in one(store, ports.ListInstances([], 9, None, AT)).rows if row.n == 1]
    assert (row.version, one(store, ports.Find(make.id(2))).version) == (7, 3)


def test_the_newest_valid_snapshot_is_loaded_with_its_tail(store: Any, make: Any) -> None:
    store.run([make.create(1), *[make.append(1, k) for k in range(2, 6)]])
    store.run([ports.SaveSnapshot(1, 2, b"good", zlib.crc32(b"good"))])
    store.run([ports.SaveSnapshot(1, 4, b"bad", 1)])
    (loaded,) = one(store, ports.Load([1]))
    assert (loaded.snapshot, loaded.snapshot_iseq) == (b"good", 2)
    assert [row.iseq for row in loaded.rows] == [3, 4, 5]
    (whole,) = one(store, ports.Load([1], snapshots=False))
    assert (len(whole.rows), whole.head) == (5, 5)


def test_only_the_current_generation_is_loaded(store: Any, make: Any) -> None:
    store.run([make.create(1), make.append(1, 2, 2, generation_start=3)])
    (loaded,) = one(store, ports.Load([1]))
    assert ([row.iseq for row in loaded.rows], loaded.generation_start) == ([3], 3)
    assert len(one(store, ports.ReadRows(1, 0, 10))) == 3


def test_instances_are_found_by_id_prefix_and_key(store: Any, make: Any) -> None:
    store.run([make.create(1, key="a/b"), make.create(12)])
    assert one(store, ports.Find(make.id(12))).n == 12
    assert one(store, ports.Find("order/a/b")).n == 1
    assert one(store, ports.Find(make.id(1)[:-1] + "2")) is None
    assert isinstance(one(store, ports.Find(make.id(1)[:12])), InvalidRequest)
    assert one(store, ports.Find("0193")) is None


def test_a_list_is_paged_newest_first_and_counted(store: Any, make: Any) -> None:
    store.run([make.create(n, at=AT + n, status="waiting") for n in range(1, 8)])
    store.run([make.end(7, 2, at=AT + 7)])
    terms = [("status", ":", "waiting", False)]
    first = one(store, ports.ListInstances(terms, 4))
    assert ([row.n for row in first.rows], first.total) == ([6, 5, 4, 3], 6)
    second = one(store, ports.ListInstances(terms, 4, first.cursor))
    assert ([row.n for row in second.rows], second.cursor) == ([2, 1], None)


def test_a_list_that_means_nothing_is_refused(store: Any) -> None:
    for term in (("key", ">", "a"), ("age", ">", "soon"), ("age", "~", 1)):
        assert isinstance(one(store, ports.ListInstances([(*term, False)])), InvalidRequest)


def test_waits_can_be_asked_for_at_a_place(store: Any, make: Any) -> None:
    store.run([make.create(1, opened=[make.wait("1")]), make.create(2, opened=[make.wait("1")])])
    first = one(store, make.post("e-1", type="other")).pos
    store.run([make.append(1, 2, closed=["1"])])
    second = one(store, make.post("e-2", type="other")).pos
    assert [w.n for w in one(store, ports.WaitsAt("paid", first))] == [1, 2]
    assert [w.n for w in one(store, ports.WaitsAt("paid", second))] == [2]


def test_retention_takes_whole_ended_instances_and_says_so(store: Any, make: Any) -> None:
    store.run([make.create(n, key=str(n), opened=[make.wait("1")]) for n in (1, 2)])
    store.run([make.post("e-1"), make.end(1, 2), make.post("e-2", accepted=AT + 100)])
    pruned = one(store, ports.Prune(AT + 50))
    assert (pruned.instances, pruned.rows, pruned.more) == (1, 2, False)
    assert pruned.events == 0  # undelivered to 2
    assert one(store, ports.Load([1])) == []
    counts = one(store, ports.Counts())
    assert counts.entries + counts.events + counts.pruned == counts.head
    (account,) = one(store, ports.ReadRows(0, 0, 10))
    assert make.id(1).encode() in account.payload
    assert one(store, make.create(3, key="1")).created
    assert one(store, ports.Audit()).findings[0].level == "ok"


def test_chosen_instances_are_erased_however_they_stand(store: Any, make: Any) -> None:
    store.run([make.create(n, key=str(n), opened=[make.wait("1")]) for n in (1, 2, 3)])
    store.run([make.end(2, 2), make.post("e-1", type="other")])
    pruned = one(store, ports.Prune(0, only=(1, 2, 9)))
    assert (pruned.instances, pruned.events, pruned.more) == (2, 0, False)
    assert [found.row.n for found in one(store, ports.Load([1, 2, 3]))] == [3]
    counts = one(store, ports.Counts())
    assert counts.entries + counts.events + counts.pruned == counts.head
    assert one(store, make.create(4, key="1")).created
    assert [item[0] for item in one(store, make.post("e-2")).items] == [3]
    assert one(store, ports.Audit()).findings[0].level == "ok"


def test_orphans_are_those_from_whom_nothing_leads_on(store: Any, make: Any) -> None:
    store.run([
        make.create(1, status="waiting", busy=False),
        make.create(2, status="waiting", busy=False, timers=[("1", AT)]),
        make.create(3, status="waiting", busy=False, opened=[make.wait("1")]),
        make.create(4, status="waiting", busy=False,
                    waits=b'[{"kind":"child","child":"' + make.id(3).encode() + b'"}]'),
        make.create(5, status="paused", busy=False),
    ])  # fmt: skip
    assert [row.n for row in one(store, ports.Orphans()).rows] == [1]


def test_works_of_one_group_are_stored_before_its_reads(store: Any, make: Any) -> None:
    loaded, _, _ = store.run([ports.Load([1]), make.create(1), make.append(1, 2)])
    assert loaded[0].head == 2
