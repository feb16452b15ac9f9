"""The only file of the worker that speaks HTTP: the protocol of docs/worker-protocol.md as methods."""

import hashlib
import logging
import random
import re
import ssl
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID, uuid4

import httpx
import stamina
from pydantic import BaseModel, ValidationError

from contract.base import Digest
from contract.problems import Problem
from contract.tasks import (
    FailureAccepted,
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LeaseRequest,
    RegisteredWorker,
    ResultAccepted,
    Snapshot,
    StoredArtifact,
    TaskFailure,
    TaskResult,
    WorkerRegistration,
)

log = logging.getLogger(__name__)

# A server that is down, restarting, busy or full, or a connection too slow for it; anything else is an answer, not an
# outage.
_OUTAGE_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 507})
_CHUNK = 1 << 20
# A connection damages a download now and then; one that is never whole is damaged at the server.
_DOWNLOADS = 3
_GOODBYE_SECONDS = 5.0
_SECONDS = re.compile(r"[0-9]{1,6}")
_TOKEN = re.compile(r"[!-~]+")

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)


class ProtocolError(Exception):
    """The server refused a call for good; ``code`` is the problem type."""

    def __init__(self, code: str, status: int, detail: str) -> None:
        super().__init__(f"{detail} [{code}, HTTP {status}]")
        self.code = code
        self.status = status


class LeaseLost(ProtocolError):
    """Another attempt took the task over, or it was cancelled: stop working on it."""


class Unreachable(Exception):
    """The server stayed out of contact for longer than the worker waits."""


class _Outage(Exception):
    """One call that met an outage; retried with jitter on a fresh connection, not before ``seconds`` have passed."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class ServerClient:
    """Calls to one server, for one thread; ``twin`` is for the next.

    ``patience`` is how many seconds a call is retried while the server is out of contact before Unreachable.
    ``ca_file`` has the certificates to trust instead of the machine's. Raises ValueError for what is no URL, no token
    or no certificate.
    """

    def __init__(self, server: str, token: str, patience: float = 600.0, ca_file: Path | None = None) -> None:
        _check_url(server)
        if not _TOKEN.fullmatch(token):
            # Refused here: the HTTP library would quote it in its error.
            raise ValueError("the token is not one word of printable ASCII characters")
        self._server = server.rstrip("/")
        self._token = token
        self._patience = patience
        self._ca_file = ca_file
        self._http = self._connect()

    def twin(self) -> "ServerClient":
        """The same for another thread: a connection given up by one is never in use by the other."""
        return ServerClient(self._server, self._token, self._patience, self._ca_file)

    def register(self, worker: UUID, registration: WorkerRegistration) -> RegisteredWorker:
        """Announce this worker; repeating it changes nothing."""
        answer = self._call("PUT", f"/v1/worker/workers/{worker}", registration)
        return _read(RegisteredWorker, answer)

    def depart(self, worker: UUID) -> None:
        """Say goodbye, which hands back what the worker holds. Repeated for seconds only: it leaves either way."""
        self._call("DELETE", f"/v1/worker/workers/{worker}", patience=_GOODBYE_SECONDS)

    def lease(self, request: LeaseRequest) -> Lease | None:
        """One task, or None when nothing is ready within the waiting time; safe to repeat by its request id."""
        answer = self._call("POST", "/v1/worker/leases", request, timeout=request.wait_seconds + 15.0)
        return None if answer.status_code == httpx.codes.NO_CONTENT else _read(Lease, answer)

    def heartbeat(self, lease: Lease, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew the lease; raises LeaseLost when it was superseded. Tried once: the next beat is the retry."""
        answer = self._call("POST", f"{_attempt(lease)}/heartbeat", heartbeat, patience=0.0)
        return _read(HeartbeatAnswer, answer)

    def result(self, lease: Lease, result: TaskResult) -> ResultAccepted:
        """Hand the result in; repeated until accepted, refused, or out of patience."""
        return _read(ResultAccepted, self._call("PUT", f"{_attempt(lease)}/result", result))

    def failure(self, lease: Lease, failure: TaskFailure) -> FailureAccepted:
        """Tell that the attempt ended without a result."""
        return _read(FailureAccepted, self._call("PUT", f"{_attempt(lease)}/failure", failure))

    def release(self, lease: Lease, patience: float | None = None) -> None:
        """Hand the task back unfinished; it costs no strike."""
        self._call("POST", f"{_attempt(lease)}/release", patience=patience)

    def upload(self, content: bytes, lease: Lease, patience: float | None = None) -> Digest:
        """Store an artifact of an attempt under its SHA-256 unless the server has it already."""
        digest = hashlib.sha256(content).hexdigest()
        path = f"/v1/worker/artifacts/{digest}?task={lease.task}&attempt={lease.attempt}"
        answer = self._call("PUT", path, content=content, timeout=_allowance(content), patience=patience)
        return _read(StoredArtifact, answer).sha256

    def snapshot(self, lease: Lease, snapshot: Snapshot) -> None:
        """Name an uploaded state of the training as its newest. Tried once: the next snapshot is the retry."""
        self._call("PUT", f"{_attempt(lease)}/snapshot", snapshot, patience=0.0)

    def download(self, digest: Digest, target: Path) -> None:
        """Stream an artifact into ``target``, which appears only once complete and verified."""
        for _ in range(_DOWNLOADS):
            if self._retry(lambda: self._stream(digest, target), self._patience):
                return
            log.warning("artifact %s arrived damaged", digest[:12])
        raise ProtocolError("digest-mismatch", 200, f"artifact {digest[:12]} is damaged at the server")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _stream(self, digest: Digest, target: Path) -> bool:
        """Whether the artifact arrived whole."""
        partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
        seen = hashlib.sha256()
        try:
            with self._http.stream("GET", f"/v1/artifacts/{digest}", timeout=30.0) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    _refuse(answer)
                with partial.open("wb") as file:
                    for chunk in answer.iter_bytes(_CHUNK):
                        seen.update(chunk)
                        file.write(chunk)
            whole = seen.hexdigest() == digest
            if whole:
                partial.replace(target)
            return whole
        finally:
            partial.unlink(missing_ok=True)

    def _call(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        *,
        content: bytes | None = None,
        timeout: float = 15.0,
        patience: float | None = None,
    ) -> httpx.Response:
        payload: dict[str, Any] = {}
        if body is not None:
            payload = {"content": body.model_dump_json(), "headers": {"Content-Type": "application/json"}}
        elif content is not None:
            payload = {"headers": {"Content-Length": str(len(content))}}

        def once() -> httpx.Response:
            if content is not None:
                # In pieces, so that the timeout counts from one to the next.
                payload["content"] = _chunks(content)
            answer = self._http.request(method, path, timeout=timeout, **payload)
            if answer.is_success:
                return answer
            _refuse(answer)

        return self._retry(once, self._patience if patience is None else patience)

    def _retry(self, call: Callable[[], Answer], patience: float) -> Answer:
        """Repeat through outages; ``patience`` 0 means one try."""

        def wait(error: Exception) -> bool | float:
            if isinstance(error, _Outage) and error.seconds:
                # Not all at once: the server told others the same.
                return min(error.seconds + random.uniform(0, 1), patience)  # noqa: S311 - not a secret
            return isinstance(error, _Outage)

        try:
            for attempt in stamina.retry_context(
                on=wait,
                attempts=None if patience else 1,
                timeout=patience or None,
                wait_initial=0.2,
                wait_max=15.0,
                wait_jitter=2.0,
            ):
                with attempt:
                    try:
                        return call()
                    except (httpx.TransportError, httpx.DecodingError, _Outage) as error:
                        self._reconnect()
                        reason = str(error) if isinstance(error, _Outage) else f"{type(error).__name__}: {error}"
                        if patience:
                            log.warning("no contact with %s: %s", self._server, reason)
                        raise _Outage(reason, getattr(error, "seconds", 0.0)) from error
        except _Outage as outage:
            raise Unreachable(f"no contact with {self._server}: {outage}") from outage
        raise AssertionError("stamina ends by returning or raising")

    def _connect(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._token}"}
        trusted = _certificates(self._ca_file)
        return httpx.Client(base_url=self._server, headers=headers, timeout=15.0, verify=trusted)

    def _reconnect(self) -> None:
        # A half-open connection in the pool would fail every retry; a fresh pool does not. A signal may interrupt this
        # at any point, so that what calls go through is never closed.
        broken, self._http = self._http, self._connect()
        broken.close()


@cache
def _certificates(ca_file: Path | None) -> ssl.SSLContext:
    # Reading them takes longer than any call of ours, and every fresh pool would.
    if ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"the CA file {ca_file} cannot be used: {error}") from error


def _check_url(server: str) -> None:
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise ValueError(f"{server!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{server!r} is no URL of a server; it looks like http://127.0.0.1:8000")


def _allowance(content: bytes) -> float:
    """Seconds of silence after which an upload is taken for lost: what storing so much takes, and a little more."""
    return 15.0 + len(content) / 10_000_000


def _attempt(lease: Lease) -> str:
    return f"/v1/worker/tasks/{lease.task}/attempts/{lease.attempt}"


def _chunks(content: bytes) -> Iterator[bytes]:
    view = memoryview(content)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])


def _read(model: type[Model], answer: httpx.Response) -> Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or model.__name__
        raise ProtocolError(
            "internal-error", answer.status_code, f"the server's answer is not understood: {place}: {fault['msg']}"
        ) from error


def _told_to_wait(answer: httpx.Response) -> float:
    """The seconds of a Retry-After; 0 without one, or for a date, which no server of ours sends."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if _SECONDS.fullmatch(told) else 0.0


def _refuse(answer: httpx.Response) -> NoReturn:
    """Raise what a refusal means: an outage to wait out, a lost lease, or a final no."""
    if answer.status_code in _OUTAGE_STATUSES:
        raise _Outage(f"HTTP {answer.status_code}", _told_to_wait(answer))
    try:
        problem = Problem.model_validate_json(answer.content)
        code, detail = problem.type.rsplit("/", 1)[-1], problem.detail
    except ValidationError:
        code, detail = "internal-error", answer.text[:200]
    kind = LeaseLost if code == "lease-lost" else ProtocolError
    raise kind(code, answer.status_code, detail)
