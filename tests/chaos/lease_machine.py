"""The lease protocol against a model of it (R4): any order of calls, repeats, expiries, outages and restarts.

The server's own application answers, on a real PostgreSQL, with its planner and reaper called by hand: what happens is
what the rules say, in their order, and time passes only where a rule lets it.
"""

from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.chaos.model import Attempt, Task
from tests.chaos.world import STRIKES, Answer, World
from tests.invariants import violations
from tests.service.api.helpers import DOTS, checkpoint, evaluated, submission, trained

RETRIED = ("crashed", "out-of-memory", "preempted")
FINAL = ("user-error", "time-limit")
STAGES = (["Conv-3-4 Pool-2"], ["Conv-3-4", "Conv-3-4 Pool-2"])

which = st.integers(0, 999)


class LeaseMachine(RuleBasedStateMachine):
    """Workers, an operator and bad luck, in any order."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.workers = [(str(uuid4()), slots) for slots in (1, 2)]
        for worker, slots in self.workers:
            self.register(worker, slots)
        self.tasks: dict[str, Task] = {}
        self.experiments: dict[str, str] = {}
        self.amnesty = True
        self.draining: set[str] = set()

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for task in self.tasks.values() for attempt in task.attempts]

    def some(self, number: int) -> Attempt:
        """An attempt, the latest ones more often than old ones."""
        latest = self.attempts[::-1]
        return latest[number % len(latest)]

    @initialize(trials=st.integers(1, 3), stages=st.sampled_from(STAGES))
    def begin(self, trials: int, stages: list[str]) -> None:
        """Both workers have something: Hypothesis leaves rules out of a game, and one without claims is no game."""
        self.submit(trials, stages)
        for number, _ in enumerate(self.workers):
            self.claim(number)

    @precondition(lambda self: len(self.experiments) < 3)
    @rule(trials=st.integers(1, 3), stages=st.sampled_from(STAGES))
    def submit(self, trials: int, stages: list[str]) -> None:
        document = submission(
            architectures={"A": stages},
            variants=[{"architecture": "A", "learning": "partial" if len(stages) > 1 else "total"}],
            phases=[{"epochs": 1, "trials": trials}],
            reuse=False,
        )
        answer = self.world.call("POST", "/v1/experiments", document, scope="admin")
        assert answer.status_code == 201, answer.text
        self.experiments[answer.json()["id"]] = "running"
        self.world.plan()

    @rule()
    def plan(self) -> None:
        self.world.plan()
        for experiment in self.experiments:
            self.experiments[experiment] = self.state(experiment)

    @rule(number=st.integers(0, 1))
    def claim(self, number: int) -> None:
        worker, slots = self.workers[number]
        request = str(uuid4())
        answer = self.lease(worker, request)
        if worker in self.draining:
            assert (answer.status_code, answer.json()["type"]) == (409, "/problems/draining")
            return
        held = sum(task.state == "leased" and task.attempts[-1].worker == worker for task in self.tasks.values())
        if answer.status_code == 204:
            ready = [task for task in self.tasks.values() if self.must_be_claimable(task)]
            assert held >= slots or not ready, f"{ready[0]} was there for the taking"
            return
        assert answer.status_code == 200, answer.text
        assert held < slots, "more leases than slots"
        lease = answer.json()
        if lease["task"] not in self.tasks:
            ((experiment,),) = self.world.rows(
                "SELECT es.experiment_id FROM task t JOIN experiment_search es USING (search_id) WHERE t.id = :id",
                id=lease["task"],
            )
            self.tasks[lease["task"]] = Task(lease["task"], lease["kind"], str(experiment))
        task = self.tasks[lease["task"]]
        assert task.state == "ready"
        assert self.experiments[task.experiment] == "running"
        assert lease["attempt"] == len(task.attempts) + 1
        goes_on = task.snapshot and {"sha256": task.snapshot[1], "fraction": task.snapshot[2]}
        assert lease["snapshot"] == goes_on
        task.attempts.append(Attempt(task, lease["attempt"], worker, request))
        task.state, task.expired, task.resting = "leased", False, False

    @precondition(lambda self: self.attempts)
    @rule(number=which)
    def repeat_claim(self, number: int) -> None:
        attempt = self.some(number)
        answer = self.lease(attempt.worker, attempt.request)
        if attempt.current and attempt.task.state == "leased":
            assert (answer.json()["task"], answer.json()["attempt"]) == (attempt.task.id, attempt.n)
            attempt.task.expired = False
        else:
            assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")

    @precondition(lambda self: self.attempts)
    @rule(number=which, steps=st.integers(0, 3))
    def beat(self, number: int, steps: int) -> None:
        attempt = self.some(number)
        reports = [{"step": step, "epoch": 0.1, "validation_accuracy": 0.3} for step in range(steps)]
        answer = self.world.call("POST", f"{attempt.path}/heartbeat", {"reports": reports, "fraction": 0.5})
        if attempt.current and attempt.task.state == "cancelled":
            assert answer.json()["command"] == "cancel"
        elif attempt.may_write:
            wanted = "continue" if self.experiments[attempt.task.experiment] == "running" else "pause"
            assert answer.json()["command"] == ("drain" if attempt.worker in self.draining else wanted)
            attempt.outcome, attempt.task.state, attempt.task.expired = "", "leased", False
        else:
            self.assert_lost(answer)

    @precondition(lambda self: self.attempts)
    @rule(number=which, percent=st.integers(0, 100), diverged=st.booleans())
    def result(self, number: int, percent: int, diverged: bool) -> None:
        attempt = self.some(number)
        body = self.outcome(attempt, percent / 100, diverged)
        answer = self.world.call("PUT", f"{attempt.path}/result", body)
        if attempt.accepted is not None:
            if body == attempt.accepted:
                assert answer.json()["repeated"] is True
            else:
                assert answer.status_code == 422
                assert answer.json()["type"] == "/problems/result-conflict"
        elif attempt.may_write:
            assert answer.status_code == 200, answer.text
            assert answer.json()["repeated"] is False
            attempt.accepted, attempt.outcome, attempt.task.state = body, "accepted", "done"
        else:
            self.assert_lost(answer)

    @precondition(lambda self: any(attempt.accepted for attempt in self.attempts))
    @rule(number=which)
    def repeat_result(self, number: int) -> None:
        accepted = [attempt for attempt in self.attempts if attempt.accepted]
        attempt = accepted[number % len(accepted)]
        answer = self.world.call("PUT", f"{attempt.path}/result", attempt.accepted)
        assert (answer.status_code, answer.json()["repeated"]) == (200, True)
        another = {"result": {**(attempt.accepted or {})["result"], "total_seconds": 99.0}}
        answer = self.world.call("PUT", f"{attempt.path}/result", another)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/result-conflict")

    @precondition(lambda self: self.attempts)
    @rule(number=which, reason=st.sampled_from(RETRIED + FINAL))
    def fail(self, number: int, reason: str) -> None:
        attempt = self.some(number)
        task = attempt.task
        answer = self.world.call("PUT", f"{attempt.path}/failure", {"reason": reason, "message": "chance"})
        told = attempt.outcome in ("failed", "struck") or task.state == "cancelled"
        if attempt.current and (told or (attempt.outcome == "lost" and task.state == "ready")):
            assert answer.json()["state"] == task.state
            if not told and reason == "preempted":
                attempt.outcome = "failed"
        elif attempt.current and task.state == "leased":
            attempt.outcome = "struck" if reason in ("crashed", "out-of-memory") else "failed"
            task.state, task.resting = answer.json()["state"], True
            if task.state == "failed":
                assert reason in FINAL or task.strikes_at_most >= STRIKES, "a dead letter before its third strike"
            else:
                assert task.state == "ready"
                assert reason in RETRIED
        else:
            self.assert_lost(answer)

    @precondition(lambda self: self.attempts)
    @rule(number=which)
    def release(self, number: int) -> None:
        attempt = self.some(number)
        answer = self.world.call("POST", f"{attempt.path}/release")
        if attempt.current and attempt.task.state in ("ready", "cancelled"):
            assert answer.status_code == 204
            attempt.outcome = "released" if attempt.outcome == "lost" else attempt.outcome
        elif attempt.current and attempt.task.state == "leased":
            assert answer.status_code == 204
            attempt.outcome, attempt.task.state = "released", "ready"
        else:
            self.assert_lost(answer)

    @precondition(lambda self: self.attempts)
    @rule(number=which, part=st.integers(1, 3))
    def snapshot(self, number: int, part: int) -> None:
        """Of any training the same: what one task needs no more, another may."""
        attempt, fraction = self.some(number), part / 4
        sha256, data = checkpoint(1_000 + part)
        if not self.world.call("PUT", f"/v1/worker/artifacts/{sha256}{attempt.fence}", content=data).is_success:
            return
        answer = self.world.call("PUT", f"{attempt.path}/snapshot", {"sha256": sha256, "fraction": fraction})
        if attempt.may_write:
            assert answer.status_code == 204, answer.text
            last = attempt.task.snapshot
            if last is None or last[0] != attempt.n or last[2] <= fraction:
                attempt.task.snapshot = attempt.n, sha256, fraction
        else:
            self.assert_lost(answer)

    @precondition(lambda self: any(task.state == "leased" for task in self.tasks.values()))
    @rule(number=st.integers(0, 1))
    def goodbye(self, number: int) -> None:
        """A worker leaves, and comes back."""
        worker, slots = self.workers[number]
        assert self.world.call("DELETE", f"/v1/worker/workers/{worker}").status_code == 204
        for task in self.tasks.values():
            if task.state == "leased" and task.attempts[-1].worker == worker:
                task.attempts[-1].outcome, task.state = "released", "ready"
        self.register(worker, slots)

    @rule(number=st.integers(0, 1), draining=st.booleans())
    def drain(self, number: int, draining: bool) -> None:
        """It gets nothing new, even if it leaves and comes back under its name; what it holds it keeps."""
        worker, _ = self.workers[number]
        answer = self.world.call("POST", f"/v1/workers/{worker}/{'drain' if draining else 'undrain'}", scope="admin")
        assert answer.is_success
        (self.draining.add if draining else self.draining.discard)(worker)

    @precondition(lambda self: any(task.state in ("failed", "cancelled") for task in self.tasks.values()))
    @rule(number=which)
    def retry(self, number: int) -> None:
        experiment = list(self.experiments)[number % len(self.experiments)]
        before = self.state(experiment)
        answer = self.world.call("POST", f"/v1/experiments/{experiment}/retry", scope="admin")
        if before == "cancelled":
            assert answer.status_code == 409
            return
        revived = 0
        for task in self.tasks.values():
            if task.experiment == experiment and task.state == "failed":
                ((task.state,),) = self.world.rows("SELECT state FROM task WHERE id = :id", id=task.id)
                assert task.state in ("ready", "failed")
                if task.state == "ready":
                    task.forgiven, task.resting, revived = len(task.attempts), False, revived + 1
        assert answer.json()["tasks"] == revived
        self.experiments[experiment] = self.state(experiment)

    @precondition(lambda self: any(task.state == "leased" for task in self.tasks.values()))
    @rule(number=which)
    def expire(self, number: int) -> None:
        leased = [task for task in self.tasks.values() if task.state == "leased"]
        task = leased[number % len(leased)]
        self.world.run("UPDATE task SET lease_expires_at = now() - interval '1 second' WHERE id = :id", id=task.id)
        task.expired = True

    @precondition(lambda self: self.amnesty or any(task.expired for task in self.tasks.values()))
    @rule()
    def reap(self) -> None:
        self.world.background.reap()
        for task in self.tasks.values():
            if not task.expired or task.state != "leased":
                continue
            ((state,),) = self.world.rows("SELECT state FROM task WHERE id = :id", id=task.id)
            if self.amnesty:
                assert state == "leased", "an outage cost a lease"
            else:
                task.attempts[-1].outcome = "lost"
                assert state == "ready" or (state == "failed" and task.strikes_at_most >= STRIKES)
                task.state, task.resting = state, True
            task.expired = False
        self.amnesty = False

    @precondition(lambda self: self.tasks and not self.amnesty)
    @rule()
    def outage(self) -> None:
        """The server was away for a day."""
        self.world.run("UPDATE server_heartbeat SET beat_at = now() - interval '1 day'")
        self.amnesty = True

    @precondition(lambda self: any(task.resting for task in self.tasks.values()))
    @rule()
    def rest(self) -> None:
        """Back-off is over."""
        self.world.run("UPDATE task SET not_before = now() WHERE state = 'ready'")
        for task in self.tasks.values():
            task.resting = False

    @rule(number=which, verb=st.sampled_from(["pause", "resume", "cancel"]))
    def control(self, number: int, verb: str) -> None:
        experiment = list(self.experiments)[number % len(self.experiments)]
        before = self.state(experiment)
        answer = self.world.call("POST", f"/v1/experiments/{experiment}/{verb}", scope="admin")
        wanted = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[verb]
        if before in ("finished", "failed", "cancelled") and before != wanted:
            assert answer.status_code == 409
            return
        assert answer.is_success
        self.experiments[experiment] = wanted
        if wanted == "cancelled":
            for task in self.tasks.values():
                if task.experiment == experiment and task.state in ("ready", "leased"):
                    if task.state == "leased":
                        task.attempts[-1].outcome = "cancelled"
                    task.state = "cancelled"

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def database_says_what_the_model_says(self) -> None:
        found = {
            str(row.id): (row.state, row.attempt) for row in self.world.rows("SELECT id, state, attempt FROM task")
        }
        expected = {task.id: (task.state, len(task.attempts)) for task in self.tasks.values()}
        assert {task: found[task] for task in expected} == expected, f"{found}, not {expected}"

    def teardown(self) -> None:
        self.world.plan()
        found = violations(self.world.url, self.world.home)
        assert not found, found

    def register(self, worker: str, slots: int) -> None:
        body = {"name": f"w{slots}", "device": "cpu", "slots": slots, "datasets": [DOTS]}
        assert self.world.call("PUT", f"/v1/worker/workers/{worker}", body).status_code == 200

    def lease(self, worker: str, request: str) -> Answer:
        return self.world.call("POST", "/v1/worker/leases", {"worker": worker, "request_id": request})

    def state(self, experiment: str) -> str:
        answer = self.world.call("GET", f"/v1/experiments/{experiment}", scope="admin")
        return str(answer.json()["state"])

    def must_be_claimable(self, task: Task) -> bool:
        return task.state == "ready" and not task.resting and self.experiments[task.experiment] == "running"

    def outcome(self, attempt: Attempt, accuracy: float, diverged: bool) -> dict[str, Any]:
        if attempt.task.kind == "evaluate":
            return evaluated(accuracy)
        sha256, data = checkpoint(int(accuracy * 100))
        stored = self.world.call("PUT", f"/v1/worker/artifacts/{sha256}{attempt.fence}", content=data)
        if attempt.may_write:
            assert stored.is_success, stored.text
        else:
            self.assert_lost(stored)
        body = trained(sha256, accuracy)
        if diverged:
            body["result"] |= {"outcome": "diverged", "checkpoint": None}
        return body

    @staticmethod
    def assert_lost(answer: Answer) -> None:
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/lease-lost")


def run(
    database_url: str, home: Path, examples: int, steps: int, *, chance: int = 0, shrink: bool = False
) -> dict[str, Any]:
    """Play so many games of so many steps; the figures. Raises what a game found, with ``shrink`` its shortest form."""
    world = World(database_url, home)
    machine = seed(chance)(type("LeaseMachine", (LeaseMachine,), {"world": world}))
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                # A game takes a second, and the shortest one that fails hundreds of them.
                phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        world.close()
    return {
        "seed": chance,
        "examples": examples,
        "steps": steps,
        "requests": sum(world.statuses.values()),
        "statuses": {str(status): number for status, number in sorted(world.statuses.items())},
    }
