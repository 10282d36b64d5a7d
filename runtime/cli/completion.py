"""`greenroom completion`: the lines a shell needs to complete our commands."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import cli, command
from greenroom.runtime.cli.session import Session

VARIABLE: Final = "_GREENROOM_COMPLETE"


@command(
    "completion",
    example='eval "$(greenroom completion bash)"      # in ~/.bashrc\n'
    'eval "$(greenroom completion zsh)"       # in ~/.zshrc\n'
    "greenroom completion fish > ~/.config/fish/completions/greenroom.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise InvalidRequest(f"no completion for {shell}")
    script = found(cli, {}, "greenroom", VARIABLE)
    output.line(script.source_template % script.source_vars())


COMMANDS: Final = {"completion": completion}
