from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty STAGETUNE_HOME."""
    return tmp_path / "home"


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes class folders of small random PNGs."""

    def make(name: str, classes: dict[str, int], size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Path:
        random = np.random.default_rng(0)
        for label, count in classes.items():
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / f"{number}.png")
        return tmp_path / name

    return make
