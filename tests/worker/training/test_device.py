import pytest
import torch

from worker.training.device import free_bytes

GPU = torch.device("cuda", 0)


def test_what_the_workers_own_allocator_holds_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 100 bytes others have 30; this process took 50 from the driver, of which tensors have 35.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (20, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 35)
    assert free_bytes(GPU) == 100 - 30 - 35
