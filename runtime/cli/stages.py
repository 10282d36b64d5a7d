"""Stage graphs on the command line: `stage run`, `board`, `logs`, `deploy`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import click

from greenroom.definitions.errors import InvalidRequest, NotFound
from greenroom.runtime.cli import items, options, output, prompts, sentences
from greenroom.runtime.cli.backend import call_engine
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact

Data = dict[str, Any]

FAILED: Final = 1
TURN_S: Final = 0.02
FOLLOW_S: Final = 1.0
_MOVING: Final = ("running", "pending")


# -- stage run -----------------------------------------------------------------------------------


@command("run", example="greenroom stage run onboarding/personal-data team=finance")
@click.argument("where", metavar="FOLDER/STAGE")
@options.values
@options.data
@click.option("--only", is_flag=True, help="This stage alone; do not go on to the next.")
def run(
    session: Session, where: str, values: tuple[str, ...], source: str | None, only: bool
) -> None:
    """Run a stage here, with the data given, and go on to the next steps.

    It is a test run: nothing is kept and nobody is told. Forms are asked in this terminal; it ends
    where a run waits for something else.
    """
    folder, stage = _place(where)
    given = items.merged(source, values)
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  start-up time

    with Engine.sync(":memory:", workflows=[f"{folder}/"]) as engine:
        (graph,) = call_engine(engine, "stages.list", {})
        params = {"workflow": graph["name"], "input": given, "stage": stage, "test": True}
        started = call_engine(engine, "start", params)
        rows = _walk(engine, graph["name"], started["instance"] if only else None)
    if session.format != "table":
        for row in rows:
            output.record(row)
    else:
        output.table(
            ["stage", "status", "assignee", "data"],
            [[r["stage"], output.status(r["status"]), r["assignee"] or "-", compact(r["data"])]
             for r in rows],
        )  # fmt: skip
    if any(row["status"] == "failed" for row in rows):
        session.exit_code = FAILED


def _place(where: str) -> tuple[Path, str | None]:
    """`onboarding/personal-data`, `onboarding/personal_data.py` or `onboarding`."""
    path = Path(where)
    if (path / "stages.json").is_file():
        return path, None
    folder = path.parent
    while not (folder / "stages.json").is_file():
        if folder in (Path(), Path("/")):
            raise InvalidRequest(
                f"there is no stages.json in {path.parent} or above",
                hint="greenroom stage run FOLDER/STAGE",
            )
        folder = folder.parent
    name = str(path.relative_to(folder))
    if not name.endswith(".py"):
        return folder, name
    from greenroom.runtime.sources import compile_document  # noqa: PLC0415
    from greenroom.runtime.stagefolders import document_of  # noqa: PLC0415  start-up time
    from greenroom.runtime.stages import graph_in  # noqa: PLC0415

    graph = graph_in(compile_document(document_of(folder), str(folder)))
    found = next((stage.path for stage in graph.stages.values() if stage.file == name), None)
    if found is None:
        raise NotFound(f"no stage of {folder} has the file {name}")
    return folder, found


def _walk(engine: Any, workflow: str, only: str | None) -> list[Data]:
    """Answers forms until nothing goes on by itself; gives how the runs stand."""
    told: set[tuple[str, str, int, str]] = set()
    while True:
        rows = _settled(engine, workflow)
        _tell(engine, workflow, told)
        asks = [
            one
            for one in call_engine(engine, "asks.list", {"q": "test", "limit": 100})["items"]
            if one["kind"] == "form" and (only is None or one["instance"] == only)
        ]
        if only is not None and told:
            return rows
        if not asks:
            return rows
        _answer(engine, asks[0])


def _settled(engine: Any, workflow: str) -> list[Data]:
    """Waits until no run is at work."""
    while True:
        page = call_engine(engine, "list", {"q": f'workflow:"{workflow}"', "limit": 1000})
        rows = page["items"]
        if not any(row["status"] in _MOVING for row in rows):
            return [_row(engine, row["id"]) for row in reversed(rows)]
        time.sleep(TURN_S)


def _row(engine: Any, id: str) -> Data:
    found = call_engine(engine, "get", {"instance": id})
    state = found["state"]
    error = found["error"]
    return {
        "instance": id, "stage": state.get("stage"), "status": found["status"],
        "outcome": found["outcome"], "assignee": state.get("assignee"),
        "data": state.get("data"), "error": error["message"] if error else None,
    }  # fmt: skip


def _tell(engine: Any, workflow: str, told: set[tuple[str, str, int, str]]) -> None:
    """What the stages that have ended printed, and what went wrong in them."""
    page = call_engine(engine, "stages.logs", {"workflow": workflow, "limit": 1000, "test": True})
    for line in reversed(page["items"]):
        key = (line["instance"], line["op"], line["attempt"], line["ended"])
        if key in told:
            continue
        told.add(key)
        output.heading(f"{line['stage']} {line['ended']}")
        if line["output"]:
            output.note(line["output"].rstrip("\n"))
        if line["error"]:
            output.note(f"  {line['error']}")


def _answer(engine: Any, ask: Data) -> None:
    who = f" (for {ask['assignee']})" if ask["assignee"] else ""
    output.heading(f"{ask['title']}{who}")

    def send(pages: list[Any]) -> Any:
        return call_engine(engine, "answer", {"ask": ask["id"], "data": pages})

    prompts.fill(send, ask["schema"], [])


# -- the board -----------------------------------------------------------------------------------


@command(
    "board", example="greenroom board onboarding\ngreenroom board onboarding contract-analysis"
)
@click.argument("workflow")
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@options.json_option("where", "A condition over data, stage, assignee, status.")
@click.option("--test", is_flag=True, help="The test runs instead.")
@click.option("--move", "moves", nargs=2, metavar="INSTANCE STAGE", help="Move a card first.")
@options.limit
def board(
    session: Session,
    workflow: str,
    stages: tuple[str, ...],
    where: str | None,
    test: bool,
    moves: tuple[str, str] | None,
    limit: int,
) -> None:
    """Show where the live runs of a stage graph are: a column a stage."""
    if moves is not None:
        session.call("stages.move", instance=moves[0], stage=moves[1])
    found = session.call(
        "stages.board", workflow=workflow, columns=list(stages) or None,
        filter=options.json_value(where, "where"), test=test or None, limit=min(limit, 200),
    )  # fmt: skip
    if session.format != "table":
        session.show(found)
        return
    for column in found["columns"]:
        output.line(f"{column['title']}  ({column['count']})")
        rows = [
            [card["instance"], output.status(card["status"]), card["assignee"] or "-",
             card["title"] or compact(card["data"])]
            for card in column["cards"]
        ]  # fmt: skip
        if rows:
            output.table(["instance", "status", "assignee", "run"], rows)
        output.line()


# -- logs ----------------------------------------------------------------------------------------


@command("logs", example="greenroom logs onboarding --stage archive\ngreenroom logs -f")
@click.argument("workflow", required=False)
@click.option("--stage", metavar="PATH", help="Of this stage alone.")
@click.option("--run", "run_", metavar="INSTANCE", help="Of this run alone.")
@click.option("--text", metavar="TEXT", help="Lines that hold this text.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("--before", metavar="PLACE", help="What is older: for the next page; a time will do.")
@options.limit
def logs(
    session: Session,
    workflow: str | None,
    stage: str | None,
    run_: str | None,
    text: str | None,
    follow: bool,
    before: str | None,
    limit: int,
) -> None:
    """Show what stages did and printed, over all runs, newest first."""
    asked = {"workflow": workflow, "stage": stage, "run": run_, "text": text}
    page = session.call("stages.logs", limit=limit, before=before, **asked)
    if session.format == "json" and not follow:
        output.document(page)
        return
    lines = page["items"]
    for line in reversed(lines) if follow else lines:
        _log(session, line)
    if not follow:
        if page["before"] and session.format == "table":
            output.line(f"older:  greenroom logs --before {page['before']}")
        return
    after = lines[0]["place"] if lines else None
    while True:
        time.sleep(FOLLOW_S)
        newer = session.call("stages.logs", limit=1000, after=after, **asked)["items"]
        for line in reversed(newer):
            after = line["place"]
            _log(session, line)


def _log(session: Session, line: Data) -> None:
    if session.format != "table":
        output.record(line)
        return
    head = f"{sentences.clock(line['at'])}  {line['workflow']}/{line['stage']}  {line['ended']}"
    by = f"  by {line['by']}" if line["by"] else ""
    output.line(f"{head}  {line['instance']}{by}")
    for text in (line["output"], line["error"]):
        for one in (text or "").rstrip("\n").split("\n") if text else ():
            output.line(f"  {one}")


# -- deploy --------------------------------------------------------------------------------------


@command("deploy", example="greenroom deploy onboarding/\ngreenroom deploy --check onboarding/")
@click.argument("folder", type=click.Path())
@click.option("--check", is_flag=True, help="Say whether it could be deployed; no daemon needed.")
def deploy(session: Session, folder: str, check: bool) -> None:
    """Check a stage folder and release it.

    It is a version of its own if anything has changed. Runs that have begun go on with the version they began with.
    """
    if check:
        from greenroom.runtime.stagechecks import checked_folder  # noqa: PLC0415  start-up time

        definition, _ = checked_folder(folder)
        made: Data = {"name": definition.name, "hash": definition.hash, "folder": folder}
        session.show(made, lambda: f"{definition.name} can be deployed", prose=True)
        return
    what = str(Path(folder).resolve()) if Path(folder).exists() else folder
    info = session.call("stages.deploy", what=what)
    session.show(info, lambda: f"{info['name']} v{info['version']} is released", prose=True)


COMMANDS: Final = {
    "stage": subgroup("stage", run, help="Stages of a folder: run."),
    "board": board,
    "logs": logs,
    "deploy": deploy,
}
