"""Runs one command line and turns whatever happens into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from greenroom.definitions.errors import GreenroomError
from greenroom.runtime.cli import errors
from greenroom.runtime.cli.group import cli
from greenroom.runtime.cli.session import Session


def run(args: Sequence[str], session: Session | None = None) -> int:
    """Messages go to standard error. No stack without `--debug`."""
    session = session or Session()
    try:
        cli.main(list(args), prog_name="greenroom", standalone_mode=False, obj=session)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as wrong:
        errors.to_stderr(wrong.format_message())
        return errors.USAGE
    except click.UsageError as wrong:
        errors.to_stderr(errors.usage(wrong))
        return errors.USAGE
    except (click.Abort, KeyboardInterrupt):
        return errors.INTERRUPTED
    except GreenroomError as error:
        errors.to_stderr(errors.trace(error) if session.debug else errors.render(error))
        return errors.code(error)
    except BrokenPipeError:
        # whoever read us has gone; keep the interpreter from saying so at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.PIPE
    except Exception as error:
        errors.to_stderr(errors.trace(error) if session.debug else errors.bug(error))
        return errors.BUG
    finally:
        session.close()
    return session.exit_code
