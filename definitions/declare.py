"""`@workflow`: from a function or class to a `Definition`.

A coroutine function is a program; a plain function is called once and must give a step list; a
class is a `Workflow` with `handle()`. Nothing is registered anywhere: the definition hangs on the
object, and an engine is given the object.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

import msgspec

from greenroom.definitions.collecting import on_from
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.expressions import Value, compile_value
from greenroom.definitions.forms import form_target
from greenroom.definitions.gates import classifier, gate
from greenroom.definitions.injection import injector, location
from greenroom.definitions.limits import Limits, limits_from
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import child, is_driven, named_version
from greenroom.definitions.options import Options, check_names
from greenroom.definitions.planshape import plan_shape
from greenroom.definitions.programs import Workflow, key_rule
from greenroom.definitions.purity import check_program
from greenroom.definitions.schedules import Schedule, parse_schedule
from greenroom.definitions.steps import Piece, Step, StepList
from greenroom.definitions.tasks import Task, task_target
from greenroom.definitions.values import Json
from greenroom.definitions.versions import Version, implementations
from greenroom.definitions.workflow import (
    Definition,
    OnError,
    Plan,
    Program,
    Trigger,
    check_name,
    code_hash,
    data_hash,
    trigger_on,
)

F = TypeVar("F", bound=Callable[..., Any])


class Declared:
    """A function that was made a workflow. Awaited in a program, it is a child; called anywhere
    else, it is the function."""

    def __init__(self, func: Callable[..., Any], definition: Definition) -> None:
        self.__greenroom__ = definition
        self.__wrapped__ = func
        self.__name__ = definition.name
        self.__doc__ = func.__doc__
        self.__module__ = func.__module__
        self.func = func

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from_program = getattr(self.__greenroom__.body, "injector", None)
        if from_program is not None and is_driven():
            return child(self, from_program.bind(args, kwargs))
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.__greenroom__.name} ({self.__greenroom__.kind})>"


@overload
def workflow(subject: F) -> F: ...
@overload
def workflow(subject: str | None = None, **options: Unpack[Options]) -> Callable[[F], F]: ...
def workflow(subject: Any = None, **options: Unpack[Options]) -> Any:
    """Makes a function or class a workflow: `@workflow`, `@workflow("Order a port", on=...)`.

    The text is a label for people; the name is that of the function. `target` says what the workflow
    does to its subject (`"create"`, `"modify"`, `"terminate"`, `"validate"`); steps are given it as
    `workflow_target`.
    `on` is an event type that starts instances (or several: a list, `any_of`, `all_of`, `unless`),
    `where` a condition over the whole event (JMESPath
    text, condition object, or map of paths to values), `key` an expression for the unique key of
    the live instance (`"::data.order_id"`), `transform` what becomes the input instead of the
    event's data. `debounce` ("5s") waits until no further event has come for a while and takes the
    last, `throttle` ({"limit": 10, "per": "1m"}) lets starts wait for their turn, `batch`
    ({"size": 100, "within": "10s"}) starts one instance for several events; each apart for each key.
    `schedule` is a cron text, or an object `{"cron": ..., "timezone": ...}`,
    `{"rate": "5 minutes"}`, `{"at": ...}`. `attributes` maps search attributes to expressions over
    the input. `concurrency` (2, or `{"key": "::user.id", "limit": 2, "on_conflict": "queue"}`) says
    how many live at once for each value of `key`, and whether who comes then is queued (the highest
    `priority` first), refused (`"skip"`) or takes the place of the oldest (`"cancel_oldest"`); `rate`
    ({"limit": 10, "per": "1m"}) how many begin in a time, the others are queued. An instance that has
    not ended within `timeout` of its first turn fails, and may be resumed. Instances that ended
    longer than `retention` ago are deleted. `tags` are words to find the workflow by. With
    `enabled=False` its events and schedules start nothing. `version` counts by itself when left out. `initial_input_form` is a form function (or
    page class) that a person fills in before there is an instance; what it returns is merged into
    the input. Events, schedules and parents bring their input whole and are not asked. A step list
    that fails for good takes back what its steps with `compensate=` have done and is cancelled, or,
    with `on_failure="park"`, waits as it is for somebody to resume it. `only_if` is asked before an
    instance exists, wherever it comes from: a function whose parameters are taken from the input
    (False, or text that says why, refuses the start), or a condition as in `where` over
    `{"data": input}`. `classify(error)` gives failures of steps a label of your own, such as
    `"api_unavailable"`, which filters find: `error:api_unavailable`. `on_error="pause"` shows an
    instance whose error nobody caught as `paused` (its `error` says why). `wait_for_dispatched`
    lets a program end only when what it has dispatched has ended. Both can be attributes of a
    class as well.
    """

    check_names(options)
    label = subject if isinstance(subject, str) else None

    def declare(subject: Any) -> Any:
        definition = compile_definition(subject, label=label, **options)
        if inspect.isclass(subject):
            subject.__greenroom__ = definition  # type: ignore[attr-defined]
            return subject
        return Declared(subject, definition)

    return declare if subject is None or label is not None else declare(subject)


def compile_definition(
    subject: Any, *, label: str | None = None, **options: Unpack[Options]
) -> Definition:
    """The definition of a function, class or step list."""
    place = location(subject) if callable(subject) else "?"
    title, version = _named(subject, label, options, place)
    _check(options, place)
    body = _body(subject, title, place)
    if isinstance(body, Program) and not _is_task(subject):
        on_event = getattr(body.cls, "on_event", None) if body.handles_events else None
        functions = [f for f in (body.func, on_event) if f]
        check_program(functions, title, body.cls, options.get("strict", False))
    older = _older(subject, title)
    if older or (inspect.isclass(subject) and issubclass(subject, Version)):
        version = len(older) + 1
    waits = options.get("wait_for_dispatched")
    if waits is None:
        waits = getattr(subject, "wait_for_dispatched", False) is True
    target, classify, form = (
        options.get(name) for name in ("target", "classify", "initial_input_form")
    )
    only_if = options.get("only_if")
    made = Definition(
        title,
        version,
        "steps" if isinstance(body, Plan) else "program",
        body,
        _triggers(title, options),
        "",
        place,
        strict=options.get("strict", False),
        older=older,
        label=label,
        target=None if target is None else str(target),
        on_failure=options.get("on_failure", "compensate"),
        only_if=None if only_if is None else gate(only_if, code_hash),
        classify=None if classify is None else classifier(classify),
        on_error=_on_error(subject, options.get("on_error"), place),
        wait_for_dispatched=waits,
        form=None if form is None else form_target(form),
        enabled=options.get("enabled"),
    )
    limits = _limits(title, options, place)
    return dataclasses.replace(
        made, hash=_fingerprint(made, limits, subject, options), **limits.fields()
    )


def _named(subject: Any, label: str | None, options: Options, place: str) -> tuple[str, int | None]:
    """The name, and the number of the version where one is given."""
    if isinstance(subject, Step):
        raise InvalidDefinition(
            f"{subject.name} is a step; put @workflow on a function   {location(subject.target.func)}"
        )
    name, version = options.get("name"), options.get("version")
    title = name or getattr(subject, "__name__", None)
    if name is None and inspect.isclass(subject) and issubclass(subject, Workflow):
        title, number = named_version(subject.__name__)
        version = version if number is None else number
    if title == "<lambda>" and label:
        title = label
    if title is None:
        raise InvalidDefinition(f"a workflow needs a name: @workflow(name=...)   {place}")
    check_name(title, place)
    if version is not None and (
        isinstance(version, bool) or not isinstance(version, int) or version < 1
    ):
        raise InvalidDefinition(f"version must be a whole number from 1, got {version!r}   {place}")
    return title, version


def _check(options: Options, place: str) -> None:
    """What is wrong with options by themselves."""
    on_failure = options.get("on_failure", "compensate")
    if on_failure not in ("compensate", "park"):
        raise InvalidDefinition(
            f'on_failure must be "compensate" or "park", got {on_failure!r}   {place}'
        )
    key = options.get("key")
    if isinstance(key, str) and key.startswith(("data.", "input.")):
        raise InvalidDefinition(
            f'the key "{key}" is that very text, the same for all instances   {place}',
            hint=f'an expression begins with two colons:  key="::{key}"',
        )
    if options.get("where") is not None and options.get("on") is None:
        raise InvalidDefinition(f"where= needs on=, the event type to filter   {place}")
    enabled = options.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise InvalidDefinition(f"enabled must be True or False, got {enabled!r}   {place}")


def _limits(title: str, options: Options, place: str) -> Limits:
    def wrong(option: str, error: InvalidDefinition) -> None:
        raise InvalidDefinition(f"{title}: {error.message}   {place}", hint=error.hint)

    return limits_from(options, wrong)


def _fingerprint(made: Definition, limits: Limits, subject: Any, options: Options) -> str:
    """What makes a version."""
    key, transform = options.get("key"), options.get("transform")
    entrance = made.only_if
    return data_hash(
        {
            "body": msgspec.to_builtins(plan_shape(made.body))
            if isinstance(made.body, Plan)
            else code_hash(*_sources(subject)),
            "triggers": [
                {**trigger.as_data(), "key": key, "transform": transform}
                for trigger in made.triggers
            ],
            "attributes": dict(options.get("attributes") or {}),
            **({"limits": said} if (said := limits.as_data()) else {}),
            **({} if entrance is None else {"only_if": entrance.source}),
            **({"on_failure": made.on_failure} if made.on_failure != "compensate" else {}),
            **({"on_error": made.on_error} if made.on_error != "fail" else {}),
            **({"wait_for_dispatched": True} if made.wait_for_dispatched else {}),
        }
    )


def _on_error(subject: Any, given: OnError | None, place: str) -> OnError:
    """The option, or the attribute of a class."""
    found = given if given is not None else getattr(subject, "on_error", None)
    if found is None or callable(found):  # a method of the author's, with this name
        return "fail"
    if found not in ("fail", "pause"):
        raise InvalidDefinition(f'on_error must be "fail" or "pause", got {found!r}   {place}')
    return "pause" if found == "pause" else "fail"


def _is_task(subject: Any) -> bool:
    return inspect.isclass(subject) and issubclass(subject, Task)


def _sources(subject: Any) -> list[Any]:
    if inspect.isclass(subject) and issubclass(subject, Version):
        return [subject, subject.current()]
    return [subject]


def _body(subject: Any, title: str, place: str) -> Plan | Program:
    if isinstance(subject, StepList):
        return _plan(subject, title, place)
    if inspect.isclass(subject):
        if issubclass(subject, Task):
            return _task_program(subject)
        if issubclass(subject, Version):
            subject = subject.current()
        return _class_program(subject, place)
    if inspect.iscoroutinefunction(subject):
        return Program(subject, injector(subject, kind="workflow"), None, False)
    if inspect.isgeneratorfunction(subject) or not callable(subject):
        raise InvalidDefinition(
            f"{title} must be a coroutine function, a class with handle(), or a function that "
            f"returns a step list   {place}"
        )
    if [p for p in inspect.signature(subject).parameters.values() if p.default is p.empty]:
        raise InvalidDefinition(
            f"{title} is a plain function with arguments   {place}",
            hint="a program is `async def`; a step list takes no arguments and returns begin >> ... >> done",
        )
    steps = subject()
    if not isinstance(steps, Piece | StepList):
        raise InvalidDefinition(
            f"{title}() must return a step list (begin >> ... >> done), got {type(steps).__name__}   {place}"
        )
    return _plan(StepList.of(steps), title, place)


def _plan(steps: StepList, title: str, place: str) -> Plan:
    try:
        return steps.plan()
    except InvalidDefinition as error:
        raise InvalidDefinition(f"{title}: {error.message}   {place}", hint=error.hint) from None


def _class_program(cls: type, place: str) -> Program:
    handle = getattr(cls, "handle", None)
    if not callable(handle) or handle is Workflow.handle:
        raise InvalidDefinition(f"{cls.__name__} has no handle()   {place}")
    if inspect.isgeneratorfunction(handle) or inspect.isasyncgenfunction(handle):
        raise InvalidDefinition(f"{cls.__name__}.handle is a generator   {place}")
    taken = [p for p in inspect.signature(handle).parameters.values() if _is_wanted(p)][1:]
    if taken:
        raise InvalidDefinition(
            f"{cls.__name__}.handle takes {taken[0].name}: it is given nothing but self   {place}",
            hint="what a workflow works on are its attributes:  def __init__(self, order_id): ...",
        )
    on_event = getattr(cls, "on_event", None)
    if on_event is not None and not callable(on_event):
        raise InvalidDefinition(f"{cls.__name__}.on_event is not a method   {place}")
    sync = not inspect.iscoroutinefunction(handle)
    return Program(handle, None, cls, on_event is not None, sync, key_rule(cls))


def _is_wanted(parameter: inspect.Parameter) -> bool:
    """Whether a call must give it."""
    kinds = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in kinds


async def _run_task(task: Task) -> Any:
    return await task._op("call")


def _task_program(cls: type[Task]) -> Program:
    """A task dispatched outside a workflow: an instance that runs it and nothing else."""
    task_target(cls)
    return Program(_run_task, None, cls, False)


def _older(cls: Any, title: str) -> dict[int, Definition]:
    """The versions before the last of a class that lists them."""
    if not (inspect.isclass(cls) and issubclass(cls, Version)):
        return {}
    return {
        number: compile_definition(found, name=title, version=number)
        for number, found in enumerate(implementations(cls)[:-1], 1)
    }


def _triggers(title: str, options: Options) -> tuple[Trigger, ...]:
    return (*_events(title, options), *_times(title, options))


def _events(title: str, options: Options) -> list[Trigger]:
    """The triggers on events."""
    on, where, key = options.get("on"), options.get("where"), options.get("key")
    transform = options.get("transform")
    held = [options.get(name) for name in ("debounce", "throttle", "batch")]
    collects = any(one is not None for one in held)
    if on is None:
        if collects:
            raise InvalidDefinition(
                f"{title}: debounce, throttle and batch need on=, an event type"
            )
        return []
    if isinstance(on, str) and not collects:
        return [trigger_on(on, where, key, transform)]
    found = on_from(on, where, *held)
    return [
        trigger_on(type, own, key, transform, found.collect, slot if found.collect else 0)
        for slot, (type, own) in enumerate(found.parts)
    ]


def _times(title: str, options: Options) -> list[Trigger]:
    """The trigger of a schedule; where nothing triggers, one that knows the key."""
    key, schedule = options.get("key"), options.get("schedule")
    if schedule is None:
        if key is None or options.get("on") is not None:
            return []
        return [Trigger(None, compile_where(None), _value(key), None)]
    plan: Schedule = (
        schedule
        if isinstance(schedule, Schedule)
        else parse_schedule({"cron": schedule} if isinstance(schedule, str) else schedule)
    )
    return [Trigger(None, compile_where(None), _value(key), None, plan, title)]


def _value(key: Json) -> Value | None:
    return None if key is None else compile_value(key)


def definition_of(subject: Any) -> Definition:
    """The definition behind anything an engine may be given."""
    if isinstance(subject, Definition):
        return subject
    found = getattr(subject, "__greenroom__", None)
    if isinstance(found, Definition):
        if inspect.isclass(subject) and found.program.cls is not subject:
            return compile_definition(subject)  # a subclass of a declared workflow
        return found
    if inspect.isclass(subject) and issubclass(subject, Workflow | Task):
        return compile_definition(subject)
    if isinstance(subject, StepList):
        raise InvalidDefinition("a bare step list has no name: put it into an @workflow function")
    raise InvalidDefinition(
        f"{subject!r} is not a workflow",
        hint="decorate it with @workflow, or derive the class from greenroom.Workflow",
    )
