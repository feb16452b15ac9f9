"""R4: the lease protocol does what its model says, in whatever order things happen."""

from pathlib import Path

import pytest

from tests.chaos.lease_machine import run

EXAMPLES, STEPS = 50, 30

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def test_the_lease_protocol_does_what_its_model_says(chaos_database: str, tmp_path: Path) -> None:
    figures = run(chaos_database, tmp_path, EXAMPLES, STEPS)
    assert set(figures["statuses"]) >= {"200", "201", "204", "409", "422"}, "the games reached every kind of answer"
