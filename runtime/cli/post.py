"""`greenroom post` to everybody who listens, `greenroom send` to one instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from greenroom.definitions.errors import ConditionFailed, GreenroomError, InvalidRequest, from_data
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
        _post_many(session, _stream(type, source or "-", attributes), dry_run, require_match)
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


def _stream(type: str | None, source: str, given: Data) -> Iterator[Data]:
    for value in items.lines(source):
        if type is not None:
            yield {"type": type, **given, "data": value}
        elif isinstance(value, dict):
            yield {**value, **given}
        else:
            raise InvalidRequest(f"not an event: {words.compact(value)[:80]}")


def _post_many(
    session: Session, events: Iterator[Data], dry_run: bool, require_match: bool
) -> None:
    """Answers come in the order of the events; refused ones do not stop the others."""
    if dry_run:
        total = sum(1 for _ in events)
        would(session, "post", {"events": total}, f"would post {words.count(total, 'event')}")
        return
    posted = unmatched = refused = 0
    for reply in session.backend.post_many(events):
        if "error" in reply:
            refused += 1
            failed = from_data(reply["error"])
            session.exit_code = session.exit_code or failed.exit_code
            _refused(session, failed, reply)
            continue
        posted += 1
        unmatched += not reply["matched_total"]
        if session.format == "table":
            output.line(words.posted(reply))
        else:
            output.record(reply)
    if session.format == "table":
        output.line(_sum(posted, unmatched, refused))
    if require_match and unmatched:
        session.exit_code = session.exit_code or MATCH_EXIT


def _refused(session: Session, error: GreenroomError, reply: Data) -> None:
    if session.format == "table":
        errors.to_stderr(errors.render(error))
    else:
        output.record(reply)


def _sum(posted: int, unmatched: int, refused: int) -> str:
    parts = [f"{words.count(posted, 'event')} accepted"]
    if unmatched:
        parts.append(f"{unmatched:,} matched nothing")
    if refused:
        parts.append(f"{refused:,} refused")
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
