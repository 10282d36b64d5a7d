"""`serve dev run`: the processes that carry workflows out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import click

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime import places
from greenroom.runtime.cli import errors, items, options, output
from greenroom.runtime.cli.backend import call_engine
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.start import FAILED, outcome_text
from greenroom.runtime.cli.words import compact, name

Data = dict[str, Any]

_what = click.argument("what", nargs=-1, type=click.Path(), metavar="WHAT...")
_http = click.option("--http", metavar="HOST:PORT", help="Serve HTTP on a port as well.")
_socket = click.option("--socket", metavar="PATH", help="The socket, in the data directory else.")


@command("serve", example="greenroom serve --data /var/lib/greenroom app.py definitions/")
@_what
@_http
@_socket
@click.option(
    "--no-promote",
    is_flag=True,
    help="Register changed workflows; new instances keep the released version.",
)
@click.option(
    "--no-sync",
    is_flag=True,
    help="Follow the workflows of the store; change them with db migrate-workflows.",
)
@click.option(
    "--http-allow-remote",
    is_flag=True,
    help="HOST may be reached by others: a proxy with TLS is in front.",
)
@click.option(
    "--http-host", "hosts", multiple=True, metavar="NAME", help="A name it is known by (repeat)."
)
@click.option(
    "--http-open", is_flag=True, help="Programs and people of this machine need no API key."
)
@click.option(
    "--http-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy whose X-Forwarded- headers are believed: an address or network (repeat).",
)
@click.option(
    "--http-tls",
    is_flag=True,
    help="Browsers come through TLS: cookies are for TLS alone, and HSTS is sent.",
)
@click.option(
    "--http-cors",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A site whose scripts may ask, with an API key (repeat).",
)
@click.option("--public-url", metavar="URL", help="Where people reach it, for links in messages.")
@click.option("--edit", is_flag=True, help="Let the editor write stages.json, as dev does.")
@click.option("--oidc-issuer", metavar="URL", help="Take tokens of this OpenID provider as keys.")
@click.option("--oidc-audience", metavar="TEXT", help="Whom such a token must be for.")
def serve(
    session: Session,
    what: tuple[str, ...],
    http: str | None,
    socket: str | None,
    no_promote: bool,
    no_sync: bool,
    http_allow_remote: bool,
    hosts: tuple[str, ...],
    http_open: bool,
    proxies: tuple[str, ...],
    http_tls: bool,
    origins: tuple[str, ...],
    oidc_issuer: str | None,
    oidc_audience: str | None,
    public_url: str | None,
    edit: bool,
) -> None:
    """Run the daemon: load WHAT, open the store, listen.

    WHAT are Python files, modules, documents or folders of them. One line `ready ...` on standard
    output says that it serves; logs go to standard error.
    """
    from greenroom.runtime.daemon import Http  # noqa: PLC0415  start-up time
    from greenroom.runtime.daemon import serve as run  # noqa: PLC0415  start-up time

    session.exit_code = run(
        what,
        data=places.data_directory(session.data),
        socket=None if socket is None else Path(socket),
        http=Http(
            address=http,
            remote=http_allow_remote,
            hosts=hosts,
            open=http_open,
            proxies=proxies,
            tls=http_tls,
            origins=origins,
            oidc=oidc_issuer,
            audience=oidc_audience,
        ),
        promote=not no_promote,
        sync=not no_sync,
        edit=edit,
        public_url=public_url,
    )


@command("dev", example="greenroom dev\ngreenroom dev app.py definitions/")
@_what
@click.option("--http", metavar="HOST:PORT", help="Where its pages are (127.0.0.1:8420); or none.")
def dev(session: Session, what: tuple[str, ...], http: str | None) -> None:
    """Run the daemon while you write: what you save is loaded again.

    Without WHAT, app.py and definitions/ are taken if they are there.
    """
    from greenroom.runtime.dev import dev as run  # noqa: PLC0415  start-up time

    session.exit_code = run(what or _usual(), data=places.data_directory(session.data), http=http)


def _usual() -> tuple[str, ...]:
    found = tuple(path for path in ("app.py", "definitions") if Path(path).exists())
    if Path("stages.json").exists():
        found += ("./",)
    if found:
        return found
    raise InvalidRequest(
        "nothing to run: there is no app.py and no definitions/ here",
        hint="name the file:  greenroom dev orders.py\nor begin with:  greenroom new hello",
    )


@command("run", example="greenroom run app.py order order_id=7 sku=A1 n:=2")
@click.argument("what", type=click.Path())
@click.argument("values", nargs=-1, metavar=f"[WORKFLOW] {options.VALUES}")
@options.data
@click.option("--key", metavar="TEXT", help="The key of the instance.")
@options.timeout
def run(
    session: Session,
    what: str,
    values: tuple[str, ...],
    source: str | None,
    key: str | None,
    timeout: str | None,
) -> None:
    """Run one workflow here, without a daemon, and print its result.

    With --data its journal stays there, so that a second run can be looked at or gone on with;
    else nothing is kept. Events and answers cannot reach it: use dev for workflows that wait.
    """
    workflow, words = _split(values)
    given = items.merged(source, words)
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        data = Path(session.data) if session.data else Path(scratch) / "data"
        outcome, called = _run(data, what, workflow, given, key, timeout)
    if outcome["status"] == "completed":
        session.show(outcome["result"], lambda: compact(outcome["result"]))
        return
    session.exit_code = FAILED
    if session.format == "table":
        errors.to_stderr(outcome_text(called, outcome).split("\n")[0])
    else:
        output.record(outcome)


def _split(values: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    if values and "=" not in values[0]:
        return values[0], values[1:]
    return None, values


def _run(
    data: Path, what: str, workflow: str | None, given: Any, key: str | None, timeout: str | None
) -> tuple[Data, str]:
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  start-up time

    with Engine.sync(data, workflows=[what]) as engine:
        chosen = workflow or _only(call_engine(engine, "definitions.list", {}), what)
        params = {"workflow": chosen, "input": given}
        started = call_engine(engine, "start", params | ({"key": key} if key else {}))
        waiting = {"instance": started["instance"]} | ({"timeout": timeout} if timeout else {})
        outcome = call_engine(engine, "result", waiting)
    return outcome, name(chosen, started["key"], started["instance"])


def _only(found: Any, what: str) -> str:
    rows = found["items"] if isinstance(found, dict) else found
    names = list(dict.fromkeys(row["name"] for row in rows))
    if len(names) == 1:
        return str(names[0])
    raise InvalidRequest(
        f"{what} has {len(names)} workflows: {' '.join(names)}",
        hint=f"name one:  greenroom run {what} {names[0]} ..." if names else None,
    )


COMMANDS: Final = {"serve": serve, "dev": dev, "run": run}
