"""Files that were made to harm whoever registers them: refused in one line, by little work, and nothing stays."""

import io
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.memory import Confined
from worker.data import DataError, register

ImageFolder = Callable[..., Path]
Refusal = Callable[[Path, Path], str]


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def told(path: Path, home: Path) -> str:
    """What registering a data set is refused with, if it is."""
    try:
        register("hostile", path, home)
    except DataError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    """A process that has registered images and an archive, and so has all it needs for that."""
    place = tmp_path_factory.mktemp("harmless")
    for label in ("rose", "tulip"):
        (place / "flowers" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (6, 4)).save(place / "flowers" / label / f"{number}.png")
    images, labels = array(np.zeros((6, 8, 8), np.uint8)), array([0, 1, 0, 1, 0, 1])
    with Confined() as process:
        assert process(harmless, place / "flowers", npz(place / "a.npz", images=images, labels=labels)) == (True, 0)
        yield process


def harmless(folder: Path, archive: Path) -> bool:
    return (told(folder, folder.parent / "one"), told(archive, folder.parent / "two")) == ("", "")


@pytest.fixture
def refusal(confined: Confined) -> Refusal:
    """The one line of a refusal; within 16 MiB of memory, and nothing of the data set is there."""

    def refused(path: Path, home: Path) -> str:
        said, grown = confined(told, path, home)
        assert grown < 16 * 2**20
        assert not list(home.rglob("manifest.json"))
        [line] = said.splitlines()
        return line

    return refused


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": descr, "fortran_order": False, "shape": shape})
    return made.getvalue()


def array(value: object) -> bytes:
    made = io.BytesIO()
    np.save(made, np.array(value))
    return made.getvalue()


def test_pickles_inside_and_outside_are_not_run(tmp_path: Path, home: Path, refusal: Refusal) -> None:
    canary = tmp_path / "canary"
    pickled = pickle.dumps(Canary(canary))
    labels = array([0, 1, 0, 1, 0, 1])
    objects = header((1,), "|O") + pickled
    cases = {
        "plain": pickled,
        "array": npz(tmp_path / "array", images=objects, labels=labels).read_bytes(),
        "both": npz(tmp_path / "both", images=objects, labels=objects).read_bytes(),
        "bare": npz(tmp_path / "bare", images=pickled, labels=labels).read_bytes(),
        "torch": npz(tmp_path / "torch", **{"archive/data.pkl": pickled}).read_bytes(),
    }
    for name, content in cases.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        assert str(path) in refusal(path, home)
    assert not canary.exists()


@pytest.mark.parametrize("claim", [(2**62,), (10**6, 10**6), (2**31, 2**31, 3)])
def test_arrays_that_claim_more_than_they_hold_are_refused(
    tmp_path: Path, home: Path, refusal: Refusal, claim: tuple[int, ...]
) -> None:
    path = npz(tmp_path / "a.npz", images=header(claim), labels=array([0, 1]))
    assert "cannot be read" in refusal(path, home)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, home: Path, refusal: Refusal) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("images.npy", "labels.npy"):
            with archive.open(name, "w") as member:
                member.write(header((2**26, 1, 1)))
                for _ in range(64):
                    member.write(bytes(2**20))
    assert (tmp_path / "a.npz").stat().st_size < 2**20
    assert "unpacks to" in refusal(tmp_path / "a.npz", home)


def test_headers_of_numpy_are_data_and_no_code(tmp_path: Path, home: Path, refusal: Refusal) -> None:
    canary = tmp_path / "canary"
    text = f"__import__('os').system('touch {canary}')".ljust(117).encode() + b"\n"
    for head in (text, b"{" * 60_000, b"(" * 200):
        content = b"\x93NUMPY\x01\x00" + min(len(head), 65_535).to_bytes(2, "little") + head
        refusal(npz(tmp_path / "a.npz", images=content, labels=content), home)
    assert not canary.exists()


def test_names_that_lead_out_of_the_home_are_refused(tmp_path: Path, home: Path, image_folder: ImageFolder) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    for name in (
        "../x",
        "..",
        ".",
        "/x",
        "a/b",
        "a\\b",
        "a\x00",
        "a\n",
        "",
        "A",
        "-rf",
        "a" * 64,
        "\uff0e\uff0e",
        "~",
    ):
        with pytest.raises(DataError, match="no name"):
            register(name, folder, home)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowers"]


def test_links_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, home: Path, refusal: Refusal, image_folder: ImageFolder
) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    image_folder("private", {"holiday": 1})
    for name, target in (("9.png", tmp_path / "private/holiday/0.png"), ("8.png", Path("/etc/passwd"))):
        (folder / "rose" / name).symlink_to(target)
        assert "is a link to" in refusal(folder, home)
        (folder / "rose" / name).unlink()
    (folder / "orchid").symlink_to(tmp_path / "private/holiday")
    assert "is a link to" in refusal(folder, home)
    (folder / "orchid").unlink()
    # Within the folder a link is one more image; one without an end, a pipe or a device is none.
    (folder / "rose/7.png").symlink_to("0.png")
    (folder / "rose/6.png").symlink_to("6.png")
    os.mkfifo(folder / "rose/5.png")
    info = register("flowers", folder, home)
    assert info.train + info.test == 7


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x02\0\0\0") + chunk(b"IDAT", zlib.compress(bytes(9)))


@pytest.mark.parametrize("side", [5_000, 12_000, 60_000, 2**31 - 1])
def test_images_that_claim_to_be_huge_are_refused_by_their_header(
    home: Path, refusal: Refusal, image_folder: ImageFolder, side: int
) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    (folder / "rose" / "0.png").write_bytes(png(side, side))
    assert "0.png" in refusal(folder, home)


def test_images_of_other_formats_under_the_name_of_one_are_refused(
    home: Path, refusal: Refusal, image_folder: ImageFolder
) -> None:
    folder = image_folder("flowers", {"rose": 3, "tulip": 3})
    made = io.BytesIO()
    Image.new("L", (6, 4)).save(made, "GIF")
    for content in (made.getvalue(), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"BM" + b"\xff" * 60):
        (folder / "rose" / "0.png").write_bytes(content)
        assert "no readable image" in refusal(folder, home)
