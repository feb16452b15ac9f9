"""report: the Total versus Partial table."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from client.console import note, output, say, say_json
from client.errors import BadUsage
from client.options import Json, Reference, Server, Token, TokenFile, connect
from client.rendering.csv import Table, write_csv
from client.rendering.files import write_markdown, write_text
from client.rendering.latex import write_latex
from client.rendering.report import next_steps, render_report
from contract.experiments import Report


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "md"
    LATEX = "tex"
    HTML = "html"


def report(
    reference: Reference,
    format: Annotated[Format, typer.Option("--format", "-f", help="tex wants the booktabs package.")] = Format.TABLE,
    table: Annotated[
        Table | None, typer.Option(help="Of the CSV: what a line is; default: variants. Other formats hold all tables.")
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of to stdout.")
    ] = None,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print accuracy, time and memory of every variant, as far as they are known."""
    chosen = Format.JSON if json else format
    if table is not None and chosen is not Format.CSV:
        raise BadUsage(f"--table {table} belongs to --format csv; {chosen} holds all tables")
    with connect(server, token, token_file) as client:
        found = client.report(reference)
        url = client.url
    if output_file is not None:
        _write(output_file, written(found, chosen, table or Table.VARIANTS))
        note(f"wrote {output_file}")
    elif chosen is Format.TABLE:
        show(found, next_steps(found, url))
    elif chosen is Format.JSON:
        say_json(found)
    else:
        typer.echo(written(found, chosen, table or Table.VARIANTS), nl=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(report)


def show(report: Report, next_to_see: Sequence[str]) -> None:
    """The table on stdout and, for people, where to look next."""
    if sys.stdout.isatty():
        say(render_report(report, output().width))
    else:
        typer.echo(write_text(report), nl=False)
    for line in next_to_see:
        note(line)


def written(report: Report, format: Format, table: Table = Table.VARIANTS) -> str:
    """A report as the text of a file; of its tables CSV holds one."""
    match format:
        case Format.TABLE:
            return write_text(report)
        case Format.JSON:
            return report.model_dump_json(indent=2) + "\n"
        case Format.CSV:
            return write_csv(report, table)
        case Format.MARKDOWN:
            return write_markdown(report)
        case Format.LATEX:
            return write_latex(report)
        case Format.HTML:
            from client.rendering.html import write_html

            return write_html(report)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise BadUsage(f"cannot write {path}: {error.strerror}") from None
