"""What a worker says of its data sets."""

from contract.tasks import HeldDataset, WorkerRegistration
from tests.worker.conftest import ProtocolServer, make_lease
from tests.worker.test_agent import REGISTRATION, train
from worker.agent import Agent
from worker.client import ServerClient


def test_a_data_set_added_meanwhile_is_announced_before_the_next_claim(
    server: ProtocolServer, client: ServerClient
) -> None:
    digits = HeldDataset(name="digits", digest="0" * 64, shape=(1, 8, 8), classes=10, train=1437, test=360)
    described = [REGISTRATION, REGISTRATION, REGISTRATION.model_copy(update={"datasets": [digits]})]
    server.leases = [make_lease()]

    def describe() -> WorkerRegistration:
        return described.pop(0) if len(described) > 1 else described[0]

    Agent(client, describe, train, exit_when_idle=True, wait_seconds=0).run()

    assert server.happened == ["register", "lease", "upload", "result", "register", "lease", "depart"]
