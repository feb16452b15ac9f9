"""Errors on the wire: RFC 9457 problem+json with stable types."""

from typing import Literal

from pydantic import Field

from contract.base import Lenient

ProblemType = Literal[
    "invalid-submission",  # 422: the submission contradicts itself or the data set; faults say where and what to do
    "invalid-request",  # 422: the request does not have the published form
    "malformed-body",  # 400: not JSON or YAML at all
    "request-timeout",  # 408: the body came too slowly; send it again
    "body-too-large",  # 413
    "unsupported-media-type",  # 415: a body of another media type, character set or content encoding
    "range-not-satisfiable",  # 416
    "unauthenticated",  # 401: no token or session, or one that is unknown, expired or revoked
    "forbidden",  # 403: the token's scopes do not reach here, or the request came from another site
    "not-found",  # 404
    "method-not-allowed",  # 405
    "conflict",  # 409: the state of the thing does not allow it
    "too-many-experiments",  # 409: as many are open as the server takes
    "lease-lost",  # 409: the attempt was superseded; stop working on it
    "draining",  # 409: the worker gets no more tasks and may leave
    "result-conflict",  # 422: another result was already accepted for this attempt
    "digest-mismatch",  # 422: the bytes are not what their name says
    "invalid-artifact",  # 422: not a checkpoint this service accepts
    "unknown-dataset",  # 422: no worker holds the data set and it is not built in
    "too-many-requests",  # 429
    "artifact-damaged",  # 410: the server has the artifact on its books, but not its bytes as they were
    "storage-full",  # 507
    "storage-unavailable",  # 503 with Retry-After: the bucket for artifacts is away
    "database-unavailable",  # 503 with Retry-After
    "internal-error",  # 500
]


class Fault(Lenient):
    """One mistake: where it stands and what to do about it."""

    path: str = Field(description="e.g. architectures.CNN 1[0]")
    message: str


class Problem(Lenient):
    """application/problem+json."""

    type: str = Field(description="/problems/ followed by a ProblemType")
    title: str
    status: int
    detail: str
    faults: list[Fault] = []
    trace_id: str | None = Field(None, description="of an internal-error: it stands in the server's log, too")
