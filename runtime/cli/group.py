"""The list of commands, the global options, and how help is laid out.

A module of commands is imported when one of its commands is run, so that no command, nor the list of
them, pays for the others. Global options are taken before and after the command's name.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from greenroom.runtime.cli import errors, output
from greenroom.runtime.cli.session import Session

EXAMPLE: Final = """\
greenroom new hello && cd hello && greenroom dev
greenroom post order.created order_id=7 sku=A1 n:=2
greenroom why order/7"""

F = TypeVar("F", bound=Callable[..., Any])

_HERE: Final = "greenroom.runtime.cli."
SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Begin": {
        "new": ("new", "Write a small project that runs as it is, with its tests."),
        "dev": ("serve", "Run the daemon while you write: what you save is loaded again."),
        "run": ("serve", "Run one workflow here, without a daemon, and print its result."),
        "demo": ("demo", "Kill a daemon at work, start it again, count what was lost."),
        "stage": ("stages", "Stages of a folder: run."),
    },
    "Act": {
        "start": ("start", "Start an instance of a workflow."),
        "post": ("post", "Post an event; workflows that listen to its type get it."),
        "send": ("post", "Send an event to one instance."),
        "pause": ("verbs", "Pause instances; running steps end first."),
        "resume": ("verbs", "Resume instances that are paused or failed."),
        "retry": ("verbs", "Retry failed instances, or one that waits for its next attempt."),
        "cancel": ("verbs", "Cancel instances for good."),
        "skip": ("verbs", "Skip a failed or retrying step, giving its result by hand."),
        "edit": ("verbs", "Change the state of an instance by hand."),
        "migrate": ("verbs", "Let an instance follow another version of its workflow."),
        "restart": ("verbs", "Run an instance again as a new one, from a step or from the start."),
        "fork": ("verbs", "Run an instance again as a new one with another past."),
        "ask": ("asks", "Questions to people: ls show answer."),
    },
    "Look": {
        "ls": ("show", "List instances, the newest first."),
        "show": ("show", "Show one instance: status, waits, error, state."),
        "why": ("show", "Say in a few lines why an instance is where it is."),
        "watch": ("show", "Follow what happens to one instance, to its end, or to many."),
        "history": ("show", "List the journal of an instance."),
        "state": ("show", "Print the state of an instance, now or after an entry."),
        "diff": ("show", "Compare two instances: path, input and state."),
        "board": ("stages", "Show where the live runs of a stage graph are: a column a stage."),
        "logs": ("stages", "Show what stages did and printed, over all runs, newest first."),
        "events": ("events", "Stored events: ls show tail explain resend try replay held dead."),
        "def": ("definitions", "Workflows: their versions, and which one is released."),
        "sched": ("schedules", "Schedules: ls next preview pause resume trigger backfill."),
        "schema": ("documents", "Print the JSON Schema of workflow documents, for editors."),
        "connector": ("connectors", "Services: ls show try validate."),
        "secret": ("connectors", "Secrets, by name: ls check."),
        "resource": ("resources", "Domain objects of workflows: ls show history products."),
    },
    "Operate": {
        "serve": ("serve", "Run the daemon: load WHAT, open the store, listen."),
        "deploy": ("stages", "Check a stage folder and release it."),
        "ping": ("store", "Ask whether a daemon answers, and how fast."),
        "info": ("store", "Show what runs: version, store, numbers of instances."),
        "doctor": ("store", "Look for what is wrong or will be soon; exit 5 if something is."),
        "db": ("store", "The store: check backup restore prune migrate-workflows."),
        "replay": ("replays", "Replay stored histories on today's code."),
        "bench": ("bench", "Measure this machine: durable steps, events, memory."),
        "systemd": ("systemd", "Units for systemd: print install."),
        "completion": ("completion", "Print the completion script of a shell."),
        "key": ("keys", "API keys for HTTP: create ls revoke."),
        "web": ("web", "Print a link that logs a browser in as you."),
    },
}  # fmt: skip
"""Name -> the module it is declared in, and its line in the list: help of all must not import all. A
test holds that each line is the first of the command's own help."""

MODULES: Final = {
    name: _HERE + module for part in SECTIONS.values() for name, (module, _) in part.items()
}

HELP_MAX: Final = 80
"""Characters of a command's line in a list."""

FILTER_HELP: Final = (
    "A FILTER is words joined by AND: status:failed workflow:order customer=alice age>1h "
    "step:send_invoice; a - before a word negates it: -status:completed."
)

_FILTERS: Final = frozenset({"filter", "target", "targets"})
"""Arguments that may be a filter."""
_NEGATED: Final = re.compile(r"-[A-Za-z_][\w.]+([<>]=|[:=<>])")


def _option(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(Session), name, value)

    return keep


def global_options() -> list[click.Option]:
    """Fresh ones for each command: click ties an option to its command."""
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(output.FORMATS),
            metavar="FORMAT",
            callback=_option("output"),
            expose_value=False,
            help="table for people, json or jsonl for programs.",
        ),
        click.Option(
            ["--server"],
            metavar="URL",
            callback=_option("server"),
            expose_value=False,
            help="unix:///path or http://HOST:PORT (GREENROOM_SERVER).",
        ),
        click.Option(
            ["--data"],
            metavar="DIR",
            callback=_option("data"),
            expose_value=False,
            help="Data directory, .greenroom by default (GREENROOM_DATA).",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            callback=_option("debug"),
            expose_value=False,
            help="Show the stack of an error.",
        ),
    ]


class Command(click.Command):
    """A command with the global options, listed apart in its help, and an example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self._global = global_options()
        self.params.extend(self._global)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(param.name in _FILTERS and param.nargs == -1 for param in self.params):
            args = _negated_last(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = self.get_params(ctx)
        own = [p for p in params if isinstance(p, click.Option) and p not in self._global]
        _definitions(formatter, "Options", own, ctx)
        _definitions(formatter, "Global options", self._global, ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        _examples(formatter, self.example)


def _negated_last(args: list[str]) -> list[str]:
    """`-status:completed` is a word of a filter and no option: such words go behind a `--`."""
    end = args.index("--") if "--" in args else len(args)
    words = [word for word in args[:end] if _NEGATED.match(word)]
    rest = [word for word in args[:end] if word not in words]
    return [*rest, "--", *words, *args[end + 1 :]] if words else args


def _examples(formatter: click.HelpFormatter, example: str) -> None:
    if example:
        with formatter.section("Example"):
            for text in example.split("\n"):
                formatter.write(f"{'':>{formatter.current_indent}}{text}\n")


def _definitions(
    formatter: click.HelpFormatter,
    title: str,
    params: Sequence[click.Parameter],
    ctx: click.Context,
) -> None:
    records = [record for p in params if (record := p.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


def command(name: str, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Declares a command. Its docstring is its help, the first line the one in the list."""

    def declare(function: Callable[..., Any]) -> Command:
        return click.command(name, cls=Command, example=example)(click.pass_obj(function))

    return declare


class Subgroup(click.Group):
    """`def`, `sched`, `events`, `db`: commands of one noun."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _known(ctx, args, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, with no line cut short."""
        rows = [
            (name, self.commands[name].get_short_help_str(limit=HELP_MAX))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(click.Group):
    """`greenroom`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(MODULES[cmd_name])
        found: click.Command = module.COMMANDS[cmd_name]
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _known(ctx, args, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, part in SECTIONS.items():
            with formatter.section(title):
                rows = [(name, help) for name, (_, help) in part.items()]
                formatter.write_dl(rows, col_spacing=3)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _examples(formatter, EXAMPLE)


def _known(ctx: click.Context, args: Sequence[str], known: Sequence[str]) -> None:
    word = args[0]
    if word not in known and not word.startswith("-"):
        mend = errors.did_you_mean(word, known)
        raise click.UsageError(f"no command {word}{mend}", ctx=ctx)


def subgroup(name: str, *commands: click.Command, help: str) -> click.Group:
    return Subgroup(name, commands=list(commands), help=help, no_args_is_help=True)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from greenroom.runtime.main import version  # noqa: PLC0415  main imports this module

        output.line(version())
        ctx.exit()


cli: Final = Root(
    "greenroom",
    help=(
        "Durable workflows for Python asyncio.\n\n"
        "An INSTANCE is its id, the first 8 characters or more of it, or workflow/key. "
        "greenroom COMMAND --help says more about a command."
    ),
    params=[
        *global_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the versions of greenroom and what it runs on.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
