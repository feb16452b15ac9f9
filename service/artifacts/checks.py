"""What is let into the store: safetensors files whose header describes exactly their bytes."""

import json
import struct
from pathlib import Path

from service.domain.errors import InvalidArtifact

MAX_HEADER_BYTES = 1024**2
MAX_TENSORS = 10_000
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


def check_safetensors(path: Path) -> None:
    """Refuse (invalid-artifact) a file whose header does not describe exactly its bytes; tensors are not read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else -1
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise _invalid("its header is missing, cut off or larger than 1 MiB")
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise _invalid("its header is not JSON") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise _invalid(f"its header is not an object of up to {MAX_TENSORS} tensors")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("its metadata is not text")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for start, stop in spans:
        if start != end:
            raise _invalid("its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise _invalid("its tensors do not cover the file exactly")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _span(name: str, entry: object) -> tuple[int, int]:
    """The bytes of a tensor, checked against its type and shape."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if kind in ITEM_BYTES:
            count = 1
            for side in shape:
                if type(side) is not int or not 0 <= side <= 2**40:
                    raise _invalid(f"tensor {name[:80]!r} has an impossible shape")
                count = min(count * side, 2**62)
            if not 0 <= start <= stop or stop - start != count * ITEM_BYTES[kind]:
                raise _invalid(f"tensor {name[:80]!r} does not have the bytes its shape needs")
            return start, stop
        case _:
            raise _invalid(f"tensor {name[:80]!r} has an unknown type or no shape and offsets")


def _invalid(reason: str) -> InvalidArtifact:
    return InvalidArtifact(f"this is not a safetensors checkpoint: {reason}")
