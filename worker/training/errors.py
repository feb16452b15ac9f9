"""Why a training gives no result. A diverged or pruned one does: see ``Ending``."""


class TrainingError(Exception):
    """The training ended without a result."""


class OutOfMemory(TrainingError):
    """The device has no memory left now; how much of it others have taken is not known."""


class MemoryLimitExceeded(TrainingError):
    """The training takes more memory than its limit, whatever the device has."""


class TimeLimitExceeded(TrainingError):
    """The training took longer than its time limit."""


class Cancelled(TrainingError):
    """The training was told to stop and throw its work away."""


class Paused(TrainingError):
    """The training was told to stop; ``state`` continues it."""

    def __init__(self, state: bytes) -> None:
        super().__init__("the training was paused")
        self.state = state


class ForeignState(TrainingError):
    """The state to continue from belongs to another training, or is none."""
