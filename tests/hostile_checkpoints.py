"""Files that pose as checkpoints, for everything that reads them: the server's store and the worker's."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def hostile(good: bytes, canary: Path) -> Iterator[tuple[str, bytes]]:
    """What must be refused, by name; ``canary`` appears if any of it is run."""
    header, data = split(good)
    name = next(key for key in header if key != "__metadata__")
    entry = header[name]
    start, stop = entry["data_offsets"]

    def with_entry(**changes: Any) -> bytes:
        return join(header | {name: entry | changes}, data)

    yield "empty", b""
    yield "seven bytes", bytes(7)
    yield "header of 2^63", struct.pack("<Q", 2**63) + good[8:]
    yield "header of 2^64 - 1", struct.pack("<Q", 2**64 - 1) + good[8:]
    yield "header of 100 MB", join(b"{" + b" " * (100 * 2**20) + b"}")
    yield "header of 100 MB, claimed only", struct.pack("<Q", 100 * 2**20) + good[8:]
    yield "header beyond the file", struct.pack("<Q", len(good)) + good[8:]
    yield "10^5 tensors", join({f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(10**5)})
    yield "overlapping", with_entry(data_offsets=[max(0, start - 4), stop - 4])
    yield "shared bytes", join(header | {"another": entry}, data)
    yield "out of range", with_entry(data_offsets=[start, stop + len(data)])
    yield "backwards", with_entry(data_offsets=[stop, start])
    yield "negative", with_entry(data_offsets=[-4, stop])
    yield "offset of 2^64", with_entry(data_offsets=[start, 2**64 + stop])
    yield "offset no number", with_entry(data_offsets=[str(start), str(stop)])
    yield "shape that overflows", with_entry(shape=[2**32, 2**32])
    yield "shape that overflows to nothing", with_entry(shape=[2**63, 2])
    yield "many sides", with_entry(shape=[1] * 100_000)
    yield "shape negative", with_entry(shape=[-1, -1])
    yield "dtype unknown", with_entry(dtype="O")
    yield "dtype of another size", with_entry(dtype="U8")
    yield "dtype no text", with_entry(dtype={"F32": 1})
    yield "truncated", good[:-1]
    yield "trailing bytes", good + b"\0"
    yield "a key twice", join(json.dumps(header)[:-1].encode() + f', "{name}": {json.dumps(entry)}}}'.encode(), data)
    yield "no UTF-8", join(json.dumps(header).encode().replace(b'"dtype"', b'"dt\xffpe"', 1), data)
    yield "NaN", join(json.dumps(header).encode().replace(str(stop).encode(), b"NaN", 1), data)
    yield "deep", join(b'{"a":' * 100_000)
    yield "a list", join([])
    yield "metadata no text", join(header | {"__metadata__": {"a": [1]}}, data)
    pickled = pickle.dumps(Canary(canary))
    yield "a pickle", pickled
    yield "a pickle behind a length", join(pickled)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(16))
    yield "a file of torch.save", made.getvalue()
    yield "an old file of torch.save", pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickled


def mutations(good: bytes) -> st.SearchStrategy[bytes]:
    """The file with some bytes changed, taken out or put in, most of them in the header, where they tell."""
    header = 8 + int.from_bytes(good[:8], "little")
    place = st.one_of(st.integers(0, header - 1), st.integers(0, len(good) - 1))
    change = st.tuples(place, st.integers(0, 3), st.binary(min_size=1, max_size=4))

    def mutated(changes: list[tuple[int, int, bytes]]) -> bytes:
        content = bytearray(good)
        for position, removed, put in changes:
            content[position : position + removed] = put
        return bytes(content)

    return st.lists(change, min_size=1, max_size=4).map(mutated)
