"""Small files of PyTorch's format before 1.6, for tests."""

import pickle

import numpy as np


def part(value: object) -> bytes:
    """A value as a part of a pickle."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: str = "FloatStorage"
) -> bytes:
    """A tensor as PyTorch pickles it: a call of a function with a storage, which is known by its key."""
    storage = b"(" + part("storage") + f"ctorch\n{kind}\n".encode() + part(key) + part("cpu") + part(6) + b"tQ"
    fields = b"".join(map(part, (offset, shape, strides, False)))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + fields + b"ccollections\nOrderedDict\n)RtR"


def file_of(tensors: dict[str, bytes], storages: dict[str, np.ndarray]) -> bytes:
    """A file of PyTorch's format before 1.6."""
    named = b"".join(part(name) + pickled for name, pickled in tensors.items())
    pickled = b"\x80\x02ccollections\nOrderedDict\n)R(" + named + b"u."
    numbers = [len(array).to_bytes(8, "little") + array.tobytes() for array in storages.values()]
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, pickled, pickle.dumps(list(storages), 2), *numbers])


SIX = {"7": np.arange(6, dtype=np.float32)}
VALID = file_of({"a": tensor("7", 0, (2, 3), (3, 1))}, SIX)
