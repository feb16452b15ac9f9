"""One HTTP call of the client: token, retries, typed answers, typed errors."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import stamina
from pydantic import BaseModel, TypeAdapter, ValidationError

from client.connection import Connection, is_loopback
from client.errors import BadUsage, ServerProblem, ServerUnavailable, ServerUnreachable, UnexpectedAnswer, from_problem
from contract.problems import Problem

Answer = TypeVar("Answer")

FIRST_CONTACT_SECONDS = 1.0
"""A server that never answered is probably not there: say so soon."""
LONGEST_RETRY_AFTER = 10.0


@dataclass(frozen=True)
class Body:
    """A request body with its media type."""

    content: bytes
    media_type: str

    @classmethod
    def of_yaml(cls, text: str | bytes) -> "Body":
        return cls(text.encode() if isinstance(text, str) else text, "application/yaml")

    @classmethod
    def of_json(cls, value: object) -> "Body":
        return cls(json.dumps(value, allow_nan=False).encode(), "application/json")

    @classmethod
    def of_model(cls, model: BaseModel) -> "Body":
        return cls(model.model_dump_json(exclude_unset=True).encode(), "application/json")


class Http:
    """A connection to one server."""

    def __init__(self, connection: Connection, *, timeout: float, patience: float) -> None:
        self.url = connection.url
        self._patience = patience
        self._reached = False
        headers = {"Accept": "application/json, application/problem+json"}
        if connection.token is not None:
            headers["Authorization"] = f"Bearer {connection.token}"
        self._client = httpx.Client(
            base_url=connection.url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            verify=_trusted(connection.ca_file),
            # A proxy of the environment never reaches this machine's loopback.
            trust_env=not is_loopback(urlsplit(connection.url).hostname or ""),
        )

    def close(self) -> None:
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        accept: frozenset[int] = frozenset(),
    ) -> Answer:
        """Call and read the answer as `answer`; statuses in `accept` count as success beside 2xx."""
        response = self._exchange(method, path, body, query, headers, repeatable, accept)
        try:
            return TypeAdapter(answer).validate_json(response.content)
        except ValidationError:
            raise UnexpectedAnswer(
                f"{self.url}{path} answered {response.status_code} with something that is no {_name(answer)}: "
                "another kind of server, or one of a very different version"
            ) from None

    def command(self, method: str, path: str) -> None:
        """Call where success has nothing to say."""
        self._exchange(method, path, None, None, None, True, frozenset())

    def download(self, path: str) -> bytes:
        """The bytes at an address."""
        return self._exchange("GET", path, None, None, None, True, frozenset()).content

    def _exchange(
        self,
        method: str,
        path: str,
        body: Body | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        repeatable: bool,
        accept: frozenset[int],
    ) -> httpx.Response:
        sent = dict(headers or {}) | ({"Content-Type": body.media_type} if body else {})
        patience = self._patience if self._reached else min(self._patience, FIRST_CONTACT_SECONDS)
        try:
            for attempt in stamina.retry_context(
                on=_worth_repeating, attempts=None if repeatable else 1, timeout=patience, wait_max=2.0, wait_jitter=0.5
            ):
                with attempt:
                    response = self._client.request(
                        method, path, content=body.content if body else None, params=query, headers=sent
                    )
                    self._reached = True
                    if not response.is_success and response.status_code not in accept:
                        raise _error(response, self.url)
        except httpx.TransportError as error:
            raise ServerUnreachable(self.url, _reason(error)) from error
        return response


def _trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    """What vouches for a server that speaks TLS."""
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file.expanduser())
    except (OSError, ssl.SSLError) as error:
        raise BadUsage(f"the CA file {ca_file} cannot be used: {error}") from None


def _worth_repeating(error: Exception) -> bool | float:
    if isinstance(error, _Unavailable) and error.retry_after is not None:
        return min(error.retry_after, LONGEST_RETRY_AFTER)
    return isinstance(error, httpx.TransportError | _Unavailable)


class _Unavailable(ServerUnavailable):
    """A 503 or 429 with the pause the server asks for, in seconds."""

    def __init__(self, problem: Problem, retry_after: float | None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


def _error(response: httpx.Response, url: str) -> ServerProblem | UnexpectedAnswer:
    said = f"{response.status_code} {response.reason_phrase}"
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        if response.status_code not in (429, 502, 503, 504):
            return UnexpectedAnswer(f"{url} answered {said} to {response.url.path}")
        # A proxy in front of a server that restarts answers in its own words.
        problem = Problem(
            type="/problems/unavailable",
            title="Unavailable",
            status=response.status_code,
            detail=f"{url} answered {said}; try again in a moment",
        )
    if response.status_code in (429, 502, 503, 504):
        pause = response.headers.get("Retry-After", "")
        return _Unavailable(problem, float(pause) if pause.isdecimal() else None)
    return from_problem(problem)


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def _name(answer: object) -> str:
    return getattr(answer, "__name__", str(answer))
