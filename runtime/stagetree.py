"""The working tree of a stage folder, as the editor sees and changes it: `stages.json`, and the files
of stages, which are shown, begun and opened elsewhere, and never written over a face: Python has
all rights, so it comes from whoever may write files here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.definitions.jsonlayout import rewritten
from greenroom.definitions.stagegraphs import StageGraph
from greenroom.definitions.values import Json

STARTERS: Final = {
    "form": "from greenroom import get_stage, read_text\n\nstage = get_stage()\n"
    'stage["answer"] = read_text("Answer")\n',
    "hook": "from greenroom import get_request, get_stage, send_json\n\nstage = get_stage()\n"
    'stage["request"] = get_request().body\nsend_json({"accepted": True})\n',
    "job": "from greenroom import get_stage\n\nstage = get_stage()\n",
    "script": "from greenroom import get_stage\n\nstage = get_stage()\n",
}
"""What the file of a stage made in the editor begins with."""
CODE_MAX: Final = 256 * 1024


def disk(folder: Path) -> tuple[dict[str, Json], str] | None:
    """`stages.json` as it is on disk, and its etag."""
    try:
        raw = (folder / "stages.json").read_bytes()
        document = msgspec.json.decode(raw)
    except (OSError, msgspec.DecodeError):
        return None
    return document, _etag(raw)


def etag(folder: Path) -> str | None:
    try:
        return _etag((folder / "stages.json").read_bytes())
    except OSError:
        return None


def _etag(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def write(path: Path, document: Json) -> None:
    """Whole or not at all. What has not changed stays as its author wrote it."""
    before = path.read_bytes().decode()  # line ends as they are
    text = rewritten(before, document, _thing)
    if text == before:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".stages-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _thing(one: Json) -> Any:
    """What a stage or a transition is, whatever else is said of it."""
    if isinstance(one, dict) and "path" in one:
        return "stage", str(one["path"])
    if isinstance(one, dict) and "from" in one:
        return "transition", str(one["from"]), str(one.get("to")), str(one.get("on"))
    return msgspec.json.encode(one, order="sorted")


def begin_files(folder: Path, graph: StageGraph) -> None:
    """Makes the files that stages name and nobody has written yet; never touches one there is."""
    for stage in graph.stages.values():
        if stage.file is not None:
            with contextlib.suppress(FileExistsError), open(folder / stage.file, "x") as file:
                file.write(STARTERS[stage.kind])


def code(path: Path) -> str | None:
    """What is in a file; None where it is not there, or no text of a stage."""
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8") if len(raw) <= CODE_MAX else None
    except (OSError, UnicodeDecodeError):
        return None


_IN_TERMINAL: Final = frozenset({"vi", "vim", "nvim", "nano", "pico", "ed", "joe", "micro", "hx"})


def edit(path: Path) -> bool:
    """Opens a file in the editor of whoever develops, if that has a window of its own."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not words or Path(words[0]).name in _IN_TERMINAL or "-nw" in words:
        return False
    try:
        editor = subprocess.Popen(
            [*words, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return False
    threading.Thread(target=editor.wait, daemon=True).start()  # it may stay open for hours
    return True
