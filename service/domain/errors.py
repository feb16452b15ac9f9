"""What the service refuses and why: a small tree whose codes are the problem types of the wire.

HTTP statuses stand in one table at the edge (service/api/problems.py); nothing here knows of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import cleandoc


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in a submission: the path of the field, and what to do about it."""

    path: str
    message: str


class StagetuneError(Exception):
    """Something went wrong inside the service."""

    code = "internal-error"
    faults: tuple[Fault, ...] = ()
    confidential = False

    def __init__(self, message: str | None = None) -> None:
        """Without a message the class's docstring is the message."""
        self.message = message or self._sentence()
        super().__init__(self.message)

    @property
    def told(self) -> str:
        """What clients are told: the message, unless that is for the operator's log alone."""
        return self._sentence() if self.confidential else self.message

    @classmethod
    def _sentence(cls) -> str:
        return cleandoc(cls.__doc__ or "").splitlines()[0]


class InvalidSubmission(StagetuneError):
    """The submission contradicts itself or the data set."""

    code = "invalid-submission"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        told = [f"{fault.path}: {fault.message}" for fault in self.faults]
        super().__init__(told[0] if count == 1 else f"the submission has {count} faults")


class InvalidRequest(StagetuneError):
    """The request does not have the published form."""

    code = "invalid-request"

    def __init__(self, message: str | None = None, faults: Iterable[Fault] = ()) -> None:
        """A single fault needs no other message."""
        self.faults = tuple(faults)
        if message is None and len(self.faults) == 1:
            message = f"{self.faults[0].path}: {self.faults[0].message}"
        super().__init__(message)


class MalformedBody(StagetuneError):
    """The body is neither JSON nor YAML."""

    code = "malformed-body"


class UnsupportedMediaType(StagetuneError):
    """The body is in a format or an encoding that this address does not read."""

    code = "unsupported-media-type"


class RangeNotSatisfiable(StagetuneError):
    """There are no such bytes."""

    code = "range-not-satisfiable"


class BodyTooLarge(StagetuneError):
    """The body is larger than the server accepts."""

    code = "body-too-large"


class Unauthenticated(StagetuneError):
    """A token or a session is needed: it is missing, unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(StagetuneError):
    """The token's scope does not reach here."""

    code = "forbidden"


class NotFound(StagetuneError):
    """There is no such thing."""

    code = "not-found"


class Conflict(StagetuneError):
    """The state of the thing does not allow it."""

    code = "conflict"


class LeaseLost(StagetuneError):
    """The attempt was superseded or its task has ended; stop working on it."""

    code = "lease-lost"


class Draining(StagetuneError):
    """The worker is being drained: it gets no more tasks and may leave."""

    code = "draining"


class ResultConflict(StagetuneError):
    """Another result was already accepted for this attempt."""

    code = "result-conflict"


class DigestMismatch(StagetuneError):
    """The bytes are not what their name says."""

    code = "digest-mismatch"


class InvalidArtifact(StagetuneError):
    """The bytes are not a checkpoint that this service accepts."""

    code = "invalid-artifact"


class UnknownDataset(StagetuneError):
    """No worker holds the data set and it is not built in."""

    code = "unknown-dataset"

    def __init__(self, reason: str) -> None:
        self.faults = (Fault("dataset.name", reason),)
        super().__init__(f"dataset.name: {reason}")


class TooManyRequests(StagetuneError):
    """Too many requests; try again later."""

    code = "too-many-requests"

    def __init__(self, message: str | None = None, seconds: int | None = None) -> None:
        """``seconds`` from now on requests are taken again."""
        self.seconds = seconds
        super().__init__(message)


class TooManyExperiments(StagetuneError):
    """As many experiments are open as this server takes."""

    code = "too-many-experiments"


class StorageFull(StagetuneError):
    """The server has no room left for artifacts."""

    code = "storage-full"


class StorageUnavailable(StagetuneError):
    """The bucket for artifacts does not answer; try again in a moment."""

    code = "storage-unavailable"
    confidential = True


class ArtifactDamaged(StagetuneError):
    """The bytes of an artifact are gone or damaged."""

    code = "artifact-damaged"


class DatabaseUnavailable(StagetuneError):
    """The database does not answer; try again in a moment."""

    code = "database-unavailable"
    confidential = True
