"""What `greenroom new --template stages` writes: a process of people and programs, as a folder."""

from __future__ import annotations

from typing import Final

GRAPH: Final = """\
{
  "name": "{name}",
  "stages": [
    {"path": "request", "kind": "form", "title": "Ask for leave", "initial": true, "x": 40, "y": 60},
    {"path": "decide", "kind": "form", "title": "Decide", "assignee": "team:leads", "reminders": ["1 day"], "x": 320, "y": 60},
    {"path": "record", "kind": "script", "title": "Record", "x": 720, "y": 60},
    {"path": "weekly", "kind": "job", "title": "Who is away", "schedule": {"every": "week", "on": "monday", "at": "08:00"}, "x": 40, "y": 180}
  ],
  "transitions": [
    {"from": "request", "to": "decide"},
    {"from": "decide", "to": "record", "when": "decision == 'approve'"}
  ],
  "teams": {"leads": ["grace@example.org"]},
  "card": ["who", "days"]
}
"""

REQUEST: Final = '''\
"""A form: each question is a page, and it can be gone on with on another day."""

from greenroom import display, get_stage, page, read_text, set_title

stage = get_stage()
stage["who"] = read_text("Your name")
display(f"Hello {stage['who']}, when will you be away?")
about = page("Your leave").read_date("First day").read_number("Days", min=1, max=30).run()
stage["first_day"] = about["first_day"].isoformat()
stage["days"] = about["days"]
set_title(f"{stage['who']}, {stage['days']} days")
'''

DECIDE: Final = '''\
"""Waits for somebody of team:leads, who gets a mail with a link to this form."""

from greenroom import display, get_stage, page

stage = get_stage()
display(f"{stage['who']} asks for {stage['days']} days from {stage['first_day']}.")
answer = (
    page("Decide")
    .read_dropdown("Decision", ["approve", "deny"])
    .read_textarea("Comment", required=False)
    .run()
)
stage["decision"] = answer["decision"]
stage["comment"] = answer["comment"]
'''

RECORD: Final = '''\
"""A script runs once the stage before it has ended. What it prints is in `greenroom logs`."""

from greenroom import get_stage

stage = get_stage()
print(f"{stage['who']} is away for {stage['days']} days from {stage['first_day']}")
stage["recorded"] = True
'''

WEEKLY: Final = '''\
"""A job begins by the clock. No arrow leads here or away: it runs alone."""

print("nobody is away this week")
'''

TEST: Final = '''\
"""The `engine` fixture keeps its store in memory and its clock in its hand: days pass at once."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_leave_is_asked_for_decided_and_recorded(engine):
    engine.register(f"{FOLDER}/")
    run = await engine.start("{name}")
    await engine.until_idle()
    pages = [{"your_name": "Ann"}, {"first_day": "2027-01-04", "days": 3}]
    await engine.answer(f"{run.id}.request#1", pages)
    await engine.until_idle()
    (question,) = (await engine.asks.list()).items
    assert question.assignee == "team:leads"
    await engine.answer(question.id, {"decision": "approve"}, by="grace@example.org")
    assert (await run.result())["recorded"] is True
'''

README: Final = """\
# {name}

A stage graph: `stages.json` has the stages and the arrows between them, each stage is a Python file beside it.

```console
$ greenroom stage run request     # in this terminal: asks, and goes on to the next steps; nothing is kept
$ greenroom dev                   # the daemon, with pages: what you save is taken up at once
$ greenroom start {name}          # in a second terminal
$ greenroom ask ls
$ greenroom board {name}
$ greenroom logs
$ pytest
```

Board → *Edit the graph* at the address that `dev` names draws all of this: drag stages from the left, `T` for a
transition, double-click for options, code and a test run. It writes `stages.json`, and of that only what you
changed.

For mail to assignees set `GREENROOM_SMTP_HOST`. Packages that stages import belong into `requirements.txt`;
`greenroom deploy --check .` says what is missing.
"""

REQUIREMENTS: Final = """\
# What the stages import, beside greenroom. `greenroom deploy` checks that it is installed.
"""

PROJECT: Final = """\
[tool.pytest.ini_options]
testpaths = ["tests"]
"""

FILES: Final[dict[str, str | None]] = {
    "stages.json": GRAPH,
    "request.py": REQUEST,
    "decide.py": DECIDE,
    "record.py": RECORD,
    "weekly.py": WEEKLY,
    "tests/test_stages.py": TEST,
    "README.md": README,
    "requirements.txt": REQUIREMENTS,
    "pyproject.toml": PROJECT,
    ".gitignore": ".greenroom/\n__pycache__/\n",
}
NAMED: Final = ("stages.json", "tests/test_stages.py", "README.md")
