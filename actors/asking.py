"""From an op a program awaits to the request that is recorded."""

from __future__ import annotations

from greenroom.actors.entries import Match, Policy, Question, Request
from greenroom.definitions.ops import Op, since_ms
from greenroom.definitions.values import encode_decode
from greenroom.definitions.workflow import Target


def request_of(op: Op, key: str, since: int | None, now: int) -> Request:
    """What an op asks for, at a time."""
    args = op.args
    if args is not None:
        args = encode_decode(args, f"the arguments of {op.name}")[1]
    due = op.until if op.when is None else op.when(now)
    if op.due_s is not None:
        due = now + round(op.due_s * 1000)
    target, where, question = op.target, op.where, op.ask
    return Request(
        key,
        op.kind,  # type: ignore[arg-type]
        op.name,
        args,
        due,
        _policy(target) if target is not None else None,
        None
        if where is None
        else Match(
            where.source,
            where.paths,
            where.hashes[0],
            None if op.since == "now" else since or 0,
            since or 0 if op.since == "now" else 0,
            where.hashes[1:],
            since_ms(op.since, now),
        ),
        None
        if question is None
        else Question(
            question.kind,
            question.title,
            question.schema,
            question.assignee,
            question.result_key,
            question.enforce,
        ),
    )


def _policy(target: Target) -> Policy | None:
    if target.retry is None and target.mode != "at_most_once" and target.delay_of is None:
        return None
    return Policy(target.retry, target.mode == "at_most_once", target.delay_of is not None)


def gone(request: Request) -> Request:
    """The same, asked for and given up."""
    return Request(
        request.key, request.kind, request.name, request.args, request.due, request.policy,
        request.match, request.question, request.attempt, True,
    )  # fmt: skip
