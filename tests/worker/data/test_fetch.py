import hashlib
from pathlib import Path

import pytest

from worker.data import DataError, fetch
from worker.data.fetch import verify

CONTENT = b"parquet"
RIGHT = hashlib.sha256(CONTENT).hexdigest()
WRONG = "0" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize(("hub", "pinned"), [(RIGHT, {}), (None, {"train.parquet": RIGHT}), (RIGHT, {"other": WRONG})])
def test_a_file_with_the_right_checksum_passes(file: Path, hub: str | None, pinned: dict[str, str]) -> None:
    verify(file, hub, pinned)


@pytest.mark.parametrize(("hub", "pinned"), [(WRONG, {}), (RIGHT, {"train.parquet": WRONG}), (None, {"other": RIGHT})])
def test_any_other_file_is_refused(file: Path, hub: str | None, pinned: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"checksum|SHA-256"):
        verify(file, hub, pinned)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="built-in"):
        fetch("flowers", tmp_path)


def test_what_needs_no_download_is_there_at_once(tmp_path: Path) -> None:
    assert fetch("digits", tmp_path).name == "digits"


def test_without_network_it_names_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="STAGETUNE_DATASETS"):
        fetch("cifar10", tmp_path)
