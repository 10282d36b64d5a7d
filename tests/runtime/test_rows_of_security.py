"""D1-D40: what people who are not trusted write, and what answers them, each as a case of its own.

D1-D24 are the attacks on packages that were measured, D25-D31 where requests go and what comes
back (in `connectors/test_requests.py`), D32-D36 who may release what, D37-D40 what is too much.
None asserts a time: what is refused by a budget or a limit is refused by its number.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest

from greenroom import Engine
from greenroom.definitions.documents import document_from, read_document
from greenroom.definitions.errors import (
    ExpressionError,
    GreenroomError,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    Locked,
    NotPermitted,
    TooLarge,
)
from greenroom.definitions.expressions import compile_expression
from greenroom.definitions.formats import compile_format
from greenroom.definitions.networks import Network
from greenroom.definitions.schedules import parse_schedule
from greenroom.definitions.transforms import apply_effect, compile_transform
from greenroom.definitions.values import decode, encode, encode_decode
from greenroom.runtime import lock, places, protocol, trust
from greenroom.runtime.reloading import reload_and_tell
from greenroom.runtime.testing import TestEngine
from tests.definitions.test_documents import document
from tests.runtime.test_documents import core, emit, run, transform

DOUBLED = "|".join(["[@,@]"] * 24)


def over_budget(expression: str, data: Any) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(expression).search(data)
    assert caught.value.details["reason"] == "budget"


# -- expressions -----------------------------------------------------------------------------------


def test_D1_a_value_that_doubles_is_not_written_out() -> None:
    over_budget(f"{DOUBLED}|to_string(@)", 1)


def test_D2_a_value_that_doubles_is_not_flattened() -> None:
    over_budget(DOUBLED + "[]" * 24, 1)


def test_D3_projections_in_each_other_are_paid() -> None:
    cube = {"a": [{"a": [{"a": list(range(200))}] * 200}] * 200}
    over_budget("a[*].a[*].a[*]", cube)


def test_D4_sorting_again_and_again_is_paid() -> None:
    over_budget("|".join(["sort(@)"] * 20), list(range(100_000)))


def test_D5_what_only_shares_its_parts_is_weighed_as_it_would_be_written() -> None:
    over_budget("|".join(["[@,@]"] * 40), 1)


def test_D6_parentheses_without_end_are_no_expression() -> None:
    with pytest.raises(ExpressionError):
        compile_expression("(" * 900 + "a" + ")" * 900)


def test_D7_an_expression_has_a_length() -> None:
    with pytest.raises(ExpressionError, match="characters"):
        compile_expression("'" + "x" * 5_000_000 + "'")


@pytest.mark.parametrize("text", ["a.b[0].c", "l[?n > `1`].n | sort(@)", "length(l) == `3`"])
def test_D8_ordinary_expressions_give_what_they_always_gave(text: str) -> None:
    data = {"a": {"b": [{"c": 1}]}, "l": [{"n": 3}, {"n": 1}, {"n": 2}]}
    assert compile_expression(text).search(data) == jmespath.search(text, data)


def test_D9_no_path_leads_into_an_object() -> None:
    for path in ("x.__class__", "x.__class__.__mro__", "__globals__", "x.keys"):
        assert compile_expression(path).search({"x": {"keys": None}}) is None
    assert compile_expression("x.value").search({"x": Path}) is None


def test_D10_a_format_reaches_no_attribute() -> None:
    for text in ("{e.__init__.__globals__[sys].version}", "{e[0]}", "{e!r}", "{}", "{0}"):
        with pytest.raises(InvalidDefinition):
            compile_format(text, ["e"])


def test_D11_a_format_has_no_width() -> None:
    with pytest.raises(InvalidDefinition):
        compile_format("{a:>2000000000}", ["a"])


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [66, 5_000, 5_000_000])
def test_D12_brackets_without_end_are_no_value(levels: int) -> None:
    for text in (b"[" * levels, b"[" * levels + b"]" * levels):
        with pytest.raises((InvalidInput, TooLarge)):
            encode(decode(text))
    with pytest.raises(InvalidDefinition):
        read_document("[" * levels, "w.json")


def test_D13_numbers_have_64_bits() -> None:
    for digits in (20, 30, 100_000):
        with pytest.raises(InvalidInput):
            encode_decode(decode(b"9" * digits))
    with pytest.raises(InvalidInput):
        encode(10**30)


def test_D14_there_is_no_infinity_and_no_nan() -> None:
    for text in (b"1e400", b"NaN", b"-Infinity"):
        with pytest.raises(InvalidInput):
            decode(text)
    for value in (float("nan"), float("inf")):
        with pytest.raises(InvalidInput):
            encode({"a": [value]})


def test_D15_the_last_of_two_keys_counts_and_a_document_has_each_once() -> None:
    assert decode(b'{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(InvalidDefinition, match="written twice"):
        read_document('{"name": "a", "name": "b"}', "w.json")


def test_D16_half_a_character_is_no_text() -> None:
    with pytest.raises(InvalidInput):
        decode(b'"\\ud800"')
    with pytest.raises(InvalidInput):
        encode({"a": "\ud800"})


def test_D17_a_header_that_claims_four_thousand_million_items_allocates_none() -> None:
    with pytest.raises(InvalidInput):
        decode(b"\xdd\xff\xff\xff\xff")


async def test_D18_a_text_of_a_hundred_megabytes_is_no_line(engine: TestEngine) -> None:
    assert protocol.LINE_BYTES_MAX == 1 << 20  # test_server: one more byte ends the connection
    with pytest.raises(TooLarge):
        await engine.post({"type": "go", "data": "x" * 100_000_000})


# -- schedules -------------------------------------------------------------------------------------


def test_D19_a_cron_has_a_length() -> None:
    with pytest.raises(InvalidDefinition):
        parse_schedule({"cron": ",".join(["1"] * 200_000) + " * * * *"})


def test_D20_a_cron_draws_no_lots() -> None:
    for text in ("R R * * *", "R(0-30) * * * *"):
        with pytest.raises(InvalidDefinition):
            parse_schedule({"cron": text})


def test_D21_a_cron_that_never_comes_is_refused() -> None:
    with pytest.raises(InvalidDefinition):
        parse_schedule({"cron": "0 0 31 2 *"})


def test_D22_a_day_of_the_month_and_one_of_the_week_are_either() -> None:
    schedule = parse_schedule({"cron": "0 0 29 2 1"})
    first = schedule.next_due(1_770_000_000, 1_770_000_000)  # 2 February 2026, a Monday, has begun
    assert first is not None and round((first - 1_770_000_000) / 86_400) in (6, 7)


# -- sockets ---------------------------------------------------------------------------------------


def test_D23_the_socket_of_a_living_daemon_is_nobody_elses(tmp_path: Path) -> None:
    """test_socketfile has what happens at the path; before it comes the lock."""
    held = lock.acquire(lock.path_of(tmp_path), what="one")
    with pytest.raises(Locked):
        lock.acquire(lock.path_of(tmp_path), what="another")
    held.release()


def test_D24_a_socket_has_a_place_in_the_file_system() -> None:
    with pytest.raises(InvalidRequest):
        places.check_socket_path(Path("\0abstract"))


# -- where requests go (D25, D27-D31: connectors/test_requests.py) --------------------------------


@pytest.mark.parametrize(
    "address", ["64:ff9b::7f00:1", "2002:7f00:1::", "192.0.0.192", "224.0.0.1", "100.64.0.1"]
)
def test_D26_inside_is_what_our_own_table_says(address: str) -> None:
    with pytest.raises(NotPermitted):
        Network.of().check("somewhere.example", [address], 443)


@pytest.mark.parametrize("address", ["fe80::1%lo", "fe80::1%25eth0", "::1%lo"])
def test_D29_a_zone_makes_no_address_another(address: str) -> None:
    with pytest.raises(GreenroomError):
        Network.of().check("somewhere.example", [address], 443)


# -- who may what (D32: test_grants.py; D33, D34: web/test_web_security.py) -----------------------


async def test_D35_a_released_version_is_never_changed() -> None:
    async with Engine.open(":memory:") as engine:
        given = document(core("Log", 1, {"text": "one"}))
        await engine.definitions.push(given, by="ann")
        first = await engine.definitions.get("w", 1)
        again = document(core("Log", 1, {"text": "two"}))
        second = await engine.definitions.push(again, by="bob")
        assert (second.version, second.release, second.by) == (2, False, "bob")
        kept = await engine.definitions.get("w", 1)
        assert (kept.document, kept.hash, kept.by) == (first.document, first.hash, "ann")


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o620])
@pytest.mark.parametrize("name", ["app.py", "definitions/w.json"])
async def test_D36_a_file_that_others_can_write_is_not_run(
    tmp_path: Path, name: str, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    path.chmod(0o600)
    trust.check_files([str(path), str(path.parent)])
    path.chmod(mode)
    monkeypatch.setattr(trust, "_is_own_group", lambda status: False)
    for word in (str(path), str(path.parent)):
        with pytest.raises(NotPermitted, match="can be written by") as caught:
            trust.check_files([word])
        assert caught.value.hint == f"chmod go-w {path}"
    async with Engine.open(":memory:") as engine:
        engine.stages.read_only = True
        assert "can be written by" in await reload_and_tell(engine, [str(path)], True)


def test_D36_a_group_made_for_one_user_may_write_and_another_owner_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.py"
    path.write_text("")
    path.chmod(0o664)
    monkeypatch.setattr(trust, "_is_own_group", lambda status: True)
    trust.check_file(path)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    if path.stat().st_uid != 0:
        with pytest.raises(NotPermitted, match="its owner could run anything here"):
            trust.check_file(path)
    trust.check_file(tmp_path / "none.py")


# -- too much --------------------------------------------------------------------------------------


async def test_D37_a_loop_of_events_stops(engine: TestEngine) -> None:
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "round"}}
    await run(engine, document(emit("round"), source=source))
    await engine.until_idle()
    found = (await engine.list("workflow:w", limit=100)).items
    assert len(found) == 33
    assert [one.status for one in found].count("failed") == 1


def test_D38_a_definition_with_a_million_keys_is_refused() -> None:
    many = {f"k{number}": 1 for number in range(1_000_000)}
    with pytest.raises(InvalidDefinition):
        document_from({**document(core("Log", 1, {"text": "x"})), **many})
    text = "{" + ",".join(f'"k{number}":1' for number in range(1_000_000)) + "}"
    with pytest.raises(InvalidDefinition, match="bytes"):
        read_document(text, "w.json")


def test_D39_a_key_path_has_a_depth_and_no_way_into_python() -> None:
    for path in (".".join(["a"] * 33), "a" + ".b" * 10_000, "__class__", "a.__globals__.b"):
        with pytest.raises(InvalidDefinition):
            compile_transform({path: 1})


async def test_D40_a_state_is_not_replaced_by_what_is_too_large(engine: TestEngine) -> None:
    effect = compile_transform({"::": "::"}).effect({}, {"x": "y" * (2 << 20)})
    assert len(str(apply_effect({}, effect))) > 2 << 20  # the rule itself knows no limit
    text = "x" * 700_000
    steps = [transform(1, {"a": "::t"}), transform(2, {"b": "::t"})]
    found = await run(engine, document(*steps), {"t": text})
    assert (found.status, found.error.code) == ("failed", "runaway")
    assert "the state would have" in found.error.message and "b" not in found.state
