"""Training memory: parameters, gradients, optimiser, activations and batch; resident data is reported apart."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from worker.training.device import dtype_name, free_bytes, synchronize, typed_out_of_memory
from worker.training.errors import MemoryLimitExceeded, OutOfMemory
from worker.training.network import StageNetwork, place
from worker.training.objectives import Objective, build_objective, gradients, training_step
from worker.training.optimizer import build_optimizer
from worker.training.recompute import frozen_pass, in_blocks
from worker.training.spec import Hyperparameters, Recipe, Stage

CUDA_METHOD = "cuda allocator peak over two training steps"
CPU_METHOD = "peak of live tensor bytes over a profiled training step"
ANALYTIC_METHOD = "analytic"


@dataclass(frozen=True)
class MemoryFigures:
    """Bytes; ``method`` says how the peak was found, ``activation_bytes`` is a share of the analytic figure."""

    peak_bytes: int
    method: str
    analytic_bytes: int
    activation_bytes: int
    resident_bytes: int = 0


@dataclass(frozen=True)
class Step:
    """All that the memory of a training step depends on."""

    stage: Stage
    classes: int
    mean_shape: tuple[int, ...]
    segments: tuple[int, ...]
    recipe: Recipe
    batch_dtype: torch.dtype
    dtype: torch.dtype
    device: torch.device
    prefix: tuple[Stage, ...] = ()

    def frozen(self) -> list[StageNetwork]:
        """The stages that run before it for every batch, without their heads."""
        with torch.random.fork_rng(devices=[]):
            networks = [StageNetwork(stage, self.classes) for stage in self.prefix]
        for network in networks:
            network.head = nn.Identity()
        return networks

    def objective(self) -> Objective:
        """A network of its own, so that looking at its memory leaves no trace in the training."""
        with torch.random.fork_rng(devices=[]):
            network = StageNetwork(self.stage, self.classes, self.recipe.head)
        network.input_mean = torch.zeros(self.mean_shape)
        network.segments = self.segments
        return build_objective(network, self.recipe, 0)

    def labels(self) -> Tensor:
        """Those of a batch."""
        return torch.zeros(self.recipe.batch_size, dtype=torch.int64, device=self.device)

    def inputs(self, frozen: Sequence[StageNetwork]) -> Tensor:
        """A batch, through the frozen stages where there are some."""
        channels, height, width = (self.prefix[0] if self.prefix else self.stage).input_shape

        def images(count: int) -> Tensor:
            shape = (count, height, width, channels)
            return torch.ones(shape, dtype=self.batch_dtype, device=self.device).permute(0, 3, 1, 2)

        def through(part: Tensor) -> Tensor:
            values = images(len(part))
            for network in frozen:
                values = frozen_pass(network, values, self.dtype)
            return values

        return in_blocks(self.labels(), through) if frozen else images(self.recipe.batch_size)


def training_memory(
    network: StageNetwork,
    recipe: Recipe,
    batch_dtype: torch.dtype,
    dtype: torch.dtype,
    device: torch.device,
    limit: int | None,
    prefix: Sequence[StageNetwork] = (),
) -> MemoryFigures:
    """The memory a training step of such a network takes; measuring also warms the kernels up.

    ``prefix`` are frozen stages that run for every batch, which then has ``batch_dtype`` before the first of them.
    Raises MemoryLimitExceeded if it is more than ``limit`` bytes, OutOfMemory if the device has not that much now.
    """
    mean_shape = tuple(network.input_mean.shape)
    stages = tuple(frozen.stage for frozen in prefix)
    step = Step(
        network.stage, network.classes, mean_shape, network.segments, recipe, batch_dtype, dtype, device, stages
    )
    needed, activations = analytic_bytes(step)
    _refuse_beyond(limit, needed)
    if device.type == "cpu":
        _refuse_unless_free(needed, free_bytes(device))
    with typed_out_of_memory():
        peak, method = _measured(step)
    figures = MemoryFigures(peak or needed, method, needed, activations)
    _refuse_beyond(limit, figures.peak_bytes)
    return figures


def _refuse_beyond(limit: int | None, needed: int) -> None:
    if limit is not None and needed > limit:
        raise MemoryLimitExceeded(
            f"training takes {needed / 2**20:.1f} MiB, allowed are {limit / 2**20:.1f} MiB; "
            "lower batch_size, cut the network into more stages, or raise limits.memory"
        )


def _refuse_unless_free(needed: int, free: int) -> None:
    # Linux promises more memory than there is, and ends the worker instead of the training when it runs out.
    if needed > free:
        raise OutOfMemory(
            f"training takes {needed / 2**20:.1f} MiB, the machine has {free / 2**20:.1f} MiB free; "
            "stop what else runs there, or lower batch_size"
        )


@lru_cache(maxsize=1024)
def analytic_bytes(step: Step) -> tuple[int, int]:
    """From shapes alone: all that a step holds at its peak, and the activations' share of it.

    Held throughout are weights, buffers, gradients, momentum and the batch. Activations are what comes and goes: what
    frozen stages make of a batch, what is kept for the backward pass and the gradients on their way. The step runs on
    tensors without storage, so what kernels take for themselves is not in it.
    """
    with FakeTensorMode(), step.device:
        objective = step.objective()
        for value in objective.parameters():
            value.grad = torch.zeros_like(value)
        frozen, labels = step.frozen(), step.labels()
        parameters, buffers = list(objective.parameters()), list(objective.buffers())
        gradient_values = [value.grad for value in parameters if value.grad is not None]
        held = [*parameters, *buffers, *gradient_values, labels, *_values(frozen)]
        if not frozen:
            held.append(inputs := step.inputs(frozen))
        with LiveBytes(held) as counted:
            if frozen:
                inputs = step.inputs(frozen)
            gradients(objective, inputs, labels, 0, step.dtype)
    momentum = sum(value.nbytes for value in parameters)
    return sum(value.nbytes for value in held) + momentum + counted.peak, counted.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make while it is entered, those of ``held`` apart."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = WeakIdKeyDictionary()
        for value in held:
            self._known[value.untyped_storage()] = None

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = weakref.finalize(storage, self._release, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _release(self, size: int) -> None:
        self.live -= size


@lru_cache(maxsize=1024)
def _measured(step: Step) -> tuple[int, str]:
    device = step.device
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    objective = place(step.objective(), device)
    frozen = [place(network, device) for network in step.frozen()]
    optimizer = build_optimizer(objective, step.recipe, Hyperparameters(learning_rate=1e-3, regularization=1e-3))

    def run() -> None:
        training_step(objective, optimizer, step.inputs(frozen), step.labels(), 0, step.dtype)

    run()
    if device.type == "cuda":
        run()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, CUDA_METHOD
    if device.type != "cpu":
        synchronize(device)
        return 0, f"{ANALYTIC_METHOD} ({dtype_name(step.dtype)})"
    optimizer.zero_grad(set_to_none=True)
    held = sum(value.nbytes for value in (*_values([objective]), *_values(frozen)))
    held += sum(
        value.nbytes for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    )
    return held + _allocation_peak(run), CPU_METHOD


def _values(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    for module in modules:
        yield from module.parameters()
        yield from module.buffers()


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
