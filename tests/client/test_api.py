"""The Python client over real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from client import Client, Conflict, NotAuthorised, NotFound, ServerUnreachable, SubmissionRefused
from client.errors import BadUsage, ServerUnavailable, UnexpectedAnswer
from contract.experiments import ExperimentPage, PresetView
from contract.problems import Fault
from contract.submission import DatasetChoice, Submission
from tests.client.builders import EXPERIMENT, experiment, plan, summary
from tests.http_server import TOKEN, Answer, FakeServer, problem

SUBMIT = "POST /v1/experiments"
LIST = "GET /v1/experiments"
ONE = f"GET /v1/experiments/{EXPERIMENT}"


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[Client]:
    with Client(environment["STAGETUNE_SERVER"]) as client:
        yield client


def test_files_go_to_the_server_as_they_are(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.on(SUBMIT, Answer(experiment(), 201))
    yaml, js = tmp_path / "a.yaml", tmp_path / "a.json"
    yaml.write_text("name: a # a comment\n")
    js.write_text('{"name": "a"}')

    assert client.submit(yaml).id == EXPERIMENT
    client.submit(str(js))

    assert [(call.headers["content-type"], call.body) for call in server.calls] == [
        ("application/yaml", b"name: a # a comment\n"),
        ("application/json", b'{"name": "a"}'),
    ]


def test_text_mappings_models_and_presets_are_submissions_too(client: Client, server: FakeServer) -> None:
    server.on(SUBMIT, Answer(experiment(), 201))
    server.on("GET /v1/presets/demo", PresetView(name="demo", summary="", text="name: demo\n"))
    model = Submission(name="m", dataset=DatasetChoice(name="digits"), architectures={"A": ["Conv-3-8"]})

    client.submit("name: text\nseeds: [1]")
    client.submit({"name": "mapping"})
    client.submit(model)
    client.submit("demo")

    bodies = [call.body for call in server.calls if call.method == "POST"]
    assert bodies[0] == b"name: text\nseeds: [1]"
    assert json.loads(bodies[1]) == {"name": "mapping"}
    assert json.loads(bodies[2])["architectures"] == {"A": ["Conv-3-8"]}
    assert bodies[3] == b"name: demo\n"


def test_a_source_that_is_nothing_names_the_presets(client: Client, server: FakeServer) -> None:
    server.on("GET /v1/presets", [PresetView(name="demo", summary="", text="")])

    with pytest.raises(BadUsage, match="neither a file nor a preset; presets are: demo"):
        client.plan("dmeo")
    with pytest.raises(BadUsage, match=r"there is no file absent\.yaml"):
        client.plan("absent.yaml")
    with pytest.raises(BadUsage, match="cannot be written as JSON"):
        client.plan({"name": float("nan")})


def test_a_submission_repeated_after_an_outage_keeps_its_key(client: Client, server: FakeServer) -> None:
    down = problem(503, "database-unavailable", "the database is restarting", Retry_After="1")
    server.on(SUBMIT, down, Answer(experiment(), 201))

    client.submit({"name": "a"})
    client.submit({"name": "a"}, idempotency_key="mine")

    keys = [call.headers["idempotency-key"] for call in server.calls]
    assert keys[0] == keys[1] != keys[2] == "mine"


def test_an_outage_that_lasts_is_an_error_with_the_servers_words(client: Client, server: FakeServer) -> None:
    server.on(ONE, problem(503, "database-unavailable", "the database is restarting"))

    with pytest.raises(ServerUnavailable, match="the database is restarting"):
        client.experiment(EXPERIMENT)
    assert len(server.calls) == 3


def test_a_token_is_not_created_twice(client: Client, server: FakeServer) -> None:
    server.on("POST /v1/tokens", problem(503, "database-unavailable", "later"))

    with pytest.raises(ServerUnavailable):
        client.create_token("worker-7", "worker")
    assert len(server.calls) == 1


def test_refusals_carry_type_detail_and_faults(client: Client, server: FakeServer) -> None:
    fault = Fault(path="architectures.CNN 1[0]", message="Pool-9 does not fit into 8 x 8; use a smaller pool")
    server.on("POST /v1/plans", problem(422, "invalid-submission", "the submission has 1 mistake", fault))

    with pytest.raises(SubmissionRefused) as refused:
        client.plan({"name": "a"})

    assert refused.value.type == "invalid-submission"
    assert refused.value.faults == (fault,)
    assert str(refused.value) == "the submission has 1 mistake"


def test_errors_are_told_apart_by_their_type(client: Client, server: FakeServer) -> None:
    server.on(f"POST /v1/experiments/{EXPERIMENT}/pause", problem(409, "conflict", "it has ended"))

    with pytest.raises(Conflict):
        client.pause(EXPERIMENT)
    with pytest.raises(NotFound):
        client.experiment(EXPERIMENT)
    with Client(server.url, "another") as stranger, pytest.raises(NotAuthorised):
        stranger.workers()


def test_nothing_listening_says_where_and_what_to_do() -> None:
    with (
        Client("http://127.0.0.1:1") as client,
        pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:1 .*stagetune up"),
    ):
        client.workers()


def test_another_kind_of_server_is_recognised(client: Client, server: FakeServer) -> None:
    server.on("GET /v1/workers", Answer(b"<html>hello</html>"))
    server.on("GET /v1/datasets", Answer(b"<html>moved</html>", 302, {"Location": "http://elsewhere/"}))

    with pytest.raises(UnexpectedAnswer, match="another kind of server"):
        client.workers()
    with pytest.raises(UnexpectedAnswer, match="302"):
        client.datasets()


def test_answers_of_a_newer_server_are_understood(client: Client, server: FakeServer) -> None:
    server.on("POST /v1/plans", Answer(json.dumps(plan().model_dump(mode="json") | {"new": 1}).encode()))

    assert client.plan({"name": "a"}) == plan()


def test_lists_are_read_page_by_page(client: Client, server: FakeServer) -> None:
    one, two = summary(), summary(name="older")
    server.on(LIST, ExperimentPage(items=[one], next="c1"), ExperimentPage(items=[two], next=None))

    assert client.experiments() == [one, two]
    assert "cursor=c1" in server.calls[1].query


def test_ids_may_be_shortened(client: Client, server: FakeServer) -> None:
    other = summary(UUID("0a1b9999-0000-4000-8000-000000000002"))
    server.on(LIST, ExperimentPage(items=[summary(), other], next=None))

    assert client.resolve("0a1b2") == EXPERIMENT
    assert client.resolve("LATEST") == EXPERIMENT
    assert client.resolve(str(EXPERIMENT)) == EXPERIMENT
    with pytest.raises(BadUsage, match="start of 2 ids"):
        client.resolve("0a1b")
    with pytest.raises(NotFound, match="no experiment's id starts with 'ff'"):
        client.resolve("ff")
    with pytest.raises(BadUsage, match="no experiment id"):
        client.resolve("table-1")


def test_watching_yields_every_change_and_ends_with_the_experiment(client: Client, server: FakeServer) -> None:
    first, second, last = experiment(), experiment(trials_finished=9), experiment("finished", trials_finished=22)
    server.on(ONE, first, first, second, second, last)

    assert list(client.watch(EXPERIMENT, interval=0)) == [first, second, last]


def test_watching_survives_a_server_that_is_away(client: Client, server: FakeServer) -> None:
    down = problem(503, "database-unavailable", "restarting")
    server.on(ONE, experiment(), down, down, down, down, experiment("finished"))
    heard: list[str] = []

    seen = list(client.watch(EXPERIMENT, interval=0, on_outage=lambda outage: heard.append(str(outage))))

    assert [snapshot.state for snapshot in seen] == ["running", "finished"]
    assert heard == ["restarting"]


def test_watching_gives_up_on_an_experiment_that_does_not_exist(client: Client) -> None:
    with pytest.raises(NotFound):
        list(client.watch(EXPERIMENT))


def test_the_token_travels_in_a_header_only(client: Client, server: FakeServer) -> None:
    server.on("GET /v1/workers", [])
    client.workers()

    call = server.calls[0]
    assert call.headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in call.path + call.query


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_is_not_followed(client: Client, server: FakeServer, status: int) -> None:
    other = FakeServer()
    try:
        for route in (LIST, SUBMIT):
            server.on(route, Answer(status=status, headers={"Location": f"{other.url}/v1/experiments"}))
        with pytest.raises(UnexpectedAnswer, match=str(status)):
            client.experiments()
        with pytest.raises(UnexpectedAnswer, match=str(status)):
            client.submit("name: a\n")
        assert other.calls == []
    finally:
        other.close()
