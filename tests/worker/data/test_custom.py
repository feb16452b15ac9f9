import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from worker.data.custom import decode_path
from worker.data.errors import DataError

ImageFolder = Callable[..., Path]


def test_a_folder_without_test_set_is_split_the_same_way_every_time(image_folder: ImageFolder) -> None:
    folder = image_folder("flowers", {"rose": 12, "tulip": 12}, mode="L")
    one, two = decode_path(folder), decode_path(folder)
    assert one.images.shape == (24, 4, 6, 1)
    assert (one.train, one.classes, one.class_names) == (20, 2, ("rose", "tulip"))
    assert np.array_equal(one.images, two.images)
    assert 0 < one.labels[:12].sum() < 12


def test_one_coloured_image_makes_all_coloured(image_folder: ImageFolder) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3}, mode="L")
    Image.new("RGBA", (6, 4)).save(folder / "rose" / "0.png")
    assert decode_path(folder).images.shape == (6, 4, 6, 3)


def test_images_of_different_sizes_name_the_file(image_folder: ImageFolder) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    Image.new("RGB", (5, 4)).save(folder / "tulip" / "1.png")
    with pytest.raises(DataError, match=r"\.png has .*one size"):
        decode_path(folder)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_an_unreadable_image_names_the_file(image_folder: ImageFolder, content: bytes) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    (folder / "tulip" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=r"tulip/1\.png is no readable image"):
        decode_path(folder)


def test_an_image_too_large_is_refused(image_folder: ImageFolder) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    Image.new("L", (20_000, 2)).save(folder / "rose" / "0.png")
    with pytest.raises(DataError, match="scale it"):
        decode_path(folder)


def test_sixteen_bit_images_are_refused(image_folder: ImageFolder) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    Image.new("I;16", (6, 4)).save(folder / "rose" / "0.png")
    with pytest.raises(DataError, match="convert it to 8"):
        decode_path(folder)


@pytest.mark.parametrize("classes", [{"only": 3}, {"train/a": 1, "train/b": 1, "test/a": 1, "test/c": 1}])
def test_folders_that_are_no_data_set_are_refused(image_folder: ImageFolder, classes: dict[str, int]) -> None:
    with pytest.raises(DataError, match="class"):
        decode_path(image_folder("flowers", classes))


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "b").mkdir()
    with pytest.raises(DataError, match="no images"):
        decode_path(tmp_path / "set")


def test_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither"):
        decode_path(tmp_path / "nothing")


def save(path: Path, **arrays: NDArray[np.generic]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 1), (6, 1, 4, 5)])
def test_npz_with_a_test_set_keeps_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    labels = np.array([0, 1, 2, 0, 1, 2], np.uint8)
    images = pixels(*shape)
    path = save(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels[:, None])
    decoded = decode_path(path)
    assert decoded.images.shape == (12, 4, 5, 1)
    assert (decoded.train, decoded.classes) == (6, 3)
    assert np.array_equal(decoded.images.reshape(12, -1)[:6], images.reshape(6, -1))


def test_npz_without_a_test_set_is_split(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=pixels(12, 4, 4, 3), labels=np.arange(12) % 2)
    assert decode_path(path).train == 10


GOOD: dict[str, NDArray[np.generic]] = {"images": pixels(6, 4, 4, 3), "labels": np.arange(6) % 2}


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"images": pixels(6, 4, 4, 3) / 255}, "uint8"),
        ({"images": pixels(6, 4, 4, 7)}, "shape"),
        ({"images": pixels(6, 4)}, "shape"),
        ({"images": pixels(5, 4, 4, 3)}, "one integer"),
        ({"labels": np.arange(6) / 2}, "one integer"),
        ({"labels": np.arange(6) - 1}, "from 0"),
        ({"labels": np.arange(6) * 10**6}, "below"),
        ({"images": np.array([{}], dtype=object)}, "without objects"),
    ],
)
def test_unusable_npz_says_what_to_change(tmp_path: Path, changes: dict[str, NDArray[np.generic]], remedy: str) -> None:
    with pytest.raises(DataError, match=remedy):
        decode_path(save(tmp_path / "a.npz", **(GOOD | changes)))


def test_hostile_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match="cannot be read"):
        decode_path(path)

    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", huge.getvalue())
        archive.writestr("labels.npy", huge.getvalue())
    with pytest.raises(DataError, match="cannot be read"):
        decode_path(path)

    save(path, other=pixels(2, 2))
    with pytest.raises(DataError, match="x_train"):
        decode_path(path)
