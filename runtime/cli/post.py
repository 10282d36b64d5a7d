"""`greenroom post` to everybody who listens, `greenroom send` to one instance."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import click

from greenroom.definitions.errors import (
    ConditionFailed,
    GreenroomError,
    InvalidEvent,
    InvalidRequest,
    from_data,
)
from greenroom.definitions.events import event_from
from greenroom.runtime.cli import errors, items, options, output, words
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.start import wait_for, would

Data = dict[str, Any]

MATCH_EXIT: Final = 5

_event_id = click.option(
    "--id", "--request-id", "id", metavar="ID", help="The event's id; again, it is a duplicate."
)


@command(
    "post",
    example="greenroom post order.created order_id=7 sku=A1 n:=2\n"
    "cat events.ndjson | greenroom post -d -",
)
@click.argument("type", required=False)
@options.values
@options.data
@_event_id
@click.option("--source", "origin", metavar="TEXT", help="Where the event comes from.")
@click.option("--subject", metavar="TEXT", help="What it is about.")
@click.option("--time", metavar="RFC3339", help="When it happened, now by default.")
@options.dry_run
@click.option("--require-match", is_flag=True, help="Exit 5 when nothing took the event.")
def post(
    session: Session,
    type: str | None,
    values: tuple[str, ...],
    source: str | None,
    dry_run: bool,
    require_match: bool,
    **given: str | None,
) -> None:
    """Post an event; workflows that listen to its type get it.

    Words are its data. With -d - or -d @FILE and no TYPE, every line is a whole event; with a
    TYPE and -d -, every line is the data of one event.
    """
    attributes = {_NAMES.get(name, name): text for name, text in given.items() if text is not None}
    if _many(type, source):
        if attributes.get("id") or values:
            raise InvalidRequest("a stream of events takes neither --id nor KEY=TEXT words")
        _post_many(session, Stream(type, source or "-", attributes), dry_run, require_match)
        return
    event = _event(type, values, source, attributes)
    if dry_run:
        text = f"would post {event.get('type')} {words.compact(event.get('data'))}"
        would(session, "post", {"event": event}, text)
        return
    reply = session.backend.post(event)
    session.show(reply, lambda: words.posted(reply, _explained(session, reply)))
    if require_match and not reply["matched_total"]:
        session.exit_code = MATCH_EXIT


_NAMES: Final = {"origin": "source"}


def _many(type: str | None, source: str | None) -> bool:
    return source == "-" or (type is None and source is not None and source.startswith("@"))


def _event(type: str | None, values: tuple[str, ...], source: str | None, given: Data) -> Data:
    if type is not None:
        return {"type": type, **given, "data": items.merged(source, values)}
    if source is None:
        raise InvalidRequest(
            "an event needs a type", hint="greenroom post order.created order_id=7"
        )
    whole = items.document(source)
    if not isinstance(whole, dict):
        raise InvalidRequest("without a TYPE, -d is the whole event, an object with a type")
    return {**whole, **given}


class Stream:
    """Events from lines. What is no event is left out and kept in `refused` with its place, so
    that it can be told in its turn; a line that is not JSON ends the stream, after the answers to
    the lines before it."""

    def __init__(self, type: str | None, source: str, given: Data) -> None:
        self.refused: deque[tuple[int, GreenroomError]] = deque()
        self.broken: GreenroomError | None = None
        self._type = type
        self._source = source
        self._given = given
        self._place = 0

    def batches(self) -> Iterator[list[Data]]:
        for lines in items.batches(self._source):
            yield self._events(lines)
            if self.broken is not None:
                return

    def _events(self, lines: list[tuple[str, bytes]]) -> list[Data]:
        events: list[Data] = []
        for what, line in lines:
            if not line.strip():
                continue
            try:
                events.append(self._event(items.parse(line, what)))
            except InvalidEvent as error:
                self.refused.append((self._place, error))
            except InvalidRequest as error:
                self.broken = error
                break
            self._place += 1
        return events

    def _event(self, value: Any) -> Data:
        if self._type is not None:
            return {"type": self._type, **self._given, "data": value}
        event_from(value)
        return {**value, **self._given}


def _post_many(session: Session, events: Stream, dry_run: bool, require_match: bool) -> None:
    """Answers come in the order of the events; refused ones do not stop the others."""
    if dry_run:
        total = sum(map(len, events.batches()))
        would(session, "post", {"events": total}, f"would post {words.count(total, 'event')}")
    else:
        _Answers(session).print(events, require_match)
    if events.broken is not None:
        raise events.broken


class _Answers:
    """Prints answers and counts them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._posted = self._unmatched = self._refused = 0

    def print(self, events: Stream, require_match: bool) -> None:
        for batch in events.batches():
            for reply in self._session.backend.post_many(batch):
                self._until(events, self._posted + self._refused)
                self._one(reply)
            self._until(events, None)
        if self._session.format == "table":
            output.line(self._sum())
        if require_match and self._unmatched:
            self._session.exit_code = self._session.exit_code or MATCH_EXIT

    def _until(self, events: Stream, place: int | None) -> None:
        """The refused ones that came before the event at `place`."""
        while events.refused and (place is None or events.refused[0][0] <= place):
            _, error = events.refused.popleft()
            self._one({"error": error.as_data()})
            place = None if place is None else place + 1

    def _one(self, reply: Data) -> None:
        table = self._session.format == "table"
        if "error" in reply:
            self._refused += 1
            error = from_data(reply["error"])
            self._session.exit_code = self._session.exit_code or error.exit_code
            if table:
                errors.to_stderr(errors.render(error))
                return
        else:
            self._posted += 1
            self._unmatched += not reply["matched_total"]
        if table:
            output.line(words.posted(reply))
        else:
            output.record(reply)

    def _sum(self) -> str:
        parts = [f"{words.count(self._posted, 'event')} accepted"]
        if self._unmatched:
            parts.append(f"{self._unmatched:,} matched nothing")
        if self._refused:
            parts.append(f"{self._refused:,} refused")
        return ", ".join(parts)


def _explained(session: Session, reply: Data) -> Any:
    """Why nothing matched. The event is stored: a missing reason is no reason to fail."""
    if reply["matched_total"] or reply["duplicate"]:
        return None
    try:
        return session.call("events.explain", id=reply["id"])
    except GreenroomError:
        return None


@command("send", example="greenroom send order/7 order.paid amount:=12.5")
@options.instance
@click.argument("type")
@options.values
@options.data
@_event_id
@options.dry_run
@options.wait
@options.timeout
@click.option("--require-match", is_flag=True, help="Exit 5 when no open wait took the event.")
def send(
    session: Session,
    instance: str,
    type: str,
    values: tuple[str, ...],
    source: str | None,
    id: str | None,
    dry_run: bool,
    wait: bool,
    timeout: str | None,
    require_match: bool,
) -> None:
    """Send an event to one instance."""
    event: Data = {"type": type, "data": items.merged(source, values)}
    if id is not None:
        event["id"] = id
    if dry_run:
        text = f"would send {type} {words.compact(event['data'])} to {_named(session, instance)}"
        would(session, "send", {"instance": instance, "event": event}, text)
        return
    reply = session.call("send", instance=instance, event=event)
    if require_match and not reply["matched"]:
        raise ConditionFailed(_sent(instance, reply), id=reply["id"])
    if wait:
        wait_for(session, instance, instance, timeout)
        return
    session.show(reply, lambda: _sent(instance, reply))


def _named(session: Session, instance: str) -> str:
    one = session.call("get", instance=instance)
    return f"{words.name(one['workflow'], one['key'], one['id'])} ({one['status']})"


def _sent(instance: str, reply: Data) -> str:
    if not reply["delivered"]:
        return f"event {reply['id']} not delivered: {instance} has ended"
    if reply["matched"]:
        return f"event {reply['id']} delivered to {instance}"
    return f"event {reply['id']} delivered to {instance}; nothing in it waits for that yet"


COMMANDS: Final = {"post": post, "send": send}
