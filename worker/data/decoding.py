"""Decoders of the built-in data sets: files in, arrays out."""

import gzip
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from worker.data.catalogue import IDX_FILES, PARQUET_FILES, CatalogueEntry
from worker.data.errors import DataError
from worker.data.store import Decoded, Images, Labels

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
MAXIMAL_SIDE = 4096
IDX_LIMIT = 1 << 32


def shuffled(count: int) -> Labels:
    """A fixed permutation. It sorts raw PCG64 output, which, unlike ``permutation``, no release of numpy changes."""
    return np.argsort(np.random.PCG64(0).random_raw(count), kind="stable").astype(np.int64)


def decode_digits(entry: CatalogueEntry) -> Decoded:
    """scikit-learn's 8 x 8 digits, 0..16 scaled to 0..255, shuffled once; the last 360 are the test set."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = shuffled(len(bunch.images))
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[order][..., None]
    return Decoded(images, bunch.target.astype(np.int64)[order], entry.train, entry.classes)


def idx_files(folder: Path) -> dict[tuple[str, str], Path] | None:
    """The four IDX files of a folder, gzipped or not; None if one is missing."""
    found = {}
    for key, name in IDX_FILES.items():
        paths = [folder / candidate for candidate in (name, f"{name}.gz") if (folder / candidate).is_file()]
        if not paths:
            return None
        found[key] = paths[0]
    return found


def parquet_files(folder: Path) -> dict[str, Path] | None:
    """The two Parquet files of a folder; None if one is missing."""
    found = {split: folder / name for split, name in PARQUET_FILES.items()}
    return found if all(path.is_file() for path in found.values()) else None


def decode_idx(entry: CatalogueEntry, files: dict[tuple[str, str], Path]) -> Decoded:
    """IDX files of the MNIST family."""
    images = [_read_idx(files[split, "images"], 3) for split in ("train", "test")]
    labels = [_read_idx(files[split, "labels"], 1) for split in ("train", "test")]
    if len({part.shape[1:] for part in images}) != 1:
        raise DataError(f"{files['train', 'images'].parent}: training and test images differ in size")
    return Decoded(
        np.concatenate(images)[..., None], np.concatenate(labels).astype(np.int64), len(images[0]), entry.classes
    )


def _read_idx(path: Path, dimensions: int) -> Images:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(IDX_LIMIT)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; fetch it again") from error
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < start:
        raise DataError(f"{path} is no IDX file of {dimensions}-dimensional bytes; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    count = 1
    for size in shape:
        count *= size
    if len(content) - start != count:
        raise DataError(f"{path} holds {len(content) - start} bytes, its header says {count}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def decode_parquet(entry: CatalogueEntry, files: dict[str, Path]) -> Decoded:
    """Parquet files with encoded images, columns img or image = {bytes, path} and a label."""
    parts = [_read_parquet(files[split], entry) for split in ("train", "test")]
    return Decoded(
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        len(parts[0][0]),
        entry.classes,
    )


def _read_parquet(path: Path, entry: CatalogueEntry) -> tuple[Images, Labels]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        column = next((name for name in ("img", "image") if name in names), None)
        if column is None or entry.label_column not in names:
            raise DataError(f"{path} has the columns {names}; expected are img or image, and {entry.label_column}")
        table = pq.read_table(path, columns=[column, entry.label_column])
        encoded = table.column(column).combine_chunks().field("bytes").to_pylist()
        labels = table.column(entry.label_column).to_numpy().astype(np.int64)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; fetch it again") from error
    channels, height, width = entry.shape
    images = np.empty((len(encoded), height, width, channels), np.uint8)
    for number, content in enumerate(encoded):
        pixels = decode_image(content or b"", f"{path}, image {number}", grey=channels == 1)
        if pixels.shape != images.shape[1:]:
            raise DataError(f"{path}, image {number} is {pixels.shape}, expected is {images.shape[1:]}; fetch it again")
        images[number] = pixels
    return images, labels


@contextmanager
def opened_image(source: Path | BytesIO, where: str) -> Iterator[Image.Image]:
    """An image whose header has been looked at, its pixels not yet. Raises DataError, also for what it is used for."""
    try:
        with warnings.catch_warnings():
            # Its size is told in one line below, and not by a warning before it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source, formats=FORMATS)
        with image:
            if max(image.size) > MAXIMAL_SIDE:
                raise DataError(f"{where} has {image.size[0]} x {image.size[1]} pixels; scale it below {MAXIMAL_SIDE}")
            yield image
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{where} is no readable image ({error}); replace or remove it") from error


def decode_image(content: bytes, where: str, grey: bool) -> Images:
    """One encoded image as (H, W, 1) if ``grey``, else (H, W, 3)."""
    with opened_image(BytesIO(content), where) as image:
        if image.mode.startswith(("I", "F")):
            raise DataError(f"{where} has more than 8 bits a channel; convert it to 8")
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels
