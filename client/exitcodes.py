"""What the `stagetune` command's exit status means; scripts may rely on these."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of every command."""

    OK = 0
    FAILED = 1
    """The experiment failed or was cancelled, or something unexpected happened."""
    USAGE = 2
    """The command line itself is wrong."""
    UNREACHABLE = 3
    """No server answers, or it is not ready."""
    REFUSED = 4
    """The server refused the input, or the state of the experiment does not allow it."""
    NOT_FOUND = 5
    NOT_AUTHORISED = 6
    INTERRUPTED = 130
    """Ctrl-C."""
