"""The paper's eight networks and a data set with CIFAR-10's shape."""

from collections.abc import Callable
from typing import Any

import pytest

from contract.submission import Submission
from service.domain.experiment import Dataset, ExperimentSpec
from service.domain.submission import build_spec

TABLE_1 = {
    "CNN 1": ["Conv-3-32 Conv-3-32 Pool-2"],
    "CNN 2": ["Conv-3-32", "Conv-3-32 Pool-2"],
    "CNN 3": ["Conv-3-32 Conv-1-32", "Conv-3-32 Conv-1-32 Pool-2"],
    "CNN 4": ["Conv-3-32 Conv-3-32", "Conv-3-32 Conv-3-32 Pool-2"],
    "CNN 5": ["Conv-3-32 Conv-1-32 Pool-2"] * 2,
    "CNN 6": ["Conv-3-32 Conv-3-32 Pool-2"] * 2,
    "CNN 7": ["Conv-3-32 Conv-1-32 Pool-2"] * 3,
    "CNN 8": ["Conv-3-32 Conv-3-32 Pool-2"] * 3,
}
TABLE_1_VARIANTS = [
    {"architecture": name, "learning": "partial" if len(stages) > 1 else "total"} for name, stages in TABLE_1.items()
]


@pytest.fixture
def cifar10() -> Dataset:
    return Dataset("cifar10", "c1fa" * 16, (3, 32, 32), 10, 50_000, 10_000)


@pytest.fixture
def understand(cifar10: Dataset) -> Callable[..., ExperimentSpec]:
    """Build a spec from a submission; without other wishes the one of the paper's Table 2."""

    def build(**wishes: Any) -> ExperimentSpec:
        document = {
            "name": "table-2",
            "dataset": {"name": "cifar10", "train": 49_000, "validation": 1_000},
            "architectures": TABLE_1,
            "variants": None if "architectures" in wishes else TABLE_1_VARIANTS,
        } | wishes
        return build_spec(Submission.model_validate(document).model_dump(), cifar10)

    return build
