"""Python client for a stagetune server, and the `stagetune` command."""

from client.api import Client
from client.errors import (
    Conflict,
    NotAuthorised,
    NotFound,
    RequestRefused,
    ServerProblem,
    ServerUnavailable,
    ServerUnreachable,
    StagetuneError,
    SubmissionRefused,
)

__all__ = [
    "Client",
    "Conflict",
    "NotAuthorised",
    "NotFound",
    "RequestRefused",
    "ServerProblem",
    "ServerUnavailable",
    "ServerUnreachable",
    "StagetuneError",
    "SubmissionRefused",
]
