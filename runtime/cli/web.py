"""`greenroom web`: from a shell into the browser."""

from __future__ import annotations

import http.client
import json
import os
import socket
import webbrowser
from pathlib import Path
from typing import Any, Final

import click

from greenroom.definitions.errors import GreenroomError, InvalidRequest, Unreachable, from_data
from greenroom.runtime import places
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session

ANSWER_S: Final = 10.0


@command("web", example="greenroom web --open")
@click.option("--open", "opens", is_flag=True, help="Open it in the browser of this machine.")
def web(session: Session, opens: bool) -> None:
    """Print a link that logs a browser in as you.

    It is good once, within a minute. Who may use the daemon's socket needs no key for its pages.
    """
    if places.is_http(session.server, session.data):
        raise InvalidRequest(
            "a link is made at the daemon's own socket, where the system knows who you are",
            hint="log in with your API key instead, or run this where the daemon runs",
        )
    link = _link(places.socket_path(session.server, session.data))
    session.show(link, lambda: str(link["url"]))
    if opens:
        webbrowser.open(link["url"])


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(os.fspath(self._path))


def _link(path: Path) -> dict[str, Any]:
    connection = _Unix(path)
    try:
        connection.request("POST", "/session/tickets", body=b"{}")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"no engine at {path}: {error or type(error).__name__}",
            hint="start one:  greenroom serve --http 127.0.0.1:8420 app.py",
        ) from None
    finally:
        connection.close()
    if answer.status == 501:
        raise InvalidRequest(body.decode().strip(), hint="pip install 'greenroom[web]'")
    told: dict[str, Any] = json.loads(body)
    if answer.status != 201:
        raise _error(told)
    return told


def _error(told: dict[str, Any]) -> GreenroomError:
    return from_data({**told, "message": told.get("detail", "")})


COMMANDS: Final = {"web": web}
