"""The alphabet of the journal: what has happened to an instance.

One entry is one *turn*: a cause, and everything the instance asked for, gave up and changed
because of it. A turn is therefore atomic by construction, and on replay the same cause must give
the same requests. Names are past tense; the tag of each kind is explicit text and never changes.
An entry that reads older payloads differently has its upcaster in `UPCASTERS`.

What is made for every step is hidden from the garbage collector (`gc=False`), here and in `ports`
and `messages`: it is data, which never leads back to itself, so there is nothing to be found.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from greenroom.actors.ports import Row, StoredRow
from greenroom.definitions.errors import StoreDamaged
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.values import Json


class Policy(Struct, frozen=True, omit_defaults=True):
    """How failures of an op are treated. `once` is at-most-once; `own` means the author's code
    names the delay."""

    retry: RetryPolicy | None = None
    once: bool = False
    own: bool = False


class Match(Struct, gc=False, frozen=True, omit_defaults=True):
    """What a wait takes: the condition as written, the paths of its keys and their hashes (the
    first, and `more`), and the place after which events count (None: from the request on) or the
    time from which they do. `own` is the place of the event that a handler was begun with: its waits never take that one."""

    where: Json = None
    paths: tuple[str, ...] = ()
    hash: int = 0
    since: int | None = 0
    own: int = 0
    more: tuple[int, ...] = ()
    since_at: int | None = None


class Question(Struct, frozen=True, omit_defaults=True):
    """An open question. `id` is unguessable-free: it is the instance's id, `.` and a number."""

    kind: str
    title: str
    schema: Json = None
    assignee: str | None = None
    result_key: str | None = None
    enforce: bool = False
    """Only the assignee may answer."""


class Request(Struct, gc=False, frozen=True, omit_defaults=True):
    """An op that was asked for; for a call, the start record of its attempt.

    `due` is absolute. `gone`: asked for and given up in the same turn, kept for the comparison.
    `skip` marks a plan's step whose guard was false.
    """

    key: str
    kind: Literal["call", "dispatch", "sleep", "wait", "ask", "child", "emit"] = "call"
    name: str = ""
    args: Json = None
    due: int | None = None
    policy: Policy | None = None
    match: Match | None = None
    question: Question | None = None
    attempt: int = 1
    gone: bool = False


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why something failed. `code` is stable; `kind` is the class of trouble."""

    type: str
    message: str
    kind: Literal[
        "raised", "code_changed", "in_doubt", "poison", "damaged", "not_json", "foreign", "runaway",
        "timeout", "cancelled", "condition",
    ] = "raised"  # fmt: skip
    details: dict[str, Json] = {}
    op: str | None = None
    where: str | None = None

    @property
    def label(self) -> str | None:
        """What the workflow's own classifier calls it."""
        label = self.details.get("kind") if self.kind in ("raised", "timeout") else None
        return label if isinstance(label, str) else None

    @property
    def code(self) -> str:
        return {"raised": "step_failed", "foreign": "foreign_await"}.get(self.kind, self.kind)


class Delta(Struct, gc=False, frozen=True, omit_defaults=True):
    """The effect of a turn on the state, never the rule that made it."""

    set: dict[str, Json] = {}
    drop: tuple[str, ...] = ()


# -- how a turn may end ------------------------------------------------------------------------


class Completed(Struct, frozen=True, omit_defaults=True, tag="completed", tag_field="how"):
    """`result` of a program; plans leave it out: their result is the state."""

    result: Json = None
    outcome: str = "ok"


class Cancelled(Struct, frozen=True, omit_defaults=True, tag="cancelled", tag_field="how"):
    """`error`: the failure whose consequences were taken back first."""

    note: str | None = None
    error: Failure | None = None


class Continued(Struct, frozen=True, omit_defaults=True, tag="continued", tag_field="how"):
    input: Json = None


class Died(Struct, frozen=True, omit_defaults=True, tag="died", tag_field="how"):
    """The turn did not happen: its cause is held. `causes` are the failed ops to blame, `view` the
    state the dead turn would have left, for display only."""

    error: Failure
    causes: tuple[str, ...] = ()
    view: dict[str, Json] | None = None


End = Completed | Cancelled | Continued | Died


# -- entries -----------------------------------------------------------------------------------


class _Entry(Struct, gc=False, frozen=True, omit_defaults=True, kw_only=True, tag_field="e"):
    at: int
    requests: tuple[Request, ...] = ()
    closes: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    """Plan steps whose guard was false."""
    delta: Delta | None = None
    frames: dict[str, Delta | None] = {}
    """What the turn changes in the frames of a plan; None closes one."""
    end: End | None = None
    over: bool = False
    """Main has returned; handlers may still run."""


class Started(_Entry, frozen=True, tag="started"):
    """The instance exists. With `pending` nothing has run yet and `Begun` follows."""

    id: str
    workflow: str
    version: int
    code: str
    input: Json = None
    by: str | None = None
    pending: bool = False
    starts: int | None = None
    """When a pending instance is to begin by itself; None: as soon as it is loaded."""
    gen: int = 1
    event: Json = None
    """The event that started it, as data."""
    key: str | None = None
    parent: tuple[str, str, int] | None = None
    """(instance id, op key, attempt) that started it."""
    forked: tuple[str, int] | None = None
    """(instance id, number of entries) that its first entries were copied from."""
    seeds: tuple[tuple[int, str], ...] = ()
    """(last entry, instance id): whose chance the copied entries drew from."""
    namespace: str = ""
    hops: int = 0
    test: bool = False
    kind: str = "steps"
    state: dict[str, Json] | None = None
    reason: str | None = None
    """Why it was restarted or forked."""
    pauses: bool = False
    """An error of the program is shown as a pause, as in Zenaton."""
    tells: bool = False
    """Its parent is told when it fails, and does not wait until it is mended."""
    timeout: int | None = None
    """How long it may take from its first turn on, in milliseconds."""
    deadline: int | None = None
    """When the time of a later generation is up: it has that of the first."""
    forked_at: int | None = None
    """When a fork was made: its time counts from there."""


class Begun(_Entry, frozen=True, tag="begun"):
    """A pending instance took its first turn."""

    by: str | None = None


class OpCompleted(_Entry, frozen=True, tag="done"):
    key: str
    attempt: int = 1
    value: Json = None
    held: bool = False
    child: bool = False
    """It is the outcome of a child."""


class OpFailed(_Entry, frozen=True, tag="broke"):
    key: str
    error: Failure
    attempt: int = 1
    held: bool = False
    child: bool = False


class AttemptFailed(_Entry, frozen=True, tag="retrying"):
    key: str
    error: Failure
    attempt: int
    due: int


class AttemptStarted(_Entry, frozen=True, tag="attempt"):
    key: str
    attempt: int
    by: str | None = None


class AttemptsLost(_Entry, frozen=True, tag="lost"):
    """The process ended while these ran; each gets the next attempt. `counted`: it died. `spared`
    are those that were still waiting to be run alone: what killed it was another."""

    keys: tuple[str, ...]
    counted: bool = True
    spared: tuple[str, ...] = ()


class OpInDoubt(_Entry, frozen=True, tag="doubt"):
    key: str


class CallRecorded(_Entry, frozen=True, tag="recorded"):
    """A running op has made its call number `n` to somebody outside: what came of it is handed back
    when the op is run again."""

    key: str
    n: int
    name: str
    args: Json = None
    value: Json = None
    error: Failure | None = None
    attempt: int = 1


class TimerFired(_Entry, frozen=True, tag="fired"):
    key: str


class EventReceived(_Entry, frozen=True, tag="event"):
    """`iq` is the inbox item; `takes` the wait it satisfied, `branch` the handler it began."""

    iq: int
    event: Json
    takes: str | None = None
    branch: str | None = None
    pos: int | None = None


class Answered(_Entry, frozen=True, tag="answered"):
    key: str
    value: Json = None
    by: str | None = None
    held: bool = False


class OpSkipped(_Entry, frozen=True, tag="skipped"):
    key: str
    value: Json = None
    by: str | None = None
    reason: str | None = None
    held: bool = False
    void: tuple[str, ...] = ()
    """The failures this takes back, when it lets a failed instance go on."""
    resumes: bool = False


class Paused(_Entry, frozen=True, tag="paused"):
    by: str | None = None
    reason: str | None = None


class Resumed(_Entry, frozen=True, tag="resumed"):
    by: str | None = None
    reason: str | None = None


class Reopened(_Entry, frozen=True, tag="reopened"):
    """A failed instance goes on: the failures of `void` did not happen."""

    void: tuple[str, ...] = ()
    by: str | None = None
    reason: str | None = None


class CancelRequested(_Entry, frozen=True, tag="cancelling"):
    by: str | None = None
    reason: str | None = None
    force: bool = False
    drained: bool = False


class StateEdited(_Entry, frozen=True, tag="edited"):
    """Somebody changed the state by hand: `delta` says how."""

    by: str | None = None
    reason: str | None = None


class Migrated(_Entry, frozen=True, tag="migrated"):
    """A plan's instance follows another version from here on. `was` is the one before."""

    version: int
    code: str
    was: int
    by: str | None = None
    reason: str | None = None


class ChildRefused(_Entry, frozen=True, tag="refused"):
    """A child that nobody waits for was not made: nothing else would say so."""

    key: str
    name: str
    error: Failure
    attempt: int = 1


class Parked(_Entry, frozen=True, tag="parked"):
    """Failed by the runtime, not by the program: poison, damaged, changed code."""


Entry = (
    Started | Begun | OpCompleted | OpFailed | AttemptFailed | AttemptStarted | AttemptsLost
    | OpInDoubt | TimerFired | EventReceived | Answered | OpSkipped | Paused | Resumed | Reopened
    | CancelRequested | StateEdited | Migrated | ChildRefused | Parked | CallRecorded
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)

UPCASTERS: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""Tag -> what turns a payload of an older release into today's; tried when decoding fails."""


def encode_entry(entry: Entry) -> Row:
    """The entry as the store keeps it; the checksum is continued over the header there."""
    payload = _encoder.encode(entry)
    return Row(TAGS[type(entry)], entry.at, payload, zlib.crc32(payload))


def decode_entry(row: StoredRow) -> Entry:
    return decode_payload(row.payload)


def decode_payload(payload: bytes) -> Entry:
    """Raises `StoreDamaged` for what no release has written."""
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        try:
            data = msgspec.json.decode(payload)
            upcast = UPCASTERS[data["e"]]
            entry: Entry = msgspec.convert(upcast(data), Entry)
            return entry
        except (msgspec.DecodeError, KeyError, TypeError):
            raise StoreDamaged(f"an entry cannot be read: {error}") from None


TAGS: Final[dict[type, str]] = {
    Started: "started", Begun: "begun", OpCompleted: "done", OpFailed: "broke",
    AttemptFailed: "retrying", AttemptStarted: "attempt", AttemptsLost: "lost",
    OpInDoubt: "doubt", TimerFired: "fired", EventReceived: "event", Answered: "answered",
    OpSkipped: "skipped", Paused: "paused", Resumed: "resumed", Reopened: "reopened",
    CancelRequested: "cancelling", StateEdited: "edited", Migrated: "migrated",
    ChildRefused: "refused", Parked: "parked", CallRecorded: "recorded",
}  # fmt: skip
