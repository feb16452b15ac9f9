"""tsne and export: pictures of what the stages of finished networks see, and the networks as files."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from client.api import Client
from client.console import errors, note, plain, say, say_json
from client.errors import BadUsage
from client.exitcodes import ExitCode
from client.options import Folder, Json, Phase, Reference, Seed, Server, Token, TokenFile, VariantName, connect
from client.rendering.text import accuracy, duration, plural, short
from client.variants import choice_of, file_name, find_variant, label, lines_of_phase, run_name
from contract.experiments import Report, VariantLine
from contract.networks import Embedding, EmbeddingRequest

LOOK_SECONDS = 1.0
QUIET_SECONDS = 15.0


@dataclass(frozen=True)
class Wanted:
    """A variant and the embedding that was asked for."""

    name: str
    embedding: Embedding


def tsne(
    reference: Reference,
    variant: VariantName = None,
    all: Annotated[bool, typer.Option("--all", help="Every complete variant.")] = False,
    points: Annotated[
        int | None, typer.Option(min=4, help="Of the test set, as many of each class; default: up to 2000.")
    ] = None,
    perplexity: Annotated[float, typer.Option(min=1, help="About how many neighbours count.")] = 30.0,
    seed: Seed = None,
    phase: Phase = None,
    output_folder: Folder = Path(),
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until the pictures are there.")] = True,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Embed the features of every stage with t-SNE on a worker, and write pictures and coordinates.

    The same call again asks for nothing new: with --no-wait first, it collects what was computed meanwhile.
    """
    with connect(server, token, token_file) as client:
        experiment = client.resolve(reference)
        report = client.report(experiment)
        lines = _lines(report, variant, all, phase)
        wanted = []
        for line in lines:
            request = EmbeddingRequest(**choice_of(line, seed).model_dump(), points=points, perplexity=perplexity)
            wanted.append(Wanted(label(line), client.embed(experiment, request)))
        if wait:
            wanted = _wait(client, experiment, wanted)
        files = {item.name: _write(client, report, item, output_folder) for item in wanted}
    if json:
        told = [item.embedding.model_dump(mode="json") | {"files": files[item.name]} for item in wanted]
        say_json(told)
    else:
        for item in wanted:
            say(f"{item.name}: {_state(item.embedding)}" + "".join(f"\n  {file}" for file in files[item.name]))
        if any(item.embedding.state in ("waiting", "running") for item in wanted):
            note("the same command without --no-wait writes the pictures once they are computed")
    if any(item.embedding.state in ("failed", "cancelled") for item in wanted):
        raise typer.Exit(ExitCode.FAILED)


def export(
    reference: Reference,
    variant: VariantName = None,
    seed: Seed = None,
    phase: Phase = None,
    output_folder: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: a folder named after the variant.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Write model.onnx as well, and compare it.")] = True,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Write a finished variant as safetensors, configuration, model card and ONNX; client.exported loads it again."""
    from client import exporting

    with connect(server, token, token_file) as client:
        experiment = client.resolve(reference)
        report = client.report(experiment)
        line = find_variant(report, variant, phase)
        network = client.network(experiment, choice_of(line, seed))
        own = Path(file_name(run_name(report, label(line), network.phase, network.seed)))
        made = exporting.export(client, network, output_folder or own, onnx=onnx)
    if json:
        check = made.onnx and {"max_abs_difference": made.onnx.difference, "images": made.onnx.images}
        say_json({"folder": str(made.folder), "files": made.files, "onnx": check})
        return
    tested = "not tested" if network.test_accuracy is None else f"test accuracy {accuracy(network.test_accuracy)}"
    say(f"{network.variant}, seed {network.seed}, {tested}: {made.folder}")
    for name in made.files:
        say(f"  {name}")
    if made.onnx is not None:
        say(f"largest difference of model.onnx: {made.onnx.difference:.1e} over {made.onnx.images} {made.onnx.kind}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(tsne)
    app.command()(export)


def _lines(report: Report, name: str | None, all: bool, phase: int | None) -> list[VariantLine]:
    if not all:
        return [find_variant(report, name, phase)]
    if name is not None:
        raise BadUsage("--variant and --all exclude each other")
    complete = [line for line in lines_of_phase(report, phase) if line.state == "complete"]
    if not complete:
        raise BadUsage(
            f"no variant is complete yet; `stagetune watch {short(report.experiment)}` shows how far they are"
        )
    return complete


def _wait(client: Client, experiment: UUID, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Look until every embedding has ended, and say how far they are."""
    said, said_at = "", time.monotonic()
    found = list(wanted)
    status = errors().status("t-SNE") if errors().is_terminal else None
    try:
        if status is not None:
            status.start()
        while True:
            states = {item.id: item for item in client.embeddings(experiment)}
            found = [Wanted(item.name, states.get(item.embedding.id, item.embedding)) for item in found]
            open_ones = [item for item in found if item.embedding.state in ("waiting", "running")]
            if not open_ones:
                return found
            line = _progress(client, found, open_ones)
            if status is not None:
                status.update(plain(line))
            elif line != said or time.monotonic() - said_at > QUIET_SECONDS:
                said, said_at = line, time.monotonic()
                note(line)
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        note("stopped waiting; the workers go on, and the same command collects what they bring")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        if status is not None:
            status.stop()


def _progress(client: Client, found: Sequence[Wanted], open_ones: Sequence[Wanted]) -> str:
    running = [item.name for item in open_ones if item.embedding.state == "running"]
    if running:
        doing = f"computing {', '.join(running)}"
    elif any(worker.state == "online" for worker in client.workers()):
        doing = "waiting for a worker that is free"
    else:
        doing = "no worker is connected: `stagetune worker` starts one"
    return f"{len(found) - len(open_ones)} of {plural(len(found), 'embedding')} done; {doing}"


def _write(client: Client, report: Report, item: Wanted, folder: Path) -> list[str]:
    """The files of a finished embedding; none of another."""
    if item.embedding.state != "finished":
        return []
    from client.rendering.canvas import png, svg
    from client.rendering.embedding import draw_embedding, write_coordinates

    embedding = client.embedding(report.experiment, item.embedding.id)
    title = f"{item.name}: t-SNE of {embedding.points:,} test images, perplexity {embedding.perplexity:g}"
    figure = draw_embedding(embedding, title)
    stem = folder / file_name("tsne", run_name(report, item.name, embedding.phase, embedding.seed))
    contents = {".svg": svg(figure).encode(), ".png": png(figure), ".csv": write_coordinates(embedding).encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in contents.items():
            stem.with_name(stem.name + ending).write_bytes(content)
    except OSError as error:
        raise BadUsage(f"cannot write {folder}: {error.strerror}") from None
    return [str(stem.with_name(stem.name + ending)) for ending in contents]


def _state(embedding: Embedding) -> str:
    if embedding.state == "finished":
        what = f"{plural(embedding.points, 'point')}, {plural(len(embedding.stages), 'stage')}"
        return f"{what}, {duration(embedding.seconds)}"
    return f"{embedding.state}: {embedding.failure}" if embedding.failure else embedding.state
