"""What a worker is sent as a checkpoint is checked before anything of it is used; nothing of it is ever run."""

import os
from pathlib import Path

import torch
from hypothesis import given, settings

from tests.hostile_checkpoints import hostile, mutations
from tests.memory import Confined
from worker.checkpoints import CheckpointError, pack, unpack
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Pool, Stage

STAGE = Stage((Conv(3, 2), Pool(2)), (1, 4, 4), (2, 2, 2))
GOOD = pack(build_network(STAGE, 2, "linear", "torch", 0, InputStatistics.identity(1)))
ROOM = 16 * 2**20
EXAMPLES = 20 * int(os.environ.get("STAGETUNE_FUZZ_EXAMPLES", "10"))


def taken(content: bytes) -> bool:
    try:
        unpack(content, STAGE)
    except CheckpointError:
        return False
    return True


def taken_from(path: Path) -> bool:
    return taken(path.read_bytes())


def test_all_that_poses_as_a_checkpoint_is_refused(tmp_path: Path) -> None:
    canary, place = tmp_path / "canary", tmp_path / "checkpoint"
    place.write_bytes(GOOD)
    with Confined() as confined:
        assert confined(taken_from, place) == (True, 0)
        # The large ones last: what the others take does not hide behind them.
        for name, content in sorted(hostile(GOOD, canary), key=lambda one: len(one[1])):
            place.write_bytes(content)
            accepted, grown = confined(taken_from, place)
            assert accepted is False, name
            assert grown < len(content) + ROOM, name
    assert not canary.exists()


@settings(max_examples=EXAMPLES, deadline=None)
@given(content=mutations(GOOD))
def test_a_changed_checkpoint_is_a_stage_or_an_error_of_its_own(content: bytes) -> None:
    try:
        found = unpack(content)
    except CheckpointError:
        return
    assert all(bool(value.isfinite().all()) for value in found.network.state_dict().values())
    shape = found.stage.input_shape
    assert found.network(torch.zeros((1, *shape), dtype=torch.uint8)).shape[0] == 1
