"""Several servers on one database: each does what the other leaves, and one is enough."""

import pytest

from tests.invariants import all_shown
from tests.service.api.helpers import submission
from tests.survival.conftest import Serve, rows_of
from tests.survival.servers import Background, Drone, until

pytestmark = pytest.mark.chaos


def test_two_servers_share_the_work_and_one_is_enough(empty_database_url: str, serve: Serve) -> None:
    first, second = serve(empty_database_url), serve(empty_database_url)
    # At once, on a database without tables: one migrates, the other waits for it.
    first.launch()
    second.launch()
    until(lambda: first.answers() and second.answers(), "both to be ready")
    drones = [Drone(first, second), Drone(second, first), Drone(first, second)]
    with second.client() as admin:
        for drone in drones:
            drone.register()
        body = submission(reuse=False, seeds=[0, 1], phases=[{"epochs": 1, "trials": 8}])
        made = [admin.post("/v1/experiments", json=body | {"name": str(number)}).json()["id"] for number in range(2)]

        def ended() -> bool:
            states = [admin.get(f"/v1/experiments/{one}").json()["state"] for one in made]
            return set(states) == {"finished"}

        workers = [Background(lambda drone=drone: drone.work_until(ended)) for drone in drones]  # type: ignore[misc]
        for worker in workers:
            worker.start()
        until(lambda: sum(drone.done for drone in drones) >= 10, "some results")
        first.kill()
        until(lambda: sum(drone.done for drone in drones) >= 30, "more results without it")
        first.start()
        for worker in workers:
            worker.result()
        until(lambda: all_shown(empty_database_url), "Optuna to be told")
    # Whoever had no answer from the dead one got it from the other.
    assert rows_of(
        empty_database_url, "SELECT max(attempt), max(strikes), count(*) FROM task WHERE kind = 'trial'"
    ) == [(1, 0, 48)]
    assert {status for drone in drones for status in drone.statuses if status >= 500} <= {503}
    assert (first.stop(), second.stop()) == (0, 0)
    for drone in drones:
        drone.close()
