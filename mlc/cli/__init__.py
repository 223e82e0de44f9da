"""The `mlc` command: a table of verbs, each imported when it is asked for, and what their failures exit with.

Exit codes: 0 ok, 1 the user's program failed, 2 usage, 3 unsupported, 4 numeric mismatch or NaN, 5 target unavailable.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mlc.errors import MlcError

# verb -> (module that holds its click command as `command`, help); a help line costs no import.
VERBS = {
    "compile": ("mlc.cli.compile", "Compile the functions that a program exports into one artifact or library."),
    "run": ("mlc.cli.run", "Run a program, or a function of an artifact."),
    "launch": ("mlc.cli.launch", "Run a program on several processes."),
    "inspect": ("mlc.cli.inspect", "Show what an artifact holds: signatures, targets, kernels, weights."),
    "bench": ("mlc.cli.bench", "Measure the functions of an artifact or a program."),
    "bisect": ("mlc.cli.bisect", "Name the first step of the compiler that makes a result wrong."),
    "opt": ("mlc.cli.opt", "Print a graph or kernels after named passes of the compiler."),
    "doctor": ("mlc.cli.doctor", "Check this machine and this installation."),
    "data": ("mlc.cli.data", "List and fetch data sets."),
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `arguments` (default: this process's) and exit with the code of what happened."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = _mlc.main(args=words, prog_name="mlc", standalone_mode=False)
    except click.ClickException as error:  # usage: unknown verb, option, missing file
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except MlcError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # mlc inspect ... | head
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written; the user's program is guarded elsewhere
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr, flush=True)
        os._exit(1)  # what standard output could not take must not be tried again
    sys.exit(status if isinstance(status, int) else 0)


class Verbs(click.Group):
    """A group whose commands are imported when they are called, and listed without import."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = importlib.import_module(VERBS[name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in VERBS.items()])


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from mlc.cli.output import version

        click.echo(f"mlc {version()}")
        context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def _mlc() -> None:
    """Compile machine-learning programs written in Python into native code.

    Exit codes: 0 ok, 1 the user's program failed, 2 usage, 3 unsupported, 4 numeric mismatch or NaN, 5 target
    unavailable.
    """
