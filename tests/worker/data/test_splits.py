import pytest

from worker.data import DataError, DatasetInfo, split_dataset

INFO = DatasetInfo("cifar10", "0" * 64, (3, 32, 32), 10, 50_000, 10_000, "here")


def test_training_is_the_front_and_validation_the_end() -> None:
    splits = split_dataset(INFO, 45_000, 1_000)
    assert splits.train == slice(0, 45_000)
    assert splits.validation == slice(49_000, 50_000)
    assert splits.test == slice(50_000, 60_000)


@pytest.mark.parametrize(("train", "validation"), [(49_001, 1_000), (0, 1), (1, 0)])
def test_splits_that_do_not_fit_are_refused(train: int, validation: int) -> None:
    with pytest.raises(DataError, match="50000 training images"):
        split_dataset(INFO, train, validation)
