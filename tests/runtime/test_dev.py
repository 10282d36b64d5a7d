"""Starting again when files are saved."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from greenroom.runtime import dev
from greenroom.runtime.reloading import is_enough
from greenroom.runtime.web import mount

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"

TOLD = """
import signal, sys
signal.signal(signal.SIGHUP, lambda *_: open(sys.argv[1], "w").write("again"))
open(sys.argv[1], "x").close()
while True: signal.pause()
"""


def test_saving_is_seen_and_other_files_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / "app.py"
    path.write_text("x = 1")
    stop = threading.Event()
    seen = dev.changes([tmp_path], stop, scan_s=0.01)
    before = dev.snapshot([tmp_path])
    (tmp_path / "notes.txt").write_text("no matter")
    (tmp_path / ".app.swp.py").write_text("an editor's, for a moment")
    assert dev.snapshot([tmp_path]) == before
    writer = threading.Timer(0.05, path.write_text, ["x = 22"])
    writer.start()
    assert next(seen) == {path}
    writer.join()
    stop.set()
    assert list(seen) == []


def test_the_folders_of_what_is_served_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack").mkdir()
    found = dev.watched(["app.py", "sub/other.py", "pack", "pack.flows:order", "loose.module"])
    assert found == [Path(), Path("sub"), Path("pack")]


def test_a_restart_is_a_new_process_and_the_old_one_is_gone() -> None:
    runner = dev.Runner([sys.executable, "-c", "import time; time.sleep(60)"])
    runner.start()
    first = runner.pid
    assert first is not None
    runner.restart()
    assert runner.pid != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    runner.stop()
    runner.stop()


@pytest.mark.parametrize("code", [0, 2])
def test_what_cannot_be_loaded_stops_no_daemon_that_runs(
    code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    check = [sys.executable, "-c", f"raise SystemExit({code})"]
    runner = dev.Runner([sys.executable, "-c", "import time; time.sleep(60)"], check=check)
    runner.renew()
    assert capfd.readouterr().err == "saved: starting again\n"
    first = runner.pid
    runner.renew()
    assert (runner.pid == first) is (code == 2)
    said = "saved, but not loaded: the daemon goes on with what it has\n"
    assert capfd.readouterr().err == (said if code == 2 else "saved: starting again\n")
    runner.stop()


def test_documents_and_stage_folders_need_no_new_process(tmp_path: Path) -> None:
    stages = tmp_path / "onboarding"
    stages.mkdir()
    for name in ("stages.json", "begin.py", "../app.py", "../welcome.json"):
        (stages / name).write_text("")
    what = [str(stages), str(tmp_path / "app.py"), str(tmp_path / "welcome.json")]
    assert is_enough(stages / "stages.json", what)
    assert is_enough(stages / "begin.py", what)
    assert is_enough(stages / "gone.py", what)
    assert is_enough(tmp_path / "welcome.json", what)
    assert not is_enough(tmp_path / "gone.json", what)
    assert not is_enough(tmp_path / "app.py", what)
    (stages / "stages.json").unlink()
    assert not is_enough(stages / "begin.py", what)


def test_a_daemon_is_told_to_read_again_once_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    runner = dev.Runner([sys.executable, "-c", TOLD, str(told)])
    assert not runner.reload()
    runner.start()
    assert not runner.reload()  # too young
    while not told.exists():
        time.sleep(0.01)
    monkeypatch.setattr(dev, "SETTLED_S", 0.0)
    first = runner.pid
    assert runner.reload()
    while not told.read_text():
        time.sleep(0.01)
    assert runner.pid == first
    runner.stop()


def test_a_daemon_that_does_not_stop_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "STOP_S", 0.05)
    runner = dev.Runner([sys.executable, "-c", STUBBORN])
    runner.start()
    runner.stop()
    assert runner.pid is None


def test_a_daemon_that_is_killed_is_started_again(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "LIVED_S", 0.0)
    runner = dev.Runner([sys.executable, "-c", "import time; time.sleep(60)"])
    runner.start()
    first = runner.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    while runner.pid in (first, None):
        time.sleep(0.01)
    runner.stop()
    assert capfd.readouterr().err == "the daemon was killed (SIGKILL): starting again\n"


def test_a_daemon_that_ends_by_itself_waits_for_the_next_save(
    capfd: pytest.CaptureFixture[str],
) -> None:
    runner = dev.Runner([sys.executable, "-c", "raise SystemExit(2)"])
    runner.start()
    while runner.pid is not None:
        time.sleep(0.01)
    said = ""
    while not said:
        time.sleep(0.01)
        said = capfd.readouterr().err
    assert said == "the daemon ended with 2: the next save starts it again\n"


def test_pages_are_at_the_usual_port_or_at_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind((dev.HERE, 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(dev, "PORT", taken)
        address = dev.web_address(None)
        assert address is not None and address.startswith(f"{dev.HERE}:")
        assert address != f"{dev.HERE}:{taken}"
    assert dev.web_address(None) == f"{dev.HERE}:{taken}"
    assert dev.web_address("127.0.0.1:1") == "127.0.0.1:1"
    assert dev.web_address("none") is None
    free = dev.web_address("127.0.0.1:0")
    assert free is not None and not free.endswith(":0")


def test_without_the_extra_there_are_no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount, "is_installed", lambda: False)
    assert dev.web_address(None) is None
