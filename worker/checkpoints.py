"""Stage checkpoints: safetensors bytes named by their SHA-256, checked by our own hands before use, never unpickled."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from worker.files import write_whole
from worker.training.heads import HEADS
from worker.training.network import StageNetwork
from worker.training.spec import Conv, Layer, Pool, Shape, Stage

FORMAT = "stagetune-stage-1"
METADATA = "stagetune"
MAXIMAL_HEADER = 1 << 20
MAXIMAL_TENSORS = 10_000
DTYPES = {"F32": torch.float32}
DEFAULT_STORE_BYTES = 4 << 30


class CheckpointError(Exception):
    """The bytes are no stage checkpoint of this format, or not of the stage that was asked for."""


@dataclass(frozen=True)
class StageCheckpoint:
    """A trained stage: what it is, and its network in eval mode on the CPU."""

    digest: str
    network: StageNetwork

    @property
    def stage(self) -> Stage:
        """The layers and shapes of the stage."""
        return self.network.stage


def content_address(content: bytes) -> str:
    """The SHA-256 that names these bytes."""
    return hashlib.sha256(content).hexdigest()


def pack(network: StageNetwork) -> bytes:
    """Weights, head, norms and input statistics of a stage. The same network gives the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    document = {
        "format": FORMAT,
        "classes": network.classes,
        "head": network.head_name,
        "stage": _stage_document(network.stage),
    }
    # One key only: safetensors writes several in an order that changes from process to process.
    return save(tensors, metadata={METADATA: json.dumps(document, sort_keys=True)})


def unpack(content: bytes, expected: Stage | None = None) -> StageCheckpoint:
    """The stage in these bytes. Raises CheckpointError unless every byte is accounted for."""
    header = _header(content)
    document = _document(header.pop("__metadata__", None))
    stage = _stage(document)
    if expected is not None and stage != expected:
        raise CheckpointError(f"the checkpoint holds {stage}, expected is {expected}")
    classes, head = document.get("classes"), document.get("head")
    if type(classes) is not int or not 1 <= classes <= 100_000 or type(head) is not str or head not in HEADS:
        raise CheckpointError(f"the checkpoint has the head {head!r} for {classes!r} classes")
    shapes = _check_layout(header, len(content) - 8 - int.from_bytes(content[:8], "little"))
    try:
        with torch.device("meta"):
            network = StageNetwork(stage, classes, head)
    except RuntimeError as error:
        raise CheckpointError(f"no machine could hold the checkpoint's stage: {error}") from error
    _check_shapes(shapes, network)
    tensors = load(content)
    mean = tensors.pop("input_mean")
    std = tensors.pop("input_std")
    network.load_state_dict(tensors, strict=False, assign=True)
    network.input_mean, network.input_std = mean, std
    if not all(bool(value.isfinite().all()) for value in (*tensors.values(), mean, std)) or not bool((std > 0).all()):
        raise CheckpointError("the checkpoint holds values that are not finite")
    if any(bool((value < 0).any()) for name, value in tensors.items() if name.endswith("running_var")):
        raise CheckpointError("the checkpoint holds negative variances")
    return StageCheckpoint(content_address(content), network.eval())


def _header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= MAXIMAL_HEADER or 8 + length > len(content):
        raise CheckpointError(f"the checkpoint's header of {length} bytes does not fit {len(content)} bytes")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the checkpoint's header is no JSON: {error}") from error
    if not isinstance(header, dict) or len(header) > MAXIMAL_TENSORS + 1:
        raise CheckpointError("the checkpoint's header is no list of tensors of a sensible length")
    return header


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _document(metadata: object) -> dict[str, Any]:
    try:
        document = json.loads(metadata[METADATA])  # type: ignore[index]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError("the checkpoint does not say what stage it holds") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"the checkpoint is not of the format {FORMAT}")
    return document


def _check_layout(header: dict[str, Any], data_bytes: int) -> dict[str, tuple[int, ...]]:
    """Tensor shapes by name, once the tensors are known to cover the data exactly and without overlap."""
    spans, shapes = [], {}
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(value) is int and value >= 0 for value in (*shape, start, stop))
            sound = whole and len(shape) <= 8 and stop - start == math.prod(shape) * DTYPES[dtype].itemsize
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's tensor {name!r} is not described as it should be") from error
        if not sound:
            raise CheckpointError(f"the checkpoint's tensor {name!r} has a size that is not its shape's")
        spans.append((start, stop))
        shapes[name] = shape
    position = 0
    for start, stop in sorted(spans):
        if start != position:
            raise CheckpointError("the checkpoint's tensors overlap or leave gaps")
        position = stop
    if position != data_bytes:
        raise CheckpointError(f"the checkpoint's tensors cover {position} of {data_bytes} bytes")
    return shapes


def _check_shapes(shapes: dict[str, tuple[int, ...]], network: StageNetwork) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    channels = network.stage.input_shape[0]
    if shapes.get("input_mean") in ((channels, 1, 1), network.stage.input_shape):
        wanted["input_mean"] = shapes["input_mean"]
    if shapes != wanted:
        odd = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
        raise CheckpointError(f"the checkpoint's tensors are not those of its stage: {', '.join(odd[:5])}")


def _stage_document(stage: Stage) -> dict[str, object]:
    layers = [{"kind": type(layer).__name__.lower(), **asdict(layer)} for layer in stage.layers]
    document: dict[str, object] = {
        "layers": layers,
        "input_shape": stage.input_shape,
        "output_shape": stage.output_shape,
    }
    # Left out where there are none, so that checkpoints keep the names they had before there were norms.
    if stage.norms:
        document["norms"] = stage.norms
    return document


def _stage(document: dict[str, Any]) -> Stage:
    try:
        stage = document["stage"]
        layers = tuple(_layer(layer) for layer in stage["layers"])
        return Stage(layers, _shape(stage["input_shape"]), _shape(stage["output_shape"]), _norms(stage))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint describes no possible stage: {error}") from error


def _layer(document: dict[str, Any]) -> Layer:
    sizes = {key: value for key, value in document.items() if key != "kind"}
    if not all(type(value) is int and 1 <= value <= 100_000 for value in sizes.values()):
        raise ValueError(f"{document} is no layer")
    kinds: dict[str, type[Layer]] = {"conv": Conv, "pool": Pool}
    return kinds[document["kind"]](**sizes)


def _norms(document: dict[str, Any]) -> tuple[int, ...]:
    norms = document.get("norms", ())
    if not all(type(number) is int for number in norms):
        raise ValueError(f"norms are numbers of layers, not {norms}")
    return tuple(norms)


def _shape(values: Any) -> Shape:
    channels, height, width = values
    if not all(type(value) is int and 1 <= value <= 1 << 20 for value in (channels, height, width)):
        raise ValueError(f"{values} is no shape")
    return channels, height, width


class CheckpointStore:
    """A folder of checkpoints named by content; beyond ``capacity`` bytes the least recently used go."""

    def __init__(self, directory: Path, capacity: int = DEFAULT_STORE_BYTES) -> None:
        self.directory = directory
        self.capacity = capacity
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Keep these bytes; their SHA-256. Readers see all of them or none."""
        digest = content_address(content)
        if not self.has(digest):
            write_whole(self._file(digest), content)
            self.make_room(digest)
        return digest

    def has(self, digest: str) -> bool:
        """Whether the bytes of this name are here."""
        return self._file(digest).is_file()

    def path(self, digest: str) -> Path:
        """The file of this name. Raises CheckpointError if it is not here."""
        if not self.has(digest):
            raise CheckpointError(f"there is no checkpoint {digest} here")
        with suppress(OSError):
            os.utime(self._file(digest))
        return self._file(digest)

    def read(self, digest: str) -> bytes:
        """The bytes of this name. Raises CheckpointError if they are not here or are no longer those."""
        content = self.path(digest).read_bytes()
        if content_address(content) != digest:
            self._file(digest).unlink(missing_ok=True)
            raise CheckpointError(f"the checkpoint {digest} was damaged and is thrown away")
        return content

    def make_room(self, kept: str) -> None:
        """Let the least recently used go until the rest fits, but not ``kept``."""
        files = sorted(self._files())
        excess = sum(size for _, size, _ in files) - self.capacity
        for _, size, file in files:
            if excess <= 0:
                return
            if file != self._file(kept):
                file.unlink(missing_ok=True)
                excess -= size

    def _file(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise CheckpointError(f"{digest!r} is no SHA-256")
        return self.directory / f"{digest}.safetensors"

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for file in self.directory.glob("*.safetensors"):
            with suppress(FileNotFoundError):
                found = file.stat()
                yield found.st_mtime, found.st_size, file
