"""Everything the client raises; each error knows the command's exit status."""

from collections.abc import Sequence

from client.exitcodes import ExitCode
from contract.problems import Fault, Problem


class StagetuneError(Exception):
    """Base of all errors of this client; `str()` is one line for people."""

    exit_code = ExitCode.FAILED
    faults: Sequence[Fault] = ()


class BadUsage(StagetuneError):
    """What was asked for cannot be meant: a missing file, an ambiguous id."""

    exit_code = ExitCode.USAGE


class MissingToken(StagetuneError):
    """There is no token where one is needed."""

    exit_code = ExitCode.NOT_AUTHORISED


class ServerUnreachable(StagetuneError):
    """Nothing answers at the server's URL."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(f"no stagetune server answers at {url} ({reason}); `stagetune up` starts one on this machine")


class DatabaseUnreachable(StagetuneError):
    """The server's database does not answer."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database does not answer ({reason}); start it, or mend STAGETUNE_DATABASE_URL")


class ServerProblem(StagetuneError):
    """The server answered with an error.

    `type` is a contract ProblemType such as "not-found", `faults` say what is wrong where.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.type = problem.type.rpartition("/")[2]
        self.status = problem.status
        self.detail = problem.detail
        self.faults = tuple(problem.faults)
        super().__init__(problem.detail or problem.title)


class RequestRefused(ServerProblem):
    """The request is not what the server accepts."""

    exit_code = ExitCode.REFUSED


class SubmissionRefused(RequestRefused):
    """The submission contradicts itself or the data set; `faults` name every mistake."""


class Conflict(RequestRefused):
    """The state of the thing does not allow it."""


class NotFound(ServerProblem):
    """No such experiment, search, token or preset."""

    exit_code = ExitCode.NOT_FOUND


class NotAuthorised(ServerProblem):
    """No token, an expired one, or one whose scope does not reach this."""

    exit_code = ExitCode.NOT_AUTHORISED


class ServerUnavailable(ServerProblem):
    """The server is there but cannot answer now."""

    exit_code = ExitCode.UNREACHABLE


class UnexpectedAnswer(StagetuneError):
    """Something answered that does not speak this API."""


_BY_TYPE: dict[str, type[ServerProblem]] = {
    "invalid-submission": SubmissionRefused,
    "unknown-dataset": SubmissionRefused,
    "conflict": Conflict,
    "not-found": NotFound,
    "unauthenticated": NotAuthorised,
    "forbidden": NotAuthorised,
    "database-unavailable": ServerUnavailable,
    "too-many-requests": ServerUnavailable,
}


def from_problem(problem: Problem) -> ServerProblem:
    """The error class for a problem: by its type, else by its status."""
    kind = _BY_TYPE.get(problem.type.rpartition("/")[2])
    if kind is None:
        kind = RequestRefused if 400 <= problem.status < 500 else ServerProblem
    return kind(problem)
