"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from client.api import Client

Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="Default: STAGETUNE_SERVER, else this machine's.")
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="SECRET", help="Others on this machine can see it here; prefer a file."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="PATH", help="Default: STAGETUNE_TOKEN or STAGETUNE_TOKEN_FILE."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Reference = Annotated[str, typer.Argument(metavar="ID", help="An experiment's id, the start of one, or 'latest'.")]
SubmissionSource = Annotated[
    str, typer.Argument(metavar="FILE|PRESET", help="A YAML or JSON file, '-' for stdin, or a preset's name.")
]

NoReuse = Annotated[
    bool, typer.Option("--no-reuse", help="Search every stage anew, even one that was searched before just so.")
]

VariantName = Annotated[
    str | None, typer.Option("--variant", metavar="NAME", help="As the report calls it: 'CNN 8 partial'.")
]
Phase = Annotated[int | None, typer.Option(min=1, help="Of several phases; default: the last.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Default: the experiment's first.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files go.")]


def connect(server: str | None, token: str | None, token_file: Path | None) -> Client:
    """The client a command speaks through."""
    return Client(server, token, token_file=token_file)
