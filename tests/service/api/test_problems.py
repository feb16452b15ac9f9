"""A mistake of ours leads whoever reports it to its line in the log."""

import logging
import re
import time
from collections.abc import Callable
from functools import partial

import httpx
import pytest

from service.domain.errors import StagetuneError


class Nameless(StagetuneError):
    """Nobody gave it a status."""

    code = "nameless"


@pytest.mark.parametrize("error", [partial(RuntimeError, "nobody's business"), Nameless])
def test_an_internal_error_has_an_id_that_stands_in_the_log(
    admin: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Callable[[], Exception],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error()

    monkeypatch.setattr("service.api.experiments.look_up.list_experiments", fail)
    with caplog.at_level(logging.ERROR):
        # The server ends a connection on which it failed.
        answers = [admin.get("/v1/experiments", headers={"Connection": "close"}).json() for _ in range(2)]
        ids = [answer["trace_id"] for answer in answers]
        assert len(set(ids)) == 2
        # The server logs it when it has answered.
        deadline = time.monotonic() + 20
        while not all(f"trace_id {trace_id}" in caplog.text for trace_id in ids):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    for answer, trace_id in zip(answers, ids, strict=True):
        assert (answer["type"], answer["status"]) == ("/problems/internal-error", 500)
        assert re.fullmatch("[0-9a-f]{16}", trace_id)
        assert trace_id in answer["detail"]
        assert str(error()) not in str(answer)


def test_what_is_no_mistake_of_ours_has_none(admin: httpx.Client) -> None:
    assert "trace_id" not in admin.get("/v1/nothing").json()
