"""What a person may change of a live instance: its state, and the version it follows.

Both are refused unless what was recorded stays true. A plan goes on from its state, so any value
may be written. A class program is replayed with the same edit at the same place, so its attributes
may be. The variables of a plain function are in its code, out of reach: fork it instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from greenroom.actors.entries import Delta
from greenroom.actors.progress import Progress
from greenroom.actors.spots import DUE, UNDO, locate
from greenroom.definitions.errors import InvalidRequest, InvalidTransition
from greenroom.definitions.injection import VIRTUAL
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Definition, Plan


def edited(
    definition: Definition, p: Progress, changes: dict[str, Json], drop: Iterable[str]
) -> Delta:
    """The effect of an edit on the state. Raises `InvalidRequest`."""
    program = definition.body if not isinstance(definition.body, Plan) else None
    if program is not None and program.cls is None:
        raise InvalidRequest(
            f"{p.workflow} is a function: its state is in its variables and cannot be changed",
            hint=f"greenroom fork {p.id} --input '{{...}}'",
            instance=p.id,
        )
    if program is not None and not p.begun:
        raise InvalidTransition(
            f"{p.workflow} {p.id} has not begun: its state is its input",
            hint="cancel it and start another one",
            instance=p.id,
        )
    new: dict[str, Any] = {}
    gone: list[str] = []
    for path, value in changes.items():
        name = _check_name(p, path, program is not None)
        if name == path:
            new[name] = value
            gone = [dropped for dropped in gone if dropped != name]
        else:
            _set(new, p, name, path, value)
    for path in drop:
        name = _check_name(p, path, program is not None)
        if name == path:
            if name not in p.state:
                raise InvalidRequest(f"the state has no {path}{did_you_mean(path, p.state)}")
            new.pop(name, None)
            gone.append(name)
        else:
            _drop(new, p, name, path)
    if not new and not gone:
        raise InvalidRequest("nothing to change: give values to set or names to delete")
    return Delta(new, tuple(gone))


def _check_name(p: Progress, path: str, is_program: bool) -> str:
    """The value of the state that a path is in."""
    name = path if path in p.state else path.split(".", 1)[0]
    if not name:
        raise InvalidRequest(f"{path!r} names no value of the state")
    if name in VIRTUAL:
        raise InvalidRequest(f'"{name}" belongs to the engine and is not in the state')
    if is_program and name.startswith("_"):
        raise InvalidRequest(f"{name} is private to the workflow and not in its state")
    return name


def _parent(new: dict[str, Any], p: Progress, name: str, path: str) -> tuple[dict[str, Any], str]:
    """The object a path leads into, copied, and the last word of the path."""
    if name not in new:
        new[name] = copy(p.state.get(name))
    inner = path.split(".")[1:]
    found = new[name]
    for word in inner[:-1]:
        found = found.get(word) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path}: there is no object to change it in")
    return found, inner[-1]


def _set(new: dict[str, Any], p: Progress, name: str, path: str, value: Json) -> None:
    found, last = _parent(new, p, name, path)
    found[last] = value


def _drop(new: dict[str, Any], p: Progress, name: str, path: str) -> None:
    found, last = _parent(new, p, name, path)
    if last not in found:
        raise InvalidRequest(f"the state has no {path}")
    del found[last]


def _bare(key: str) -> str:
    """The step that a taking back or a deadline belongs to."""
    return key.removeprefix(UNDO).removesuffix(DUE)


def not_followed(now: Definition, target: Definition, p: Progress, done: Iterable[str]) -> None:
    """Raises `InvalidTransition` naming the steps that ended or are open and the target lacks."""
    if not isinstance(now.body, Plan) or not isinstance(target.body, Plan):
        raise InvalidRequest(
            f"{p.workflow} is a program: it follows the code, and replay decides whether it can",
            hint=f"load the code, then  greenroom resume {p.id},  or  greenroom fork {p.id} --from OP",
            instance=p.id,
        )
    held = (getattr(entry, "key", None) for entry in p.held)
    keys = [*done, *p.ops, *p.causes, *([p.last] if p.last else []), *(key for key in held if key)]
    plan = target.body
    missing = sorted({key for key in map(_bare, keys) if locate(plan, key) is None})
    if missing:
        raise InvalidTransition(
            f"{p.workflow} {p.id} has steps that v{target.version} does not have: "
            f"{', '.join(missing)}",
            hint="a version that has them under the same keys can be followed",
            missing=missing,
            instance=p.id,
        )
