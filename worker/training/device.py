"""What a device can do: precision, synchronisation, reproducible kernels."""

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil
import torch

from worker.training.errors import OutOfMemory
from worker.training.spec import PrecisionChoice


def best_device() -> torch.device:
    """The fastest kind of device of this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The device's name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
    return f"{device.type} {platform.machine()}"


def resolve_precision(choice: PrecisionChoice, device: torch.device) -> torch.dtype:
    """The type of convolutions and of stored features; ``auto`` is bfloat16 where the device has it quickly."""
    if choice == "float32":
        return torch.float32
    if choice == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        able = torch.cpu.get_capabilities()
        fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` or ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Run convolutions and matrix products in ``dtype``."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read afterwards means something."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_bytes(device: torch.device) -> int:
    """What the device has free for this process now; of any but a CUDA device, what the machine has."""
    if device.type == "cuda":
        # PyTorch keeps freed blocks for later: taken for the driver, yet free for this process.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(psutil.virtual_memory().available)


@contextmanager
def reproducible() -> Iterator[None]:
    """The same kernels in every run, and float32 that is float32."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def typed_out_of_memory() -> Iterator[None]:
    """Turn every allocator's out-of-memory error into ``OutOfMemory``."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error)) from error
    except MemoryError as error:
        raise OutOfMemory(str(error) or "the machine has no memory left") from error
    except RuntimeError as error:
        # The CPU allocator and MPS raise plain RuntimeErrors.
        text = str(error).lower()
        if "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text:
            raise OutOfMemory(str(error)) from error
        raise
