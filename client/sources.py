"""Where a submission can come from."""

from collections.abc import Mapping
from pathlib import Path

from client.errors import BadUsage
from client.http import Body
from contract.submission import MAX_BYTES, Submission

Source = Path | str | Mapping[str, object] | Submission


def read_source(source: Source) -> Body | str:
    """The request body of a submission, or the name of the preset that is meant.

    Files and text go to the server as they are, so that it can name the line of a mistake.
    """
    if isinstance(source, Submission):
        return Body.of_model(source)
    if isinstance(source, Path):
        return _read(source)
    if isinstance(source, Mapping):
        try:
            return Body.of_json(source)
        except (TypeError, ValueError) as error:
            raise BadUsage(f"the submission cannot be written as JSON: {error}") from None
    if "\n" in source or source.lstrip().startswith("{"):
        return Body.of_yaml(source)
    if not source.strip():
        raise BadUsage("the submission is empty: give a file, a preset's name or YAML")
    path = Path(source)
    # A folder may have a preset's name; pipes and devices are read like files.
    if path.exists() and not path.is_dir():
        return _read(path)
    if path.suffix in (".yaml", ".yml", ".json") or len(path.parts) > 1 or source.endswith(("/", ".")):
        raise BadUsage(f"{source} is a folder: name a file in it" if path.is_dir() else f"there is no file {source}")
    return source


def _read(path: Path) -> Body:
    try:
        # A device or a pipe has no size to ask for, and may have no end.
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadUsage(f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise BadUsage(f"{path} is longer than the {MAX_BYTES // 1024:,} KiB that a submission may have")
    if not content.strip():
        raise BadUsage(f"{path} is empty: a submission needs name, dataset and architectures")
    return Body(content, "application/json" if path.suffix == ".json" else "application/yaml")
