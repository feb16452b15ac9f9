"""Frozen features: the output of a prefix over a split, computed once, kept where there is room.

Features are made in blocks of one fixed size and rounded to one storage type after every stage, whether they are then
kept in memory, kept on disk or thrown away and made again for every batch. So free memory never changes a result.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from worker.checkpoints import StageCheckpoint
from worker.training.data import Source, TensorSource
from worker.training.device import dtype_name, free_bytes, synchronize, typed_out_of_memory
from worker.training.evaluate import Check, unwatched
from worker.training.network import InputStatistics, place
from worker.training.recompute import BLOCK, StageSource

MEMORY_SHARE = 0.4
DISK_RESERVE = 2 << 30

KeptIn = Literal["memory", "disk", "recomputed"]
"""Where features are kept, the fastest first; recomputed ones are kept nowhere and made again for every batch."""


@dataclass(frozen=True)
class Features:
    """The inputs of a stage over one split. ``seconds`` is what making the last step took, once, cached or not."""

    source: Source
    statistics: InputStatistics
    seconds: float
    memory_bytes: int = 0
    disk_bytes: int = 0

    @property
    def kept_in(self) -> KeptIn:
        """What they are kept in."""
        if self.memory_bytes:
            return "memory"
        return "disk" if self.disk_bytes else "recomputed"


@dataclass(frozen=True)
class Split:
    """Images of one split before any stage, and what identifies them."""

    key: str
    images: Source


def feature_key(split: str, digests: Sequence[str], dtype: torch.dtype) -> str:
    """The name of features: data, split, the weights of the prefix, storage type."""
    return hashlib.sha256(json.dumps([split, list(digests), dtype_name(dtype), BLOCK]).encode()).hexdigest()


def recomputed(images: Source, prefix: Sequence[StageCheckpoint], dtype: torch.dtype, device: torch.device) -> Source:
    """The outputs of a prefix, made from the images again for every batch."""
    source = images
    for checkpoint in prefix:
        source = StageSource(source, place(checkpoint.network, device), dtype, device)
    return source


class FeatureCache:
    """Features by key: in memory up to ``memory_bytes``, then in ``directory``, else recomputed. For one thread."""

    def __init__(self, device: torch.device, directory: Path | None, memory_bytes: int | None = None) -> None:
        self.device = device
        self.directory = directory
        self._memory_bytes = memory_bytes
        self._entries: OrderedDict[str, Features] = OrderedDict()

    @property
    def memory_bytes(self) -> int:
        """What features may take in memory: a share of what would be free now without them, unless it was given.

        Other workers of the machine have features too, and what was free when this one began may be theirs by now.
        """
        if self._memory_bytes is not None:
            return self._memory_bytes
        return int((free_bytes(self.device) + self.resident_bytes) * MEMORY_SHARE)

    @property
    def keeps(self) -> bool:
        """Whether there is anywhere to keep features; without it a pass is made for their statistics alone."""
        return self.memory_bytes > 0 or self.directory is not None

    @property
    def resident_bytes(self) -> int:
        """What the features kept in memory take."""
        return sum(entry.memory_bytes for entry in self._entries.values())

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def features(
        self, split: Split, prefix: Sequence[StageCheckpoint], dtype: torch.dtype, check: Check = unwatched
    ) -> Features:
        """The outputs of a prefix of at least one stage over a split, in the storage type ``dtype``.

        A pass that ``check`` ends leaves nothing behind.
        """
        key = feature_key(split.key, [checkpoint.digest for checkpoint in prefix], dtype)
        found = self._entries.get(key)
        if found is None:
            with typed_out_of_memory():
                found = self._make(self._parent(split, prefix[:-1], dtype, check), prefix[-1], dtype, check)
            self._entries[key] = found
        self._entries.move_to_end(key)
        return found

    def _parent(self, split: Split, prefix: Sequence[StageCheckpoint], dtype: torch.dtype, check: Check) -> Source:
        if prefix and self.keeps:
            return self.features(split, prefix, dtype, check).source
        return recomputed(split.images, prefix, dtype, self.device)

    def _make(self, parent: Source, checkpoint: StageCheckpoint, dtype: torch.dtype, check: Check) -> Features:
        network = place(checkpoint.network, self.device)
        source = StageSource(parent, network, dtype, self.device)
        channels, height, width = checkpoint.stage.output_shape
        shape = (len(parent), height, width, channels)
        size = math.prod(shape) * dtype.itemsize
        kept, in_memory = self._place(shape, dtype, size)
        begun = time.perf_counter()
        total, squares = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        for number, values in enumerate(source.batches(BLOCK)):
            check()
            rows = values.permute(0, 2, 3, 1)
            if kept is not None:
                kept[number * BLOCK : number * BLOCK + len(rows)] = rows
            # Sums of one block in float32, of all blocks in float64: exact enough, and MPS has no float64.
            flat = rows.reshape(-1, channels).float()
            total += flat.sum(0).cpu().double()
            squares += flat.square().sum(0).cpu().double()
        synchronize(self.device)
        seconds = time.perf_counter() - begun
        statistics = _statistics(total, squares, shape[0] * height * width)
        if kept is None:
            return Features(source, statistics, seconds)
        held = TensorSource(kept, self.device)
        return Features(held, statistics, seconds, *((size, 0) if in_memory else (0, size)))

    def _place(self, shape: tuple[int, ...], dtype: torch.dtype, size: int) -> tuple[Tensor | None, bool]:
        """Where to keep features, in memory, in a file or nowhere, and whether it is memory."""
        if self.free_memory(size):
            return torch.empty(shape, dtype=dtype, device=self.device), True
        if self.directory is None:
            return None, False
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            return (_mapped(self.directory, shape, dtype, size) if self._free_disk(size) else None), False
        except OSError:
            return None, False

    def free_memory(self, wanted: int) -> bool:
        """Drop the least recently used features from memory until ``wanted`` bytes fit; whether they do."""
        allowed = self.memory_bytes
        if wanted > allowed:
            return False
        while self.resident_bytes + wanted > allowed:
            self._drop(next(key for key, entry in self._entries.items() if entry.memory_bytes))
        return True

    def _free_disk(self, wanted: int) -> bool:
        assert self.directory is not None
        while shutil.disk_usage(self.directory).free < wanted + DISK_RESERVE:
            oldest = next((key for key, entry in self._entries.items() if entry.disk_bytes), None)
            if oldest is None:
                return False
            self._drop(oldest)
        return True

    def _drop(self, key: str) -> None:
        dropped = self._entries.pop(key)
        # Sources that recompute from it would keep it alive.
        for other, entry in list(self._entries.items()):
            if isinstance(entry.source, StageSource) and entry.source.parent is dropped.source:
                self._drop(other)


def _mapped(directory: Path, shape: tuple[int, ...], dtype: torch.dtype, size: int) -> Tensor:
    """A tensor in a file that has no name, so that even a killed worker leaves nothing behind."""
    handle, name = tempfile.mkstemp(dir=directory, prefix="features-")
    try:
        os.posix_fallocate(handle, 0, size) if hasattr(os, "posix_fallocate") else os.truncate(handle, size)
        return torch.from_file(name, shared=True, size=math.prod(shape), dtype=dtype).reshape(shape)
    finally:
        os.close(handle)
        Path(name).unlink()


def _statistics(total: Tensor, squares: Tensor, count: int) -> InputStatistics:
    """Mean and deviation of every channel; a channel that never varies is divided by 1."""
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    deviation = torch.where(variance > 1e-12, variance.sqrt(), 1.0)
    return InputStatistics(mean.float().reshape(-1, 1, 1), deviation.float().reshape(-1, 1, 1))
