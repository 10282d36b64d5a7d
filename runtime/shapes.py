"""The shapes every face gives: Python, socket, command line and HTTP alike.

Absent values are `null`. Times are RFC 3339 text in UTC.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

from greenroom.definitions.values import Json

Status = Literal["pending", "running", "waiting", "paused", "failed", "completed", "cancelled"]
STATUSES: tuple[Status, ...] = (
    "pending", "running", "waiting", "paused", "failed", "completed", "cancelled",
)  # fmt: skip
LIVE: tuple[Status, ...] = ("pending", "running", "waiting", "paused", "failed")

T = TypeVar("T")


class Problem(msgspec.Struct, frozen=True):
    """Why something failed: the `error` of an instance, wait, entry or reply."""

    code: str
    message: str
    details: dict[str, Json] = {}
    hint: str | None = None


class Wait(msgspec.Struct, frozen=True):
    """What an instance waits for."""

    kind: Literal["retry", "timer", "event", "form", "approval", "callback", "child", "slot"]
    op: str
    since: str
    due: str | None = None
    name: str | None = None
    type: str | None = None
    where: Json = None
    ask: str | None = None
    child: str | None = None
    attempt: int | None = None
    error: Problem | None = None


class Instance(msgspec.Struct, frozen=True):
    """One instance. In lists `state` and `result` are null."""

    id: str
    workflow: str
    version: int
    kind: str
    key: str | None
    namespace: str
    status: Status
    outcome: str | None
    waits: list[Wait]
    state: Json
    result: Json
    error: Problem | None
    attributes: dict[str, Json]
    created: str
    updated: str
    parent: str | None
    forked_from: str | None


class Ask(msgspec.Struct, frozen=True):
    """An open question to a person or outside party. Of a form, `schema` is that of the first page
    and `pages` how many are known to be asked for: 1 until an answer shows whether there are more."""

    id: str
    instance: str
    op: str
    kind: str
    title: str
    schema: Json
    assignee: str | None
    due: str | None
    answered: dict[str, Json] | None
    pages: int | None = None
    progress: dict[str, Json] | None = None
    """The last report of a callback: `{"at", "data"}`."""
    draft: list[Json] | None = None
    """Pages that were filled in and kept, of the one who looks."""


class Resource(msgspec.Struct, frozen=True):
    """A stored domain object. `data` are the fields of its class; `instance` saved this version."""

    id: str
    type: str
    product: str
    customer_id: str
    status: str
    version: int
    data: dict[str, Json]
    created: str
    updated: str
    instance: str
    workflow: str


class ProductType(msgspec.Struct, frozen=True):
    """A product type: the classes code has for it, and how many resources there are of it. `new`:
    none yet; `missing`: no class of the code takes them."""

    product: str
    classes: list[str]
    resources: int
    change: Literal["same", "new", "missing"]


class ResourceChange(msgspec.Struct, frozen=True):
    """What one field was before and after."""

    before: Json
    after: Json


class ResourceVersion(msgspec.Struct, frozen=True):
    """One version in the history of a resource: what wrote it, and what it changed. `pos` is the
    place in the journal of the turn it was saved with."""

    version: int
    at: str
    instance: str
    workflow: str
    op: str
    attempt: int
    pos: int
    changes: dict[str, ResourceChange]


class Entry(msgspec.Struct, frozen=True):
    """One line of an instance's history. `seq` counts within the instance, `pos` in the journal."""

    seq: int
    pos: int
    at: str
    kind: str
    op: str | None = None
    attempt: int | None = None
    by: str | None = None
    data: Json = None


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as the store keeps it."""

    pos: int
    id: str
    type: str
    source: str
    subject: str | None
    time: str | None
    data: Json
    accepted: str
    by: str | None
    extra: dict[str, Json] = {}


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list; hand `cursor` back for the next one, null at the end."""

    items: list[T]
    cursor: str | None
    total: int | None = None


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one event did to one instance."""

    workflow: str
    instance: str | None
    key: str | None
    action: Literal["started", "delivered", "refused", "held"]
    code: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a posted event, durable when given. At most 100 matches are listed."""

    id: str
    accepted: bool
    duplicate: bool
    matched_total: int
    matched: list[Match]


class Started(msgspec.Struct, frozen=True):
    """The answer to `start`. `created` is false when the `request_id` was seen before."""

    instance: str
    key: str | None
    status: Status
    created: bool


class Sent(msgspec.Struct, frozen=True):
    """The answer to `send`: `delivered` is 0 when the instance has ended, `matched` says whether
    an open wait or handler took the event at once."""

    id: str
    delivered: int
    matched: bool


class Answered(msgspec.Struct, frozen=True):
    instance: str
    ask: str
    status: Status


class Verb(msgspec.Struct, frozen=True):
    """The answer to a verb. `pending` is "pause" while running steps are still finishing."""

    instance: str
    status: Status
    pending: str | None = None


class Kind(msgspec.Struct, frozen=True):
    """How many instances of a workflow had a status when a verb for many began."""

    workflow: str
    status: Status
    instances: int


class Refusal(msgspec.Struct, frozen=True):
    """Why instances did not take a verb, and how many said so; ids are left out of the message."""

    message: str
    instances: int


class Many(msgspec.Struct, frozen=True):
    """The answer to a verb for many. `found` is how many there were, `first` some of their ids, `more`
    whether the verb reached not all of them; with `dry_run` nothing was done."""

    verb: str
    found: int
    done: int = 0
    refused: list[Refusal] = []
    more: bool = False
    dry_run: bool = False
    kinds: list[Kind] = []
    first: list[str] = []


class Forked(msgspec.Struct, frozen=True):
    instance: str
    forked_from: str
    status: Status


class Outcome(msgspec.Struct, frozen=True):
    """The answer to `result` on the wire."""

    instance: str
    status: Status
    outcome: str | None
    result: Json
    error: Problem | None


class StateAt(msgspec.Struct, frozen=True):
    seq: int
    state: Json


class Fact(msgspec.Struct, frozen=True):
    """One sentence of `why` or `explain`, and the data it was made from."""

    text: str
    data: dict[str, Json] = {}


class Why(msgspec.Struct, frozen=True):
    """Why an instance is where it is: `text` is the screen, `facts` its sentences."""

    text: str
    facts: list[Fact]


class Deed(msgspec.Struct, frozen=True):
    """Something somebody did to a definition: `pushed`, `released`, `enabled`, `disabled`, `deleted`."""

    at: str
    what: str
    version: int | None
    by: str | None


class Ingested(msgspec.Struct):
    """What became of an event that a service sent. `accepted` is None for a handshake; `reply` is
    what the sender wants to hear, if it wants anything."""

    connector: str
    type: str
    accepted: Accepted | None = None
    reply: Json = None


class DefinitionInfo(msgspec.Struct, frozen=True):
    """One version of a workflow. `release` says that new instances get it, `enabled` that its
    triggers and schedules act, `by` who pushed it (null: it was loaded), `document` what it was
    written as (only where one is asked for)."""

    name: str
    kind: str
    version: int
    release: bool
    enabled: bool
    hash: str
    source: str | None = None
    steps: list[str] = []
    triggers: list[Json] = []
    by: str | None = None
    created: str | None = None
    document: Json = None
    deeds: list[Deed] = []
    """What was done to the workflow by hand, the newest last; only where one is asked for."""
    tags: list[str] = []
    warnings: list[Json] = []
    """What is odd about a document that is validated or pushed: `{path message where}`."""
    uses: list[str] = []
    """What a document uses of the world: `connector:slack`, `secret:hook`, `event:order.done`."""
    grants: list[str] = []
    """What somebody has approved for the workflow, all its versions."""
    missing: list[str] = []
    """What this version uses and nobody has approved."""


ReplayLevel = Literal["error", "warning"]


class ReplayFinding(msgspec.Struct, frozen=True):
    """The first difference of one instance: entry `at` of its journal, both sides, and the line of
    the code that asks for what the journal does not have. A `warning` would not stop it."""

    instance: str
    workflow: str
    version: int
    key: str | None
    status: Status
    level: ReplayLevel
    at: int
    why: str
    journal: list[str]
    code: list[str]
    line: str | None


class Replayed(msgspec.Struct, frozen=True):
    """What a replay of stored histories has found; at most 100 findings are listed."""

    instances: int
    errors: int
    warnings: int
    findings: list[ReplayFinding]


class Difference(msgspec.Struct, frozen=True):
    """One place in which two things differ: `change` is `added`, `removed` or `changed`."""

    path: str
    change: Literal["added", "removed", "changed"]
    a: Json = None
    b: Json = None


class Diff(msgspec.Struct, frozen=True):
    """What `b` is beside `a`."""

    a: str
    b: str
    same: bool
    changes: list[Difference]


class PathStep(msgspec.Struct, frozen=True):
    """An op on the paths of two instances, and how it ended on each; null where it was not met."""

    op: str
    a: str | None
    b: str | None


class InstanceDiff(msgspec.Struct, frozen=True):
    """Two instances side by side. `facts` are workflow, version, status and outcome where they
    differ; `path` is all of both paths."""

    a: str
    b: str
    same: bool
    facts: list[Difference]
    input: list[Difference]
    path: list[PathStep]
    state: list[Difference]


class Synced(msgspec.Struct, frozen=True):
    """A workflow of the code beside the store. `change`: `new` and `changed` are stored by a sync,
    `missing` is in the store alone. `version` is the stored one that is meant: of a changed
    workflow the released one."""

    name: str
    change: Literal["new", "changed", "same", "missing"]
    kind: str
    version: int | None
    hash: str
    source: str | None = None


class Strayed(msgspec.Struct, frozen=True):
    """A recorded instance that would go another way: `verdict` is `other` or `fails`, `text` what
    it would do, from `op` on, after entry `at`."""

    instance: str
    workflow: str
    version: int
    key: str | None
    verdict: str
    op: str | None
    text: str
    at: int


class Checked(msgspec.Struct, frozen=True):
    """How recorded instances would fare on a version; at most 100 are listed."""

    name: str
    version: int
    checked: int
    same: int
    other: int
    fails: int
    strayed: list[Strayed]


class Deleted(msgspec.Struct, frozen=True):
    name: str
    deleted: list[int]


class ScheduleInfo(msgspec.Struct, frozen=True):
    id: str
    workflow: str
    rule: str
    next: str | None
    paused: bool
    last: str | None
    overlap: str = "allow"
    catch_up: str = "one"
    queued: int = 0
    """Nominal times that wait for the run before them."""


class PlannedTick(msgspec.Struct, frozen=True):
    """What a schedule would do at a nominal time: `at` is when the run begins, null when there is
    none; `what` is on time, made up, waits, skipped or cancelled."""

    nominal: str
    at: str | None
    what: str
    why: str | None = None


class Backfilled(msgspec.Struct, frozen=True):
    """The nominal times of a range: how many there are, had a run now or before, or wait."""

    schedule: str
    times: int
    started: int
    known: int
    queued: int
    dry_run: bool = False


class Held(msgspec.Struct, frozen=True):
    """Events that a trigger holds for one key: `kind` says why, `due` when it looks again."""

    workflow: str
    key: str | None
    kind: str
    events: list[int]
    """Their places."""
    since: str
    due: str


class Tried(msgspec.Struct, frozen=True):
    """What a subscription would have done to stored events: how many of its type were looked at,
    how many it wants, the first of them with the key they give, and which criteria failed first
    for how many of the others."""

    workflow: str | None
    on: str
    where: Json
    looked_at: int
    matched: int
    first: list[Json]
    failed: list[Json]


class ReplayedEvents(msgspec.Struct, frozen=True):
    """Stored events into a workflow: `known` had started it before, live or by a replay. Where the
    workflow collects events, `started` counts instances and `held` events that wait for others, or
    for their turn."""

    workflow: str
    looked_at: int
    matched: int
    started: int
    known: int
    refused: int
    dry_run: bool = False
    held: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery that did not fit into an inbox."""

    instance: str
    workflow: str
    key: str | None
    pos: int
    event: str | None
    type: str | None
    at: str
    reason: str


class Redriven(msgspec.Struct, frozen=True):
    """`dropped`: the instance has ended; `left`: its inbox is still full."""

    delivered: int
    dropped: int
    left: int


class Info(msgspec.Struct, frozen=True):
    version: str
    pid: int
    data: str
    epoch: int
    started: str
    instances: dict[str, int]
    durability: str
    definitions: int = 0
    asks: int = 0
    timers: int = 0
    head: int = 0
    python: str = ""
    sqlite: str = ""


class Pruned(msgspec.Struct, frozen=True):
    """What retention deleted, or with `dry_run` would delete (then only instances are counted)."""

    instances: int
    events: int = 0
    entries: int = 0
    dry_run: bool = False


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as it is shown: its secret is not known any more. `used` is exact to a minute."""

    id: str
    name: str
    scopes: list[str]
    created: str
    by: str | None
    expires: str | None
    used: str | None
    revoked: bool = False


class NewApiKey(msgspec.Struct, frozen=True):
    """The answer to `keys.create`: the only time the key itself is seen."""

    id: str
    name: str
    scopes: list[str]
    key: str
    expires: str | None


class Finding(msgspec.Struct, frozen=True):
    """One line of `doctor`. `level` is ok, note, warning or error."""

    level: str
    check: str
    text: str
    details: dict[str, Any] = {}
