"""What the actors need of the world, named as types; `runtime` implements them.

The store is one idea: a *group* of works goes in, a result a work comes out, and everything the
group wrote is one durable transaction. Whatever must be decided against other rows (has this
event id been seen? is this key taken? which waits does this event meet?) is decided inside that
transaction, so no answer can be stale. Times are integers: milliseconds since 1970, UTC.

Order inside a group: creates and appends first, in the order given; then routed and posted events
in the order given; then reads. Works of one group come from callers that do not know of each
other yet, so any order is a true one, and this one lets an event of the group meet the waits
opened in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from greenroom.definitions.events import Event
from greenroom.definitions.resources import Stored
from greenroom.definitions.values import Json

FAN_OUT_PER_COMMIT: Final = 1_000
"""Deliveries and starts of one event that share its commit; the rest follows under its cursor."""
INBOX_MAX: Final = 10_000
"""Undelivered items an instance may hold; beyond it routed events become dead letters."""
MATCHES_LISTED: Final = 100
LOOK_BACK_MAX: Final = 1_000
"""Events from before that one opening of a `many` wait may bring."""

# -- rows --------------------------------------------------------------------------------------


class Row(Struct, gc=False, frozen=True):
    """One encoded entry. `crc` is zlib.crc32 of the payload; the store continues it over the
    header once it has given out the place in the journal."""

    kind: str
    at: int
    payload: bytes
    crc: int


class StoredRow(Struct, frozen=True):
    """One entry as read back; its checksum was verified."""

    seq: int
    iseq: int
    epoch: int
    kind: str
    at: int
    payload: bytes


class InstanceRow(Struct):
    """What lists and filters see of an instance. `n` is its number inside the store, given out by
    the engine (rising, gaps allowed); `id` its uuid7. JSON columns are encoded bytes."""

    n: int
    id: str
    namespace: str
    workflow: str
    version: int
    kind: str
    key: str | None
    status: str
    created: int
    updated: int
    outcome: str | None = None
    waits: bytes = b"[]"
    steps: str = ""
    """Names of the open ops, separated by newlines: the filter `step:`."""
    error: bytes | None = None
    error_code: str | None = None
    attributes: dict[str, Any] = {}
    """Search attributes: name -> str, int, float or bool."""
    parent: str | None = None
    forked_from: str | None = None
    test: bool = False
    busy: bool = True
    """Work is owed (a step runs, an item is undelivered): activated first thing after a start."""


class StatusChange(Struct, gc=False, frozen=True):
    """The columns a turn may change; written with the entry that changed them."""

    status: str
    outcome: str | None
    waits: bytes
    steps: str
    error: bytes | None
    error_code: str | None
    busy: bool
    attributes: dict[str, Any] | None = None


class WaitRow(Struct, gc=False, frozen=True):
    """An open wait for an event. `where` is the JSON it was written as (bytes), `paths` those of
    its keys in order, `hash` the first key and `more` the others (at most 31: a path that may have
    one of several values); an event must have one of them. `since` is the place in the
    journal after which events count (look-back), None = from now. Looking back brings the oldest
    event that this instance was not given before; with `many` (a handler) all of them."""

    op: str
    type: str
    paths: tuple[str, ...]
    hash: int
    where: bytes
    since: int | None = 0
    many: bool = False
    more: tuple[int, ...] = ()
    since_at: int | None = None
    """Instead of `since`: events accepted from this time on count."""


class AskRow(Struct, frozen=True):
    id: str
    op: str
    kind: str
    title: str
    schema: bytes
    assignee: str | None
    due: int | None


class InboxRow(Struct, frozen=True):
    """Something an instance must be told, kept until it has been. `kind` is `event`, `outcome`
    (of a child), `cancel` or `start`; `payload` an encoded message; `pos` the event's place.
    Items the store makes of events have the kind `event` and the `Event` as JSON for payload."""

    kind: str
    payload: bytes
    at: int
    pos: int | None = None


class InboxItem(Struct, gc=False, frozen=True):
    """An inbox row as read back; `iq` rises over the whole store and never comes again."""

    iq: int
    kind: str
    payload: bytes
    at: int
    pos: int | None
    state: Literal["new", "kept"] = "new"


class EventRow(Struct, gc=False, frozen=True):
    """An event to be stored. `scope` is the namespace for posted events and `to:<id>` for events
    sent to one instance; (scope, source, id) is unique. `hash` tells a repeat from a conflict."""

    scope: str
    event: Event
    accepted: int
    by: str | None
    hash: int
    hops: int = 0
    checked: bool = True
    """False: the id was made here a moment ago and cannot be a duplicate."""


class Request(Struct, frozen=True):
    """The idempotency key of a verb; `hash` sums verb and parameters."""

    id: str
    hash: int
    reply: bytes
    at: int


class ResourceSave(Struct, frozen=True):
    """A resource as a step returned it. `row.version` is the one it gets: the store must have the
    one before, none if it is 1. `changes` is the JSON of `{field: [before, after]}`."""

    row: Stored
    changes: bytes
    op: str
    attempt: int


# -- works that write --------------------------------------------------------------------------


class Append(Struct, gc=False, kw_only=True):
    """Turns of one instance. `iseq` is the number of the first row; the store refuses
    (`StaleAppend`) anything but its own next one: one before it could not be stored."""

    n: int
    iseq: int
    rows: list[Row]
    change: StatusChange | None = None
    opened: Sequence[WaitRow] = ()
    closed: Sequence[str] = ()
    """Ops whose waits, timers and asks are gone."""
    timers: Sequence[tuple[str, int]] = ()
    """(op, due): set or replaced."""
    untimed: Sequence[str] = ()
    """Ops whose timer alone is gone."""
    asks: Sequence[AskRow] = ()
    answered: Sequence[tuple[str, str | None, int]] = ()
    """(op, by, at) of asks that were answered."""
    taken: Sequence[int] = ()
    """Inbox items used up."""
    tell: Sequence[tuple[str, InboxRow]] = ()
    """(instance id, item): messages to other instances, in the same transaction."""
    emits: Sequence[EventRow] = ()
    """Events to be stored now and routed after the commit, under the cursor."""
    creates: Sequence[Create] = ()
    request: Request | None = None
    statements: Sequence[tuple[str, tuple[Any, ...]]] = ()
    """SQL of a transactional step, applied with the rows; when one fails the result is the failure
    and nothing of the append is stored."""
    resources: Sequence[ResourceSave] = ()
    """Saved with the rows; when one has another version in the store the result is `StaleResource`
    and nothing of the append is stored."""
    ended: bool = False
    """All waits, timers, inbox items and snapshots of the instance are dropped."""
    generation_start: int | None = None
    """iseq of the first row of the current generation, when it changes."""
    version: int | None = None
    """The version the instance follows from now on, when it changes."""
    urgent: bool = False
    """A control verb (pause, cancel): still stored when the disk is full, out of the reserve."""


class Create(Struct, kw_only=True):
    """A new instance and its first turn; refused as a whole when a live instance of
    (namespace, workflow, key) exists, or when `id` is known."""

    row: InstanceRow
    first: Append
    request: Request | None = None


class Post(Struct, gc=False, kw_only=True):
    """An event and everything it does. `starts` are the creates of its triggers, decided ahead;
    `to` delivers to one instance (by id) instead of routing; `tick` moves a schedule on."""

    row: EventRow
    starts: Sequence[Create] = ()
    to: str | None = None
    tick: tuple[str, int, int | None] | None = None
    """(schedule id, nominal time fired, next due)."""
    later: bool = False
    """Stored only (`more` is answered): a `Route` follows, when what it does is known."""


class Route(Struct, kw_only=True):
    """Goes on with a stored event that is not yet routed to its end."""

    pos: int
    starts: Sequence[Create] = ()


class Redrive(Struct, frozen=True):
    """Delivers a dead letter again. `InboxFull`: there is still no room, it stays; `NotFound`."""

    n: int
    pos: int


class Keep(Struct, frozen=True):
    """The instance has seen these inbox items and does not want them yet."""

    n: int
    items: Sequence[int]


class SaveSnapshot(Struct, frozen=True):
    """`iseq` is the last row it contains; the two newest are kept."""

    n: int
    iseq: int
    payload: bytes
    crc: int


class SaveDefinition(Struct, frozen=True):
    """A definition as loaded or pushed; the version counter of the store moves only when `hash` is
    new, unless the author gives a `version`. A new version of a workflow that is switched off is
    off as well; one that is replaced (same `version`, another hash) stays released if it was."""

    name: str
    kind: str
    hash: str
    body: bytes
    at: int
    source: str | None = None
    version: int | None = None
    release: bool = True


class ChangeDefinition(Struct, frozen=True):
    """Releases a version (promote, rollback) or switches one on or off; without `version` all
    versions are switched. None leaves as it is."""

    name: str
    version: int | None = None
    release: bool | None = None
    enabled: bool | None = None


class DropDefinition(Struct, frozen=True):
    """Removes a version, or all of them."""

    name: str
    version: int | None = None


class SaveSchedule(Struct, frozen=True):
    """Registers a schedule, or re-plans it when `spec` differs; an equal one is left as it is."""

    id: str
    workflow: str
    spec: bytes
    anchor: int
    due: int | None


class ChangeSchedule(Struct, frozen=True):
    id: str
    paused: bool
    due: int | None


class DropSchedules(Struct, frozen=True):
    """Removes the schedules of a workflow that are not in `keep`."""

    workflow: str
    keep: Sequence[str]


class Prune(Struct, frozen=True):
    """Deletes instances that ended before `before`, at most `limit`, and as many routed events.
    Events accepted and requests made before `forget` (None: `before`) are no longer known by
    their ids; the request that made an instance is known as long as the instance. With `only`,
    the instances of these numbers however they stand, of which none may be loaded, and no more. With
    `workflow` the ended instances of that name, in all namespaces, and no more. `resources`: what
    these instances were the last to save goes with them, with its history."""

    before: int
    limit: int = 500
    forget: int | None = None
    only: tuple[int, ...] | None = None
    workflow: str | None = None
    resources: bool = False


class SetMeta(Struct, frozen=True):
    key: str
    value: str


class NoteAsk(Struct, frozen=True):
    """Keeps something beside an open question, in place of what had the name; gone with its answer.
    Answers whether the question is open. `payload` None takes the note away."""

    ask: str
    name: str
    payload: bytes | None


# -- works that read ---------------------------------------------------------------------------


class Load(Struct, frozen=True):
    """Everything needed to bring instances back: row, newest valid snapshot, rows after it (of
    the current generation), open inbox items."""

    ns: Sequence[int]
    snapshots: bool = True


class Find(Struct, frozen=True):
    """An instance by id, by unique prefix of it (8 or more characters) or as `workflow/key` (the
    live one, else the newest)."""

    ref: str
    namespace: str = ""


class ReadRows(Struct, frozen=True):
    n: int
    after: int
    limit: int


class ReadJournal(Struct, frozen=True):
    """Rows of all instances after a place in the journal (for `watch` with a filter)."""

    after: int
    limit: int


class ListInstances(Struct, frozen=True):
    """`terms` are those of the filter grammar: (field, op, value, negated) with op one of
    `: > < >= <=`; `age` takes a duration in ms, `updated` and `due` a moment in ms. `cursor` is
    that of the page before. Newest (last status change) first. Gives `Listed`."""

    terms: Sequence[tuple[str, str, Any, bool]] = ()
    limit: int = 50
    cursor: tuple[int, int] | None = None
    now: int = 0
    total: bool = True


class ListStanding(Struct, frozen=True):
    """The instances of a workflow, in whatever namespace, whose search attribute `name` is the text
    `value`: the test runs or the others, the oldest first, and how many they are, counted up to
    `count_max`. `terms` are those of `ListInstances`; `after` is the number of the last instance of
    the page before. Costs what it gives. Gives `Standing`."""

    workflow: str
    name: str
    value: str
    terms: Sequence[tuple[str, str, Any, bool]] = ()
    limit: int = 50
    after: int = 0
    count_max: int = 0
    now: int = 0
    test: bool = False


class ListEvents(Struct, frozen=True):
    type: str | None = None
    after: int | None = None
    """Ascending after this place; None: the newest first."""
    before: int | None = None
    limit: int = 50
    namespace: str = ""


class GetEvent(Struct, frozen=True):
    id: str
    """An event id, or `pos:<n>`."""
    namespace: str = ""


class EventMatches(Struct, frozen=True):
    """What became of an event: the stored starts and deliveries, by place."""

    pos: int


class WaitsAt(Struct, frozen=True):
    """The waits for a type that were open at a place in the journal, those that have ended since
    included as far as they are kept; for `explain`."""

    type: str
    pos: int
    workflow: str | None = None
    limit: int = 100
    namespace: str | None = None
    """None: of all namespaces."""


class DueTimers(Struct, frozen=True):
    """Timers and schedules due up to `until`, in due order."""

    until: int
    limit: int = 10_000
    after: tuple[int, int, str] | None = None
    """(due, n, op) of the last one seen."""


class BusyInstances(Struct, frozen=True):
    """Numbers of instances that must be activated after a start: busy, or with new items."""

    after: int = 0
    limit: int = 10_000


class UnroutedEvents(Struct, frozen=True):
    limit: int = 1_000


class FindRequest(Struct, frozen=True):
    id: str


class ListAsks(Struct, frozen=True):
    open_only: bool = True
    assignee: str | None = None
    instance: str | None = None
    id: str | None = None
    limit: int = 50
    after: str | None = None
    tests: bool = True
    """Whether questions of test runs are among them."""


class ListDefinitions(Struct, frozen=True):
    name: str | None = None


class ReadData(Struct, frozen=True):
    """What the Data action keeps under a key, or under all keys that begin with it."""

    scope: str
    key: str
    now: int
    prefix: bool = False
    limit: int = 1


class DataView(Struct, frozen=True):
    """`value` is None for what is past its time."""

    key: str
    value: bytes | None
    version: int


class MeasureData(Struct, frozen=True):
    """How much the Data action keeps in a scope and in all, when `more` bytes are to come."""

    scope: str
    now: int
    more: int


class DataMeasure(Struct, frozen=True):
    """Values and bytes of a scope, and bytes of all scopes. Where it may be too much they are of
    what is not past its time, and `crowded` says so. `made`: there are tables for it."""

    values: int = 0
    bytes: int = 0
    total: int = 0
    crowded: bool = False
    made: bool = True


class ListSchedules(Struct, frozen=True):
    workflow: str | None = None


class GetResources(Struct, frozen=True):
    """Resources by their ids, in the order of these; unknown ones are left out."""

    ids: Sequence[str]
    namespace: str = ""


class FindResource(Struct, frozen=True):
    """A resource by id or unique prefix of it (8 or more characters)."""

    ref: str
    namespace: str = ""


class ListResources(Struct, frozen=True):
    """Resources, the last changed first. `equal` maps `product status customer type id instance`
    to a value; `instance` are those it has saved. `after` is (updated, id) of the last one seen."""

    equal: dict[str, str] = {}
    limit: int = 50
    after: tuple[int, str] | None = None
    namespace: str = ""


class ListProducts(Struct, frozen=True):
    """The product types there are resources of."""

    namespace: str = ""


class ResourceHistory(Struct, frozen=True):
    """The versions of a resource after `after`, oldest first."""

    id: str
    after: int = 0
    limit: int = 200


class Counts(Struct, frozen=True):
    """Instances by status, rows in the journal, open timers and asks; from kept counters."""


class DeadLetters(Struct, frozen=True):
    n: int | None = None
    limit: int = 100


class Audit(Struct, frozen=True):
    """Checks of `doctor`; deep ones read everything in bounded slices (`after` goes on)."""

    deep: bool = False
    after: int = 0
    limit: int = 20_000


class Orphans(Struct, frozen=True):
    """Live instances from whose state nothing leads on (P3): waiting with no timer, wait, ask,
    child or item; the answer should be empty. Looks at `limit` instances a call."""

    after: int = 0
    limit: int = 10_000


class AskNotes(Struct, frozen=True):
    """The notes beside a question, by name."""

    ask: str


class GetMeta(Struct, frozen=True):
    key: str


Work = Any
"""One of the structs above. What each gives:

Append Appended · Create Created · Post, Route Posted (unknown `to`: NotFound, full: InboxFull) ·
Redrive Redriven ·
SaveDefinition DefinitionRow · ChangeDefinition DefinitionRow | None · SaveSchedule, ChangeSchedule
ScheduleRow | None · GetResources, ListResources list[ResourceRow] · FindResource ResourceRow | None
(several: InvalidRequest) · ResourceHistory list[ResourceChange] · ListProducts list[ProductRow] · Prune Pruned · Load list[Loaded] (unknown ones left out) · Find InstanceRow |
None (several: InvalidRequest) · ReadRows list[StoredRow] · ReadJournal list[JournalRow] ·
ListInstances Listed · ListStanding Standing · ListEvents, UnroutedEvents list[StoredEventRow] · GetEvent StoredEventRow |
None · EventMatches list[Matched] · WaitsAt list[WaitSeen] · DueTimers list[Due] · BusyInstances
list[int] · FindRequest Request | None · ListAsks list[AskView] · ReadData list[DataView] · MeasureData DataMeasure ·
ListDefinitions list[DefinitionRow] · ListSchedules list[ScheduleRow] · Counts CountsRow · DeadLetters
list[DeadRow] · Audit Audited · Orphans Orphaned · GetMeta str | None · NoteAsk bool · AskNotes dict[str, bytes] · everything else None
"""


# -- results -----------------------------------------------------------------------------------


class Appended(Struct, gc=False, frozen=True):
    """`pos` is the place of the first row. `found` are events from before that meet the waits
    opened, already in the inbox; `created` the numbers of the children that are new; `told` the
    items given to other instances, as (n, id, item)."""

    pos: int
    found: list[InboxItem] = []
    created: list[Created] = []
    told: list[tuple[int, str, InboxItem]] = []
    emitted: list[int] = []
    """Places of the emitted events that are new and await routing."""


class Created(Struct, frozen=True):
    """`created` false: `id` is the instance that has the key (`conflict` = "key"), was made by the
    same request (`conflict` = "request"), has the same id ("id"); or the request id was used
    with other parameters ("request_differs")."""

    created: bool
    id: str
    conflict: str | None = None
    pos: int = 0
    found: list[InboxItem] = []
    reply: bytes | None = None
    first: Appended | None = None
    """What its first turn did beyond itself, where it did anything."""


class Matched(Struct, gc=False, frozen=True):
    n: int
    id: str
    workflow: str
    key: str | None
    action: Literal["started", "delivered", "refused"]
    code: str | None = None


class Posted(Struct, gc=False, frozen=True):
    """`duplicate`: the event was known, `matched` is what it did the first time; `conflict`: known
    with another body, nothing was done. `items` are the new inbox rows as (n, id, item), for
    delivery now. `more`: the fan-out goes on, a `Route` is owed."""

    pos: int
    duplicate: bool = False
    conflict: bool = False
    matched_total: int = 0
    matched: list[Matched] = []
    items: list[tuple[int, str, InboxItem]] = []
    started: list[Created] = []
    more: bool = False


class Redriven(Struct, frozen=True):
    """`item` None: the instance has ended meanwhile, the letter is gone."""

    id: str
    item: InboxItem | None


class Loaded(Struct, frozen=True):
    """`damaged` names the first row that failed its checksum or broke the count; such an
    instance must be parked."""

    row: InstanceRow
    head: int
    rows: list[StoredRow]
    items: list[InboxItem]
    snapshot: bytes | None = None
    snapshot_iseq: int = 0
    generation_start: int = 1
    start_pos: int = 0
    damaged: str | None = None


class Due(Struct, frozen=True):
    """A timer of an instance, or (n = 0) a schedule whose id is `op`."""

    due: int
    n: int
    op: str


class StoredEventRow(Struct, frozen=True):
    pos: int
    scope: str
    event: Event
    accepted: int
    by: str | None
    hops: int
    matched_total: int = 0
    routed: bool = True


class DefinitionRow(Struct, frozen=True):
    name: str
    version: int
    kind: str
    hash: str
    body: bytes
    at: int
    source: str | None
    release: bool
    enabled: bool


class ScheduleRow(Struct, frozen=True):
    id: str
    workflow: str
    spec: bytes
    anchor: int
    due: int | None
    last: int | None
    paused: bool


class AskView(Struct, frozen=True):
    id: str
    n: int
    instance: str
    op: str
    kind: str
    title: str
    schema: bytes
    assignee: str | None
    due: int | None
    by: str | None
    answered_at: int | None
    workflow: str
    version: int


class ResourceRow(Stored, frozen=True):
    """A resource as read back; `instance` saved its version, and may be pruned."""

    namespace: str = ""
    created: int = 0
    updated: int = 0
    instance: str = ""
    workflow: str = ""


class ProductRow(Struct, frozen=True):
    """How many resources the store has of a product and a family of classes."""

    product: str
    family: str
    resources: int


class ResourceChange(Struct, frozen=True):
    """One version of a resource: which op of which instance wrote it, and what it changed. `pos`
    is the place in the journal of the turn it was saved with."""

    id: str
    version: int
    at: int
    pos: int
    instance: str
    workflow: str
    op: str
    attempt: int
    changes: bytes


class CountsRow(Struct, frozen=True):
    instances: dict[str, int]
    workflows: dict[str, dict[str, int]]
    entries: int
    events: int
    timers: int
    asks: int
    head: int
    pruned: int


class WaitSeen(Struct, frozen=True):
    n: int
    id: str
    workflow: str
    key: str | None
    op: str
    where: bytes
    opened: int
    closed: int | None


class AuditFinding(Struct, frozen=True):
    level: Literal["ok", "note", "warning", "error"]
    check: str
    text: str
    details: dict[str, Any] = {}


class Audited(Struct, frozen=True):
    """`next` goes on from here with `Audit(after=next)`; None: everything was looked at."""

    findings: list[AuditFinding]
    next: int | None = None


class Orphaned(Struct, frozen=True):
    """`next` as in `Audited`."""

    rows: list[InstanceRow]
    next: int | None = None


class Listed(Struct, frozen=True):
    """A page of instances. A hop looks at a bounded number of rows, so a page may hold fewer than
    `limit` (even none) and yet have a `cursor`: ask again. `total` is None where it would cost a
    scan."""

    rows: list[InstanceRow]
    cursor: tuple[int, int] | None = None
    total: int | None = None


class Standing(Struct, frozen=True):
    """`more`: there are others behind the last of `rows`."""

    rows: list[InstanceRow]
    count: int
    more: bool


class JournalRow(Struct, frozen=True):
    """A row of `ReadJournal`."""

    n: int
    id: str
    workflow: str
    row: StoredRow


class DeadRow(Struct, frozen=True):
    """A delivery that an instance's full inbox refused."""

    n: int
    pos: int
    at: int
    reason: str


class Pruned(Struct, frozen=True):
    """`more`: there is more of that age; go on."""

    instances: int
    events: int
    rows: int
    more: bool


class Opened(Struct, frozen=True):
    """What opening the store found. `clean`: the last owner said good-bye."""

    epoch: int
    clean: bool
    head: int
    next_n: int
    started_clean_at: int = 0
    sqlite: str = ""
    durability: str = "full"
    warnings: list[str] = []


# -- ports -------------------------------------------------------------------------------------


class Journal(Protocol):
    """Where works go. `done` is called in the loop once the group is durable, with the result or
    with the exception that says nothing of the group was stored."""

    def submit(self, work: Work, done: Callable[[Any], None]) -> None: ...

    async def call(self, work: Work) -> Any: ...


class Clock(Protocol):
    def now(self) -> int:
        """Milliseconds since 1970, UTC, of the wall clock."""
        ...

    def monotonic(self) -> float: ...

    def call_at(self, due: int, then: Callable[[], None]) -> Handle:
        """Calls back once the wall clock has reached `due`, never before."""
        ...

    def call_later(self, delay_ms: int, then: Callable[[], None]) -> Handle:
        """Calls back after a while, wherever the wall clock is set meanwhile."""
        ...


class Handle(Protocol):
    def cancel(self) -> None: ...


class Ids(Protocol):
    def __call__(self) -> str:
        """A new uuid7 as text."""
        ...


JsonBytes = bytes
Where = Json
