"""What may stand for FILE, and what is said when it cannot."""

import os
import threading
from pathlib import Path

import pytest

from client.errors import BadUsage
from client.http import Body
from client.sources import read_source
from contract.submission import MAX_BYTES


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    for source in (str(tmp_path), f"{tmp_path}/", "."):
        with pytest.raises(BadUsage, match="is a folder: name a file in it"):
            read_source(source)


def test_a_folder_with_a_presets_name_hides_no_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)

    assert read_source("demo") == "demo"


def test_an_empty_file_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "blank.yaml").write_text("\n  \n")

    for source in (tmp_path / "blank.yaml", str(tmp_path / "blank.yaml"), "/dev/null"):
        with pytest.raises(BadUsage, match="is empty: a submission needs name, dataset and architectures"):
            read_source(source)


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("name: a\n",))
    writer.start()

    assert read_source(str(pipe)) == Body(b"name: a\n", "application/yaml")
    writer.join()


def test_no_more_is_read_of_a_file_than_a_submission_may_have(tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    for path in (tmp_path / "huge.yaml", Path("/dev/zero")):
        with pytest.raises(BadUsage, match="longer than"):
            read_source(path)
