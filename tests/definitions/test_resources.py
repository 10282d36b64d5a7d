"""Resource classes, and what annotations may ask for: no store, no engine."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import types
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID, uuid4

import msgspec
import pytest

from greenroom import (
    InvalidDefinition,
    InvalidInput,
    Lifecycle,
    NoEngine,
    Rejected,
    Resource,
    ResourceNotFound,
    SubscriptionModel,
    inject_args,
    product,
    products,
    step,
    workflow,
)
from greenroom.definitions.injection import MissingState, StepInput, injector
from greenroom.definitions.resources import (
    Stored,
    changes_of,
    class_for,
    loaded,
    row_of,
    values_of,
)
from greenroom.definitions.values import encode_decode


class Vlan(msgspec.Struct):
    number: int


@dataclasses.dataclass
class Side:
    port: UUID | None = None


class LightPath(Resource, product="test light path"):
    speed: int = 1000
    vlans: list[Vlan] = []  # noqa: RUF012
    side: Side = dataclasses.field(default_factory=Side)


class Circuit(Resource):
    location: str


class Copper(Circuit, product=("test copper", "test old copper")):
    pairs: int = 4


class Fibre(Circuit, product="test fibre"):
    mode: Literal["single", "multi"] = "single"


class TunnelInactive(Resource, product="test tunnel"):
    name: str = ""


class Tunnel(TunnelInactive, lifecycle=["active", "migrating"]):
    pass


class Named(Resource, id_name="named_id"):
    pass


MADE: list[Any] = []


class Counted(Resource):
    @classmethod
    def create(cls, state: Any) -> Any:
        MADE.append(state)
        return cls()


class Own(Resource):
    label: str = ""

    @classmethod
    def create(cls, state: Any) -> Any:
        return cls(label=state["label"].upper())


NEW = {"product": "test light path", "customer_id": "surf"}


def stored(resource: Resource) -> Stored:
    return row_of(resource)


# -- the class ---------------------------------------------------------------------------------


def test_w11_a_resource_has_an_id_a_status_a_version_and_typed_fields() -> None:
    made = LightPath(customer_id="surf", speed=10)
    assert isinstance(made.id, UUID)
    assert (made.product, made.customer_id, made.status) == ("test light path", "surf", "initial")
    assert (made.version, made.speed, made.vlans, made.side) == (0, 10, [], Side())
    assert made != LightPath(customer_id="surf", speed=10)
    assert made == copy.deepcopy(made) == pickle.loads(pickle.dumps(made))


def test_w11_defaults_are_fresh_for_each_object() -> None:
    one, other = LightPath(), LightPath()
    one.vlans.append(Vlan(7))
    one.side.port = uuid4()
    assert (other.vlans, other.side) == ([], Side())


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("speed", "fast", "LightPath.speed: Expected `int`, got `str`"),
        ("speed", True, "LightPath.speed: Expected `int`"),
        ("vlans", [1], "LightPath.vlans"),
        ("status", "lost", "LightPath.status: Invalid enum value 'lost'"),
    ],
)
def test_w11_a_value_of_another_type_is_refused_where_it_is_set(
    name: str, value: Any, text: str
) -> None:
    made = LightPath()
    with pytest.raises(TypeError, match=text):
        setattr(made, name, value)
    with pytest.raises(TypeError, match=text):
        LightPath(**{name: value})


def test_w11_a_name_that_is_no_field_is_refused_with_what_was_meant() -> None:
    made = LightPath()
    with pytest.raises(AttributeError, match=r"no field 'sped'; did you mean \"?speed"):
        made.sped = 1
    with pytest.raises(TypeError, match=r"no field 'sped'; did you mean \"?speed"):
        LightPath(sped=1)
    for name in ("id", "product", "version"):
        with pytest.raises(AttributeError, match=f"LightPath.{name} belongs to the store"):
            setattr(made, name, "x")
    with pytest.raises(TypeError, match="Copper needs 'product', one of: test copper"):
        Copper(location="here")
    with pytest.raises(TypeError, match="Fibre has no product 'test copper'"):
        Fibre(product="test copper", location="here")
    with pytest.raises(TypeError, match="Circuit needs 'location'"):
        Circuit()


def test_w12_a_list_changed_in_place_is_checked_when_it_is_saved() -> None:
    made = LightPath()
    made.vlans.append("seven")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"LightPath\.vlans: Expected `object`, got `str`"):
        row_of(made)


def test_w12_what_is_stored_comes_back_and_only_changes_count() -> None:
    made = LightPath(customer_id="surf", vlans=[Vlan(7)], side=Side(uuid4()))
    assert set(changes_of(made)) == {"customer_id", "status", "speed", "vlans", "side"}
    again = loaded(LightPath, row_of(made))
    assert (again.id, again.version, again.vlans) == (made.id, 1, [Vlan(7)])
    assert changes_of(again) == {}
    again.vlans[0].number = 8
    again.status = "active"
    assert changes_of(again) == {
        "status": ["initial", "active"], "vlans": [[{"number": 7}], [{"number": 8}]],
    }  # fmt: skip
    assert again.status is Lifecycle.ACTIVE
    assert row_of(again).version == 2


def test_w12_status_and_customer_may_be_declared_anew_and_are_text() -> None:
    class Order(Resource):
        customer_id: UUID | int  # type: ignore[assignment]
        status: Literal["open", "closed"] = "open"

    customer = uuid4()
    row = row_of(Order(customer_id=customer))
    assert (row.customer_id, row.status) == (str(customer), "open")
    again = loaded(Order, row)
    assert again.customer_id == customer
    with pytest.raises(TypeError, match=r"Order\.status: Invalid enum value 'initial'"):
        again.status = "initial"  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match=r"Order\.customer_id must be text, got 7"):
        row_of(Order(customer_id=7))


def test_w12_one_is_not_true_and_a_change_of_it_is_a_change() -> None:
    class Switch(Resource):
        on: Any = 1

    made = loaded(Switch, row_of(Switch()))
    made.on = True
    assert changes_of(made) == {"on": [1, True]}


def test_w12_fields_the_class_does_not_know_stay_in_the_store() -> None:
    row = msgspec.structs.replace(row_of(LightPath()), data=b'{"speed":1,"old":{"a":1}}')
    made = loaded(LightPath, row)
    assert "old" not in made.model_dump()
    made.speed = 2
    assert msgspec.json.decode(row_of(made).data) == {
        "speed": 2, "old": {"a": 1}, "vlans": [], "side": {"port": None},
    }  # fmt: skip
    assert set(changes_of(made)) == {"speed"}


def test_w12_a_field_without_default_that_came_later_is_named() -> None:
    row = msgspec.structs.replace(row_of(Fibre(location="here")), data=b"{}")
    with pytest.raises(InvalidInput, match="has no 'location', which Fibre needs"):
        loaded(Fibre, row)


def test_w11_a_resource_becomes_its_dict_with_the_id_wherever_it_is_stored() -> None:
    made = LightPath(customer_id="surf")
    back = encode_decode({"a": [made]})[1]["a"][0]
    assert back == {
        "id": str(made.id), "product": "test light path", "customer_id": "surf",
        "status": "initial", "version": 1, "speed": 1000, "vlans": [], "side": {"port": None},
    }  # fmt: skip

    class Old(SubscriptionModel, is_base=True):
        pass

    old = Old()
    assert old.model_dump(mode="json")["subscription_id"] == str(old.subscription_id) == str(old.id)


# -- declaring ---------------------------------------------------------------------------------


def test_w14_a_class_that_cannot_be_stored_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidDefinition, match=r"Bad.port: a resource is no part of another one"):

        class Bad1(Resource):
            __qualname__ = "Bad"
            port: Circuit

    with pytest.raises(InvalidDefinition, match="its default: Expected `int`, got `str`"):

        class Bad2(Resource):
            n: int = "7"  # type: ignore[assignment]

    with pytest.raises(InvalidDefinition, match="version: the name belongs to the store"):

        class Bad3(Resource):
            version: int = 1

    with pytest.raises(InvalidDefinition, match="create: the name belongs to Resource"):

        class Bad4(Resource):
            create: int = 1  # type: ignore[assignment]

    with pytest.raises(InvalidDefinition, match="f cannot be stored"):

        class Bad5(Resource):
            f: type[int]

    with pytest.raises(InvalidDefinition, match="its annotations cannot be resolved"):

        class Bad6(Resource):
            f: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidDefinition, match="product must be text, got ''"):

        class Bad7(Resource, product=""):
            pass


def test_w13_products_are_registered_by_keyword_and_by_decorator() -> None:
    @product("test decorated", "test decorated too")
    class Decorated(Resource):
        pass

    assert products()["test decorated"] == products()["test decorated too"] == (Decorated,)
    assert Decorated.create({"product": "test decorated too", "customer_id": "c"}).product == (
        "test decorated too"
    )
    assert products()["test tunnel"] == (Tunnel, TunnelInactive)
    del Decorated
    gc.collect()
    assert "test decorated" not in products()


def test_w13_two_classes_of_one_product_are_refused() -> None:
    with pytest.raises(InvalidDefinition, match=r'"test fibre" belongs to .*Fibre already'):
        types.new_class(
            "Glass",
            (Resource,),
            {"product": "test fibre"},
            lambda body: body.update(__module__=__name__, __qualname__="Glass"),
        )
    with pytest.raises(InvalidDefinition, match='"test fibre" belongs to'):
        types.new_class(
            "Glass",
            (Circuit,),
            {"product": "test fibre"},
            lambda body: body.update(__module__="elsewhere", __qualname__="Glass"),
        )


def test_w13_modules_that_know_nothing_of_each_other_may_use_one_name() -> None:
    kind = types.new_class(
        "Glass",
        (Resource,),
        {"product": "test fibre"},
        lambda body: body.update(__module__="elsewhere", __qualname__="Glass"),
    )
    assert {Fibre, kind} <= set(products()["test fibre"])
    row = row_of(Fibre(location="here"))
    assert class_for((Circuit,), row) is class_for((Fibre,), row) is Fibre


def test_w13_two_classes_of_one_product_may_share_its_life() -> None:
    class Before(Resource, product="test shared", lifecycle="initial"):
        pass

    class After(Resource, product="test shared", lifecycle="active"):
        pass

    assert set(products()["test shared"]) == {Before, After}


# -- creating ----------------------------------------------------------------------------------


def test_w13_create_takes_product_customer_and_the_fields_without_a_default() -> None:
    state = {"product": "test fibre", "customer_id": "surf", "location": "here", "mode": "multi"}
    made = Fibre.create(state)
    assert (made.product, made.customer_id, made.location, made.mode) == (
        "test fibre", "surf", "here", "single",
    )  # fmt: skip
    assert type(Circuit.create({**state, "product": "test old copper"})) is Copper


def test_w13_a_product_that_is_none_of_the_class_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match=r"Copper has no product 'x', it has: test copper, test"):
        Copper.create({"product": "x", "customer_id": "c"})


def test_w13_a_variant_for_later_cannot_be_made_anew() -> None:
    with pytest.raises(InvalidInput, match="Tunnel is for what is active or migrating"):
        Tunnel.create({"product": "test tunnel", "customer_id": "c"})
    assert type(TunnelInactive.create({"product": "test tunnel", "customer_id": "c"})) is (
        TunnelInactive
    )


# -- which class an object is ------------------------------------------------------------------


def test_w14_an_object_is_loaded_as_the_class_of_its_product_and_status() -> None:
    fibre = row_of(Fibre(location="here"))
    assert class_for((Circuit,), fibre) is Fibre
    assert class_for((Copper, Fibre), fibre) is Fibre
    assert class_for((Copper,), fibre) is None
    assert class_for((LightPath,), fibre) is None
    tunnel = row_of(TunnelInactive())
    assert class_for((Tunnel,), tunnel) is None
    active = msgspec.structs.replace(tunnel, status="active")
    assert class_for((Tunnel,), active) is Tunnel
    assert class_for((TunnelInactive, Tunnel), active) is Tunnel
    assert class_for((TunnelInactive, Tunnel), tunnel) is TunnelInactive
    assert class_for((Resource,), fibre) is Fibre


# -- annotations -------------------------------------------------------------------------------


def test_w14_the_forms_a_parameter_may_have() -> None:
    def takes(
        a: LightPath,
        b: Optional[LightPath],  # noqa: UP045
        c: list[LightPath],
        d: Copper | Fibre,
        e: Union[Copper, Fibre, None] = None,  # noqa: UP007
        f: list[LightPath] | None = None,
    ) -> None: ...

    found = {p.name: p.resource for p in injector(takes, resources=True).parameters}
    assert all(found.values())
    assert [(w.kinds, w.many, w.optional) for w in found.values() if w] == [
        ((LightPath,), False, False), ((LightPath,), False, True), ((LightPath,), True, False),
        ((Copper, Fibre), False, False), ((Copper, Fibre), False, True), ((LightPath,), True, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "annotation",
    [
        dict[str, LightPath], tuple[LightPath, LightPath], set[LightPath], LightPath | str,
        list[LightPath | None], list[list[LightPath]], list[LightPath] | LightPath,
        LightPath | dict[str, Any], Annotated[LightPath, "x"], list[LightPath | str],
    ],
    ids=str,
)  # fmt: skip
def test_w14_other_types_are_not_supported_and_refused_when_the_step_is_declared(
    annotation: Any,
) -> None:
    def takes(light_path: Any) -> None: ...

    takes.__annotations__ = {"light_path": annotation}
    with pytest.raises(InvalidDefinition, match=r"takes\(light_path\): .* cannot be loaded"):
        step("Takes")(takes)


def test_w14_a_list_of_anything_is_refused_and_a_plain_list_is_not() -> None:
    def takes(items: list[Any]) -> None: ...

    with pytest.raises(InvalidDefinition, match=r"takes\(items\): list\[Any\] says nothing"):
        step("Takes")(takes)

    @step("Plain")
    def plain(items: list, deep: list[dict[str, Any]]) -> None: ...  # type: ignore[type-arg]

    assert plain.target.injector is not None and not plain.target.injector.resources


def test_w14_a_union_of_what_has_nothing_in_common_is_refused() -> None:
    def takes(thing: LightPath | Fibre) -> None: ...

    with pytest.raises(InvalidDefinition, match="Circuit and LightPath have nothing in common"):
        step("Takes")(takes)


def test_w11_a_program_takes_the_id_and_says_so() -> None:
    async def program(light_path: LightPath) -> None: ...

    with pytest.raises(InvalidDefinition, match="LightPath is loaded for steps alone"):
        workflow(program)


# -- injecting ---------------------------------------------------------------------------------


def do_stuff(light_path: LightPath) -> dict[str, Any]:
    return {"light_path": light_path}


def given(source: dict[str, Any], *rows: Stored, func: Any = do_stuff) -> dict[str, Any]:
    inject = injector(func, resources=True)
    ids = inject.resource_ids(source)
    return inject.arguments(source, {}, {row.id: row for row in rows if row.id in ids})


def test_w11_by_uuid_text_or_dict_and_nothing_else_of_the_dict_is_used() -> None:
    row = row_of(LightPath(speed=5))
    for value in (row.id, row.id.upper(), {"subscription_id": row.id}, {"id": row.id, "speed": 9},
                  {"id": row.id, "version": 7, "status": "gone"}):  # fmt: skip
        found = given({"light_path": value}, row)["light_path"]
        assert (found.id, found.speed, found.version) == (UUID(row.id), 5, 1)


def test_w11_a_dict_names_the_id_as_its_class_does_first() -> None:
    def takes(x: Named) -> None: ...

    row = row_of(Named())
    found = given({"x": {"id": str(uuid4()), "named_id": row.id}}, row, func=takes)["x"]
    assert str(found.id) == row.id


@pytest.mark.parametrize("value", [None, 7, "", "surf", {}, {"speed": 1}, [], {"id": 7}, True])
def test_w11_what_has_no_id_fails(value: Any) -> None:
    with pytest.raises(StepInput, match=r"light_path must be the id of a resource, or a dict"):
        given({"light_path": value})


def test_w11_an_unknown_id_is_not_found() -> None:
    id = str(uuid4())
    with pytest.raises(ResourceNotFound, match=f"there is no resource {id} for light_path"):
        given({"light_path": id})


def test_w11_a_resource_of_another_kind_is_refused() -> None:
    row = row_of(Fibre(location="x"))
    with pytest.raises(
        StepInput, match=r"must be LightPath, the resource .* is a Fibre of product"
    ):
        given({"light_path": row.id}, row)


def test_w13_an_absent_key_makes_a_new_one_and_says_which_keys_are_missing() -> None:
    found = given(NEW)["light_path"]
    assert (found.product, found.customer_id, found.version) == ("test light path", "surf", 0)
    with pytest.raises(MissingState, match='needs "product" and "customer_id", the state has: no'):
        given({})
    with pytest.raises(MissingState, match='it needs "customer_id", the state has: product'):
        given({"product": "test light path"})


def test_w13_two_new_ones_in_one_step_are_refused_before_either_is_made() -> None:
    MADE.clear()

    def both(a: Counted, b: Counted) -> None: ...

    with pytest.raises(StepInput, match="would make a and b: nobody can say which"):
        given(NEW, func=both)
    row = row_of(Counted())
    assert MADE == []
    assert given({**NEW, "a": row.id}, row, func=both)["b"].version == 0


def test_w13_create_may_be_overwritten_and_may_fail() -> None:
    def takes(x: Own) -> None: ...

    assert given({**NEW, "label": "a"}, func=takes)["x"].label == "A"
    with pytest.raises(StepInput, match="a new Own cannot be made for x: 'label'"):
        given(NEW, func=takes)


def test_w14_optional_and_lists() -> None:
    def takes(one: LightPath | None, many: list[LightPath], none: LightPath = None) -> None: ...  # type: ignore[assignment]

    row, other = row_of(LightPath()), row_of(LightPath(speed=2))
    found = given({"many": [row.id, {"id": other.id}, row.id]}, row, other, func=takes)
    assert found["one"] is None and "none" not in found
    assert [one.speed for one in found["many"]] == [1000, 2, 1000]
    assert given({"one": row.id, "many": []}, row, func=takes)["one"].speed == 1000
    assert given({"one": None, "many": [], "none": None}, func=takes)["none"] is None
    with pytest.raises(MissingState, match='needs "many"'):
        given({}, func=takes)
    with pytest.raises(StepInput, match="many must be a list of ids"):
        given({"many": row.id}, func=takes)
    with pytest.raises(StepInput, match="many must be the id of a resource"):
        given({"many": [row.id, None]}, func=takes)


def test_w8_inject_args_makes_resources_and_says_that_it_cannot_load_them() -> None:
    run = inject_args(do_stuff)
    found = run(dict(NEW))
    assert (found["product"], found["light_path"].customer_id) == ("test light path", "surf")
    with pytest.raises(NoEngine, match="takes light_path from the store"):
        run({"light_path": str(uuid4())})


def test_w8_a_step_of_an_injected_function_is_the_step_of_the_function() -> None:
    made = step("Do")(inject_args(do_stuff))
    assert made.target.injector is not None
    assert [p.name for p in made.target.injector.parameters] == ["light_path"]


def test_w16_values_are_strict_and_nested_types_come_back() -> None:
    made = loaded(LightPath, row_of(LightPath(vlans=[{"number": 1}], side={"port": str(uuid4())})))
    assert made.vlans == [Vlan(1)] and isinstance(made.side.port, UUID)
    bad = msgspec.structs.replace(row_of(made), data=b'{"speed":"5"}')
    with pytest.raises(
        Rejected, match="is no LightPath any more: speed: Expected `int`, got `str`"
    ):
        loaded(LightPath, bad)
    assert values_of(made)["vlans"] == [{"number": 1}]
