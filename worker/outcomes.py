"""What the work of a task brought, in the protocol's words."""

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Literal

import torch

from contract.tasks import (
    MOST_MARKED,
    EmbeddedStage,
    EmbeddingOutcome,
    EvaluationOutcome,
    Measurement,
    Memory,
    RangeOutcome,
    StageProbe,
    TrainingOutcome,
)
from worker.embed import Embedding
from worker.probes import Probe
from worker.stage_training import ChainResult, StageResult
from worker.training.device import device_name, dtype_name, resolve_precision
from worker.training.spec import Ending, PrecisionChoice

_ENDINGS: dict[Ending, Literal["complete", "pruned", "diverged"]] = {
    Ending.COMPLETE: "complete",
    Ending.PRUNED: "pruned",
    Ending.DIVERGED: "diverged",
}


def measurement(step: int, epoch: float, validation_accuracy: float, loss: float) -> Measurement:
    """One point of a curve; a loss that is not finite is left out."""
    told = loss if math.isfinite(loss) else None
    return Measurement(step=step, epoch=epoch, validation_accuracy=validation_accuracy, loss=told)


def training_outcome(trained: StageResult, total_seconds: float) -> TrainingOutcome:
    """Of a trial or a fit."""
    result = trained.training
    return TrainingOutcome(
        outcome=_ENDINGS[result.ending],
        validation_accuracy=result.validation_accuracy,
        training_accuracy=result.training_accuracy,
        epochs=result.epochs,
        training_seconds=result.training_seconds,
        feature_seconds=result.feature_seconds,
        evaluation_seconds=result.evaluation_seconds,
        total_seconds=total_seconds,
        memory=Memory(
            peak_bytes=result.memory.peak_bytes,
            method=result.memory.method,
            analytic_bytes=result.memory.analytic_bytes,
            resident_bytes=result.memory.resident_bytes,
            activation_bytes=result.memory.activation_bytes,
        ),
        features=trained.features,
        curve=[measurement(point.step, point.epoch, point.validation_accuracy, point.loss) for point in result.curve],
        provenance=_provenance(result.device, result.precision)
        | {
            # Results on the CPU depend on it: sums are split among threads.
            "threads": str(torch.get_num_threads()),
            "training accuracy over": f"{result.training_accuracy_images} images",
        },
    )


def evaluation_outcome(result: ChainResult, probes: Sequence[Probe], total_seconds: float) -> EvaluationOutcome:
    """Of a chain on the test set, and of each of its stages."""
    return EvaluationOutcome(
        outcome="evaluated",
        test_accuracy=result.test_accuracy,
        images=result.images,
        total_seconds=total_seconds,
        stages=[StageProbe(head_accuracy=probe.head_accuracy, knn_accuracy=probe.knn_accuracy) for probe in probes],
        right=b64encode(result.right).decode() if result.images <= MOST_MARKED else None,
        provenance=_provenance(result.device, result.precision),
    )


def range_outcome(
    losses: Sequence[float | None], total_seconds: float, device: torch.device, precision: PrecisionChoice
) -> RangeOutcome:
    """Of a range test on ``device``."""
    return RangeOutcome(
        outcome="ranged",
        losses=list(losses),
        total_seconds=total_seconds,
        provenance=_provenance(device_name(device), dtype_name(resolve_precision(precision, device))),
    )


def embedding_outcome(
    embedding: Embedding, perplexity: float, class_names: Sequence[str], total_seconds: float
) -> EmbeddingOutcome:
    """Of the pictures of all stages."""
    return EmbeddingOutcome(
        outcome="embedded",
        points=embedding.points,
        perplexity=perplexity,
        stages=[
            EmbeddedStage(dimensions=stage.dimensions, components=stage.components, seconds=stage.seconds)
            for stage in embedding.stages
        ],
        # The names of folders are bytes, which need not be text.
        class_names=[name.encode("utf-8", "replace").decode() for name in class_names],
        total_seconds=total_seconds,
        provenance=_provenance(embedding.device, embedding.precision),
    )


def _provenance(device: str, precision: str) -> dict[str, str]:
    return {"device": device, "precision": precision, "torch": str(torch.__version__)}
