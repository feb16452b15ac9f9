"""Where the command writes: results to stdout, everything else to stderr, colours only on a terminal."""

import json
import os
import sys
import traceback
from collections.abc import Sequence

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text

from client.errors import ServerProblem, StagetuneError
from client.exitcodes import ExitCode
from contract.problems import Problem

PIPED_WIDTH = 10_000
"""Nothing is folded or cut for a program that reads us."""


def plain(text: object) -> str:
    """Text from a server without the control characters that could steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in str(text))


def output() -> Console:
    """Stdout as it is now (tests replace it)."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def errors() -> Console:
    """Stderr."""
    return Console(
        stderr=True, highlight=False, markup=False, emoji=False, width=None if sys.stderr.isatty() else PIPED_WIDTH
    )


def say(line: RenderableType) -> None:
    """A result for people; piped, its lines end without the blanks that fill a table's last column."""
    console = output()
    if isinstance(line, str):
        console.print(plain(line), soft_wrap=True)
    elif sys.stdout.isatty():
        console.print(line)
    else:
        with console.capture() as captured:
            console.print(line)
        console.file.writelines(f"{row.rstrip()}\n" for row in captured.get().splitlines())


def note(line: str, style: str = "dim") -> None:
    """Something beside the result."""
    errors().print(Text(plain(line), style=style), soft_wrap=True)


def say_json(value: BaseModel | Sequence[BaseModel] | object, *, line: bool = False) -> None:
    """A result for programs: indented JSON, or one object a line."""
    if isinstance(value, BaseModel):
        data: object = value.model_dump(mode="json")
    elif isinstance(value, list):
        data = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    else:
        data = value
    sys.stdout.write(json.dumps(data, indent=None if line else 2, allow_nan=False) + "\n")
    sys.stdout.flush()


def report_problem(message: str, code: ExitCode, told: Problem | None = None) -> None:
    """An error as a line of problem JSON (RFC 9457) on stderr: the server's own, or one named after the exit status."""
    own = {"type": f"/problems/{code.name.lower().replace('_', '-')}", "detail": message, "faults": []}
    problem = own if told is None else told.model_dump(mode="json", exclude_none=True)
    sys.stderr.write(json.dumps(problem | {"exit_code": code}) + "\n")


def report_error(error: BaseException, *, json: bool = False) -> ExitCode:
    """One line on stderr, below it faults or the end of a log, or all of it as one line of JSON; the exit status.

    STAGETUNE_DEBUG=1 adds the traceback.
    """
    if os.environ.get("STAGETUNE_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, StagetuneError):
        message, code = str(error), error.exit_code
    else:
        message, code = f"unexpected {type(error).__name__}: {error} (STAGETUNE_DEBUG=1 shows where)", ExitCode.FAILED
    if json:
        report_problem(message, code, error.problem if isinstance(error, ServerProblem) else None)
        return code
    first, *more = plain(message).splitlines() or [""]
    errors().print(Text.assemble(("error: ", "bold red"), first), soft_wrap=True)
    for line in more:
        errors().print(Text(f"  {line}", style="dim"), soft_wrap=True)
    if isinstance(error, StagetuneError):
        for fault in error.faults:
            if f"{fault.path}: {fault.message}" == str(error):
                continue
            where = (plain(fault.path) or "submission", "bold")
            errors().print(Text.assemble("  ", where, ": ", plain(fault.message)), soft_wrap=True)
    return code
