"""Trained networks of an experiment: their description for an export, and t-SNE embeddings of their stages."""

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import numpy as np
from fastapi import APIRouter, Query, Response
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from contract.networks import Embedding, EmbeddingRequest, Network, NetworkChoice
from service.api.auth import READ, SUBMIT, GuardedRoute
from service.api.problems import responses
from service.api.services import Served
from service.artifacts.checks import MAX_HEADER_BYTES
from service.domain import networks
from service.domain.errors import InvalidArtifact
from service.domain.experiment import Variant
from service.domain.states import BudgetRule, Learning
from service.usecases.describe_network import describe_network
from service.usecases.request_embedding import get_embedding, list_embeddings, request_embedding
from service.usecases.require_artifact import require_artifact

# Up to there float32 has all whole numbers, which labels and images are.
_LARGEST = 2.0**24

router = APIRouter(prefix="/v1/experiments/{experiment}", route_class=GuardedRoute, tags=["networks"])

_REFUSALS = responses("not-found", "conflict", "invalid-request")


@router.get("/network", dependencies=[READ], responses=_REFUSALS)
def show_network(experiment: UUID, choice: Annotated[NetworkChoice, Query()], services: Served) -> Network:
    """A trained variant on one seed: what is needed to build it again, with the names of its checkpoints."""
    return Network.model_validate(describe_network(services.store, experiment, _choice(choice)))


@router.post(
    "/embeddings",
    status_code=202,
    dependencies=[SUBMIT],
    responses={
        202: {"headers": {"Location": {"description": "The embedding", "schema": {"type": "string"}}}},
        **_REFUSALS,
    },
)
def embed(experiment: UUID, wanted: EmbeddingRequest, response: Response, services: Served) -> Embedding:
    """Ask for a t-SNE of the features of every stage; a worker computes it in the background."""
    made = request_embedding(services.store, experiment, _choice(wanted), wanted.points, wanted.perplexity)
    services.changed()
    response.headers["Location"] = f"/v1/experiments/{experiment}/embeddings/{made.id}"
    return Embedding.model_validate(made)


@router.get("/embeddings", dependencies=[READ], responses=responses("not-found"))
def embeddings(experiment: UUID, services: Served) -> list[Embedding]:
    """The embeddings of an experiment's networks, without their coordinates."""
    return [Embedding.model_validate(view) for view in list_embeddings(services.store, experiment)]


@router.get(
    "/embeddings/{embedding}",
    dependencies=[READ],
    responses=responses("not-found", "invalid-artifact", "artifact-damaged"),
)
def show_embedding(experiment: UUID, embedding: UUID, services: Served) -> Embedding:
    """How far an embedding is, and once it is finished its coordinates."""
    view = get_embedding(services.store, experiment, embedding)
    answer = Embedding.model_validate(view)
    if view.checkpoint is None:
        return answer
    stored = require_artifact(services.store, services.artifacts, view.checkpoint)
    return _with_coordinates(answer, services.artifacts.read(stored.sha256), stored.size)


def _with_coordinates(embedding: Embedding, content: Iterable[bytes], size: int) -> Embedding:
    """What stands in the file of ``contract.tasks.EmbeddingOutcome``; a file of more than that is not read."""
    most = 4 * embedding.points * (2 * len(embedding.stages) + 2) + MAX_HEADER_BYTES
    if size > most:
        raise InvalidArtifact("the worker's file is larger than the embedding it should hold; ask for it again")
    try:
        tensors = load(b"".join(content))
        stages = [
            stage.model_dump()
            | {"coordinates": _numbers(tensors[f"stage-{number}"], embedding.points, 2).round(4).tolist()}
            for number, stage in enumerate(embedding.stages, start=1)
        ]
        whole = {name: _numbers(tensors[name], embedding.points).astype(int).tolist() for name in ("labels", "images")}
        return Embedding.model_validate(embedding.model_dump() | {"stages": stages} | whole)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InvalidArtifact("the worker's file does not hold an embedding; ask for it again") from error


def _numbers(tensor: NDArray[np.float32], *shape: int) -> NDArray[np.float64]:
    """The tensor, if it is what was promised: of a shape with a zero and a huge side, lists would take all memory."""
    if tensor.dtype != np.float32 or tensor.shape != shape or not (np.abs(tensor) < _LARGEST).all():
        raise ValueError("a tensor of another type or shape, or numbers that are none")
    return tensor.astype(np.float64)


def _choice(choice: NetworkChoice) -> networks.NetworkChoice:
    variant = Variant(
        choice.architecture,
        Learning(choice.learning),
        BudgetRule(choice.budget),
        checkpointing=choice.checkpointing,
        normalize_cuts=choice.normalize_cuts,
    )
    return networks.NetworkChoice(variant, choice.phase, choice.seed)
