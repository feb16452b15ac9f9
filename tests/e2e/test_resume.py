"""kill -9 in the middle of a real training: on another worker, from another home, it ends with the same weights."""

from pathlib import Path

import pytest

from tests.chaos.resume import run
from tests.e2e.conftest import Stack

# Four workers start one after the other, each with its import of torch.
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

KILLS = 3


def test_a_training_killed_again_and_again_ends_elsewhere_bit_by_bit(
    stack: Stack, database_url: str, tmp_path: Path
) -> None:
    figures = run(stack, database_url, tmp_path, KILLS, seed=0)
    assert figures.attempts == KILLS + 1
    assert figures.digest == figures.undisturbed_digest
    assert "goes on after" in stack.logs()
