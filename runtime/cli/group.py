"""The list of commands, the global options, and how help is laid out.

A module of commands is imported when one of its commands is run or help is asked for, so that no
command pays for the others. Global options are taken before and after the command's name.
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

_VERBS, _SHOW, _SERVE, _STORE, _STAGES = (
    f"greenroom.runtime.cli.{name}" for name in ("verbs", "show", "serve", "store", "stages")
)

SECTIONS: Final[dict[str, dict[str, str]]] = {
    "Begin": {
        "new": "greenroom.runtime.cli.new",
        "dev": _SERVE, "run": _SERVE, "demo": "greenroom.runtime.cli.demo", "stage": _STAGES,
    },
    "Act": {
        "start": "greenroom.runtime.cli.start", "post": "greenroom.runtime.cli.post",
        "send": "greenroom.runtime.cli.post",
        "pause": _VERBS, "resume": _VERBS, "retry": _VERBS, "cancel": _VERBS, "skip": _VERBS,
        "edit": _VERBS, "migrate": _VERBS, "restart": _VERBS, "fork": _VERBS, "ask": "greenroom.runtime.cli.asks",
    },
    "Look": {
        "ls": _SHOW, "show": _SHOW, "why": _SHOW, "watch": _SHOW, "history": _SHOW, "state": _SHOW,
        "diff": _SHOW, "board": _STAGES, "logs": _STAGES,
        "events": "greenroom.runtime.cli.events",
        "def": "greenroom.runtime.cli.definitions",
        "sched": "greenroom.runtime.cli.schedules",
        "schema": "greenroom.runtime.cli.documents",
        "connector": "greenroom.runtime.cli.connectors",
        "secret": "greenroom.runtime.cli.connectors",
        "resource": "greenroom.runtime.cli.resources",
    },
    "Operate": {
        "serve": _SERVE, "deploy": _STAGES, "ping": _STORE, "info": _STORE, "doctor": _STORE, "db": _STORE,
        "replay": "greenroom.runtime.cli.replays",
        "bench": "greenroom.runtime.cli.bench", "systemd": "greenroom.runtime.cli.systemd",
        "completion": "greenroom.runtime.cli.completion", "key": "greenroom.runtime.cli.keys",
        "web": "greenroom.runtime.cli.web",
    },
}  # fmt: skip

MODULES: Final = {name: module for part in SECTIONS.values() for name, module in part.items()}

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
            rows = [
                (name, found.get_short_help_str(limit=70))
                for name in part
                if (found := self.get_command(ctx, name)) is not None
            ]
            with formatter.section(title):
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
