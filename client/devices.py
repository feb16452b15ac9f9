"""Which devices this machine can train on."""

import platform
import socket


def find_devices() -> list[str]:
    """Every CUDA device, else Apple's, else the CPU; empty when torch is not installed. Imports torch."""
    try:
        import torch
    except ImportError:
        return []
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return ["mps"]
    return ["cpu"]


def describe_device(device: str) -> str:
    """A device's name for people."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def worker_name(device: str) -> str:
    """`host-cuda:0`, the name a worker has in lists."""
    return f"{socket.gethostname().partition('.')[0]}-{device}"
