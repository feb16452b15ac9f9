import gzip
import io
import os
import struct
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from worker.data import DataError, available, open_dataset, register
from worker.data import library as library_module
from worker.data.catalogue import CATALOGUE, CatalogueEntry

SMALL_IDX = CatalogueEntry("small-idx", "idx", (1, 4, 4), 10, 8, 3, "someone/small-idx")
SMALL_PARQUET = CatalogueEntry("small-parquet", "parquet", (3, 4, 4), 10, 8, 3, "someone/small", "fine_label")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """STAGETUNE_DATASETS with a small IDX and a small Parquet data set, known to the catalogue."""
    for entry in (SMALL_IDX, SMALL_PARQUET):
        monkeypatch.setitem(CATALOGUE, entry.name, entry)
    random = np.random.default_rng(0)
    idx = tmp_path / "datasets" / SMALL_IDX.name
    idx.mkdir(parents=True)
    for prefix, count in (("train", 8), ("t10k", 3)):
        pixels = random.integers(0, 256, (count, 4, 4), dtype=np.uint8)
        header = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 4, 4)
        (idx / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        labels = bytes(range(count))
        (idx / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, count) + labels)
    parquet = tmp_path / "datasets" / SMALL_PARQUET.name
    parquet.mkdir()
    for split, count in (("train", 8), ("test", 3)):
        images = []
        for number in range(count):
            buffer = io.BytesIO()
            Image.new("RGB", (4, 4), (number, 100, 200)).save(buffer, "PNG")
            images.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"img": images, "fine_label": list(range(count)), "coarse_label": [0] * count})
        pq.write_table(table, parquet / f"{split}-00000-of-00001.parquet")
    return tmp_path / "datasets"


def test_class_names_of_built_in_data_sets_are_as_many_as_their_classes() -> None:
    for entry in CATALOGUE.values():
        assert len(set(entry.class_names)) in (0, entry.classes)
    assert CATALOGUE["cifar10"].class_names[3] == "cat"
    assert list(CATALOGUE["cifar100"].class_names) == sorted(CATALOGUE["cifar100"].class_names)


def test_a_data_set_knows_the_names_of_its_classes(
    home: Path, sources: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    register("flowers", image_folder("flowers", {"rose": 3, "tulip": 3}), home)
    assert open_dataset("flowers", home, None).class_names == ("rose", "tulip")
    assert open_dataset("digits", home, None).class_names == ()
    assert open_dataset(SMALL_IDX.name, home, sources).class_names == ()
    # What was decoded before its names were known is not decoded again for them.
    named = replace(SMALL_IDX, class_names=tuple("abcdefghij"))
    monkeypatch.setitem(CATALOGUE, SMALL_IDX.name, named)
    assert open_dataset(SMALL_IDX.name, home, sources).class_names == named.class_names


def test_digits_are_always_there_and_always_the_same(home: Path) -> None:
    digits = open_dataset("digits", home, None)
    assert digits.info.digest == CATALOGUE["digits"].digest
    assert (digits.info.shape, digits.info.classes, digits.info.train, digits.info.test) == ((1, 8, 8), 10, 1437, 360)
    assert digits.images.shape == (1797, 8, 8, 1)
    assert digits.images.dtype == np.uint8
    assert digits.images.max() == 255
    # Shuffled: every class is in the test set in about its share.
    assert np.bincount(digits.labels[1437:]).min() > 20


def test_a_data_set_is_listed_before_it_is_decoded(home: Path) -> None:
    info = next(info for info in available(home, None) if info.name == "digits")
    assert not (home / "datasets" / "digits").exists()
    assert info == open_dataset("digits", home, None).info
    assert info in available(home, None)


def test_idx_files_are_decoded_gzipped_or_not(home: Path, sources: Path) -> None:
    dataset = open_dataset("small-idx", home, sources)
    assert dataset.images.shape == (11, 4, 4, 1)
    assert dataset.labels.tolist() == [*range(8), *range(3)]


def test_parquet_files_are_decoded(home: Path, sources: Path) -> None:
    dataset = open_dataset("small-parquet", home, sources)
    assert dataset.images[5, 0, 0].tolist() == [5, 100, 200]
    assert dataset.images[8 + 2, 3, 3].tolist() == [2, 100, 200]
    assert dataset.labels.tolist() == [*range(8), *range(3)]
    assert {info.name for info in available(home, sources)} >= {"digits", "small-idx", "small-parquet"}


def test_files_are_decoded_once(home: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_dataset("small-idx", home, sources)

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(library_module, "decode_idx", fail)
    assert open_dataset("small-idx", home, sources).info == first.info
    for file in (sources / "small-idx").iterdir():
        os.utime(file, (1, 1))
    assert open_dataset("small-idx", home, sources).info == first.info
    assert open_dataset("small-idx", home, None).info == first.info


def test_changed_files_are_decoded_again_and_the_digest_tells(home: Path, sources: Path) -> None:
    first = open_dataset("small-idx", home, sources)
    labels = sources / "small-idx" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\0")
    second = open_dataset("small-idx", home, sources)
    assert second.info.digest != first.info.digest
    assert first.labels[7] == 7
    with pytest.raises(DataError, match="wanted is"):
        open_dataset("small-idx", home, sources, digest=first.info.digest)


def test_a_damaged_copy_is_recognised(home: Path, sources: Path) -> None:
    open_dataset("small-idx", home, sources)
    images = next((home / "datasets" / "small-idx").glob("*/images.npy"))
    images.write_bytes(images.read_bytes()[:-8])
    with pytest.raises(DataError, match="damaged"):
        open_dataset("small-idx", home, sources)


@pytest.mark.parametrize(("file", "kept"), [("images.npy", 200), ("images.npy", 0), ("labels.npy", 100)])
def test_a_copy_that_is_visibly_damaged_is_not_announced(
    home: Path, image_folder: Callable[..., Path], caplog: pytest.LogCaptureFixture, file: str, kept: int
) -> None:
    info = register("flowers", image_folder("flowers", {"rose": 6, "tulip": 6}), home)
    assert info in available(home, None)
    (array,) = (home / "datasets" / "flowers").glob(f"*/{file}")
    array.write_bytes(array.read_bytes()[:kept])

    for _ in range(2):
        assert {"digits"} <= {found.name for found in available(home, None)} <= CATALOGUE.keys()

    (line,) = [record.getMessage() for record in caplog.records if "not announced" in record.getMessage()]
    assert "flowers is damaged" in line
    assert str(home / "datasets" / "flowers") in line, "what to delete"


def test_a_copy_that_lacks_a_file_is_made_again(home: Path, sources: Path) -> None:
    for name in ("digits", "small-idx"):
        first = open_dataset(name, home, sources)
        for images in (home / "datasets" / name).glob("*/images.npy"):
            images.unlink()
        again = open_dataset(name, home, sources)
        assert again.info == first.info
        assert np.array_equal(again.images, first.images), "an open copy keeps its file"


def _digest(home: Path) -> str:
    return open_dataset("digits", home, None).info.digest


def test_two_workers_may_start_at_once(home: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(_digest, [home] * 4)) == {CATALOGUE["digits"].digest}
    assert not list((home / "datasets" / "digits").glob(".decoding-*"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("cifar10", "stagetune data fetch cifar10.*STAGETUNE_DATASETS"),
        ("mnist", "stagetune data fetch mnist"),
        ("flowers", "stagetune data add flowers PATH"),
        ("../up", "no name"),
    ],
)
def test_a_missing_data_set_names_its_remedy(home: Path, name: str, remedy: str) -> None:
    with pytest.raises(DataError, match=remedy):
        open_dataset(name, home, None)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train-images-idx3-ubyte.gz", b"\x1f\x8b nothing"),
        ("train-images-idx3-ubyte.gz", gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 2**31, 2**31))),
        ("train-labels-idx1-ubyte", b""),
        ("train-labels-idx1-ubyte", struct.pack(">BBBBI", 0, 0, 8, 1, 8) + b"\xff" * 8),
    ],
    ids=["no gzip", "more images than bytes", "empty", "labels beyond the classes"],
)
def test_damaged_files_say_so_and_are_not_listed(home: Path, sources: Path, file: str, content: bytes) -> None:
    (sources / "small-idx" / file).write_bytes(content)
    with pytest.raises(DataError, match="small-idx"):
        open_dataset("small-idx", home, sources)
    assert "small-idx" not in {info.name for info in available(home, sources)}


def test_damaged_images_in_parquet_say_which(home: Path, sources: Path) -> None:
    table = pa.table({"img": [{"bytes": b"no image", "path": None}], "fine_label": [0]})
    pq.write_table(table, sources / "small-parquet" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="image 0"):
        open_dataset("small-parquet", home, sources)
    (sources / "small-parquet" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="fetch it again"):
        open_dataset("small-parquet", home, sources)


def test_a_registered_data_set_is_a_copy(home: Path, image_folder: Callable[..., Path]) -> None:
    folder = image_folder("flowers", {"train/rose": 5, "train/tulip": 4, "test/rose": 1, "test/tulip": 2})
    info = register("flowers", folder, home)
    for file in folder.rglob("*.png"):
        file.unlink()
    assert (info.shape, info.classes, info.train, info.test) == ((3, 4, 6), 2, 9, 3)
    assert open_dataset("flowers", home, None, digest=info.digest).labels.tolist() == [0] * 5 + [1] * 4 + [0, 1, 1]
    assert info in available(home, None)


@pytest.mark.parametrize("name", ["cifar10", "Up", "../up", "", "a/b", ".hidden", "a" * 64])
def test_impossible_names_are_refused(home: Path, image_folder: Callable[..., Path], name: str) -> None:
    with pytest.raises(DataError, match="name"):
        register(name, image_folder("any", {"a": 3, "b": 3}), home)


@pytest.mark.skipif(
    not CATALOGUE["fashion-mnist"].folders or not Path(CATALOGUE["fashion-mnist"].folders[0]).is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist_of_debian_is_what_the_catalogue_says(home: Path) -> None:
    assert open_dataset("fashion-mnist", home, None).info.digest == CATALOGUE["fashion-mnist"].digest


@pytest.mark.cifar10
@pytest.mark.skipif(
    not (Path(os.environ.get("STAGETUNE_DATASETS", "/nowhere")) / "cifar10").is_dir(),
    reason="STAGETUNE_DATASETS has no cifar10",
)
def test_cifar10_is_what_the_catalogue_says(home: Path) -> None:
    datasets = Path(os.environ["STAGETUNE_DATASETS"])
    listed = next(info for info in available(home, datasets) if info.name == "cifar10")
    assert open_dataset("cifar10", home, datasets).info == listed
    assert listed.digest == CATALOGUE["cifar10"].digest


def test_a_folder_that_cannot_be_looked_into_costs_only_its_own_data_sets(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A name too long for the file system is an OSError for root as well.
    found = available(home, tmp_path / ("x" * 300))

    assert "digits" in [info.name for info in found]
    assert "is passed over" in caplog.text
