"""Questions of a form written like a terminal program.

    first_name = read_text("First name")
    email = read_email("E-mail")
    team = read_dropdown("Team", ["finance", "product"])
    display(f"Thank you, {first_name}")

Each call is a page of the form; `page("About you").read_text("Name").read_email("E-mail").run()`
asks several things at once. The script is run again from its top with the answers there are so far,
so it can be left at any question and gone on with another day: what it does besides asking belongs
into `once(...)` or into a script stage after it.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import keyword
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Final, Literal, Self, cast

from msgspec import Meta

from greenroom.definitions import fields
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.fields import Check, Choice, Label, LongText
from greenroom.definitions.pages import FormPage, page_of
from greenroom.definitions.stages import NoStage
from greenroom.definitions.values import Json

FILE_BYTES_MAX: Final = 512 * 1024
"""As much as fits, written as text, into the limit of a value."""

UPLOAD: Final = "upload"
"""The format of a question for a whole file: `FilePart`."""

ASKER: Final[ContextVar[Callable[[type], Any] | None]] = ContextVar("greenroom_asker", default=None)
"""Gives the answer to a page: of the form that runs in this context."""
SHOWN: Final[ContextVar[list[str] | None]] = ContextVar("greenroom_shown", default=None)
"""What was displayed and waits for the next page to be shown on."""

_NOTHING: Final = object()


class Upload(dict[str, Any]):
    """A file somebody gave: the map `name type content` (base64), as it can be kept, and `bytes`."""

    @property
    def name(self) -> str:
        return str(self["name"])

    @property
    def type(self) -> str:
        return str(self["type"])

    @property
    def content(self) -> bytes:
        """What is in it."""
        return base64.b64decode(self["content"])

    @property
    def size(self) -> int:
        return len(self.content)


class FilePart(FormPage):
    """A file as it is sent: `content` is base64."""

    name: fields.FileName
    content: str
    type: str = "application/octet-stream"

    def __post_init__(self) -> None:
        try:
            size = len(base64.b64decode(self.content, validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("the content of a file must be base64") from None
        if size > FILE_BYTES_MAX:
            raise ValueError(f"a file has at most {FILE_BYTES_MAX:,} bytes, not {size:,}")


class Question:
    """One field of a page: its name in the answer, its type, and what the script is given."""

    __slots__ = ("annotation", "default", "made", "name")

    def __init__(
        self,
        name: str,
        annotation: Any,
        default: Any = _NOTHING,
        made: Callable[[Any], Any] | None = None,
    ) -> None:
        self.name = name
        self.annotation = annotation
        self.default = default
        self.made = made


# -- kinds of questions ------------------------------------------------------------------------


def _question(
    label: str,
    annotation: Any,
    *,
    key: str | None,
    required: bool,
    initial: Any,
    hint: str | None,
    made: Callable[[Any], Any] | None = None,
    extra: Mapping[str, Json] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> Question:
    if not isinstance(label, str) or not label.strip():
        raise InvalidInput(f"a question needs a text, got {label!r}")
    name = key or name_of(label)
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise InvalidInput(f"the key of a question must be a plain name, got {name!r}")
    looks: dict[str, Any] = {"title": label, **(limits or {})}
    if hint:
        looks["description"] = hint
    if extra:
        looks["extra_json_schema"] = dict(extra)
    asked = annotation if required else annotation | None
    default = initial if initial is not None else (_NOTHING if required else None)
    return Question(name, Annotated[asked, Meta(**looks)], default, made)


def name_of(label: str) -> str:
    """`"E-mail address?"` -> `e_mail_address`."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60]
    return name if name and not name[0].isdigit() and not keyword.iskeyword(name) else f"q_{name}"


def text_question(
    label: str, *, key: str | None = None, required: bool = True, initial: str | None = None,
    hint: str | None = None, max_length: int | None = None,
) -> Question:  # fmt: skip
    limits = {"min_length": 1 if required else None, "max_length": max_length}
    return _question(
        label, str, key=key, required=required, initial=initial, hint=hint,
        limits={name: limit for name, limit in limits.items() if limit is not None},
    )  # fmt: skip


def textarea_question(
    label: str, *, key: str | None = None, required: bool = True, initial: str | None = None,
    hint: str | None = None,
) -> Question:  # fmt: skip
    return _question(
        label, LongText, key=key, required=required, initial=initial, hint=hint
    )  # fmt: skip


def email_question(
    label: str = "E-mail", *, key: str | None = None, required: bool = True,
    initial: str | None = None, hint: str | None = None,
) -> Question:  # fmt: skip
    return _question(
        label, fields.Email, key=key, required=required, initial=initial, hint=hint
    )  # fmt: skip


def number_question(
    label: str, *, key: str | None = None, required: bool = True, initial: float | None = None,
    hint: str | None = None, min: float | None = None, max: float | None = None,
) -> Question:  # fmt: skip
    limits = {name: limit for name, limit in (("ge", min), ("le", max)) if limit is not None}
    return _question(
        label, float, key=key, required=required, initial=initial, hint=hint, limits=limits,
        made=_whole,
    )  # fmt: skip


def date_question(
    label: str, *, key: str | None = None, required: bool = True,
    initial: datetime.date | None = None, hint: str | None = None,
) -> Question:  # fmt: skip
    return _question(
        label, datetime.date, key=key, required=required, initial=initial, hint=hint
    )  # fmt: skip


def checkbox_question(
    label: str, *, key: str | None = None, required: bool = False, initial: bool = False,
    hint: str | None = None,
) -> Question:  # fmt: skip
    """`required`: it must be ticked."""
    kind: Any = Annotated[bool, Check(_ticked)] if required else bool
    return _question(
        label, kind, key=key, required=True, initial=None if required else initial, hint=hint
    )  # fmt: skip


def dropdown_question(
    label: str, options: Iterable[Any], *, key: str | None = None, required: bool = True,
    initial: Any = None, hint: str | None = None,
) -> Question:  # fmt: skip
    kind = _choice(label, options)
    return _question(
        label, kind, key=key, required=required, initial=initial, hint=hint, made=_plain
    )  # fmt: skip


def multiple_question(
    label: str, options: Iterable[Any], *, key: str | None = None, required: bool = False,
    initial: Sequence[Any] | None = None, hint: str | None = None, min: int = 0,
    max: int | None = None,
) -> Question:  # fmt: skip
    """Several of the options; `required`: at least one."""
    kind: Any = list[_choice(label, options)]  # type: ignore[misc]
    least = 1 if required and min < 1 else min
    limits = {"min_length": least} if least else {}
    chosen = None if initial is None and least else list(initial or ())
    return _question(
        label, kind, key=key, required=True, initial=chosen, hint=hint, made=_plain,
        extra={"uniqueItems": True},
        limits=limits | ({"max_length": max} if max is not None else {}),
    )  # fmt: skip


def file_question(
    label: str, *, key: str | None = None, required: bool = True, hint: str | None = None
) -> Question:
    kind: Any = FilePart
    return _question(
        label, kind, key=key, required=required, initial=None, hint=hint, made=_upload,
        extra={"format": UPLOAD},
    )  # fmt: skip


def _whole(value: float | None) -> float | int | None:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ticked(value: bool) -> bool:
    if not value:
        raise ValueError("must be ticked")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value.value) if isinstance(value, Choice) else value


def _upload(value: FilePart | None) -> Upload | None:
    if value is None:
        return None
    return Upload(name=value.name, type=value.type, content=value.content)


def _choice(label: str, options: Iterable[Any]) -> Any:
    """A type of these options: values, `(value, label)` pairs, or `{"value", "label"}`."""
    pairs: list[tuple[Any, str]] = []
    for option in options:
        if isinstance(option, Mapping):
            option = (option.get("value"), option.get("label", option.get("value")))
        value, text = option if isinstance(option, tuple | list) else (option, option)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"an option of {label!r} is text or a whole number, got {value!r}")
        pairs.append((value, str(text)))
    if not pairs:
        raise InvalidInput(f"{label!r} has no options")
    values = [value for value, _ in pairs]
    if len(set(values)) < len(values):
        raise InvalidInput(f"{label!r} has an option twice")
    if all(isinstance(value, str) and text != value for value, text in pairs):
        members = {f"o{number}": pair for number, pair in enumerate(pairs)}
        return cast(Any, Choice)("Options", members)
    return Literal[tuple(values)]


# -- asking ------------------------------------------------------------------------------------


def _ask(cls: type) -> Any:
    asker = ASKER.get()
    if asker is None:
        raise NoStage(
            "questions are asked in the file of a stage whose kind is form",
            hint="greenroom stage run FOLDER/STAGE  runs one here",
        )
    return asker(cls)


def _page(title: str, questions: Sequence[Question]) -> type[FormPage]:
    """The page class of some questions, with what was displayed before it on top."""
    namespace: dict[str, Any] = {"model_config": {"title": title}, "__annotations__": {}}
    shown = SHOWN.get()
    for number, text in enumerate(shown or (), 1):
        namespace["__annotations__"][f"text_{number}"] = Label
        namespace[f"text_{number}"] = text
    if shown is not None:
        shown.clear()
    for question in questions:
        if question.name in namespace["__annotations__"]:
            raise InvalidInput(f"the page {title!r} asks for {question.name!r} twice: give a key=")
        namespace["__annotations__"][question.name] = question.annotation
        if question.default is not _NOTHING:
            namespace[question.name] = question.default
    return type("Page", (FormPage,), namespace)


def _answers(title: str, questions: Sequence[Question]) -> dict[str, Any]:
    made = _ask(_page(title, questions))
    found: dict[str, Any] = {}
    for question in questions:
        value = getattr(made, question.name)
        found[question.name] = value if question.made is None else question.made(value)
    return found


def _one(question: Question, label: str) -> Any:
    return _answers(label, [question])[question.name]


def read_text(label: str, **options: Any) -> Any:
    """A line of text. Options of all questions: `key` (its name in the answer, made from the label
    unless given), `required`, `initial`, `hint`. Here also `max_length`."""
    return _one(text_question(label, **options), label)


def read_textarea(label: str, **options: Any) -> Any:
    """Text of several lines."""
    return _one(textarea_question(label, **options), label)


def read_email(label: str = "E-mail", **options: Any) -> Any:
    """An e-mail address."""
    return _one(email_question(label, **options), label)


def read_number(label: str, **options: Any) -> Any:
    """A number, whole where it is one; `min`, `max`."""
    return _one(number_question(label, **options), label)


def read_date(label: str, **options: Any) -> Any:
    """A day: a `datetime.date`."""
    return _one(date_question(label, **options), label)


def read_checkbox(label: str, **options: Any) -> Any:
    """A yes or no; `required=True` takes only a yes."""
    return _one(checkbox_question(label, **options), label)


def read_dropdown(label: str, options: Iterable[Any], **more: Any) -> Any:
    """One of the options: values, `(value, label)` pairs, or `{"value", "label"}`."""
    return _one(dropdown_question(label, options, **more), label)


def read_multiple(label: str, options: Iterable[Any], **more: Any) -> Any:
    """Several of the options, as a list; `min`, `max`."""
    return _one(multiple_question(label, options, **more), label)


def read_file(label: str, **options: Any) -> Any:
    """A file, of at most half a MiB: an `Upload` with `name`, `type` and `content` (bytes), which
    can be kept as it is."""
    return _one(file_question(label, **options), label)


def read_page(cls: type) -> Any:
    """The page a class describes: a `FormPage`, a Struct, a dataclass; gives an object of it."""
    if page_of(cls) is None:
        raise InvalidInput(f"read_page takes a class of pages, got {cls!r}")
    return _ask(cls)


def display(text: Any) -> None:
    """Shows a text: on the next page, above its questions."""
    shown = SHOWN.get()
    if shown is None:
        raise NoStage(
            "display() works in the file of a stage whose kind is form",
            hint="greenroom stage run FOLDER/STAGE  runs one here",
        )
    shown.append(str(text))


class PageOf:
    """Several questions on one page: `page("About you").read_text("Name").run()`."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._questions: list[Question] = []

    def _with(self, question: Question) -> Self:
        self._questions.append(question)
        return self

    def read_text(self, label: str, **options: Any) -> Self:
        return self._with(text_question(label, **options))

    def read_textarea(self, label: str, **options: Any) -> Self:
        return self._with(textarea_question(label, **options))

    def read_email(self, label: str = "E-mail", **options: Any) -> Self:
        return self._with(email_question(label, **options))

    def read_number(self, label: str, **options: Any) -> Self:
        return self._with(number_question(label, **options))

    def read_date(self, label: str, **options: Any) -> Self:
        return self._with(date_question(label, **options))

    def read_checkbox(self, label: str, **options: Any) -> Self:
        return self._with(checkbox_question(label, **options))

    def read_dropdown(self, label: str, options: Iterable[Any], **more: Any) -> Self:
        return self._with(dropdown_question(label, options, **more))

    def read_multiple(self, label: str, options: Iterable[Any], **more: Any) -> Self:
        return self._with(multiple_question(label, options, **more))

    def read_file(self, label: str, **options: Any) -> Self:
        return self._with(file_question(label, **options))

    def display(self, text: Any) -> Self:
        """A text on this page, above its questions."""
        display(text)
        return self

    def run(self) -> dict[str, Any]:
        """Asks, and gives the answers by the keys of the questions."""
        return _answers(self._title, self._questions)


def page(title: str) -> PageOf:
    """A page of several questions, asked by its `run()`."""
    return PageOf(title)
