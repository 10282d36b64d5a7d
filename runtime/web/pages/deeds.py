"""Actions: what a page lets people do, as the request anybody else would send for it.

A `Deed` is a method of the socket and its parameters. A page shows it as a line for the socket, a
curl command and a shell command, and its form posts it to `/do/METHOD`, which carries it out by the
same table as every other face. So a page can do nothing that a program cannot.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.definitions.values import Json
from greenroom.runtime import calls
from greenroom.runtime.web import table
from greenroom.runtime.web.pages.screen import back, go, say
from greenroom.runtime.web.reading import coerced
from greenroom.runtime.web.routes import caller_of, web_of

OWN: Final = frozenset({"csrf", "back", "then"})
"""Fields of the form itself."""
AS_JSON: Final = ":json"
"""The end of the name of a field whose text is JSON."""

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "pause": ("pause", "instance"), "resume": ("resume", "instance"),
    "cancel": ("cancel", "instance"), "skip": ("skip", "instance"),
    "restart": ("restart", "instance"), "fork": ("fork", "instance"),
    "start": ("start", "workflow"), "answer": ("ask answer", "ask"),
    "events.resend": ("events resend", "id"),
    "schedules.pause": ("sched pause", "name"), "schedules.resume": ("sched resume", "name"),
    "schedules.trigger": ("sched trigger", "name"),
    "definitions.promote": ("def promote", "name"),
    "definitions.rollback": ("def rollback", "name"),
    "definitions.enable": ("def enable", "name"), "definitions.disable": ("def disable", "name"),
}  # fmt: skip
"""Methods with a command of their own, and the parameter it takes by place."""
_OPTIONS: Final = {
    "reason": "--reason", "force": "--force", "from_op": "--from", "version": "--version",
    "key": "--key", "grant": "--grant",
}  # fmt: skip


class Deed(msgspec.Struct, frozen=True):
    """One action. `params` are what the page gives; what a person types is added to them."""

    method: str
    params: dict[str, Json]

    @property
    def socket(self) -> str:
        """The line for the socket."""
        line = {"jsonrpc": "2.0", "id": 1, "method": self.method, "params": self.params}
        return msgspec.json.encode(line).decode()

    def curl(self, base: str) -> str:
        """The same over HTTP, for whoever holds a key (`dev` asks for none)."""
        request = table.request_for(self.method, self.params)
        words = ["curl", "-X", request.method]
        words += [
            "-H",
            "Content-Type: application/json",
            "-H",
            "Authorization: Bearer $GREENROOM_KEY",
        ]
        if request.body is not msgspec.UNSET:
            words += ["-d", msgspec.json.encode(request.body).decode()]
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        words.append(base + request.path + (f"?{query}" if query else ""))
        return " ".join(_quoted(word) for word in words)

    @property
    def shell(self) -> str | None:
        """The command; None where the command line says it otherwise."""
        words, subject = _WORDS.get(self.method, ("", ""))
        if not words or self.params.get(subject) is None:
            return None
        line = ["greenroom", *words.split(), str(self.params[subject])]
        for name, value in self.params.items():
            if name == subject or value is None:
                continue
            if self.method == "skip" and name == "op":
                line.append(str(value))
            elif isinstance(value, list) and name in _OPTIONS:
                line += [word for one in value for word in (_OPTIONS[name], str(one))]
            elif name in _OPTIONS:
                line += [_OPTIONS[name]] if value is True else [_OPTIONS[name], str(value)]
            elif name in ("data", "input"):
                line += ["-d", msgspec.json.encode(value).decode()]
            else:
                return None
        return shlex.join(line)


def _quoted(word: str) -> str:
    """For a shell; a variable stays one."""
    return f'"{word}"' if "$GREENROOM_KEY" in word else shlex.quote(word)


def params_in(route: table.Route, form: FormData) -> dict[str, Any]:
    """The parameters a form gives: fields by name, those that end in `:json` decoded, empty ones
    left out. Raises `InvalidRequest` for what is not JSON."""
    text: dict[str, str] = {}
    params: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in OWN or not isinstance(value, str) or not value.strip():
            continue
        if name.endswith(AS_JSON):
            name = name.removesuffix(AS_JSON)
            try:
                params[name] = msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError) as error:
                raise InvalidRequest(
                    f"{name} is not JSON: {error}", hint='text is written "in quotes"'
                ) from None
        else:
            text[name] = value.strip()
    return {**coerced(route, text), **params}


def route_of(method: str) -> table.Route:
    """The row of the table a method has. Raises `InvalidRequest`."""
    for row in table.ROUTES:
        if row.call == method and row.method != "GET" and row.kind in ("call", "bulk"):
            return row
    raise calls.unknown(method)


async def run(request: Request, method: str, params: Mapping[str, Any]) -> Any:
    """Carries a method out for whoever asks, if they may."""
    route = route_of(method)
    caller = caller_of(request)
    subject = str(params.get(route.subject, "")) if route.subject else None
    caller.must(route.scope, subject)
    return await calls.run(web_of(request).engine, method, dict(params), caller.by)


async def do(request: Request) -> Response:
    """`POST /do/METHOD`: the form of an action; scripts that accept JSON are answered with it."""
    method = request.path_params["method"]
    form = await request.form()
    place = form.get("back")
    is_script = "application/json" in request.headers.get("accept", "")
    try:
        if method in ("answer", "asks.draft"):
            raise InvalidRequest("a question is answered on its page")
        params = params_in(route_of(method), form)
        reply = await run(request, method, params)
    except GreenroomError as error:
        text = error.message + (f"\n{error.hint}" if error.hint else "")
        if is_script:
            return _json({"ok": False, "text": text, "code": error.code}, error.http_status)
        return say(request, back(request, place), text, "bad")
    if is_script:
        return _json({"ok": True, "text": told(method, params, reply), "reply": reply}, 200)
    new = getattr(reply, "instance", None) if method in ("start", "fork", "restart") else None
    response = go(request, f"/i/{new}") if new else back(request, place)
    return say(request, response, told(method, params, reply))


def _json(value: Any, status: int) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), status, media_type="application/json")


def told(method: str, params: Mapping[str, Any], reply: Any) -> str:
    """What was done, in a sentence."""
    match method:
        case "start":
            return f"{params['workflow']} was started"
        case "restart" | "fork":
            return f"this is the new instance; it comes from {reply.forked_from}"
        case "post" | "events.resend" | "schedules.trigger":
            number = reply.matched_total
            return f"accepted as {reply.id}; matched {number or 'nothing'}"
        case "send":
            return "delivered and taken" if reply.matched else "delivered; it waits in the inbox"
        case "schedules.backfill":
            return f"{reply.started} of {reply.times} times started, {reply.known} had run before"
        case "events.redrive":
            return f"{reply.delivered} delivered, {reply.left} still do not fit"
        case "stages.move":
            return f"it is at {reply['stage']} now"
        case "stages.deploy":
            return f"deployed as v{reply.version}"
    state = getattr(reply, "status", None)
    if state is not None:
        more = ", and pauses after its running steps" if getattr(reply, "pending", None) else ""
        return f"{method}: it is {state}{more}"
    return f"{method.replace('.', ' ')}: done"
