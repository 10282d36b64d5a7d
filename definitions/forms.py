"""Forms: functions that ask a person for one page after the other.

A form is a generator that yields page classes and receives page objects, a coroutine function
with `await ui.page(P)`, or a plain function that returns one page class. What it returns is merged
into the state. A form is never part of a running instance: it is *run again from its start* with
the pages given so far, for every look at it and for every answer, on a copy of the state. So it
must be pure, and nothing is kept between two pages: a crash there loses nothing but the typing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import (
    FormError,
    FormInvalid,
    FormNotComplete,
    FormOverflow,
    InvalidDefinition,
    Rejected,
)
from greenroom.definitions.injection import VIRTUAL, injector, location
from greenroom.definitions.pages import Page, invalid, page_of
from greenroom.definitions.reading import ROOT, problem
from greenroom.definitions.resources import Stored, changes_of, resources_in
from greenroom.definitions.values import Json, canonical, encode_decode
from greenroom.definitions.workflow import Target

FormGenerator = Generator[Any, Any, dict[str, Any]]
"""What a form function returns: it yields page classes, receives page objects, returns a dict."""
InputStepFunc = Callable[..., Any]
"""A form function: a generator, `async def form(ui)`, or one that returns a page class."""

PAGES_MAX: Final = 100


class Result(msgspec.Struct, frozen=True):
    """A complete and valid answer: what the form made of it, and how many pages it took."""

    value: dict[str, Json]
    pages: int


class Ui:
    """What an `async def` form asks with: `page = await ui.page(Page)`."""

    def page(self, cls: Any) -> _Asked:
        return _Asked(cls)


class _Asked:
    __slots__ = ("cls",)

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.cls)


# -- declaring ---------------------------------------------------------------------------------


def form_target(func: Any, name: str | None = None) -> Target:
    """A form function, with what can be checked when it is declared. A page class alone is the
    form that asks for it."""
    if page_of(func) is not None:
        func = _asking(func)
    if not callable(func) or isinstance(func, type):
        raise InvalidDefinition(f"a form needs a function, got {func!r}")
    if inspect.isasyncgenfunction(func):
        raise InvalidDefinition(
            f"{func.__name__} is an async generator, which cannot return a result   {location(func)}",
            hint="write `async def form(ui)` with `page = await ui.page(Page)`",
        )
    title = name if name is not None else _title(func)
    if not isinstance(title, str) or not title.strip():
        raise InvalidDefinition(f"the name of a form must be text, got {name!r}   {location(func)}")
    asks = inspect.iscoroutinefunction(func)
    if asks and not inspect.signature(func).parameters:
        raise InvalidDefinition(
            f"{func.__name__} takes no ui to ask with   {location(func)}",
            hint=f"async def {func.__name__}(ui)",
        )
    if not asks and _takes_anything(func):
        func = _called_bare(func)
    inject = injector(func, skip_first=asks, resources=True, kind="form")
    return Target(title, func, inject, False)


def _title(func: Any) -> str:
    return str(getattr(func, "__name__", "form")).replace("_", " ")


def _asking(cls: Any) -> Callable[[], Any]:
    def form() -> Any:
        return cls

    form.__name__ = form.__qualname__ = cls.__name__
    form.__module__ = cls.__module__
    return form


def _takes_anything(func: Any) -> bool:
    """`lambda *_: Page`: given nothing."""
    parameters = inspect.signature(func).parameters.values()
    return bool(parameters) and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _called_bare(func: Callable[[], Any]) -> Callable[[], Any]:
    def form() -> Any:
        return func()

    form.__name__ = form.__qualname__ = _title(func)
    form.__wrapped__ = func  # type: ignore[attr-defined]
    form.__signature__ = inspect.Signature()  # type: ignore[attr-defined]
    return form


# -- running -----------------------------------------------------------------------------------


def run_form(
    func: Callable[..., Any], arguments: Mapping[str, Any], pages: Sequence[Json]
) -> Result:
    """Runs a form from its start with the pages given. Pure as long as the form is.

    Raises `FormNotComplete` with the schema of the next page, `FormInvalid` with all errors of a
    page, `FormOverflow` for pages nobody asked for, `FormError` for what the form does wrong.
    """
    return _run(func, arguments, pages, [])


def run_target(
    target: Target,
    source: Mapping[str, Any],
    pages: Sequence[Json],
    virtual: Mapping[str, Any],
    *,
    twice: bool = False,
    found: Mapping[str, Stored] | None = None,
) -> Result:
    """Runs a form with arguments out of a state; `found` are the resources it reads. `twice`: a second run must ask and give the
    same, else the form is not pure."""
    first = _attempt(target, source, pages, virtual, found)
    if twice:
        second = _attempt(target, source, pages, virtual, found)
        if second.seen != first.seen:
            raise FormError(
                f"the form {target.name} is not pure: run again with the same answers it "
                f"{_difference(first.seen, second.seen)}   {location(target.func)}",
                hint="a form is run again for each look and each answer; do effects in a step, and "
                "take time and chance from the state",
                form=target.name,
            )
    if first.error is not None:
        raise first.error
    assert first.result is not None
    return first.result


class _Attempt(msgspec.Struct):
    seen: list[bytes]
    """What it asked for, and then what came out."""
    result: Result | None = None
    error: Rejected | None = None


def _attempt(
    target: Target,
    source: Mapping[str, Any],
    pages: Sequence[Json],
    virtual: Mapping[str, Any],
    found: Mapping[str, Stored] | None,
) -> _Attempt:
    made = _Attempt([])
    try:
        assert target.injector is not None
        try:
            arguments = target.injector.arguments(source, virtual, found)
        except Rejected as error:
            raise _failed(target.func, error) from error
        func = functools.partial(_called, target)
        functools.update_wrapper(func, target.func)
        made.result = _run(func, arguments, pages, made.seen)
        made.seen.append(canonical(made.result.value))
    except Rejected as error:
        made.error = error
        made.seen.append(canonical([error.code, error.message]))
    return made


def _called(target: Target, *ui: Any, **arguments: Any) -> Any:
    assert target.injector is not None
    func = functools.partial(target.func, *ui) if ui else target.func
    return target.injector.call(func, arguments)


def _difference(first: list[bytes], second: list[bytes]) -> str:
    for number, (one, other) in enumerate(zip(first, second, strict=False), 1):
        if one != other:
            last = number == len(first) and number == len(second)
            return "gives another result" if last else f"asks another page {number}"
    return f"asks for {len(second) - 1} pages instead of {len(first) - 1}"


def _run(
    func: Callable[..., Any], arguments: Mapping[str, Any], pages: Sequence[Json], seen: list[bytes]
) -> Result:
    steps = _asked(func, arguments)
    sent = 0
    try:
        wanted = next(steps)
        while True:
            page = _page(func, wanted)
            schema = page.schema()
            seen.append(canonical(schema))
            if sent == len(pages):
                raise _not_complete(wanted, page, schema, sent + 1)
            made, errors = page.read(pages[sent])
            if errors:
                raise invalid(page.name, errors, sent + 1)
            sent += 1
            if sent > PAGES_MAX:
                raise FormError(f"the form {_title(func)} asks for more than {PAGES_MAX} pages")
            wanted = steps.send(made)
    except StopIteration as ended:
        value = ended.value
    except (FormInvalid, FormNotComplete, FormError):
        raise
    except (Exception, SystemExit) as error:
        raise _failed(func, error) from error
    finally:
        _close(steps)
    if len(pages) > sent and not (sent == 0 and pages == [{}]):
        left = len(pages) - sent
        raise FormOverflow(
            f"the form {_title(func)} takes {sent} page{'s' if sent != 1 else ''}, "
            f"got {len(pages)} ({left} remaining)",
            pages=sent, given=len(pages), remaining=left,
        )  # fmt: skip
    return Result(_value(func, value), sent)


def _not_complete(wanted: Any, page: Page, schema: dict[str, Json], number: int) -> FormNotComplete:
    return FormNotComplete(
        f"page {number} ({page.name}) is needed",
        hint="answer with one object for a page, or a list of them",
        schema=schema, page=number, meta=getattr(wanted, "meta__", None),
    )  # fmt: skip


def _asked(func: Callable[..., Any], arguments: Mapping[str, Any]) -> Generator[Any, Any, Any]:
    """Every kind of form as a generator of pages."""
    if inspect.iscoroutinefunction(inspect.unwrap(func)):
        return (yield from func(Ui(), **arguments).__await__())
    found = func(**arguments)
    if inspect.isgenerator(found):
        return (yield from found)
    answer = yield found
    page = page_of(type(answer))
    return page.dump(answer) if page is not None else answer


def _page(func: Callable[..., Any], wanted: Any) -> Page:
    page = page_of(wanted)
    if page is not None:
        return page
    what = f"asks for {_short(wanted)}, which is not a page"
    hint = "yield a class: a FormPage, msgspec.Struct, dataclass or pydantic model"
    if page_of(type(wanted)) is not None:
        what = f"yields an object of {type(wanted).__name__} instead of the class"
        hint = f"yield {type(wanted).__name__}"
    raise FormError(
        f"the form {_title(func)} {what}   {location(func)}", hint=hint, form=_title(func)
    )


def _failed(func: Callable[..., Any], error: BaseException) -> FormError:
    return FormError(
        f"the form {_title(func)} failed: {type(error).__name__}: {error}   {location(func)}",
        form=_title(func), type=type(error).__name__,
    )  # fmt: skip


def _close(steps: Generator[Any, Any, Any]) -> None:
    """The form is left where it asks; what it does on the way out is no answer."""
    try:
        steps.close()
    except (Exception, SystemExit):
        return


def _value(func: Callable[..., Any], value: Any) -> dict[str, Json]:
    """What a form returned, as everybody will see it."""
    name = _title(func)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormError(
            f"the form {name} must return a dict or None, got {_short(value)}   {location(func)}",
            form=name,
        )
    reserved = sorted(VIRTUAL.intersection(value))
    if reserved:
        raise FormError(
            f'the form {name} may not return "{reserved[0]}": the name belongs to the engine',
            form=name,
        )
    try:
        found: dict[str, Json] = encode_decode(value, f"the result of {name}")[1]
    except Rejected as error:
        raise FormError(error.message, hint=error.hint, form=name, **error.details) from None
    changed = None
    if found != value:  # objects were made data
        changed = next((one for one in resources_in(value) if changes_of(one)), None)
    if changed is not None:
        raise FormError(
            f"the form {name} returned {type(changed).__name__} {changed.id} with changes: a form "
            f"saves nothing   {location(func)}",
            hint="return what was answered, and change the resource in the step after it",
            form=name,
        )
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -- answers -----------------------------------------------------------------------------------


def pages_of(data: Json) -> list[Json]:
    """An answer as pages: one object is one page, a list is all of them."""
    if isinstance(data, list):
        return data
    if isinstance(data, Mapping):
        return [data]
    raise invalid(
        "the answer", [problem((ROOT,), "must be an object, or a list of them", "model_type")]
    )
