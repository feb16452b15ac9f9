"""Decoders of what users register: image folders and .npz."""

import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from worker.data.decoding import MAXIMAL_SIDE, decode_image, opened_image, shuffled
from worker.data.errors import DataError
from worker.data.store import Decoded, Images, Labels

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
MAXIMAL_CLASSES = 10_000
MAXIMAL_BYTES = 1 << 36
MAXIMAL_RATIO = 200
"""How much smaller than its content a member of an .npz file may be: deflate reaches a thousand on zeros."""
TEST_SHARE = 6
"""One in so many images becomes a test image where the source has no test set."""

NPZ_KEYS = (
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
    (("images", "labels"), ("test_images", "test_labels")),
)

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def decode_path(path: Path) -> Decoded:
    """An image folder or an .npz file."""
    if path.is_dir():
        return decode_folder(path)
    if path.suffix == ".npz" and path.is_file():
        return decode_npz(path)
    raise DataError(f"{path} is neither a folder of images nor an .npz file; see `stagetune data add --help`")


def decode_folder(path: Path) -> Decoded:
    """``path/{train,test}/class/image`` or ``path/class/image``, the latter split here."""
    if (path / "train").is_dir() and (path / "test").is_dir():
        names = _class_names(path / "train")
        unknown = set(_class_names(path / "test")) - set(names)
        if unknown:
            raise DataError(f"{path}/test has classes that train has not: {', '.join(sorted(unknown))}")
        train_files = _image_files(path / "train", names)
        files = train_files + _image_files(path / "test", names)
        train = len(train_files)
    else:
        names = _class_names(path)
        files = _image_files(path, names)
        files = [files[number] for number in shuffled(len(files))]
        train = len(files) - max(1, len(files) // TEST_SHARE)
    if not files:
        raise DataError(f"{path} has no images; expected is {path}/class/image.png or {path}/train/class/image.png")
    _refuse_links_out(path, [file for file, _ in files])
    grey = all(_is_grey(file) for file, _ in files)
    first = decode_image(files[0][0].read_bytes(), str(files[0][0]), grey)
    _check_bytes(path, len(files) * first.size)
    images = np.empty((len(files), *first.shape), np.uint8)
    for number, (file, _) in enumerate(files):
        pixels = decode_image(file.read_bytes(), str(file), grey)
        if pixels.shape != first.shape:
            raise DataError(
                f"{file} has {pixels.shape[1]} x {pixels.shape[0]} pixels, the first image {first.shape[1]} x "
                f"{first.shape[0]}; bring all images to one size"
            )
        images[number] = pixels
    labels = np.array([label for _, label in files], np.int64)
    return Decoded(images, labels, train, len(names), tuple(names))


def _class_names(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not 2 <= len(names) <= MAXIMAL_CLASSES:
        raise DataError(f"{folder} has {len(names)} class folders; needed are 2 to {MAXIMAL_CLASSES} with images")
    return names


def _image_files(folder: Path, names: list[str]) -> list[tuple[Path, int]]:
    return [
        (file, label)
        for label, name in enumerate(names)
        if (folder / name).is_dir()
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in SUFFIXES and file.is_file()
    ]


def _refuse_links_out(path: Path, files: list[Path]) -> None:
    """A folder that somebody else made must not pull in what lies elsewhere on this machine."""
    inside = path.resolve()
    for file in files:
        if not file.resolve().is_relative_to(inside):
            raise DataError(f"{file} is a link to {file.resolve()}, outside of {path}; put a copy in its place")


def _is_grey(file: Path) -> bool:
    with opened_image(file, str(file)) as image:
        return image.mode in ("1", "L")


def decode_npz(path: Path) -> Decoded:
    """uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W) and integer labels, under the usual names."""
    arrays = _read_npz(path)
    for train_keys, test_keys in NPZ_KEYS:
        if all(key in arrays for key in train_keys):
            images, labels = _checked(path, arrays, *train_keys)
            if all(key in arrays for key in test_keys):
                test_images, test_labels = _checked(path, arrays, *test_keys)
                if images.shape[1:] != test_images.shape[1:]:
                    sizes = f"{images.shape[1:]} and {test_images.shape[1:]}"
                    raise DataError(f"{path}: training and test images differ, {sizes}; bring them to one size")
                train = len(images)
                images, labels = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
            else:
                order = shuffled(len(images))
                images, labels = images[order], labels[order]
                train = len(images) - max(1, len(images) // TEST_SHARE)
            return Decoded(images, labels, train, int(labels.max()) + 1)
    raise DataError(
        f"{path} has none of the arrays x_train, y_train, x_test, y_test, or images and labels; "
        "save them under these names"
    )


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    wanted = {key for pairs in NPZ_KEYS for pair in pairs for key in pair}
    try:
        with zipfile.ZipFile(path) as zipped:
            _check_members(path, zipped.infolist())
            for member in zipped.infolist():
                if member.filename.removesuffix(".npy") in wanted:
                    _check_header(zipped, member)
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key in wanted}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{path} cannot be read ({reason}); save it with numpy.savez, without objects") from error


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse (ValueError) an array that is not exactly as large as it says, before numpy makes room for it."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        try:
            shape, _, dtype = _HEADERS[version](file)
        except (SyntaxError, TokenError, RecursionError, TypeError) as error:
            raise ValueError(f"the header of {member.filename[:80]} is none") from error
        held = member.file_size - file.tell()
    if math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{member.filename[:80]} holds {held} bytes, which are no {dtype} of shape {shape}")


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    _check_bytes(path, sum(member.file_size for member in members))
    for member in members:
        if member.file_size > MAXIMAL_RATIO * member.compress_size + 2**20:
            times = member.file_size // max(1, member.compress_size)
            raise DataError(
                f"{path}: {member.filename[:80]} unpacks to {times} times its size; save it with numpy.savez"
            )


def _checked(
    path: Path, arrays: dict[str, NDArray[np.generic]], image_key: str, label_key: str
) -> tuple[Images, Labels]:
    images, labels = arrays[image_key], arrays[label_key]
    if images.dtype != np.uint8:
        raise DataError(f"{path}: {image_key} is {images.dtype}; scale it to 0..255 and convert it to uint8")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    fits = images.ndim == 4 and images.shape[3] in (1, 3) and min(images.shape) >= 1
    if not fits or max(images.shape[1:3]) > MAXIMAL_SIDE:
        found = arrays[image_key].shape
        raise DataError(f"{path}: {image_key} has shape {found}; expected is (N, H, W) or (N, H, W, 1 or 3)")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
        raise DataError(f"{path}: {label_key} is {labels.dtype} {labels.shape}; expected is one integer for each image")
    if labels.min() < 0 or labels.max() >= MAXIMAL_CLASSES:
        raise DataError(f"{path}: {label_key} must count classes from 0 and stay below {MAXIMAL_CLASSES}")
    return np.ascontiguousarray(images).view(np.uint8), labels.astype(np.int64)


def _check_bytes(path: Path, count: int) -> None:
    if count > MAXIMAL_BYTES:
        limit = MAXIMAL_BYTES / 2**30
        raise DataError(f"{path} decodes to {count / 2**30:.0f} GiB, allowed are {limit:.0f}; take fewer images")
