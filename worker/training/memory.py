"""Training memory: parameters, gradients, optimiser, activations and batch; resident data is reported apart."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from worker.training.device import autocast, dtype_name, synchronize, typed_out_of_memory
from worker.training.errors import OutOfMemory
from worker.training.network import InputStatistics, StageNetwork, build_network, place
from worker.training.optimizer import build_optimizer
from worker.training.spec import Conv, Hyperparameters, Recipe, Stage

CUDA_METHOD = "cuda allocator peak over two training steps"
CPU_METHOD = "peak of live tensor bytes over a profiled training step"
ANALYTIC_METHOD = "analytic"


@dataclass(frozen=True)
class MemoryFigures:
    """Bytes; ``method`` says how the peak was found."""

    peak_bytes: int
    method: str
    analytic_bytes: int
    resident_bytes: int = 0


def analytic_bytes(network: StageNetwork, batch_size: int, batch_dtype: torch.dtype, dtype: torch.dtype) -> int:
    """From shapes alone: weights, gradients and momentum, the batch, and the activations kept for the backward pass.

    Kept are the standardised input, the output of every convolution (rectified in place) and of every pool with the
    int64 positions of its maxima, and the logits. Workspaces and gradients of activations are not in it.
    """
    stage = network.stage
    value_bytes = dtype.itemsize
    input_values = math.prod(stage.input_shape)
    parameters = sum(value.numel() for value in network.parameters())
    buffers = sum(value.numel() for value in network.buffers())
    per_image = input_values * (batch_dtype.itemsize + 4) + 8 + network.classes * 4
    if dtype != torch.float32:
        per_image += input_values * value_bytes
    for layer, shape in zip(stage.layers, stage.shapes, strict=True):
        per_image += math.prod(shape) * (value_bytes if isinstance(layer, Conv) else value_bytes + 8)
    lowered = parameters * value_bytes if dtype != torch.float32 else 0
    return 4 * (3 * parameters + buffers) + lowered + batch_size * per_image


def training_memory(
    network: StageNetwork,
    recipe: Recipe,
    batch_dtype: torch.dtype,
    dtype: torch.dtype,
    device: torch.device,
    limit: int | None,
) -> MemoryFigures:
    """The memory a training step of such a network takes; measuring also warms the kernels up.

    Raises OutOfMemory if the device has not that much or if it is more than ``limit`` bytes.
    """
    needed = analytic_bytes(network, recipe.batch_size, batch_dtype, dtype)
    _refuse_beyond(limit, needed)
    shape = tuple(network.input_mean.shape)
    with typed_out_of_memory():
        peak, method = _measured(
            network.stage, network.classes, network.head_name, shape, recipe, batch_dtype, dtype, device
        )
    figures = MemoryFigures(peak or needed, method, needed)
    _refuse_beyond(limit, figures.peak_bytes)
    return figures


def _refuse_beyond(limit: int | None, needed: int) -> None:
    if limit is not None and needed > limit:
        raise OutOfMemory(
            f"training takes {needed / 2**20:.1f} MiB, allowed are {limit / 2**20:.1f} MiB; "
            "lower batch_size, cut the network into more stages, or raise limits.memory"
        )


@lru_cache(maxsize=1024)
def _measured(
    stage: Stage,
    classes: int,
    head: str,
    mean_shape: tuple[int, ...],
    recipe: Recipe,
    batch_dtype: torch.dtype,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[int, str]:
    # A network of its own, so that measuring leaves no trace in the training.
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    statistics = InputStatistics(torch.zeros(mean_shape), torch.ones(mean_shape[0], 1, 1))
    network = build_network(stage, classes, head, recipe.initialization, 0, statistics)
    place(network, device)
    optimizer = build_optimizer(network, recipe, Hyperparameters(learning_rate=1e-3, regularization=1e-3))

    def step() -> None:
        channels, height, width = stage.input_shape
        inputs = torch.ones(recipe.batch_size, height, width, channels, dtype=batch_dtype, device=device)
        labels = torch.zeros(recipe.batch_size, dtype=torch.int64, device=device)
        training_step(network, optimizer, inputs.permute(0, 3, 1, 2), labels, dtype)

    step()
    if device.type == "cuda":
        step()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, CUDA_METHOD
    if device.type != "cpu":
        synchronize(device)
        return 0, f"{ANALYTIC_METHOD} ({dtype_name(dtype)})"
    optimizer.zero_grad(set_to_none=True)
    held = sum(value.nbytes for value in (*network.parameters(), *network.buffers()))
    held += sum(
        value.nbytes for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    )
    return held + _allocation_peak(step), CPU_METHOD


def _allocation_peak(step: Callable[[], None]) -> int:
    """The highest sum of allocations minus releases while ``step`` runs, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    kineto = profiler.profiler
    assert kineto is not None
    assert kineto.kineto_results is not None
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in kineto.kineto_results.events() if event.name() == "[memory]"
    )
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return peak


def training_step(
    network: StageNetwork, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, dtype: torch.dtype
) -> Tensor:
    """One optimiser step on a batch; its loss, detached and not yet waited for."""
    with autocast(labels.device, dtype):
        logits = network(inputs)
    loss = functional.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()
