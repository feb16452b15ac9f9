"""What this processor computes itself."""

import torch

from worker.training.device import resolve_precision


def emulated(dtype: torch.dtype) -> bool:
    """A processor without bfloat16 computes it in float32, and takes more memory than shapes tell."""
    return dtype is torch.bfloat16 and resolve_precision("auto", torch.device("cpu")) is not torch.bfloat16
