"""Actions: what a page lets people do, as the request anybody else would send for it.

A `Deed` is a method of the socket and its parameters. It is made of the form as it is filled in, and
then either carried out by the same table as every other face, or, when the form was sent to be
shown (`SHOW`), written down as a line for the socket, a curl command and a shell command. So what a
page shows is what its button does, and a page can do nothing that a program cannot.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.definitions.values import Json
from greenroom.runtime import calls
from greenroom.runtime.many import narrowed
from greenroom.runtime.web import table
from greenroom.runtime.web.pages.screen import back, go, render, say
from greenroom.runtime.web.reading import coerced
from greenroom.runtime.web.routes import caller_of, web_of

SHOW: Final = "show"
"""The field that asks for the request instead of the deed. Its value is `name=value` of the button
that would have been pressed, or 1."""
OWN: Final = frozenset({"csrf", "back", SHOW})
"""Fields of the form itself."""
AS_JSON: Final = ":json"
"""The end of the name of a field whose text is JSON."""

METHODS: Final = frozenset({
    "answer", "asks.draft", "cancel", "definitions.disable", "definitions.enable",
    "definitions.promote", "definitions.push", "definitions.validate", "edit", "events.redrive",
    "events.resend", "fork", "many", "migrate", "pause", "post", "resume", "schedules.backfill",
    "schedules.pause", "schedules.resume", "schedules.trigger", "send", "skip", "stages.deploy",
    "stages.logs", "stages.move", "stages.open", "stages.save", "stages.validate", "start",
})  # fmt: skip
"""All that pages do. Each has its entry in the table of `test_actions.py`, which sends the request a
page shows to a twin and compares the ends."""
ON_A_PAGE_OF_THEIR_OWN: Final = frozenset({"answer", "asks.draft"})
"""Those a page asks for by its own rules of who may: `POST /do/METHOD` does not take them."""

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "pause": ("pause", "instance"), "resume": ("resume", "instance"),
    "cancel": ("cancel", "instance"), "skip": ("skip", "instance"), "edit": ("edit", "instance"),
    "migrate": ("migrate", "instance"), "fork": ("fork", "instance"),
    "start": ("start", "workflow"), "answer": ("ask answer", "ask"),
    "events.resend": ("events resend", "id"),
    "schedules.pause": ("sched pause", "name"), "schedules.resume": ("sched resume", "name"),
    "schedules.trigger": ("sched trigger", "name"),
    "schedules.backfill": ("sched backfill", "name"),
    "definitions.promote": ("def promote", "name"),
    "definitions.enable": ("def enable", "name"), "definitions.disable": ("def disable", "name"),
}  # fmt: skip
"""Methods with a command of their own, and the parameter it takes by place."""
_PLACES: Final = {
    "skip": ("op",), "migrate": ("to_version",), "schedules.backfill": ("start", "end"),
}  # fmt: skip
"""Parameters that follow by place."""
_OPTIONS: Final = {
    "reason": "--reason", "force": "--force", "from_op": "--from", "version": "--version",
    "key": "--key", "by": "--by", "grant": "--grant",
}  # fmt: skip
_DATA: Final = {"skip": "output", "edit": "set", "start": "input", "answer": "data"}
"""The parameter that `-d` gives."""
_JSON_OPTIONS: Final = {"form": "--form", "state": "--state", "input": "--input"}


class Deed(msgspec.Struct, frozen=True):
    """One action."""

    method: str
    params: dict[str, Json]

    def __post_init__(self) -> None:
        assert self.method in METHODS, f"{self.method} is not in deeds.METHODS"

    def without(self, name: str) -> Deed:
        """For the fields of a form: that one is typed or chosen in it."""
        rest = {key: value for key, value in self.params.items() if key != name}
        return Deed(self.method, rest)

    @property
    def socket(self) -> str:
        """The line for the socket; its parameters stand in the order the method names them."""
        names = calls.CALLS[self.method].params.__struct_fields__
        params = {name: self.params[name] for name in names if name in self.params}
        line = {"jsonrpc": "2.0", "id": 1, "method": self.method, "params": params}
        return msgspec.json.encode(line).decode()

    def curl(self, base: str) -> str:
        """The same over HTTP, for whoever holds a key (`dev` asks for none)."""
        request = table.request_for(self.method, self.params)
        words = [
            "curl", "-X", request.method, "-H", "Content-Type: application/json",
            "-H", "Authorization: Bearer $GREENROOM_KEY",
        ]  # fmt: skip
        if request.body is not msgspec.UNSET:
            words += ["-d", msgspec.json.encode(request.body).decode()]
        query = "&".join(f"{name}={quote(value)}" for name, value in request.query.items())
        words.append(base + request.path + (f"?{query}" if query else ""))
        return " ".join(_quoted(word) for word in words)

    @property
    def shell(self) -> str | None:
        """The command; None where the command line says it otherwise."""
        if self.method == "many":
            return _many(self.params)
        words, subject = _WORDS.get(self.method, ("", ""))
        rest = dict(self.params)
        if not words or rest.get(subject) is None:
            return None
        line = ["greenroom", *words.split(), str(rest.pop(subject))]
        line += [str(rest.pop(name)) for name in _PLACES.get(self.method, ()) if name in rest]
        for name, value in rest.items():
            if value is None:
                continue
            if _DATA.get(self.method) == name:
                line += ["-d", msgspec.json.encode(value).decode()]
            elif name in _JSON_OPTIONS:
                line += [_JSON_OPTIONS[name], msgspec.json.encode(value).decode()]
            elif isinstance(value, list) and name in _OPTIONS:
                line += [word for one in value for word in (_OPTIONS[name], str(one))]
            elif name in _OPTIONS:
                line += [_OPTIONS[name]] if value is True else [_OPTIONS[name], str(value)]
            else:
                return None
        return shlex.join(line)


def _many(params: Mapping[str, Json]) -> str | None:
    """`pause`, `resume`, `retry` and `cancel` take a filter, or instances by name."""
    if params.get("q") is None and not params.get("instances"):
        return None
    verb = str(params["verb"])
    words = ["greenroom", verb]
    if params.get("q") is not None:
        words += [narrowed(verb, str(params["q"])), "--yes"]
    named = params.get("instances")
    words += [str(one) for one in named] if isinstance(named, list) else []
    for name in ("like", "reason"):
        if params.get(name) is not None:
            words += [f"--{name}", str(params[name])]
    return shlex.join([*words, *(["--dry-run"] if params.get("dry_run") else [])])


def _quoted(word: str) -> str:
    """For a shell; a variable stays one."""
    return f'"{word}"' if "$GREENROOM_KEY" in word else shlex.quote(word)


class Sent(NamedTuple):
    """A form as it was sent. `shown`: its request is asked for, not the deed."""

    form: FormData
    shown: bool


async def sent(request: Request) -> Sent:
    form = await request.form()
    pressed = form.get(SHOW)
    if pressed is None:
        return Sent(form, False)
    name, sign, value = str(pressed).partition("=")
    fields = [(key, one) for key, one in form.multi_items() if key not in (SHOW, name)]
    return Sent(FormData([*fields, (name, value)] if sign else fields), True)


async def show(request: Request, deed: Deed | GreenroomError) -> Response:
    """The request a form is, or why it is none yet."""
    wrong = deed if isinstance(deed, GreenroomError) else None
    return await render(
        request, "request.html", deed=deed, wrong=wrong, place=request.headers.get("referer")
    )


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


async def run(request: Request, deed: Deed) -> Any:
    """Carries a deed out for whoever asks, if they may."""
    route = route_of(deed.method)
    caller = caller_of(request)
    subject = str(deed.params.get(route.subject, "")) if route.subject else None
    caller.must(route.scope, subject)
    return await calls.run(web_of(request).engine, deed.method, dict(deed.params), caller.by)


async def do(request: Request) -> Response:
    """`POST /do/METHOD`: the form of an action; scripts that accept JSON are answered with it."""
    method = request.path_params["method"]
    form, shown = await sent(request)
    place = form.get("back")
    is_script = "application/json" in request.headers.get("accept", "")
    try:
        if method not in METHODS - ON_A_PAGE_OF_THEIR_OWN:
            raise InvalidRequest(f"{method[:80]} is not done here")
        deed = Deed(method, params_in(route_of(method), form))
        if shown:
            return await show(request, deed)
        reply = await run(request, deed)
        params = deed.params
    except GreenroomError as error:
        if shown:
            return await show(request, error)
        text = error.message + (f"\n{error.hint}" if error.hint else "")
        if is_script:
            return _json({"ok": False, "text": text, "code": error.code}, error.http_status)
        return say(request, back(request, place), text, "bad")
    if is_script:
        return _json({"ok": True, "text": told(method, params, reply), "reply": reply}, 200)
    new = reply.instance if method in ("fork", "start") else None
    response = go(request, f"/i/{new}") if new else back(request, place)
    refused = method == "many" and reply.refused and not reply.done
    return say(request, response, told(method, params, reply), "bad" if refused else "good")


def _json(value: Any, status: int) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), status, media_type="application/json")


def told(method: str, params: Mapping[str, Any], reply: Any) -> str:
    """What was done, in a sentence."""
    match method:
        case "start":
            return f"{params['workflow']} was started"
        case "fork":
            return f"this is the new instance; it comes from {reply.forked_from}"
        case "post" | "events.resend" | "schedules.trigger":
            number = reply.matched_total
            return f"accepted as {reply.id}; matched {number or 'nothing'}"
        case "send":
            return "delivered and taken" if reply.matched else "delivered; it waits in the inbox"
        case "many":
            text = f"{reply.verb}: {reply.done:,} of {reply.found:,}"
            return "\n".join(
                [text, *(f"{n.instances:,} times: {n.message}" for n in reply.refused)]
            )
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
