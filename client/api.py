"""The typed, synchronous client.

from client import Client

with Client() as stagetune:
    experiment = stagetune.submit("table-2.yaml")
    for snapshot in stagetune.watch(experiment.id):
        print(snapshot.trials_finished, "of", snapshot.trials)
    print(stagetune.report(experiment.id).gaps)
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote
from uuid import UUID, uuid4

from client.connection import find_connection
from client.errors import BadUsage, NotFound, ServerUnavailable, ServerUnreachable, StagetuneError, UnexpectedAnswer
from client.http import Body, Http
from client.sources import Source, read_source
from contract.access import (
    AuditEntry,
    AuditPage,
    LoginCode,
    NewToken,
    Readiness,
    Scope,
    TokenRequest,
    TokenView,
    Version,
)
from contract.experiments import (
    DatasetView,
    Event,
    Experiment,
    ExperimentPage,
    ExperimentState,
    ExperimentSummary,
    Failures,
    PresetView,
    Report,
    Retried,
    SearchView,
    TrialView,
    WorkerView,
)
from contract.networks import Embedding, EmbeddingRequest, Network, NetworkChoice
from contract.plans import Plan
from contract.problems import Problem

ENDED: frozenset[ExperimentState] = frozenset({"finished", "failed", "cancelled"})
PAGE = 100


class Client:
    """Speaks to one stagetune server; safe to keep for a whole notebook.

    Without arguments it finds server and token as the command line does: environment, then STAGETUNE_HOME. Calls
    that may be repeated are repeated on lost connections and 503 for up to `patience` seconds.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        timeout: float = 30.0,
        patience: float = 5.0,
    ) -> None:
        connection = find_connection(server, token, token_file, ca_file=ca_file)
        self.url = connection.url
        self._http = Http(connection, timeout=timeout, patience=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def submit(self, source: Source, *, idempotency_key: str | None = None, reuse: bool = True) -> Experiment:
        """Start an experiment from a file, a preset's name, YAML or JSON text, a mapping or a Submission.

        The same `idempotency_key` never starts a second experiment. Without `reuse` every stage is searched anew,
        whatever the submission says. Raises SubmissionRefused.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return self._http.send(
            "POST", "/v1/experiments", Experiment, body=self._body(source), query=_reuse(reuse), headers=headers
        )

    def plan(self, source: Source, *, reuse: bool = True) -> Plan:
        """What a submission would train, without starting it. Raises SubmissionRefused."""
        return self._http.send("POST", "/v1/plans", Plan, body=self._body(source), query=_reuse(reuse))

    def experiments(self, *, state: ExperimentState | None = None, limit: int | None = None) -> list[ExperimentSummary]:
        """Experiments, newest first; all of them without `limit`."""
        found: list[ExperimentSummary] = []
        for item in self.iter_experiments(state=state, page=min(limit or PAGE, PAGE)):
            found.append(item)
            if limit is not None and len(found) >= limit:
                break
        return found

    def iter_experiments(
        self, *, state: ExperimentState | None = None, page: int = PAGE
    ) -> Iterator[ExperimentSummary]:
        """Experiments page by page, newest first."""
        query: dict[str, str] = {"limit": str(page)} | ({"state": state} if state else {})
        while True:
            answer = self._http.send("GET", "/v1/experiments", ExperimentPage, query=query)
            yield from answer.items
            if answer.next is None:
                return
            query["cursor"] = answer.next

    def resolve(self, reference: UUID | str) -> UUID:
        """The id meant by a full id, a unique prefix of one (as lists show it) or 'latest'."""
        if isinstance(reference, UUID):
            return reference
        wanted = reference.strip().lower()
        if wanted == "latest":
            newest = self.experiments(limit=1)
            if not newest:
                raise _unknown("there is no experiment yet; `stagetune submit demo` starts one")
            return newest[0].id
        try:
            return UUID(wanted)
        except ValueError:
            pass
        if not wanted or set(wanted) - set("0123456789abcdef-"):
            raise BadUsage(f"{reference!r} is no experiment id: give an id, the start of one, or 'latest'")
        matches = [item for item in self.iter_experiments() if str(item.id).startswith(wanted)]
        if not matches:
            raise _unknown(f"no experiment's id starts with {wanted!r}; `stagetune list` shows them")
        if len(matches) > 1:
            several = ", ".join(f"{str(item.id)[:13]} ({item.name})" for item in matches[:5])
            raise BadUsage(f"{wanted!r} is the start of {len(matches)} ids: {several}")
        return matches[0].id

    def experiment(self, reference: UUID | str) -> Experiment:
        """An experiment with its stage searches."""
        return self._http.send("GET", f"/v1/experiments/{self.resolve(reference)}", Experiment)

    def report(self, reference: UUID | str) -> Report:
        """The Total versus Partial table as far as it is known."""
        return self._http.send("GET", f"/v1/experiments/{self.resolve(reference)}/report", Report)

    def events(self, reference: UUID | str, *, after: int = 0) -> list[Event]:
        """What has happened since the event with id `after`."""
        path = f"/v1/experiments/{self.resolve(reference)}/events"
        return self._http.send("GET", path, list[Event], query={"after": str(after), "format": "json"})

    def watch(
        self,
        reference: UUID | str,
        *,
        interval: float = 1.0,
        patience: float = 300.0,
        on_outage: Callable[[StagetuneError], None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> Iterator[Experiment]:
        """Snapshots of an experiment, one at every change, the last one when it has ended.

        A server that restarts in between is waited for up to `patience` seconds; `on_outage` hears of it
        once. `pause` is what happens between two looks.
        """
        identifier = self.resolve(reference)
        last: Experiment | None = None
        lost_at: float | None = None
        while True:
            try:
                snapshot = self.experiment(identifier)
            except (ServerUnreachable, ServerUnavailable) as outage:
                if last is None:
                    raise
                if lost_at is None:
                    lost_at = time.monotonic()
                    if on_outage is not None:
                        on_outage(outage)
                if time.monotonic() - lost_at > patience:
                    raise
            else:
                lost_at = None
                if snapshot != last:
                    last = snapshot
                    yield snapshot
                    if snapshot.state in ENDED:
                        return
            pause(interval)

    def wait(self, reference: UUID | str, *, interval: float = 1.0) -> Experiment:
        """Block until an experiment has ended and return it."""
        for snapshot in self.watch(reference, interval=interval):
            last = snapshot
        return last

    def pause(self, reference: UUID | str) -> Experiment:
        """Lease nothing more; workers hand back what they hold."""
        return self._control(reference, "pause")

    def resume(self, reference: UUID | str) -> Experiment:
        """Go on with a paused experiment."""
        return self._control(reference, "resume")

    def cancel(self, reference: UUID | str) -> Experiment:
        """End an experiment; searches that another one shares go on for that one."""
        return self._control(reference, "cancel")

    def purge(self, reference: UUID | str) -> None:
        """Remove an ended experiment for good; what another experiment stands on stays. Raises Conflict."""
        self._http.command("DELETE", f"/v1/experiments/{self.resolve(reference)}")

    def retry(self, reference: UUID | str) -> Retried:
        """Give what an experiment has failed at another chance, wherever it can still be used."""
        return self._http.send("POST", f"/v1/experiments/{self.resolve(reference)}/retry", Retried)

    def failures(self, reference: UUID | str, *, limit: int = 50, log: bool = False) -> Failures:
        """Attempts that were lost or failed, newest first, with the last lines of their logs if asked to."""
        query = {"limit": str(limit)} | ({"log": "true"} if log else {})
        return self._http.send("GET", f"/v1/experiments/{self.resolve(reference)}/failures", Failures, query=query)

    def search(self, search_id: UUID) -> SearchView:
        """A stage search."""
        return self._http.send("GET", f"/v1/searches/{search_id}", SearchView)

    def trials(self, search_id: UUID) -> list[TrialView]:
        """The trials of a stage search, by ordinal."""
        return self._http.send("GET", f"/v1/searches/{search_id}/trials", list[TrialView])

    def network(self, reference: UUID | str, choice: NetworkChoice) -> Network:
        """A trained variant on one seed: what is needed to build it again. Raises Conflict while it is not trained."""
        query = {name: str(value) for name, value in choice.model_dump(exclude_defaults=True).items()}
        return self._http.send("GET", f"/v1/experiments/{self.resolve(reference)}/network", Network, query=query)

    def artifact(self, sha256: str) -> bytes:
        """The bytes of a checkpoint. Raises UnexpectedAnswer for other bytes than those of this SHA-256."""
        content = self._http.download(f"/v1/artifacts/{quote(sha256, safe='')}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UnexpectedAnswer(f"the server sent other bytes than those of the artifact {sha256}; try again")
        return content

    def embed(self, reference: UUID | str, request: EmbeddingRequest) -> Embedding:
        """Ask for the t-SNE of a variant; the same request again gives the same embedding."""
        path = f"/v1/experiments/{self.resolve(reference)}/embeddings"
        return self._http.send("POST", path, Embedding, body=Body.of_model(request))

    def embeddings(self, reference: UUID | str) -> list[Embedding]:
        """The embeddings of an experiment's networks, without their coordinates."""
        return self._http.send("GET", f"/v1/experiments/{self.resolve(reference)}/embeddings", list[Embedding])

    def embedding(self, reference: UUID | str, embedding_id: UUID) -> Embedding:
        """An embedding, with its coordinates once it is finished."""
        path = f"/v1/experiments/{self.resolve(reference)}/embeddings/{embedding_id}"
        return self._http.send("GET", path, Embedding)

    def workers(self) -> list[WorkerView]:
        """Workers and what they hold."""
        return self._http.send("GET", "/v1/workers", list[WorkerView])

    def drain(self, worker: UUID | str) -> WorkerView:
        """Let a worker, given by id, the start of one or a name that no other has, hand back its tasks and leave."""
        return self._http.send("POST", f"/v1/workers/{self._worker(worker)}/drain", WorkerView)

    def undrain(self, worker: UUID | str) -> WorkerView:
        """Let a worker that was to leave work on, if it is still there."""
        return self._http.send("POST", f"/v1/workers/{self._worker(worker)}/undrain", WorkerView)

    def datasets(self) -> list[DatasetView]:
        """Data sets that can be submitted against."""
        return self._http.send("GET", "/v1/datasets", list[DatasetView])

    def presets(self) -> list[PresetView]:
        """Submissions that ship with the server."""
        return self._http.send("GET", "/v1/presets", list[PresetView])

    def preset(self, name: str) -> PresetView:
        """A preset by name."""
        return self._http.send("GET", f"/v1/presets/{quote(name, safe='')}", PresetView)

    def create_token(self, name: str, scope: Scope, *, expires: str = "90d") -> NewToken:
        """A new token that lives so long (90d, 12h); its secret is told this once."""
        body = Body.of_model(TokenRequest(name=name, scope=scope, expires=expires))
        return self._http.send("POST", "/v1/tokens", NewToken, body=body, repeatable=False)

    def tokens(self) -> list[TokenView]:
        """All tokens, without their secrets."""
        return self._http.send("GET", "/v1/tokens", list[TokenView])

    def revoke_token(self, token_id: UUID) -> None:
        """End a token at once."""
        self._http.command("DELETE", f"/v1/tokens/{token_id}")

    def audit(self, *, limit: int | None = None) -> list[AuditEntry]:
        """Who did or tried what, newest first; all that is kept without `limit`."""
        found: list[AuditEntry] = []
        query = {"limit": str(min(limit or PAGE, PAGE))}
        while True:
            answer = self._http.send("GET", "/v1/audit", AuditPage, query=query)
            found += answer.items
            if answer.next is None or (limit is not None and len(found) >= limit):
                return found[:limit]
            query["cursor"] = answer.next

    def create_login_code(self) -> LoginCode:
        """A one-time code for the page; `login_link` makes the address of it."""
        return self._http.send("POST", "/v1/login-codes", LoginCode, repeatable=False)

    def login_link(self) -> str:
        """A link that opens the page once, within five minutes."""
        return f"{self.url}{self.create_login_code().path}"

    def version(self) -> Version:
        """What the server runs."""
        return self._http.send("GET", "/version", Version)

    def readiness(self) -> Readiness:
        """Whether the server can work, or what is missing; 503 is an answer here."""
        return self._http.send("GET", "/readyz", Readiness, accept=frozenset({503}))

    def _control(self, reference: UUID | str, verb: str) -> Experiment:
        return self._http.send("POST", f"/v1/experiments/{self.resolve(reference)}/{verb}", Experiment)

    def _worker(self, reference: UUID | str) -> UUID:
        if isinstance(reference, UUID):
            return reference
        wanted = reference.strip()
        known = self.workers()
        # Workers of one name come and go: those that are there are meant.
        named = [item for item in known if item.name == wanted and item.state != "offline"]
        matches = named or [item for item in known if wanted and str(item.id).startswith(wanted.lower())]
        if not matches:
            raise _unknown(f"no worker is called {wanted!r}, and no id starts so; `stagetune workers` shows them")
        if len(matches) > 1:
            several = ", ".join(f"{str(item.id)[:13]} ({item.name})" for item in matches[:5])
            raise BadUsage(f"{wanted!r} may mean {len(matches)} workers: {several}")
        return matches[0].id

    def _body(self, source: Source) -> Body:
        found = read_source(source)
        if isinstance(found, Body):
            return found
        try:
            return Body.of_yaml(self.preset(found).text)
        except NotFound:
            names = ", ".join(preset.name for preset in self.presets())
            raise BadUsage(f"{found!r} is neither a file nor a preset; presets are: {names}") from None


def _reuse(reuse: bool) -> dict[str, str] | None:
    return None if reuse else {"reuse": "false"}


def _unknown(detail: str) -> NotFound:
    return NotFound(Problem(type="/problems/not-found", title="Not found", status=404, detail=detail))
