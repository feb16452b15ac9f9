"""The server dies between any two steps, and nothing is lost, doubled, orphaned or held against a task."""

from typing import get_args

import pytest

from service import failpoints
from tests.invariants import all_shown
from tests.service.api.helpers import submission
from tests.survival.conftest import Serve, rows_of
from tests.survival.servers import Background, Drone, until

pytestmark = pytest.mark.chaos

SMALL = {"architectures": {"A": ["Conv-3-4"]}, "variants": [{"architecture": "A", "learning": "total"}]}


@pytest.mark.parametrize("point", get_args(failpoints.Point))
def test_a_server_that_dies_there_leaves_nothing_behind(serve: Serve, database_url: str, point: str) -> None:
    server = serve(database_url).start(point)
    drone = Drone(server)
    body = submission(name=point, reuse=False, phases=[{"epochs": 1, "trials": 2}], **SMALL)

    shown_running = f"""
        SELECT FROM trial t JOIN experiment_search es ON es.search_id = t.search_id
        JOIN experiment e ON e.id = es.experiment_id WHERE e.name = '{point}' AND t.projected = 'running'
    """

    def work() -> None:
        drone.register()
        answer = drone.call(
            "POST", "/v1/experiments", json=body, headers={**admin.headers, "Idempotency-Key": f"once-{point}"}
        )
        assert answer.status_code == 201, answer.text
        address = f"/v1/experiments/{answer.json()['id']}"
        # Only a trial that is shown as running can be told to have ended.
        until(lambda: rows_of(database_url, shown_running) != [], "a trial to be shown")
        drone.work_until(lambda: drone.call("GET", address, headers=admin.headers).json()["state"] == "finished")

    with server.client() as admin:
        worker = Background(work)
        worker.start()
        assert server.wait() == failpoints.EXIT_STATUS, server.said()
        server.start()
        worker.result()
        until(lambda: all_shown(database_url), "Optuna to be told")

    drone.close()
    experiments = rows_of(database_url, f"SELECT id FROM experiment WHERE name = '{point}'")
    assert len(experiments) == 1, "a submission that is sent again is the same one"
    counts = """
        SELECT t.kind, t.attempt, t.strikes, count(*) FROM experiment_search es
        JOIN task t ON t.search_id = es.search_id WHERE es.experiment_id = '{}' GROUP BY 1, 2, 3 ORDER BY 1
    """
    # The first attempt of each ended with its result: whoever repeats a call gets the answer that was lost.
    assert rows_of(database_url, counts.format(experiments[0][0])) == [("evaluate", 1, 0, 1), ("trial", 1, 0, 2)]
    assert not [path for path in (server.home / "artifacts" / "tmp").iterdir() if point != "during-upload"]
    assert {status for status in drone.statuses if status >= 500} <= {503}


def test_without_the_word_testing_no_failpoint_is_heeded(serve: Serve, database_url: str) -> None:
    server = serve(database_url, STAGETUNE_FAILPOINT="after-submit-commit").start()
    with server.client() as admin:
        body = submission(name="unharmed", reuse=False, **SMALL)
        drone = Drone(server)
        drone.register()
        made = admin.post("/v1/experiments", json=body)
        assert made.status_code == 201
        admin.post(f"/v1/experiments/{made.json()['id']}/cancel")
        drone.close()
    assert server.stop() == 0
