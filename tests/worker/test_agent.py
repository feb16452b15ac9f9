"""A worker's day: what the server hears of every way in which a task can end."""

import io
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from threading import Timer

import pytest

from contract.tasks import (
    Command,
    EvaluationOutcome,
    Lease,
    LeaseRequest,
    TaskFailure,
    TaskResult,
    WorkerReason,
    WorkerRegistration,
)
from tests.http_server import LOST, NO_CONTENT, Answer, problem
from tests.worker.conftest import LEASE_LOST, UNAVAILABLE, ProtocolServer, make_lease, training_outcome, wait_for
from worker.agent import Agent, Finished
from worker.client import ProtocolError, ServerClient, Unreachable
from worker.control import Control, TaskFailed

REGISTRATION = WorkerRegistration(name="gpu", device="cpu")
CHECKPOINT = b"the weights"
DIGEST = sha256(CHECKPOINT).hexdigest()

pytestmark = pytest.mark.usefixtures("signals_restored")

Task = Callable[[Lease, Control], Finished]
Work = Callable[..., None]


def train(_lease: Lease, _control: Control) -> Finished:
    return Finished(training_outcome(), CHECKPOINT)


def train_until_stopped(_lease: Lease, control: Control) -> Finished:
    wait_for(lambda: control.told != "continue")
    control.check()
    return Finished(training_outcome(outcome="pruned"))


def preempted(_lease: Lease, _control: Control) -> Finished:
    raise TaskFailed("preempted", "the checkpoint cannot be fetched")


@pytest.fixture
def work(server: ProtocolServer, client: ServerClient) -> Work:
    """Runs a worker in this process: one task after the other, each done by the next executor, until idle."""

    def run(*tasks: Task) -> None:
        server.leases = [make_lease() for _ in tasks]
        left = iter(tasks)

        def execute(lease: Lease, control: Control) -> Finished:
            return next(left)(lease, control)

        Agent(client, lambda: REGISTRATION, execute, exit_when_idle=True, wait_seconds=0, pause_seconds=0).run()

    return run


def told_failure(server: ProtocolServer) -> TaskFailure:
    (call,) = server.to("failure")
    return TaskFailure.model_validate_json(call.body)


def test_the_checkpoint_is_stored_before_the_result_names_it(server: ProtocolServer, work: Work) -> None:
    work(train)

    assert server.happened == ["register", "lease", "upload", "result", "lease", "depart"]
    assert server.artifacts == {DIGEST: CHECKPOINT}
    (call,) = server.to("result")
    assert TaskResult.model_validate_json(call.body).result == training_outcome(checkpoint=DIGEST)


@pytest.mark.parametrize(
    ("verb", "answer", "accepted"),
    [
        ("result", None, [["register", "lease", "upload", "result"]]),
        ("result", LEASE_LOST, []),
        ("upload", UNAVAILABLE, []),
        ("result", UNAVAILABLE, []),
    ],
)
def test_what_is_kept_for_another_attempt_goes_once_the_result_is_accepted(
    server: ProtocolServer, work: Work, verb: str, answer: Answer | None, accepted: list[list[str]]
) -> None:
    gone: list[list[str]] = []

    def train_and_keep(_lease: Lease, _control: Control) -> Finished:
        return Finished(training_outcome(), CHECKPOINT, lambda: gone.append(server.happened))

    if answer is not None:
        server.always(verb, answer)
    with suppress(Unreachable):
        work(train_and_keep)

    assert gone == accepted


def test_what_has_no_checkpoint_is_a_result_alone(server: ProtocolServer, work: Work) -> None:
    tested = EvaluationOutcome(outcome="evaluated", test_accuracy=0.9, images=360, total_seconds=1.0)

    work(lambda *_: Finished(tested), lambda *_: Finished(training_outcome(outcome="diverged")))

    results = [TaskResult.model_validate_json(call.body).result for call in server.to("result")]
    assert results == [tested, training_outcome(outcome="diverged")]
    assert not server.artifacts


def test_every_request_is_a_new_one_of_the_same_worker(server: ProtocolServer, work: Work) -> None:
    work(train, train)

    requests = [LeaseRequest.model_validate_json(call.body) for call in server.to("lease")]
    assert len({request.request_id for request in requests}) == 3
    (registered,) = server.to("register")
    assert {str(request.worker) for request in requests} == {registered.path.rsplit("/", 1)[-1]}


def test_a_crash_is_told_with_the_last_lines_of_the_log(server: ProtocolServer, work: Work) -> None:
    def crash(_lease: Lease, _control: Control) -> Finished:
        for line in range(300):
            logging.getLogger("worker").warning("line %d", line)
        raise ZeroDivisionError("by \x00")

    work(crash, train)

    failure = told_failure(server)
    assert (failure.reason, failure.message) == ("crashed", "ZeroDivisionError: by ")
    assert "line 299" in failure.log
    assert "line 0\n" not in failure.log
    assert "in crash" in failure.log, "the traceback"
    assert server.happened[-4:] == ["upload", "result", "lease", "depart"], "the worker went on"


def test_the_log_of_a_failure_begins_with_its_own_attempt(server: ProtocolServer, work: Work) -> None:
    def talk(lease: Lease, control: Control) -> Finished:
        logging.getLogger("worker").warning("of another task")
        return train(lease, control)

    def fail(_lease: Lease, _control: Control) -> Finished:
        logging.getLogger("worker").warning("of this one")
        raise TaskFailed("crashed", "no image")

    work(talk, fail)

    assert told_failure(server).log == "of this one"


@pytest.mark.parametrize("reason", ["out-of-memory", "memory-limit", "time-limit", "user-error", "crashed"])
def test_what_cannot_be_done_is_told_by_its_reason(server: ProtocolServer, work: Work, reason: WorkerReason) -> None:
    def fail(_lease: Lease, _control: Control) -> Finished:
        raise TaskFailed(reason, "no image\nin \udcff.png")

    work(fail)

    failure = told_failure(server)
    assert (failure.reason, failure.message) == (reason, "no image\nin ?.png")


def test_a_task_preempted_here_is_followed_by_the_next(server: ProtocolServer, work: Work) -> None:
    work(preempted, train)

    assert told_failure(server).reason == "preempted"
    assert server.happened == ["register", "lease", "failure", "lease", "upload", "result", "lease", "depart"]


def test_a_signal_ends_the_pause_after_a_preemption(
    server: ProtocolServer, client: ServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "the next task is asked for in" in record.getMessage():
                Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()

    server.leases = [make_lease(), make_lease()]
    interrupting = Interrupting()
    caplog.set_level(logging.INFO, "worker")
    logging.getLogger("worker").addHandler(interrupting)
    try:
        Agent(client, lambda: REGISTRATION, preempted, wait_seconds=0, pause_seconds=3_600).run()
    finally:
        logging.getLogger("worker").removeHandler(interrupting)

    assert server.happened == ["register", "lease", "failure", "depart"], "nothing was asked for in the pause"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("pause", ["release", "lease", "upload", "result", "lease", "depart"]),
        ("cancel", ["failure", "lease", "upload", "result", "lease", "depart"]),
        ("prune", ["result", "lease", "upload", "result", "lease", "depart"]),
        ("drain", ["release", "depart"]),
    ],
)
def test_commands(server: ProtocolServer, work: Work, command: Command, told: list[str]) -> None:
    server.command = command

    def obey(lease: Lease, control: Control) -> Finished:
        try:
            return train_until_stopped(lease, control)
        finally:
            server.command = "continue"

    work(obey, train)

    assert server.happened == ["register", "lease", *told]
    if command == "cancel":
        assert told_failure(server).reason == "cancelled"


def test_a_task_that_ended_meanwhile_is_not_missed(server: ProtocolServer, work: Work) -> None:
    server.next("failure", LEASE_LOST, problem(404, "not-found", "no such task"))
    server.next("release", LEASE_LOST)
    server.next("result", LEASE_LOST, problem(404, "not-found", "no such task"))

    def crash(_lease: Lease, _control: Control) -> Finished:
        raise ZeroDivisionError

    work(crash, train, train, train)

    told = ["failure", "lease", "upload", "result", "lease", "upload", "result", "failure"]
    assert server.happened == ["register", "lease", *told, "lease", "upload", "result", "lease", "depart"]


@pytest.mark.parametrize("answer", [LEASE_LOST, problem(404, "not-found", "no such task")])
def test_a_lost_lease_stops_the_training_and_nothing_is_told(
    server: ProtocolServer, work: Work, answer: Answer
) -> None:
    server.next("beat", answer)

    work(train_until_stopped, train)

    assert server.happened == ["register", "lease", "lease", "upload", "result", "lease", "depart"]


def test_a_beat_that_is_lost_stops_nothing(server: ProtocolServer, work: Work) -> None:
    server.next("beat", LOST, UNAVAILABLE)

    def watch(lease: Lease, control: Control) -> Finished:
        wait_for(lambda: len(server.to("beat")) > 3)
        return train(lease, control)

    work(watch)

    assert server.happened == ["register", "lease", "upload", "result", "lease", "depart"]


def test_the_lease_is_renewed_while_the_result_is_handed_in(server: ProtocolServer, work: Work) -> None:
    def slow() -> None:
        beats = len(server.to("beat"))
        wait_for(lambda: len(server.to("beat")) > beats + 1)

    server.hooks["upload"] = slow

    work(train)

    assert server.happened == ["register", "lease", "upload", "result", "lease", "depart"]


def test_an_outage_while_handing_in_loses_nothing(server: ProtocolServer, work: Work) -> None:
    server.next("upload", UNAVAILABLE, LOST)
    server.next("result", LOST, UNAVAILABLE)
    server.next("beat", *[LOST] * 50)

    work(train)

    assert server.happened == ["register", "lease", *["upload"] * 3, *["result"] * 3, "lease", "depart"]
    assert len({call.body for call in server.to("result")}) == 1


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (problem(409, "conflict", "the lease of this request has ended"), ["lease", "lease"]),
        (problem(404, "not-found", "no such worker"), ["lease", "register", "lease"]),
    ],
)
def test_a_refused_request_is_followed_by_a_new_one(
    server: ProtocolServer, work: Work, refusal: Answer, told: list[str]
) -> None:
    server.next("lease", refusal)

    work(train)

    assert server.happened == ["register", *told, "upload", "result", "lease", "depart"]
    requests = [LeaseRequest.model_validate_json(call.body).request_id for call in server.to("lease")]
    assert len(set(requests)) == 3
    assert len({call.path for call in server.to("register")}) == 1, "under its old id"


def test_a_superseded_attempt_is_told_so_before_it_sends_its_result(server: ProtocolServer, work: Work) -> None:
    server.next("upload", LEASE_LOST)

    work(train)

    assert server.happened == ["register", "lease", "upload", "lease", "depart"]
    assert "attempt=3" in server.to("upload")[0].query


def test_a_worker_that_is_drained_while_it_waits_leaves(server: ProtocolServer, work: Work) -> None:
    server.next("lease", problem(409, "draining", "no more tasks for this worker"))

    work(train)

    assert server.happened == ["register", "lease", "depart"]


def test_other_refusals_end_the_worker(server: ProtocolServer, work: Work) -> None:
    server.always("lease", problem(401, "unauthenticated", "the token was revoked"))

    with pytest.raises(ProtocolError, match="revoked"):
        work(train)

    assert server.happened == ["register", "lease", "depart"]


@pytest.mark.parametrize("verb", ["register", "lease", "upload", "result"])
def test_a_server_that_stays_away_ends_the_worker(server: ProtocolServer, work: Work, verb: str) -> None:
    server.always(verb, UNAVAILABLE)

    with pytest.raises(Unreachable):
        work(train)

    assert server.happened[-2:] == [verb, "depart"]


def test_a_task_that_cannot_be_handed_back_keeps_nobody_from_leaving(server: ProtocolServer, work: Work) -> None:
    server.command = "drain"
    server.always("release", UNAVAILABLE)

    work(train_until_stopped)

    assert server.happened == ["register", "lease", *["release"] * 3, "depart"]


def test_a_worker_without_a_reason_to_leave_asks_again(server: ProtocolServer, client: ServerClient) -> None:
    server.next("lease", NO_CONTENT, NO_CONTENT, Answer(make_lease()))
    server.command = "drain"

    Agent(client, lambda: REGISTRATION, train_until_stopped, wait_seconds=0).run()

    assert server.happened == ["register", "lease", "lease", "lease", "release", "depart"]


def test_a_signal_in_the_middle_of_a_log_line_ends_the_wait(server: ProtocolServer, work: Work) -> None:
    class Interrupted(logging.StreamHandler[io.StringIO]):
        def format(self, record: logging.LogRecord) -> str:
            logging.getLogger().removeHandler(self)
            signal.raise_signal(signal.SIGTERM)
            return super().format(record)

    def interrupt() -> None:
        server.hooks.clear()
        logging.getLogger().addHandler(Interrupted(io.StringIO()))

    server.always("register", UNAVAILABLE)
    server.hooks["register"] = interrupt

    work()

    assert server.happened == ["register", "depart"]
