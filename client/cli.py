"""The `stagetune` command.

Exit statuses: 0 done, 1 failed, 2 wrong usage, 3 server unreachable, 4 refused, 5 not found, 6 not authorised,
130 interrupted (client/exitcodes.py).
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import stamina
import typer
from typer.core import TyperGroup

from client.commands import (
    about,
    access,
    database,
    datasets,
    demo,
    doctor,
    experiments,
    failures,
    fleet,
    machine,
    networks,
    reporting,
    watching,
)
from client.console import note, report_error, report_problem
from client.errors import StagetuneError
from client.exitcodes import ExitCode

JSON = "stagetune.json"


class ErrorsInOneLine(TyperGroup):
    """Turns whatever a command raises into one line on stderr, JSON after --json, and a documented exit status."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Noted here, because what is wrong with a command line is found before any command reads its options.
        ctx.meta[JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        json = ctx.meta[JSON]
        # What a retry means to the user is said by the commands; the library's own log lines would only repeat it.
        stamina.instrumentation.set_on_retry_hooks([])
        try:
            return super().invoke(ctx)
        except StagetuneError as error:
            raise typer.Exit(report_error(error, json=json)) from None
        except BrokenPipeError:
            # The reader (head, less) has gone; keep Python from complaining when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except KeyboardInterrupt:
            if json:
                report_problem("interrupted", ExitCode.INTERRUPTED)
            else:
                note("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            # Usage errors and exits are the framework's own; it renders them for people.
            if json and hasattr(error, "format_message"):
                report_problem(error.format_message(), ExitCode.USAGE)
                raise typer.Exit(ExitCode.USAGE) from None
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise
            raise typer.Exit(report_error(error, json=json)) from None


app = typer.Typer(
    name="stagetune",
    cls=ErrorsInOneLine,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Hyperparameter search for convolutional networks trained stage by stage.",
    epilog="Exit statuses: 0 done, 1 failed, 2 usage, 3 unreachable, 4 refused, 5 not found, "
    "6 not authorised, 130 interrupted.",
)
for subject in (
    machine,
    experiments,
    watching,
    failures,
    reporting,
    networks,
    fleet,
    datasets,
    access,
    database,
    doctor,
    demo,
    about,
):
    subject.register(app)


@app.callback()
def configure(
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="PEM file to trust for https servers; default: STAGETUNE_CA_FILE."),
    ] = None,
) -> None:
    """Hyperparameter search for convolutional networks trained stage by stage."""
    if ca_file is not None:
        # For what this command starts as well.
        os.environ["STAGETUNE_CA_FILE"] = str(ca_file.expanduser().absolute())


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="stagetune")
