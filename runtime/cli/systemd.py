"""`greenroom systemd`: unit files for a daemon that starts with the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from greenroom.definitions.errors import InvalidRequest, NotPermitted
from greenroom.runtime.cli import options, output
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session

_SYSTEM: Final = Path("/etc/systemd/system")

_what = click.argument("what", nargs=-1, required=True, type=click.Path(), metavar="WHAT...")
_user = click.option("--user", is_flag=True, help="A service of yours, not of the machine.")


def _units(what: tuple[str, ...], user: bool) -> dict[str, str]:
    from greenroom.runtime.systemd import service_unit, socket_unit  # noqa: PLC0415  start-up time

    return {
        "greenroom.socket": socket_unit(),
        "greenroom.service": service_unit(list(what), user=user),
    }


@command("print", example="greenroom systemd print --user app.py")
@_what
@_user
def show(session: Session, what: tuple[str, ...], user: bool) -> None:
    """Print the units of a daemon that serves WHAT."""
    units = _units(what, user)
    parts = [f"# {name}\n{text}" for name, text in units.items()]
    session.show(units, lambda: "\n".join(parts).rstrip(), prose=True)


@command("install", example="greenroom systemd install --user app.py")
@_what
@_user
@options.dry_run
def install(session: Session, what: tuple[str, ...], user: bool, dry_run: bool) -> None:
    """Write the units where systemd finds them; start nothing."""
    folder = _folder() if user else _SYSTEM
    written = [folder / name for name in _units(what, user)]
    if not dry_run:
        _write(folder, _units(what, user))
    control = "systemctl --user" if user else "systemctl"
    said = [f"{'would write' if dry_run else 'wrote'} {path}" for path in written]
    said.append(f"next:  {control} daemon-reload && {control} enable --now greenroom.socket")
    files = [str(path) for path in written]
    session.show({"files": files, "dry_run": dry_run}, lambda: "\n".join(said), prose=True)


def _folder() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "systemd" / "user"


def _write(folder: Path, units: dict[str, str]) -> None:
    for name in units:
        if (folder / name).exists():
            raise InvalidRequest(
                f"{folder / name} is there already", hint="compare:  greenroom systemd print ..."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in units.items():
            (folder / name).write_text(text, encoding="utf-8")
    except PermissionError as error:
        raise NotPermitted(
            f"{folder} is not yours to write", hint="use --user, or sudo", path=str(folder)
        ) from error
    output.note(f"{len(units)} units in {folder}")


COMMANDS: Final = {
    "systemd": subgroup("systemd", show, install, help="Units for systemd: print install.")
}
