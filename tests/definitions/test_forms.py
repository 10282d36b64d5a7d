"""Forms without an engine: every line of features 4.4, the kinds of fields, and the schema."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
from collections.abc import Callable, Generator, Iterator
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
import pytest

from greenroom import (
    Accept,
    Check,
    Choice,
    Divider,
    Email,
    FileName,
    FormError,
    FormGenerator,
    FormInvalid,
    FormNotComplete,
    FormOverflow,
    FormPage,
    Hidden,
    InvalidDefinition,
    Label,
    LongText,
    Money,
    State,
    choice_list,
    money,
    read_only,
    read_only_field,
    read_only_list,
)
from greenroom.definitions.forms import Result, form_target, run_form, run_target
from greenroom.definitions.pages import page_of


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class First(FormPage):
    ok: bool
    comment: str = ""


def one_page(state: State) -> FormGenerator:
    page = yield First
    return {**page.model_dump(), "extra": state.get("order_id")}


def two_pages() -> FormGenerator:
    first = yield First

    class Second(FormPage):
        why: str = f"said {first.comment}"

    second = yield First if first.ok else Second
    return {"first": first.comment, "second": second.model_dump()}


def errors_of(error: FormInvalid) -> dict[str, str]:
    return {".".join(map(str, one["loc"])): one["type"] for one in error.errors}


def invalid(page: type, data: Any) -> dict[str, str]:
    """The errors of a page: place -> type."""
    with pytest.raises(FormInvalid) as caught:
        run_form(lambda: page, {}, [data])
    return errors_of(caught.value)


def filled(page: type, data: Any) -> dict[str, Any]:
    """What a form of one page gives."""
    return run_form(lambda: page, {}, [data]).value


# -- the table of 4.4 ----------------------------------------------------------------------------


def test_fewer_pages_than_needed_gives_the_schema_of_the_next() -> None:
    with pytest.raises(FormNotComplete) as none:
        run_form(two_pages, {}, [])
    assert none.value.details["page"] == 1
    assert none.value.schema["properties"]["ok"] == {"title": "Ok", "type": "boolean"}
    with pytest.raises(FormNotComplete) as one:
        run_form(two_pages, {}, [{"ok": False, "comment": "no"}])
    assert one.value.details["page"] == 2
    assert one.value.code == "form_not_complete"
    assert one.value.schema["properties"]["why"]["default"] == "said no"


def test_an_invalid_page_lists_every_error_of_it() -> None:
    with pytest.raises(FormInvalid) as caught:
        run_form(one_page, {"state": {}}, [{"comment": 5, "coment": "x"}])
    assert caught.value.errors == [
        {"loc": ["ok"], "msg": "is required", "type": "missing"},
        {"loc": ["comment"], "msg": "must be text", "type": "string_type"},
        {
            "loc": ["coment"],
            "msg": 'unknown field; did you mean "comment"?',
            "type": "extra_forbidden",
        },
    ]
    assert caught.value.details["page"] == 1
    assert "coment   unknown field" in str(caught.value)


def test_exactly_the_pages_asked_for_give_what_the_form_returns() -> None:
    found = run_form(one_page, {"state": {"order_id": "7"}}, [{"ok": True}])
    assert found == Result({"ok": True, "comment": "", "extra": "7"}, 1)


def test_more_pages_than_asked_for_are_refused_with_their_number() -> None:
    with pytest.raises(FormOverflow, match="2 remaining") as caught:
        run_form(one_page, {"state": {}}, [{"ok": True}, {}, {}])
    assert caught.value.details == {"pages": 1, "given": 3, "remaining": 2}


def test_an_unknown_field_is_an_error_on_that_field() -> None:
    assert invalid(First, {"ok": True, "other": 1}) == {"other": "extra_forbidden"}


def test_a_read_only_field_that_was_tampered_with_is_an_error() -> None:
    class Page(FormPage):
        customer: read_only("c-1")  # type: ignore[valid-type]
        plan: str = read_only("gold")
        tags: list[str] = read_only(["a", "b"])

    assert invalid(Page, {"customer": "c-2", "plan": "x", "tags": ["b", "a"]}) == {
        "customer": "read_only", "plan": "read_only", "tags": "read_only",
    }  # fmt: skip


def test_a_read_only_field_left_out_has_its_value() -> None:
    class Page(FormPage):
        customer: str = read_only("c-1")
        tags: list[str] = read_only(["a"])

    assert filled(Page, {}) == {"customer": "c-1", "tags": ["a"]}
    assert filled(Page, {"customer": "c-1", "tags": ["a"]}) == {"customer": "c-1", "tags": ["a"]}
    assert "required" not in Page.model_json_schema()


def test_a_form_that_raises_after_a_page_is_a_form_error() -> None:
    def form() -> FormGenerator:
        yield First
        raise LookupError("no such customer")

    with pytest.raises(FormNotComplete):
        run_form(form, {}, [])
    with pytest.raises(FormError, match="LookupError: no such customer") as caught:
        run_form(form, {}, [{"ok": True}])
    assert caught.value.code == "form_error"
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), FormOverflow("mine")])
def test_whatever_a_form_raises_is_a_form_error(error: BaseException) -> None:
    def form() -> FormGenerator:
        yield First
        raise error

    with pytest.raises(FormError):
        run_form(form, {}, [{"ok": True}])


@pytest.mark.parametrize("page", [None, 5, "x", [], True])
def test_a_page_that_is_no_object_is_an_error_at_the_root(page: Any) -> None:
    assert invalid(First, page) == {"__root__": "model_type"}


def test_a_form_that_returns_nothing_gives_an_empty_result() -> None:
    def form() -> Iterator[Any]:
        yield First

    assert run_form(form, {}, [{"ok": True}]).value == {}


def test_a_form_without_pages_takes_none_or_one_empty_one() -> None:
    def form() -> FormGenerator:
        return {"done": True}
        yield First

    assert run_form(form, {}, []) == Result({"done": True}, 0)
    assert run_form(form, {}, [{}]) == Result({"done": True}, 0)
    wrong: list[list[Any]] = [[{"a": 1}], [{}, {}]]
    for pages in wrong:
        with pytest.raises(FormOverflow):
            run_form(form, {}, pages)


def test_a_plain_function_that_returns_a_page_is_a_form_of_that_page() -> None:
    assert filled(First, {"ok": True}) == {"ok": True, "comment": ""}


def test_text_is_taken_for_a_number_and_true_is_not() -> None:
    class Page(FormPage):
        n: int
        x: float = 0
        yes: bool = False

    assert filled(Page, {"n": "20", "x": "1.5", "yes": "true"}) == {"n": 20, "x": 1.5, "yes": True}
    assert filled(Page, {"n": 20.0})["n"] == 20
    assert invalid(Page, {"n": True, "x": True}) == {"n": "int_type", "x": "float_type"}
    assert invalid(Page, {"n": "20a", "x": "nan", "yes": "maybe"}) == {
        "n": "int_parsing", "x": "finite_number", "yes": "bool_parsing",
    }  # fmt: skip
    assert invalid(Page, {"n": "9" * 30}) == {"n": "int_parsing_size"}


# -- W5: what may be asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: First(ok=True), "an object of First instead of the class"),
        (lambda: 42, "asks for 42"),
        (lambda: dict, "asks for <class 'dict'>"),
        (lambda: None, "asks for None"),
    ],
)
def test_w5_what_is_no_page_class_is_a_form_error(asked: Callable[[], Any], said: str) -> None:
    def form() -> FormGenerator:
        yield asked()
        return {}

    with pytest.raises(FormError, match=said):
        run_form(form, {}, [{}])
    with pytest.raises(FormError, match=said):
        run_form(asked, {}, [])


def test_w5_the_page_object_has_attributes_and_dumps_itself() -> None:
    seen: list[Any] = []

    def form() -> FormGenerator:
        page = yield First
        seen.append(page)
        return {}

    run_form(form, {}, [{"ok": True}])
    assert (seen[0].ok, seen[0].comment) == (True, "")
    assert seen[0].model_dump() == {"ok": True, "comment": ""}
    assert seen[0] == First(ok=True)
    assert repr(seen[0]) == "First(ok=True, comment='')"
    assert seen[0].model_dump_json() == '{"ok":true,"comment":""}'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], "must return a dict"),
        ({"run": 1}, 'may not return "run"'),
        ({"x": float("nan")}, r"at \$.x"),
        ({"x": object()}, r"at \$.x"),
        ({1: 2}, "keys must be text"),
    ],
)
def test_w3_a_result_that_cannot_be_merged_is_a_form_error(value: Any, said: str) -> None:
    def form() -> FormGenerator:
        yield First
        return value  # type: ignore[no-any-return]

    with pytest.raises(FormError, match=said):
        run_form(form, {}, [{"ok": True}])


def test_w3_the_result_is_what_everybody_will_read_from_the_store() -> None:
    def form() -> FormGenerator:
        yield First
        return {"at": datetime.date(2026, 1, 2), "all": (1, 2), "page": First(ok=True)}

    assert run_form(form, {}, [{"ok": True}]).value == {
        "at": "2026-01-02", "all": [1, 2], "page": {"ok": True, "comment": ""},
    }  # fmt: skip


# -- other ways to write one ---------------------------------------------------------------------


def test_a_coroutine_function_asks_with_ui() -> None:
    async def form(ui: Any, name: str) -> dict[str, Any]:
        first = await ui.page(First)
        if not first.ok:
            await ui.page(First)
        return {"name": name, "comment": first.comment}

    target = form_target(form)
    state = {"name": "anna"}
    with pytest.raises(FormNotComplete) as caught:
        run_target(target, state, [{"ok": False}], {})
    assert caught.value.details["page"] == 2
    found = run_target(target, state, [{"ok": True, "comment": "x"}], {})
    assert found.value == {"name": "anna", "comment": "x"}


def test_a_coroutine_that_awaits_something_else_is_a_form_error() -> None:
    class Foreign:
        def __await__(self) -> Generator[Any, Any, None]:
            yield "a future"

    async def form(ui: Any) -> None:
        await Foreign()

    with pytest.raises(FormError, match="not a page"):
        run_target(form_target(form), {}, [], {})


def test_structs_and_dataclasses_are_pages() -> None:
    class Size(msgspec.Struct, rename="camel"):
        wide_mm: int
        high_mm: int = 10

        def __post_init__(self) -> None:
            if self.wide_mm < self.high_mm:
                raise ValueError("must be wider than high")

    @dataclasses.dataclass
    class Place:
        city: str
        tags: list[str] = dataclasses.field(default_factory=list)

    assert filled(Size, {"wideMm": "20"}) == {"wide_mm": 20, "high_mm": 10}
    assert invalid(Size, {"wide_mm": 1}) == {"wideMm": "missing", "wide_mm": "extra_forbidden"}
    assert invalid(Size, {"wideMm": 1}) == {"__root__": "value_error"}
    assert filled(Place, {"city": "Utrecht"}) == {"city": "Utrecht", "tags": []}
    assert invalid(Place, {"tags": ["a", 1], "x": 1}) == {
        "city": "missing", "tags.1": "string_type", "x": "extra_forbidden",
    }  # fmt: skip


def test_a_pydantic_model_is_a_page() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        n: int
        name: str = "x"
        tags: list[str] = pydantic.Field(default_factory=lambda: ["a"])

    assert filled(Model, {"n": "20"}) == {"n": 20, "name": "x", "tags": ["a"]}
    assert invalid(Model, {"n": "a", "name": 1, "z": 1}) == {
        "n": "int_parsing", "name": "string_type", "z": "extra_forbidden",
    }  # fmt: skip
    assert invalid(Model, []) == {"__root__": "model_type"}
    with pytest.raises(FormNotComplete) as caught:
        run_form(lambda: Model, {}, [])
    assert caught.value.schema["properties"]["tags"]["default"] == ["a"]
    assert caught.value.schema["additionalProperties"] is False


def test_w5_an_error_of_a_nested_pydantic_model_stands_at_its_root() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Limit(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        on: bool = False
        speed: int | None = None

        @pydantic.model_validator(mode="after")  # type: ignore[untyped-decorator]
        def together(self) -> Any:
            if self.speed is not None and not self.on:
                raise ValueError("switch it on first")
            return self

        @pydantic.field_validator("speed")  # type: ignore[untyped-decorator]
        @classmethod
        def slow(cls, speed: int | None) -> int | None:
            assert speed is None or speed < 100, "too fast"
            return speed

    class Page(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        one: Limit | None = None
        other: Limit = pydantic.Field(default=Limit(), alias="the other")
        many: list[Limit] | None = None
        named: dict[str, Limit] | None = None

    bad = {"speed": 1}
    wrong = invalid(Page, {"one": bad, "the other": bad, "many": [bad], "named": {"a": bad}})
    assert wrong == dict.fromkeys(
        ["one.__root__", "the other.__root__", "many.0.__root__", "named.a.__root__"], "value_error"
    )
    assert invalid(Page, {"one": {"on": True, "speed": 500}}) == {"one.speed": "assertion_error"}


def test_w5_limits_defaults_and_names_said_by_pydantic_are_carried_out() -> None:
    pydantic = pytest.importorskip("pydantic")
    limits = pytest.importorskip("annotated_types")

    class Page(FormPage):
        n: Annotated[int, pydantic.Field(ge=1, title="Number")]
        some: Annotated[list[int], limits.MinLen(2)] = pydantic.Field(
            default_factory=lambda: [1, 2]
        )
        code: str = pydantic.Field(
            "AB", pattern="^[A-Z]+$", alias="the code", description="Two signs"
        )

    assert filled(Page, {"n": 1}) == {"n": 1, "some": [1, 2], "code": "AB"}
    assert filled(Page, {"n": 2, "the code": "C", "some": [3, 4]})["code"] == "C"
    assert invalid(Page, {"n": 0, "some": [1], "the code": "c", "code": "C"}) == {
        "n": "greater_than_equal", "some": "too_short", "the code": "string_pattern_mismatch",
        "code": "extra_forbidden",
    }  # fmt: skip
    shown = Page.model_json_schema()["properties"]
    assert (shown["n"]["minimum"], shown["n"]["title"]) == (1, "Number")
    assert (shown["some"]["minItems"], shown["some"]["default"]) == (2, [1, 2])
    assert shown["the code"]["pattern"] == "^[A-Z]+$"


def test_w5_rules_that_only_pydantic_carries_out_are_refused_in_a_page_of_ours() -> None:
    pydantic = pytest.importorskip("pydantic")

    def said(name: str, **more: Any) -> str:
        with pytest.raises(InvalidDefinition) as caught:
            type(name, (FormPage,), {"__annotations__": {"n": int}, **more})
        assert caught.value.hint is not None and f"{name}(pydantic.BaseModel)" in caught.value.hint
        return caught.value.message

    small = pydantic.field_validator("n")(classmethod(lambda cls, n: n))
    together = pydantic.model_validator(mode="after")(lambda self: self)
    assert "Checked uses pydantic's validator small" in said("Checked", small=small)
    assert "Whole uses pydantic's validator together" in said("Whole", together=together)
    for odd in (
        {"strict": True}, {"decimal_places": 2}, {"exclude": True}, {"frozen": True},
        {"ge": 1, "gt": 0}, {"json_schema_extra": print}, {"validation_alias": "a", "alias": "b"},
    ):  # fmt: skip
        assert "Odd uses pydantic's FieldInfo of n" in said("Odd", n=pydantic.Field(**odd))
    inner = list[Annotated[int, pydantic.Field(ge=1)]]
    assert "limit inside n" in said("Inner", __annotations__={"n": inner})
    upper = pydantic.constr(to_upper=True)
    assert "StringConstraints of n" in said("Upper", __annotations__={"n": upper})


def test_w5_an_empty_limit_limits_nothing() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Page(FormPage):
        some: pydantic.conlist(int)  # type: ignore[valid-type]
        few: pydantic.conlist(int, max_length=1) = pydantic.Field([])  # type: ignore[valid-type]

    assert filled(Page, {"some": []}) == {"some": [], "few": []}
    assert "minItems" not in Page.model_json_schema()["properties"]["some"]
    assert invalid(Page, {"some": [], "few": [1, 2]}) == {"few": "too_long"}


def test_a_page_of_pydantic_forms_is_a_page() -> None:
    core = pytest.importorskip("pydantic_forms.core")
    validators = pytest.importorskip("pydantic_forms.validators")

    class Page(core.FormPage):  # type: ignore[name-defined, misc]
        note: validators.LongText  # type: ignore[name-defined]
        fixed: validators.read_only_field("f")  # type: ignore[valid-type]

    assert filled(Page, {"note": "n"}) == {"note": "n", "fixed": "f"}
    assert set(invalid(Page, {"fixed": "g", "x": 1})) == {"note", "fixed", "x"}


# -- declaring -----------------------------------------------------------------------------------


def test_a_form_that_can_never_work_is_refused_where_it_is_declared() -> None:
    async def generator() -> Any:
        yield First

    async def no_ui() -> None: ...

    def anything(*args: Any, n: int) -> None: ...

    for func, said in [
        (generator, "async generator"),
        (no_ui, "takes no ui"),
        (anything, "needs a name"),
        (5, "needs a function"),
        (dict, "needs a function"),
    ]:
        with pytest.raises(InvalidDefinition, match=said):
            form_target(func)


def test_a_page_class_and_a_function_that_takes_anything_are_forms() -> None:
    for form in (First, lambda *_, **__: First):
        found = run_target(form_target(form), {"a": 1}, [{"ok": True}], {})
        assert found.value == {"ok": True, "comment": ""}


def test_a_page_with_a_field_nobody_can_fill_in_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match=r"Bad\.either"):

        class Bad(FormPage):
            either: UUID | str

    with pytest.raises(InvalidDefinition, match="cannot be resolved"):

        class Unknown(FormPage):
            x: Nothing  # type: ignore[name-defined]  # noqa: F821


def test_a_value_missing_in_the_state_is_the_fault_of_the_form() -> None:
    def form(customer: str) -> FormGenerator:
        yield First
        return {}

    said = r'form form\(customer\) needs "customer", the state has: nothing'
    with pytest.raises(FormError, match=said):
        run_target(form_target(form), {}, [], {})


# -- purity --------------------------------------------------------------------------------------


def test_w3_a_form_with_a_side_effect_is_found_by_the_second_run() -> None:
    calls: list[int] = []

    def result() -> FormGenerator:
        yield First
        calls.append(1)
        return {"n": len(calls)}

    def page() -> FormGenerator:
        calls.append(1)

        class Counted(FormPage):
            n: int = len(calls)

        yield Counted
        return {}

    def number() -> FormGenerator:
        calls.append(1)
        for _ in range(len(calls)):
            yield First
        return {}

    for form, said in [
        (result, "another result"),
        (page, "another page 1"),
        (number, "another page 2"),
    ]:
        calls.clear()
        pages = [{}] if form is page else [{"ok": True}]
        with pytest.raises(FormError, match=f"not pure.*{said}"):
            run_target(form_target(form), {}, pages, {}, twice=True)


def test_a_form_gets_copies_so_that_it_cannot_change_the_state() -> None:
    def form(state: State, items: list[int]) -> FormGenerator:
        state["order_id"] = "8"
        items.append(3)
        yield First
        return {"items": items}

    state = {"order_id": "7", "items": [1]}
    found = run_target(form_target(form), state, [{"ok": True}], {}, twice=True)
    assert found.value == {"items": [1, 3]}
    assert state == {"order_id": "7", "items": [1]}


def test_the_form_is_left_where_it_asks() -> None:
    left: list[str] = []

    def form() -> FormGenerator:
        try:
            yield First
        finally:
            left.append("left")
        return {}

    with pytest.raises(FormNotComplete):
        run_form(form, {}, [])
    assert left == ["left"]


# -- kinds of fields -----------------------------------------------------------------------------


class Size(Choice):
    S = "s", "Small"
    L = "l"


def test_a_choice_is_one_of_its_values_and_has_labels() -> None:
    class Page(FormPage):
        size: Size
        sizes: choice_list(Size, min_items=1, max_items=2, unique_items=True)  # type: ignore[valid-type]
        colour: Colour = Colour.RED

    assert filled(Page, {"size": "s", "sizes": ["l"]}) == {
        "size": "s",
        "sizes": ["l"],
        "colour": "red",
    }
    assert invalid(Page, {"size": "x", "sizes": ["s", "x"], "colour": 1}) == {
        "size": "enum", "sizes.1": "enum", "colour": "enum",
    }  # fmt: skip
    assert invalid(Page, {"size": "s", "sizes": []}) == {"sizes": "too_short"}
    assert invalid(Page, {"size": "s", "sizes": ["s", "l", "s"]}) == {"sizes": "too_long"}
    assert invalid(Page, {"size": "s", "sizes": ["s", "s"]}) == {"sizes": "unique_list"}
    schema = Page.model_json_schema()
    assert schema["$defs"]["Size"] == {
        "title": "Size", "type": "string", "enum": ["s", "l"], "options": {"s": "Small", "l": "l"},
    }  # fmt: skip
    assert schema["properties"]["size"] == {"$ref": "#/$defs/Size"}
    assert schema["properties"]["sizes"] == {
        "title": "Sizes", "type": "array", "items": {"$ref": "#/$defs/Size"},
        "minItems": 1, "maxItems": 2, "uniqueItems": True,
    }  # fmt: skip
    assert (Size.S.label, Size("l").label, str(Size.S)) == ("Small", "l", "s")


def test_accept_must_be_accepted() -> None:
    class Cabled(Accept):
        data = [("Cable is plugged in", "checkbox")]  # noqa: RUF012

    class Page(FormPage):
        cabled: Cabled

    assert filled(Page, {"cabled": "ACCEPTED"}) == {"cabled": "ACCEPTED"}
    assert filled(Page, {"cabled": True}) == {"cabled": "ACCEPTED"}
    for wrong in ("INCOMPLETE", False, "yes", 1):
        assert invalid(Page, {"cabled": wrong}) == {"cabled": "value_error"}
    assert Page.model_json_schema()["properties"]["cabled"] == {
        "title": "Cabled", "type": "string", "format": "accept",
        "enum": ["ACCEPTED", "INCOMPLETE"], "data": [("Cable is plugged in", "checkbox")],
    }  # fmt: skip


def test_labels_dividers_and_hidden_fields_are_shown_and_not_read() -> None:
    class Page(FormPage):
        hello: Label = "Read this"
        line: Divider
        secret: Hidden = "s"
        text: LongText = ""

    found = filled(Page, {"hello": "changed", "line": "x", "secret": "y", "text": "a\nb"})
    assert found == {"hello": "Read this", "line": None, "secret": "s", "text": "a\nb"}
    fields = Page.model_json_schema()["properties"]
    assert fields["hello"] == {
        "title": "Hello", "type": "string", "format": "label", "default": "Read this",
    }  # fmt: skip
    assert [fields[name]["format"] for name in fields] == ["label", "divider", "hidden", "long"]


def test_days_mails_files_and_durations_are_checked() -> None:
    class Page(FormPage):
        day: datetime.date
        mail: Email
        file: FileName
        id: UUID
        wait: datetime.timedelta = datetime.timedelta(hours=1)

    good = {"day": "2026-02-28", "mail": "a@b.org", "file": "a b.txt", "id": str(uuid4())}
    assert filled(Page, good) == {**good, "wait": "PT3600S"}
    assert invalid(Page, {"day": "2026-02-30", "mail": "a@b", "file": "../x", "id": "1"}) == {
        "day": "date_parsing", "mail": "value_error", "file": "value_error", "id": "uuid_parsing",
    }  # fmt: skip
    assert invalid(Page, {**good, "day": 20, "wait": "5"}) == {
        "day": "date_type", "wait": "time_delta_parsing",
    }  # fmt: skip
    for name in ("", "..", "a/b", "a\\b", "a\x00", "x" * 256):
        assert list(invalid(Page, {**good, "file": name})) == ["file"]
    fields = Page.model_json_schema()["properties"]
    assert [fields[name]["format"] for name in fields] == [
        "date", "email", "file", "uuid", "duration",
    ]  # fmt: skip


def test_money_keeps_every_digit() -> None:
    class Page(FormPage):
        price: Money
        rate: money(4) = decimal.Decimal("0.1")  # type: ignore[valid-type]
        exact: decimal.Decimal = decimal.Decimal(0)

    big = "12345678901234567890.10"
    assert filled(Page, {"price": big, "exact": "0.1000"}) == {
        "price": big, "rate": "0.1000", "exact": "0.1000",
    }  # fmt: skip
    assert filled(Page, {"price": 12.5})["price"] == "12.50"
    assert filled(Page, {"price": 12})["price"] == "12.00"
    for wrong in ("1.234", "NaN", "Infinity", "1,5", "", True, 0.1 + 0.2, None, "1e-3"):
        assert list(invalid(Page, {"price": wrong})) == ["price"], wrong
    assert Page.model_json_schema()["properties"]["price"]["format"] == "decimal"


def test_a_read_only_field_says_so_in_the_schema() -> None:
    id = uuid4()

    class Page(FormPage):
        id_: read_only_field(id)  # type: ignore[valid-type]
        text: read_only_field("long", LongText)  # type: ignore[valid-type]
        all: read_only_list([1, 2])  # type: ignore[valid-type]
        none: read_only(None)  # type: ignore[valid-type]

    fields = Page.model_json_schema()["properties"]
    assert fields["id_"] == {
        "title": "Id ", "type": "string", "const": str(id), "default": str(id),
        "uniforms": {"disabled": True, "value": str(id)},
        "extraProperties": {"disabled": True, "value": str(id)},
    }  # fmt: skip
    assert fields["text"]["format"] == "long"
    assert (fields["all"]["type"], fields["all"]["default"]) == ("array", [1, 2])
    assert filled(Page, {"id_": str(id)})["id_"] == str(id)
    calls: list[Callable[[], Any]] = [
        lambda: read_only({}), lambda: read_only_field([1]), lambda: read_only_list(None),
        lambda: read_only([1, "a"]), lambda: read_only([None]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            call()


def test_limits_and_checks_of_a_field() -> None:
    def even(n: int) -> int:
        if n % 2:
            raise ValueError("must be even")
        return n

    class Page(FormPage):
        n: Annotated[int, msgspec.Meta(ge=2, le=8), Check(even)]
        name: Annotated[str, msgspec.Meta(min_length=2, pattern="^[a-z]+$")] = "ab"
        kind: Literal["a", "b"] = "a"
        level: Literal[1, 2] = 1

    assert filled(Page, {"n": "4", "level": "2"})["level"] == 2
    assert invalid(Page, {"n": 1, "name": "a", "kind": "c", "level": 3}) == {
        "n": "greater_than_equal", "name": "string_too_short", "kind": "literal_error",
        "level": "literal_error",
    }  # fmt: skip
    assert invalid(Page, {"n": 9, "name": "AB"}) == {
        "n": "less_than_equal", "name": "string_pattern_mismatch",
    }  # fmt: skip
    assert invalid(Page, {"n": 5}) == {"n": "value_error"}
    assert Page.model_json_schema()["properties"]["n"] == {
        "title": "N", "type": "integer", "minimum": 2, "maximum": 8,
    }  # fmt: skip


# -- pages in pages, defaults, rules of a whole page ---------------------------------------------


class Port(FormPage):
    number: int
    speed: int = 10

    def __post_init__(self) -> None:
        if self.speed > 100 * self.number:
            raise ValueError("too fast for this port")


def test_errors_in_lists_maps_and_nested_pages_name_their_place() -> None:
    class Page(FormPage):
        main: Port
        ports: list[Port] = []  # noqa: RUF012
        spare: Port | None = None
        by_name: dict[str, Port] = {}  # noqa: RUF012
        pair: tuple[int, str] = (1, "a")

    found = filled(Page, {"main": {"number": "1"}, "ports": [{"number": 2}]})
    assert found["main"] == {"number": 1, "speed": 10}
    assert found["ports"] == [{"number": 2, "speed": 10}]
    data = {
        "main": {"speed": "x", "z": 1},
        "ports": [{"number": 1}, {}, 5],
        "spare": {"number": 1, "speed": 500},
        "by_name": {"a": {"number": []}},
        "pair": [1],
    }
    assert invalid(Page, data) == {
        "main.number": "missing", "main.speed": "int_parsing", "main.z": "extra_forbidden",
        "ports.1.number": "missing", "ports.2": "model_type",
        "spare.__root__": "value_error",
        "by_name.a.number": "int_type",
        "pair": "list_length",
    }  # fmt: skip
    port = Page.model_json_schema()["$defs"]["Port"]
    assert (port["title"], port["required"]) == ("Port", ["number"])


def test_a_factory_gives_its_default_to_the_schema_and_a_fresh_value_to_each_page() -> None:
    def broken() -> list[int]:
        raise RuntimeError("no default today")

    class Page(FormPage):
        items: list[int] = dataclasses.field(default_factory=lambda: [1, 2])
        more: list[Colour] = msgspec.field(default_factory=lambda: [Colour.RED])
        plain: list[int] = []  # noqa: RUF012
        bad: list[int] = dataclasses.field(default_factory=broken)

    fields = Page.model_json_schema()["properties"]
    assert fields["items"]["default"] == [1, 2]
    assert fields["more"]["default"] == ["red"]
    assert "default" not in fields["bad"]
    one, other = Page(bad=[]), Page(bad=[])
    one.plain.append(1)
    one.items.append(3)
    assert (other.plain, other.items) == ([], [1, 2])


def test_a_page_inherits_fields_title_and_description() -> None:
    class Base(FormPage):
        model_config = {"title": "Base title"}  # noqa: RUF012
        a: int

    class Page(Base):
        """Asks for b too."""

        b: int | None
        a: int = 5

    schema = Page.model_json_schema()
    assert (schema["title"], schema["description"]) == ("Base title", "Asks for b too.")
    assert list(schema["properties"]) == ["a", "b"]
    assert schema["required"] == ["b"]
    assert schema["additionalProperties"] is False
    assert First.model_json_schema()["title"] == "unknown"


def test_a_page_can_be_made_and_read_without_a_form() -> None:
    assert First(ok=True, comment="x").comment == "x"
    assert First.model_validate({"ok": "false"}).ok is False
    with pytest.raises(FormInvalid):
        First(ok=1.5, z=1)
    with pytest.raises(FormInvalid):
        First.model_validate([])


# -- patterns that whoever answers would make slow ------------------------------------------------


class Coded(FormPage):
    code: Annotated[str, msgspec.Meta(pattern="^(a+)+$", title="Code")]
    codes: list[Annotated[str, msgspec.Meta(pattern="^(a|a)*$", max_length=90_000)]] | None = None
    maybe: Annotated[str, msgspec.Meta(pattern="^(a|aa)+$")] | None = None


class CodedStruct(msgspec.Struct):
    code: Annotated[str, msgspec.Meta(pattern="^(a+)+$")]


def test_D_patterns_of_code_run_in_time_in_proportion_to_the_answer() -> None:
    slow = "a" * 40_000 + "!"
    for page in (Coded, CodedStruct):
        found = page_of(page)
        assert found is not None
        assert found.read({"code": "aaa"})[1] == []
        (error,) = found.read({"code": slow})[1]
        assert (error["loc"], error["type"]) == (["code"], "string_pattern_mismatch")
        assert found.schema()["properties"]["code"]["pattern"] == "^(a+)+$"
    errors = Coded.__page__.read({"code": "a", "codes": ["a", slow], "maybe": slow})[1]
    assert [error["loc"] for error in errors] == [["codes", 1], ["maybe"]]
    assert Coded(code="a", maybe=None).maybe is None
    assert Coded.model_json_schema()["properties"]["code"]["title"] == "Code"


def test_D_a_pattern_that_can_be_made_slow_is_refused_where_it_is_written() -> None:
    with pytest.raises(
        InvalidDefinition, match=r"Behind.code: the pattern .* is none here"
    ) as caught:

        class Behind(FormPage):
            code: Annotated[str, msgspec.Meta(pattern="^(?!x)a$")]

    assert "__post_init__" in str(caught.value.hint)
