"""The line protocol, byte by byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import NotFound
from greenroom.definitions.events import Event, event_from
from greenroom.runtime import protocol
from greenroom.runtime.protocol import Frame, Http, LineReader, Refused, Request, parse


def frames(reader: LineReader) -> list[Frame]:
    found = []
    while reader.ready:
        frame = reader.take()
        if frame is not None:
            found.append(frame)
    return found


def read(*pieces: bytes, limit: int = protocol.LINE_BYTES_MAX, eof: bool = False) -> list[Frame]:
    reader = LineReader(limit)
    found: list[Frame] = []
    for piece in pieces:
        reader.feed(piece)
        found += frames(reader)
    if eof:
        reader.feed_eof()
        found += frames(reader)
    return found


def refused(frame: Frame) -> Refused:
    assert isinstance(frame, Refused)
    return frame


def test_a_line_without_method_is_an_event() -> None:
    assert read(b'{"type":"order.created","id":"e-1","data":{"n":1}}\n') == [
        Event(type="order.created", id="e-1", data={"n": 1})
    ]


def test_a_line_with_method_is_a_request() -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"pause","params":{"instance":"0193"}}\n'
    assert read(line) == [Request(1, "pause", {"instance": "0193"}, True)]


def test_a_request_without_an_id_wants_no_reply() -> None:
    assert read(b'{"method":"ping"}\n') == [Request(None, "ping", {}, False)]


def test_both_ways_of_reading_an_event_agree() -> None:
    lines: list[dict[str, Any]] = [
        {"type": "a"},
        {
            "type": "a",
            "id": "1",
            "source": "/s",
            "subject": "x",
            "time": "2026-11-23T12:00:00Z",
            "data": [1, 2],
        },
        {"type": "a", "id": None, "source": None, "data": None},
        {"type": "a", "specversion": "1.0", "datacontenttype": "application/json"},
        {"type": "a", "tenant": "acme", "n": 3},
        {"type": "a" * 256, "data": "x" * 500},
    ]
    for line in lines:
        assert parse(json.dumps(line).encode()) == event_from(line)


@pytest.mark.parametrize(
    ("line", "words", "path"),
    [
        (b'{"type":""}', "type must be a non-empty string", "$.type"),
        (b"{}", "type must be a non-empty string", "$.type"),
        (b'{"type":1}', "type must be a non-empty string", "$.type"),
        (b'{"type":"a","payload":1}', 'did you mean "data"?', "$.payload"),
        (b'{"type":"a","extra":{}}', "must be a scalar", "$.extra"),
        (b'{"type":"a","id":7}', "id must be a string", "$.id"),
        (b'{"type":"' + b"x" * 257 + b'"}', "longer than 256", "$.type"),
        (b'{"type":"a","source":"' + b"x" * 257 + b'"}', "longer than 256", "$.source"),
    ],
)
def test_a_wrong_event_names_the_place(line: bytes, words: str, path: str) -> None:
    frame = refused(parse(line))
    assert frame.error.code == "invalid_event"
    assert words in frame.error.message
    assert frame.error.details["path"] == path
    assert not frame.close


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[]", "batches are refused"),
        (b'[{"type":"a"}]', "batches are refused"),
        (b'"text"', "must be a JSON object"),
        (b"nonsense", "not valid JSON"),
        (b'{"type":"a"', "not valid JSON"),
        (b'{"type":"a"}{"type":"b"}', "not valid JSON"),
        (b'{"type":"\xff"}', "not valid JSON"),
        (b'{"type":"a","data":NaN}', "not valid JSON"),
        (b'{"type":"a","data":' + b"[" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_line_that_is_no_object_is_refused_and_the_next_is_read(line: bytes, words: str) -> None:
    first, second = read(b"\n" + line + b'\n{"type":"b"}\n')
    assert words in refused(first).error.message
    assert refused(first).error.code == "invalid_request"
    assert second == Event(type="b")


@pytest.mark.parametrize(
    ("line", "request_id", "path"),
    [
        (b'{"method":1,"id":"a"}', "a", "$.method"),
        (b'{"method":"x","id":[1]}', None, "$.id"),
        (b'{"method":"x","id":true}', None, "$.id"),
        (b'{"method":"x","id":4,"params":[1]}', 4, "$.params"),
        (b'{"method":"x","id":4,"jsonrpc":"1.0"}', 4, "$.jsonrpc"),
        (b'{"method":"x","id":4,"type":"t"}', 4, "$.type"),
    ],
)
def test_a_wrong_request_is_refused_under_its_id(line: bytes, request_id: Any, path: str) -> None:
    frame = refused(parse(line))
    assert (frame.is_request, frame.request_id) == (True, request_id)
    assert frame.error.details["path"] == path


def test_blank_lines_mean_nothing() -> None:
    assert read(b'\n \r\n\t\n{"type":"a"}\r\n\n') == [Event(type="a")]


@pytest.mark.parametrize("first", range(256))
def test_every_first_byte_has_one_meaning(first: int) -> None:
    found = read(bytes([first]) + b" / HTTP/1.1\r\n\r\n", b"more\n")
    if chr(first) in "{ \t\r\n":
        assert not any(isinstance(frame, Http) for frame in found)
        assert not any(isinstance(frame, Refused) and frame.close for frame in found)
    elif ord("A") <= first <= ord("Z"):
        assert found == [Http(bytes([first]) + b" / HTTP/1.1\r\n\r\n")]
    else:
        (frame,) = found
        assert refused(frame).close
        assert f"{first:#04x}" in refused(frame).error.message


def test_a_line_may_have_a_mebibyte_and_not_a_byte_more() -> None:
    head = b'{"type":"a","data":"'
    whole = head + b"x" * (protocol.LINE_BYTES_MAX - len(head) - 2) + b'"}'
    assert len(whole) == 1_048_576
    assert isinstance(read(whole + b"\n")[0], Event)
    for pieces in [
        (whole + b" \n",),
        (whole + b" ",),
        (whole, b" "),
        (whole[:1000], whole[1000:] + b" \n"),
    ]:
        (frame,) = read(*pieces)
        assert refused(frame).error.code == "too_large"
        assert refused(frame).close


def test_lines_before_a_line_that_is_too_long_count_and_nothing_after_it() -> None:
    found = read(b'{"type":"a"}\n' + b"x" * 50 + b'\n{"type":"b"}\n', limit=20)
    assert found[0] == Event(type="a")
    assert refused(found[1]).close
    assert len(found) == 2


def test_a_last_line_without_its_end_counts_if_it_is_whole() -> None:
    assert read(b'{"type":"a"}', eof=True) == [Event(type="a")]
    assert "not valid JSON" in refused(read(b'{"type":"a"', eof=True)[0]).error.message


LINES = st.lists(
    st.sampled_from(
        [
            b'{"type":"a"}',
            b'{"type":"b","data":{"text":"\\n \xc3\xa9"}}',
            b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
            b"",
            b"garbage",
            b'{"type":""}',
            b'{"type":"long","data":"' + b"y" * 300 + b'"}',
        ]
    )
)


@given(LINES, st.data())
def test_how_the_stream_is_cut_makes_no_difference(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"\n" + b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert list(map(repr, read(*pieces))) == list(map(repr, read(stream)))


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for frame in read(b"\n" + data, eof=True):
        if isinstance(frame, Refused):
            assert protocol.encode_refusal(frame).endswith(b"\n")


def test_errors_get_out_whatever_their_details_hold() -> None:
    line = protocol.encode_error(3, NotFound("none", hint="look", thing=object(), path="$.x"))
    error = json.loads(line)
    assert error["id"] == 3
    assert error["error"]["code"] == "not_found"
    assert error["error"]["hint"] == "look"
    assert error["error"]["details"]["path"] == "$.x"


def test_replies_have_the_documented_bytes() -> None:
    error = refused(parse(b'{"type":""}')).error
    assert protocol.encode_event_error(error) == (
        b'{"error":{"code":"invalid_event","message":"type must be a non-empty string",'
        b'"details":{"path":"$.type"}}}\n'
    )
    assert protocol.encode_result(1, {"instance": "0193"}) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"instance":"0193"}}\n'
    )
    assert protocol.encode_notification("entry", {"watch": 1}) == (
        b'{"jsonrpc":"2.0","method":"entry","params":{"watch":1}}\n'
    )
    assert protocol.HTTP_NOT_IMPLEMENTED.startswith(b"HTTP/1.1 501 ")
    assert b"greenroom[web]" in protocol.HTTP_NOT_IMPLEMENTED
