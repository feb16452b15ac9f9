"""Workers that are let go."""

import pytest

from client import Client
from client.errors import BadUsage, NotFound
from client.exitcodes import ExitCode
from tests.client.builders import identifier, worker
from tests.client.conftest import Cli
from tests.http_server import TOKEN, FakeServer

FIRST, SECOND = worker(), worker(id=identifier("second"), name="there-cuda")


@pytest.mark.parametrize("reference", ["there-cuda", str(SECOND.id), str(SECOND.id)[:9]])
@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_a_worker_is_drained_by_name_or_id(cli: Cli, server: FakeServer, reference: str, verb: str) -> None:
    server.on("GET /v1/workers", [FIRST, SECOND])
    server.on(f"POST /v1/workers/{SECOND.id}/{verb}", SECOND.model_copy(update={"state": "draining"}))

    result = cli("workers", verb, reference)

    assert result.exit_code == ExitCode.OK, result.stderr
    assert "there-cuda" in result.stdout
    assert "draining" in result.stdout
    assert len(server.to(f"POST /v1/workers/{SECOND.id}/{verb}")) == 1


def test_nobody_is_drained_by_mistake(server: FakeServer) -> None:
    gone = worker(id=identifier("gone"), state="offline")
    server.on("GET /v1/workers", [FIRST, worker(id=identifier("third")), gone])
    with Client(server.url, TOKEN) as client:
        with pytest.raises(BadUsage, match="may mean 2 workers"):
            client.drain("here-cpu")
        with pytest.raises(NotFound, match="stagetune workers"):
            client.drain("nobody")
        with pytest.raises(NotFound):
            client.drain("")
