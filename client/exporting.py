"""A finished variant as files that stand on their own: weights, configuration, model card, ONNX."""

import json
import logging
import tempfile
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from client.api import Client
from client.connection import datasets_folder, stagetune_home
from client.errors import BadUsage, StagetuneError
from client.exported import CONFIG, CPU, FORMAT, WEIGHTS, ExportedNetwork, load
from client.rendering.card import Check, write_card
from contract.networks import Network
from worker.checkpoints import CheckpointError, unpack
from worker.data import DataError, open_dataset
from worker.stages import stage_of
from worker.training.network import place

CARD, ONNX = "README.md", "model.onnx"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
CHECKED_IMAGES = 256
TOLERANCE = 1e-4
"""Of the largest logit: what another order of summing may change in float32."""


class DoesNotAgree(StagetuneError):
    """An exported file computes something else than the network."""


@dataclass(frozen=True)
class Export:
    """What was written; ``onnx`` is None without that file."""

    folder: Path
    files: list[str]
    onnx: Check | None


def export(client: Client, description: Network, folder: Path, *, onnx: bool = True) -> Export:
    """Write the network into a folder; all of its files or, when anything does not agree, none.

    Of an earlier export in the same folder nothing stays, a ``model.onnx`` neither.

    Raises DoesNotAgree, BadUsage for a folder that cannot be written, and what the client raises.
    """
    lacking = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if onnx and lacking:
        raise BadUsage(f"{ONNX} needs {', '.join(lacking)}: install stagetune[export], or take --no-onnx")
    network = _assemble(client, description)
    pixels, kind = _images(description)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".stagetune-", dir=folder) as made:
            check = _write(network, Path(made), pixels, kind, onnx=onnx)
            files = _move_in(Path(made), folder)
    except OSError as error:
        raise BadUsage(f"cannot write {folder}: {error.strerror or error}") from None
    return Export(folder, files, check)


def _move_in(made: Path, folder: Path) -> list[str]:
    """Put the files of a finished export into its folder, in place of those of an earlier one; their names.

    ``config.json`` goes first and comes last: without it the folder is no export, wherever this was interrupted.
    """
    names = sorted(path.name for path in made.iterdir())
    (folder / CONFIG).unlink(missing_ok=True)
    for stale in {CARD, ONNX, WEIGHTS}.difference(names):
        (folder / stale).unlink(missing_ok=True)
    for name in sorted(names, key=CONFIG.__eq__):
        (made / name).replace(folder / name)
    return names


def _assemble(client: Client, description: Network) -> ExportedNetwork:
    try:
        stages = [
            place(unpack(client.artifact(stage.checkpoint), stage_of(stage.stage)).network, CPU)
            for stage in description.stages
        ]
    except CheckpointError as error:
        raise StagetuneError(f"the server's checkpoint cannot be used: {error}") from None
    return ExportedNetwork(stages, description).eval()


@torch.no_grad()
def _write(network: ExportedNetwork, folder: Path, pixels: Tensor, kind: str, *, onnx: bool) -> Check | None:
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    document = {"format": FORMAT} | network.config.model_dump(mode="json")
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if not torch.equal(load(folder)(pixels), network(pixels)):
        raise DoesNotAgree(f"{WEIGHTS} does not give what the network gives; nothing was written")
    check = None
    if onnx:
        exact = load(folder, "float32")
        _write_onnx(exact, folder / ONNX, pixels)
        difference = _onnx_difference(exact, folder / ONNX, pixels)
        check = Check(difference, len(pixels), kind)
    (folder / CARD).write_text(write_card(network.config, check), encoding="utf-8")
    return check


def _write_onnx(network: ExportedNetwork, path: Path, pixels: Tensor) -> None:
    """Any number of images at a time: ``pixels`` as float32 from 0 to 255 in, ``logits`` out."""
    # The exporter is talkative about packages that it does without.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (pixels[:2].float(),),
            dynamo=True,
            verbose=False,
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            external_data=False,
        )
        assert program is not None
        program.save(path)


def _onnx_difference(network: ExportedNetwork, path: Path, pixels: Tensor) -> float:
    """The largest absolute difference of a logit. Raises DoesNotAgree when it is more than rounding."""
    from onnxruntime import InferenceSession

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = network(pixels)
    found = torch.from_numpy(session.run(None, {"pixels": pixels.float().numpy()})[0])
    difference = float((found - expected).abs().max())
    # Not a number compares as false, and must not pass.
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise DoesNotAgree(f"{ONNX} differs from the network by {difference:.2g}; nothing was written")
    return difference


def _images(description: Network) -> tuple[Tensor, str]:
    """Images to compare with, (n, C, H, W) uint8: of the test set if it is on this machine, else random ones."""
    use = description.dataset
    try:
        dataset = open_dataset(use.name, stagetune_home(), datasets_folder(), use.digest)
    except (DataError, OSError):
        generator = torch.Generator().manual_seed(0)
        shape = (CHECKED_IMAGES, *description.shape)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), "random images"
    images = torch.from_numpy(dataset.images[dataset.info.train :][:CHECKED_IMAGES].copy())
    return images.permute(0, 3, 1, 2), "test images"
