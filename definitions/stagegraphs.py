"""Stage graphs: the stages of a folder and the arrows between them, as `stages.json` has them.

    {"name": "onboarding",
     "stages": [{"path": "personal-data", "kind": "form", "file": "personal_data.py", "title": "..."},
                {"path": "report", "kind": "job", "schedule": {"every": "week", "on": "monday",
                                                              "at": "09:00"}}],
     "transitions": [{"from": "personal-data", "to": "contract-analysis"}],
     "teams": {"finance": ["mark@company.com"]},
     "concurrency": {"key": "::email"}, "retention": "90 days"}

Limits (`definitions.limits`) are about runs; their expressions read the data a run begins with. Keys nobody here knows belong to somebody else (positions of an editor, notes): they are left alone.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, InvalidInput, Problem
from greenroom.definitions.limits import LIMITS, Limits, limits_from
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.names import name_problem
from greenroom.definitions.people import GROUP
from greenroom.definitions.retries import RetryPolicy, retry_policy
from greenroom.definitions.schedules import Schedule, parse_schedule
from greenroom.definitions.schemas import Schema, compile_schema
from greenroom.definitions.signatures import Signature, signature_from
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json

KINDS: Final = ("form", "hook", "job", "script", "condition", "iterator")
WITHOUT_FILE: Final = ("condition", "iterator")
AUTHS: Final = ("key", "signature", "none")
WHICH: Final = ("one", "all", "oldest")
ENDINGS: Final = ("finished", "failed", "expired")
STAGES_MAX: Final = 500
PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})*")
"""What a stage may be called: it stands in addresses and on command lines."""
FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.py")

STAGE_KEYS: Final = (
    "path", "kind", "file", "title", "assignee", "enforce_assignee", "access", "timeout",
    "reminders", "escalate", "retry", "join", "into", "schedule", "auth", "signature", "match",
    "enabled", "initial", "schema", "items", "item",
)  # fmt: skip
TRANSITION_KEYS: Final = ("from", "to", "on", "when", "otherwise", "loop")
GRAPH_KEYS: Final = ("name", "teams", "roles", "card", *LIMITS)
"""Those that make a version, beside the stages and transitions."""


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Who may open a stage: anybody (`public`), any of the `roles`, or whoever is signed in."""

    public: bool = False
    roles: tuple[str, ...] = ()

    def as_data(self) -> Json:
        return "public" if self.public else {"roles": list(self.roles)}


@dataclasses.dataclass(frozen=True, slots=True)
class Correlation:
    """Which waiting runs a request to a hook is for: those whose data has, at each path of `pairs`,
    what the request has at the other. `which`: exactly one, all of them, or the oldest."""

    pairs: tuple[tuple[str, str], ...] = ()
    which: str = "one"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One stage. `file` is the name of its Python file in the folder, None where it has none."""

    path: str
    kind: str
    file: str | None = None
    title: str = ""
    assignee: str | None = None
    enforce_assignee: bool = False
    access: Access = Access()
    timeout_s: float | None = None
    """A form or hook: how long it waits before it has `expired`. A script: how long it may run."""
    reminders: tuple[float, ...] = ()
    escalate: tuple[tuple[float, str], ...] = ()
    """After how many seconds who is asked instead."""
    retry: RetryPolicy | None = None
    join: str | None = None
    into: str = "joined"
    """Under this name the data of those who came together stands in the data of a joining stage."""
    schedule: Schedule | None = None
    auth: str = "key"
    signature: Signature | None = None
    match: Correlation = Correlation()
    enabled: bool = True
    initial: bool = False
    schema: Schema | None = None
    """What the data it is handed must be like."""
    items: str = "items"
    item: str = "item"
    declared: bool = True
    """Whether `stages.json` names it; a file of the folder that it does not name is a stage too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """An arrow. It is followed when its stage ends as `on` says and `when` holds for the data;
    `otherwise` when no other arrow with a `when` was followed."""

    source: str
    target: str
    on: str = "finished"
    when: Where | None = None
    otherwise: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StageGraph:
    """A checked graph. `document` is `stages.json` as it was read."""

    name: str
    stages: Mapping[str, Stage]
    transitions: tuple[Transition, ...]
    teams: Mapping[str, tuple[str, ...]]
    roles: Mapping[str, tuple[str, ...]]
    document: Mapping[str, Json]
    enabled: bool | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)
    card: tuple[str, ...] = ()
    """Names of the data that a card on the board shows first."""

    def outgoing(self, path: str, on: str = "finished") -> list[Transition]:
        return [t for t in self.transitions if t.source == path and t.on == on]

    def targets(self, path: str) -> list[str]:
        """Where an arrow of any kind leads from here, each once."""
        return list(dict.fromkeys(t.target for t in self.transitions if t.source == path))

    def initial(self) -> list[Stage]:
        """The stages no arrow leads to, and those that say they are."""
        reached = {t.target for t in self.transitions if t.source != t.target}
        return [s for s in self.stages.values() if s.initial or s.path not in reached]

    def named(self, name: str) -> Stage | None:
        """A stage by its path, else by its title."""
        if name in self.stages:
            return self.stages[name]
        titled = [stage for stage in self.stages.values() if stage.title == name]
        return titled[0] if len(titled) == 1 else None

    def find(self, name: Any) -> Stage:
        """Raises `InvalidInput`."""
        found = self.named(name) if isinstance(name, str) else None
        if found is None:
            raise InvalidInput(
                f"{self.name} has no stage {name!r}{did_you_mean(str(name), self.stages)}",
                hint=f"its stages are: {', '.join(self.stages)}",
                workflow=self.name,
            )
        return found

    def first(self, name: str | None = None) -> Stage:
        """Where a run begins: the stage that was named, else the only initial one, of several the
        only one that leads anywhere. Raises `InvalidInput`."""
        if name is not None:
            return self.find(name)
        found = [s for s in self.initial() if s.declared]
        for narrower in (
            [s for s in found if s.initial],
            [s for s in found if self.targets(s.path)],
            [s for s in found if s.kind != "job" and self.targets(s.path)],
        ):
            if len(found) > 1 and narrower:
                found = narrower
        if len(found) != 1:
            names = ", ".join(s.path for s in found or self.stages.values())
            raise InvalidInput(
                f"{self.name} can begin at several stages: say at which",
                hint=f"stage=... (greenroom start --stage ...) with one of: {names}",
                workflow=self.name,
            )
        return found[0]

    def meeting(self, targets: Iterable[str]) -> str | None:
        """The stage with a `join` where most of those who start at `targets` can come together;
        None where less than two can."""
        ways = [self._distances(target) for target in targets]
        best: tuple[int, int, str] | None = None
        for stage in self.stages.values():
            if stage.join is None:
                continue
            reached = [way[stage.path] for way in ways if stage.path in way]
            rank = (-len(reached), max(reached, default=0), stage.path)
            if len(reached) > 1 and (best is None or rank < best):
                best = rank
        return None if best is None else best[2]

    def reaches(self, source: str, target: str) -> bool:
        return target in self._distances(source)

    def _distances(self, source: str) -> dict[str, int]:
        found = {source: 0}
        line = [source]
        for path in line:
            for target in self.targets(path):
                if target not in found:
                    found[target] = found[path] + 1
                    line.append(target)
        return found

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        ids = {path: f"s{number}" for number, path in enumerate(self.stages)}
        lines = ["flowchart LR"]
        for path, stage in self.stages.items():
            label = (stage.title or path).replace('"', "'")
            lines.append(f'  {ids[path]}["{label} ({stage.kind})"]')
        for t in self.transitions:
            words = [t.on] if t.on != "finished" else []
            words += ["if"] if t.when is not None else ["else"] if t.otherwise else []
            arrow = f"-- {' '.join(words)} -->" if words else "-->"
            lines.append(f"  {ids[t.source]} {arrow} {ids[t.target]}")
        return "\n".join(lines)


# -- reading -------------------------------------------------------------------------------------


def graph_from(document: Json, place: str, unnamed: Mapping[str, str] | None = None) -> StageGraph:
    """The graph of a document; `unnamed` are files it does not name with their kinds, which become
    stages of their own. Raises `InvalidDefinition` with every problem."""
    if not isinstance(document, dict):
        raise InvalidDefinition(f"{place}: stages.json holds one object")
    reader = _Reader(place)
    name = document.get("name")
    if (wrong := name_problem(name)) is not None:
        reader.wrong("$.name", f"a name {wrong}")
    name = str(name)
    stages = reader.stages(document.get("stages", []))
    for file, kind in (unnamed or {}).items():
        path = file.removesuffix(".py").replace("_", "-").lstrip("-")
        if path not in stages:
            stages[path] = Stage(path, kind, file, declared=False)
    transitions = reader.transitions(document.get("transitions", []), stages)
    teams = reader.people(document.get("teams", {}), "teams")
    roles = reader.people(document.get("roles", {}), "roles")
    for number, raw in enumerate(_items(document.get("stages"))):
        for role in stages[raw["path"]].access.roles if raw.get("path") in stages else ():
            if role not in roles and role not in teams and not role.startswith(GROUP):
                text = f"there is no role {role!r}{did_you_mean(role, [*roles, *teams])}"
                reader.wrong(f"$.stages[{number}].access.roles", text)
    enabled = document.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        reader.wrong("$.enabled", "must be true or false")
    for key in document:
        if key not in GRAPH_KEYS and key.lower() in GRAPH_KEYS:
            reader.wrong(f"$.{key}", f"unknown{did_you_mean(key, GRAPH_KEYS)}")
    card = document.get("card", [])
    if not isinstance(card, list) or not all(isinstance(one, str) for one in card):
        reader.wrong("$.card", "must be a list of names of the data")
    limits = limits_from(document, lambda name, error: reader.wrong(f"$.{name}", error.message))
    if reader.problems:
        raise InvalidDefinition(f"{place} is not valid", reader.problems)
    return StageGraph(
        name, stages, tuple(transitions), teams, roles, document, enabled, limits, tuple(card)
    )


def _items(raw: Any) -> list[dict[str, Any]]:
    return [one for one in raw if isinstance(one, dict)] if isinstance(raw, list) else []


class _Reader:
    def __init__(self, place: str) -> None:
        self.place = place
        self.problems: list[Problem] = []

    def wrong(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message, self.place))

    def stages(self, raw: Any) -> dict[str, Stage]:
        if not isinstance(raw, list) or len(raw) > STAGES_MAX:
            self.wrong("$.stages", f"must be a list of at most {STAGES_MAX} stages")
            return {}
        found: dict[str, Stage] = {}
        for number, one in enumerate(raw):
            stage = self._stage(one, f"$.stages[{number}]")
            if stage is None:
                continue
            if stage.path in found:
                self.wrong(f"$.stages[{number}].path", f"two stages have the path {stage.path!r}")
                continue
            found[stage.path] = stage
        return found

    def _stage(self, raw: Any, at: str) -> Stage | None:
        if not isinstance(raw, dict):
            self.wrong(at, "a stage is an object with a path and a kind")
            return None
        path, kind = raw.get("path"), raw.get("kind")
        if not isinstance(path, str) or not PATH.fullmatch(path):
            self.wrong(f"{at}.path", "letters, digits, '-', '_' and '.' are needed, parts by '/'")
            return None
        if kind not in KINDS:
            guess = did_you_mean(str(kind), KINDS)
            self.wrong(f"{at}.kind", f"must be one of {', '.join(KINDS)}, got {kind!r}{guess}")
            return None
        for key in raw:
            close = did_you_mean(str(key), STAGE_KEYS)
            if key not in STAGE_KEYS and close and str(key).lower() in STAGE_KEYS:
                self.wrong(f"{at}.{key}", f"unknown{close}")
        file = raw.get("file")
        if file is None and kind not in WITHOUT_FILE:
            file = f"{path.replace('/', '_').replace('-', '_').replace('.', '_')}.py"
        if file is not None and (not isinstance(file, str) or not FILE.fullmatch(file)):
            self.wrong(f"{at}.file", "must be the name of a Python file in this folder")
            file = None
        return Stage(
            path,
            kind,
            file if kind not in WITHOUT_FILE else None,
            self._text(raw, "title", at) or "",
            self._text(raw, "assignee", at),
            self._flag(raw, "enforce_assignee", at),
            self._access(raw.get("access"), f"{at}.access"),
            self._length(raw.get("timeout"), f"{at}.timeout"),
            self._lengths(raw.get("reminders"), f"{at}.reminders"),
            self._escalation(raw.get("escalate"), f"{at}.escalate"),
            self._retry(raw.get("retry"), f"{at}.retry"),
            self._one_of(raw, "join", ("all", "any"), at),
            self._text(raw, "into", at) or "joined",
            self._schedule(raw.get("schedule"), kind, at),
            self._one_of(raw, "auth", AUTHS, at) or "key",
            self._signature(raw, at),
            self._match(raw.get("match"), f"{at}.match"),
            self._flag(raw, "enabled", at, True),
            self._flag(raw, "initial", at),
            self._schema(raw.get("schema"), f"{at}.schema"),
            self._text(raw, "items", at) or "items",
            self._text(raw, "item", at) or "item",
        )

    def _text(self, raw: Mapping[str, Any], key: str, at: str) -> str | None:
        found = raw.get(key)
        if found is None:
            return None
        if not isinstance(found, str) or not 0 < len(found) <= 256:
            if found != "":
                self.wrong(f"{at}.{key}", "must be text of at most 256 characters")
            return None
        return found

    def _flag(self, raw: Mapping[str, Any], key: str, at: str, default: bool = False) -> bool:
        found = raw.get(key, default)
        if not isinstance(found, bool):
            self.wrong(f"{at}.{key}", "must be true or false")
            return default
        return found

    def _one_of(
        self, raw: Mapping[str, Any], key: str, known: tuple[str, ...], at: str
    ) -> str | None:
        found = raw.get(key)
        if found is not None and found not in known:
            self.wrong(f"{at}.{key}", f"must be one of {', '.join(known)}, got {found!r}")
            return None
        return found

    def _access(self, raw: Any, at: str) -> Access:
        if raw is None:
            return Access()
        if raw == "public" or raw == {"public": True}:
            return Access(public=True)
        roles = raw.get("roles") if isinstance(raw, dict) else raw
        if not isinstance(roles, list) or not all(isinstance(one, str) for one in roles):
            self.wrong(at, 'must be "public" or {"roles": [...]}; an empty list is anybody known')
            return Access()
        return Access(roles=tuple(roles))

    def _length(self, raw: Any, at: str) -> float | None:
        if raw is None:
            return None
        try:
            found = seconds(raw, "it")
        except GreenroomError as error:
            self.wrong(at, error.message)
            return None
        if found <= 0:
            self.wrong(at, f"must be longer than 0, got {raw!r}")
            return None
        return found

    def _lengths(self, raw: Any, at: str) -> tuple[float, ...]:
        if raw is None:
            return ()
        if not isinstance(raw, list):
            self.wrong(at, 'must be a list of durations: ["1 day", "3 days"]')
            return ()
        found = [self._length(one, f"{at}[{number}]") for number, one in enumerate(raw)]
        return tuple(sorted(one for one in found if one is not None))

    def _escalation(self, raw: Any, at: str) -> tuple[tuple[float, str], ...]:
        if raw is None:
            return ()
        found: list[tuple[float, str]] = []
        for number, one in enumerate(raw if isinstance(raw, list) else [raw]):
            who = one.get("assignee") if isinstance(one, dict) else None
            after = self._length(one.get("after"), f"{at}[{number}].after") if who else None
            if not isinstance(who, str) or after is None:
                self.wrong(at, 'must be [{"after": "1 day", "assignee": "team:leads"}]')
                return ()
            found.append((after, who))
        return tuple(sorted(found))

    def _retry(self, raw: Any, at: str) -> RetryPolicy | None:
        if raw is None:
            return None
        try:
            return retry_policy(**(raw if isinstance(raw, dict) else {"max_attempts": raw}))
        except (GreenroomError, TypeError) as error:
            self.wrong(at, getattr(error, "message", str(error)))
            return None

    def _schedule(self, raw: Any, kind: str, at: str) -> Schedule | None:
        if kind != "job":
            if raw is not None:
                self.wrong(f"{at}.schedule", "only a job has a schedule")
            return None
        if raw is None:
            self.wrong(f"{at}.schedule", 'a job needs one: {"every": "day", "at": "09:00"}')
            return None
        try:
            return parse_schedule({"cron": raw} if isinstance(raw, str) else raw)
        except GreenroomError as error:
            for problem in getattr(error, "problems", []) or [Problem("", error.message)]:
                self.wrong(f"{at}.schedule", problem.message)
            return None

    def _signature(self, raw: Mapping[str, Any], at: str) -> Signature | None:
        if raw.get("auth") != "signature":
            return None
        given = raw.get("signature")
        if not isinstance(given, dict):
            text = 'is needed: {"scheme": "standard", "secret": "secret://NAME_OF_IT"}'
            self.wrong(f"{at}.signature", text)
            return None
        try:
            return signature_from(given, str(raw.get("path")))
        except GreenroomError as error:
            self.wrong(f"{at}.signature", error.message)
            return None

    def _match(self, raw: Any, at: str) -> Correlation:
        if raw is None:
            return Correlation()
        if isinstance(raw, str):
            raw = {"which": raw}
        which = raw.get("which", "one") if isinstance(raw, dict) else None
        on = raw.get("on", {}) if isinstance(raw, dict) else None
        if which not in WHICH or not isinstance(on, dict):
            self.wrong(
                at,
                'must be {"on": {"order_id": "body.order_id"}, "which": "one"}: a path of the '
                f"run's data, and one of the request; which is one of {', '.join(WHICH)}",
            )
            return Correlation()
        return Correlation(tuple((str(a), str(b)) for a, b in sorted(on.items())), which)

    def _schema(self, raw: Any, at: str) -> Schema | None:
        if raw is None:
            return None
        try:
            return compile_schema(raw, at)
        except InvalidDefinition as error:
            self.problems += error.problems
            return None

    def transitions(self, raw: Any, stages: Mapping[str, Stage]) -> list[Transition]:
        if not isinstance(raw, list):
            self.wrong("$.transitions", "must be a list")
            return []
        found: list[Transition] = []
        for number, one in enumerate(raw):
            made = self._transition(one, stages, f"$.transitions[{number}]")
            if made is not None:
                found.append(made)
        return found

    def _transition(self, raw: Any, stages: Mapping[str, Stage], at: str) -> Transition | None:
        if not isinstance(raw, dict):
            self.wrong(at, 'a transition is {"from": ..., "to": ...}')
            return None
        source: Any = raw.get("from")
        target: Any = raw.get("to")
        for key, path in (("from", source), ("to", target)):
            if path not in stages:
                guess = did_you_mean(str(path), stages)
                self.wrong(f"{at}.{key}", f"there is no stage {path!r}{guess}")
        if source not in stages or target not in stages:
            return None
        if stages[target].kind == "job":
            self.wrong(f"{at}.to", f"{target} is a job: time alone starts it")
        if source == target and not self._flag(raw, "loop", at):
            self.wrong(f"{at}.to", f'{target} leads to itself: say "loop": true if it is meant')
        on = self._one_of(raw, "on", ENDINGS, at) or "finished"
        when = None
        if raw.get("when") is not None:
            try:
                when = compile_where(raw["when"])
            except GreenroomError as error:
                for problem in getattr(error, "problems", []) or [Problem("", error.message)]:
                    self.wrong(f"{at}.when", problem.message)
        otherwise = self._flag(raw, "otherwise", at)
        if otherwise and when is not None:
            self.wrong(f"{at}.otherwise", "a transition has a `when` or is the one otherwise")
        return Transition(source, target, on, when, otherwise)

    def people(self, raw: Any, what: str) -> dict[str, tuple[str, ...]]:
        if not isinstance(raw, dict):
            self.wrong(f"$.{what}", "must be an object: name -> list of people")
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for name, people in raw.items():
            if not isinstance(people, list) or not all(isinstance(one, str) for one in people):
                self.wrong(f"$.{what}.{name}", "must be a list of user names or addresses")
                continue
            found[name] = tuple(people)
        return found
