"""Places where a test lets the server die as a power cut would: no handler, no clean-up, no last words.

STAGETUNE_FAILPOINT names one; it is heeded only where STAGETUNE_TESTING is set as well.
"""

import os
from typing import Literal

EXIT_STATUS = 70

Point = Literal[
    "before-submit-commit",
    "after-submit-commit",
    "after-ask",
    "after-suggestion-commit",
    "after-claim",
    "during-upload",
    "after-upload",
    "before-result-commit",
    "after-result-commit",
    "before-decision-commit",
    "before-tell",
    "during-tell",
    "after-tell",
]


def reach(point: Point) -> None:
    """Die here, if this is where the test wants it."""
    if os.environ.get("STAGETUNE_FAILPOINT") == point and os.environ.get("STAGETUNE_TESTING"):
        os._exit(EXIT_STATUS)
