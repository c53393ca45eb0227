"""Reads a checkpoint of TensorFlow without TensorFlow: PREFIX.index and PREFIX.data-00000-of-00001.

The index is a sorted table of LevelDB's format whose keys are names of variables and whose values say where each lies in the
data files (tensorflow/core/util/tensor_bundle). Checksums are not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workers.data import DataError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes
_FLOAT = 1  # number of float32 among TensorFlow's types
Handle = tuple[int, int]  # offset, size


def tf_variables(prefix: Path) -> dict[str, np.ndarray]:
    """Return the float32 variables of a checkpoint by name; other types, such as a step counter, are left out.

    Args:
        prefix: path without ".index", such as albert_base/model.ckpt-best.

    Raises:
        DataError: a file is missing or damaged, or a variable lies in slices.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        found = dict(_entries(index.read_bytes()))
        header = _fields(found.pop(b""))
        shards = int(header.get(1, [1])[0])
        files = [prefix.with_name(f"{prefix.name}.data-{n:05}-of-{shards:05}").read_bytes() for n in range(shards)]
        variables = ((name.decode(), _variable(_fields(value), files)) for name, value in found.items())
        return {name: value for name, value in variables if value is not None}
    except OSError as error:
        raise DataError(f"{prefix}: the checkpoint cannot be read: {error}") from None
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise DataError(
            f"{prefix}: must be a checkpoint of TensorFlow, and is damaged or of another kind: {error}"
        ) from None


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a table."""
    footer = table[-_FOOTER:]
    (magic,) = struct.unpack("<Q", footer[-8:])
    if magic != _MAGIC:
        raise ValueError("the index does not end as a table does")
    _, place = _handle(footer, 0)  # of the meta index, which is empty
    index, _ = _handle(footer, place)
    for _, value in _block(table, index):
        yield from _block(table, _handle(value, 0)[0])


def _block(table: bytes, handle: Handle) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block, in which a key leaves out what it shares with the one before."""
    offset, size = handle
    if table[offset + size] != 0:
        raise ValueError("the index is compressed")
    block, place, key = table[offset : offset + size], 0, b""
    (restarts,) = struct.unpack("<I", block[-4:])
    while place < size - 4 * (restarts + 1):
        shared, place = _varint(block, place)
        rest, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + rest]
        yield key, block[place + rest : place + rest + length]
        place += rest + length


def _handle(data: bytes, place: int) -> tuple[Handle, int]:
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return (offset, size), place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a protocol buffer by number: integers, or bytes of strings and messages."""
    found: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value: int | bytes
        match tag & 7:
            case 0:
                value, place = _varint(message, place)
            case 2:
                size, place = _varint(message, place)
                value, place = message[place : place + size], place + size
            case 5:
                value, place = message[place : place + 4], place + 4
            case wire:
                raise ValueError(f"a field has the wire type {wire}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _variable(entry: dict[int, list[int | bytes]], files: list[bytes]) -> np.ndarray | None:
    """Return the array that an entry of the index describes; None if it is not of float32."""
    if 7 in entry:
        raise ValueError("a variable is stored in slices")
    if _whole(entry, 1) != _FLOAT:
        return None
    shape = [_whole(_fields(_bytes(size)), 1) for size in _fields(_bytes(entry.get(2, [b""])[0])).get(2, [])]
    offset, size = _whole(entry, 4), _whole(entry, 5)
    data = files[_whole(entry, 3)][offset : offset + size]
    return np.frombuffer(data, "<f4").reshape(shape)


def _whole(entry: dict[int, list[int | bytes]], number: int) -> int:
    value = entry.get(number, [0])[0]
    if not isinstance(value, int):
        raise ValueError(f"field {number} must be a number")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a message is missing")
    return value
