"""The filter grammar: what a text means, and what is said about a wrong one."""

from __future__ import annotations

import pytest

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.filters import Filter, Term, looks_like_filter, parse_filter


def test_nothing_matches_everything() -> None:
    assert parse_filter("") == parse_filter("  \n ") == Filter()


def test_words_are_joined_by_and() -> None:
    assert parse_filter("status:failed  workflow:order").terms == (
        Term("status", ":", "failed"),
        Term("workflow", ":", "order"),
    )


def test_equals_means_colon_and_minus_negates() -> None:
    assert parse_filter("customer=alice -key:7").terms == (
        Term("customer", ":", "alice"),
        Term("key", ":", "7", negated=True),
    )


def test_the_first_operator_ends_the_field() -> None:
    assert parse_filter("key:a:b=c").terms == (Term("key", ":", "a:b=c"),)


def test_quotes_keep_spaces() -> None:
    (term,) = parse_filter('error:"connection refused"').terms
    assert term.value == "connection refused"
    assert str(term) == 'error:"connection refused"'


def test_an_attribute_may_be_empty_and_ordered() -> None:
    assert parse_filter("customer= total>=100", ["customer", "total"]).terms == (
        Term("customer", ":", ""),
        Term("total", ">=", "100"),
    )


def test_declared_says_whether_a_term_is_of_an_attribute() -> None:
    assert [t.declared for t in parse_filter("key:1 customer:1").terms] == [False, True]


def test_a_filter_prints_as_it_is_read() -> None:
    text = 'status:failed -workflow:order age>1h30m customer:"a b" total<=5 due<2d updated>=1h'
    assert str(parse_filter(text)) == text
    assert parse_filter(str(parse_filter(text))) == parse_filter(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("age>1h30m", 5400.0), ("updated<90s", 90.0), ("due<PT5M", 300.0)]
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_filter(text).terms[0].seconds == seconds


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("updated>2026-11-20", "2026-11-20T00:00:00Z"),
        ("due<2026-11-20T12:00:00+02:00", "2026-11-20T10:00:00Z"),
    ],
)
def test_moments_are_utc(text: str, at: str) -> None:
    assert parse_filter(text).terms[0].at == at


def test_updated_long_ago_is_before_a_moment() -> None:
    (long_ago,) = parse_filter("updated>1h").terms
    assert (long_ago.op, long_ago.seconds) == ("<", 3600.0)
    (since,) = parse_filter("updated>=2026-11-20").terms
    assert (since.op, since.at) == (">=", "2026-11-20T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stat:failed", 'stat:failed: unknown field "stat"; did you mean status?'),
        ("wrkflow:order", 'wrkflow:order: unknown field "wrkflow"; did you mean workflow?'),
        ("status:failled", 'status:failled: no status "failled"; did you mean failed?'),
        ("status:xyz", 'status:xyz: no status "xyz"'),
        ("failed", "failed is not field:value"),
        ("key:", "key: has no value"),
        ("status>failed", "status>failed: status has no order, write status:failed"),
        ("age:1h", "age:1h: age needs < or >, as in  age>1h"),
        ("age>soon", 'age>soon: "soon" is not a duration'),
        ("due<soon", 'due<soon: "soon" is not a duration or a date'),
        ("age>2026-11-20", 'age>2026-11-20: "2026-11-20" is not a duration'),
        ('error:"open', 'error:"open has a quote that is not closed'),
        ("a=1 " * 51, "a filter is at most 50 words, this one 51"),
        ("x" * 2001, "a filter is at most 2,000 characters, this one 2,001"),
    ],
)
def test_a_wrong_word_is_named_with_its_mend(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_filter(text)
    assert caught.value.message == message


def test_a_bare_status_is_told_its_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_filter("failed")
    assert caught.value.hint == "name the field:  status:failed"


def test_with_the_declared_attributes_known_others_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="did you mean customer"):
        parse_filter("custmer=alice", ["customer"])
    with pytest.raises(InvalidRequest, match='unknown field "colour"'):
        parse_filter("colour=red", ["customer"])


@pytest.mark.parametrize("text", ["status:failed", "-key=7", "age>1h", "customer=a/b", "total<=5"])
def test_a_field_and_an_operator_make_a_filter(text: str) -> None:
    assert looks_like_filter(text)


@pytest.mark.parametrize("text", ["order/7", "order/a:b", "0193c0de", "0193c0de-0000-7000-8000"])
def test_ids_and_keys_are_no_filter(text: str) -> None:
    assert not looks_like_filter(text)
