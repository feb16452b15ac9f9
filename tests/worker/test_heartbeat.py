"""What passes between a training and the server through the heartbeat."""

import threading
from collections.abc import Callable

import pytest

from contract.tasks import Command, Heartbeat, HeartbeatAnswer, Lease, Measurement
from tests.http_server import LOST, Answer, problem
from tests.worker.conftest import LEASE_LOST, UNAVAILABLE, ProtocolServer, make_lease
from worker.client import ServerClient
from worker.control import Control, Stopped
from worker.heartbeat import HeartbeatThread

LEASE = make_lease()

Beats = Callable[..., None]


def report(step: int) -> Measurement:
    return Measurement(step=step, epoch=step / 30, validation_accuracy=0.5)


def sent(server: ProtocolServer) -> list[Heartbeat]:
    return [Heartbeat.model_validate_json(call.body) for call in server.to("beat")]


@pytest.fixture
def after_beats(server: ProtocolServer, client: ServerClient) -> Beats:
    """Lets the heartbeat of a task run until the server has seen this many more."""

    def run(control: Control, beats: int, meanwhile: Callable[[int], None] = lambda _: None) -> None:
        count, enough = 0, threading.Event()

        def beaten() -> None:
            nonlocal count
            count += 1
            meanwhile(count)
            if count == beats:
                enough.set()

        server.hooks["beat"] = beaten
        with HeartbeatThread(client, LEASE, control, 0.01):
            assert enough.wait(10)

    return run


def test_measurements_travel_once_and_in_order(server: ProtocolServer, after_beats: Beats) -> None:
    control = Control()
    for step in range(3):
        control.report(report(step))
    control.fraction = 0.25

    after_beats(control, 3)

    assert [beat.reports for beat in sent(server)][:3] == [[report(0), report(1), report(2)], [], []]
    assert {beat.fraction for beat in sent(server)} == {0.25}


@pytest.mark.parametrize("trouble", [LOST, UNAVAILABLE])
def test_measurements_that_did_not_arrive_are_sent_again(
    server: ProtocolServer, after_beats: Beats, trouble: Answer
) -> None:
    control = Control()
    control.report(report(0))
    server.next("beat", trouble)

    # The second measurement is made while the first is on its way.
    after_beats(control, 3, lambda beat: control.report(report(1)) if beat == 1 else None)

    delivered = [beat.reports for beat in sent(server)]
    assert delivered[:3] == [[report(0)], [report(0), report(1)], []]
    assert control.told == "continue"


def test_an_hour_of_measurements_leaves_in_heartbeats_of_a_sensible_size(
    server: ProtocolServer, after_beats: Beats
) -> None:
    control = Control()
    for step in range(2_500):
        control.report(report(step))

    after_beats(control, 3)

    steps = [[found.step for found in beat.reports] for beat in sent(server)]
    assert steps[:3] == [list(range(1_000)), list(range(1_000, 2_000)), list(range(2_000, 2_500))]


@pytest.mark.parametrize("command", ["pause", "cancel", "drain"])
def test_a_stop_is_not_taken_back(server: ProtocolServer, after_beats: Beats, command: Command) -> None:
    control = Control()
    control.check()
    server.command = command
    after_beats(control, 1)
    server.command = "continue"
    after_beats(control, 2)

    with pytest.raises(Stopped) as stop:
        control.check()
    assert stop.value.command == command
    assert not control.lost


@pytest.mark.parametrize("refusal", [LEASE_LOST, problem(404, "not-found", "no such task")])
def test_after_a_lost_lease_there_are_no_more_beats(
    server: ProtocolServer, client: ServerClient, refusal: Answer
) -> None:
    control = Control()
    server.always("beat", refusal)
    thread = HeartbeatThread(client, LEASE, control, 0.01)

    with thread:
        thread._thread.join(10)
        assert control.lost
        with pytest.raises(Stopped):
            control.check()

    assert len(server.calls) == 1


def test_a_refused_beat_is_no_stop(server: ProtocolServer, after_beats: Beats) -> None:
    control = Control()
    server.always("beat", problem(422, "invalid-request", "too long"))

    after_beats(control, 3)

    control.check()


def test_an_error_nobody_foresaw_is_not_the_last_beat(
    server: ProtocolServer, client: ServerClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    control, arrived, left = Control(), threading.Event(), [ZeroDivisionError("twice"), ZeroDivisionError("twice")]
    beat = client.heartbeat

    def heartbeat(lease: Lease, told: Heartbeat) -> HeartbeatAnswer:
        if left:
            raise left.pop()
        return beat(lease, told)

    monkeypatch.setattr(client, "heartbeat", heartbeat)
    server.hooks["beat"] = arrived.set
    control.report(report(0))

    with HeartbeatThread(client, LEASE, control, 0.01):
        assert arrived.wait(10)

    assert sent(server)[0].reports == [report(0)]
    assert caplog.text.count("ZeroDivisionError: twice") == 2


def test_leaving_waits_for_the_beat_on_its_way(server: ProtocolServer, client: ServerClient) -> None:
    answering, leaving = threading.Event(), threading.Event()

    def slow() -> None:
        answering.set()
        leaving.wait(10)

    server.hooks["beat"] = slow
    server.command = "cancel"
    control = Control()

    with HeartbeatThread(client, LEASE, control, 0.01):
        assert answering.wait(10)
        leaving.set()

    assert control.told == "cancel"


def test_a_measurement_that_cannot_wait_is_sent_at_once(server: ProtocolServer, client: ServerClient) -> None:
    arrived = threading.Event()
    server.hooks["beat"] = arrived.set
    server.command = "prune"
    control = Control(prompt=True)

    with HeartbeatThread(client, LEASE, control, 3_600):
        for step in range(3):
            arrived.clear()
            control.report(report(step))
            assert arrived.wait(10)

    assert [found.step for beat in sent(server) for found in beat.reports] == [0, 1, 2]
    assert control.told == "prune"


def test_other_measurements_wait_for_the_next_beat(server: ProtocolServer, client: ServerClient) -> None:
    control = Control()

    with HeartbeatThread(client, LEASE, control, 3_600):
        control.report(report(0))

    assert sent(server) == []
    assert control.take_reports() == [report(0)]


def test_pruning_is_for_the_training_to_do() -> None:
    control = Control()
    control.command("prune")

    control.check()

    assert control.told == "prune"
