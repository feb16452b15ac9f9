"""Decoded data sets on disk: uint8 images and int64 labels as .npy, memory-mapped, beside a manifest."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from worker.data.errors import DataError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
ARRAYS = ("images.npy", "labels.npy")


@dataclass(frozen=True)
class Decoded:
    """Images (N, H, W, C) and labels (N,), the training images first."""

    images: Images
    labels: Labels
    train: int
    classes: int
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is, without its arrays. ``shape`` is (channels, height, width)."""

    name: str
    digest: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    source: str


@dataclass(frozen=True)
class Dataset:
    """A data set open for reading; ``images`` is a memory map of shape (N, H, W, C).

    ``class_names`` are by label, or empty where nobody named the classes.
    """

    info: DatasetInfo
    images: Images
    labels: Labels
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """A file that was decoded, as it was then."""

    path: str
    size: int
    mtime_ns: int
    sha256: str

    def untouched(self) -> bool:
        """Whether size and time of modification are still the same."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True)
class Manifest:
    """What stands beside the arrays; ``folder`` holds them."""

    info: DatasetInfo
    folder: str
    sources: tuple[SourceFile, ...]
    class_names: tuple[str, ...] = ()


def content_digest(decoded: Decoded) -> str:
    """SHA-256 over shape, type, border between training and test, pixels and labels."""
    hasher = hashlib.sha256()
    images, labels = np.ascontiguousarray(decoded.images), np.ascontiguousarray(decoded.labels)
    header: dict[str, object] = {"shape": images.shape, "images": "uint8", "labels": "int64"}
    header |= {"train": decoded.train, "classes": decoded.classes}
    hasher.update(json.dumps(header, sort_keys=True).encode() + b"\n")
    for view in (memoryview(images.reshape(-1)), memoryview(labels.reshape(-1)).cast("B")):  # type: ignore[arg-type]
        hasher.update(view)
    return hasher.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_source(path: Path) -> SourceFile:
    """A source file as it is now."""
    found = path.stat()
    return SourceFile(str(path), found.st_size, found.st_mtime_ns, file_sha256(path))


def root(home: Path) -> Path:
    """The folder of all decoded data sets."""
    folder = home / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def dataset_lock(home: Path, name: str) -> FileLock:
    """One process at a time decodes a data set; the others find it done."""
    return FileLock(root(home) / f".{name}.lock")


def read_manifest(home: Path, name: str) -> Manifest | None:
    """The manifest of a decoded data set whose arrays are there."""
    folder = root(home) / name
    try:
        document: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        info = document["info"] | {"shape": tuple(document["info"]["shape"])}
        manifest = Manifest(
            info=DatasetInfo(**info),
            folder=document["folder"],
            sources=tuple(SourceFile(**source) for source in document["sources"]),
            class_names=tuple(document["class_names"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    arrays = folder / manifest.folder
    return manifest if all((arrays / file_name).exists() for file_name in ARRAYS) else None


def stored_names(home: Path) -> list[str]:
    """The names of all decoded data sets."""
    return sorted(path.parent.name for path in root(home).glob("*/manifest.json"))


def write_manifest(home: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step."""
    folder = root(home) / manifest.info.name
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".manifest-", delete=False) as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / "manifest.json")


def store(home: Path, name: str, decoded: Decoded, source: str, sources: tuple[SourceFile, ...]) -> Manifest:
    """Write arrays and manifest; readers see the old data set or the new one, never half of it."""
    check_decoded(name, decoded)
    height, width, channels = decoded.images.shape[1:]
    digest = content_digest(decoded)
    info = DatasetInfo(
        name=name,
        digest=digest,
        shape=(channels, height, width),
        classes=decoded.classes,
        train=decoded.train,
        test=len(decoded.images) - decoded.train,
        source=source,
    )
    folder = root(home) / name
    folder.mkdir(exist_ok=True)
    final = folder / digest[:16]
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".decoding-"))
    arrays: tuple[Images | Labels, ...] = (decoded.images, decoded.labels)
    try:
        for file_name, array in zip(ARRAYS, arrays, strict=True):
            with (scratch / file_name).open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        # File by file, since an earlier copy may lack one; the folder's name says that their content is the same.
        final.mkdir(exist_ok=True)
        for file_name in ARRAYS:
            (scratch / file_name).replace(final / file_name)
    except OSError as error:
        raise DataError(f"{name} cannot be written to {folder}: {error}; make room or set STAGETUNE_HOME") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    manifest = Manifest(info, final.name, sources, decoded.class_names)
    write_manifest(home, manifest)
    return manifest


def load(home: Path, manifest: Manifest) -> Dataset:
    """Memory-map a decoded data set. Raises DataError where files are missing, cannot be read or are too short."""
    info = manifest.info
    arrays = root(home) / info.name / manifest.folder
    channels, height, width = info.shape
    try:
        # Copy-on-write maps count as writable, which torch wants, and never change the file.
        images = np.load(arrays / ARRAYS[0], mmap_mode="c", allow_pickle=False)
        labels = np.load(arrays / ARRAYS[1], allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{info.name} is damaged ({error}); delete {arrays.parent} and start again") from error
    count = info.train + info.test
    if images.shape != (count, height, width, channels) or images.dtype != np.uint8 or labels.shape != (count,):
        raise DataError(f"{info.name} is damaged (shape {images.shape}); delete {arrays.parent} and start again")
    return Dataset(info, images, labels, manifest.class_names)


def check_decoded(name: str, decoded: Decoded) -> None:
    """Raise DataError unless images and labels make a data set that can be trained on."""
    images, labels = decoded.images, decoded.labels
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != (len(images),):
        raise DataError(f"{name}: {images.shape} {images.dtype} images and {labels.shape} labels do not fit together")
    if not 1 <= decoded.train < len(images):
        test = len(images) - decoded.train
        raise DataError(f"{name} has {decoded.train} training and {test} test images; both are needed")
    if decoded.classes < 2:
        raise DataError(f"{name} has {decoded.classes} class; give it images of at least two")
    if labels.min() < 0 or labels.max() >= decoded.classes:
        last = decoded.classes - 1
        raise DataError(f"{name}: labels reach from {labels.min()} to {labels.max()}, allowed are 0 to {last}")
