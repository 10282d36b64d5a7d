"""The socket in the file system, and who may not take its place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from greenroom.definitions.errors import InvalidRequest, Locked, NotPermitted
from greenroom.runtime.places import private_directory, socket_path
from greenroom.runtime.socketfile import bind


def test_the_socket_is_private_and_alone(short_dir: Path) -> None:
    file = bind(short_dir / "d" / "s")
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.path.parent.iterdir()] == ["s"]
    file.release()
    file.release()
    assert list(file.path.parent.iterdir()) == []


def test_the_umask_is_as_before(short_dir: Path) -> None:
    before = os.umask(0o022)
    bind(short_dir / "s").release()
    assert os.umask(before) == 0o022


def test_a_stale_socket_is_replaced(short_dir: Path) -> None:
    stale = bind(short_dir / "s")
    stale.socket.close()
    file = bind(short_dir / "s")
    assert not stale.is_ours()
    stale.release()
    assert file.is_ours()
    file.release()


def test_a_living_daemon_is_not_replaced(short_dir: Path) -> None:
    file = bind(short_dir / "s")
    with pytest.raises(Locked, match="another daemon answers"):
        bind(short_dir / "s")
    assert file.is_ours()
    file.release()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_at_the_path_is_left_alone(short_dir: Path, kind: str) -> None:
    path = short_dir / "s"
    (short_dir / "precious").write_text("keep")
    if kind == "file":
        path.write_text("keep")
    else:
        path.symlink_to(short_dir / "precious")
    with pytest.raises(NotPermitted):
        bind(path)
    assert path.read_text() == "keep"


def test_a_directory_others_can_write_is_refused(short_dir: Path) -> None:
    short_dir.chmod(0o770)
    with pytest.raises(NotPermitted, match="can be written by others") as caught:
        bind(short_dir / "s")
    assert caught.value.hint == f"chmod 700 {short_dir}"


def test_a_linked_directory_is_refused(short_dir: Path) -> None:
    (short_dir / "real").mkdir(mode=0o700)
    (short_dir / "link").symlink_to(short_dir / "real")
    with pytest.raises(NotPermitted, match="symbolic link"):
        bind(short_dir / "link" / "s")


def test_a_directory_of_somebody_else_is_refused(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: short_dir.stat().st_uid + 1)
    with pytest.raises(NotPermitted, match="belongs to uid"):
        private_directory(short_dir)


def test_a_path_of_107_bytes_works_and_one_of_108_is_refused(short_dir: Path) -> None:
    room = 107 - len(os.fsencode(short_dir)) - 1
    for name in ("x" * room, "y" * (room - 2) + "/s"):
        path = short_dir / name
        assert len(os.fsencode(path)) == 107
        file = bind(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))
        file.release()
    with pytest.raises(InvalidRequest, match="108 bytes"):
        bind(short_dir / ("x" * (room + 1)))


def test_where_a_client_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENROOM_SERVER", raising=False)
    monkeypatch.delenv("GREENROOM_DATA", raising=False)
    assert socket_path() == Path(".greenroom/greenroom.sock")
    assert socket_path(data="d") == Path("d/greenroom.sock")
    assert socket_path("unix:///run/g.sock") == Path("/run/g.sock")
    monkeypatch.setenv("GREENROOM_DATA", "/data")
    assert socket_path() == Path("/data/greenroom.sock")
    monkeypatch.setenv("GREENROOM_SERVER", "unix:///run/e.sock")
    assert socket_path() == Path("/run/e.sock")
    assert socket_path(data="d") == Path("d/greenroom.sock")
    with pytest.raises(InvalidRequest):
        socket_path("http://127.0.0.1:8420")


def test_an_address_without_its_scheme_is_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1:8420 is no socket") as caught:
        socket_path("127.0.0.1:8420")
    assert caught.value.hint == "write http://127.0.0.1:8420"
    (tmp_path / "engine:1").touch()
    assert socket_path("engine:1") == Path("engine:1")
    assert socket_path("a.sock") == Path("a.sock")
