import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.paths import MISSING, parse_path, path_text, walk


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)), ("a.b.c", ("a", "b", "c")), ('a."b.c".d', ("a", "b.c", "d")),
        ("'a.b'", ("a.b",)), ('"it\'s"', ("it's",)), ("a.'0'", ("a", "0")), ("a b", ("a b",)),
        ("first-name", ("first-name",)), ("a1", ("a1",)), ('""', ("",)), ("é.ü", ("é", "ü")),
    ],
)  # fmt: skip
def test_segments_are_split_at_dots_outside_quotes(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"), ("a..b", "empty segment at position 2"), (".a", "empty segment"),
        ("a.", "empty segment"), ('a."b', "never closed"), ("a'b'", "middle"), ('"a"b', "middle"),
        ("items.0.id", "write the key 0 in quotes"), ("a" * 1025, "longer"),
        (".".join("a" * 33), "deeper than 32"),
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused_with_the_place(text: str, why: str) -> None:
    with pytest.raises(InvalidDefinition, match=why) as caught:
        parse_path(text, "$.transform")
    assert caught.value.problems[0].path == "$.transform"


def test_only_objects_are_walked_into() -> None:
    data = {"a": {"b": [1], "c": None}}
    assert walk(data, ("a", "c")) is None
    assert walk(data, ("a", "d")) is MISSING
    assert walk(data, ("a", "b", "0")) is MISSING
    assert walk([], ("a",)) is MISSING


segments = st.text(max_size=8).filter(lambda text: not ('"' in text and "'" in text))


@given(st.lists(segments, min_size=1, max_size=6).map(tuple))
def test_a_path_written_as_text_reads_back(path: tuple[str, ...]) -> None:
    assert parse_path(path_text(path)) == path


@given(st.text(alphabet="ab0.'\" ", max_size=12))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidDefinition):
        assert all(isinstance(segment, str) for segment in parse_path(text))
