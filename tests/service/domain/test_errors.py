from typing import get_args

import pytest

from contract.problems import ProblemType
from service.domain import errors
from service.domain.errors import (
    Conflict,
    DatabaseUnavailable,
    Fault,
    InvalidSubmission,
    LeaseLost,
    NotFound,
    StagetuneError,
    StorageUnavailable,
)


def test_every_code_is_a_problem_type_and_stands_once() -> None:
    codes = [
        error.code for error in vars(errors).values() if isinstance(error, type) and issubclass(error, StagetuneError)
    ]
    assert set(codes) <= set(get_args(ProblemType))
    assert len(codes) == len(set(codes))


def test_the_docstring_is_the_default_message() -> None:
    assert LeaseLost().message == "The attempt was superseded or its task has ended; stop working on it."
    assert str(NotFound("There is no experiment 7.")) == "There is no experiment 7."


def test_an_invalid_submission_carries_its_faults() -> None:
    with pytest.raises(InvalidSubmission, match=r"seeds\[1\]: twice") as caught:
        raise InvalidSubmission([Fault("seeds[1]", "twice")])
    assert caught.value.faults == (Fault("seeds[1]", "twice"),)


def test_several_faults_are_counted() -> None:
    assert str(InvalidSubmission([Fault("seeds[1]", "twice")] * 2)) == "the submission has 2 faults"


def test_where_things_are_stays_in_the_log() -> None:
    for kind in (DatabaseUnavailable, StorageUnavailable):
        error = kind("connection to server at 10.0.0.5 failed")
        assert str(error) == error.message == "connection to server at 10.0.0.5 failed"
        assert error.told == kind().message
    assert Conflict("it has ended").told == "it has ended"
