from collections.abc import Iterator

import pytest

from service.tuning.projection import StudyProjection


@pytest.fixture
def projection(database_url: str) -> Iterator[StudyProjection]:
    made = StudyProjection(database_url)
    yield made
    made.close()
