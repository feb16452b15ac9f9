"""data: the data sets on this machine, as its workers see them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from client.connection import datasets_folder, stagetune_home
from client.console import note, plain, say, say_json
from client.errors import BadUsage
from client.options import Json
from client.rendering.lists import shape, table

data = typer.Typer(name="data", no_args_is_help=True, help="Data sets on this machine, for its workers.")


@data.command("list")
def list_(json: Json = False) -> None:
    """List the data sets that workers on this machine hold."""
    from worker.data import available

    found = available(stagetune_home(), datasets_folder())
    if json:
        say_json([_facts(info) for info in found])
        return
    made = table("name", "images", "classes", "train", "test", "digest", right=("classes", "train", "test"))
    for info in found:
        made.add_row(
            plain(info.name), shape(info.shape), str(info.classes), str(info.train), str(info.test), info.digest[:12]
        )
    say(made)


@data.command()
def add(
    name: Annotated[str, typer.Argument(help="What submissions call it.")],
    path: Annotated[Path, typer.Argument(help="train/ and test/ with a folder per class, or an .npz file.")],
    json: Json = False,
) -> None:
    """Register an image folder or .npz file for the workers of this machine."""
    from worker.data import DataError, register

    try:
        info = register(name, path, stagetune_home())
    except DataError as error:
        raise BadUsage(str(error)) from None
    _tell(info, json)


@data.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A built-in data set, such as cifar10.")], json: Json = False
) -> None:
    """Download a built-in data set and check it."""
    from worker.data import DataError, fetch

    try:
        info = fetch(name, stagetune_home())
    except DataError as error:
        raise BadUsage(str(error)) from None
    _tell(info, json)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(data)


def _tell(info: Any, json: bool) -> None:
    if json:
        say_json(_facts(info))
        return
    images = f"{info.train:,} training and {info.test:,} test images of {shape(info.shape)}"
    say(f"{info.name}: {images}, {info.classes} classes")
    note("workers of this machine offer it before their next task, those that run already too")


def _facts(info: Any) -> dict[str, object]:
    return {
        "name": info.name, "digest": info.digest, "shape": list(info.shape), "classes": info.classes,
        "train": info.train, "test": info.test,
    }  # fmt: skip
