"""What makes two stage searches the same: a SHA-256 over everything that determines one (DESIGN 15)."""

import hashlib
import json
from dataclasses import asdict

from service.domain.experiment import ExperimentSpec, Phase
from service.domain.layers import Stage
from service.domain.states import Sampler

# Raise it whenever the same specification may train to something else than before: nothing older is reused then.
TRAINING_VERSION = 1
OBJECTIVE = "validation-accuracy"


def search_key(
    spec: ExperimentSpec, phase: Phase, stage: Stage, parent: str | None, earlier: str | None, salt: str | None = None
) -> str:
    """The identity of the search for ``stage`` on the prefix that ``parent`` decides, at the budget of ``phase``.

    Names do not count, nor how a network was cut into the same stage: Total is a search without a parent. The prefix
    counts through its own key. ``earlier`` is the key of the phase before. A ``salt`` keeps a search for itself.
    """
    exponential = spec.search.sampler is Sampler.RANDOM_EXPONENTIAL
    return digest(
        {
            "version": TRAINING_VERSION,
            "objective": OBJECTIVE,
            "parent": parent,
            "earlier": earlier,
            "stage": asdict(stage),
            "dataset": {"digest": spec.dataset.digest, "classes": spec.dataset.classes},
            "split": asdict(spec.split),
            "recipe": asdict(spec.recipe),
            "budget": asdict(phase),
            "sampler": str(spec.search.sampler),
            "space": asdict(spec.search.space),
            "enqueue": [asdict(point) for point in spec.search.enqueue],
            "initial": asdict(spec.search.initial) if exponential else None,
            "seed": spec.seeds[0],
            "limits": asdict(spec.limits),
            "salt": salt,
        }
    )


def digest(document: dict[str, object]) -> str:
    """SHA-256 of the document's canonical JSON, in hex."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
