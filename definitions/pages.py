"""Pages: classes with annotated fields that a form asks for one after the other.

`FormPage` is the class of the seed. A `msgspec.Struct`, a dataclass and (when it is installed) a
pydantic model are pages as well: what a form needs of any of them is a `Page`, which reads an
answer and gives the JSON Schema.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Protocol, Self, get_args, get_origin

import msgspec

from greenroom.definitions.errors import FormInvalid, InvalidDefinition
from greenroom.definitions.fieldlimits import is_field, is_foreign, said_by, translated
from greenroom.definitions.fields import Accept, Choice, DisplayOnly, ReadOnly
from greenroom.definitions.injection import converter, location
from greenroom.definitions.patterns import on_that_engine
from greenroom.definitions.reading import (
    MISSING,
    ROOT,
    Error,
    Loc,
    Reader,
    is_object,
    is_shown_only,
    problem,
    unwrapped,
)
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json

TITLE: Final = "unknown"
"""The title of a page that has none, as pydantic-forms has it."""

_ANNOTATED: Final = type(Annotated[int, None])


class Page(Protocol):
    """What a form needs of a class of pages."""

    name: str

    def read(self, data: Json) -> tuple[Any, list[Error]]:
        """The page object, or None and every error of the answer."""
        ...

    def schema(self) -> dict[str, Json]: ...

    def dump(self, page: Any) -> dict[str, Any]: ...


def page_of(cls: Any) -> Page | None:
    """How to handle a class as a page; None for what is none. Raises `InvalidDefinition` for a
    page whose fields cannot be asked for."""
    if not isinstance(cls, type):
        return None
    if issubclass(cls, FormPage):
        return cls.__page__
    if hasattr(cls, "model_validate") and hasattr(cls, "model_json_schema"):
        return ModelPage(cls)
    if issubclass(cls, msgspec.Struct) or dataclasses.is_dataclass(cls):
        return FieldsPage(cls, cls.__name__, _own_doc(cls), tuple(_fields(cls)))
    return None


def invalid(form: str, errors: list[Error], number: int | None = None) -> FormInvalid:
    """All errors of one page as one exception; `number` says which page of an answer it is."""
    what = form if number is None else f"page {number} ({form})"
    count = f"{len(errors)} error{'s' if len(errors) != 1 else ''}"
    return FormInvalid(
        "\n".join([f"{what} has {count}", *(f"  {error_line(error)}" for error in errors)]),
        page=number, form=form, errors=errors,
    )  # fmt: skip


def error_line(error: Error) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != ROOT)
    return f"{place}   {error['msg']}" if place else str(error["msg"])


# -- fields ------------------------------------------------------------------------------------


class Field(msgspec.Struct, frozen=True):
    """One field of a page: `wire` is its name in an answer."""

    name: str
    wire: str
    annotation: Any
    default: Any = MISSING
    factory: Callable[[], Any] | None = None

    @property
    def required(self) -> bool:
        return self.default is MISSING and self.factory is None

    def value(self) -> Any:
        """The default; a fresh one each time where it could be changed."""
        if self.factory is not None:
            return self.factory()
        default = self.default
        return type(default)(default) if type(default) in (list, dict, set) else default


class FieldsPage:
    """A page that is read field by field: a `FormPage`, a Struct or a dataclass."""

    def __init__(self, cls: type, title: str, doc: str | None, fields: tuple[Field, ...]) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.title = title
        self.doc = doc
        self.fields = tuple(_with_patterns(cls, field) for field in fields)

    @property
    def title_inside(self) -> str:
        """The title where the page is a part of another one."""
        return self.name if self.title == TITLE else self.title

    def read(self, data: Json) -> tuple[Any, list[Error]]:
        reader = Reader(_nested)
        made = self.read_at(reader, data, ())
        return (None if reader.errors else made), reader.errors

    def read_at(self, reader: Reader, data: Any, loc: Loc) -> Any:
        if not isinstance(data, Mapping):
            return reader.fail(loc or (ROOT,), "must be an object", "model_type")
        before = len(reader.errors)
        values = self.values(reader, data, loc)
        if len(reader.errors) > before:
            return MISSING
        try:
            return self._made(values)
        except FormInvalid as error:
            reader.errors += error.errors
        except (ValueError, TypeError) as error:
            reader.fail((*loc, ROOT), str(error), "value_error")
        return MISSING

    def _made(self, values: dict[str, Any]) -> Any:
        if issubclass(self.cls, FormPage):
            page = self.cls.__new__(self.cls)
            vars(page).update(values)
            page.__post_init__()
            return page
        return self.cls(**values)

    def values(self, reader: Reader, data: Mapping[str, Any], loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in self.fields:
            if field.wire in data and not is_shown_only(field.annotation):
                value = reader.read(field.annotation, data[field.wire], (*loc, field.wire))
            elif field.required:
                value = reader.fail((*loc, field.wire), "is required", "missing")
            else:
                value = field.value()
            values[field.name] = value
        known = {field.wire for field in self.fields}
        for name in data:
            if name not in known:
                text = f"unknown field{did_you_mean(str(name), sorted(known))}"
                reader.fail((*loc, str(name)), text, "extra_forbidden")
        return values

    def schema(self) -> dict[str, Json]:
        components: dict[str, Json] = {}
        found = self.schema_in(components)
        if components:
            found["$defs"] = components
        return found

    def schema_in(self, components: dict[str, Json]) -> dict[str, Json]:
        found: dict[str, Json] = {"title": self.title, "type": "object"}
        if self.doc:
            found["description"] = self.doc
        found["properties"] = {
            field.wire: _field_schema(field, components) for field in self.fields
        }
        required = [field.wire for field in self.fields if field.required]
        if required:
            found["required"] = required
        found["additionalProperties"] = False
        return found

    def dump(self, page: Any) -> dict[str, Any]:
        return {field.name: _plain(getattr(page, field.name)) for field in self.fields}


def _nested(reader: Reader, cls: type, value: Any, loc: Loc) -> Any:
    page = page_of(cls)
    if isinstance(page, FieldsPage):
        return page.read_at(reader, value, loc)
    if page is None:
        return reader.fail(loc, f"cannot be read as {cls.__name__}", "type_error")
    made, errors = page.read(value)
    for error in errors:
        rest = [part for part in error["loc"] if part != ROOT or not isinstance(value, Mapping)]
        reader.errors.append({**error, "loc": [*loc, *(rest or [ROOT])]})
    return MISSING if errors else made


def _plain(value: Any) -> Any:
    """Pages inside a page as dicts, the rest as it is."""
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(item) for item in value]
        return items if type(value) is list else type(value)(items)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    page = page_of(type(value)) if is_object(type(value)) else None
    return value if page is None else page.dump(value)


# -- schema ------------------------------------------------------------------------------------


def _field_schema(field: Field, components: dict[str, Json]) -> dict[str, Json]:
    found = type_schema(field.annotation, components)
    if "$ref" not in found:
        found.setdefault("title", field.name.replace("_", " ").title())
    if not field.required:
        try:
            found["default"] = msgspec.to_builtins(field.value(), enc_hook=_dumped)
        except Exception:  # a factory that fails leaves the field without a default
            found.pop("default", None)
    return found


def type_schema(annotation: Any, components: dict[str, Json]) -> dict[str, Json]:
    """The JSON Schema of a type; what it refers to goes into `components`."""

    def hook(kind: type) -> dict[str, Json]:
        if issubclass(kind, Accept):
            return kind.schema()
        page = page_of(kind)
        if page is None:
            raise TypeError(f"type {kind.__name__} is not supported")
        if kind.__name__ not in components:
            components[kind.__name__] = {}
            if isinstance(page, FieldsPage):
                own = page.schema_in(components)
                components[kind.__name__] = {**own, "title": page.title_inside}
            else:
                own = page.schema()
                components.update(own.pop("$defs", {}))
                components[kind.__name__] = own
        return {"$ref": f"#/$defs/{kind.__name__}"}

    (found,), made = msgspec.json.schema_components(
        [_for_schema(annotation)], schema_hook=hook, ref_template="#/$defs/{name}"
    )
    enums = {kind.__name__: kind for kind in _enums(annotation)}
    for name, component in made.items():
        components[name] = _component(dict(component), enums.get(name))
    return _flat(found)


def _for_schema(annotation: Any) -> Any:
    """A type whose look says `type` itself is not described by its real type as well."""
    inner, metadata = unwrapped(annotation)
    extra: dict[str, Json] = {}
    for meta in metadata:
        if isinstance(meta, msgspec.Meta):
            extra.update(meta.extra_json_schema or {})
    if "type" not in extra or get_origin(inner) is list:
        return annotation
    shown = [meta for meta in metadata if isinstance(meta, msgspec.Meta)]
    made: Any = Any
    for meta in shown:
        made = Annotated[made, meta]
    return made


def _component(found: dict[str, Json], kind: type[Enum] | None) -> dict[str, Json]:
    if "enum" in found and all(isinstance(value, str) for value in found["enum"]):
        found["type"] = "string"
    if kind is not None and "enum" in found:
        found["enum"] = [member.value for member in kind]  # as written, msgspec sorts them
    if kind is not None and issubclass(kind, Choice):
        options = {member.value: member.label for member in kind}
        if any(value != label for value, label in options.items()):
            found["options"] = options
    if "properties" in found:
        found["additionalProperties"] = False
    return found


def _flat(found: dict[str, Json]) -> dict[str, Json]:
    """A literal of one value is a constant; one of texts says so."""
    values = found.get("enum")
    if values is None:
        return found
    if all(isinstance(value, str) for value in values):
        found["type"] = "string"
    if len(values) == 1 and "format" not in found:
        found["const"] = found.pop("enum")[0]
    return found


def _enums(annotation: Any) -> Iterable[type[Enum]]:
    inner, _ = unwrapped(annotation)
    if isinstance(inner, type) and issubclass(inner, Enum):
        yield inner
    for part in get_args(inner):
        if not isinstance(part, str):
            yield from _enums(part)


def _dumped(value: Any) -> Any:
    page = page_of(type(value))
    if page is None:
        raise TypeError(f"{type(value).__name__} cannot be shown")
    return msgspec.to_builtins(page.dump(value), enc_hook=_dumped)


def _own_doc(cls: type) -> str | None:
    doc = cls.__dict__.get("__doc__")
    if not doc or str(doc).startswith(f"{cls.__name__}("):  # the one a dataclass gives itself
        return None
    return inspect.cleandoc(doc)


# -- Structs and dataclasses -------------------------------------------------------------------


def _fields(cls: type) -> Iterable[Field]:
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise _unresolved(cls, error) from None
    if issubclass(cls, msgspec.Struct):
        for one in msgspec.structs.fields(cls):
            default = MISSING if one.default is msgspec.NODEFAULT else one.default
            factory = None if one.default_factory is msgspec.NODEFAULT else one.default_factory
            yield _checked(
                cls,
                Field(one.name, one.encode_name, hints.get(one.name, one.type), default, factory),
            )
        return
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        if item.init:
            yield _checked(cls, _from_dataclass(item, hints[item.name]))


def _with_patterns(cls: type, field: Field) -> Field:
    """The field, its patterns where nobody's answer can make them slow."""
    try:
        annotation = on_that_engine(field.annotation)
    except InvalidDefinition as error:
        message = f"{cls.__name__}.{field.name}: {error.message}   {location(cls)}"
        raise InvalidDefinition(message, hint=error.hint) from None
    if annotation is field.annotation:
        return field
    return msgspec.structs.replace(field, annotation=annotation)


def _from_dataclass(item: dataclasses.Field[Any], annotation: Any) -> Field:
    default = MISSING if item.default is dataclasses.MISSING else item.default
    factory = None if item.default_factory is dataclasses.MISSING else item.default_factory
    return Field(item.name, item.name, annotation, default, factory)


def _unresolved(cls: type, error: Exception) -> InvalidDefinition:
    return InvalidDefinition(
        f"{cls.__name__}: its annotations cannot be resolved ({error})   {location(cls)}",
        hint="types of function-local classes need real annotations: leave out "
        "`from __future__ import annotations` there",
    )


def _checked(cls: type, field: Field) -> Field:
    """Read-only fields and displays have a default; a default is kept as its type."""
    field = _in_our_words(cls, field)
    default, annotation = field.default, field.annotation
    rules = unwrapped(annotation)[1]
    if isinstance(default, _ANNOTATED):  # `name: str = read_only(x)`
        annotation, default = default, MISSING
        rules = unwrapped(annotation)[1]
    for rule in rules:
        if isinstance(rule, ReadOnly) and field.factory is None:
            default = rule.value
        elif isinstance(rule, DisplayOnly) and default is MISSING and field.factory is None:
            default = None
    _refuse_unsupported(cls, field.name, annotation)
    if default is not MISSING and default is not None:
        reader = Reader(_nested)
        found = reader.read(annotation, default, ())
        default = default if reader.errors else found
    return msgspec.structs.replace(field, annotation=annotation, default=default)


def _in_our_words(cls: type, field: Field) -> Field:
    """A field whose limits, default or name are said by pydantic's `Field` or annotated_types."""
    annotation, default = field.annotation, field.default
    if is_field(default):
        annotation, default = Annotated[annotation, default], MISSING
    foreign = [one for one in unwrapped(annotation)[1] if is_foreign(one)]
    if not foreign:
        return field
    translation = translated(annotation)
    said = [said_by(one) for one in foreign if is_field(one)]
    if translation is None or None in said:
        raise _pydantic_in(cls, f"{type(foreign[-1]).__name__} of {field.name}")
    factory, wire = field.factory, field.wire
    for one in said:
        assert one is not None
        default = one.default if default is MISSING else default
        factory, wire = one.factory or factory, one.alias or wire
    return Field(field.name, wire, translation, default, factory)


def _pydantic_in(cls: type, what: str) -> InvalidDefinition:
    return InvalidDefinition(
        f"{cls.__name__} uses pydantic's {what}, which nobody would look at here   {location(cls)}",
        hint=f"make the page a pydantic model, class {cls.__name__}(pydantic.BaseModel); or write "
        "Check(function) in Annotated, and __post_init__",
    )


def _refuse_unsupported(cls: type, name: str, annotation: Any) -> None:
    inner, metadata = unwrapped(annotation)
    if any(map(is_foreign, metadata)):
        raise _pydantic_in(cls, f"limit inside {name}")
    if get_origin(inner) in (typing.Union, types.UnionType) and all(
        is_object(part) or part is type(None) for part in get_args(inner)
    ):
        return
    if inner is Any or is_object(inner) or (isinstance(inner, type) and issubclass(inner, Accept)):
        return
    if get_origin(inner) in (list, set, frozenset, tuple, dict):
        for part in get_args(inner):
            if part is not ...:
                _refuse_unsupported(cls, name, part)
        return
    what = f"{cls.__name__}.{name}"
    try:
        converter(inner, what, "")
    except InvalidDefinition:  # again, with its place: to look that up reads the whole file
        converter(inner, what, location(cls))


# -- pydantic ----------------------------------------------------------------------------------


class ModelPage:
    """A pydantic model, and a page of pydantic-forms: it reads and describes itself."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.name = cls.__name__

    def read(self, data: Json) -> tuple[Any, list[Error]]:
        if not isinstance(data, Mapping):
            return None, [problem((ROOT,), "must be an object", "model_type")]
        errors: list[Error] = []
        made = None
        try:
            made = self.cls.model_validate(data)
        except Exception as error:
            said = getattr(error, "errors", None)
            if not callable(said):
                raise
            errors = [_from_pydantic(self.cls, one) for one in said()]
        known = {error["loc"][0] for error in errors}
        errors += [
            problem((name,), "unknown field", "extra_forbidden")
            for name in data
            if name not in known and not self._takes(name)
        ]
        return (None if errors else made), errors

    def _takes(self, name: str) -> bool:
        if self.cls.model_config.get("extra") == "allow":
            return True
        for own, field in self.cls.model_fields.items():
            alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
            if name in (own, alias) or not isinstance(alias, str | None):
                return True
        return False

    def schema(self) -> dict[str, Json]:
        found: dict[str, Json] = self.cls.model_json_schema()
        found.setdefault("additionalProperties", False)
        for name, field in self.cls.model_fields.items():
            shown = found.get("properties", {}).get(getattr(field, "alias", None) or name)
            if shown is not None and "default" not in shown and field.default_factory is not None:
                with contextlib.suppress(Exception):  # one that fails leaves it without a default
                    shown["default"] = msgspec.to_builtins(field.default_factory())
        return found

    def dump(self, page: Any) -> dict[str, Any]:
        found: dict[str, Any] = page.model_dump()
        return found


def _from_pydantic(cls: Any, one: Mapping[str, Any]) -> Error:
    loc = tuple(part if isinstance(part, int) else str(part) for part in one["loc"])
    if loc and one["type"] in ("value_error", "assertion_error") and _is_model_at(cls, loc):
        loc = (*loc, ROOT)
    text = str(one["msg"]).removeprefix("Value error, ")
    return problem(loc or (ROOT,), text, str(one["type"]))


def _is_model_at(kind: Any, loc: Loc) -> bool:
    """Whether a pydantic model stands at a place, so that an error there is one of it as a whole."""
    kind = unwrapped(kind)[0]
    if get_origin(kind) in (typing.Union, types.UnionType):
        return any(_is_model_at(part, loc) for part in get_args(kind))
    fields = getattr(kind, "model_fields", None)
    if not loc:
        return fields is not None
    if fields is not None:
        return any(
            _is_model_at(field.annotation, loc[1:])
            for name, field in fields.items()
            if loc[0] in (name, field.alias, field.validation_alias)
        )
    inner = get_args(kind)
    return bool(inner) and _is_model_at(inner[-1], loc[1:])


# -- FormPage ----------------------------------------------------------------------------------


class FormPage:
    """A page of a form: its annotated attributes are its fields.

    Fields the answer leaves out have their default; one without a default is required, and fields
    nobody declared are errors. `__post_init__` may raise `ValueError` for what is wrong with the
    page as a whole. `model_config = {"title": "..."}` gives the page a title.
    """

    model_config: ClassVar[Mapping[str, Any]] = {"title": TITLE}
    meta__: ClassVar[Json] = None
    """About the page as a whole, for front ends: the `meta` of `FormNotComplete`."""
    __page__: ClassVar[FieldsPage]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if type(value).__name__ == "PydanticDescriptorProxy":
                raise _pydantic_in(cls, f"validator {name}")
        fields = {field.name: field for base in reversed(cls.__mro__[1:]) for field in _known(base)}
        for name, annotation in _annotations(cls).items():
            if name.startswith("_") or name in ("model_config", "meta__"):
                continue
            if get_origin(annotation) is ClassVar or annotation is ClassVar:
                continue
            fields[name] = _checked(cls, _declared(cls, name, annotation))
        title = str(cls.model_config.get("title", TITLE))
        cls.__page__ = FieldsPage(cls, title, _own_doc(cls), tuple(fields.values()))

    def __init__(self, **data: Any) -> None:
        page = type(self).__page__
        reader = Reader(_nested)
        values = page.values(reader, data, ())
        if reader.errors:
            raise invalid(page.name, reader.errors)
        vars(self).update(values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Looks at the page as a whole."""

    def model_dump(self, *, mode: str = "python", exclude: Any = ()) -> dict[str, Any]:
        """The fields as a dict; `mode="json"` gives JSON values."""
        found = type(self).__page__.dump(self)
        found = {name: value for name, value in found.items() if name not in exclude}
        return msgspec.to_builtins(found, enc_hook=_dumped) if mode == "json" else found

    def model_dump_json(self) -> str:
        return msgspec.json.encode(self.model_dump(mode="json")).decode()

    @classmethod
    def model_validate(cls, data: Any) -> Self:
        """A page from JSON. Raises `FormInvalid` with every error."""
        if isinstance(data, cls):
            return data
        made, errors = cls.__page__.read(data)
        if errors:
            raise invalid(cls.__name__, errors)
        page: Self = made
        return page

    @classmethod
    def model_json_schema(cls, **_: Any) -> dict[str, Json]:
        return cls.__page__.schema()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


FormPage.__page__ = FieldsPage(FormPage, TITLE, None, ())


def _known(base: type) -> Iterable[Field]:
    page = base.__dict__.get("__page__")
    return page.fields if isinstance(page, FieldsPage) else ()


def _declared(cls: type, name: str, annotation: Any) -> Field:
    default = cls.__dict__.get(name, MISSING)
    if isinstance(default, dataclasses.Field):
        default.name = name
        return _from_dataclass(default, annotation)
    factory = getattr(default, "default_factory", msgspec.NODEFAULT)
    if type(default).__name__ == "Field" and type(default).__module__.startswith("msgspec"):
        given = MISSING if default.default is msgspec.NODEFAULT else default.default
        return Field(
            name, name, annotation, given, None if factory is msgspec.NODEFAULT else factory
        )
    return Field(name, name, annotation, default)


def _annotations(cls: type) -> dict[str, Any]:
    """The annotations of the class itself. Written as text they are looked up where the class
    stands, so pages inside a form function may use its local types."""
    raw = inspect.get_annotations(cls)
    if not any(isinstance(value, str) for value in raw.values()):
        return raw
    frame = sys._getframe(1)
    while frame.f_code.co_name == "__init_subclass__" and frame.f_back is not None:
        frame = frame.f_back
    try:
        return inspect.get_annotations(cls, locals={**frame.f_locals, **vars(cls)}, eval_str=True)
    except Exception as error:
        raise _unresolved(cls, error) from None
