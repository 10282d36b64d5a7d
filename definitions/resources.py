"""Resources: the domain objects that workflows make and change, such as a subscription.

The domain models of Workflow Orchestrator. A class names the fields, the store keeps one row for
each object, and steps that name the class in their signature get it loaded. What a step returns
is saved with the step. An object has an `id`, a `product`, a `customer_id`, a lifecycle `status`
and a `version` that rises with every change saved.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from enum import StrEnum
from typing import Any, ClassVar, Final, Self, TypeVar, get_args

import msgspec

from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, copy, decode, encode, equal

ID_NAMES: Final = ("id", "subscription_id")
"""Where a dict keeps the id of a resource, beside the name its class gives it."""

_KEPT: Final = ("id", "product", "version")
"""What a step may look at and not change."""

M = TypeVar("M", bound="type[Resource]")
R = TypeVar("R", bound="Resource")


class Lifecycle(StrEnum):
    """The statuses of a resource, unless its class declares others (`status: Literal[...]`)."""

    INITIAL = "initial"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    MIGRATING = "migrating"
    DISABLED = "disabled"
    TERMINATED = "terminated"


class Stored(msgspec.Struct, frozen=True):
    """A resource as the store has it. `type` names its class, `family` the class right under
    `Resource` that it comes from; `data` is the JSON of the fields the class declares."""

    id: str
    type: str
    family: str
    product: str
    customer_id: str
    status: str
    version: int
    data: bytes


class Field(msgspec.Struct, frozen=True):
    name: str
    annotation: Any
    make: Callable[[], Any] | None
    """Gives the default, a fresh one each time; None: there is none."""


class Resource:
    """A stored domain object: `class LightPath(Resource, product="SN8 LightPath"): speed: int = 1`.

    Class keywords: `product` (a name, or several) makes the class that product type;
    `lifecycle` (statuses) makes it the variant for objects in one of them; `id_name` is what a
    dict of the object calls its id (`id`). Fields are checked when they are set. The attributes
    `id`, `product` and `version` are the store's.
    """

    id: uuid.UUID
    product: str
    customer_id: str
    status: Any
    version: int
    _base: Mapping[str, Json] | None
    """The fields as they are in the store; None: it is not there yet."""
    _rest: Mapping[str, Json]
    """What the store has beside the fields of the class."""
    _unnamed: bool
    """Nobody has chosen its id."""

    __products__: ClassVar[tuple[str, ...]] = ()
    __lifecycle__: ClassVar[frozenset[str]] = frozenset()
    __id_name__: ClassVar[str] = "id"
    __fields__: ClassVar[Mapping[str, Field]] = {}

    def __init_subclass__(
        cls,
        *,
        product: str | Iterable[str] | None = None,
        lifecycle: str | Iterable[str] | None = None,
        id_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        inherited = {
            name: field
            for base in reversed(cls.__mro__[1:])
            for name, field in base.__dict__.get("__fields__", {}).items()
        }
        cls.__fields__ = {**inherited, **dict(_declared(cls))}
        if product is not None:
            cls.__products__ = _texts(cls, "product", product)
        if lifecycle is not None:
            cls.__lifecycle__ = frozenset(_texts(cls, "lifecycle", lifecycle))
        if id_name is not None:
            if not isinstance(id_name, str) or not id_name.isidentifier():
                raise InvalidDefinition(f"{_title(cls)}: id_name must be a name, got {id_name!r}")
            cls.__id_name__ = id_name
        if product is not None or lifecycle is not None:
            _check_alone(cls)

    def __init__(self, *, id: uuid.UUID | str | None = None, product: str = "", **values: Any):
        own = type(self)
        if own is Resource:
            raise TypeError("Resource has no fields: make a class of it")
        if not product:
            names = own.__products__ or (own.__name__,)
            if len(names) > 1:
                raise TypeError(f"{own.__name__} needs 'product', one of: {', '.join(names)}")
            product = names[0]
        if own.__products__ and product not in own.__products__:
            raise TypeError(f"{own.__name__} has no product {product!r}")
        vars(self).update(
            id=uuid.uuid4() if id is None else uuid.UUID(str(id)),
            product=_text(own, "product", product), version=0, _base=None, _rest={},
            _unnamed=id is None,
        )  # fmt: skip
        for name in values:
            if name not in own.__fields__:
                raise TypeError(f"{own.__name__} has no field {name!r}{_near(own, name)}")
        for name, field in own.__fields__.items():
            if name in values:
                setattr(self, name, values[name])
            elif field.make is not None:
                setattr(self, name, field.make())
            else:
                raise TypeError(f"{own.__name__} needs {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = type(self)
        field = own.__fields__.get(name)
        if field is None:
            if name in _KEPT:
                raise AttributeError(f"{own.__name__}.{name} belongs to the store")
            raise AttributeError(f"{own.__name__} has no field {name!r}{_near(own, name)}")
        try:
            vars(self)[name] = msgspec.convert(value, field.annotation, strict=True)
        except msgspec.ValidationError as error:
            raise TypeError(f"{own.__name__}.{name}: {error}") from None

    @classmethod
    def create(cls, state: Mapping[str, Any]) -> Self:
        """A new object for a state that has none: `product` and `customer_id` are taken from it,
        and the fields that have no default. Overwrite it to make more of the state."""
        own = cls.of_product(state["product"])
        if not own._begins():
            raise InvalidInput(
                f"{own.__name__} is for what is {' or '.join(sorted(own.__lifecycle__))}; "
                "a new object is not",
                hint="ask for the class of its first status",
            )
        needed = {
            name: copy(state[name])
            for name, field in own.__fields__.items()
            if field.make is None and name in state
        }
        return own(**{**needed, "product": state["product"], "customer_id": state["customer_id"]})

    @classmethod
    def of_product(cls, product: str) -> type[Self]:
        """The class for new objects of a product: this one, or the one of its kind that names it.
        Raises `InvalidInput` for a product that is none of them."""
        named: list[type[Self]] = [kind for kind in kinds_of(cls) if product in kind.__products__]
        if named:
            return min(named, key=lambda kind: (kind is not cls, not kind._begins(), _depth(kind)))
        known = sorted({name for kind in kinds_of(cls) for name in kind.__products__})
        if not isinstance(product, str) or not product or cls.__products__:
            raise InvalidInput(
                f"{cls.__name__} has no product {product!r}, it has: {', '.join(known) or 'any text'}",
                product=product if isinstance(product, str) else repr(product), known=known,
            )  # fmt: skip
        return cls

    @classmethod
    def _begins(cls) -> bool:
        """Whether an object of the class may be new: its first status is one it is for."""
        make = cls.__fields__["status"].make
        return not cls.__lifecycle__ or (make is not None and str(make()) in cls.__lifecycle__)

    def model_dump(self, *, mode: str = "python", exclude: Any = ()) -> dict[str, Any]:
        """The object as a dict, as a state keeps it; `mode="json"` gives JSON values. The
        version is the one it has once it is saved."""
        json = mode == "json"
        values = values_of(self) if json else {name: vars(self)[name] for name in self.__fields__}
        version = self.version + 1 if json and changes_of(self) else self.version
        found: dict[str, Any] = {
            self.__id_name__: str(self.id) if json else self.id,
            "product": self.product,
            "customer_id": values.pop("customer_id"),
            "status": values.pop("status"),
            "version": version,
            **values,
        }
        return {name: value for name, value in found.items() if name not in exclude}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (
            (self.id, self.version) == (other.id, other.version)
            and values_of(self) == values_of(other)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.model_dump().items())
        return f"{type(self).__name__}({values})"


Resource.__fields__ = {
    "customer_id": Field("customer_id", str, lambda: ""),
    "status": Field("status", Lifecycle, lambda: Lifecycle.INITIAL),
}


# -- to and from the store ---------------------------------------------------------------------


def loaded(cls: type[R], row: Stored) -> R:
    """The object of a row. Raises `InvalidInput` where the row does not fit the class."""
    own = cls.__new__(cls)
    data = {**decode(row.data), "customer_id": row.customer_id, "status": row.status}
    base: dict[str, Json] = {}
    for name, field in cls.__fields__.items():
        if name in data:
            base[name] = data.pop(name)
        elif field.make is not None:
            base[name] = msgspec.to_builtins(field.make(), enc_hook=_plain)
        else:
            raise InvalidInput(
                f"the resource {row.id} has no {name!r}, which {cls.__name__} needs",
                hint="give the field a default: objects were saved before it existed",
                resource=row.id, field=name,
            )  # fmt: skip
        try:
            vars(own)[name] = msgspec.convert(copy(base[name]), field.annotation, strict=True)
        except msgspec.ValidationError as error:
            raise InvalidInput(
                f"the resource {row.id} is no {cls.__name__} any more: {name}: {error}",
                resource=row.id, field=name,
            ) from None  # fmt: skip
    vars(own).update(
        id=uuid.UUID(row.id), product=row.product, version=row.version,
        _base=base, _rest=data, _unnamed=False,
    )  # fmt: skip
    return own


def values_of(resource: Resource) -> dict[str, Json]:
    """Its fields as JSON, `customer_id` and `status` among them. Raises `InvalidInput` for a value
    that was changed in place to what its field cannot have."""
    kind = type(resource).__name__
    found: dict[str, Json] = {}
    for name, field in resource.__fields__.items():
        try:
            found[name] = msgspec.to_builtins(vars(resource)[name], enc_hook=_plain)
            msgspec.convert(found[name], field.annotation, strict=True)
        except (msgspec.ValidationError, TypeError) as error:
            raise InvalidInput(f"{kind}.{name}: {error}", field=name) from None
    return found


def changes_of(resource: Resource) -> dict[str, list[Json]]:
    """What differs from the store, as `{field: [before, after]}`; of a new object everything."""
    base = resource._base
    now = values_of(resource)
    if base is None:
        return {name: [None, value] for name, value in now.items()}
    return {
        name: [base[name], value] for name, value in now.items() if not equal(base[name], value)
    }


def row_of(resource: Resource) -> Stored:
    """The row to be saved: the next version, with what the store has beside the class's fields."""
    values = values_of(resource)
    customer, status = values.pop("customer_id"), values.pop("status")
    own = type(resource)
    for name, text in (("customer_id", customer), ("status", status)):
        if not isinstance(text, str):
            raise InvalidInput(f"{own.__name__}.{name} must be text, got {text!r}", field=name)
    return Stored(
        str(resource.id), own.__name__, family_of(own).__name__, resource.product, customer, status,
        resource.version + 1, encode({**resource._rest, **values}, f"{own.__name__} {resource.id}"),
    )  # fmt: skip


def resources_in(value: Any) -> list[Resource]:
    """The objects anywhere in a value that can be made JSON."""
    found: list[Resource] = []

    def plain(item: Any) -> Any:
        if isinstance(item, Resource):
            found.append(item)
            return None
        dump = getattr(type(item), "model_dump", None)
        if dump is None:
            raise TypeError(f"{type(item).__name__} cannot be stored")
        return dump(item, mode="json")

    msgspec.to_builtins(value, enc_hook=plain)
    return found


def name_new(resource: Resource, id: uuid.UUID) -> None:
    """Gives a new object its id, unless its maker gave it one."""
    if resource._unnamed:
        vars(resource).update(id=id, _unnamed=False)


# -- classes -----------------------------------------------------------------------------------


def product(*names: str) -> Callable[[M], M]:
    """Makes a class a product type: `@product("SN8 LightPath")`."""

    def register(cls: M) -> M:
        cls.__products__ = _texts(cls, "product", names)
        _check_alone(cls)
        return cls

    return register


def products() -> dict[str, tuple[type[Resource], ...]]:
    """The product types that code has: the classes of each product name. Nothing is registered:
    they are found among the classes there are."""
    own = {"__products__", "__lifecycle__"}
    latest = {_title(cls): cls for cls in kinds_of(Resource) if not own.isdisjoint(vars(cls))}
    found: dict[str, tuple[type[Resource], ...]] = {}
    for _, cls in sorted(latest.items()):
        for name in cls.__products__:
            found[name] = (*found.get(name, ()), cls)
    return dict(sorted(found.items()))


def _check_alone(cls: type[Resource]) -> None:
    for name in cls.__products__:
        for other in products().get(name, ()):
            if _is_another(cls, other):
                raise InvalidDefinition(
                    f'the product "{name}" belongs to {_title(other)} already, and to {_title(cls)}',
                    hint="name another product, or the part of its life:  lifecycle=[...]",
                )


def _is_another(cls: type[Resource], other: type[Resource]) -> bool:
    """Whether two classes claim the same objects: of one module or one family, since nothing else
    can be mistaken for the other. One made again, or made inside a function, takes its place."""
    if _title(cls) == _title(other) or "<locals>" in cls.__qualname__ + other.__qualname__:
        return False
    if cls.__module__ != other.__module__ and family_of(cls) is not family_of(other):
        return False
    one, two = cls.__lifecycle__, other.__lifecycle__
    if issubclass(cls, other) or issubclass(other, cls):
        return one == two
    return not one or not two or bool(one & two)


def family_of(cls: type[Resource]) -> type[Resource]:
    """The class right under `Resource` (or `SubscriptionModel`) that a class comes from."""
    family = cls
    if cls in (Resource, SubscriptionModel):
        return cls
    while (base := _parent(family)) not in (Resource, SubscriptionModel):
        family = base
    return family


def _parent(cls: type[Resource]) -> type[Resource]:
    return next(base for base in cls.__mro__[1:] if issubclass(base, Resource))


def _depth(cls: type) -> int:
    return len(cls.__mro__)


def kinds_of(cls: type[R]) -> Iterator[type[R]]:
    """A class and everything derived from it."""
    yield cls
    for kind in cls.__subclasses__():
        yield from kinds_of(kind)


def open_kinds(family: str) -> list[type[Resource]]:
    """The classes of a family that take any product."""
    return [
        kind
        for kind in kinds_of(Resource)
        if not kind.__products__ and family_of(kind).__name__ == family
    ]


def class_for(asked: tuple[type[Resource], ...], row: Stored) -> type[Resource] | None:
    """The class an object is loaded as, out of those asked for and their subclasses: the variant
    for its status before one for all, the class it was saved as before its relatives. None: the
    object is something else."""
    best: tuple[tuple[bool, bool, bool, int], type[Resource]] | None = None
    for cls in asked:
        for kind in kinds_of(cls):
            if not _may_be(kind, row):
                continue
            other = kind.__name__ != row.type
            rank = (not kind.__lifecycle__, other, kind is not cls, -_depth(kind))
            if best is None or rank <= best[0]:  # of two made under one name the later
                best = rank, kind
    return None if best is None else best[1]


def _may_be(kind: type[Resource], row: Stored) -> bool:
    if kind.__lifecycle__ and row.status not in kind.__lifecycle__:
        return False
    if kind.__products__:
        return row.product in kind.__products__
    return family_of(kind).__name__ == row.family


# -- annotations -------------------------------------------------------------------------------


def mentions_resource(annotation: Any) -> bool:
    """Whether a resource class stands anywhere in an annotation."""
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, Resource)
    return any(mentions_resource(part) for part in get_args(annotation))


def id_in(value: Json, kinds: tuple[type[Resource], ...]) -> uuid.UUID | None:
    """The id in what a state keeps of a resource: the id itself, or a dict with it. None: it has
    none."""
    if isinstance(value, Mapping):
        names = dict.fromkeys((*(kind.__id_name__ for kind in kinds), *reversed(ID_NAMES)))
        value = next((value[name] for name in names if value.get(name) is not None), None)
    try:
        return uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _declared(cls: type[Resource]) -> Iterator[tuple[str, Field]]:
    for name, annotation in _annotations(cls).items():
        if name.startswith("_") or typing.get_origin(annotation) is ClassVar:
            continue
        if name in _KEPT:
            raise InvalidDefinition(f"{_title(cls)}.{name}: the name belongs to the store")
        if name not in Resource.__fields__ and hasattr(Resource, name):
            raise InvalidDefinition(f"{_title(cls)}.{name}: the name belongs to Resource")
        if mentions_resource(annotation):
            raise InvalidDefinition(
                f"{_title(cls)}.{name}: a resource is no part of another one",
                hint="keep its id:  port_id: UUID",
            )
        try:
            msgspec.json.schema(annotation)
        except Exception as error:
            why = str(error).split("\n")[0]
            raise InvalidDefinition(f"{_title(cls)}.{name} cannot be stored ({why})") from None
        yield name, Field(name, annotation, _default(cls, name, annotation))


def _default(cls: type[Resource], name: str, annotation: Any) -> Callable[[], Any] | None:
    if name not in cls.__dict__:
        return None
    given = cls.__dict__[name]
    delattr(cls, name)  # else a class attribute would stand in for a value that was never set
    if type(given).__name__ == "Field":  # of dataclasses or of msgspec
        factory, given = given.default_factory, given.default
        if factory not in (dataclasses.MISSING, msgspec.NODEFAULT):
            made: Callable[[], Any] = factory
            return made
        if given is dataclasses.MISSING or given is msgspec.NODEFAULT:
            return None
    try:
        msgspec.convert(given, annotation, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidDefinition(f"{_title(cls)}.{name}: its default: {error}") from None
    if isinstance(given, dict | list | set):
        return lambda: deepcopy(given)
    return lambda: given


def _annotations(cls: type) -> dict[str, Any]:
    """The annotations of the class itself; as text they are looked up where the class stands."""
    raw = inspect.get_annotations(cls)
    if not any(isinstance(value, str) for value in raw.values()):
        return raw
    frame = sys._getframe(1)
    here = frame.f_code.co_filename
    while frame.f_code.co_filename == here and frame.f_back is not None:
        frame = frame.f_back
    try:
        return inspect.get_annotations(cls, locals={**frame.f_locals, **vars(cls)}, eval_str=True)
    except Exception as error:
        raise InvalidDefinition(
            f"{_title(cls)}: its annotations cannot be resolved ({error})",
            hint="import the types it names where the class stands",
        ) from None


def _texts(cls: type, what: str, given: str | Iterable[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InvalidDefinition(f"{_title(cls)}: {what} must be text, got {name!r}")
    if not names:
        raise InvalidDefinition(f"{_title(cls)}: {what} names nothing")
    return tuple(str(name) for name in names)


def _text(cls: type, what: str, given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{cls.__name__}.{what} must be text, got {given!r}")
    return given


def _title(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _near(cls: type[Resource], name: str) -> str:
    return did_you_mean(name, sorted(cls.__fields__))


def _plain(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is not None and not isinstance(value, Resource):
        return dump(value, mode="json")
    raise TypeError(f"{type(value).__name__} cannot be stored")


# -- the name of the original ------------------------------------------------------------------


class SubscriptionModel(Resource, id_name="subscription_id"):
    """A resource whose dict calls its id `subscription_id`, as in Workflow Orchestrator."""

    def __init_subclass__(cls, *, is_base: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @property
    def subscription_id(self) -> uuid.UUID:
        return self.id
